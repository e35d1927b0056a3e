//! Two replicas: `Programmed` means the Envoys of both, and what one of them refuses is told.

use crate::scene::{BACKEND, Scene, mapping};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeMap;

fn programmed(scene: &Scene, name: &str) -> (String, String) {
    let (status, reason, _) = scene.condition("mapping", name, "Programmed");
    (status, reason)
}

fn is(value: (String, String), status: &str, reason: &str) -> bool {
    value.0 == status && value.1 == reason
}

/// How often each replica has told something.
fn beats(scene: &Scene) -> BTreeMap<String, u64> {
    let object: Value = serde_json::from_str(&scene.object("configmap", "nuncio-replicas")).unwrap_or_default();
    let entries = object["data"].as_object().into_iter().flatten();
    let beat = |text: &Value| serde_json::from_str::<Value>(text.as_str()?).ok()?["beat"].as_u64();
    entries.map(|(id, text)| (id.clone(), beat(text).unwrap_or_default())).collect()
}

/// Replicas that tell something.
fn told(scene: &Scene) -> usize {
    beats(scene).len()
}

/// Waits until two replicas know of each other: with the answer to what one tells it hears what the other does.
fn acquainted(scene: &Scene) {
    scene.wait_until("both replicas", || told(scene) == 2);
    let before = beats(scene);
    scene.wait_until("what they hear", || beats(scene).iter().all(|(id, beat)| before.get(id) < Some(beat)));
}

#[test]
fn programmed_means_the_envoys_of_all_replicas() {
    let Some(scene) = Scene::start("replicas", &[]) else { return };
    let other = scene.replica(2, &[]);
    acquainted(&scene);
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
    acquainted(&scene);
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
