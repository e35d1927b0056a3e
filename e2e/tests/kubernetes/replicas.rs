//! Two replicas: `Programmed` means the Envoys of both, and what one of them refuses is told.

use crate::scene::{BACKEND, Scene, mapping};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

fn programmed(scene: &Scene, name: &str) -> (String, String) {
    let (status, reason, _) = scene.condition("mapping", name, "Programmed");
    (status, reason)
}

fn is(value: (String, String), status: &str, reason: &str) -> bool {
    value.0 == status && value.1 == reason
}

/// Replicas that tell something.
fn told(scene: &Scene) -> usize {
    let object: Value = serde_json::from_str(&scene.object("configmap", "nuncio-replicas")).unwrap_or_default();
    object["data"].as_object().map_or(0, serde_json::Map::len)
}

#[test]
fn programmed_means_the_envoys_of_all_replicas() {
    let Some(scene) = Scene::start("replicas", &[]) else { return };
    let other = scene.replica(2, &[]);
    scene.wait_until("both replicas", || told(&scene) == 2);
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    scene.wait_until("the condition", || is(programmed(&scene, "one"), "True", "Programmed"));
    assert_eq!((scene.get("/one/"), other.get("/one/")), (200, 200));
    // An Envoy that stands still elsewhere holds the condition up, and nothing else.
    let envoy = other.child("envoy").unwrap();
    kill(envoy, Signal::SIGSTOP).unwrap();
    scene.apply(&mapping("two", "/two/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/two/") == 200);
    scene.wait_until("the condition", || is(programmed(&scene, "two"), "Unknown", "Pending"));
    assert!(is(programmed(&scene, "one"), "True", "Programmed"), "what was in force is not doubted");
    kill(envoy, Signal::SIGCONT).unwrap();
    scene.wait_until("the condition", || is(programmed(&scene, "two"), "True", "Programmed"));
    assert_eq!(other.get("/two/"), 200);
    // A replica that ends in good order is waited for no longer.
    other.end();
    assert_eq!(told(&scene), 1);
    scene.apply(&mapping("three", "/three/", BACKEND, ""));
    scene.wait_until("the condition", || is(programmed(&scene, "three"), "True", "Programmed"));
    scene.end();
}

#[test]
fn what_the_envoy_of_another_replica_refuses_is_told_on_the_object() {
    // The variable makes of the same Mapping something that only the second Envoy refuses, which nobody checks before.
    let variables = |value| [("NUNCIO_TEST_UNCHECKED", "true"), ("NUNCIO_EXPAND_ENV", "*"), ("ODD", value)];
    let Some(scene) = Scene::start("refused-elsewhere", &variables("%PROTOCOL%")) else { return };
    let other = scene.replica(2, &variables("%NOT_A_COMMAND%"));
    scene.wait_until("both replicas", || told(&scene) == 2);
    scene.apply(&mapping("good", "/good/", BACKEND, ""));
    scene.wait_until("the condition", || is(programmed(&scene, "good"), "True", "Programmed"));
    let odd = |rest: &str| {
        mapping("odd", "/odd/", BACKEND, &format!(", add_request_headers: {{x-odd: {{value: '{rest}'}}}}"))
    };
    scene.apply(&odd("${ODD}"));
    scene.wait_until("the refusal", || is(programmed(&scene, "odd"), "False", "Refused"));
    assert!(scene.condition("mapping", "odd", "Programmed").2.contains("NOT_A_COMMAND"));
    // It is out everywhere, so that an Envoy that is restarted gets along; the rest goes on.
    scene.wait_until("its end where it was accepted", || scene.get("/odd/") == 404);
    assert_eq!((scene.get("/good/"), other.get("/good/")), (200, 200));
    scene.apply(&odd("plain"));
    scene.wait_until("the condition", || is(programmed(&scene, "odd"), "True", "Programmed"));
    assert_eq!((scene.get("/odd/"), other.get("/odd/")), (200, 200));
    other.end();
    scene.end();
}
