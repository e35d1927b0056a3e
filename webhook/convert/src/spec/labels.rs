//! Labels of a Mapping: domain → list of groups, each an object with one name → list of labels.
//!
//! A label is a string or an object in v1 and v2, and an object with exactly one of five keys in v3alpha1.

use serde_json::{Value, json};

use super::headers::remove_unless;
use crate::{Note, Object};

/// Strings with a meaning of their own; any other is a fixed value.
const SPECIAL: [&str; 3] = ["source_cluster", "destination_cluster", "remote_address"];

const SHORTHAND: &str = "v2Shorthand";

pub(super) fn upgrade(spec: &mut Object, notes: &mut Vec<Note>) {
    each_group(spec, |labels| {
        let before = labels.len();
        // They say nothing, and v3alpha1 has no form for them: one would make it refuse the Mapping.
        labels.retain(|label| !label.is_null() && label.as_object().is_none_or(|label| !label.is_empty()));
        if labels.len() != before {
            notes.push(Note { at: "spec.labels".to_owned(), detail: "empty labels were left out" });
        }
        for label in labels {
            upgrade_label(label);
        }
    });
}

pub(super) fn downgrade(spec: &mut Object) {
    each_group(spec, |labels| labels.iter_mut().for_each(downgrade_label));
}

/// Without the memory a label is a fixed value all the same.
pub(super) fn forget(spec: &mut Object) {
    each_group(spec, |labels| {
        for label in labels {
            if let Some(Value::Object(generic)) = label.get_mut("generic_key") {
                generic.remove(SHORTHAND);
            }
        }
    });
}

fn each_group(spec: &mut Object, mut change: impl FnMut(&mut Vec<Value>)) {
    let Some(Value::Object(domains)) = spec.get_mut("labels") else { return };
    let groups = domains.values_mut().filter_map(Value::as_array_mut).flatten();
    for labels in groups.filter_map(Value::as_object_mut).flat_map(|group| group.values_mut()) {
        if let Value::Array(labels) = labels {
            change(labels);
        }
    }
}

fn upgrade_label(label: &mut Value) {
    match label {
        Value::String(name) if SPECIAL.contains(&name.as_str()) => *label = json!({&*name: {"key": name}}),
        Value::String(_) => {
            let value = label.take();
            *label = json!({"generic_key": {"value": value, SHORTHAND: true}});
        }
        Value::Object(fields) if fields.values().all(Value::is_object) => {
            // With several names upstream takes any; the first is at least always the same.
            let Some((key, Value::Object(header))) = fields.iter_mut().next() else { return };
            let mut header = std::mem::take(header);
            header.insert("key".to_owned(), json!(key));
            let name = header.remove("header").unwrap_or_else(|| json!(""));
            header.insert("header_name".to_owned(), name);
            *label = json!({"request_headers": header});
        }
        Value::Object(fields) if fields.get("generic_key").is_some_and(Value::is_string) => {
            let mut generic = std::mem::take(fields);
            // Unknown in this place; they must not get in the way of the fields that are about to come.
            generic.remove("value");
            generic.remove("key");
            remove_unless(&mut generic, SHORTHAND, &Value::Bool(false));
            move_field(&mut generic, "generic_key", "value");
            move_field(&mut generic, "v3Key", "key");
            *label = json!({"generic_key": generic});
        }
        _ => {}
    }
}

fn downgrade_label(label: &mut Value) {
    let Value::Object(fields) = label else { return };
    if fields.len() > 1 {
        return;
    }
    let Some((name, fields)) = fields.iter_mut().next() else {
        *label = Value::Null;
        return;
    };
    let Value::Object(fields) = fields else { return };
    match name.as_str() {
        "request_headers" if fields.get("key").is_some_and(Value::is_string) => {
            let mut header = std::mem::take(fields);
            let Some(Value::String(key)) = header.remove("key") else { return };
            header.remove("header");
            let name = header.remove("header_name").unwrap_or_else(|| json!(""));
            header.insert("header".to_owned(), name);
            *label = json!({key: header});
        }
        "generic_key" if fields.get("value").is_some_and(Value::is_string) => {
            let shorthand = fields.get(SHORTHAND) == Some(&Value::Bool(true));
            if shorthand && fields.len() == 2 {
                *label = fields.remove("value").unwrap_or_default();
                return;
            }
            let mut generic = std::mem::take(fields);
            generic.remove("generic_key");
            generic.remove("v3Key");
            remove_unless(&mut generic, SHORTHAND, &Value::Bool(false));
            move_field(&mut generic, "value", "generic_key");
            move_field(&mut generic, "key", "v3Key");
            *label = Value::Object(generic);
        }
        special if SPECIAL.contains(&special) => *label = json!(special),
        _ => {}
    }
}

fn move_field(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
