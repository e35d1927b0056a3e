//! Names that Envoy resolves late, or never, while something else goes wrong.

use crate::site::{Asking, Site, mapping};
use crate::surroundings::wrapped;
use e2e::soak::world::{custom, file};
use nix::sys::signal::{Signal, kill};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// How late names are answered for.
const LATE: Duration = Duration::from_millis(300);
/// Envoy waits for nearly a minute until it gives up on a name server that does not answer.
const SOON: Duration = Duration::from_secs(30);

/// A name server that knows every name as 127.0.0.1, and says so late; names below `invalid` it never answers for.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let names = asked.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Some((name, answer)) = answer(&buffer[..length]) else { continue };
                names.lock().unwrap().push(name.clone());
                let socket = socket.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    if !name.ends_with(".invalid") {
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == name)
    }
}

/// The name that a query asks for, and the answer to it (RFC 1035, section 4): an address for type A, else nothing.
fn answer(query: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut at, mut labels) = (12, Vec::new());
    while let Some(length) = query.get(at).map(|length| usize::from(*length)).filter(|length| *length > 0) {
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let wants_address = query.get(at + 1..at + 3)? == [0, 1];
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_address), 0, 0, 0, 0]);
    out.extend(question);
    if wants_address {
        // The name as a reference to the question; type, class, seconds to live, length, address.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some((labels.join("."), out))
}

/// A gateway whose Envoy asks that name server; `None`, said aloud, where namespaces are forbidden.
async fn site(names: &NameServer) -> Option<Site> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {}\n", names.address)).unwrap();
    let before = format!("mount --bind {} /etc/resolv.conf &&", file.display());
    let nuncio = wrapped(folder.path(), "unshare -Urm", &before)?;
    Site::start_with(1, &[], |programs| programs.nuncio = nuncio).await
}

/// `/0/` leads to the instance under that name, by a cluster of its own.
fn switch(site: &Site, name: &str, number: usize) {
    let service = format!("{name}:{}", site.port());
    let spec = json!({ "hostname": "*", "prefix": "/0/", "service": service, "cluster_tag": format!("t{number}") });
    site.gateway.write("0.yaml", &file(&[custom("Mapping", "m0", spec)])).unwrap();
}

/// A Mapping to a name that nobody answers for; returns when Envoy waits for it.
async fn get_stuck(site: &Site, names: &NameServer, number: usize) {
    let name = format!("nowhere-{number}.invalid");
    let spec = json!({ "hostname": "*", "prefix": "/stuck/", "service": name.clone() });
    site.gateway.write("stuck.yaml", &file(&[custom("Mapping", "stuck", spec)])).unwrap();
    site.until("Envoy asks for the name", async || names.was_asked(&name)).await;
}

/// Kills the control plane and returns when there is another one.
async fn kill_control_plane(site: &Site) {
    let old = site.gateway.control_plane().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    site.until("another control plane", async || site.gateway.control_plane().is_some_and(|new| new != old)).await;
}

async fn nothing_is_lost(site: &Site, asking: Asking) {
    let before = asking.answered();
    site.until("requests", async || asking.answered() > before + 20).await;
    let (answered, lost) = asking.end().await;
    assert_eq!(lost, 0, "of {answered} requests\n{}", site.gateway.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_starts_while_a_name_is_not_answered_for() {
    let names = NameServer::start().await;
    let Some(site) = site(&names).await else { return };
    get_stuck(&site, &names, 0).await;
    let begun = Instant::now();
    kill(site.gateway.envoy().unwrap(), Signal::SIGKILL).unwrap();
    site.until("an answer of the new Envoy", async || site.status("/0/").await == Some(200)).await;
    assert!(begun.elapsed() < SOON, "served again after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_follow_their_clusters_when_the_control_plane_dies_while_a_name_is_not_answered_for() {
    let names = NameServer::start().await;
    let Some(site) = site(&names).await else { return };
    let asking = site.ask();
    let mut number = 0;
    for round in 0..2 {
        get_stuck(&site, &names, round).await;
        kill_control_plane(&site).await;
        let begun = Instant::now();
        // Before the new control plane is there, when Envoy has just found it, and afterwards.
        while begun.elapsed() < Duration::from_secs(3) {
            number += 1;
            switch(&site, "127.0.0.1", number);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    site.gateway.write("9.yaml", &mapping(9, site.port())).unwrap();
    site.until("the last edit", async || site.status("/9/").await == Some(200)).await;
    nothing_is_lost(&site, asking).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_switched_to_a_name_while_the_control_plane_is_dead_waits_for_the_name() {
    let names = NameServer::start().await;
    let Some(site) = site(&names).await else { return };
    let asking = site.ask();
    for number in 0..3 {
        let name = format!("late-{number}.test");
        let old = site.gateway.control_plane().unwrap();
        kill(old, Signal::SIGKILL).unwrap();
        switch(&site, &name, number);
        site.until("Envoy asks for the name", async || names.was_asked(&name)).await;
        // Until the switch is over.
        tokio::time::sleep(LATE * 4).await;
    }
    nothing_is_lost(&site, asking).await;
}
