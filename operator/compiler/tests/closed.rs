//! Closed, not open: a guard that cannot be applied refuses traffic, and a broken object hurts nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use ir::{Action, Effect, Kind, VirtualHostBody};
use serde_json::{Value, json};
use support::{Mirror, compile, custom, host, listener, mapping, object, verdict};

fn base() -> Vec<Value> {
    vec![
        listener("l", 8080, "HTTPS", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        support::service("backend", Some("10.0.0.1")),
        mapping("m", json!({ "prefix": "/a/" })),
    ]
}

fn action_of(values: &[Value], name: &str) -> Action {
    let (compiler, _) = compile(values);
    let mirror = Mirror::of(&compiler);
    let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
    let mut routes = groups.flat_map(|group| &group.routes);
    routes.find(|route| *route.source.name == *name).map(|route| route.action.clone()).expect("a route")
}

#[test]
fn an_auth_service_closes_what_it_guards() {
    for auth in
        [json!({ "auth_service": "auth", "proto": "grpc", "protocol_version": "v3" }), json!({ "auth_service": 7 })]
    {
        let mut values = base();
        values.push(custom("AuthService", "auth", auth));
        values.push(mapping("open", json!({ "prefix": "/open/", "bypass_auth": true })));
        assert!(matches!(action_of(&values, "m"), Action::Direct { status: 500, .. }));
        assert!(matches!(action_of(&values, "open"), Action::Forward(_)));
        let (compiler, _) = compile(&values);
        assert!(
            verdict(&compiler, Kind::Mapping, "m")
                .problems
                .iter()
                .any(|problem| problem.detail.contains("AuthService default/auth"))
        );
    }
}

#[test]
fn an_auth_service_for_another_gateway_guards_nothing() {
    let mut values = base();
    values.push(custom("AuthService", "auth", json!({ "auth_service": "auth", "ambassador_id": ["other"] })));
    assert!(matches!(action_of(&values, "m"), Action::Forward(_)));
}

#[test]
fn a_rate_limiter_that_denies_closes_its_domain_valid_or_not() {
    for service in ["limiter", "http://:99999"] {
        let mut values = base();
        let labels = json!({ "ambassador": [{ "group": [{ "remote_address": { "key": "remote_address" } }] }] });
        values.push(mapping("limited", json!({ "prefix": "/limited/", "labels": labels })));
        let spec = json!({ "service": service, "protocol_version": "v3", "failure_mode_deny": true });
        values.push(custom("RateLimitService", "limiter", spec));
        assert!(matches!(action_of(&values, "limited"), Action::Direct { status: 500, .. }), "{service}");
        assert!(matches!(action_of(&values, "m"), Action::Forward(_)), "{service}");
    }
}

#[test]
fn address_rules_of_the_module_close_everything() {
    for key in ["ip_allow", "ip_deny"] {
        let mut values = base();
        values.push(custom("Module", "ambassador", json!({ "config": { key: [{ "peer": "10.0.0.0/8" }] } })));
        assert!(matches!(action_of(&values, "m"), Action::Direct { status: 500, .. }), "{key}");
    }
}

#[test]
fn an_invalid_host_does_not_open_the_default_one() {
    let mut values = base();
    values[1] = host("h", json!({ "hostname": "a..*..b*" }));
    let (compiler, _) = compile(&values);
    let mirror = Mirror::of(&compiler);
    assert!(mirror.listeners.is_empty() && mirror.tables.is_empty(), "{mirror:?}");
    assert!(!verdict(&compiler, Kind::Host, "h").accepted);
}

#[test]
fn without_any_host_clear_text_is_served_and_said() {
    let mut values = base();
    values.remove(1);
    let (compiler, _) = compile(&values);
    assert_eq!(Mirror::of(&compiler).tables.len(), 1);
    let problems = &verdict(&compiler, Kind::Listener, "l").problems;
    assert!(problems.iter().any(|problem| problem.kind == ir::ProblemKind::DefaultHost), "{problems:?}");
}

#[test]
fn a_missing_certificate_keeps_the_chain_and_fails_handshakes() {
    let mut values = base();
    values.push(host("tls", json!({ "hostname": "a.example", "tlsSecret": { "name": "missing" } })));
    let (compiler, outcome) = compile(&values);
    let mirror = Mirror::of(&compiler);
    let chains = &mirror.listeners.values().next().unwrap().chains;
    let chain = chains.iter().find(|chain| *chain.name == *"default/tls").expect("a chain for the Host");
    assert_eq!(chain.tls.as_ref().unwrap().certificate.as_deref(), Some("default/missing"));
    assert!(mirror.secrets.is_empty());
    assert!(outcome.wanted.added.iter().any(|name| format!("{name:?}").contains("missing")));
    let verdict = verdict(&compiler, Kind::Host, "tls");
    assert!(!verdict.resolved && verdict.problems.iter().any(|problem| problem.at == "spec.tlsSecret"), "{verdict:?}");
}

#[test]
fn a_client_certificate_setting_that_cannot_be_honoured_closes_the_chain() {
    let settings = [
        json!({ "tlsSecret": { "name": "c" }, "tls": { "cert_required": true } }),
        json!({ "tlsSecret": { "name": "c" }, "tlsContext": { "name": "missing" } }),
        json!({ "tlsSecret": { "name": "c" }, "tlsContext": { "name": "broken" } }),
    ];
    for spec in settings {
        let mut values = base();
        values.push(custom("TLSContext", "broken", json!({ "cert_required": true })));
        let mut spec = spec;
        spec["hostname"] = json!("a.example");
        values.push(host("tls", spec.clone()));
        let (compiler, _) = compile(&values);
        let mirror = Mirror::of(&compiler);
        let table = &mirror.tables["default/l/default/tls"];
        let own = table.virtual_hosts.iter().find(|host| *host.name == *"a.example").unwrap();
        assert_eq!(own.body, VirtualHostBody::Closed { status: 503 }, "{spec}");
    }
}

/// One broken object of every kind, in several ways each.
fn broken() -> Vec<Value> {
    let huge = "x".repeat(2_000_000);
    let mut values = vec![
        mapping("b0", json!({ "prefix": [] })),
        mapping("b1", json!({ "prefix": huge })),
        mapping("b2", json!({ "prefix": "/\\p{Letter}", "prefix_regex": true })),
        mapping("b3", json!({ "prefix": "/x((", "prefix_regex": true })),
        mapping("b4", json!({ "weight": -1 })),
        mapping("b5", json!({ "service": "http://:99999" })),
        mapping("b6", json!({ "resolver": "no-such-resolver" })),
        mapping("b7", json!({ "tls": "no-such-context" })),
        mapping("b8", json!({ "regex_headers": { "x": "a{1001}" } })),
        mapping("b9", json!({ "rewrite": "/a\u{0}b" })),
        mapping("b10", json!({ "hostname": "a.*.b" })),
        mapping("b11", json!({ "headers": { "bad name": "x" } })),
        host("b", json!({ "hostname": 5 })),
        host("b2", json!({ "hostname": "*.*" })),
        host(
            "b3",
            json!({ "hostname": "b3.example", "tls": { "min_tls_version": "v9" }, "tlsSecret": { "name": "x" } }),
        ),
        listener("b", 0, "HTTP", "XFP"),
        listener("b2", 8081, "UDP", "XFP"),
        custom("Listener", "b3", json!({ "port": "http" })),
        custom("TLSContext", "b", json!({ "hosts": "x" })),
        custom("TLSContext", "b2", json!({ "cipher_suites": ["NO-SUCH-SUITE"], "secret": "x" })),
        custom("TLSContext", "b3", json!({ "secret": "x", "cert_chain_file": "/x" })),
        custom("Module", "b", json!({ "config": [] })),
        custom("RateLimitService", "b", json!({ "service": "a b" })),
        custom("LogService", "b", json!({ "driver": "carrier-pigeon" })),
        custom("TracingService", "b", json!({ "driver": "zipkin", "service": "" })),
        custom("TCPMapping", "b", json!({ "port": 99999999, "service": "x" })),
        custom("ConsulResolver", "b", json!({ "address": {} })),
        custom("KubernetesEndpointResolver", "b", json!({ "ambassador_id": 5 })),
        custom("KubernetesServiceResolver", "b", json!({ "ambassador_id": {} })),
        custom("DevPortal", "b", json!({ "docs": "x" })),
    ];
    for value in &mut values {
        value["metadata"]["creationTimestamp"] = json!("2030-01-01T00:00:00Z");
    }
    values
}

#[test]
fn broken_objects_change_nothing_for_their_neighbours_and_name_the_field() {
    let (healthy, _) = compile(&base());
    let expected = Mirror::of(&healthy);
    for value in broken() {
        let mut values = base();
        values.push(value.clone());
        let (compiler, outcome) = compile(&values);
        let key = object(&value).key.clone();
        assert_eq!(outcome.panics, 0, "{key}");
        let verdict = compiler
            .verdicts()
            .into_iter()
            .find(|verdict| verdict.about == key)
            .unwrap_or_else(|| panic!("{key} has no verdict"));
        let named =
            verdict.problems.iter().any(|problem| problem.effect > Effect::Notice && problem.at.starts_with("spec"));
        assert!(named, "{key} names no field: {:?}", verdict.problems);
        assert!(verdict.problems.iter().all(|problem| problem.detail.len() < 1000), "{key} repeats too much");
        // A Host that is refused, or closed, adds its own closed chain at most.
        if key.kind != Kind::Host {
            assert_eq!(Mirror::of(&compiler), expected, "{key} changed something else");
        }
        for neighbour in healthy.verdicts() {
            let now = compiler.verdicts().into_iter().find(|verdict| verdict.about == neighbour.about);
            assert_eq!(now.as_ref(), Some(&neighbour), "{key} changed what is said about {}", neighbour.about);
        }
    }
}

#[test]
fn the_last_accepted_version_serves_while_the_present_one_is_broken() {
    let mut values = base();
    let (mut compiler, _) = compile(&values);
    let good = object(&values[3]);
    let before = Mirror::of(&compiler);
    values[3]["spec"]["prefix"] = json!(7);
    let changes = vec![compiler::Change::Retained(good.key.clone(), Some(good)), support::put(&values[3])];
    let outcome = compiler.apply(changes);
    assert!(outcome.rows.is_empty(), "{:?}", outcome.rows);
    assert_eq!(Mirror::of(&compiler), before);
    let verdict = verdict(&compiler, Kind::Mapping, "m");
    assert!(!verdict.accepted && verdict.retained && verdict.attached, "{verdict:?}");
}
