//! Objects made from the schemas of Emissary-ingress itself: whatever its API server admits, ours admits, converts, and
//! gives back.
//!
//! The schemas stand beside the repository and not in it; without them the tests are skipped, and say so. The number of
//! objects of each kind and version is `PROPTEST_CASES`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use convert::{Kind, Options, Version, convert_with};
use serde_json::{Map, Value, json};

const BARE: Options = Options { prefix_ids: false, remember_spelling: true };
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// Schemas by kind and version.
type Schemas = BTreeMap<(String, String), Value>;

/// The definitions of upstream, if they are at hand: those published with 3.9, and those that 4.1 validates with.
fn upstream(release: &str) -> Option<Schemas> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../../shared/corpus/crds/{release}.yaml"));
    let text = fs::read_to_string(path).ok();
    if text.is_none() {
        // Past the capture of test output, which would hide it.
        let line = format!("skipped: no definitions of {release} beside the repository\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
    }
    Some(schemas(&text?))
}

fn ours() -> Schemas {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/crds-all-versions");
    let files = fs::read_dir(dir).unwrap();
    files.flat_map(|file| schemas(&fs::read_to_string(file.unwrap().path()).unwrap())).collect()
}

fn schemas(text: &str) -> Schemas {
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
struct Maker {
    state: u64,
    /// Put unknown fields and odd values where a schema is open.
    odd: bool,
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
    fn value(&mut self, at: &str, schema: &Value) -> Value {
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

/// Why a structural schema refuses a value; unknown fields are taken out, not refused.
fn refused(at: &str, schema: &Value, value: &Value) -> Option<String> {
    let say = |what: &str| Some(format!("{at}: {value} is not {what} {schema}"));
    if value.is_null() && (schema["nullable"] == true || schema["type"].is_null()) {
        return None;
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some(other) => panic!("{at}: type {other}"),
        None => schema[OPEN] == true,
    };
    if !fits {
        return say("of type");
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return say("one of");
    }
    if schema["pattern"].is_string()
        && !["", "http://", "https://"].contains(&value.as_str().unwrap().to_lowercase().as_str())
    {
        return say("matching");
    }
    if schema["format"] == "int32" && value.as_i64().is_some_and(|number| i32::try_from(number).is_err()) {
        return say("in 32 bits");
    }
    let size = match value {
        Value::Array(values) => values.len() as i64,
        Value::Object(fields) => fields.len() as i64,
        Value::Number(number) => number.as_i64().unwrap(),
        _ => 0,
    };
    for (least, most) in [("minimum", "maximum"), ("minItems", "maxItems"), ("minProperties", "maxProperties")] {
        if schema[least].as_i64().is_some_and(|least| size < least)
            || schema[most].as_i64().is_some_and(|most| size > most)
        {
            return say("within");
        }
    }
    let fields = value.as_object().into_iter().flatten();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return say(&format!("without {name}"));
        }
    }
    for (name, value) in fields {
        let below = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        if let Some(problem) = below.and_then(|below| refused(&format!("{at}.{name}"), below, value)) {
            return Some(problem);
        }
    }
    let items = schema.get("items")?;
    value.as_array().into_iter().flatten().find_map(|value| refused(&format!("{at}[]"), items, value))
}

/// What an API server keeps of a converted object: no field that the schema does not have, no null that it does not want.
fn kept(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let known = |name: &str| schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            fields.retain(|name, value| match known(name) {
                Some(below) => !value.is_null() || below["nullable"] == true,
                None => schema[OPEN] == true,
            });
            for (name, value) in fields {
                if let Some(below) = known(name) {
                    kept(below, value);
                }
            }
        }
        Value::Array(values) => {
            if let Some(items) = schema.get("items") {
                values.iter_mut().for_each(|value| kept(items, value));
            }
        }
        _ => {}
    }
}

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

/// Calls `check` with objects of every kind and version.
fn each(release: &str, odd: bool, check: impl Fn(&Schemas, Kind, Version, Value)) {
    let Some(theirs) = upstream(release) else { return };
    let ours = ours();
    assert!(theirs.len() == 39 && ours.len() == 39, "{} and {} schemas", theirs.len(), ours.len());
    for (index, ((kind, name), schema)) in theirs.iter().enumerate() {
        let version = Version::of_api_version(&format!("{}/{name}", convert::GROUP)).unwrap();
        let kind: Kind = kind.parse().unwrap();
        for case in 0..cases() {
            let mut maker = Maker { state: case * 1_000 + index as u64, odd };
            let mut object = json!({
                "apiVersion": version.api_version(), "kind": kind.name(), "metadata": {"name": "x", "namespace": "y"},
            });
            for part in ["spec", "status"] {
                if schema["properties"].get(part).is_some() {
                    object[part] = maker.value(&format!(".{part}"), &schema["properties"][part]);
                }
            }
            check(&ours, kind, version, object);
        }
    }
}

fn run(object: &Value, to: Version) -> Value {
    convert_with(object.clone(), to, BARE).unwrap_or_else(|problem| panic!("{object}: {problem}")).object
}

fn schema_of(schemas: &Schemas, kind: Kind, version: Version) -> &Value {
    let name = version.api_version().rsplit_once('/').unwrap().1;
    &schemas[&(kind.name().to_owned(), name.to_owned())]
}

#[test]
fn what_upstream_admits_is_admitted() {
    for release in ["v3.9", "v4.1"] {
        each(release, true, |ours, kind, version, object| {
            let problem = refused("", schema_of(ours, kind, version), &object);
            assert_eq!(problem, None, "{object}");
        });
    }
}

#[test]
fn what_upstream_admits_comes_back_from_every_version() {
    for release in ["v3.9", "v4.1"] {
        each(release, true, |_, kind, version, object| {
            for to in Version::ALL.into_iter().filter(|to| kind.has(*to)) {
                let there = run(&object, to);
                assert_eq!(there["apiVersion"], to.api_version());
                let back = run(&there, version);
                if version == Version::V3Alpha1 {
                    // Some spellings of v3alpha1 become others, once.
                    assert_eq!(run(&back, to), there, "{object}");
                } else {
                    assert_eq!(back, object, "through {there}");
                }
            }
        });
    }
}

/// What v3alpha1 stores of an old object in any spelling that upstream knows is enough to give it back, and is valid.
#[test]
fn stored_as_v3alpha1_old_objects_are_valid_and_come_back() {
    each("v4.1", false, |ours, kind, version, object| {
        if version == Version::V3Alpha1 {
            return;
        }
        let mut stored = run(&object, Version::V3Alpha1);
        let schema = schema_of(ours, kind, Version::V3Alpha1);
        kept(schema, &mut stored);
        stored["metadata"] = object["metadata"].clone();
        assert_eq!(refused("", schema, &stored), None, "{object}");
        assert_eq!(run(&stored, version), object, "through {stored}");
    });
}

#[test]
fn the_validator_notices_what_is_wrong() {
    let schema = json!({
        "type": "object", "required": ["a"], "maxProperties": 2,
        "properties": {
            "a": {"type": "integer", "minimum": 1}, "b": {"type": "array", "items": {"enum": ["x"], "type": "string"}},
        },
    });
    assert_eq!(refused("", &schema, &json!({"a": 1, "b": ["x"]})), None);
    for wrong in
        [json!({}), json!({"a": 0}), json!({"a": "1"}), json!({"a": null}), json!({"a": 1, "b": ["y"]}), json!([])]
    {
        assert!(refused("", &schema, &wrong).is_some(), "{wrong}");
    }
    let mut value = json!({"a": null, "b": ["x"], "c": 1});
    kept(&schema, &mut value);
    assert_eq!(value, json!({"b": ["x"]}));
}
