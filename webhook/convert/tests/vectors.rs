//! Upstream's conversion rules, one table each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use convert::{Converted, Kind, Options, Problem, Version, convert, convert_with};
use serde_json::{Value, json};

const BARE: Options = Options { prefix_ids: false, remember_spelling: false };
const REMEMBERING: Options = Options { prefix_ids: false, remember_spelling: true };

fn object(version: Version, kind: Kind, spec: Value) -> Value {
    json!({"apiVersion": version.api_version(), "kind": kind.name(), "metadata": {"name": "x"}, "spec": spec})
}

fn run(kind: Kind, spec: &Value, from: Version, to: Version, options: Options) -> Value {
    let mut converted = convert_with(object(from, kind, spec.clone()), to, options).unwrap();
    converted.object["spec"].take()
}

fn up(kind: Kind, spec: &Value) -> Value {
    run(kind, spec, Version::V2, Version::V3Alpha1, BARE)
}

fn down(kind: Kind, spec: &Value) -> Value {
    run(kind, spec, Version::V3Alpha1, Version::V2, BARE)
}

/// There, as upstream does it; and back, which with a memory is always the same.
fn check(kind: Kind, old: &Value, new: &Value) {
    assert_eq!(&up(kind, old), new, "{kind}: {old}");
    let remembered = run(kind, old, Version::V2, Version::V3Alpha1, REMEMBERING);
    assert_eq!(&run(kind, &remembered, Version::V3Alpha1, Version::V2, REMEMBERING), old, "{kind} back: {remembered}");
}

/// There and back without any memory but upstream's.
fn check_exact(kind: Kind, old: &Value, new: &Value) {
    check(kind, old, new);
    assert_eq!(&down(kind, new), old, "{kind} back: {new}");
}

/// Adds what is not null; null means absent in the tables below.
fn with(mut base: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        base[name] = value.clone();
    }
    base
}

const SERVICES: [&str; 5] = ["svc", "http://svc", "HTTP://svc", "https://svc", "HTTPS://svc"];

const WITH_TLS: [(Kind, &str); 3] =
    [(Kind::AuthService, "auth_service"), (Kind::Mapping, "service"), (Kind::RateLimitService, "service")];

/// A `spec` with what else the kind always has.
fn base(kind: Kind, version: Version) -> Value {
    match (kind, version) {
        (Kind::Mapping, Version::V3Alpha1) => json!({"hostname": "h"}),
        (Kind::Mapping, _) => json!({"host": "h"}),
        _ => json!({}),
    }
}

#[test]
fn tls_from_v2() {
    for (kind, field) in WITH_TLS {
        let (old, new) = (base(kind, Version::V2), base(kind, Version::V3Alpha1));
        for service in SERVICES {
            let old = with(old.clone(), &[(field, json!(service))]);
            let new = with(new.clone(), &[(field, json!(service))]);
            check_exact(kind, &old, &new);
            for (tls, spelling) in [(json!(null), "null"), (json!(false), "bool:false"), (json!(""), "string")] {
                let new = with(new.clone(), &[("v2ExplicitTLS", json!({"tls": spelling}))]);
                check_exact(kind, &with(old.clone(), &[("tls", tls)]), &new);
            }
            let named = with(new, &[("tls", json!("ctx")), ("v2ExplicitTLS", json!({}))]);
            check_exact(kind, &with(old, &[("tls", json!("ctx"))]), &named);
        }
        for (service, originates, scheme) in [
            ("svc", "https://svc", Some("")),
            ("http://svc", "https://svc", Some("http://")),
            ("HTTP://svc", "https://svc", Some("HTTP://")),
            ("https://svc", "https://svc", None),
            ("HTTPS://svc", "HTTPS://svc", None),
        ] {
            let mut explicit = json!({"tls": "bool:true"});
            if let Some(scheme) = scheme {
                explicit["serviceScheme"] = json!(scheme);
            }
            let old = with(old.clone(), &[(field, json!(service)), ("tls", json!(true))]);
            let new = with(new.clone(), &[(field, json!(originates)), ("v2ExplicitTLS", explicit)]);
            check_exact(kind, &old, &new);
        }
    }
}

#[test]
fn tls_of_edited_v3alpha1() {
    // tls, service, v2ExplicitTLS; then tls and service in v2, null for none.
    let cases = [
        (json!(""), "svc", json!({}), json!(null)),
        (json!(""), "HTTP://svc", json!({}), json!(null)),
        (json!(""), "HTTPS://svc", json!({}), json!(null)),
        (json!("ctx"), "HTTP://svc", json!({}), json!("ctx")),
        (json!("ctx"), "HTTPS://svc", json!({}), json!("ctx")),
        (json!("ctx"), "HTTP://svc", json!({"tls": "null"}), json!("ctx")),
        (json!("ctx"), "HTTP://svc", json!({"tls": "bool:false"}), json!("ctx")),
        (json!("ctx"), "HTTP://svc", json!({"tls": "bool:true"}), json!("ctx")),
        (json!("ctx"), "HTTP://svc", json!({"tls": "string"}), json!("ctx")),
        (json!(""), "HTTP://svc", json!({"tls": "bool:true"}), json!(null)),
        (json!(""), "HTTP://svc", json!({"serviceScheme": "https://"}), json!(null)),
        (json!(""), "HTTPS://svc", json!({"serviceScheme": "http://"}), json!(null)),
    ];
    for (kind, field) in WITH_TLS {
        for (tls, service, explicit, old_tls) in &cases {
            let new = with(
                base(kind, Version::V3Alpha1),
                &[("tls", tls.clone()), (field, json!(service)), ("v2ExplicitTLS", explicit.clone())],
            );
            let old = down(kind, &new);
            let mut expected = with(base(kind, Version::V2), &[(field, json!(service))]);
            if !old_tls.is_null() {
                expected["tls"] = old_tls.clone();
            }
            assert_eq!(old, expected, "{kind}: {new}");
            let back = up(kind, &old);
            assert_eq!(back[field], *service);
            assert_eq!(back["tls"].as_str().unwrap_or_default(), tls.as_str().unwrap());
        }
    }
}

#[test]
fn recorded_scheme_counts_where_it_fits() {
    for (new, old) in [
        // Not truthy, and both schemes are plain text, or both are TLS.
        (json!({"service": "svc", "v2ExplicitTLS": {"serviceScheme": "http://"}}), json!({"service": "http://svc"})),
        (
            json!({"service": "https://svc", "v2ExplicitTLS": {"serviceScheme": "HTTPS://"}}),
            json!({"service": "HTTPS://svc"}),
        ),
        // A name takes it unconditionally.
        (
            json!({"service": "https://svc", "tls": "ctx", "v2ExplicitTLS": {"serviceScheme": ""}}),
            json!({"service": "svc", "tls": "ctx"}),
        ),
        // Not a scheme at all.
        (json!({"service": "svc", "v2ExplicitTLS": {"serviceScheme": "evil.example/"}}), json!({"service": "svc"})),
    ] {
        assert_eq!(down(Kind::RateLimitService, &new), old, "{new}");
    }
}

#[test]
fn tls_of_a_tcp_mapping() {
    let kind = Kind::TCPMapping;
    for (old, new) in [
        (
            json!({"service": "svc", "tls": true}),
            json!({"service": "https://svc", "v2ExplicitTLS": {"tls": "bool:true"}}),
        ),
        (json!({"service": "https://svc"}), json!({"service": "https://svc"})),
        (json!({"service": "svc", "tls": false}), json!({"service": "svc", "v2ExplicitTLS": {"tls": "bool:false"}})),
        (json!({"service": "svc", "tls": "ctx"}), json!({"service": "svc", "tls": "ctx"})),
        // Upstream loses the scheme of these on the way back.
        (
            json!({"service": "http://svc", "tls": true}),
            json!({"service": "https://svc", "v2ExplicitTLS": {"tls": "bool:true", "serviceScheme": "http://"}}),
        ),
        (
            json!({"service": "http://svc", "tls": ""}),
            json!({"service": "http://svc", "v2ExplicitTLS": {"tls": "string"}}),
        ),
        (json!({"service": "http://svc"}), json!({"service": "http://svc"})),
    ] {
        check_exact(kind, &old, &new);
    }
    let old = json!({"service": "svc", "tls": true});
    assert_eq!(down(kind, &json!({"service": "https://svc", "v2ExplicitTLS": {"tls": "bool:true"}})), old);
}

#[test]
fn ambassador_id() {
    const PREFIXED: &str = "--apiVersion-v3alpha1-only--";
    let prefixed = |id: &str| format!("{PREFIXED}{id}");
    let kind = Kind::ConsulResolver;
    let options = Options::default();
    for (new, old) in [
        (json!({}), json!({"ambassador_id": [prefixed("default")]})),
        (json!({"ambassador_id": null}), json!({"ambassador_id": [prefixed("default")]})),
        (json!({"ambassador_id": []}), json!({"ambassador_id": []})),
        (json!({"ambassador_id": ["a", prefixed("b")]}), json!({"ambassador_id": [prefixed("a"), prefixed("b")]})),
    ] {
        assert_eq!(run(kind, &new, Version::V3Alpha1, Version::V2, options), old, "{new}");
        assert_eq!(run(kind, &new, Version::V3Alpha1, Version::V1, options), old, "{new}");
    }
    for (old, new) in [
        (json!({}), json!({})),
        (json!({"ambassador_id": [prefixed("default")]}), json!({"ambassador_id": ["default"]})),
        (json!({"ambassador_id": [prefixed("a"), "b"]}), json!({"ambassador_id": ["a", "b"]})),
    ] {
        assert_eq!(run(kind, &old, Version::V2, Version::V3Alpha1, options), new, "{old}");
    }
    // A string is a list of one; it comes back as a string, with the prefix that any id gets.
    let new = run(kind, &json!({"ambassador_id": "a"}), Version::V2, Version::V3Alpha1, options);
    assert_eq!(new["ambassador_id"], json!(["a"]));
    let old = run(kind, &new, Version::V3Alpha1, Version::V2, options);
    assert_eq!(old, json!({"ambassador_id": prefixed("a")}));
    check(kind, &json!({"ambassador_id": ""}), &json!({"ambassador_id": [""]}));
}

#[test]
fn a_host_has_ids_in_two_fields() {
    check(
        Kind::Host,
        &json!({"ambassador_id": "a", "ambassadorId": ["b", "c"]}),
        &json!({"ambassador_id": ["a", "b", "c"]}),
    );
    check(Kind::Host, &json!({"ambassadorId": "b"}), &json!({"ambassador_id": ["b"]}));
    assert_eq!(down(Kind::Host, &json!({"ambassador_id": ["b"]})), json!({"ambassador_id": ["b"]}));
    // With prefixes it must not become a Host of the default installation.
    let new = run(Kind::Host, &json!({"ambassadorId": "b"}), Version::V2, Version::V3Alpha1, Options::default());
    let old = run(Kind::Host, &new, Version::V3Alpha1, Version::V2, Options::default());
    assert_eq!(old, json!({"ambassadorId": "--apiVersion-v3alpha1-only--b"}));
}

#[test]
fn fields_with_two_names() {
    for (kind, old, new) in [
        (Kind::AuthService, "v3StatsName", "stats_name"),
        (Kind::AuthService, "v3CircuitBreakers", "circuit_breakers"),
        (Kind::LogService, "v3StatsName", "stats_name"),
        (Kind::LogService, "v3ProtocolVersion", "protocol_version"),
        (Kind::RateLimitService, "v3StatsName", "stats_name"),
        (Kind::RateLimitService, "v3GRPC", "grpc"),
        (Kind::RateLimitService, "failure_mode_deny", "failure_mode_deny"),
        (Kind::TCPMapping, "v3StatsName", "stats_name"),
        (Kind::TCPMapping, "circuit_breakers", "circuit_breakers"),
        (Kind::TracingService, "v3StatsName", "stats_name"),
        (Kind::TracingService, "v3CustomTags", "custom_tags"),
        (Kind::TLSContext, "v3CRLSecret", "crl_secret"),
        (Kind::Host, "selector", "mappingSelector"),
    ] {
        check_exact(kind, &json!({old: {"a": 0}}), &json!({new: {"a": 0}}));
        if old != new {
            // The new name is unknown in v2: it does not come to life, and is still there on the way back.
            check(kind, &json!({new: "stray"}), &json!({}));
        }
    }
    let host = json!({"host": "h", "v3StatsName": "s", "v3health_checks": [{"health_check": {}}]});
    check_exact(
        Kind::Mapping,
        &host,
        &json!({"hostname": "h", "stats_name": "s", "health_checks": [{"health_check": {}}]}),
    );
    check_exact(Kind::Host, &json!({"tls": {"v3CRLSecret": "s"}}), &json!({"tls": {"crl_secret": "s"}}));
    check_exact(
        Kind::TracingService,
        &json!({"config": {"v3PropagationModes": ["B3"]}}),
        &json!({"config": {"propagation_modes": ["B3"]}}),
    );
}

#[test]
fn host_and_hostname_from_v2() {
    for (old, new) in [
        (json!({"host": "^a$", "host_regex": true}), json!({"host": "^a$", "host_regex": true})),
        (json!({"host_regex": true}), json!({"host_regex": true})),
        (json!({}), json!({"hostname": "*"})),
        (json!({"host_regex": false}), json!({"hostname": "*", "host_regex": false})),
        (json!({"host": "_skip_mapping_with_empty_host_"}), json!({})),
        (json!({"host": "a.com"}), json!({"hostname": "a.com"})),
        (json!({"host": "a.com", "host_regex": false}), json!({"hostname": "a.com", "host_regex": false})),
    ] {
        check_exact(Kind::Mapping, &old, &new);
    }
    check(Kind::Mapping, &json!({"host": ""}), &json!({"hostname": "*"}));
    check(Kind::Mapping, &json!({"host": "*"}), &json!({"hostname": "*"}));
}

#[test]
fn host_and_hostname_from_v3alpha1() {
    for (new, old) in [
        (
            json!({"hostname": "a.com", "host": "b.com", "host_regex": true}),
            json!({"host": "a.com", "host_regex": false}),
        ),
        (json!({"hostname": "a.com", "host_regex": false}), json!({"host": "a.com", "host_regex": false})),
        (json!({"host": "b.com"}), json!({"host": "b.com"})),
        (json!({"host": "b.*", "host_regex": true}), json!({"host": "b.*", "host_regex": true})),
        (json!({"host_regex": true}), json!({"host_regex": true})),
        (json!({}), json!({"host": "_skip_mapping_with_empty_host_"})),
        (json!({"hostname": ""}), json!({"host": "_skip_mapping_with_empty_host_"})),
        (json!({"hostname": "*"}), json!({})),
        (json!({"host": "*"}), json!({})),
        (json!({"host": "*", "host_regex": true}), json!({"host": "*", "host_regex": true})),
    ] {
        assert_eq!(down(Kind::Mapping, &new), old, "{new}");
    }
}

/// A Mapping that is for one host, so that the tables below need not say it.
fn mapping(old: &Value, new: &Value) -> (Value, Value) {
    (with(old.clone(), &[("host", json!("h"))]), with(new.clone(), &[("hostname", json!("h"))]))
}

#[test]
fn header_and_query_matches() {
    for (exact, regex, memory) in [
        ("headers", "regex_headers", "v2BoolHeaders"),
        ("query_parameters", "regex_query_parameters", "v2BoolQueryParameters"),
    ] {
        for (old, new) in [
            (json!({exact: {"a": "1", "b": "2"}}), json!({exact: {"a": "1", "b": "2"}})),
            (
                json!({exact: {"a": "1", "z": true, "b": true}}),
                json!({exact: {"a": "1"}, regex: {"b": ".*", "z": ".*"}, memory: ["b", "z"]}),
            ),
            (json!({exact: {"a": true}, regex: {"a": "^x"}}), json!({regex: {"a": "^x"}, memory: ["a"]})),
            (json!({exact: {}}), json!({exact: {}})),
        ] {
            let (old, new) = mapping(&old, &new);
            check_exact(Kind::Mapping, &old, &new);
        }
        for (old, new) in [
            (json!({exact: {"a": false, "b": null, "c": "1"}}), json!({exact: {"c": "1"}})),
            (json!({exact: {"a": false}}), json!({})),
            (json!({exact: {"a": true}, regex: {"a": ".*"}}), json!({regex: {"a": ".*"}, memory: ["a"]})),
            (json!({exact: {"a": 1}, memory: ["a"]}), json!({exact: {"a": 1}})),
        ] {
            let (old, new) = mapping(&old, &new);
            check(Kind::Mapping, &old, &new);
        }
        // Edited in v3alpha1: names without a regex, or with a plain value, are ignored.
        let (old, new) = mapping(
            &json!({exact: {"b": "1"}, regex: {"b": ".*"}}),
            &json!({exact: {"b": "1"}, regex: {"b": ".*"}, memory: ["a", "b"]}),
        );
        assert_eq!(down(Kind::Mapping, &new), old);
    }
}

#[test]
fn added_headers() {
    for field in ["add_request_headers", "add_response_headers"] {
        let pair = |old: Value, new: Value| mapping(&json!({field: old}), &json!({field: new}));
        for (old, new) in [
            (json!({"a": "x"}), json!({"a": {"value": "x", "v2Representation": "string"}})),
            (json!({"a": {"value": "x"}}), json!({"a": {"value": "x"}})),
            (json!({"a": {"value": "x", "append": false}}), json!({"a": {"value": "x", "append": false}})),
            (json!({"a": null}), json!({"a": {"v2Representation": "null"}})),
            (json!({}), json!({})),
            (json!({"a": 1, "b": [], "c": {}}), json!({"a": 1, "b": [], "c": {}})),
        ] {
            let (old, new) = pair(old, new);
            check_exact(Kind::Mapping, &old, &new);
        }
        for (new, old) in [
            (
                json!({"a": {"value": "x", "append": true, "v2Representation": "string"}}),
                json!({"a": {"value": "x", "append": true}}),
            ),
            (json!({"a": {"value": "x", "v2Representation": "null"}}), json!({"a": {"value": "x"}})),
        ] {
            let (old, new) = pair(old, new);
            assert_eq!(down(Kind::Mapping, &new), old, "{new}");
        }
    }
    // In a health check v2 has the types of v3alpha1.
    let checks = json!([{"health_check": {"http": {"path": "/", "add_request_headers": {"a": {"value": "x"}}}}}]);
    let (old, new) = mapping(&json!({"v3health_checks": checks}), &json!({"health_checks": checks}));
    check_exact(Kind::Mapping, &old, &new);
}

#[test]
fn strings_that_are_lists() {
    for (old, new) in [
        (json!({"remove_request_headers": "a"}), json!({"remove_request_headers": ["a"]})),
        (json!({"remove_response_headers": ["a", "b"]}), json!({"remove_response_headers": ["a", "b"]})),
        (json!({"remove_response_headers": []}), json!({"remove_response_headers": []})),
        (
            json!({"cors": {"methods": "GET, POST", "headers": "a", "exposed_headers": ["b"]}}),
            json!({"cors": {"methods": ["GET, POST"], "headers": ["a"], "exposed_headers": ["b"]}}),
        ),
    ] {
        let (old, new) = mapping(&old, &new);
        check(Kind::Mapping, &old, &new);
    }
}

#[test]
fn cors_origins() {
    for (old, new) in [
        (json!("a, b"), json!({"origins": ["a", " b"], "v2CommaSeparatedOrigins": true})),
        (json!(""), json!({"origins": [""], "v2CommaSeparatedOrigins": true})),
        (json!(["a", "b"]), json!({"origins": ["a", "b"]})),
        (json!([]), json!({"origins": []})),
    ] {
        let (old, new) = mapping(&json!({"cors": {"origins": old}}), &json!({"cors": new}));
        check_exact(Kind::Mapping, &old, &new);
    }
    let (old, new) = mapping(&json!({"cors": {}}), &json!({"cors": {}}));
    check_exact(Kind::Mapping, &old, &new);
}

#[test]
fn labels() {
    let pair = |old: &Value, new: &Value| {
        mapping(&json!({"labels": {"d": [{"g": [old]}]}}), &json!({"labels": {"d": [{"g": [new]}]}}))
    };
    for (old, new) in [
        (json!("source_cluster"), json!({"source_cluster": {"key": "source_cluster"}})),
        (json!("destination_cluster"), json!({"destination_cluster": {"key": "destination_cluster"}})),
        (json!("remote_address"), json!({"remote_address": {"key": "remote_address"}})),
        (json!("s"), json!({"generic_key": {"value": "s", "v2Shorthand": true}})),
        (
            json!({"n": {"header": "h", "omit_if_not_present": false}}),
            json!({"request_headers": {"key": "n", "header_name": "h", "omit_if_not_present": false}}),
        ),
        (json!({"n": {"header": "h"}}), json!({"request_headers": {"key": "n", "header_name": "h"}})),
        (json!({"generic_key": "v"}), json!({"generic_key": {"value": "v"}})),
        // Upstream loses this key.
        (json!({"generic_key": "v", "v3Key": "k"}), json!({"generic_key": {"value": "v", "key": "k"}})),
        (json!({"foo": 1}), json!({"foo": 1})),
        (json!(["list"]), json!(["list"])),
    ] {
        let (old, new) = pair(&old, &new);
        check_exact(Kind::Mapping, &old, &new);
    }
    for (new, old) in [
        (
            json!({"generic_key": {"key": "k", "value": "v", "v2Shorthand": true}}),
            json!({"generic_key": "v", "v3Key": "k"}),
        ),
        (json!({"generic_key": {"value": "remote_address", "v2Shorthand": true}}), json!("remote_address")),
        (json!({}), json!(null)),
    ] {
        let (old, new) = pair(&old, &new);
        assert_eq!(down(Kind::Mapping, &new), old, "{new}");
    }
    let (old, new) = pair(&json!({"n": {}}), &json!({"request_headers": {"key": "n", "header_name": ""}}));
    check(Kind::Mapping, &old, &new);
    let (old, new) = mapping(&json!({"labels": {"d": null}}), &json!({"labels": {"d": null}}));
    check_exact(Kind::Mapping, &old, &new);
}

#[test]
fn empty_labels_do_not_reach_v3alpha1() {
    // Its schema wants one key in each; upstream writes an object without, and its gateway refuses the Mapping.
    let (old, new) = mapping(
        &json!({"labels": {"d": [{"g": [null, "s", {}]}]}}),
        &json!({"labels": {"d": [{"g": [{"generic_key": {"value": "s", "v2Shorthand": true}}]}]}}),
    );
    check(Kind::Mapping, &old, &new);
}

#[test]
fn selectors_of_a_host() {
    let (a, b) = (json!({"matchLabels": {"a": "b"}}), json!({"matchLabels": {"c": "d"}}));
    assert_eq!(down(Kind::Host, &json!({"selector": a})), json!({"selector": a}));
    let both = object(Version::V3Alpha1, Kind::Host, json!({"selector": a, "mappingSelector": b}));
    let Converted { object, notes } = convert_with(both, Version::V2, BARE).unwrap();
    assert_eq!(object["spec"], json!({"selector": b}));
    assert_eq!(notes[0].to_string(), "spec.selector: mappingSelector wins; selector was left out");
}

#[test]
fn tags_of_a_tracing_service() {
    let kind = Kind::TracingService;
    let tags = json!([{"tag": "a", "request_header": {"name": "a"}}, {"tag": "b", "request_header": {"name": "b"}}]);
    let own = json!([{"tag": "t", "literal": {"value": "v"}}]);
    check(kind, &json!({"tag_headers": ["a", "b"]}), &json!({"custom_tags": tags}));
    check(kind, &json!({"tag_headers": ["a"], "v3CustomTags": own}), &json!({"custom_tags": own}));
    check_exact(kind, &json!({"v3CustomTags": own}), &json!({"custom_tags": own}));
    assert_eq!(down(kind, &json!({"tag_headers": ["a", "b"]})), json!({"v3CustomTags": tags}));
    assert_eq!(down(kind, &json!({"tag_headers": ["a"], "custom_tags": own})), json!({"v3CustomTags": own}));
    let both = object(Version::V2, kind, json!({"tag_headers": ["a"], "v3CustomTags": own}));
    assert_eq!(convert(both, Version::V3Alpha1).unwrap().notes.len(), 1);
}

#[test]
fn explicit_zeros_survive() {
    let kind = Kind::AuthService;
    let spec = json!({"auth_service": "a", "include_body": {"max_bytes": 0, "allow_partial": false}, "timeout_ms": 0});
    check_exact(kind, &spec, &spec);
    let spec = json!({"service": "s", "failure_mode_deny": false});
    check_exact(Kind::RateLimitService, &spec, &spec);
    check_exact(
        Kind::RateLimitService,
        &json!({"v3GRPC": {"use_resource_exhausted_code": false}}),
        &json!({"grpc": {"use_resource_exhausted_code": false}}),
    );
    let new = json!({
        "hostname": "h",
        "cors": {"origins": ["a"], "v2CommaSeparatedOrigins": false},
        "labels": {"d": [{"g": [{"generic_key": {"value": "v", "v2Shorthand": false}}]}]},
    });
    assert_eq!(up(Kind::Mapping, &down(Kind::Mapping, &new)), new);
}

#[test]
fn a_module_has_a_config_in_v3alpha1() {
    check(Kind::Module, &json!({}), &json!({"config": {}}));
    check(Kind::Module, &json!({"config": null}), &json!({"config": {}}));
    check_exact(Kind::Module, &json!({"config": {"tls": true}}), &json!({"config": {"tls": true}}));
}

#[test]
fn v1_is_v2_under_another_label() {
    let spec = json!({"ambassador_id": "a", "tls": true, "service": "s", "headers": {"a": false}});
    for (from, to) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
        assert_eq!(run(Kind::Mapping, &spec, from, to, Options::default()), spec);
    }
    let there = |from| run(Kind::Mapping, &spec, from, Version::V3Alpha1, Options::default());
    assert_eq!(there(Version::V1), there(Version::V2));
}

#[test]
fn what_somebody_edits_wins_over_what_was_remembered() {
    let old = json!({"host": "*", "headers": {"a": false, "b": "1"}, "remove_request_headers": "x"});
    let mut new = run(Kind::Mapping, &old, Version::V2, Version::V3Alpha1, REMEMBERING);
    assert_eq!(
        new["v2Spelling"],
        json!({
            "/host": {"value": "*"},
            "/headers/a": {"value": false},
            "/remove_request_headers": {"value": "x"},
        })
    );
    new["hostname"] = json!("a.com");
    new["remove_request_headers"] = json!(["y"]);
    let edited = object(Version::V3Alpha1, Kind::Mapping, new);
    let Converted { object, notes } = convert_with(edited, Version::V2, REMEMBERING).unwrap();
    assert_eq!(
        object["spec"],
        json!({"host": "a.com", "headers": {"a": false, "b": "1"}, "remove_request_headers": ["y"]})
    );
    assert_eq!(notes.len(), 1);
}

#[test]
fn a_memory_that_makes_no_sense_is_ignored() {
    for memory in [
        json!(null),
        json!("text"),
        json!({"": {"value": 1}, "service": {}, "/a/b/c": {"value": 1}, "/service": {"value": "evil"}, "/prefix": 5}),
    ] {
        let new = json!({"hostname": "h", "service": "s", "prefix": "/", "v2Spelling": memory});
        assert_eq!(down(Kind::Mapping, &new), json!({"host": "h", "service": "s", "prefix": "/"}), "{new}");
    }
}

#[test]
fn only_the_label_can_be_wrong() {
    let to = Version::V3Alpha1;
    assert_eq!(convert(json!([]), to), Err(Problem::NotAnObject));
    assert_eq!(convert(json!({"kind": "Host"}), to), Err(Problem::Unlabelled("apiVersion")));
    assert_eq!(convert(json!({"apiVersion": "getambassador.io/v2"}), to), Err(Problem::Unlabelled("kind")));
    assert_eq!(convert(json!({"apiVersion": "v1", "kind": "Host"}), to), Err(Problem::UnknownVersion("v1".to_owned())));
    let filter = json!({"apiVersion": "getambassador.io/v2", "kind": "Filter"});
    assert_eq!(convert(filter, to), Err(Problem::UnknownKind("Filter".to_owned())));
    let problem = convert(object(to, Kind::Listener, json!({})), Version::V2).unwrap_err();
    assert_eq!(problem.to_string(), "there is no Listener in getambassador.io/v2");
    assert!(convert(object(Version::V2, Kind::Host, json!({})), Version::V1).is_err());
    assert!(convert(object(Version::V1, Kind::Host, json!({})), to).is_ok());
    // A spec that is missing or something else is carried over.
    for spec in [json!(null), json!(5), json!([])] {
        assert_eq!(run(Kind::Host, &spec, Version::V2, to, Options::default()), spec);
    }
    let bare = json!({"apiVersion": "getambassador.io/v2", "kind": "Host", "status": {"state": 0}, "extra": 1});
    let converted = convert(bare.clone(), to).unwrap().object;
    assert_eq!(converted, with(bare, &[("apiVersion", json!(to.api_version()))]));
}
