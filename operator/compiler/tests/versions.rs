//! Objects of v1 and v2 from files and annotations mean what the conversion webhook makes of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use ir::{Effect, Kind, ProblemKind};
use serde_json::{Value, json};
use support::{Mirror, compile, custom, host, listener, mapping, service, verdict};

fn older(version: &str, mut value: Value) -> Value {
    value["apiVersion"] = json!(format!("getambassador.io/{version}"));
    value
}

fn base() -> Vec<Value> {
    let insecure = json!({ "insecure": { "action": "Route" } });
    vec![
        listener("l", 8080, "HTTPS", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": insecure })),
        service("backend", Some("10.0.0.1")),
    ]
}

fn rows(more: &[Value]) -> Mirror {
    let mut values = base();
    values.extend_from_slice(more);
    Mirror::of(&compile(&values).0)
}

#[test]
fn an_old_mapping_is_the_new_one_it_converts_to() {
    let old = json!({
        "hostname": null, "host": "a.example.com", "prefix": "/a/", "service": "backend", "tls": true,
        "headers": { "x-version": "2", "x-debug": true }, "add_request_headers": { "x-a": "1" },
        "cors": { "origins": "https://a,https://b" }, "v3StatsName": "stats",
    });
    let new = json!({
        "hostname": "a.example.com", "prefix": "/a/", "service": "https://backend",
        "headers": { "x-version": "2" }, "regex_headers": { "x-debug": ".*" },
        "add_request_headers": { "x-a": { "value": "1" } },
        "cors": { "origins": ["https://a", "https://b"] }, "stats_name": "stats",
    });
    let wanted = rows(&[mapping("m", new)]);
    assert_ne!(wanted, rows(&[]));
    for version in ["v1", "v2"] {
        assert_eq!(rows(&[older(version, mapping("m", old.clone()))]), wanted, "{version}");
    }
}

#[test]
fn old_objects_in_annotations_are_converted() {
    let wanted = rows(&[mapping("m", json!({ "prefix": "/a/", "headers": {}, "regex_headers": { "x": ".*" } }))]);
    for form in [
        "{apiVersion: getambassador.io/v2, kind: Mapping, name: m, prefix: /a/, service: backend, headers: {x: true}}",
        "{apiVersion: ambassador/v1, kind: Mapping, name: m, prefix: /a/, service: backend, headers: {x: true}}",
    ] {
        let mut bearer = service("backend", Some("10.0.0.1"));
        bearer["metadata"]["annotations"] = json!({ "getambassador.io/config": form });
        let mut values = base();
        values[2] = bearer;
        assert_eq!(Mirror::of(&compile(&values).0), wanted, "{form}");
    }
}

#[test]
fn namesakes_of_other_installations_are_passed_over() {
    let declared = |name: &str, id: &str, path: &str| {
        let mut bearer = service(name, Some("10.0.0.1"));
        let form = format!(
            "{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, name: m, ambassador_id: [{id}], hostname: '*', \
             prefix: {path}, service: backend}}"
        );
        bearer["metadata"]["annotations"] = json!({ "getambassador.io/config": form });
        bearer
    };
    let all = |more: &[Value]| {
        let mut values = base();
        values.extend_from_slice(more);
        let compiler = compile(&values).0;
        let verdict = verdict(&compiler, Kind::Mapping, "m");
        (Mirror::of(&compiler).lists, verdict.problems.len())
    };
    let (own, plain) = (declared("b", "default", "/own/"), declared("b", "default", "/own/"));
    let wanted = all(&[plain]);
    // By the bearer's name alone the first one would be in force, and the resource before both.
    assert_eq!(all(&[declared("a", "other", "/other/"), own.clone()]), wanted);
    let foreign =
        custom("Mapping", "m", json!({ "ambassador_id": ["other"], "prefix": "/other/", "service": "backend" }));
    assert_eq!(all(&[foreign, own.clone()]), wanted);
    assert_eq!(all(&[own, declared("c", "default", "/later/")]).1, wanted.1 + 1);
}

#[test]
fn ids_are_read_in_every_spelling_and_without_prefix() {
    let spec = |ids: Value| json!({ "prefix": "/a/", "service": "backend", "ambassador_id": ids });
    let nothing = rows(&[]);
    let prefixed = "--apiVersion-v3alpha1-only--default";
    for (ids, ours) in [
        (json!("default"), true),
        (json!(["other", "default"]), true),
        (json!(prefixed), true),
        (json!("other"), false),
        (json!(["--apiVersion-v3alpha1-only--other"]), false),
    ] {
        let found = rows(&[older("v2", custom("Mapping", "m", spec(ids.clone())))]);
        assert_eq!(found != nothing, ours, "{ids}");
    }
    // The old spelling of a Host's ids.
    let other = host("b", json!({ "hostname": "b", "ambassadorId": "other" }));
    assert_eq!(rows(&[older("v2", other)]), nothing);
}

#[test]
fn what_conversion_leaves_out_is_said() {
    let mut values = base();
    values.push(older("v2", mapping("m", json!({ "headers": { "x": false }, "hostname": "ignored" }))));
    let verdict = verdict(&compile(&values).0, Kind::Mapping, "m");
    assert!(verdict.accepted);
    let notices: Vec<_> = verdict.problems.iter().filter(|problem| problem.effect == Effect::Notice).collect();
    let fields: Vec<_> = notices.iter().map(|problem| problem.at.as_str()).collect();
    assert!(fields.contains(&"spec.headers.x") && fields.contains(&"spec.hostname"), "{fields:?}");
    assert!(notices.iter().all(|problem| problem.kind != ProblemKind::UnsupportedVersion));
}

#[test]
fn fields_that_nobody_knows_are_said_in_every_version() {
    for version in ["v1", "v2", "v3alpha1"] {
        let mut values = base();
        values.push(older(version, mapping("m", json!({ "prefix": "/a/", "unknown": 1, "cors": { "unknown": 1 } }))));
        let verdict = verdict(&compile(&values).0, Kind::Mapping, "m");
        assert!(verdict.accepted);
        let unknown = verdict.problems.iter().filter(|problem| problem.kind == ProblemKind::UnknownField);
        let fields: Vec<_> = unknown.map(|problem| (problem.at.as_str(), problem.effect)).collect();
        assert_eq!(fields, [("spec.cors.unknown", Effect::Notice), ("spec.unknown", Effect::Notice)], "{version}");
    }
}

#[test]
fn what_is_remembered_for_old_versions_has_no_effect() {
    let spec = json!({ "hostname": "a", "prefix": "/a/" });
    let mut remembering = spec.clone();
    remembering["v2Spelling"] = json!({ "/host": { "value": "*" }, "/unknown": { "value": 1 }, "/prefix": {} });
    let values = [base(), vec![mapping("m", remembering)]].concat();
    let (compiler, _) = compile(&values);
    assert_eq!(Mirror::of(&compiler), rows(&[mapping("m", spec)]));
    assert_eq!(verdict(&compiler, Kind::Mapping, "m").problems, []);
}

#[test]
fn versions_that_a_kind_does_not_have_are_refused_or_said() {
    for (value, kind, guards) in [
        (older("v2", listener("x", 9090, "HTTP", "XFP")), Kind::Listener, true),
        (older("v3", mapping("x", json!({ "prefix": "/a/" }))), Kind::Mapping, false),
    ] {
        let mut values = base();
        values.push(value);
        let verdict = verdict(&compile(&values).0, kind, "x");
        let problem = &verdict.problems[0];
        assert_eq!((problem.kind, problem.effect == Effect::Refused), (ProblemKind::UnsupportedVersion, guards));
    }
}
