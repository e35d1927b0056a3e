//! Fields that v3alpha1 does not have: they come back to v1 and v2, and never win over what the object says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeSet;
use std::fs;

use convert::{Converted, Kind, Options, Version, convert_with, fields};
use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const BARE: Options = Options { prefix_ids: false, remember_spelling: true };

fn run(kind: Kind, spec: &Value, from: Version, to: Version, options: Options) -> Converted {
    let object = json!({"apiVersion": from.api_version(), "kind": kind.name(), "spec": spec});
    convert_with(object, to, options).unwrap()
}

fn up(kind: Kind, spec: &Value) -> Value {
    run(kind, spec, Version::V2, Version::V3Alpha1, BARE).object["spec"].take()
}

fn down(kind: Kind, spec: &Value) -> Value {
    run(kind, spec, Version::V3Alpha1, Version::V2, BARE).object["spec"].take()
}

/// What v3alpha1 stores of an old `spec`.
fn check(kind: Kind, old: &Value, stored: &Value) {
    assert_eq!(&up(kind, old), stored, "{kind}: {old}");
    assert_eq!(&down(kind, stored), old, "{kind} back: {stored}");
}

#[test]
fn the_tables_have_the_fields_of_the_definitions() {
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/crds");
    let mut seen = 0;
    for file in fs::read_dir(definitions).unwrap() {
        let definition: Value = serde_saphyr::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        if definition["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let kind: Kind = definition["spec"]["names"]["kind"].as_str().unwrap().parse().unwrap();
        let versions = definition["spec"]["versions"].as_array().unwrap();
        let newest = versions.iter().find(|version| version["name"] == "v3alpha1").unwrap();
        let spec = &newest["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        // Sorted, as the search in the table needs it.
        let names: BTreeSet<&str> = spec.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields::names(kind), names.into_iter().collect::<Vec<_>>(), "{kind}");
        seen += 1;
    }
    assert_eq!(seen, Kind::ALL.len());
}

#[test]
fn unknown_fields_of_a_spec_are_remembered() {
    check(
        Kind::DevPortal,
        &json!({"default": true, "auth": {"a": [null, {}]}, "a/b~c": null}),
        &json!({
            "default": true,
            "v2Spelling": {"/auth": {"value": {"a": [null, {}]}}, "/a~1b~0c": {"value": null}},
        }),
    );
    // Names that are fields of another kind, or of this kind in another version, or that memory has.
    check(
        Kind::KubernetesServiceResolver,
        &json!({"service": "s", "ambassadorId": "x", "v2Spelling": {"/a": {"value": 1}}}),
        &json!({"v2Spelling": {
            "/service": {"value": "s"}, "/ambassadorId": {"value": "x"},
            "/v2Spelling": {"value": {"/a": {"value": 1}}},
        }}),
    );
}

#[test]
fn unknown_fields_further_down_are_remembered() {
    let base = |more: Value, memory: Value| {
        let mut spec = json!({"prefix": "/", "service": "s", "hostname": "h"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec["v2Spelling"] = memory;
        spec
    };
    for (old, new, memory) in [
        (
            json!({"cors": {"origins": ["a"], "unknown": {"x": 1}, "methods": null}}),
            json!({"cors": {"origins": ["a"]}}),
            json!({"/cors/unknown": {"value": {"x": 1}}, "/cors/methods": {"value": null}}),
        ),
        (
            json!({"headers": {"a": "1", "b": {"x": 1}, "c": [{"x": 1}]}}),
            json!({"headers": {"a": "1", "b": {}, "c": [{}]}}),
            json!({"/headers/b": {"value": {"x": 1}}, "/headers/c": {"value": [{"x": 1}]}}),
        ),
        (
            json!({"add_request_headers": {"a": {"value": "1", "unknown": 2}, "b": {"value": "1"}}}),
            json!({"add_request_headers": {"a": {"value": "1"}, "b": {"value": "1"}}}),
            json!({"/add_request_headers/a": {"value": {"value": "1", "unknown": 2}}}),
        ),
        (
            json!({"labels": {"d": [{"g": [{"n": {"header": "h", "unknown": 1}}, "s"]}], "e": [{"g": ["s"]}]}}),
            json!({"labels": {
                "d": [{"g": [
                    {"request_headers": {"key": "n", "header_name": "h"}},
                    {"generic_key": {"value": "s", "v2Shorthand": true}},
                ]}],
                "e": [{"g": [{"generic_key": {"value": "s", "v2Shorthand": true}}]}],
            }}),
            json!({"/labels/d": {"value": [{"g": [{"n": {"header": "h", "unknown": 1}}, "s"]}]}}),
        ),
        (json!({"tls": {"a": 1}}), json!({"tls": {}}), json!({"/tls/a": {"value": 1}})),
        (json!({"ambassador_id": null}), json!({}), json!({"/ambassador_id": {"value": null}})),
        (
            json!({"remove_request_headers": [{"a": 1}]}),
            json!({"remove_request_headers": [{}]}),
            json!({
                "/remove_request_headers": {"value": [{"a": 1}]},
            }),
        ),
    ] {
        let mut spec = json!({"prefix": "/", "service": "s", "host": "h"});
        spec.as_object_mut().unwrap().extend(old.as_object().unwrap().clone());
        check(Kind::Mapping, &spec, &base(new, memory));
    }
}

#[test]
fn what_stays_open_is_left_alone() {
    let open = json!({"prefix": "/", "service": "s", "envoy_override": {"a": {"b": null}}, "modules": [{"a": 1}]});
    assert_eq!(up(Kind::Mapping, &open)["v2Spelling"], json!(null));
    assert_eq!(down(Kind::Mapping, &up(Kind::Mapping, &open)), open);
    let module = json!({"config": {"a": {"b": null}}});
    check(Kind::Module, &module, &module);
    // The test data of upstream has one, and an API server never does.
    let labels = json!({"prefix": "/", "hostname": "h", "service": "s", "labels": {"d": null}});
    assert_eq!(up(Kind::Mapping, &down(Kind::Mapping, &labels)), labels);
}

#[test]
fn without_memory_unknown_fields_stay_where_they_are() {
    let options = Options { remember_spelling: false, ..BARE };
    let old = json!({"address": "a", "unknown": 1});
    let Converted { object, notes } = run(Kind::ConsulResolver, &old, Version::V2, Version::V3Alpha1, options);
    assert_eq!((&object["spec"], notes.len()), (&old, 0));
    let notes = run(Kind::ConsulResolver, &old, Version::V2, Version::V3Alpha1, BARE).notes;
    assert_eq!(notes[0].to_string(), "spec.unknown: is no field of v3alpha1; kept in v2Spelling");
}

#[test]
fn what_the_object_says_wins() {
    let old = json!({"address": "a", "unknown": 1, "other": 2});
    let mut new = up(Kind::ConsulResolver, &old);
    new["unknown"] = json!(null);
    let Converted { object, notes } = run(Kind::ConsulResolver, &new, Version::V3Alpha1, Version::V2, BARE);
    assert_eq!(object["spec"], json!({"address": "a", "unknown": null, "other": 2}));
    assert_eq!(notes[0].at, "spec.unknown");

    // A field that v3alpha1 has is never touched, set or not, nor what lies below an unknown one.
    let memory = json!({
        "/address": {"value": "evil"}, "/datacenter": {"value": "evil"}, "/x/y": {"value": 1}, "/z": {}, "/w": 5,
    });
    let new = json!({"address": "a", "x": {}, "v2Spelling": memory});
    assert_eq!(down(Kind::ConsulResolver, &new), json!({"address": "a", "x": {}}));

    // Edited in place in a file, where nothing drops it.
    let mut new = up(Kind::Mapping, &json!({"host": "h", "cors": {"unknown": 1, "methods": "GET"}}));
    new["cors"]["unknown"] = json!(2);
    assert_eq!(down(Kind::Mapping, &new)["cors"], json!({"unknown": 2, "methods": "GET"}));

    // Edited elsewhere, all that is remembered still counts.
    let old = json!({"host": "h", "cors": {"unknown": 1, "max_age": "1"}, "unknown": 1});
    let mut new = up(Kind::Mapping, &old);
    new["cors"]["max_age"] = json!("2");
    new["cors"]["origins"] = json!(["o"]);
    assert_eq!(
        down(Kind::Mapping, &new),
        json!({"host": "h", "cors": {"unknown": 1, "max_age": "2", "origins": ["o"]}, "unknown": 1})
    );
    // What is removed takes along what was remembered inside of it.
    new.as_object_mut().unwrap().remove("cors");
    assert_eq!(down(Kind::Mapping, &new), json!({"host": "h", "unknown": 1}));
}

#[test]
fn memory_is_not_much_larger_than_the_object() {
    let long = "n".repeat(10_000);
    let many = |value: Value| Map::from_iter((0..10_000).map(|n| (n.to_string(), value.clone())));
    for (kind, old) in [
        (Kind::Mapping, json!({"add_request_headers": {&long: many(json!(1))}})),
        (Kind::Mapping, json!({"headers": {&long: many(json!(1))}})),
        (Kind::Mapping, json!({"query_parameters": many(json!(null))})),
        (Kind::Mapping, json!({"cors": {&long: many(json!(1))}})),
        (Kind::Mapping, json!({"labels": {&long: [{&long: [null, many(json!(1))]}]}})),
        (Kind::TracingService, json!({"config": {"v3PropagationModes": 1, "propagation_modes": many(json!(1))}})),
        (Kind::ConsulResolver, json!(many(json!(1)))),
    ] {
        let size = |value: &Value| serde_json::to_vec(value).unwrap().len();
        let new = up(kind, &old);
        assert!(size(&new) < 5 * size(&old) + 1_000, "{kind}: {} for {}", size(&new), size(&old));
        assert_eq!(down(kind, &new), old);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(json!(null)), any::<bool>().prop_map(Value::from), "[a-z*/~]{0,3}".prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map("[a-z~/]{0,3}", inner, 0..3).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Random names beside the known fields, and an edit in between.
    #[test]
    fn unknown_fields_come_back_and_edits_stay(
        kind in select(Kind::ALL.into_iter().filter(|kind| kind.has(Version::V2)).collect::<Vec<_>>()),
        unknown in btree_map("[a-z~/A-Z0-9_ü]{0,6}", value(), 0..6),
        edited in btree_map("[a-z~/A-Z0-9_ü]{0,2}", value(), 0..6),
    ) {
        let old = Value::Object(unknown.clone().into_iter().collect());
        let new = up(kind, &old);
        for field in unknown.keys().filter(|field| !fields::knows(kind, field)) {
            prop_assert_eq!(new.get(field), None);
        }
        prop_assert_eq!(&down(kind, &new), &old, "through {}", new);

        let strange = |field: &&String| !fields::knows(kind, field) && kind != Kind::Mapping;
        let mut new = new;
        new.as_object_mut().unwrap().extend(edited.clone());
        let back = down(kind, &new);
        for (field, value) in edited.iter().filter(|(field, _)| strange(field)) {
            prop_assert_eq!(&back[field], value, "{} of {}", field, new);
        }
    }
}
