//! From upstream's definitions to ours and back, with objects of every kind and version in the store.

use crate::support::{
    apply, assert_same, cluster, define, definitions, documents, install_service, kubectl, nuncio, objects, read,
    replica, repository, run, snapshot, wait_until,
};
use e2e::cluster::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

#[test]
fn objects_survive_the_way_from_emissary_3_9_and_back() {
    drill("v3.9.yaml");
}

#[test]
fn objects_survive_the_way_from_emissary_4_1_and_back() {
    drill("v4.1.yaml");
}

fn drill(release: &str) {
    let path = repository().join("../shared/corpus/crds").join(release);
    if !path.is_file() {
        let _ = std::io::stderr().write_all(b"skipped: upgrade: ../shared/corpus is not there\n");
        return;
    }
    let Some((cluster, _turn)) = cluster("upgrade") else { return };
    let mut theirs = documents(&path);
    theirs.retain(|one| one["kind"] == "CustomResourceDefinition");
    theirs.iter_mut().for_each(open_alternatives);
    install_service(&cluster);
    define(&cluster, &theirs);
    // Both endpoints of the Service: the API server picks either.
    let _webhook = (replica(&cluster, 1), replica(&cluster, 2));

    let objects = objects();
    apply(&cluster, &objects);
    let before = snapshot(&cluster);
    for object in &objects {
        let (version, plural) = place(object);
        let name = format!("{version} {plural} {}", object["metadata"]["name"].as_str().unwrap());
        assert_eq!(before[&name]["spec"], as_written(object), "{name}");
    }

    define(&cluster, &definitions());
    // Upstream's schema of v3alpha1 has no memory of spelling, so it is seen only now.
    let spelling_aside = |snapshot| without(snapshot, &["v2Spelling"]);
    let before = spelling_aside(before);
    assert_same(&before, &spelling_aside(snapshot(&cluster)), "our definitions");

    let migrate = |arguments: &[&str]| {
        let output = run(cluster.command(nuncio()).arg("migrate-storage").args(arguments));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = migrate(&["Mapping", "AuthService", "--page-size", "1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("mappings: 1 done, about 2 left") && text.contains("mappings: 3 objects written"), "{text}");
    assert_eq!(stored(&cluster, "mappings"), json!(["v3alpha1"]));
    assert_eq!(stored(&cluster, "hosts"), json!(["v2", "v3alpha1"]));
    let (code, text) = migrate(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("mappings: nothing to do, all stored in v3alpha1"), "{text}");
    // An id in v3alpha1 is always seen with its prefix in v2. It is the same id.
    let ids_aside = |snapshot| without(snapshot, &["ambassador_id", "v2Spelling"]);
    let before = ids_aside(before);
    assert_same(&before, &ids_aside(snapshot(&cluster)), "migrated");

    // Back, by way of our definitions that store v2: it has no need of a memory.
    let output = run(cluster.command(nuncio()).args(["crds", "--conversion", "webhook", "--storage", "v2"]));
    assert!(output.status.success());
    define(&cluster, &read(&String::from_utf8(output.stdout).unwrap()));
    let (code, text) = migrate(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(stored(&cluster, "mappings"), json!(["v2"]));
    let (code, text) = migrate(&["Mapping", "--remove", "v2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("mappings.getambassador.io: v2 stays: it is the storage version"), "{text}");
    let (code, text) = migrate(&["Mapping", "--remove", "v1"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("mappings: without v1 now"), "{text}");
    define(&cluster, &theirs);
    wait_until("upstream's definitions that point to us", || pointed(&cluster));
    assert_same(&before, &ids_aside(snapshot(&cluster)), "back again");
}

/// Makes a schema structural as upstream's release does: the sources of 4.1 have alternatives of types, which API servers
/// refuse, and which are published as fields that take anything.
fn open_alternatives(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(open_alternatives),
        Value::Object(fields) if fields.contains_key("oneOf") && !fields.contains_key("type") => {
            *schema = json!({"x-kubernetes-preserve-unknown-fields": true});
        }
        Value::Object(fields) => fields.values_mut().for_each(open_alternatives),
        _ => {}
    }
}

/// A spec as it is read in its own version: as it was written, but for the prefix of ids that come from v3alpha1.
fn as_written(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    // Upstream's definitions store v2, which cannot say that there is no id.
    if object["apiVersion"] == "getambassador.io/v3alpha1"
        && object["kind"] != "Listener"
        && spec.get("ambassador_id").is_none()
    {
        spec["ambassador_id"] = json!(["default"]);
    }
    spec
}

fn place(object: &Value) -> (String, String) {
    let version = object["apiVersion"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    (version, object["kind"].as_str().unwrap().to_lowercase() + "s")
}

fn without(snapshot: BTreeMap<String, Value>, fields: &[&str]) -> BTreeMap<String, Value> {
    let mut snapshot = snapshot;
    for object in snapshot.values_mut() {
        for field in fields {
            object["spec"].as_object_mut().unwrap().remove(*field);
        }
    }
    snapshot
}

fn stored(cluster: &Cluster, plural: &str) -> Value {
    let crd = format!("{plural}.getambassador.io");
    let text = kubectl(cluster, ["get", "crd", &crd, "-o", "jsonpath={.status.storedVersions}"]);
    serde_json::from_str(&text).unwrap()
}

/// Whether all definitions of several versions have a `caBundle`.
fn pointed(cluster: &Cluster) -> bool {
    let all: Value = serde_json::from_str(&kubectl(cluster, ["get", "crd", "-o", "json"])).unwrap();
    let mut ours =
        all["items"].as_array().unwrap().iter().filter(|crd| crd["spec"]["versions"].as_array().unwrap().len() > 1);
    ours.all(|crd| crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].is_string())
}
