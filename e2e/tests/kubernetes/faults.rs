//! Losing the control plane, the API server, or what is behind it.

use crate::scene::{Api, BACKEND, Scene, mapping};
use nix::sys::signal::{Signal, kill};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

/// How long a fault lasts in which requests are counted.
const LASTS: Duration = Duration::from_secs(6);
/// What one kind may be asked for in that time: pauses grow from a tenth of a second to two.
const TRIES: u64 = 12;

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
        scene.wait_until("readiness", || scene.gateway().is_ready());
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

#[test]
fn an_api_server_that_fails_costs_no_request_and_no_edit() {
    let Some((scene, mut api)) = Scene::start_behind("api-server") else { return };
    scene.apply(&mapping("steady", "/steady/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/steady/") == 200);
    let load = scene.load("/steady/");
    for fault in ["down", "busy", "expired", "silent"] {
        let before = scene.cpu();
        api.say(fault);
        // Nobody tells the gateway of this one.
        scene.apply(&mapping(fault, &format!("/{fault}/"), BACKEND, ""));
        std::thread::sleep(LASTS);
        assert_eq!(scene.get("/steady/"), 200);
        let asked = api.say("none");
        let used = scene.cpu() - before;
        becomes_live(&scene, fault);
        say(&format!("{fault}: {used:.2} s CPU, {} requests\n", asked.values().sum::<u64>()));
        assert!(asked.values().all(|count| *count <= TRIES), "{fault}: {asked:#?}");
        assert!(used < LASTS.as_secs_f64() / 2.0, "{fault}: {used} s CPU");
    }
    for round in 0..5 {
        api.say("cut");
        scene.apply(&mapping("cut", &format!("/cut-{round}/"), BACKEND, ""));
        scene.wait_until("an edit after a cut", || scene.get(&format!("/cut-{round}/")) == 200);
    }
    becomes_live(&scene, "cut-4");
    assert_eq!(scene.get("/cut-0/"), 404);
    let tally = load.end().unwrap();
    assert!(tally.bad == 0 && tally.good > 100, "{tally:?}");
    scene.wait_until("no complaint", || !scene.diagnostics("/api/v1/status").contains("not reachable"));
    scene.end();
}

#[test]
fn a_killed_etcd_costs_no_request_and_no_edit() {
    let Some((scene, mut api)) = Scene::start_behind("etcd") else { return };
    scene.apply(&mapping("steady", "/steady/", BACKEND, ""));
    scene.wait_until("the route", || scene.get("/steady/") == 200);
    let load = scene.load("/steady/");
    for round in 0..2 {
        let old = scene.component("etcd").unwrap();
        api.say("");
        kill(old, Signal::SIGKILL).unwrap();
        scene.wait_until("another etcd", || scene.component("etcd").is_some_and(|new| new != old));
        let name = format!("round-{round}");
        let edit = mapping(&name, &format!("/{name}/"), BACKEND, "");
        scene.wait_until("an API server that takes edits", || scene.try_apply(&edit));
        becomes_live(&scene, &name);
        quiet(&mut api, "etcd");
    }
    let tally = load.end().unwrap();
    assert!(tally.bad == 0 && tally.good > 100, "{tally:?}");
    scene.end();
}

#[test]
fn a_paused_leader_is_replaced_and_does_not_write_when_it_wakes_up() {
    let Some((scene, mut api)) = Scene::start_behind("paused") else { return };
    scene.apply(&mapping("one", "/one/", BACKEND, ""));
    becomes_live(&scene, "one");
    let other = scene.replica(2, &[]);
    let holder = || scene.kubectl(&["get", "lease", "nuncio", "-o", "jsonpath={.spec.holderIdentity}"]);
    let first = holder();
    let load = scene.load("/one/");
    let paused = scene.gateway().child("control-plane").unwrap();
    kill(paused, Signal::SIGSTOP).unwrap();
    scene.apply(&mapping("two", "/two/", BACKEND, ""));
    scene.wait_until("the edit where nobody is paused", || other.get("/two/") == 200);
    scene.wait_until("another leader", || holder() != first);
    // Of whom the status is, once the one that is silent does not count any more.
    scene.wait_until("the status", || scene.condition("mapping", "two", "Ready").0 == "True");
    assert_eq!(scene.get("/two/"), 404, "the first replica is paused");
    // It will find an edit whose status nobody has written yet, and a Lease that is not its own.
    scene.apply(&mapping("three", "/three/", BACKEND, ""));
    api.say("");
    kill(paused, Signal::SIGCONT).unwrap();
    scene.wait_until("the edits in the first replica", || scene.get("/two/") == 200 && scene.get("/three/") == 200);
    scene.wait_until("the status", || scene.condition("mapping", "three", "Ready").0 == "True");
    let mut asked = BTreeMap::new();
    scene.wait_until("a look at the Lease", || {
        for (what, count) in api.say("") {
            *asked.entry(what).or_insert(0) += count;
        }
        asked.iter().filter(|(what, _)| what.contains("/leases/")).map(|(_, count)| count).sum::<u64>() >= 2
    });
    let written: Vec<_> = asked.keys().filter(|what| what.ends_with("/status")).collect();
    assert!(written.is_empty(), "{written:?}");
    let tally = load.end().unwrap();
    assert!(tally.bad == 0 && tally.good > 100, "{tally:?}");
    other.end();
    scene.end();
}

fn becomes_live(scene: &Scene, name: &str) {
    scene.wait_until(name, || scene.get(&format!("/{name}/")) == 200);
    let object = if name.starts_with("cut-") { "cut" } else { name };
    scene.wait_until("its status", || scene.condition("mapping", object, "Ready").0 == "True");
}

/// Nothing was tried again and again.
fn quiet(api: &mut Api, what: &str) {
    let asked = api.say("");
    let reading = asked.iter().filter(|(what, _)| what.starts_with("get ") || what.starts_with("watch "));
    assert!(reading.map(|(_, count)| *count).max().unwrap_or(0) <= TRIES, "{what}: {asked:#?}");
}

fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}
