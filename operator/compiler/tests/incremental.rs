//! Invariants 1 to 5 of `docs/architecture.md`, over random edit scripts. `PROPTEST_CASES` scales them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use compiler::{Change, Compiler, Object, Options, Refusal};
use ir::{Kind, ObjectKey};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{Mirror, created, custom, host, labelled, listener, mapping, object, service, slice};

fn times() -> impl Strategy<Value = &'static str> {
    select(vec!["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z"])
}

fn labels() -> impl Strategy<Value = Value> {
    select(vec![json!({}), json!({ "app": "a" }), json!({ "app": "b", "tier": "1" }), json!({ "tier": "1" })])
}

fn hostname() -> impl Strategy<Value = Value> {
    select(["*", "a.example", "b.example", "*.example", "a.*", "A.example", "*.b.example"].map(Value::from).to_vec())
}

fn mappings() -> impl Strategy<Value = Value> {
    let name = select(vec!["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let hostname = prop_oneof![6 => hostname(), 1 => Just(Value::Null)];
    let prefix = select(vec!["/", "/a/", "/a/b/", "/.well-known/acme-challenge/", "/c"]);
    let service = select(vec!["s0", "s1", "s0:8080", "https://s1", "s-0", "s.0", "outside.example.com", "10.1.2.3"]);
    let extra = select(vec![
        json!({}),
        json!({}),
        json!({ "weight": 30 }),
        json!({ "weight": 80 }),
        json!({ "precedence": 3 }),
        json!({ "method": "GET" }),
        json!({ "headers": { "x-forwarded-proto": "http" } }),
        json!({ "headers": { "x-a": "1" } }),
        json!({ "host_redirect": true }),
        json!({ "resolver": "endpoint" }),
        json!({ "resolver": "endpoint", "load_balancer": { "policy": "least_request" } }),
        json!({ "resolver": "own" }),
        json!({ "tls": "context" }),
        json!({ "timeout_ms": 100 }),
        json!({ "connect_timeout_ms": 100 }),
        json!({ "prefix_regex": true }),
        json!({ "hostname": null, "host": "a[.].*", "host_regex": true }),
        json!({ "case_sensitive": false }),
        json!({ "ambassador_id": ["other"] }),
        json!({ "bypass_auth": true }),
        json!({ "shadow": true }),
        json!({ "retry_policy": { "retry_on": "5xx" }, "allow_upgrade": ["websocket"] }),
        json!({ "cors": { "origins": ["*"] }, "weight": 10 }),
        json!({ "error_response_overrides": [{ "on_status_code": 404, "body": { "json_format": { "a": "b" } } }] }),
        json!({ "bypass_error_response_overrides": true }),
        json!({ "regex_rewrite": { "pattern": "a", "substitution": "b" } }),
        json!({ "resolver": "endpoint", "health_checks": [{ "health_check": { "http": { "path": "/" } } }] }),
    ]);
    let broken = prop_oneof![5 => Just(Value::Null), 1 => broken_mapping()];
    (name, hostname, prefix, service, extra, labels(), times(), broken).prop_map(
        |(name, hostname, prefix, service, extra, labels, time, broken)| {
            let mut value = mapping(name, json!({ "hostname": hostname, "prefix": prefix, "service": service }));
            for part in [extra, broken] {
                for (field, setting) in part.as_object().into_iter().flatten() {
                    value["spec"][field] = setting.clone();
                }
            }
            created(labelled(value, labels), time)
        },
    )
}

/// Each is refused whatever else there is.
fn broken_mapping() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "prefix": 7 }),
        json!({ "prefix": "/x(", "prefix_regex": true }),
        json!({ "weight": 1000 }),
        json!({ "service": "http://" }),
        json!({ "hostname": ["x"] }),
        json!({ "method": "a\nb" }),
    ])
}

fn hosts() -> impl Strategy<Value = Value> {
    let name = select(vec!["h0", "h1", "h2", "h3"]);
    let selector = select(vec![
        Value::Null,
        json!({ "matchLabels": { "app": "a" } }),
        json!({ "matchLabels": { "app": "b", "tier": "1" } }),
        json!({}),
    ]);
    let tls = select(vec![
        json!({}),
        json!({ "tlsSecret": { "name": "cert0" } }),
        json!({ "tlsSecret": { "name": "cert1" } }),
        json!({ "tlsSecret": { "name": "cert0" }, "tlsContext": { "name": "context" } }),
        json!({ "tlsSecret": { "name": "cert0" }, "tls": { "min_tls_version": "v1.2" } }),
    ]);
    let action = select(vec!["Redirect", "Route", "Reject"]);
    (name, hostname(), selector, tls, action, labels(), times()).prop_map(|(name, hostname, selector, tls, action, labels, time)| {
        let mut spec = json!({ "hostname": hostname, "mappingSelector": selector, "requestPolicy": { "insecure": { "action": action } } });
        for (field, setting) in tls.as_object().unwrap() {
            spec[field] = setting.clone();
        }
        created(labelled(host(name, spec), labels), time)
    })
}

fn listeners() -> impl Strategy<Value = Value> {
    let name = select(vec!["l0", "l1", "l2"]);
    let port = select(vec![8080_u16, 8443]);
    let protocol = select(vec!["HTTP", "HTTPS", "HTTPS", "TCP", "HTTP/3"]);
    let binding = select(vec![
        json!({ "namespace": { "from": "ALL" } }),
        json!({ "namespace": { "from": "SELF" }, "selector": { "matchLabels": { "app": "a" } } }),
    ]);
    (name, port, protocol, select(vec!["XFP", "SECURE", "INSECURE"]), 0..2_i32, binding, times()).prop_map(
        |(name, port, protocol, model, depth, binding, time)| {
            let mut value = listener(name, port, protocol, model);
            if protocol == "HTTP/3" {
                value["spec"]["protocol"] = Value::Null;
                value["spec"]["protocolStack"] = json!(["TLS", "HTTP", "UDP"]);
            }
            value["spec"]["l7Depth"] = depth.into();
            value["spec"]["hostBinding"] = binding;
            created(value, time)
        },
    )
}

fn tcp_mappings() -> impl Strategy<Value = Value> {
    let name = select(vec!["t0", "t1", "t2"]);
    let host = select(vec![Value::Null, json!("a.example"), json!("x.example"), json!("*"), json!("*.example")]);
    let extra = select(vec![
        json!({}),
        json!({ "weight": 0 }),
        json!({ "weight": 60 }),
        json!({ "address": "127.0.0.1" }),
        json!({ "circuit_breakers": [{ "max_connections": 2 }] }),
        json!({ "resolver": "endpoint" }),
        json!({ "tls": "context" }),
        json!({ "port": 0 }),
    ]);
    (name, select(vec![8443_u16, 9000]), host, extra, times()).prop_map(|(name, port, host, extra, time)| {
        let mut spec = json!({ "port": port, "service": "s0:5432", "host": host });
        for (field, setting) in extra.as_object().unwrap() {
            spec[field] = setting.clone();
        }
        created(custom("TCPMapping", name, spec), time)
    })
}

fn others() -> impl Strategy<Value = Value> {
    let config = select(vec![
        json!({}),
        json!({ "cluster_request_timeout_ms": 9000 }),
        json!({ "use_remote_address": false }),
        json!({ "defaults": { "httpmapping": { "add_request_headers": { "x-default": { "value": "1" } } } } }),
        json!({ "ip_allow": [{ "peer": "127.0.0.1" }] }),
        json!({ "circuit_breakers": [{ "max_connections": 5 }] }),
        json!({ "load_balancer": { "policy": "least_request" }, "resolver": "endpoint" }),
        json!({ "diagnostics": { "enabled": false } }),
        json!({ "retry_policy": { "retry_on": "gateway-error" }, "cors": { "origins": ["https://a"] } }),
        json!({ "load_balancer": { "policy": "ring_hash", "header": "x" } }),
        json!({ "error_response_overrides": [{ "on_status_code": 404, "body": { "text_format": "none" } }] }),
        json!({ "enable_grpc_web": true, "gzip": { "window_bits": 99 }, "buffer": { "max_request_bytes": 5 } }),
    ]);
    let certificate = select(vec!["", "bm90IGEgY2VydGlmaWNhdGU="]);
    let annotation = select(vec![
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nname: m0\nhostname: a.example\nprefix: /a/\nservice: s0\n",
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nname: h9\nhostname: annotated.example\n",
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Module\nname: tls\nconfig: {context: {secret: cert0}}\n",
        "{ not yaml",
    ]);
    prop_oneof![
        (select(vec!["s0", "s1"]), select(vec![None, Some("10.0.0.1"), Some("10.0.0.2"), Some("None")]))
            .prop_map(|(name, ip)| service(name, ip)),
        (select(vec!["s0", "s1"]), annotation).prop_map(|(name, text)| {
            let mut value = service(name, Some("10.0.0.1"));
            value["metadata"]["annotations"] = json!({ "getambassador.io/config": text });
            value
        }),
        (
            select(vec!["e0", "e1"]),
            select(vec!["s0", "s1"]),
            select(vec![vec!["10.2.0.1"], vec!["10.2.0.1", "10.2.0.2"], vec![]]),
            any::<bool>()
        )
            .prop_map(|(name, service, addresses, ready)| slice(name, service, &addresses, ready)),
        (config, times())
            .prop_map(|(config, time)| created(custom("Module", "ambassador", json!({ "config": config })), time)),
        select(vec![
            json!({ "context": { "secret": "cert1" } }),
            json!({ "server": { "secret": "cert0" } }),
            json!({})
        ])
        .prop_map(|config| custom("Module", "tls", json!({ "config": config }))),
        select(vec![
            json!({ "secret": "cert0" }),
            json!({ "hosts": ["a.example"] }),
            json!({ "ca_secret": "cert1", "cert_required": true }),
            json!({ "hosts": 3 })
        ])
        .prop_map(|spec| custom("TLSContext", "context", spec)),
        (select(vec!["KubernetesEndpointResolver", "KubernetesServiceResolver"])).prop_map(|kind| custom(
            kind,
            "own",
            json!({})
        )),
        Just(custom(
            "AuthService",
            "auth",
            json!({ "auth_service": "auth", "proto": "grpc", "protocol_version": "v3" })
        )),
        (select(vec!["cert0", "cert1", "fallback-self-signed-cert"]), certificate).prop_map(|(name, text)| json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name, "namespace": "default" }, "data": { "tls.crt": text, "tls.key": text } })),
    ]
}

fn any_object() -> impl Strategy<Value = Arc<Object>> {
    prop_oneof![8 => mappings(), 3 => hosts(), 2 => listeners(), 2 => tcp_mappings(), 4 => others()]
        .prop_map(|value| object(&value))
}

#[derive(Clone, Debug)]
enum Step {
    Put(Arc<Object>),
    Remove(Index),
    Refuse(Index, bool),
    Retain(Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_object().prop_map(Step::Put),
        3 => any::<Index>().prop_map(Step::Remove),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(index, held)| Step::Refuse(index, held)),
        1 => any::<Index>().prop_map(Step::Retain),
    ]
}

/// All inputs as they are now.
#[derive(Default, Clone)]
struct Inputs {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    retained: BTreeMap<ObjectKey, Arc<Object>>,
    refusals: BTreeMap<ObjectKey, Refusal>,
}

impl Inputs {
    /// The change that a step comes to, taken into account here.
    fn take(&mut self, step: &Step) -> Option<Change> {
        let pick = |objects: &BTreeMap<ObjectKey, Arc<Object>>, index: &Index| {
            (!objects.is_empty()).then(|| index.get(&objects.values().collect::<Vec<_>>()).to_owned().clone())
        };
        Some(match step {
            Step::Put(object) => {
                self.objects.insert(object.key.clone(), object.clone());
                Change::Put(object.clone())
            }
            Step::Remove(index) => {
                let object = pick(&self.objects, index)?;
                self.objects.remove(&object.key);
                Change::Gone(object.key.clone())
            }
            Step::Refuse(index, held) => {
                let object = pick(&self.objects, index)?;
                let refusal = Refusal { fingerprint: object.fingerprint, held: *held, text: "no".into() };
                self.refusals.insert(object.key.clone(), refusal.clone());
                Change::Refusal(object.key.clone(), Some(refusal))
            }
            Step::Retain(index) => {
                let object = pick(&self.objects, index)?;
                self.retained.insert(object.key.clone(), object.clone());
                Change::Retained(object.key.clone(), Some(object))
            }
        })
    }

    fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.objects.values().cloned().map(Change::Put).collect();
        changes.extend(self.retained.iter().map(|(key, object)| Change::Retained(key.clone(), Some(object.clone()))));
        changes.extend(self.refusals.iter().map(|(key, refusal)| Change::Refusal(key.clone(), Some(refusal.clone()))));
        changes
    }

    fn compile(&self) -> Compiler {
        let mut compiler = Compiler::new(Options::default());
        let outcome = compiler.apply(self.changes());
        assert_eq!(outcome.panics, 0);
        compiler
    }
}

fn script() -> impl Strategy<Value = Vec<Vec<Step>>> {
    proptest::collection::vec(proptest::collection::vec(step(), 1..6), 1..25)
}

proptest! {
    /// Invariant 1: any sequence of batches comes to the same as one batch of the final inputs, and the changes that
    /// were reported on the way add up to the result; also when the compiler starts over on the way.
    #[test]
    fn incremental_equals_from_scratch(script in script(), renewed_after in any::<u64>()) {
        let mut inputs = Inputs::default();
        let mut compiler = Compiler::new(Options::default());
        let mut mirror = Mirror::default();
        let mut verdicts = BTreeMap::new();
        mirror.apply(&compiler.apply(Vec::new()).rows);
        for (number, batch) in script.iter().enumerate() {
            let changes: Vec<Change> = batch.iter().filter_map(|step| inputs.take(step)).collect();
            if (renewed_after >> (2 * number % 64)).is_multiple_of(4) {
                compiler = compiler.renewed();
            }
            let outcome = compiler.apply(changes);
            prop_assert_eq!(outcome.panics, 0);
            mirror.apply(&outcome.rows);
            for (key, verdict) in outcome.verdicts {
                match verdict { Some(verdict) => verdicts.insert(key, verdict), None => verdicts.remove(&key) };
            }
            let fresh = inputs.compile();
            let (expected, judged) = (Mirror::of(&fresh), fresh.verdicts());
            prop_assert_eq!(&Mirror::of(&compiler), &expected);
            prop_assert_eq!(&mirror, &expected);
            prop_assert_eq!(&compiler.verdicts(), &judged);
            prop_assert_eq!(&verdicts.values().cloned().collect::<Vec<_>>(), &judged);
        }
    }

    /// Nothing stays behind when everything is gone.
    #[test]
    fn everything_gone_leaves_nothing(script in script()) {
        let mut inputs = Inputs::default();
        let mut compiler = Compiler::new(Options::default());
        compiler.apply(Vec::new());
        let empty = compiler.nodes();
        for batch in &script {
            compiler.apply(batch.iter().filter_map(|step| inputs.take(step)).collect());
        }
        let mut gone: Vec<Change> = inputs.objects.keys().cloned().map(Change::Gone).collect();
        gone.extend(inputs.retained.keys().map(|key| Change::Retained(key.clone(), None)));
        gone.extend(inputs.refusals.keys().map(|key| Change::Refusal(key.clone(), None)));
        compiler.apply(gone);
        compiler.apply(Vec::new());
        prop_assert_eq!(compiler.nodes(), empty);
    }

    /// Invariant 2: the order of objects in a batch changes nothing.
    #[test]
    fn order_in_a_batch_changes_nothing(objects in proptest::collection::vec(any_object(), 1..30), seed in any::<u64>()) {
        let by_key: BTreeMap<ObjectKey, Arc<Object>> = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        let forward = Inputs { objects: by_key.clone(), ..Inputs::default() }.compile();
        let mut shuffled: Vec<Change> = by_key.into_values().map(Change::Put).collect();
        let mut state = seed | 1;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            shuffled.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut other = Compiler::new(Options::default());
        other.apply(shuffled);
        prop_assert_eq!(Mirror::of(&forward), Mirror::of(&other));
        prop_assert_eq!(forward.verdicts(), other.verdicts());
    }

    /// Invariant 3: a Mapping edit never changes a listener, an endpoint edit changes only endpoints, a Secret edit only
    /// secrets.
    #[test]
    fn edits_stay_in_their_type(script in script(), edit in any_object()) {
        let mut inputs = Inputs::default();
        for step in script.iter().flatten() {
            inputs.take(step);
        }
        let mut compiler = inputs.compile();
        let had = inputs.objects.get(&edit.key).cloned();
        let rows = compiler.apply(vec![Change::Put(edit.clone())]).rows;
        match edit.key.kind {
            Kind::Mapping => prop_assert!(rows.listeners.is_empty(), "{:?}", rows.listeners),
            // The first slice of a Service decides how it is addressed, and one that moves from a Service is a last one.
            Kind::EndpointSlice if had.is_some_and(|had| slice_service(&had) == slice_service(&edit)) => {
                let (endpoints, mut rest) = (rows.endpoints.len(), rows);
                rest.endpoints.clear();
                prop_assert!(rest.is_empty(), "{endpoints} endpoint sets and {rest:?}");
            }
            Kind::Secret if *edit.key.name != *"fallback-self-signed-cert" => {
                let mut rest = rows;
                rest.secrets.clear();
                prop_assert!(rest.is_empty(), "{:?}", rest);
            }
            _ => {}
        }
    }

    /// Invariant 4, for Mappings: what changes in a list or among the clusters comes of the edited object.
    #[test]
    fn a_mapping_edit_changes_only_what_comes_of_it(script in script(), value in mappings()) {
        let edit = object(&value);
        let mut inputs = Inputs::default();
        for step in script.iter().flatten() {
            inputs.take(step);
        }
        let mut compiler = inputs.compile();
        let before = Mirror::of(&compiler);
        let groups_of = |mirror: &Mirror| -> BTreeMap<Arc<str>, Arc<ir::RouteGroup>> {
            mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups).map(|group| (group.id.clone(), group.clone())).collect()
        };
        compiler.apply(vec![Change::Put(edit.clone())]);
        let after = Mirror::of(&compiler);
        let (old, new) = (groups_of(&before), groups_of(&after));
        for (id, group) in old.iter().chain(&new) {
            let (was, is) = (old.get(id), new.get(id));
            // A group that a list gained or lost without being different changed its place, not its content.
            let (Some(was), Some(is)) = (was, is) else { continue };
            if was == is { continue; }
            let names = |group: &ir::RouteGroup| group.routes.iter().any(|route| route.source == edit.key);
            let renamed = was.routes.len() == is.routes.len();
            prop_assert!(names(was) || names(is) || renamed, "group {id} of others changed: {group:?}");
        }
    }

    /// Invariant 5: an object that is refused changes nothing but what is said about it.
    #[test]
    fn a_refused_mapping_changes_nothing_else(script in script(), broken in broken_mapping(), labels in labels()) {
        let mut inputs = Inputs::default();
        for step in script.iter().flatten() {
            inputs.take(step);
        }
        let mut compiler = inputs.compile();
        let mut value = labelled(mapping("newcomer", json!({})), labels);
        for (field, setting) in broken.as_object().unwrap() {
            value["spec"][field] = setting.clone();
        }
        let outcome = compiler.apply(vec![support::put(&value)]);
        prop_assert!(outcome.rows.is_empty(), "{:?}", outcome.rows);
        let about: Vec<_> = outcome.verdicts.iter().map(|(key, _)| key.clone()).collect();
        prop_assert_eq!(about, vec![ObjectKey::new(Kind::Mapping, "default", "newcomer")]);
        let verdict = support::verdict(&compiler, Kind::Mapping, "newcomer");
        prop_assert!(!verdict.accepted && verdict.problems.iter().any(|problem| !problem.at.is_empty()), "{:?}", verdict);
    }
}

fn slice_service(object: &Object) -> Option<String> {
    match &object.body {
        compiler::Body::EndpointSlice(decoded) => decoded.value.as_ref().ok().map(|slice| slice.service.clone()),
        _ => None,
    }
}
