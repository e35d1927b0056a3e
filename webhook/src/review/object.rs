//! One object of a review.

use super::{deep, push_string};
use convert::{Problem, Version};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Writes an object in the wanted version to `out`. On an error, what has been written is to be thrown away.
pub fn convert(object: &RawValue, to: Version, out: &mut Vec<u8>) -> Result<(), Problem> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object.get()).map_err(|_| Problem::NotAnObject)?;
    let mut small = Map::new();
    let mut shield = None;
    for key in ["apiVersion", "kind", "spec"] {
        if let Some(raw) = fields.get(key) {
            let value = match serde_json::from_str(raw.get()) {
                Ok(value) => value,
                Err(_) => {
                    let (value, cut) = deep::cut(raw.get()).ok_or(Problem::NotAnObject)?;
                    shield = Some(cut);
                    value
                }
            };
            small.insert(key.to_owned(), value);
        }
    }
    let converted = convert::convert(Value::Object(small), to)?.object;
    out.push(b'{');
    let mut first = true;
    let mut key = |name: &str, out: &mut Vec<u8>| {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
    };
    for (name, value) in converted.as_object().into_iter().flatten() {
        key(name, out);
        match &shield {
            Some(cut) if name == "spec" => out.extend_from_slice(cut.restore(&value.to_string()).as_bytes()),
            // A tree serialises always, and writing into memory does not fail.
            _ => drop(serde_json::to_writer(&mut *out, value)),
        }
    }
    for (name, raw) in &fields {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "spec") {
            key(name, out);
            out.extend_from_slice(raw.get().as_bytes());
        }
    }
    out.push(b'}');
    Ok(())
}

/// What to call an object in a message: `Kind namespace/name`, as far as it says.
pub fn name(object: &RawValue, index: usize) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Named {
        kind: String,
        metadata: Metadata,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Metadata {
        name: String,
        namespace: String,
    }
    match serde_json::from_str::<Named>(object.get()) {
        Ok(Named { kind, metadata: Metadata { name, namespace } }) if !name.is_empty() => {
            super::short(&format!("{kind} {namespace}/{name}"))
        }
        _ => format!("object {index}"),
    }
}
