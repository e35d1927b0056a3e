//! Every object that the definitions of Emissary-ingress 3.9 and 4.1 admit must stay valid under ours.
//!
//! The comparison needs upstream's definitions, which stand beside the repository and not in it; without them it is
//! skipped, and says so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use crd_gen::{Options, Storage, Versions, Webhook};
use serde_json::{Value, json};

/// The published definitions of 3.9, and the schemas that 4.1 validates with, which has its own words for unions.
const UPSTREAM: [&str; 2] = ["../../shared/corpus/crds/v3.9.yaml", "../../shared/corpus/crds/v4.1.yaml"];

/// Says where `ours` refuses something that `theirs` admits.
fn narrower(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    let flag = |schema: &Value| schema["x-kubernetes-preserve-unknown-fields"] == true;
    let list = |schema: &Value, name: &str| -> BTreeSet<String> {
        schema[name].as_array().into_iter().flatten().map(Value::to_string).collect()
    };
    if flag(ours) && ours["type"].is_null() {
        // Open for anything.
        if ours["nullable"] != true || ours["properties"].is_object() || ours["enum"].is_array() {
            found.push(format!("{at}: not quite open: {ours}"));
        }
        return;
    }
    let mut say = |text: String| found.push(format!("{at}: {text}"));
    if ours["type"] != theirs["type"] {
        say(format!("type {} instead of {}", ours["type"], theirs["type"]));
    }
    if flag(theirs) && !flag(ours) {
        say("unknown fields are pruned".to_owned());
    }
    if !ours["enum"].is_null() {
        for value in list(theirs, "enum").difference(&list(ours, "enum")) {
            say(format!("{value} is missing in the enumeration"));
        }
        if theirs["enum"].is_null() {
            say("an enumeration where there was none".to_owned());
        }
    }
    for name in list(ours, "required").difference(&list(theirs, "required")) {
        say(format!("{name} is required"));
    }
    for name in ["pattern", "format", "default"] {
        if !ours[name].is_null() && ours[name] != theirs[name] {
            say(format!("{name} {} instead of {}", ours[name], theirs[name]));
        }
    }
    for (name, sign) in [("minimum", 1.0), ("minItems", 1.0), ("minProperties", 1.0), ("minLength", 1.0)]
        .into_iter()
        .chain([("maximum", -1.0), ("maxItems", -1.0), ("maxProperties", -1.0), ("maxLength", -1.0)])
    {
        let none = f64::NEG_INFINITY;
        let bound = |schema: &Value| schema[name].as_f64().map_or(none, |bound| bound * sign);
        if bound(ours) > bound(theirs) {
            say(format!("{name} {} instead of {}", ours[name], theirs[name]));
        }
    }
    for (name, default) in [("x-kubernetes-list-type", "atomic"), ("x-kubernetes-map-type", "granular")] {
        let of = |schema: &Value| schema[name].as_str().unwrap_or(default).to_owned();
        if of(ours) != of(theirs) {
            say(format!("{name} {} instead of {}", ours[name], theirs[name]));
        }
    }
    let properties = theirs["properties"].as_object();
    for (name, theirs) in properties.into_iter().flatten() {
        match ours["properties"].get(name) {
            Some(ours) => narrower(&format!("{at}.{name}"), ours, theirs, found),
            None if flag(ours) => {}
            None => found.push(format!("{at}.{name}: missing")),
        }
    }
    // What they leave open must not get a type here.
    for (name, ours) in ours["properties"].as_object().into_iter().flatten() {
        if flag(theirs) && theirs["properties"].get(name).is_none() && !(flag(ours) && ours["type"].is_null()) {
            found.push(format!("{at}.{name}: was open"));
        }
    }
    for below in ["items", "additionalProperties"] {
        match (ours.get(below), theirs.get(below)) {
            (Some(ours), Some(theirs)) => narrower(&format!("{at}[]"), ours, theirs, found),
            (None, None) => {}
            (None, Some(_)) if flag(ours) => {}
            (ours, _) => found.push(format!("{at}: {below} is {}", if ours.is_some() { "new" } else { "missing" })),
        }
    }
}

#[test]
fn definitions_are_at_least_as_wide_as_upstreams() {
    let webhook = Webhook::default();
    let all = Versions::All { storage: Storage::V2, webhook };
    for file in UPSTREAM {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let Ok(text) = fs::read_to_string(&path) else {
            // Past the capture of test output, which would hide it.
            writeln!(io::stderr(), "skipped: no upstream definitions at {file}").unwrap();
            continue;
        };
        let upstream: Vec<Value> = api::yaml::documents(&text, 100).unwrap();
        let upstream: Vec<Value> =
            upstream.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition").collect();
        assert_eq!(upstream.len(), 14, "{file}");
        for versions in [Versions::Newest, all.clone()] {
            compare(&Options { versions, ..Options::default() }, &upstream);
        }
    }
}

fn compare(options: &Options, upstream: &[Value]) {
    let everything = options.versions != Versions::Newest;
    let ours: BTreeMap<String, Value> = crd_gen::files(options)
        .unwrap()
        .iter()
        .map(|file| serde_saphyr::from_str::<Value>(&file.text).unwrap())
        .map(|document| (document["metadata"]["name"].as_str().unwrap().to_owned(), document))
        .collect();
    let mut found = Vec::new();
    let mut properties = 0;
    for theirs in upstream {
        let name = theirs["metadata"]["name"].as_str().unwrap();
        let ours = &ours[name];
        assert_eq!(ours["spec"]["names"], theirs["spec"]["names"], "{name}");
        for theirs in theirs["spec"]["versions"].as_array().unwrap() {
            let at = format!("{name} {}", theirs["name"]);
            let versions = ours["spec"]["versions"].as_array().unwrap();
            let Some(mine) = versions.iter().find(|version| version["name"] == theirs["name"]) else {
                assert!(!everything && theirs["name"] != "v3alpha1", "{at} is missing");
                continue;
            };
            if everything {
                assert_eq!((&mine["served"], &mine["storage"]), (&theirs["served"], &theirs["storage"]), "{at}");
            }
            let (schema, their_schema) = (&mine["schema"]["openAPIV3Schema"], &theirs["schema"]["openAPIV3Schema"]);
            narrower(&at, schema, their_schema, &mut found);
            properties += count(their_schema);
            if let Some(columns) = theirs["additionalPrinterColumns"].as_array() {
                let mine = mine["additionalPrinterColumns"].as_array().unwrap();
                assert_eq!(&mine[..columns.len()], columns, "{at}: columns");
                assert_eq!(mine.len(), columns.len() + 1, "{at}: only READY comes after upstream's columns");
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    // A comparison that looked at next to nothing would pass as well.
    let least = if everything { 1_000 } else { 400 };
    assert!(properties > least, "{properties} properties compared");
}

fn count(schema: &Value) -> usize {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let below = ["items", "additionalProperties"].iter().filter_map(|below| schema.get(below)).map(count);
    properties.map(|(_, property)| 1 + count(property)).chain(below).sum()
}

#[test]
fn comparison_notices_what_is_narrower() {
    let cases = [
        (json!({"type": "string"}), json!({"type": "integer"})),
        (json!({"type": "string", "enum": ["a"]}), json!({"type": "string"})),
        (json!({"type": "string", "enum": ["a"]}), json!({"type": "string", "enum": ["a", "b"]})),
        (json!({"type": "string", "pattern": "x"}), json!({"type": "string"})),
        (json!({"type": "integer", "format": "int32"}), json!({"type": "integer"})),
        (json!({"type": "integer", "minimum": 0}), json!({"type": "integer"})),
        (json!({"type": "integer", "maximum": 5}), json!({"type": "integer", "maximum": 6})),
        (json!({"type": "object"}), json!({"type": "object", "properties": {"a": {"type": "string"}}})),
        (json!({"type": "object"}), json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        (json!({"type": "object", "required": ["a"]}), json!({"type": "object"})),
        (
            json!({
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"a": {"type": "string"}},
            }),
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        ),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!({"type": "string"})),
        (json!({"type": "string"}), json!({"oneOf": [{"type": "string"}, {"type": "boolean"}]})),
        (json!({"type": "array", "items": {"type": "string"}, "minItems": 1}), json!({"type": "array"})),
    ];
    for (ours, theirs) in cases {
        let mut found = Vec::new();
        narrower("", &ours, &theirs, &mut found);
        assert!(!found.is_empty(), "{ours} against {theirs}");
        found.clear();
        narrower("", &theirs, &theirs, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
