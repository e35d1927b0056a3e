//! Headers and query parameters of a Mapping: those it matches, those it adds and removes, and those of CORS.

use serde_json::{Value, json};

use super::string_to_list;
use crate::{Note, Object};

/// Exact matches, matches by regex, and the memory for those that were `true`.
const MATCHES: [(&str, &str, &str); 2] = [
    ("headers", "regex_headers", "v2BoolHeaders"),
    ("query_parameters", "regex_query_parameters", "v2BoolQueryParameters"),
];

const ADDED: [&str; 2] = ["add_request_headers", "add_response_headers"];
const REMOVED: [&str; 2] = ["remove_request_headers", "remove_response_headers"];
const CORS_LISTS: [&str; 3] = ["methods", "headers", "exposed_headers"];

/// The memory for how an old version wrote an added header.
const REPRESENTATION: &str = "v2Representation";
/// The memory for origins that were one string.
const COMMA_SEPARATED: &str = "v2CommaSeparatedOrigins";

/// The regex for "is present".
const PRESENT: &str = ".*";

/// See [`super::group`].
pub(super) fn group(field: &str) -> Option<&'static str> {
    for (exact, regex, memory) in MATCHES {
        if [exact, regex, memory].contains(&field) {
            return Some(exact);
        }
    }
    ADDED.into_iter().chain(REMOVED).chain(["cors"]).find(|alone| *alone == field)
}

pub(super) fn upgrade(spec: &mut Object, notes: &mut Vec<Note>) {
    for (exact, regex, memory) in MATCHES {
        upgrade_matches(spec, exact, regex, memory, notes);
    }
    for field in ADDED {
        for header in values(spec, field) {
            upgrade_added(header);
        }
    }
    for field in REMOVED {
        string_to_list(spec, field);
    }
    if let Some(Value::Object(cors)) = spec.get_mut("cors") {
        for field in CORS_LISTS {
            string_to_list(cors, field);
        }
        if let Some(Value::String(origins)) = cors.get("origins") {
            let origins = origins.split(',').map(|origin| json!(origin)).collect();
            cors.insert("origins".to_owned(), origins);
            cors.insert(COMMA_SEPARATED.to_owned(), Value::Bool(true));
        } else {
            remove_unless(cors, COMMA_SEPARATED, &Value::Bool(false));
        }
    }
}

pub(super) fn downgrade(spec: &mut Object) {
    for (exact, regex, memory) in MATCHES {
        downgrade_matches(spec, exact, regex, memory);
    }
    for field in ADDED {
        for header in values(spec, field) {
            downgrade_added(header);
        }
    }
    if let Some(Value::Object(cors)) = spec.get_mut("cors") {
        let joined = match (cors.get(COMMA_SEPARATED), cors.get("origins")) {
            (Some(Value::Bool(true)), Some(Value::Array(origins))) => {
                origins.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|origins| origins.join(","))
            }
            _ => None,
        };
        if let Some(joined) = joined {
            cors.insert("origins".to_owned(), Value::String(joined));
        }
        remove_unless(cors, COMMA_SEPARATED, &Value::Bool(false));
    }
}

/// A header that was null says nothing; it goes, too.
pub(super) fn forget(spec: &mut Object) {
    for (_, _, memory) in MATCHES {
        spec.remove(memory);
    }
    for field in ADDED {
        if let Some(Value::Object(headers)) = spec.get_mut(field) {
            headers.retain(|_, header| *header != json!({REPRESENTATION: "null"}));
        }
        for header in values(spec, field) {
            if let Value::Object(header) = header {
                header.remove(REPRESENTATION);
            }
        }
    }
    if let Some(Value::Object(cors)) = spec.get_mut("cors") {
        cors.remove(COMMA_SEPARATED);
    }
}

/// Takes out a memory that does not belong there. One that says no is harmless and stays, so that it is not lost.
pub(super) fn remove_unless(object: &mut Object, field: &str, harmless: &Value) {
    if object.get(field).is_some_and(|value| value != harmless) {
        object.remove(field);
    }
}

fn values<'a>(spec: &'a mut Object, field: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    spec.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|object| object.values_mut())
}

/// `true` asks for a header to be present, which is a regex in v3alpha1. `false` and null ask for nothing.
fn upgrade_matches(spec: &mut Object, exact: &str, regex: &str, memory: &str, notes: &mut Vec<Note>) {
    spec.remove(memory);
    // A regex map that is none leaves no place to move anything to.
    if spec.get(regex).is_some_and(|regexes| !regexes.is_object()) {
        return;
    }
    let Some(Value::Object(given)) = spec.get_mut(exact) else { return };
    if !given.values().any(|value| matches!(value, Value::Bool(_) | Value::Null)) {
        return;
    }
    let mut present = Vec::new();
    given.retain(|name, value| match value {
        Value::Bool(true) => {
            present.push(name.clone());
            false
        }
        Value::Bool(false) | Value::Null => {
            notes.push(Note {
                at: format!("spec.{exact}.{name}"),
                detail: "false and null are no match in v3alpha1; left out",
            });
            false
        }
        _ => true,
    });
    if given.is_empty() {
        spec.remove(exact);
    }
    if present.is_empty() {
        return;
    }
    let regexes = spec.entry(regex).or_insert_with(|| json!({}));
    if let Value::Object(regexes) = regexes {
        for name in &present {
            regexes.entry(name).or_insert_with(|| json!(PRESENT));
        }
    }
    present.sort_unstable();
    spec.insert(memory.to_owned(), json!(present));
}

fn downgrade_matches(spec: &mut Object, exact: &str, regex: &str, memory: &str) {
    let Some(Value::Array(present)) = spec.remove(memory) else { return };
    if spec.get(exact).is_some_and(|given| !given.is_object()) {
        return;
    }
    let Some(Value::Object(regexes)) = spec.get_mut(regex) else { return };
    let mut found = Vec::new();
    let mut emptied = false;
    for name in present {
        let Value::String(name) = name else { continue };
        let Some(pattern) = regexes.get(&name) else { continue };
        found.push((name.clone(), pattern.as_str() == Some(PRESENT)));
    }
    let taken = |spec: &Object, name: &str| spec.get(exact).and_then(|given| given.get(name)).is_some();
    found.retain(|(name, _)| !taken(spec, name));
    if let Some(Value::Object(regexes)) = spec.get_mut(regex) {
        for (name, _) in found.iter().filter(|(_, is_made_up)| *is_made_up) {
            regexes.remove(name);
            emptied = regexes.is_empty();
        }
    }
    if emptied {
        spec.remove(regex);
    }
    if found.is_empty() {
        return;
    }
    if let Value::Object(given) = spec.entry(exact).or_insert_with(|| json!({})) {
        given.extend(found.into_iter().map(|(name, _)| (name, Value::Bool(true))));
    }
}

fn upgrade_added(header: &mut Value) {
    match header {
        Value::String(_) => {
            let value = header.take();
            *header = json!({"value": value, REPRESENTATION: "string"});
        }
        Value::Null => *header = json!({REPRESENTATION: "null"}),
        Value::Object(header) => remove_unless(header, REPRESENTATION, &json!("")),
        _ => {}
    }
}

fn downgrade_added(header: &mut Value) {
    let Value::Object(fields) = header else { return };
    match fields.get(REPRESENTATION).and_then(Value::as_str) {
        Some("string") if fields.len() == 2 && fields.get("value").is_some_and(Value::is_string) => {
            *header = fields.remove("value").unwrap_or_default();
        }
        Some("string") if fields.len() == 1 => *header = json!(""),
        Some("null") if fields.keys().all(|name| name == REPRESENTATION || name == "value") => {
            match fields.get("value") {
                None => *header = Value::Null,
                Some(value) if value.as_str() == Some("") => *header = Value::Null,
                Some(_) => {
                    fields.remove(REPRESENTATION);
                }
            }
        }
        _ => remove_unless(fields, REPRESENTATION, &json!("")),
    }
}
