use super::*;
use crate::controller::tests::api_server::ApiServer;
use crate::replicas::Generations;
use ir::Kind;

const PATH: &str = "/api/v1/namespaces/gateway/configmaps/nuncio-replicas";

fn replica(server: &ApiServer, id: &str) -> Replicas {
    telling_of(server, id, &Arc::default())
}

fn telling_of(server: &ApiServer, id: &str, mailbox: &Arc<Mailbox>) -> Replicas {
    Replicas::new(server.client(), "gateway", "nuncio", id, mailbox.clone())
}

fn report(envoys: usize, state: u64) -> Report {
    Report { envoys, live: Arc::new([(Kind::Mapping, Generations(state))].into()), ..Report::default() }
}

fn ids(server: &ApiServer) -> Vec<String> {
    let data = server.get(PATH).map(|object| object["data"].clone()).unwrap_or_default();
    data.as_object().map(|data| data.keys().cloned().collect()).unwrap_or_default()
}

/// What the pipeline is told next.
async fn told(mailbox: &Arc<Mailbox>) -> BTreeMap<Arc<str>, Arc<Report>> {
    let batch = mailbox.take(None).await.unwrap();
    batch.reports.expect("a report")
}

fn listen(server: &ApiServer, mailbox: &Arc<Mailbox>) -> tokio::task::JoinHandle<()> {
    let (listener, board) = (telling_of(server, "a", mailbox), Arc::new(Board::default()));
    tokio::spawn(async move { listener.listen(&board, oneshot::channel().0).await })
}

#[tokio::test]
async fn the_leader_hears_what_others_tell_and_nothing_of_itself() {
    let server = ApiServer::default();
    let board = Arc::new(Board::default());
    let (teller, news) = (replica(&server, "b/1"), board.clone());
    let telling = tokio::spawn(async move { teller.tell(&news).await });
    replica(&server, "a").write(Some(report(1, 1).write(1, 5))).await.unwrap();
    let mailbox = Arc::new(Mailbox::default());
    let listening = listen(&server, &mailbox);
    board.tell(&report(1, 7));
    let reports = told(&mailbox).await;
    assert_eq!(reports.keys().map(|id| &**id).collect::<Vec<_>>(), ["b-1"]);
    assert_eq!(*reports["b-1"], report(1, 7));
    board.tell(&report(2, 8));
    assert_eq!(*told(&mailbox).await["b-1"], report(2, 8));
    telling.abort();
    let _ = telling.await;
    // In good order: its entry goes, and that of the leader stays.
    replica(&server, "b/1").leave().await;
    assert!(told(&mailbox).await.is_empty());
    assert_eq!(ids(&server), ["a"]);
    listening.abort();
}

#[tokio::test]
async fn whoever_does_not_lead_hears_the_others_when_it_writes() {
    let server = ApiServer::default();
    replica(&server, "b").write(Some(report(1, 7).write(1, 5))).await.unwrap();
    let (board, mailbox) = (Arc::new(Board::default()), Arc::new(Mailbox::default()));
    let (teller, news) = (telling_of(&server, "a", &mailbox), board.clone());
    let telling = tokio::spawn(async move { teller.tell(&news).await });
    board.tell(&report(1, 1));
    assert_eq!(*told(&mailbox).await["b"], report(1, 7));
    telling.abort();
}

#[tokio::test]
async fn a_replica_without_an_envoy_writes_nothing() {
    let server = ApiServer::default();
    let board = Arc::new(Board::default());
    let (teller, news) = (replica(&server, "b"), board.clone());
    let telling = tokio::spawn(async move { teller.tell(&news).await });
    board.tell(&report(0, 1));
    board.tell(&report(1, 2));
    server.wait_for_writes(1).await;
    assert!(server.get(PATH).unwrap()["data"]["b"].as_str().unwrap().contains("\"envoys\":1"));
    telling.abort();
}

#[test]
fn an_entry_that_stays_the_same_is_that_of_nobody() {
    let mut known = Known::default();
    let data = |beat: u64| BTreeMap::from([("b".to_owned(), report(1, 7).write(beat, 5))]);
    known.see("a", data(1));
    let begun = known.entries["b"].since;
    known.see("a", data(1));
    let entry = &known.entries["b"];
    assert_eq!(entry.since, begun);
    assert!(!entry.is_gone(begun + Duration::from_secs(14)) && entry.is_gone(begun + Duration::from_secs(16)));
    assert!(known.forgotten(begun + Duration::from_secs(59)).is_none());
    assert_eq!(known.forgotten(begun + Duration::from_secs(61)).as_deref(), Some("b"));
    known.see("a", data(2));
    assert!(known.entries["b"].since > begun);
    known.see("a", BTreeMap::from([("b".to_owned(), "garbage".to_owned())]));
    assert!(known.entries.is_empty());
}

#[tokio::test]
async fn entries_of_those_who_are_gone_are_taken_away() {
    let server = ApiServer::default();
    for id in ["a", "b"] {
        replica(&server, id).write(Some(report(1, 1).write(1, 5))).await.unwrap();
    }
    replica(&server, "a").take_away("b").await;
    assert_eq!(ids(&server), ["a"]);
}
