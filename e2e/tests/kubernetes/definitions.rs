//! Definitions that come after the gateway, the quickstart, and definitions of upstream.

use crate::scene::{BACKEND, BASE, Scene, apply, mapping, remove_definitions, repository};
use e2e::cluster::Cluster;
use serde_json::{Value, json};
use std::io::Write;

#[test]
fn definitions_and_quickstart_installed_after_the_start_become_live() {
    // Another test may have installed them.
    let Some(scene) = Scene::start_after("definitions", &[], |cluster, _| remove_definitions(cluster)) else { return };
    scene.wait_until("the reason", || scene.diagnostics("/api/v1/status").contains("not installed"));
    scene.install_definitions();
    scene.apply_files("manifests/quickstart");
    // The quickstart's Services have no endpoints here; a redirect needs none.
    scene.wait_until("the redirect", || scene.get("/docs/") == 302);
    for (kind, name) in [("mapping", "hello"), ("host", "quickstart"), ("listener", "quickstart-http")] {
        scene.wait_until(name, || scene.condition(kind, name, "Ready").0 == "True");
    }
    let table = scene.kubectl(&["get", "mappings"]);
    let (head, rows) = table.split_once('\n').unwrap();
    for column in ["NAME", "SOURCE HOST", "SOURCE PREFIX", "DEST SERVICE", "STATE", "REASON", "READY"] {
        assert!(head.contains(column), "{head}");
    }
    let hello = rows.lines().find(|row| row.starts_with("hello ")).unwrap();
    assert!(hello.contains("/hello/") && hello.contains("Running") && hello.trim_end().ends_with("True"), "{hello}");
    assert!(!scene.diagnostics("/api/v1/status").contains("not installed"));
    assert!(scene.diagnostics("/metrics").contains("nuncio_time_to_live_seconds_bucket"));
    scene.end();
}

#[test]
fn with_upstreams_definitions_an_invalid_edit_is_told_and_the_old_version_serves_on() {
    let path = repository().join("../shared/corpus/crds/v3.9.yaml");
    let Ok(text) = std::fs::read_to_string(path) else {
        let _ = std::io::stderr().write_all(b"skipped: upstream's definitions: ../shared/corpus is not there\n");
        return;
    };
    let before = |cluster: &Cluster, namespace: &str| {
        remove_definitions(cluster);
        apply(cluster, namespace, &in_one_version(&text).to_string());
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        assert!(cluster.command("kubectl").args(wait).status().unwrap().success());
        apply(cluster, namespace, BASE);
    };
    let Some(scene) = Scene::start_after("upstreams-definitions", &[], before) else { return };
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/one/") == 200);
    // These definitions keep no conditions; a reason says which one it stands for.
    let status = || -> Value {
        let object: Value = serde_json::from_str(&scene.object("mapping", "one")).unwrap();
        object["status"].clone()
    };
    scene.wait_until("its status", || status()["state"] == "Running");
    for (rest, reason, field) in [
        (", regex_headers: {x-a: '\\p{Letter}'}", "InvalidRegex", "spec.regex_headers"),
        (", weight: 101", "WeightOutOfRange", "spec.weight"),
        (", rewrite: \"/a\\nb\"", "InvalidValue", "spec.rewrite"),
    ] {
        scene.apply(&mapping("one", "/one/", BACKEND, rest));
        scene.wait_until(field, || {
            let said = status();
            let parts = ["Accepted", reason, field];
            said["state"] == "Inactive"
                && parts.iter().all(|part| said["reason"].as_str().is_some_and(|text| text.contains(part)))
        });
        assert_eq!(scene.get("/one/"), 200, "{field}");
    }
    scene.kubectl(&["delete", "mapping", "one"]);
    scene.wait_until("the end of the route", || scene.get("/one/") == 404);
    // The next test is to have ours alone.
    scene.remove_definitions();
    scene.end();
}

/// Upstream's schemas of v3alpha1, without the older versions and the webhook that they take.
fn in_one_version(text: &str) -> Value {
    let mut all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.retain(|one| one["kind"] == "CustomResourceDefinition");
    for one in &mut all {
        let spec = one["spec"].as_object_mut().unwrap();
        spec.remove("conversion");
        let versions = spec["versions"].as_array_mut().unwrap();
        versions.retain(|version| version["name"] == "v3alpha1");
        versions[0]["storage"] = json!(true);
    }
    json!({"apiVersion": "v1", "kind": "List", "items": all})
}
