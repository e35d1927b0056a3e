//! Objects that a schema admits.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Keeps fields that a schema does not know.
pub const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Schemas by kind and version.
pub type Schemas = BTreeMap<(String, String), Value>;

/// The schemas of the definitions in a text.
pub fn schemas(text: &str) -> Schemas {
    let mut schemas = Schemas::new();
    for document in serde_saphyr::from_multiple::<Value>(text).unwrap() {
        for version in document["spec"]["versions"].as_array().into_iter().flatten() {
            let kind = document["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            let name = version["name"].as_str().unwrap().to_owned();
            schemas.insert((kind, name), version["schema"]["openAPIV3Schema"].clone());
        }
    }
    schemas
}

/// Makes objects; the same ones in every run.
pub struct Maker {
    /// Where it begins.
    pub state: u64,
    /// Put unknown fields and odd values where a schema is open.
    pub odd: bool,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64, whose constants are its author's.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn text(&mut self) -> Value {
        let texts = [
            "",
            "*",
            "a",
            "a,b",
            ".*",
            "svc",
            "http://svc",
            "HTTP://svc",
            "https://svc",
            "HTTPS://svc",
            "remote_address",
            "null",
            "_skip_mapping_with_empty_host_",
            "--apiVersion-v3alpha1-only--x",
            "true",
            "ü",
            "x/y~z",
        ];
        json!(self.pick(&texts))
    }

    fn anything(&mut self, depth: usize) -> Value {
        match self.below(if depth > 2 { 5 } else { 7 }) {
            0 => json!(null),
            1 => json!(true),
            2 => json!(false),
            3 => json!(self.below(1000)),
            4 => self.text(),
            5 => (0..self.below(3)).map(|_| self.anything(depth + 1)).collect(),
            _ => {
                let keys: Vec<String> = (0..self.below(3)).map(|_| self.key()).collect();
                keys.into_iter().map(|key| (key, self.anything(depth + 1))).collect::<Map<_, _>>().into()
            }
        }
    }

    fn key(&mut self) -> String {
        let names = [
            "a",
            "b",
            "x-h",
            "header",
            "value",
            "append",
            "generic_key",
            "v3Key",
            "tls",
            "hostname",
            "ambassador_id",
            "ambassadorId",
            "stats_name",
            "v2Spelling",
            "v2ExplicitTLS",
            "v2BoolHeaders",
            "origins",
            "methods",
            "mappingSelector",
            "a/b~c",
            "unknown",
        ];
        self.pick(&names).to_owned()
    }

    /// A value that a schema admits.
    pub fn value(&mut self, at: &str, schema: &Value) -> Value {
        if let Some(choices) = schema["oneOf"].as_array() {
            let mut choice = self.pick(choices);
            choice["items"] = schema["items"].clone();
            if choice["type"] == "object" && !self.odd {
                let header = json!({"key": {"header": "x-h", "omit_if_not_present": false}});
                let labels = [header, json!({"generic_key": "g"}), json!({"generic_key": "g", "v3Key": "k"})];
                let added = [json!({"value": "1"}), json!({"value": "1", "append": false}), json!({"append": true})];
                return if at.contains(".labels") { self.pick(&labels) } else { self.pick(&added) };
            }
            if choice["type"] == "object" {
                choice[OPEN] = json!(true);
            }
            return self.value(at, &choice);
        }
        if let Some(values) = schema["enum"].as_array() {
            return self.pick(values);
        }
        match schema["type"].as_str() {
            Some("string") if schema["format"] == "date-time" => json!("2026-11-21T14:00:00Z"),
            Some("string") if schema["pattern"].is_string() => json!(self.pick(&["", "http://", "HTTPS://"])),
            Some("string") => self.text(),
            Some("boolean") => json!(self.below(2) == 0),
            Some("integer") => {
                let least = schema["minimum"].as_i64().unwrap_or(-1);
                let most = schema["maximum"].as_i64().unwrap_or(i64::from(i32::MAX));
                json!(self.pick(&[0, 1, -1, 80, 500, least, most]).clamp(least, most))
            }
            Some("array") => {
                let least = usize::try_from(schema["minItems"].as_u64().unwrap_or(0)).unwrap();
                let count = least + self.below(3);
                // `cors.origins` has no schema for its items; they are strings.
                let strings = schema["items"].is_null() && !self.odd;
                (0..count).map(|_| if strings { self.text() } else { self.value(at, &schema["items"]) }).collect()
            }
            Some("object") => self.object(at, schema),
            _ => self.anything(0),
        }
    }

    fn object(&mut self, at: &str, schema: &Value) -> Value {
        let mut fields = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(properties) = schema["properties"].as_object() {
            if schema["maxProperties"] == 1 {
                let names: Vec<&String> = properties.keys().collect();
                let name = self.pick(&names);
                fields.insert(name.clone(), self.value(&format!("{at}.{name}"), &properties[name]));
                return fields.into();
            }
            for (name, schema) in properties {
                if required.contains(&name.as_str()) || self.below(3) == 0 {
                    fields.insert(name.clone(), self.value(&format!("{at}.{name}"), schema));
                }
            }
        }
        let most = schema["maxProperties"].as_u64().map_or(3, |most| usize::try_from(most).unwrap());
        let least = usize::try_from(schema["minProperties"].as_u64().unwrap_or(0)).unwrap();
        if schema["additionalProperties"].is_object() {
            let count = self.below(most - least + 1) + least;
            while fields.len() < count {
                fields.insert(self.key(), self.value(at, &schema["additionalProperties"]));
            }
        } else if schema[OPEN] == true && (self.odd || !schema["properties"].is_object()) {
            let count = self.below(most - least + 1) + least;
            for _ in 0..count {
                let name = self.key();
                // A name with a schema is not unknown.
                if schema["properties"].get(&name).is_none() {
                    fields.insert(name, self.anything(0));
                }
            }
            if fields.len() < least {
                fields.insert("only".to_owned(), self.anything(0));
            }
        }
        fields.into()
    }
}
