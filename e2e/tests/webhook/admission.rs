//! Objects made from upstream's own schemas, in front of a real API server with our definitions.

use crate::maker::{Maker, Schemas, schemas};
use crate::support::{cluster, define, definitions, install_service, kubectl, replica, repository};
use e2e::cluster::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

/// Objects of each kind and version.
const EACH: u64 = 6;

#[test]
fn what_upstream_admits_is_admitted_and_read_back_as_written() {
    let Some(releases) = upstream() else { return };
    let Some((cluster, _turn)) = cluster("admission") else { return };
    install_service(&cluster);
    define(&cluster, &definitions());
    let _webhook = (replica(&cluster, 1), replica(&cluster, 2));
    let mut written = Vec::new();
    for (release, schemas) in &releases {
        // With fields that nobody knows and values of odd types wherever the schemas are open, and without.
        for odd in [true, false] {
            let objects = objects(release, schemas, odd);
            create(&cluster, &objects);
            written.extend(objects);
        }
    }
    // All of them went through v3alpha1, which is what is stored.
    let mut read = BTreeMap::new();
    for object in &written {
        let (kind, version) = (object["kind"].as_str().unwrap(), object["apiVersion"].as_str().unwrap());
        let of_kind = read.entry((kind, version)).or_insert_with(|| all(&cluster, kind, version));
        let name = object["metadata"]["name"].as_str().unwrap();
        assert_eq!(comparable(&of_kind[name]), comparable(object), "{version} {kind} {name}");
    }
}

/// The objects of a kind in a version, by name.
fn all(cluster: &Cluster, kind: &str, version: &str) -> BTreeMap<String, Value> {
    let version = version.rsplit_once('/').unwrap().1;
    let kind = format!("{}.{version}.getambassador.io", kind.to_lowercase());
    let list: Value = serde_json::from_str(&kubectl(cluster, ["get", &kind, "-n", "default", "-o", "json"])).unwrap();
    let named = |object: &Value| (object["metadata"]["name"].as_str().unwrap().to_owned(), object.clone());
    list["items"].as_array().unwrap().iter().map(named).collect()
}

fn upstream() -> Option<Vec<(&'static str, Schemas)>> {
    let read = |release| {
        let path = repository().join(format!("../shared/corpus/crds/{release}.yaml"));
        Some((release, schemas(&std::fs::read_to_string(path).ok()?)))
    };
    let found: Option<Vec<_>> = ["v3.9", "v4.1"].into_iter().map(read).collect();
    if found.is_none() {
        let _ = std::io::stderr().write_all(b"skipped: admission: ../shared/corpus is not there\n");
    }
    found
}

fn objects(release: &str, schemas: &Schemas, odd: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for (index, ((kind, version), schema)) in schemas.iter().enumerate() {
        for case in 0..EACH {
            let mut maker = Maker { state: case * 1_000 + index as u64, odd };
            let spec = maker.value(".spec", &schema["properties"]["spec"]);
            let form = if odd { "odd" } else { "plain" };
            let name = format!("{form}-{}-{version}-{case}", release.replace('.', "-"));
            all.push(json!({
                "apiVersion": format!("getambassador.io/{version}"), "kind": kind,
                "metadata": {"name": name, "namespace": "default"}, "spec": spec,
            }));
        }
    }
    all
}

/// All in one go: an API server answers a hundred such requests a second.
fn create(cluster: &Cluster, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut command = cluster.command("kubectl");
    command.args(["create", "--validate=ignore", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Ids get a prefix on their way back from v3alpha1.
fn comparable(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("ambassador_id");
        fields.remove("ambassadorId");
    }
    spec
}
