//! Processes that are killed or stand still, and clients that misbehave.

use crate::site::Site;
use e2e::soak::client::{Dialer, request};
use e2e::soak::delta::Delta;
use e2e::soak::ledger::Entry;
use e2e::soak::world::{custom, file};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};

/// Resources of each type that the only client was sent by the present control plane; `None` before it has everything
/// and has said so.
fn sent(site: &Site) -> Option<Vec<(String, u64)>> {
    let clients = site.gateway.clients()?;
    let client = clients.as_array()?.first()?;
    let types = client["types"].as_array()?;
    let settled = types.iter().all(|one| one["pending"] == 0 && one["waiting"] == 0);
    if client["live_batch"].as_u64()? == 0 || !settled {
        return None;
    }
    let of = |one: &Value| Some((one["kind"].as_str()?.to_owned(), one["resources"].as_u64()?));
    types.iter().map(of).collect()
}

async fn another_control_plane(site: &Site, old: Pid) {
    let is_new = async || site.gateway.control_plane().is_some_and(|new| new != old) && sent(site).is_some();
    site.until("another control plane", is_new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_control_plane_sends_nothing_again_and_misses_no_change() {
    let Some(site) = Site::start(1000, &[]).await else { return };
    site.until("everything", async || sent(&site).is_some()).await;
    let first = sent(&site).unwrap();
    let of = |all: &[(String, u64)], kind: &str| all.iter().find(|(of, _)| of == kind).map(|(_, count)| *count);
    assert!(of(&first, "RDS") >= Some(1) && of(&first, "CDS") >= Some(1), "{first:?}");
    let asking = site.ask();
    let old = site.gateway.control_plane().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    another_control_plane(&site, old).await;
    let again = sent(&site).unwrap();
    assert!(again.iter().any(|(kind, _)| kind == "RDS"), "the table is not asked for: {again:?}");
    assert!(again.iter().all(|(_, count)| *count == 0), "sent again: {again:?}");
    let old = site.gateway.control_plane().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    site.put(1000);
    site.gateway.remove("199.yaml").unwrap();
    let is_live = async || site.status("/1000/").await == Some(200) && site.status("/199/").await == Some(404);
    site.until("what changed meanwhile", is_live).await;
    let (answered, lost) = asking.end().await;
    assert!(answered > 10 && lost == 0, "{lost} of {answered} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_stands_still_in_the_middle_of_changes_loses_nothing() {
    let Some(site) = Site::start(50, &[]).await else { return };
    let asking = site.ask();
    let control = site.gateway.control_plane().unwrap();
    for round in 0..10 {
        site.put(100 + round);
        kill(control, Signal::SIGSTOP).unwrap();
        site.put(200 + round);
        assert_eq!(site.status("/0/").await, Some(200));
        kill(control, Signal::SIGCONT).unwrap();
        let path = format!("/{}/", 200 + round);
        site.until("the change", async || site.status(&path).await == Some(200)).await;
    }
    let (answered, lost) = asking.end().await;
    assert!(answered > 10 && lost == 0, "{lost} of {answered} lost");
    assert_eq!(site.gateway.control_plane(), Some(control));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_envoy_serves_again_and_has_what_changed_meanwhile() {
    let Some(site) = Site::start(50, &[]).await else { return };
    let old = site.gateway.envoy().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    site.put(100);
    site.until("another Envoy", async || site.gateway.envoy().is_some_and(|new| new != old)).await;
    site.until("the change", async || site.status("/100/").await == Some(200)).await;
    assert_eq!(site.status("/0/").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_at_once_and_one_that_never_reads_hold_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ads.sock");
    let Some(site) = Site::start(200, &["--ads".into(), format!("unix:{}", socket.display())]).await else { return };
    let table = "default/http/cleartext";
    let _deaf = Delta::connect(&socket, table, false).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Delta::connect(&socket, table, true).await.unwrap());
    }
    for client in &mut clients {
        client.until_route("/199/").await.unwrap();
    }
    let old = site.gateway.control_plane().unwrap();
    kill(old, Signal::SIGKILL).unwrap();
    for client in &mut clients {
        client.reconnect().await.unwrap();
    }
    site.put(1000);
    for client in &mut clients {
        client.until_route("/1000/").await.unwrap();
        assert_eq!(client.sent_again(), Vec::<String>::new());
    }
    site.until("the change", async || site.status("/1000/").await == Some(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_process_is_opened_when_it_is_free() {
    let Some(site) = Site::start(5, &[]).await else { return };
    let asking = site.ask();
    let [other, raw] = e2e::net::free_ports().unwrap();
    let taken = [other, raw].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    let everywhere = json!({ "namespace": { "from": "ALL" } });
    let listener = json!({ "port": other, "protocol": "HTTP", "securityModel": "INSECURE", "hostBinding": everywhere });
    let tcp = json!({ "port": raw, "service": format!("127.0.0.1:{}", site.port()) });
    let text = file(&[custom("Listener", "other", listener), custom("TCPMapping", "raw", tcp)]);
    site.gateway.write("other.yaml", &text).unwrap();
    let said = async |text: &str| site.gateway.output().contains(text);
    for object in ["Listener default/other", "TCPMapping default/raw"] {
        site.until(object, async || said(&format!("{object}: refused")).await).await;
    }
    site.put(10);
    site.until("another change", async || site.status("/10/").await == Some(200)).await;
    drop(taken);
    for port in [other, raw] {
        let dialer = Dialer::new((port, port)).unwrap();
        let answers = async || {
            let Ok((mut connection, _)) = dialer.http1(Entry::Any).await else { return false };
            let answer = connection.send(request(Entry::Any, false, "/0/", 0).unwrap()).await;
            answer.is_ok_and(|answer| answer.head.status == 200)
        };
        site.until("an answer", answers).await;
    }
    let (answered, lost) = asking.end().await;
    assert!(answered > 10 && lost == 0, "{lost} of {answered} lost");
}
