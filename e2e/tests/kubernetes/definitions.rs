//! Definitions that come after the gateway, and the quickstart.

use crate::scene::Scene;

#[test]
fn definitions_and_quickstart_installed_after_the_start_become_live() {
    // Another test may have installed them.
    let without = |cluster: &e2e::cluster::Cluster, _: &str| {
        let delete = ["delete", "--ignore-not-found", "-f"];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds");
        assert!(cluster.command("kubectl").args(delete).arg(folder).status().unwrap().success());
    };
    let Some(scene) = Scene::start_after("definitions", &[], without) else { return };
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
