//! Objects for tests, written as JSON.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared by several test binaries, of which each uses a part"
)]

use compiler::{Change, Compiler, Object, Options, Outcome};
use ir::{ObjectKey, RowChanges, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object of the custom group in namespace `default`.
pub fn custom(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

pub fn mapping(name: &str, spec: Value) -> Value {
    let mut value = custom("Mapping", name, json!({ "hostname": "*", "prefix": "/", "service": "backend" }));
    for (field, setting) in spec.as_object().unwrap() {
        value["spec"][field] = setting.clone();
        if setting.is_null() {
            value["spec"].as_object_mut().unwrap().remove(field);
        }
    }
    value
}

pub fn listener(name: &str, port: u16, protocol: &str, model: &str) -> Value {
    custom(
        "Listener",
        name,
        json!({ "port": port, "protocol": protocol, "securityModel": model, "hostBinding": { "namespace": { "from": "ALL" } } }),
    )
}

pub fn host(name: &str, spec: Value) -> Value {
    custom("Host", name, spec)
}

pub fn service(name: &str, cluster_ip: Option<&str>) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "default" },
            "spec": { "clusterIP": cluster_ip, "ports": [{ "port": 80, "targetPort": 8080 }] } })
}

pub fn slice(name: &str, service: &str, addresses: &[&str], ready: bool) -> Value {
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": name, "namespace": "default", "labels": { "kubernetes.io/service-name": service } },
            "ports": [{ "port": 8080, "protocol": "TCP", "name": "" }],
            "endpoints": [{ "addresses": addresses, "conditions": { "ready": ready } }] })
}

pub fn labelled(mut value: Value, labels: Value) -> Value {
    value["metadata"]["labels"] = labels;
    value
}

pub fn created(mut value: Value, time: &str) -> Value {
    value["metadata"]["creationTimestamp"] = time.into();
    value
}

pub fn object(value: &Value) -> Arc<Object> {
    Arc::new(Object::from_value(value, "default").expect("usable metadata").expect("a kind that is read"))
}

pub fn put(value: &Value) -> Change {
    Change::Put(object(value))
}

pub fn compile(values: &[Value]) -> (Compiler, Outcome) {
    let mut compiler = Compiler::new(Options::default());
    let outcome = compiler.apply(values.iter().map(put).collect());
    (compiler, outcome)
}

pub fn verdict(compiler: &Compiler, kind: ir::Kind, name: &str) -> Arc<Verdict> {
    let key = ObjectKey::new(kind, "default", name);
    compiler
        .verdicts()
        .into_iter()
        .find(|verdict| verdict.about == key)
        .unwrap_or_else(|| panic!("no verdict about {key}"))
}

/// Rows by type and name; what applying all outcomes comes to.
#[derive(Default, Debug, PartialEq)]
pub struct Mirror {
    pub listeners: BTreeMap<Arc<str>, Arc<ir::ListenerRow>>,
    pub tables: BTreeMap<Arc<str>, Arc<ir::RouteTable>>,
    pub lists: BTreeMap<ir::ListId, Arc<ir::RouteList>>,
    pub clusters: BTreeMap<Arc<str>, Arc<ir::Cluster>>,
    pub endpoints: BTreeMap<Arc<str>, Arc<ir::EndpointSet>>,
    pub secrets: BTreeMap<Arc<str>, Arc<ir::TlsSecret>>,
}

fn merge<K: Ord + Clone, V>(into: &mut BTreeMap<K, Arc<V>>, rows: &[(K, Option<Arc<V>>)]) {
    for (key, row) in rows {
        match row {
            Some(row) => into.insert(key.clone(), row.clone()),
            None => into.remove(key),
        };
    }
}

impl Mirror {
    pub fn apply(&mut self, rows: &RowChanges) {
        merge(&mut self.listeners, &rows.listeners);
        merge(&mut self.tables, &rows.tables);
        merge(&mut self.lists, &rows.lists);
        merge(&mut self.clusters, &rows.clusters);
        merge(&mut self.endpoints, &rows.endpoints);
        merge(&mut self.secrets, &rows.secrets);
    }

    pub fn of(compiler: &Compiler) -> Self {
        let mut mirror = Self::default();
        mirror.apply(&compiler.rows());
        mirror
    }
}
