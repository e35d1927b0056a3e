//! Shapes of the published schema that a derive cannot express.

use schemars::Schema;
use serde_json::{Map, Value};

/// Rewrites the schema of an enumeration with payloads into that of an object of which exactly one property is set.
///
/// A derive gives `oneOf` with an object for each variant. Emissary-ingress publishes the plain properties with
/// `minProperties` and `maxProperties` instead, which `kubectl explain` shows better.
pub(crate) fn exactly_one_property(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    let Some(Value::Array(variants)) = object.remove("oneOf") else { return };
    let mut properties = Map::new();
    for mut variant in variants {
        let description = variant.get_mut("description").map(Value::take);
        let Some(Value::Object(own)) = variant.get_mut("properties").map(Value::take) else { continue };
        for (name, mut property) in own {
            if let (Some(text), Some(property)) = (&description, property.as_object_mut()) {
                property.insert("description".to_owned(), text.clone());
            }
            properties.insert(name, property);
        }
    }
    object.insert("type".to_owned(), "object".into());
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("minProperties".to_owned(), 1.into());
    object.insert("maxProperties".to_owned(), 1.into());
}
