//! Objects made from the schemas of Emissary-ingress itself: whatever its API server admits, ours admits, converts, and
//! gives back.
//!
//! The schemas stand beside the repository and not in it; without them the tests are skipped, and say so. The number of
//! objects of each kind and version is `PROPTEST_CASES`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

#[path = "schemas/maker.rs"]
mod maker;
#[path = "schemas/structural.rs"]
mod structural;

use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use convert::{Kind, Options, Version, convert_with};
use maker::{Maker, OPEN, Schemas, schemas};
use serde_json::{Value, json};
use structural::kept;

const BARE: Options = Options { prefix_ids: false, remember_spelling: true };
/// Our own definitions, beside the releases of upstream.
const OURS: &str = "ours";

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

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

/// Calls `check` with objects of every kind and version that these definitions admit.
fn each(release: &str, odd: bool, check: impl Fn(&Schemas, Kind, Version, Value)) {
    let ours = ours();
    let Some(theirs) = (if release == OURS { Some(ours.clone()) } else { upstream(release) }) else { return };
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

/// Fields that nobody knows and values of any type come back, too, wherever the old versions admit them: nothing is lost
/// in storage.
#[test]
fn stored_as_v3alpha1_fields_that_nobody_knows_come_back() {
    for release in ["v3.9", "v4.1", OURS] {
        each(release, true, |ours, kind, version, mut object| {
            if version == Version::V3Alpha1 {
                return;
            }
            // What the API server hands on of what it is given.
            kept(&schema_of(ours, kind, version)["properties"]["spec"], &mut object["spec"]);
            let converted = run(&object, Version::V3Alpha1);
            let mut stored = converted.clone();
            kept(&schema_of(ours, kind, Version::V3Alpha1)["properties"]["spec"], &mut stored["spec"]);
            assert_eq!(stored, converted, "{object}");
            assert_eq!(run(&stored, version), object, "through {stored}");
        });
    }
}

/// The other way round, where v2 is the stored version.
#[test]
fn stored_as_v2_new_objects_come_back() {
    for release in ["v3.9", "v4.1", OURS] {
        each(release, true, |ours, kind, version, mut object| {
            if version != Version::V3Alpha1 || !kind.has(Version::V2) {
                return;
            }
            kept(&schema_of(ours, kind, version)["properties"]["spec"], &mut object["spec"]);
            let converted = run(&object, Version::V2);
            let mut stored = converted.clone();
            kept(&schema_of(ours, kind, Version::V2)["properties"]["spec"], &mut stored["spec"]);
            assert_eq!(stored, converted, "{object}");
        });
    }
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
    let mut value = json!({"a": null, "b": ["x", {"c": 1}], "c": 1});
    kept(&schema, &mut value);
    assert_eq!(value, json!({"b": ["x", {}]}));
}
