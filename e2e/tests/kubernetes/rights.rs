//! Losing a right that the gateway had.

use crate::scene::{BACKEND, BASE, Scene, apply, mapping, repository};
use e2e::cluster::Cluster;
use serde_json::{Value, json};

/// Of the ServiceAccount, the role and its binding; roles are of the whole cluster.
const NAME: &str = "losing-rights";

#[test]
fn losing_the_right_to_one_kind_keeps_its_objects() {
    let before = |cluster: &Cluster, namespace: &str| {
        apply(cluster, namespace, &format!("{BASE}---\n{}", rights(namespace, true)));
    };
    let Some((scene, mut api)) = Scene::start_behind_after(NAME, Some(NAME), before) else { return };
    let status = || scene.diagnostics("/api/v1/status");
    scene.apply(&mapping("kept", "/kept/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/kept/") == 200);
    scene.wait_until("its status", || scene.condition("mapping", "kept", "Ready").0 == "True");
    assert!(!status().contains("forbidden"), "{}", status());

    let load = scene.load("/kept/");
    scene.apply(&rights(NAME, false));
    // An API server goes on with a watch that is under way, which may be minutes.
    scene.wait_until("the loss", || {
        api.say("cut");
        status().contains("mappings.getambassador.io")
    });
    let told = status();
    assert!(told.contains("stay in force") && told.contains("forbidden"), "{told}");
    assert!(scene.gateway().is_ready());
    scene.apply(&mapping("unseen", "/unseen/", BACKEND, ""));
    scene.kubectl(&["delete", "mapping", "kept"]);
    // Other kinds are read as before, and a new Envoy is told what the old one knew.
    let document = format!(
        "{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, name: annotated, hostname: '*', \
         prefix: /annotated/, service: '{BACKEND}'}}"
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]},
        "metadata": {"name": "annotated", "annotations": {"getambassador.io/config": document}},
    });
    scene.apply(&service.to_string());
    scene.wait_until("an edit of another kind", || scene.get("/annotated/") == 200);
    let tally = load.end().unwrap();
    assert!(tally.bad == 0 && tally.good > 100, "{tally:?}");
    scene.kill("envoy");
    scene.wait_until("another Envoy", || scene.get("/annotated/") == 200);
    assert_eq!((scene.get("/kept/"), scene.get("/unseen/")), (200, 404));

    scene.apply(&rights(NAME, true));
    scene.wait_until("what was missed", || scene.get("/unseen/") == 200 && scene.get("/kept/") == 404);
    scene.wait_until("no complaint", || !status().contains("forbidden"));
    scene.wait_until("its status", || scene.condition("mapping", "unseen", "Ready").0 == "True");
    scene.end();
}

/// The rights of the installation, for an account of that namespace; with or without that to read Mappings.
fn rights(namespace: &str, mappings: bool) -> String {
    let text = std::fs::read_to_string(repository().join("manifests/install/gateway.yaml")).unwrap();
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let rules = |kind: &str| {
        let found = all.iter().filter(|one| one["kind"] == kind);
        found.flat_map(|one| one["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let mut rules = [rules("ClusterRole"), rules("Role")].concat();
    if !mappings {
        let resources = |rule: &mut Value| rule["resources"].as_array_mut().map(std::mem::take).unwrap_or_default();
        for rule in &mut rules {
            let left = resources(rule).into_iter().filter(|one| one != "mappings").collect();
            rule["resources"] = Value::Array(left);
        }
    }
    let api = "rbac.authorization.k8s.io";
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}},
        {"apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules},
        {
            "apiVersion": format!("{api}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": NAME},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
    ]});
    objects.to_string()
}
