//! v1 and v2: every spelling that Emissary-ingress reads is read, and written as it was.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::fmt::Debug;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use api::{decode, v2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const CORPUS: &str = "../../../shared/corpus/conversion";

/// Decodes a spec, which must know every field, and encodes it.
fn there_and_back<S: DeserializeOwned + Serialize + Debug>(spec: &Value) -> Result<Value, String> {
    let decoded = decode::<S>(spec);
    match decoded.value {
        Ok(value) if decoded.unknown.is_empty() => Ok(json!(value)),
        Ok(_) => Err(format!("unknown: {:?}", decoded.unknown)),
        Err(problem) => Err(format!("{}: {}", problem.path, problem.message)),
    }
}

fn of_kind(kind: &str, spec: &Value) -> Result<Value, String> {
    match kind {
        "AuthService" => there_and_back::<v2::AuthServiceSpec>(spec),
        "ConsulResolver" => there_and_back::<v2::ConsulResolverSpec>(spec),
        "DevPortal" => there_and_back::<v2::DevPortalSpec>(spec),
        "Host" => there_and_back::<v2::HostSpec>(spec),
        "KubernetesEndpointResolver" => there_and_back::<v2::KubernetesEndpointResolverSpec>(spec),
        "KubernetesServiceResolver" => there_and_back::<v2::KubernetesServiceResolverSpec>(spec),
        "LogService" => there_and_back::<v2::LogServiceSpec>(spec),
        "Mapping" => there_and_back::<v2::MappingSpec>(spec),
        "Module" => there_and_back::<v2::ModuleSpec>(spec),
        "RateLimitService" => there_and_back::<v2::RateLimitServiceSpec>(spec),
        "TCPMapping" => there_and_back::<v2::TcpMappingSpec>(spec),
        "TLSContext" => there_and_back::<v2::TlsContextSpec>(spec),
        "TracingService" => there_and_back::<v2::TracingServiceSpec>(spec),
        other => panic!("no type for {other}"),
    }
}

#[test]
fn every_spelling_of_a_mapping_is_kept() {
    let cases = json!({
        "ambassador_id": ["default", ["a", "b"], []],
        "tls": [true, false, "", "context"],
        "headers": [{}, {"a": "1", "b": true, "c": false, "d": null, "e": "true"}],
        "query_parameters": [{"a": "1", "b": true}],
        "add_request_headers": [{}, {"a": "1", "b": {"value": "1"}, "c": {"value": "1", "append": false}, "d": null}],
        "add_response_headers": [{"a": {}, "b": {"append": true}}],
        "remove_request_headers": ["a", [], ["a", "b"]],
        "remove_response_headers": ["a,b"],
        "cors": [
            {},
            {"origins": "https://a,https://b", "methods": "GET, POST", "headers": "x", "exposed_headers": "y"},
            {"origins": ["https://a"], "methods": ["GET"], "headers": ["x"], "exposed_headers": []},
        ],
        "labels": [
            {},
            {"domain": [{"group": ["a", "remote_address", null]}, {"empty": []}]},
            {"domain": [{"group": [{"key": {"header": "x", "omit_if_not_present": false}}, {"key": {"header": ""}}]}]},
            {"domain": [{"group": [{"generic_key": "a"}, {"generic_key": "a", "v3Key": "b"}, {}]}]},
        ],
        "v3StatsName": ["stats"],
        "v3health_checks": [[{"health_check": {"grpc": {"upstream_name": "a"}}}]],
        "host": ["*.example.com"],
        "host_regex": [false],
    });
    for (field, values) in cases.as_object().unwrap() {
        for value in values.as_array().unwrap() {
            let spec = json!({"prefix": "/", "service": "svc", field: value});
            assert_eq!(of_kind("Mapping", &spec), Ok(spec));
        }
    }
}

#[test]
fn every_spelling_of_the_other_kinds_is_kept() {
    let cases = [
        ("AuthService", json!({"auth_service": "a", "tls": true, "v3StatsName": "s", "v3CircuitBreakers": [{}]})),
        ("ConsulResolver", json!({"ambassador_id": "default", "address": "consul:8500"})),
        ("DevPortal", json!({"ambassador_id": ["default"], "search": {"type": "title-only"}})),
        ("Host", json!({"ambassadorId": "a", "ambassador_id": ["b"], "selector": {"matchLabels": {"a": "b"}}})),
        ("Host", json!({"tls": {"v3CRLSecret": "crl"}})),
        ("KubernetesEndpointResolver", json!({"ambassador_id": "a"})),
        ("KubernetesServiceResolver", json!({})),
        ("LogService", json!({"v3ProtocolVersion": "v3", "v3StatsName": "s"})),
        ("Module", json!({})),
        ("Module", json!({"config": {"anything": null}})),
        ("RateLimitService", json!({"service": "r", "tls": "c", "v3GRPC": {"use_resource_exhausted_code": false}})),
        ("TCPMapping", json!({"port": 1, "service": "s", "tls": false, "v3StatsName": "s"})),
        ("TLSContext", json!({"v3CRLSecret": "crl", "cert_required": false})),
        ("TracingService", json!({"driver": "zipkin", "service": "s", "tag_headers": ["a"], "v3CustomTags": []})),
        ("TracingService", json!({"driver": "zipkin", "service": "s", "config": {"v3PropagationModes": ["B3"]}})),
    ];
    for (kind, spec) in cases {
        assert_eq!(of_kind(kind, &spec), Ok(spec), "{kind}");
    }
    for (kind, spec) in [
        ("Mapping", json!({"prefix": "/", "service": "s", "tls": 1})),
        ("Mapping", json!({"prefix": "/", "service": "s", "hostname": "a"})),
        ("Mapping", json!({"prefix": "/", "service": "s", "headers": {"a": 1}})),
        ("AuthService", json!({"auth_service": "a", "stats_name": "s"})),
    ] {
        assert!(of_kind(kind, &spec).is_err(), "{kind} {spec}");
    }
}

#[test]
fn upstreams_examples_are_kept() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    if !corpus.exists() {
        // Past the capture of test output, which would hide it.
        writeln!(io::stderr(), "skipped: no corpus at {CORPUS}").unwrap();
        return;
    }
    let mut count = 0;
    for version in ["v1", "v2"] {
        for file in fs::read_dir(corpus.join(version)).unwrap() {
            let file = file.unwrap().path();
            let objects: Vec<Value> = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            for object in objects {
                let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
                assert_eq!(of_kind(object["kind"].as_str().unwrap(), &spec), Ok(spec), "{}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 30, "only {count} objects");
}
