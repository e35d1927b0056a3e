//! What is known about the endpoints behind a Mapping, for its status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod support;

use compiler::{Compiler, Options, Outcome};
use ir::Kind;
use serde_json::{Value, json};
use support::{host, listener, mapping, put, service, slice, verdict};

const NAME: &str = "k8s/default/backend/80";

/// A gateway with one Mapping to `backend`, and these objects.
fn compiler(objects: &[Value], listed: bool) -> (Compiler, Outcome) {
    let mut compiler = Compiler::new(Options { endpoint_slices: listed, ..Options::default() });
    let mut all = vec![
        listener("l", 8080, "HTTP", "INSECURE"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        mapping("m", json!({})),
    ];
    all.extend_from_slice(objects);
    let outcome = compiler.apply(all.iter().map(put).collect());
    (compiler, outcome)
}

fn known(outcome: &Outcome) -> Vec<(&str, Option<bool>)> {
    outcome.readiness.iter().map(|(name, ready)| (&**name, *ready)).collect()
}

#[test]
fn an_endpoint_change_behind_an_address_is_told_and_changes_nothing_else() {
    let (mut compiler, outcome) =
        compiler(&[service("backend", Some("10.96.0.9")), slice("s", "backend", &["10.1.1.1"], true)], true);
    assert_eq!(known(&outcome), [(NAME, Some(true))]);
    assert_eq!(verdict(&compiler, Kind::Mapping, "m").backend.as_deref(), Some(NAME));
    let mut change = |value: &Value| {
        let outcome = compiler.apply(vec![put(value)]);
        assert!(outcome.rows.is_empty() && outcome.verdicts.is_empty(), "{outcome:?}");
        known(&outcome).into_iter().map(|(_, ready)| ready).collect::<Vec<_>>()
    };
    // One more makes no difference, none does.
    assert!(change(&slice("s", "backend", &["10.1.1.1", "10.1.1.2"], true)).is_empty());
    assert_eq!(change(&slice("s", "backend", &["10.1.1.1"], false)), [Some(false)]);
    // Of another Service, or another port.
    assert!(change(&slice("t", "other", &["10.1.1.1"], true)).is_empty());
    let mut named = slice("u", "backend", &["10.1.1.1"], true);
    named["ports"][0]["name"] = "metrics".into();
    assert!(change(&named).is_empty());
    // Terminating ones that still serve are what is left (KEP-1669).
    let mut serving = slice("s", "backend", &["10.1.1.1"], false);
    serving["endpoints"][0]["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
    assert_eq!(change(&serving), [Some(true)]);
}

#[test]
fn without_slices_it_depends_on_whether_all_are_there() {
    for (objects, listed, expected) in [
        (vec![service("backend", Some("10.96.0.9"))], true, vec![(NAME, Some(false))]),
        (vec![service("backend", Some("10.96.0.9"))], false, vec![]),
        (vec![service("backend", Some("None"))], true, vec![(NAME, Some(false))]),
        // No Service, nothing to judge; that it is missing is said elsewhere.
        (vec![], true, vec![]),
    ] {
        let (_, outcome) = compiler(&objects, listed);
        assert_eq!(known(&outcome), expected, "{objects:?}");
    }
    let mut outside = service("backend", None);
    outside["spec"]["type"] = "ExternalName".into();
    outside["spec"]["externalName"] = "example.com".into();
    assert!(known(&compiler(&[outside], true).1).is_empty());
}

#[test]
fn what_nobody_uses_is_forgotten() {
    let (mut compiler, _) = compiler(&[service("backend", Some("10.96.0.9"))], true);
    let outcome = compiler.apply(vec![put(&mapping("m", json!({ "service": "other" })))]);
    assert_eq!(known(&outcome), [(NAME, None)]);
    let second = mapping("n", json!({ "prefix": "/n/" }));
    assert_eq!(known(&compiler.apply(vec![put(&second)])), [(NAME, Some(false))]);
    // A second user of the same endpoints, in another cluster, is no news; the last one to go is.
    let third = mapping("o", json!({ "prefix": "/o/", "connect_timeout_ms": 5 }));
    assert!(known(&compiler.apply(vec![put(&third)])).is_empty());
    assert!(known(&compiler.apply(vec![put(&mapping("n", json!({ "service": "other" })))])).is_empty());
    assert_eq!(known(&compiler.apply(vec![put(&mapping("o", json!({ "service": "other" })))])), [(NAME, None)]);
}
