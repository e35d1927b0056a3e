use super::*;
use crate::controller::tests::api_server::ApiServer;
use http::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/gateway/leases/nuncio";

fn pace() -> Pace {
    let millis = Duration::from_millis;
    Pace {
        duration: millis(2_000),
        writes_for: millis(1_200),
        period: millis(50),
        retry: millis(20),
        request: millis(900),
    }
}

struct Replica {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn replica(server: &ApiServer, identity: &str) -> Replica {
    let stop = CancellationToken::new();
    let election = Election::new(server.client(), "gateway", "nuncio", identity, pace());
    let (leadership, running) = election.start(stop.clone(), std::future::ready(()));
    Replica { leadership, stop, task: tokio::spawn(running) }
}

async fn becomes(replica: &mut Replica, leader: bool) {
    tokio::time::timeout(Duration::from_secs(20), replica.leadership.becomes(leader)).await.unwrap().unwrap();
}

fn holder_of(server: &ApiServer) -> Value {
    server.get(PATH).unwrap()["spec"]["holderIdentity"].clone()
}

#[tokio::test]
async fn one_of_two_replicas_leads_and_hands_over() {
    let server = ApiServer::default();
    let mut first = replica(&server, "a");
    becomes(&mut first, true).await;
    let mut second = replica(&server, "b");
    server.wait_for_writes(5).await;
    assert_eq!(holder_of(&server), "a");
    assert!(second.leadership.until().is_none());
    first.stop.cancel();
    becomes(&mut second, true).await;
    first.task.await.unwrap();
    let spec = server.get(PATH).unwrap()["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("b"), &json!(1)));
    // The holder renews without looking: every request of `a` but the first was an update.
    assert!(server.writes().iter().all(|write| write.status < 300), "{:#?}", server.writes());
}

#[tokio::test]
async fn a_restarted_replica_goes_on_at_once() {
    let server = ApiServer::default();
    let mut before = replica(&server, "a");
    becomes(&mut before, true).await;
    before.task.abort();
    let mut after = replica(&server, "a");
    becomes(&mut after, true).await;
    assert_eq!(server.get(PATH).unwrap()["spec"]["leaseTransitions"], 0);
}

#[tokio::test]
async fn a_lease_is_taken_when_its_record_rests() {
    let server = ApiServer::default();
    let mut dead = replica(&server, "dead");
    becomes(&mut dead, true).await;
    dead.task.abort();
    let seen = Instant::now();
    let mut next = replica(&server, "next");
    becomes(&mut next, true).await;
    assert!(seen.elapsed() >= pace().duration, "{:?}", seen.elapsed());
    assert_eq!(holder_of(&server), "next");
}

#[tokio::test]
async fn failed_looks_do_not_prolong_a_lease_that_rests() {
    let server = ApiServer::default();
    let mut dead = replica(&server, "dead");
    becomes(&mut dead, true).await;
    dead.task.abort();
    let looks = AtomicUsize::new(0);
    let every_other = move |method: &Method, _: &str, _: &Value| {
        let fails = *method == Method::GET && looks.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        fails.then(|| (500, "no".into()))
    };
    server.set_fault(Some(Box::new(every_other)));
    let mut next = replica(&server, "next");
    becomes(&mut next, true).await;
    assert_eq!(holder_of(&server), "next");
}

#[tokio::test]
async fn a_holder_that_cannot_renew_stops_before_the_lease_ends() {
    let server = ApiServer::default();
    let mut cut_off = replica(&server, "a");
    becomes(&mut cut_off, true).await;
    server.set_fault(Some(Box::new(|_, _, _| Some((500, "no".into())))));
    let until = cut_off.leadership.until().unwrap();
    becomes(&mut cut_off, false).await;
    assert!(Instant::now() <= until + (pace().duration - pace().writes_for));
    server.set_fault(None);
    becomes(&mut cut_off, true).await;
}

#[tokio::test]
async fn somebody_else_was_quicker() {
    let server = ApiServer::default();
    server.put(
        PATH,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "nuncio", "resourceVersion": "7"}, "spec": {"holderIdentity": ""}}),
    );
    // The first look shows a free Lease; when it is taken, somebody has it already.
    let spec =
        json!({"holderIdentity": "thief", "leaseDurationSeconds": 15, "renewTime": "2026-11-21T17:00:00.000000Z"});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "nuncio", "resourceVersion": "8"}, "spec": spec});
    let modified = |method: &Method, _: &str, _: &Value| (*method == Method::PUT).then(|| (409, "modified".into()));
    server.set_fault(Some(Box::new(modified)));
    let late = replica(&server, "late");
    server.wait_for_writes(2).await;
    server.put(PATH, lease);
    server.set_fault(None);
    assert!(late.leadership.until().is_none());
    late.stop.cancel();
    late.task.await.unwrap();
    assert_eq!(holder_of(&server), "thief", "what somebody else holds is not released");
}

#[tokio::test]
async fn the_end_waits_until_nothing_is_written() {
    let server = ApiServer::default();
    let stop = CancellationToken::new();
    let (quiet, is_quiet) = tokio::sync::oneshot::channel::<()>();
    let election = Election::new(server.client(), "gateway", "nuncio", "a", pace());
    let (mut leadership, running) = election.start(stop.clone(), async { _ = is_quiet.await });
    let task = tokio::spawn(running);
    leadership.becomes(true).await.unwrap();
    stop.cancel();
    leadership.becomes(false).await.unwrap();
    assert_eq!(holder_of(&server), "a");
    quiet.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(holder_of(&server), Value::Null);
}
