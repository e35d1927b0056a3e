//! Helpers for the tables of the kinds, and what holds for all kinds.

use super::{Limits, Parsed, decode_problem, parse, unknown_fields};
use ir::{Checked, Effect, Kind, ObjectKey, Problem};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Judges a spec. One that does not decode is a refusal, as in the pipeline.
pub fn judge(kind: Kind, spec: Value) -> Checked<Option<Parsed>> {
    judge_as(kind, "name", spec, Limits::default())
}

/// The same with a name and switches.
pub fn judge_as(kind: Kind, name: &str, spec: Value, limits: Limits) -> Checked<Option<Parsed>> {
    let about = ObjectKey::new(kind, "default", name);
    let decoded = api::decode_kind(kind.name(), &spec);
    let mut problems = unknown_fields(&about, &decoded);
    match &decoded.value {
        Ok(spec) => {
            let checked = parse(&about, spec, &limits);
            problems.extend(checked.problems);
            Checked { value: checked.value, problems }
        }
        Err(problem) => {
            problems.push(decode_problem(&about, problem));
            Checked { value: None, problems }
        }
    }
}

/// Findings in short: effect, field and kind.
pub fn brief(problems: &[Problem]) -> Vec<String> {
    let brief = |problem: &Problem| format!("{:?} {} {}", problem.effect, problem.at, problem.kind);
    problems.iter().map(brief).collect()
}

/// Asserts the findings of many specs. A spec is the base with some fields replaced; null takes one away.
pub fn table(kind: Kind, base: &Value, rows: &[(Value, &[&str])]) {
    for (fields, expected) in rows {
        let found = judge(kind, with(base, fields));
        assert_eq!(brief(&found.problems), *expected, "{fields}");
        let refused = expected.iter().any(|line| line.starts_with("Refused"));
        assert_eq!(found.is_refused(), refused);
        assert!(refused || found.value.is_some(), "{fields}: what is not refused has a value");
    }
}

/// The base with some fields replaced.
pub fn with(base: &Value, fields: &Value) -> Value {
    let mut spec = base.as_object().cloned().unwrap_or_default();
    for (name, value) in fields.as_object().into_iter().flatten() {
        if value.is_null() {
            spec.remove(name);
        } else {
            spec.insert(name.clone(), value.clone());
        }
    }
    Value::Object(spec)
}

/// The value that comes of a spec without problems other than notices.
pub fn value(kind: Kind, spec: Value) -> Parsed {
    let found = judge(kind, spec);
    assert!(found.problems.iter().all(|problem| problem.effect == Effect::Notice), "{:?}", brief(&found.problems));
    found.value.expect("a value")
}

#[test]
fn what_does_not_decode_is_refused_with_its_field() {
    for (kind, spec, at) in [
        (Kind::Mapping, json!({"service": "foo"}), "spec.prefix"),
        (Kind::Mapping, json!({"prefix": "/", "service": "foo", "weight": "5"}), "spec.weight"),
        (Kind::Mapping, json!({"prefix": "/", "service": "foo", "headers": {"x": 1}}), "spec.headers.x"),
        (Kind::Mapping, json!({"prefix": ["/"], "service": "foo"}), "spec.prefix"),
        (Kind::Host, json!({"requestPolicy": {"insecure": {"action": "Wave"}}}), "spec.requestPolicy.insecure.action"),
        (Kind::Listener, json!({"port": 8080, "securityModel": "XFP"}), "spec.hostBinding"),
        (Kind::Listener, json!({"port": 1.5, "securityModel": "XFP", "hostBinding": {}}), "spec.port"),
        (Kind::TLSContext, json!({"min_tls_version": "v1.4"}), "spec.min_tls_version"),
        (Kind::Module, json!({"config": []}), "spec.config"),
        (Kind::AuthService, json!({"auth_service": 1}), "spec.auth_service"),
        (Kind::TracingService, json!({"driver": "jaeger", "service": "x"}), "spec.driver"),
        (Kind::DevPortal, json!({"docs": {}}), "spec.docs"),
    ] {
        let found = judge(kind, spec.clone());
        assert_eq!(brief(&found.problems), [format!("Refused {at} Malformed")], "{kind} {spec}");
        assert_eq!(found.value, None);
    }
}

#[test]
fn unknown_fields_are_named_and_harmless() {
    let found = judge(
        Kind::Mapping,
        json!({"prefix": "/", "service": "foo", "prefx": 1, "load_balancer": {"policy": "round_robin", "x": 1}}),
    );
    assert_eq!(brief(&found.problems), ["Notice spec.load_balancer.x UnknownField", "Notice spec.prefx UnknownField"]);
    assert!(found.value.is_some());
}

/// A spec of each kind with most of its fields.
fn rich() -> Vec<(Kind, Value)> {
    let breakers = json!([{"priority": "high", "max_connections": 1, "max_retries": 0}]);
    vec![
        (
            Kind::Mapping,
            json!({
                "prefix": "/a/", "service": "https://foo:443", "hostname": "*.example", "headers": {"x": "1"}, "method": "GET",
                "regex_headers": {"y": ".*"}, "query_parameters": {"q": "1"}, "rewrite": "/", "timeout_ms": 1, "weight": 5,
                "add_request_headers": {"a": {"value": "%PROTOCOL%", "append": false}}, "remove_response_headers": ["b"],
                "circuit_breakers": breakers, "load_balancer": {"policy": "ring_hash", "cookie": {"name": "c", "ttl": "5s"}},
                "retry_policy": {"retry_on": "5xx", "num_retries": 2, "per_try_timeout": "1s"}, "precedence": 3,
                "cors": {"origins": ["a"], "max_age": "5"}, "keepalive": {"probes": 1, "idle_time": 2, "interval": 3},
                "labels": {"d": [{"g": [{"generic_key": {"value": "v"}}]}]}, "health_checks": [{"health_check": {"http": {"path": "/"}}}],
            }),
        ),
        (
            Kind::Host,
            json!({
                "hostname": "a.example:80", "mappingSelector": {"matchLabels": {"a": "b"}}, "tlsSecret": {"name": "s", "namespace": "n"},
                "requestPolicy": {"insecure": {"action": "Route"}}, "tls": {"min_tls_version": "v1.2", "alpn_protocols": "h2,http/1.1"},
            }),
        ),
        (
            Kind::Listener,
            json!({
                "port": 8443, "protocolStack": ["TLS", "HTTP", "TCP"], "securityModel": "XFP", "l7Depth": 1, "statsPrefix": "p",
                "hostBinding": {"namespace": {"from": "ALL"}, "selector": {"matchLabels": {"a": "b"}}},
            }),
        ),
        (
            Kind::TLSContext,
            json!({
                "hosts": ["a.example"], "secret": "s.n", "ca_secret": "ca", "crl_secret": "crl", "cert_required": true,
                "alpn_protocols": "h2", "min_tls_version": "v1.2", "cipher_suites": ["HIGH"], "ecdh_curves": ["P-256"], "sni": "x",
            }),
        ),
        (
            Kind::Module,
            json!({"config": {
                "circuit_breakers": breakers, "defaults": {"httpmapping": {"add_request_headers": {"a": "b", "c": {"value": "d"}}}},
                "diagnostics": {"enabled": false, "service": "x:1"}, "envoy_log_type": "json", "envoy_log_format": {"a": "%PROTOCOL%"},
                "ip_allow": [{"peer": "10.0.0.0/8"}], "keepalive": {"time": 1}, "load_balancer": {"policy": "maglev", "header": "h"},
                "merge_slashes": "yes", "regex_max_size": 100, "server_name": "x", "cluster_request_timeout_ms": 1, "buffer": {"max_request_bytes": 1},
            }}),
        ),
        (
            Kind::AuthService,
            json!({"auth_service": "a", "proto": "grpc", "protocol_version": "v3", "include_body": {"max_bytes": 1, "allow_partial": true}, "add_auth_headers": {"a": "b"}}),
        ),
        (
            Kind::RateLimitService,
            json!({"service": "r", "domain": "d", "protocol_version": "v3", "failure_mode_deny": true}),
        ),
        (
            Kind::LogService,
            json!({"service": "l", "driver": "http", "driver_config": {"additional_log_headers": [{"header_name": "x"}]}, "protocol_version": "v3"}),
        ),
        (
            Kind::TracingService,
            json!({"service": "t", "driver": "zipkin", "custom_tags": [{"tag": "t", "literal": {"value": "v"}}], "sampling": {"client": 5}, "config": {"collector_endpoint": "/"}}),
        ),
        (
            Kind::TCPMapping,
            json!({"service": "s:1", "port": 9000, "host": "*.a", "address": "::1", "weight": 3, "idle_timeout_ms": "5"}),
        ),
        (Kind::ConsulResolver, json!({"address": "a:1", "datacenter": "d"})),
        (Kind::DevPortal, json!({"docs": [{"service": "x", "url": "u", "timeout_ms": 1}]})),
        (Kind::KubernetesServiceResolver, json!({})),
        (Kind::KubernetesEndpointResolver, json!({})),
    ]
}

#[test]
fn rich_specs_of_all_kinds_are_in_force() {
    let specs = rich();
    assert_eq!(specs.len(), Kind::ALL.iter().filter(|kind| kind.is_custom()).count());
    for (kind, spec) in specs {
        let found = judge_as(kind, "ambassador", spec, Limits::default());
        assert!(found.value.is_some() && !found.is_refused(), "{kind}: {:?}", found.problems);
    }
}

/// Replaces one leaf or map somewhere in the value, chosen by a number.
fn replace(value: &mut Value, place: &mut usize, by: &Value) {
    if *place == 0 {
        *value = by.clone();
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    let parts: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(map) => map.values_mut().collect(),
        _ => Vec::new(),
    };
    for part in parts {
        if *place != usize::MAX {
            replace(part, place, by);
        }
    }
}

fn odd() -> impl Strategy<Value = Value> {
    let text = "\\PC{0,12}|[%(){}\\[\\]*?+|\\\\a-z:/.0-9\\n-]{0,24}".prop_map(Value::from);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (1_usize..4).prop_map(|size| Value::from("x".repeat(20_000 * size))),
        text.clone(),
        text,
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("\\PC{0,8}|[a-z_.:-]{0,12}", inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    /// Whatever stands in a spec: no panic, and findings that a status can show.
    #[test]
    fn odd_values_anywhere_give_findings_and_no_panic(
        kind in 0_usize..14,
        places in prop::collection::vec((0_usize..40, odd()), 1..4),
        unchecked in any::<bool>(),
    ) {
        let (kind, mut spec) = rich().swap_remove(kind);
        for (mut place, by) in places {
            replace(&mut spec, &mut place, &by);
        }
        let found = judge_as(kind, "ambassador", spec, Limits { unchecked });
        prop_assert!(found.value.is_some() || found.is_refused(), "what is not in force says why");
        for problem in found.problems {
            prop_assert!(problem.at == "spec" || problem.at.starts_with("spec."), "{}", problem.at);
            prop_assert!(problem.detail.len() < 1200 && !problem.detail.ends_with('.'), "{}", problem.detail);
            prop_assert!(!problem.detail.is_empty() && !problem.detail.chars().any(char::is_control), "{}", problem.detail);
        }
    }
}
