//! Two children that can be killed one without the other, and nothing that survives the parent.

use crate::fixture::with_header;
use crate::running::{Running, backend, children, command_line, free_port, is_alive, listener};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn mapping(name: &str, prefix: &str, header: &str, backend: std::net::SocketAddr) -> String {
    with_header(name, prefix, header).replace("127.0.0.1:9", &backend.to_string())
}

fn served() -> Option<Running> {
    let backend = backend();
    Running::start(|port| format!("{}{}", listener(port), mapping("one", "/one/", "x", backend)))
}

#[test]
fn an_edit_is_live_and_told_and_the_diagnostics_know_it() {
    let Some(running) = served() else { return };
    assert_eq!((running.get("/one/"), running.get("/two/")), (200, 404));
    let text = mapping("two", "/two/", "x", backend());
    let saved = Instant::now();
    running.write("two.yaml", &text);
    running.wait("the new route", || running.get("/two/") == 200);
    println!("answered {} ms after the edit", saved.elapsed().as_millis());
    println!("{}", running.line("Mapping default/two: ready, live in "));
    assert_eq!(running.diag("/ambassador/v0/check_ready"), (200, "Ambassador is ready and waiting\n".into()));
    let status: Value = serde_json::from_str(&running.diag("/api/v1/status").1).unwrap();
    let two = status["objects"].as_array().unwrap().iter().find(|object| object["name"] == "two").unwrap();
    assert_eq!(two["state"], "Ready", "{two}");
    let clients: Value = serde_json::from_str(&running.diag("/api/v1/clients").1).unwrap();
    assert_eq!(clients[0]["version"], "1.40.0", "{clients}");
    assert!(running.diag("/metrics").1.contains("nuncio_time_to_live_seconds_count"));
    assert!(running.diag("/api/v1/envoy").1.contains("/two/"));
    running.write("two.yaml", "");
    running.wait("its end", || running.get("/two/") == 404);
    running.line("Mapping default/two: removed, live in ");
}

#[test]
fn a_killed_control_plane_leaves_envoy_serving_and_comes_back() {
    let Some(running) = served() else { return };
    let (old, envoy) = (running.control_plane().unwrap(), running.envoy().unwrap());
    kill(old, Signal::SIGKILL).unwrap();
    running.wait("a new control plane", || {
        assert_eq!(running.get("/one/"), 200);
        running.control_plane().is_some_and(|pid| pid != old)
    });
    running.line("the control plane was restarted");
    running.write("two.yaml", &mapping("two", "/two/", "x", backend()));
    running.wait("an edit", || {
        assert_eq!(running.get("/one/"), 200);
        running.get("/two/") == 200
    });
    assert_eq!(running.envoy(), Some(envoy));
}

#[test]
fn a_killed_envoy_is_started_again() {
    let Some(running) = served() else { return };
    let (control, old) = (running.control_plane().unwrap(), running.envoy().unwrap());
    kill(old, Signal::SIGKILL).unwrap();
    running.wait("a new Envoy", || running.envoy().is_some_and(|pid| pid != old) && running.get("/one/") == 200);
    assert_eq!(running.control_plane(), Some(control));
}

#[test]
fn a_signal_ends_everything_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some(mut running) = served() else { return };
        let family = children(running.pid());
        assert_eq!(family.len(), 2, "{:?}", family.iter().map(|pid| command_line(*pid)).collect::<Vec<_>>());
        running.signal(signal);
        assert_eq!(running.end().code(), Some(0), "{signal}");
        assert!(family.iter().all(|pid| !is_alive(*pid)), "{signal}");
    }
}

#[test]
fn nothing_survives_a_killed_parent() {
    let Some(mut running) = served() else { return };
    let family = children(running.pid());
    running.signal(Signal::SIGKILL);
    running.end();
    running.wait("the end of the children", || family.iter().all(|pid| !is_alive(*pid)));
}

/// Sends one request and keeps the connection.
fn hold(running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port)).unwrap();
    stream.write_all(b"GET /one/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    stream
}

#[test]
fn draining_waits_for_connections_and_fails_readiness() {
    let backend = backend();
    let manifest = |port| format!("{}{}", listener(port), mapping("one", "/one/", "x", backend));
    let Some(mut running) = Running::begin(free_port(), manifest, &["--drain-time", "300"], &[]) else { return };
    running.line("live after");
    let connection = hold(&running);
    running.signal(Signal::SIGTERM);
    running.wait("unready", || running.diag("/ambassador/v0/check_ready").0 == 503);
    assert!(is_alive(running.pid()), "a connection is open");
    drop(connection);
    let begun = Instant::now();
    assert_eq!(running.end().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "it did not wait for the drain time");
}

#[test]
fn a_second_signal_ends_at_once() {
    let backend = backend();
    let manifest = |port| format!("{}{}", listener(port), mapping("one", "/one/", "x", backend));
    let Some(mut running) = Running::begin(free_port(), manifest, &["--drain-time", "300"], &[]) else { return };
    running.line("live after");
    let _connection = hold(&running);
    let family = children(running.pid());
    running.signal(Signal::SIGTERM);
    running.wait("unready", || running.diag("/ambassador/v0/check_ready").0 == 503);
    running.signal(Signal::SIGTERM);
    running.end();
    assert!(family.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn what_envoy_refuses_is_named_and_stays_out_over_restarts() {
    let backend = backend();
    let manifest = |port| format!("{}{}", listener(port), mapping("one", "/one/", "x", backend));
    let unchecked = [("NUNCIO_TEST_UNCHECKED", "true")];
    let Some(running) = Running::begin(free_port(), manifest, &[], &unchecked) else { return };
    running.line("live after");
    running.write("bad.yaml", &mapping("bad", "/bad/", "'%NOT_A_COMMAND%'", backend));
    let line = running.line("Mapping default/bad: refused: RefusedByEnvoy");
    println!("{line}");
    running.write("two.yaml", &mapping("two", "/two/", "x", backend));
    running.wait("the neighbours", || running.get("/one/") == 200 && running.get("/two/") == 200);
    assert_eq!(running.get("/bad/"), 404);

    let old = running.envoy().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    running.wait("a new Envoy", || running.envoy().is_some_and(|pid| pid != old) && running.get("/two/") == 200);
    assert_eq!((running.get("/one/"), running.get("/bad/")), (200, 404));

    kill(running.control_plane().unwrap(), Signal::SIGKILL).unwrap();
    running.line("the control plane was restarted");
    running.write("three.yaml", &mapping("three", "/three/", "x", backend));
    running.wait("an edit", || {
        assert_eq!((running.get("/one/"), running.get("/two/")), (200, 200), "never less than before");
        running.get("/three/") == 200
    });
    let metrics = running.diag("/metrics").1;
    let nacks = metrics.lines().find(|line| line.starts_with("nuncio_xds_nacks_total"));
    assert_eq!(nacks, None, "the refused object is remembered");

    running.write("bad.yaml", &mapping("bad", "/bad/", "fine", backend));
    running.wait("the repaired object", || running.get("/bad/") == 200);
}

#[test]
fn a_taken_port_is_named_or_replaced() {
    let backend = backend();
    let manifest = |port| format!("{}{}", listener(port), mapping("one", "/one/", "x", backend));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let Some(running) = Running::begin(port, manifest, &[], &[]) else { return };
    let line = running.line("Listener default/http: refused");
    assert!(line.contains(&port.to_string()), "{line}");
    drop(running);

    let Some(mut running) = Running::begin(port, manifest, &["--choose-ports"], &[]) else { return };
    running.line("live after");
    let seen = running.seen();
    assert!(seen.contains(&format!("port {port} is taken")), "{seen}");
    let url = seen
        .lines()
        .find_map(|line| line.strip_prefix("Listener default/http: http://127.0.0.1:"))
        .unwrap()
        .to_string();
    running.port = url.parse().unwrap();
    assert_eq!(running.get("/one/"), 200);
    kill(running.control_plane().unwrap(), Signal::SIGKILL).unwrap();
    running.line("the control plane was restarted");
    running.write("two.yaml", &mapping("two", "/two/", "x", backend));
    running.wait("an edit on the same port", || running.get("/two/") == 200);
}
