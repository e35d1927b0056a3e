use super::*;
use crate::controller::tests::api_server::ApiServer;
use crate::snapshot::{Journal, Snapshot};
use crate::status::tests::accepted as judged;
use ir::Verdict;

const PATH: &str = "/api/v1/namespaces/gateway/configmaps/nuncio-memory";

fn mapping(name: &str, prefix: &str) -> Arc<Object> {
    let manifest = json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": "Mapping",
        "metadata": {"name": name, "namespace": "default", "uid": "u", "generation": 3, "labels": {"a": "b"},
            "creationTimestamp": "2026-11-21T17:00:00Z"},
        "spec": {"prefix": prefix, "service": "web", "ambassador_id": ["default"], "weight": 0, "hostname": "*",
            "unknown": {"x": 1}},
    });
    Arc::new(Object::from_value(&manifest, "").unwrap().unwrap())
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Mapping, "default", name)
}

fn remembered(retained: &[Arc<Object>], refused: &[&str]) -> Remembered {
    let retained = retained.iter().map(|object| (object.key.clone(), object.clone())).collect();
    let refusal =
        |name: &&str| (key(name), Refusal { fingerprint: u64::MAX, held: false, text: "no \"such\" thing".into() });
    Remembered { retained: Arc::new(retained), refused: Arc::new(refused.iter().map(refusal).collect()) }
}

async fn loaded(server: &ApiServer) -> Vec<String> {
    let changes = Memory::new(server.client(), "gateway", "nuncio").load().await.unwrap();
    changes.iter().map(|change| format!("{change:?}")).collect()
}

/// With `left`, which is not accepted, and `fine`, which is.
fn board() -> Arc<Board> {
    let board = Arc::new(Board::default());
    let mut snapshot = Snapshot { published: true, ..Snapshot::default() };
    for (name, accepted) in [("left", false), ("fine", true)] {
        let verdict = Verdict { accepted, ..judged(key(name), 4) };
        snapshot.verdicts(&[(key(name), Some(Arc::new(verdict)))], 1);
    }
    board.publish(snapshot, &mut Journal::default());
    board
}

/// Objects whose versions come next.
async fn adopted(mailbox: &Arc<Mailbox>) -> Vec<String> {
    let batch = mailbox.take(None).await.unwrap();
    let name = |(change, _): &(Change, Instant)| match change {
        Change::Retained(key, _) => key.name.to_string(),
        other => panic!("{other:?}"),
    };
    batch.changes.iter().map(name).collect()
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let server = ApiServer::default();
    assert!(loaded(&server).await.is_empty());
    let memory = Memory::new(server.client(), "gateway", "nuncio");
    let remembered = remembered(&[mapping("m", "/a/")], &["bad"]);
    memory.write(&shards(&remembered), 0).await.unwrap();
    let changes = memory.load().await.unwrap();
    let [Change::Retained(about, Some(object)), Change::Refusal(bad, Some(refusal))] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((about, bad), (&key("m"), &key("bad")));
    let before = mapping("m", "/a/");
    assert_eq!(object.body, before.body);
    assert_eq!(
        (object.fingerprint, object.generation, object.created, &object.uid, &object.labels, &object.ambassador_id),
        (before.fingerprint, before.generation, before.created, &before.uid, &before.labels, &before.ambassador_id)
    );
    assert_eq!(refusal, &remembered.refused[&key("bad")]);
    assert_eq!(written_by(&changes), shards(&remembered));
}

#[tokio::test]
async fn a_large_memory_is_in_several_parts() {
    let server = ApiServer::default();
    let memory = Memory::new(server.client(), "gateway", "nuncio");
    let long = "x".repeat(1_000);
    let many: Vec<Arc<Object>> = (0..2_000).map(|index| mapping(&format!("m{index}"), &format!("/{long}/"))).collect();
    let large = shards(&remembered(&many, &[]));
    assert!(large.len() > 2 && large.iter().all(|shard| shard.len() <= SHARD_BYTES), "{}", large.len());
    memory.write(&large, 0).await.unwrap();
    assert_eq!(loaded(&server).await.len(), 2_000);
    let small = shards(&remembered(&many[..1], &[]));
    memory.write(&small, large.len()).await.unwrap();
    assert_eq!(loaded(&server).await.len(), 1);
    assert!(server.get(&format!("{PATH}-1")).is_none());
    // Too much is cut off, not refused.
    let huge = (0..20).map(|_| "\"".to_owned() + &"x".repeat(SHARD_BYTES - 10) + "\"");
    assert_eq!(pack(huge).len(), SHARDS);
}

#[tokio::test]
async fn what_somebody_else_put_there_is_not_believed() {
    let server = ApiServer::default();
    let manifest = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "other", "namespace": "default"}, "spec": {"prefix": "/", "service": "x"}});
    for entries in [
        json!("garbage"),
        json!([7, {"kind": "Mapping"}, {"kind": "Secret", "namespace": "a", "name": "b", "fingerprint": 1, "refused": "x"}]),
        json!([{"kind": "Mapping", "namespace": "default", "name": "m", "fingerprint": 1, "object": manifest}]),
        json!([{"kind": "Mapping", "namespace": "default", "name": "m", "fingerprint": 1}]),
    ] {
        let data = json!({"entries.json": entries.to_string(), "shards": "1"});
        server.put(
            PATH,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nuncio-memory"}, "data": data}),
        );
        assert!(loaded(&server).await.is_empty(), "{entries}");
    }
}

#[tokio::test]
async fn a_leader_keeps_it_and_takes_over_what_it_does_not_know() {
    let server = ApiServer::default();
    let memory = Memory::new(server.client(), "gateway", "nuncio");
    memory.write(&shards(&remembered(&[mapping("left", "/a/"), mapping("fine", "/b/")], &[])), 0).await.unwrap();
    let (board, mailbox) = (board(), Arc::new(Mailbox::default()));
    let (keeper, kept, letters) = (memory.clone(), board.clone(), mailbox.clone());
    let keeping = tokio::spawn(async move { keeper.keep(&kept, &letters).await });
    assert_eq!(adopted(&mailbox).await, ["left"]);
    board.remember(|now| {
        *now = remembered(&[mapping("left", "/a/")], &["bad"]);
        true
    });
    server.wait_for_writes(2).await;
    assert_eq!(loaded(&server).await.len(), 2);
    // An empty memory is no ConfigMap.
    board.remember(|now| {
        *now = Remembered::default();
        true
    });
    server.wait_for_writes(3).await;
    assert!(server.get(PATH).is_none());
    keeping.abort();
}

#[tokio::test]
async fn a_replica_that_does_not_lead_takes_over_what_it_misses() {
    let server = ApiServer::default();
    let memory = Memory::new(server.client(), "gateway", "nuncio");
    let (board, mailbox) = (board(), Arc::new(Mailbox::default()));
    let (follower, followed, letters) = (memory.clone(), board.clone(), mailbox.clone());
    let following = tokio::spawn(async move { follower.catch_up(&followed, &letters).await });
    // The leader writes it down when the replica has looked already.
    tokio::time::sleep(CATCH_UP.0 * 2).await;
    memory.write(&shards(&remembered(&[mapping("left", "/a/"), mapping("fine", "/b/")], &[])), 0).await.unwrap();
    assert_eq!(adopted(&mailbox).await, ["left"]);
    following.abort();
}

#[tokio::test]
async fn a_start_waits_for_the_memory_but_not_for_ever() {
    let server = ApiServer::default();
    let memory = Memory::new(server.client(), "gateway", "nuncio");
    memory.write(&shards(&remembered(&[mapping("m", "/a/")], &["bad"])), 0).await.unwrap();
    let mailbox = Arc::new(Mailbox::default());
    let mut feed = memory.clone().feed(FeedId(3), mailbox.clone());
    let (mut changes, mut listed) = (0, Vec::new());
    while listed.is_empty() {
        let batch = mailbox.take(None).await.unwrap();
        changes += batch.changes.len();
        listed = batch.listed;
    }
    assert_eq!((changes, listed), (2, vec![FeedId(3)]));
    feed.stop();
    // Without the right to read it there is none.
    server.set_fault(Some(Box::new(|_, _, _| Some((403, "forbidden".into())))));
    let _feed = memory.feed(FeedId(4), mailbox.clone());
    let batch = mailbox.take(None).await.unwrap();
    assert_eq!((batch.changes.len(), batch.listed), (0, vec![FeedId(4)]));
}

/// The client has no limit of its own, and a leader that waits forever would never write anything down.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_silent_is_not_waited_for() {
    let silent = |_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, tower::BoxError>>()
    };
    let client = Client::new(tower::service_fn(silent), "default");
    let memory = Memory::new(client, "gateway", "nuncio");
    let loaded = timeout(REQUEST * 2, memory.load()).await.expect("a limit of its own");
    assert_eq!(loaded.unwrap_err().to_string(), late().to_string());
}
