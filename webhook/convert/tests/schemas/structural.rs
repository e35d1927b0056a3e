//! What an API server keeps of an object.

use serde_json::Value;

/// Takes out of a value the fields that a structural schema does not have, and the nulls that it does not want, as an API
/// server does with what it is given, converts, and stores.
pub fn kept(schema: &Value, value: &mut Value) {
    keep(Some(schema), value);
}

fn keep(schema: Option<&Value>, value: &mut Value) {
    let given = |name: &str| schema.and_then(|schema| schema.get(name));
    let open = given("x-kubernetes-preserve-unknown-fields").is_some_and(|open| open == true);
    match value {
        Value::Object(fields) => {
            let below = |name: &str| {
                given("properties")
                    .and_then(|properties| properties.get(name))
                    .or_else(|| given("additionalProperties"))
            };
            fields.retain(|name, value| match below(name) {
                Some(below) => !value.is_null() || below["nullable"] == true,
                None => open,
            });
            for (name, value) in fields {
                if let Some(below) = below(name) {
                    keep(Some(below), value);
                }
            }
        }
        Value::Array(values) if given("items").is_some() || !open => {
            values.iter_mut().for_each(|value| keep(given("items"), value));
        }
        _ => {}
    }
}
