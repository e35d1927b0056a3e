//! The schema of a kind in the form that is published.

use kube_core::schema::StructuralSchemaRewriter;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// Makes the schema of a whole object of kind `K`.
///
/// The schema that the derive of `kube` makes is correct but not what the Go tools publish for the same types: it
/// has `nullable` everywhere and loses the description of a field whose type is an enumeration. This one has neither
/// that nor titles, no integer format but `int32`, and requires no `spec`, since a Host is valid without.
pub(crate) fn of<K: JsonSchema>() -> Value {
    let mut schema = of_spec::<K>();
    if let Some(root) = schema.as_object_mut() {
        root.remove("required");
        if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
            properties.extend(type_meta());
        }
    }
    schema
}

/// Makes the schema of a type that is a part of an object, in the same form.
pub(crate) fn of_spec<S: JsonSchema>() -> Value {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(RecursiveTransform(leave_null_out))
        .with_transform(StructuralSchemaRewriter)
        .with_transform(RecursiveTransform(simplify))
        .into_generator();
    generator.into_root_schema_for::<S>().to_value()
}

/// The properties every object has, which a derive leaves out.
fn type_meta() -> Map<String, Value> {
    let properties = [
        ("apiVersion", json!({ "type": "string", "description": "Group and version of this object's form." })),
        ("kind", json!({ "type": "string", "description": "Kind of this object." })),
        ("metadata", json!({ "type": "object" })),
    ];
    properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Turns "this or null" into "this". An absent field needs no null, and the Go generator writes none.
fn leave_null_out(schema: &mut Schema) {
    let Some(fields) = schema.as_object_mut() else { return };
    // A field without a type is open for anything, null included.
    if fields.contains_key("type") || fields.contains_key("anyOf") {
        fields.remove("nullable");
    }
    let Some(Value::Array(choices)) = fields.get("anyOf") else { return };
    let [Value::Object(this), null] = choices.as_slice() else { return };
    if null.get("enum") == Some(&json!([null])) {
        let this = this.clone();
        fields.remove("anyOf");
        for (name, value) in this {
            // What is said about the field, its description above all, counts more than what is said about its type.
            fields.entry(name).or_insert(value);
        }
    }
}

/// Removes what the Go generator would not write.
fn simplify(schema: &mut Schema) {
    schema.remove("title");
    if schema.get("format").is_some_and(|format| format == "int64") {
        schema.remove("format");
    }
    // A doc comment breaks its lines where the source does; a description is wrapped by who shows it.
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.split("\n\n").map(|text| text.replace('\n', " ")).collect::<Vec<_>>().join("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A type.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Sample {
        /// About the field.
        level: Option<Level>,
        title: Option<String>,
        count: Option<i64>,
        port: i32,
    }

    /// About the type.
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Level {
        /// Nothing.
        Low,
        /// Everything.
        High,
    }

    #[test]
    fn options_are_plain_and_fields_keep_their_descriptions() {
        let schema = of::<Sample>();
        let properties = &schema["properties"];
        assert_eq!(
            properties["level"],
            json!({ "description": "About the field.", "enum": ["Low", "High"], "type": "string" })
        );
        assert_eq!(properties["title"], json!({ "type": "string" }));
        assert_eq!(properties["count"], json!({ "type": "integer" }));
        assert_eq!(properties["port"], json!({ "type": "integer", "format": "int32" }));
        assert_eq!(properties["metadata"], json!({ "type": "object" }));
        assert!(schema.get("required").is_none());
    }
}
