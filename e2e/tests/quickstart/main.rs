//! The quickstart as a user runs it: the built programs, a real Envoy, real files and signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod run;

use nix::sys::signal::Signal;
use run::{LIMIT, Quickstart, answers};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

#[test]
fn the_manifests_lead_to_the_sample_application() {
    let Some(quickstart) = Quickstart::start() else { return };

    let hello = quickstart.get("/hello/you?q=1", &[]);
    assert_eq!((hello.status, &hello.json()["path"]), (200, &Value::from("/you?q=1")));

    // A header decides for the next version, whatever the weights say.
    for _ in 0..20 {
        let beta = quickstart.get("/hello/", &[("x-version", "beta")]);
        assert_eq!((&beta.json()["service"], &beta.json()["version"]), (&"hello-canary".into(), &"v2".into()));
    }

    let echo = quickstart.get("/echo/a/b", &[("x-mine", "kept")]).json();
    assert_eq!((&echo["service"], &echo["path"]), (&"echo".into(), &"/a/b".into()));
    assert_eq!(
        (&echo["headers"]["x-mine"], &echo["headers"]["x-quickstart"]),
        (&"kept".into(), &"hello from the gateway".into())
    );

    assert_eq!(quickstart.get("/api/users", &[]).json()["path"], "/v2/users");
    assert_eq!(quickstart.get("/", &[]).json()["service"], "hello");
    assert_eq!(quickstart.get("/nobody-serves-this", &[]).status, 404);

    let docs = quickstart.get("/docs/", &[]);
    assert_eq!((docs.status, docs.location.as_deref()), (302, Some("http://www.envoyproxy.io/docs")));
}

#[test]
fn a_canary_gets_its_share() {
    let Some(quickstart) = Quickstart::start() else { return };
    let canary = (0..1000).filter(|_| quickstart.get("/hello/", &[]).json()["version"] == "v2").count();
    // Ten in a hundred are wanted; the bounds are ten standard deviations away.
    assert!((5..=195).contains(&canary), "{canary} of 1000");
}

#[test]
fn an_edited_mapping_becomes_live_and_is_told() {
    let Some(quickstart) = Quickstart::start() else { return };
    let original = quickstart.manifest("mappings.yaml");
    for (round, target) in ["/v3/", "/v4/", "/v5/", "/v2/"].into_iter().enumerate() {
        let edited = original.replace("rewrite: /v2/", &format!("rewrite: {target}"));
        let saved = Instant::now();
        quickstart.save("mappings.yaml", &edited, round % 2 == 0);
        quickstart.wait_until(|| quickstart.get("/api/x", &[]).json()["path"] == format!("{target}x").as_str());
        println!("live {} ms after the edit", saved.elapsed().as_millis());
        quickstart.wait_for_line(|line| line.contains("api") && line.contains("live in"));
    }
}

#[test]
fn a_broken_edit_keeps_the_rest_and_names_the_field() {
    let Some(quickstart) = Quickstart::start() else { return };
    let broken = quickstart.manifest("mappings.yaml").replace("timeout_ms: 5000", "timeout_ms: soon");
    quickstart.save("mappings.yaml", &broken, true);
    quickstart.wait_for_line(|line| line.contains("echo") && line.contains("timeout_ms"));
    assert_eq!(quickstart.get("/echo/", &[]).status, 200, "the last good version goes on");
    assert_eq!(quickstart.get("/hello/", &[]).status, 200);
}

#[test]
fn ending_it_leaves_no_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let Some(mut quickstart) = Quickstart::start() else { return };
        let family = quickstart.family();
        assert!(family.len() >= 3, "supervisor, control plane, and Envoy: {family:?}");
        quickstart.guard.signal(signal).unwrap();
        let status = quickstart.guard.wait(LIMIT).unwrap();
        assert!(status.success(), "{signal}: {status}");
        quickstart.wait_until_gone(&family);
    }
}

#[test]
fn killing_it_leaves_no_process() {
    let Some(mut quickstart) = Quickstart::start() else { return };
    let family = quickstart.family();
    quickstart.guard.signal(Signal::SIGKILL).unwrap();
    quickstart.guard.wait(LIMIT).unwrap();
    quickstart.wait_until_gone(&family);
}

#[test]
fn taken_ports_are_replaced() {
    // Held or taken by somebody else: both are what this test needs.
    let held = e2e::quickstart::BACKENDS.map(|(_, _, port)| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let taken = listener.local_addr().unwrap().port();
    let Some(quickstart) = Quickstart::start_on(taken) else { return };
    assert_ne!(quickstart.port(), taken);
    assert_eq!(quickstart.get("/hello/", &[]).status, 200);
    assert!(!answers(taken), "the port belongs to this test");
    drop((held, listener));
}
