//! Every object that the definitions of Emissary-ingress 4.1 admit must stay valid under ours.
//!
//! The comparison needs upstream's definitions, which stand beside the repository and not in it; without them it is
//! skipped, and says so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};

const UPSTREAM: &str = "../../shared/corpus/crds/v4.1.yaml";

/// Says where `ours` refuses something that `theirs` admits.
fn narrower(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    let flag = |schema: &Value| schema["x-kubernetes-preserve-unknown-fields"] == true;
    let list = |schema: &Value, name: &str| -> BTreeSet<String> {
        schema[name].as_array().into_iter().flatten().map(Value::to_string).collect()
    };
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
    for name in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        if ours[name] != theirs[name] {
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
    for below in ["items", "additionalProperties"] {
        match (ours.get(below), theirs.get(below)) {
            (Some(ours), Some(theirs)) => narrower(&format!("{at}[]"), ours, theirs, found),
            (None, None) => {}
            (ours, _) => found.push(format!("{at}: {below} is {}", if ours.is_some() { "new" } else { "missing" })),
        }
    }
}

#[test]
fn definitions_are_at_least_as_wide_as_upstreams() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(UPSTREAM);
    let Ok(text) = fs::read_to_string(&path) else {
        // Past the capture of test output, which would hide it.
        writeln!(io::stderr(), "skipped: no upstream definitions at {UPSTREAM}").unwrap();
        return;
    };
    let ours: BTreeMap<String, Value> = crd_gen::files()
        .unwrap()
        .iter()
        .map(|file| serde_saphyr::from_str::<Value>(&file.text).unwrap())
        .map(|document| (document["metadata"]["name"].as_str().unwrap().to_owned(), document))
        .collect();
    let upstream = api::yaml::documents(&text, 100).unwrap();
    assert_eq!(upstream.len(), ours.len());
    let mut found = Vec::new();
    let mut properties = 0;
    for theirs in &upstream {
        let name = theirs["metadata"]["name"].as_str().unwrap();
        let ours = &ours[name];
        assert_eq!(ours["spec"]["names"], theirs["spec"]["names"], "{name}");
        let mine = &ours["spec"]["versions"][0];
        let versions = theirs["spec"]["versions"].as_array().unwrap();
        let theirs = versions.iter().find(|version| version["name"] == mine["name"]).unwrap();
        let (schema, their_schema) = (&mine["schema"]["openAPIV3Schema"], &theirs["schema"]["openAPIV3Schema"]);
        narrower(name, schema, their_schema, &mut found);
        properties += count(their_schema);
        if let Some(columns) = theirs["additionalPrinterColumns"].as_array() {
            let mine = mine["additionalPrinterColumns"].as_array().unwrap();
            assert_eq!(&mine[..columns.len()], columns, "{name}: columns");
            assert_eq!(mine.len(), columns.len() + 1, "{name}: only READY comes after upstream's columns");
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    // A comparison that looked at next to nothing would pass as well.
    assert!(properties > 400, "{properties} properties compared");
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
