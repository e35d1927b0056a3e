//! Objects of all kinds in all versions, by way of the webhook that the manifests install.

use crate::scene::{Scene, WEBHOOK, installed, wait_until};
use serde_json::{Value, json};

#[test]
fn every_object_reads_the_same_after_the_way_through_every_version() {
    let Some(scene) = installed("versions") else { return };
    assert_eq!(scene.pods(WEBHOOK).len(), 2);
    let objects: Vec<Value> = serde_saphyr::from_str(include_str!("../webhook/objects.yaml")).unwrap();
    scene.apply("{apiVersion: v1, kind: Namespace, metadata: {name: versions}}");
    let mut list = objects.clone();
    for object in &mut list {
        object["metadata"]["namespace"] = json!("versions");
    }
    scene.apply(&json!({"apiVersion": "v1", "kind": "List", "items": list}).to_string());
    let mut kinds = std::collections::BTreeSet::new();
    for object in &objects {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let version = object["apiVersion"].as_str().unwrap().rsplit('/').next().unwrap();
        kinds.insert(kind);
        let before = read(&scene, kind, version, name);
        assert_eq!(ids_aside(&before), ids_aside(&object["spec"]), "{version} {name}");
        // Written back as it reads in each other version, it is still the same.
        for other in ["v1", "v2", "v3alpha1"] {
            if (kind == "Listener" && other != "v3alpha1") || (kind == "Host" && other == "v1") {
                continue;
            }
            let resource = format!("{}.{other}.getambassador.io", kind.to_lowercase());
            let mut seen = scene.get(&["-n", "versions", &resource, name]);
            assert_eq!(seen["apiVersion"], format!("getambassador.io/{other}"), "{name}");
            seen["metadata"].as_object_mut().unwrap().remove("managedFields");
            let text = seen.to_string();
            let mut command = scene.cluster.command("kubectl");
            command
                .args(["replace", "-f", "-"])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null());
            let mut child = command.spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{other} {name}: {text}");
            assert_eq!(read(&scene, kind, version, name), before, "{version} {name} by way of {other}");
        }
    }
    assert_eq!(kinds.len(), 14);
    let columns = scene.kubectl(&["get", "mappings.v2.getambassador.io", "-n", "versions"]);
    assert!(
        columns.starts_with("NAME") && columns.contains("SOURCE PREFIX") && columns.contains("mapping-1"),
        "{columns}"
    );
    // An AuthService among them closes the gateway for everybody.
    scene.kubectl(&["delete", "namespace", "versions", "--timeout=120s"]);
    wait_until("an open gateway", || scene.ask("http://emissary-ingress.emissary/hello/").0 == 200);
}

fn read(scene: &Scene, kind: &str, version: &str, name: &str) -> Value {
    let resource = format!("{}.{version}.getambassador.io", kind.to_lowercase());
    let found = scene.get(&["-n", "versions", &resource, name]);
    assert_eq!(found["apiVersion"], format!("getambassador.io/{version}"), "{resource} {name}");
    let mut spec = found["spec"].clone();
    // What has no id has this one, and the old versions have to say so.
    if version == "v3alpha1" && spec["ambassador_id"] == json!(["default"]) {
        spec = ids_aside(&spec);
    }
    spec
}

/// An id in an old version reads with a prefix, since objects are stored in the newest one.
fn ids_aside(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("ambassador_id");
    }
    spec
}
