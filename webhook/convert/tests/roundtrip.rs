//! Random objects of every kind, sensible and odd, there and back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

#[path = "schemas/structural.rs"]
mod structural;

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use convert::{Kind, Options, Version, convert_with, ids};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const BARE: Options = Options { prefix_ids: false, remember_spelling: true };

/// Names of fields in any version of any kind: those that have a rule, the rule's own, and some without one. Every kind
/// gets all of them, because an old `spec` may have any unknown field.
const FIELDS: &[&str] = &[
    "ambassador_id",
    "ambassadorId",
    "add_request_headers",
    "add_response_headers",
    "auth_service",
    "circuit_breakers",
    "config",
    "cors",
    "crl_secret",
    "custom_tags",
    "failure_mode_deny",
    "grpc",
    "headers",
    "health_checks",
    "host",
    "host_regex",
    "hostname",
    "include_body",
    "labels",
    "mappingSelector",
    "protocol_version",
    "query_parameters",
    "regex_headers",
    "regex_query_parameters",
    "remove_request_headers",
    "remove_response_headers",
    "rewrite",
    "selector",
    "service",
    "stats_name",
    "tag_headers",
    "tls",
    "unknown",
    "v2BoolHeaders",
    "v2BoolQueryParameters",
    "v2ExplicitTLS",
    "v2Spelling",
    "v3CRLSecret",
    "v3CircuitBreakers",
    "v3CustomTags",
    "v3GRPC",
    "v3ProtocolVersion",
    "v3StatsName",
    "v3health_checks",
    "a/b~c",
];

fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text(),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![vec(inner.clone(), 0..3).prop_map(Value::from), btree_map(key(), inner, 0..3).prop_map(object),]
    })
}

fn object(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(fields.into_iter().collect())
}

fn key() -> impl Strategy<Value = String> {
    let names = [
        "",
        "a",
        "b",
        "x/y",
        "~",
        "header",
        "header_name",
        "key",
        "value",
        "append",
        "generic_key",
        "v3Key",
        "v2Shorthand",
        "v2Representation",
        "request_headers",
        "remote_address",
        "origins",
        "methods",
        "v2CommaSeparatedOrigins",
        "tls",
        "v3CRLSecret",
        "crl_secret",
        "v3PropagationModes",
        "propagation_modes",
        "serviceScheme",
        "omit_if_not_present",
    ];
    select(names.to_vec()).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "*",
        "a",
        "a,b",
        ".*",
        "svc",
        "http://svc",
        "HTTP://svc",
        "https://svc",
        "HTTPS://svc",
        "https://http://svc",
        "_skip_mapping_with_empty_host_",
        "null",
        "string",
        "bool:true",
        "bool:false",
        "remote_address",
        "source_cluster",
        "http://",
        "https://",
        "generic_key",
        "ü",
        "--apiVersion-v3alpha1-only--x",
    ];
    select(texts.to_vec()).prop_map(Value::from)
}

fn flag() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!(null)), any::<bool>().prop_map(Value::from)]
}

fn of_keys(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    btree_map(key(), values, 0..4).prop_map(object)
}

fn label() -> impl Strategy<Value = Value> {
    prop_oneof![
        text(),
        Just(json!(null)),
        Just(json!({})),
        (key(), text(), flag())
            .prop_map(|(name, header, omit)| json!({name: {"header": header, "omit_if_not_present": omit}})),
        (text(), text()).prop_map(|(value, key)| json!({"generic_key": value, "v3Key": key})),
        text().prop_map(|value| json!({"generic_key": value})),
        (text(), text(), flag())
            .prop_map(|(value, key, flag)| json!({"generic_key": {"value": value, "key": key, "v2Shorthand": flag}})),
        text().prop_map(|value| json!({"request_headers": {"key": value, "header_name": value}})),
        odd(),
    ]
}

fn cors() -> impl Strategy<Value = Value> {
    let strings = || prop_oneof![text(), vec(text(), 0..3).prop_map(Value::from)];
    (strings(), strings(), flag(), odd()).prop_map(|(origins, methods, flag, other)| {
        json!({"origins": origins, "methods": methods, "v2CommaSeparatedOrigins": flag, "max_age": other})
    })
}

/// A value as a field with a rule would have it.
fn sensible() -> impl Strategy<Value = Value> {
    let groups = of_keys(vec(label(), 0..4).prop_map(Value::from));
    let added = prop_oneof![
        text(),
        flag(),
        (text(), text(), flag())
            .prop_map(|(value, how, append)| json!({"value": value, "append": append, "v2Representation": how})),
        (text(), text()).prop_map(|(value, how)| json!({"value": value, "v2Representation": how})),
        text().prop_map(|how| json!({"v2Representation": how})),
    ];
    prop_oneof![
        text(),
        flag(),
        vec(text(), 0..3).prop_map(Value::from),
        of_keys(prop_oneof![text(), flag()]),
        of_keys(added),
        of_keys(prop_oneof![flag(), vec(groups, 0..3).prop_map(Value::from)]),
        cors(),
        (text(), text()).prop_map(|(tls, scheme)| json!({"tls": tls, "serviceScheme": scheme})),
    ]
}

/// The value that suits the field, most of the time.
fn field() -> impl Strategy<Value = (String, Value)> {
    select(FIELDS.to_vec()).prop_flat_map(|name| {
        let suitable = match name {
            "headers" | "regex_headers" | "query_parameters" | "regex_query_parameters" => {
                of_keys(prop_oneof![text(), flag()]).boxed()
            }
            "labels" => {
                of_keys(vec(of_keys(vec(label(), 0..4).prop_map(Value::from)), 0..3).prop_map(Value::from)).boxed()
            }
            "cors" => cors().boxed(),
            "tls" | "host_regex" => prop_oneof![flag(), text()].boxed(),
            "service" | "auth_service" | "host" | "hostname" => text().boxed(),
            _ => sensible().boxed(),
        };
        (Just(name.to_owned()), prop_oneof![8 => suitable, 1 => sensible(), 1 => odd()])
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    let convertible = Kind::ALL.into_iter().filter(|kind| kind.has(Version::V2)).collect::<Vec<_>>();
    // A Mapping has more rules than all others together.
    prop_oneof![Just(Kind::Mapping), select(convertible)]
}

fn any_object(version: Version) -> impl Strategy<Value = Value> {
    (kind(), vec(field(), 0..10), odd()).prop_map(move |(kind, fields, other)| {
        json!({
            "apiVersion": version.api_version(), "kind": kind.name(), "metadata": {"name": "x", "labels": other},
            "spec": Map::from_iter(fields), "status": other, "other": other,
        })
    })
}

fn run(object: &Value, to: Version, options: Options) -> Value {
    convert_with(object.clone(), to, options).unwrap().object
}

/// The schemas of our definitions for `spec`, by kind and version.
static SPECS: LazyLock<BTreeMap<(String, String), Value>> = LazyLock::new(|| {
    let mut specs = BTreeMap::new();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/crds-all-versions")).unwrap() {
        let definition: Value = serde_saphyr::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
            specs.insert((text(&definition["spec"]["names"]["kind"]), text(&version["name"])), schema);
        }
    }
    specs
});

/// The object as an API server hands it on.
fn kept(mut object: Value, version: &str) -> Value {
    let kind = object["kind"].as_str().unwrap().to_owned();
    structural::kept(&SPECS[&(kind, version.to_owned())], &mut object["spec"]);
    object
}

proptest! {
    /// Whatever the types, an API server with our definitions has nothing to drop from what conversion gives it.
    #[test]
    fn old_objects_come_back_from_storage(object in any_object(Version::V2)) {
        let object = kept(object, "v2");
        let new = run(&object, Version::V3Alpha1, BARE);
        prop_assert_eq!(&kept(new.clone(), "v3alpha1"), &new, "of {}", object);
        prop_assert_eq!(&run(&new, Version::V2, BARE), &object, "through {}", new);
    }

    #[test]
    fn old_objects_come_back_the_same(object in any_object(Version::V2)) {
        let new = run(&object, Version::V3Alpha1, BARE);
        prop_assert_eq!(&run(&new, Version::V2, BARE), &object, "through {}", new);
        let mut older = object.clone();
        older["apiVersion"] = json!(Version::V1.api_version());
        if object["kind"] != "Host" {
            prop_assert_eq!(&run(&run(&older, Version::V3Alpha1, BARE), Version::V1, BARE), &older);
            prop_assert_eq!(&run(&run(&older, Version::V2, BARE), Version::V1, BARE), &older);
        }
    }

    /// With prefixes the ids differ by the prefix and nothing else does.
    #[test]
    fn ids_get_their_prefix_and_nothing_else_changes(mut object in any_object(Version::V2)) {
        let new = run(&object, Version::V3Alpha1, Options::default());
        let back = run(&new, Version::V2, Options::default());
        let kind = object["kind"].as_str().unwrap().parse().unwrap();
        ids::prefix(kind, object["spec"].as_object_mut().unwrap());
        prop_assert_eq!(&back, &object, "through {}", &new);
        // From here on it is the same for good.
        prop_assert_eq!(&run(&run(&back, Version::V3Alpha1, Options::default()), Version::V2, Options::default()), &back);
    }

    /// Odd v3alpha1 objects convert, too, and what v2 shows of them does not change with further round trips.
    #[test]
    fn what_v2_shows_of_a_new_object_is_stable(object in any_object(Version::V3Alpha1)) {
        let old = run(&object, Version::V2, BARE);
        for part in ["metadata", "status", "other"] {
            prop_assert_eq!(&old[part], &object[part]);
        }
        prop_assert_eq!(run(&run(&old, Version::V3Alpha1, BARE), Version::V2, BARE), old);
    }

    #[test]
    fn new_objects_in_their_usual_form_come_back_the_same(object in usual()) {
        let old = run(&object, Version::V2, BARE);
        prop_assert_eq!(&run(&old, Version::V3Alpha1, BARE), &object, "through {}", old);
    }
}

/// v3alpha1 objects as the schema has them, without the spellings that are known to become others: `host` in place of
/// `hostname`, a deprecated selector or `tag_headers`, empty strings, memory that does not fit the object.
fn usual() -> impl Strategy<Value = Value> {
    let name = || "[a-z]{1,8}".prop_map(Value::from);
    let names = move || vec(name(), 0..3).prop_map(Value::from);
    let zero = || prop_oneof![Just(json!(0)), Just(json!(false)), Just(json!(true)), Just(json!(3000))];
    let named = |values: BoxedStrategy<Value>| btree_map("[a-z]{1,4}", values, 0..3).prop_map(object).boxed();
    let added = prop_oneof![
        name().prop_map(|value| json!({"value": value})),
        (name(), any::<bool>()).prop_map(|(value, append)| json!({"value": value, "append": append})),
        name().prop_map(|value| json!({"value": value, "v2Representation": "string"})),
        Just(json!({"v2Representation": "null"})),
    ];
    let label = prop_oneof![
        Just(json!({"remote_address": {"key": "remote_address"}})),
        name().prop_map(|value| json!({"generic_key": {"value": value}})),
        name().prop_map(|value| json!({"generic_key": {"value": value, "v2Shorthand": true}})),
        (name(), name()).prop_map(|(key, value)| json!({"generic_key": {"value": value, "key": key}})),
        (name(), name(), any::<bool>()).prop_map(|(key, name, omit)| {
            json!({"request_headers": {"key": key, "header_name": name, "omit_if_not_present": omit}})
        }),
    ];
    let group = (name(), vec(label, 0..3)).prop_map(|(name, labels)| json!({name.as_str().unwrap(): labels}));
    let labels = named(vec(group, 0..3).prop_map(Value::from).boxed());
    let tls = prop_oneof![
        Just(json!({"service": "svc"})),
        Just(json!({"service": "https://svc"})),
        Just(json!({"service": "https://svc", "v2ExplicitTLS": {"tls": "bool:true", "serviceScheme": "http://"}})),
        Just(json!({"service": "http://svc", "v2ExplicitTLS": {"tls": "bool:false"}})),
    ];
    let mapping = (tls, named(added.boxed()), labels, named(name().boxed()), names(), zero(), name()).prop_map(
        |(mut spec, added, labels, headers, removed, number, hostname)| {
            let more = json!({
                "hostname": hostname, "add_response_headers": added, "labels": labels, "headers": headers,
                "remove_request_headers": removed, "timeout_ms": number, "stats_name": hostname,
                "cors": {"origins": removed, "credentials": number},
                "health_checks": [{"health_check": {"grpc": {"upstream_name": hostname}}}],
            });
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            (Kind::Mapping, spec)
        },
    );
    let others = (kind(), name(), names(), zero()).prop_map(|(kind, name, names, number)| {
        let spec = match kind {
            Kind::AuthService => json!({
                "auth_service": name, "include_body": {"max_bytes": 0, "allow_partial": false},
                "circuit_breakers": [{}], "stats_name": name, "timeout_ms": number,
            }),
            Kind::Host => json!({
                "hostname": name, "mappingSelector": {"matchLabels": {"a": name}}, "tls": {"crl_secret": name},
                "requestPolicy": {"insecure": {"additionalPort": number}},
            }),
            Kind::LogService => json!({"service": name, "protocol_version": "v3", "flush_interval_time": number}),
            Kind::Mapping => json!({"host": name, "host_regex": true, "prefix": ""}),
            Kind::Module => json!({"config": {"anything": names, "v3StatsName": number}}),
            Kind::RateLimitService => json!({
                "service": name, "failure_mode_deny": false, "grpc": {"use_resource_exhausted_code": number},
            }),
            Kind::TCPMapping => json!({"service": "http://svc", "tls": name, "port": number}),
            Kind::TracingService => json!({
                "service": name, "custom_tags": [{"tag": name, "literal": {"value": ""}}],
                "config": {"propagation_modes": names},
            }),
            Kind::TLSContext => json!({"hosts": names, "crl_secret": name, "secret_namespacing": number}),
            Kind::ConsulResolver => json!({"address": name, "datacenter": name}),
            Kind::DevPortal => json!({"default": number, "docs": names, "search": {"enabled": number}}),
            _ => json!({}),
        };
        (kind, spec)
    });
    (prop_oneof![mapping, others], vec("[a-z]{1,4}", 1..3)).prop_map(|((kind, mut spec), ids)| {
        spec["ambassador_id"] = json!(ids);
        json!({"apiVersion": Version::V3Alpha1.api_version(), "kind": kind.name(), "metadata": {}, "spec": spec})
    })
}
