//! Every field of every kind: it decodes, nothing of it is lost, and none is forgotten here.
//!
//! `maximal/<Kind>.yaml` holds a spec with all fields of its kind. That it does is checked against the schema.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use api::{KINDS, Spec, decode_kind, v3alpha1};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

fn maximal(kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/maximal/{kind}.yaml"));
    let text = fs::read_to_string(path).unwrap();
    let mut documents = api::yaml::documents(&text, 1).unwrap();
    documents.pop().unwrap()
}

fn encode(spec: &Spec) -> Value {
    match spec {
        Spec::AuthService(spec) => json!(spec),
        Spec::ConsulResolver(spec) => json!(spec),
        Spec::DevPortal(spec) => json!(spec),
        Spec::Host(spec) => json!(spec),
        Spec::KubernetesEndpointResolver(spec) => json!(spec),
        Spec::KubernetesServiceResolver(spec) => json!(spec),
        Spec::Listener(spec) => json!(spec),
        Spec::LogService(spec) => json!(spec),
        Spec::Mapping(spec) => json!(spec),
        Spec::Module(spec) => json!(spec),
        Spec::RateLimitService(spec) => json!(spec),
        Spec::TcpMapping(spec) => json!(spec),
        Spec::TlsContext(spec) => json!(spec),
        Spec::TracingService(spec) => json!(spec),
    }
}

fn schema(kind: &str) -> Value {
    fn inlined<T: JsonSchema>() -> Value {
        let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
        settings.into_generator().into_root_schema_for::<T>().to_value()
    }
    match kind {
        "AuthService" => inlined::<v3alpha1::AuthServiceSpec>(),
        "ConsulResolver" => inlined::<v3alpha1::ConsulResolverSpec>(),
        "DevPortal" => inlined::<v3alpha1::DevPortalSpec>(),
        "Host" => inlined::<v3alpha1::HostSpec>(),
        "KubernetesEndpointResolver" => inlined::<v3alpha1::KubernetesEndpointResolverSpec>(),
        "KubernetesServiceResolver" => inlined::<v3alpha1::KubernetesServiceResolverSpec>(),
        "Listener" => inlined::<v3alpha1::ListenerSpec>(),
        "LogService" => inlined::<v3alpha1::LogServiceSpec>(),
        "Mapping" => inlined::<v3alpha1::MappingSpec>(),
        "Module" => inlined::<v3alpha1::ModuleSpec>(),
        "RateLimitService" => inlined::<v3alpha1::RateLimitServiceSpec>(),
        "TCPMapping" => inlined::<v3alpha1::TcpMappingSpec>(),
        "TLSContext" => inlined::<v3alpha1::TlsContextSpec>(),
        "TracingService" => inlined::<v3alpha1::TracingServiceSpec>(),
        other => panic!("no schema for {other}"),
    }
}

/// Paths of all properties in a schema that no value at the same place has.
fn without_value(at: &str, schema: &Value, values: &[&Value], missing: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        let below: Vec<_> = values.iter().filter_map(|value| value.get(name)).collect();
        if below.is_empty() {
            missing.insert(path);
        } else {
            without_value(&path, property, &below, missing);
        }
    }
    let elements: Vec<_> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
    let entries: Vec<_> = values.iter().filter_map(|value| value.as_object()).flat_map(|map| map.values()).collect();
    for (below, values) in [("items", elements), ("additionalProperties", entries)] {
        if let Some(schema) = schema.get(below) {
            without_value(&format!("{at}[]"), schema, &values, missing);
        }
    }
}

#[test]
fn every_field_decodes_and_encodes_unchanged() {
    for kind in KINDS {
        let given = maximal(kind);
        for decoded in [decode_kind(kind, &given), decode_kind(kind, given.to_string().as_str())] {
            assert_eq!(decoded.unknown, Vec::<String>::new(), "{kind}");
            let spec = decoded.value.unwrap_or_else(|problem| panic!("{kind}: {problem:?}"));
            assert_eq!(spec.kind(), kind);
            assert_eq!(encode(&spec), given, "{kind}");
        }
    }
}

#[test]
fn examples_are_complete() {
    for kind in KINDS {
        let mut missing = BTreeSet::new();
        without_value(kind, &schema(kind), &[&maximal(kind)], &mut missing);
        assert!(missing.is_empty(), "{kind}: {missing:#?}");
    }
}

#[test]
fn completeness_check_notices_a_missing_field() {
    let mut spec = maximal("Mapping");
    spec["labels"]["gateway"][0]["first"][3]["request_headers"].as_object_mut().unwrap().remove("omit_if_not_present");
    spec["health_checks"].as_array_mut().unwrap().pop();
    let mut missing = BTreeSet::new();
    without_value("Mapping", &schema("Mapping"), &[&spec], &mut missing);
    let expected =
        ["Mapping.health_checks[].health_check.grpc", "Mapping.labels[][][][].request_headers.omit_if_not_present"];
    assert_eq!(missing, expected.map(str::to_owned).into());
}

/// Without its optional fields a spec is what upstream requires, no more.
#[test]
fn required_fields_are_those_of_upstream() {
    let required = [
        ("AuthService", json!({"auth_service": "auth"})),
        ("ConsulResolver", json!({})),
        ("DevPortal", json!({})),
        ("Host", json!({})),
        ("KubernetesEndpointResolver", json!({})),
        ("KubernetesServiceResolver", json!({})),
        ("Listener", json!({"port": 1, "securityModel": "XFP", "hostBinding": {}})),
        ("LogService", json!({})),
        ("Mapping", json!({"prefix": "/", "service": "a"})),
        ("Module", json!({"config": {}})),
        ("RateLimitService", json!({"service": "a"})),
        ("TCPMapping", json!({"port": 1, "service": "a"})),
        ("TLSContext", json!({})),
        ("TracingService", json!({"driver": "zipkin", "service": "a"})),
    ];
    for (kind, spec) in required {
        assert_eq!(encode(&decode_kind(kind, &spec).value.unwrap()), spec, "{kind}");
        for name in spec.as_object().unwrap().keys() {
            let mut less = spec.clone();
            less.as_object_mut().unwrap().remove(name);
            let problem = decode_kind(kind, &less).value.unwrap_err();
            assert_eq!(problem.path, *name, "{kind}");
            assert_eq!(problem.message, format!("missing field `{name}`"), "{kind}");
        }
        let schema = schema(kind);
        let listed: BTreeSet<_> =
            schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(listed, spec.as_object().unwrap().keys().map(String::as_str).collect(), "{kind}");
    }
}

/// What an object says explicitly is not what a default is, even if it says zero.
#[test]
fn explicit_zeros_survive() {
    let zeros = [
        ("Mapping", json!({"prefix": "", "service": "", "add_request_headers": {}, "remove_request_headers": []})),
        ("Mapping", json!({"prefix": "/", "service": "a", "retry_policy": {}, "cors": {}, "docs": {}, "labels": {}})),
        ("Mapping", json!({"prefix": "/", "service": "a", "circuit_breakers": [], "hostname": "", "timeout_ms": 0})),
        ("Host", json!({"ambassador_id": [], "hostname": "", "tlsSecret": {}, "requestPolicy": {"insecure": {}}})),
        ("TracingService", json!({"driver": "zipkin", "service": "a", "config": {}, "sampling": {}})),
        ("LogService", json!({"driver_config": {}})),
    ];
    for (kind, spec) in zeros {
        assert_eq!(encode(&decode_kind(kind, &spec).value.unwrap()), spec, "{kind}");
    }
}

#[test]
fn statuses_decode_with_their_conditions() {
    let condition = json!({
        "type": "Ready", "status": "False", "observedGeneration": 3, "lastTransitionTime": "2026-01-02T03:04:05Z",
        "reason": "Invalid", "message": "field `prefix` is empty",
    });
    let host = json!({
        "conditions": [condition], "tlsCertificateSource": "ACME", "state": "Error", "phaseCompleted": "NA",
        "phasePending": "ACMECertificateChallenge", "errorReason": "no", "errorTimestamp": "2026-01-02T03:04:05Z",
        "errorBackoff": "5m0s",
    });
    assert_eq!(json!(serde_json::from_value::<v3alpha1::HostStatus>(host.clone()).unwrap()), host);
    let mapping = json!({"conditions": [condition], "state": "", "reason": "no"});
    assert_eq!(json!(serde_json::from_value::<v3alpha1::MappingStatus>(mapping.clone()).unwrap()), mapping);
    let other = json!({"conditions": [condition]});
    assert_eq!(json!(serde_json::from_value::<v3alpha1::ResourceStatus>(other.clone()).unwrap()), other);

    // Statuses are written by others as well, and one we cannot name must not hide the object.
    let odd = json!({"state": "Sleeping", "phasePending": "Later", "tlsCertificateSource": "Vault"});
    let odd: v3alpha1::HostStatus = serde_json::from_value(odd).unwrap();
    assert_eq!(odd.state, Some(v3alpha1::HostState::Initial));
    assert_eq!(odd.phase_pending, Some(v3alpha1::HostPhase::NotApplicable));
    assert_eq!(odd.tls_certificate_source, Some(v3alpha1::HostTlsCertificateSource::Unknown));
}

#[test]
fn objects_name_their_group_and_kind() {
    let mapping = v3alpha1::Mapping::new(
        "quote",
        v3alpha1::MappingSpec { prefix: "/quote/".to_owned(), service: "quote".to_owned(), ..Default::default() },
    );
    let expected = json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": "quote"},
        "spec": {"prefix": "/quote/", "service": "quote"},
    });
    assert_eq!(json!(mapping), expected);
    assert!(schema_for!(v3alpha1::Mapping).get("properties").is_some());
}
