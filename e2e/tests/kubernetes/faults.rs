//! Losing the control plane.

use crate::scene::{BACKEND, Scene, mapping};
use std::io::Read;

#[test]
fn killing_the_control_plane_loses_no_request() {
    let Some(scene) = Scene::start("killed", &[]) else { return };
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/one/") == 200);
    scene.wait_until("its status", || scene.condition("mapping", "one", "Ready").0 == "True");
    let version = || scene.kubectl(&["get", "mapping", "one", "-o", "jsonpath={.metadata.resourceVersion}"]);
    let written = version();
    let load = "for i in $(seq 300); do \
        exec 3<>/dev/tcp/127.0.0.1/8080 || { echo refused; continue; }; \
        printf 'GET /one/ HTTP/1.1\\r\\nhost: x.example\\r\\nconnection: close\\r\\n\\r\\n' >&3; \
        read -r line <&3; echo \"$line\"; exec 3>&-; sleep 0.01; done";
    let mut load = scene.script(load);
    for _ in 0..3 {
        scene.kill("control-plane");
        scene.wait_until("readiness", || scene.diagnostics("/ambassador/v0/check_ready").contains("200 OK"));
    }
    let mut answers = String::new();
    load.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    load.wait().unwrap();
    let good = answers.lines().filter(|line| line.starts_with("HTTP/1.1 200")).count();
    assert_eq!((good, answers.lines().count()), (300, 300), "{answers}");
    // The new control plane sends what is new, and writes nothing that is written.
    scene.apply(&mapping("two", "/two/", BACKEND, ""));
    scene.wait_until("a new route", || scene.get("/two/") == 200);
    assert_eq!(version(), written, "a restart writes no status");
}
