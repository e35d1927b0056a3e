pub(super) mod api_server;

use super::*;
use crate::snapshot::{Client as Proxy, Journal, Snapshot};
use crate::status::tests::accepted;
use api::v3alpha1::Mapping;
use api_server::ApiServer;
use diag::ObjectCounts;
use ir::Verdict;
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher::Event;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The whole of status writing, without network: an API server, a feed that echoes every write, and a pipeline's board.
struct Scene {
    server: ApiServer,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    snapshot: Snapshot,
    feed: Arc<Mutex<Writer<StatusView<Mapping>>>>,
    dirty: Arc<Dirty<Mapping>>,
    leader: watch::Sender<Option<tokio::time::Instant>>,
    task: JoinHandle<()>,
}

fn path(name: &str) -> String {
    format!("/apis/getambassador.io/v3alpha1/namespaces/default/mappings/{name}")
}

fn object(name: &str, generation: i64) -> Value {
    json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": generation}})
}

fn verdict(name: &str, generation: i64) -> Verdict {
    accepted(ObjectKey::new(Kind::Mapping, "default", name), generation)
}

fn seen(feed: &Mutex<Writer<StatusView<Mapping>>>, dirty: &Dirty<Mapping>, object: &Value) {
    let view: StatusView<Mapping> = serde_json::from_value(object.clone()).unwrap();
    feed.lock().unwrap().apply_watcher_event(&Event::Apply(view.clone()));
    dirty.changed(&view);
}

impl Scene {
    /// A leader that has published nothing, before these objects.
    async fn new(names: &[&str]) -> Self {
        Self::with(ApiServer::default(), names, true).await
    }

    async fn with(server: ApiServer, names: &[&str], leads: bool) -> Self {
        let (board, metrics) = (Arc::new(Board::default()), Arc::new(Metrics::default()));
        let mut statuses = Statuses::new(board.clone(), metrics.clone(), server.client(), "nuncio".into());
        let (writer, dirty) = statuses.kind::<Mapping>().unwrap();
        let feed = Arc::new(Mutex::new(writer));
        // A controller waits for the first listing.
        feed.lock().unwrap().apply_watcher_event(&Event::Init);
        feed.lock().unwrap().apply_watcher_event(&Event::InitDone);
        let (echo_feed, echo_dirty) = (feed.clone(), dirty.clone());
        server.set_echo(Box::new(move |path, object| {
            if path.contains("/mappings/") {
                seen(&echo_feed, &echo_dirty, object);
            }
        }));
        for name in names {
            if server.get(&path(name)).is_none() {
                server.put(&path(name), object(name, 1));
            }
            seen(&feed, &dirty, &server.get(&path(name)).unwrap());
        }
        let (leader, leadership) = watch::channel(None);
        let task = tokio::spawn(statuses.run(Leadership::from(leadership)));
        let scene = Self { server, board, metrics, snapshot: Snapshot::default(), feed, dirty, leader, task };
        if leads {
            scene.lead(true);
        }
        scene
    }

    fn lead(&self, leads: bool) {
        self.leader.send_replace(leads.then(|| tokio::time::Instant::now() + Duration::from_secs(600)));
    }

    fn publish(&mut self, verdicts: &[Verdict], live: Option<u64>) {
        self.snapshot.published = true;
        self.snapshot.batch += 1;
        let batch = self.snapshot.batch;
        let changes: Vec<_> = verdicts.iter().map(|one| (one.about.clone(), Some(Arc::new(one.clone())))).collect();
        self.snapshot.verdicts(&changes, batch);
        let journal = Journal { objects: changes.into_iter().map(|(key, _)| key).collect(), ..Journal::default() };
        self.live(live, journal);
    }

    fn live(&mut self, live: Option<u64>, mut journal: Journal) {
        let clients = live.map(|live| (1, Proxy { live, ..Proxy::default() }));
        self.snapshot.clients = Arc::new(clients.into_iter().collect());
        self.board.publish(self.snapshot.clone(), &mut journal);
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text(&ObjectCounts::default(), 0);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("nuncio_{name} ")).map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits for something that no write announces.
    async fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..4_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: not in time; {:#?}", self.server.writes());
    }

    /// Waits until statuses were compared so many times more than before.
    async fn wait_for_checks(&self, more: u64, before: u64) {
        self.wait_until("checks", |scene| scene.metric("status_checks_total") >= before + more).await;
    }

    /// Lets the feed mark an object, and waits until it was looked at.
    async fn look(&self, name: &str) {
        let before = self.metric("status_checks_total");
        self.dirty.mark([ObjectRef::new(name).within("default")]);
        self.wait_for_checks(1, before).await;
    }

    fn condition(&self, name: &str, kind: &str) -> Value {
        let object = self.server.get(&path(name)).unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|one| one["type"] == kind).unwrap_or_default()
    }

    async fn end(self) -> ApiServer {
        drop(self.leader);
        self.task.await.unwrap();
        self.server
    }
}

#[tokio::test]
async fn a_cold_start_writes_each_status_once() {
    let names: Vec<String> = (0..50).map(|index| format!("m{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = Scene::new(&names).await;
    let verdicts: Vec<Verdict> = names.iter().map(|name| verdict(name, 1)).collect();
    scene.publish(&verdicts, Some(0));
    scene.live(Some(1), Journal::default());
    let before = scene.server.wait_for_writes(50).await;
    assert!(before.iter().all(|write| write.status == 200 && write.query == "fieldManager=nuncio&force=true"));
    assert_eq!(before[0].body["metadata"].as_object().unwrap().len(), 3);
    assert_eq!(scene.condition("m7", "Ready")["status"], "True");
    // Echoes and further looks find everything right.
    scene.look("m1").await;
    scene.look("m2").await;
    scene.publish(&[verdict("m3", 2)], Some(2));
    scene.server.put(&path("m4"), object("m4", 2));
    seen(&scene.feed, &scene.dirty, &object("m4", 2));
    scene.publish(&[verdict("m4", 2)], Some(3));
    let after = scene.server.wait_for_writes(52).await;
    let last: Vec<&str> = after[50..].iter().map(|write| write.path.rsplit('/').nth(1).unwrap()).collect();
    assert_eq!(last.iter().collect::<std::collections::BTreeSet<_>>(), [&"m3", &"m4"].into_iter().collect());
    assert_eq!(scene.end().await.writes().len(), 52);
}

#[tokio::test]
async fn a_restart_writes_nothing() {
    let mut scene = Scene::new(&["a", "b"]).await;
    scene.publish(&[verdict("a", 1), verdict("b", 1)], Some(1));
    scene.server.wait_for_writes(2).await;
    let server = scene.end().await;
    let mut scene = Scene::with(server, &["a", "b"], true).await;
    // The new process has no Envoy at first.
    scene.publish(&[verdict("a", 1), verdict("b", 1)], None);
    scene.wait_for_checks(2, 0).await;
    scene.live(Some(0), Journal::default());
    scene.live(Some(1), Journal::default());
    scene.look("a").await;
    scene.look("b").await;
    assert_eq!(scene.end().await.writes().len(), 2);
}

#[tokio::test]
async fn only_the_leader_writes_and_only_what_differs() {
    let mut scene = Scene::with(ApiServer::default(), &["a", "b"], false).await;
    scene.publish(&[verdict("a", 1), verdict("b", 1)], Some(1));
    assert_eq!(scene.dirty.len(), 2, "what a feed marks waits for a leader");
    scene.lead(true);
    scene.server.wait_for_writes(2).await;
    scene.lead(false);
    let mut bad = verdict("a", 1);
    bad.accepted = false;
    scene.publish(&[bad], Some(2));
    let (feed, dirty) = (scene.feed.clone(), scene.dirty.clone());
    seen(&feed, &dirty, &scene.server.get(&path("b")).unwrap());
    assert_eq!(scene.server.writes().len(), 2);
    scene.lead(true);
    let writes = scene.server.wait_for_writes(3).await;
    assert!(writes[2].path.ends_with("/a/status"));
    scene.look("b").await;
    assert_eq!(scene.condition("a", "Accepted")["status"], "False");
    assert_eq!(scene.end().await.writes().len(), 3);
}

#[tokio::test]
async fn a_leadership_that_is_over_writes_nothing() {
    let mut scene = Scene::with(ApiServer::default(), &["a"], false).await;
    // As after a pause of the process: the election has not noticed yet.
    scene.leader.send_replace(Some(tokio::time::Instant::now()));
    scene.publish(&[verdict("a", 1)], Some(1));
    let failed = |scene: &Scene| {
        scene.metrics.text(&ObjectCounts::default(), 0).contains("failures_total{reason=\"not_leader\"}")
    };
    scene.wait_until("the failure", failed).await;
    assert!(scene.server.writes().is_empty());
}

#[tokio::test]
async fn a_namesake_made_anew_is_not_touched() {
    let mut scene = Scene::new(&["a", "b"]).await;
    let mut anew = object("a", 1);
    anew["metadata"]["uid"] = "another".into();
    scene.server.put(&path("a"), anew.clone());
    scene.publish(&[verdict("a", 1)], Some(1));
    assert_eq!(scene.server.wait_for_writes(1).await[0].status, 409);
    assert_eq!(scene.server.get(&path("a")).unwrap(), anew);
    // The feed hears of it, and then it is written.
    seen(&scene.feed, &scene.dirty, &anew);
    assert_eq!(scene.server.wait_for_writes(2).await[1].status, 200);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_holds_up_nobody_else() {
    let mut scene = Scene::new(&["a", "b"]).await;
    let broken =
        |_: &http::Method, path: &str, _: &Value| path.contains("/a/").then(|| (500, "etcd is slow".to_owned()));
    scene.server.set_fault(Some(Box::new(broken)));
    scene.publish(&[verdict("a", 1), verdict("b", 1)], Some(1));
    scene.server.wait_for_writes(2).await;
    assert_eq!(scene.condition("b", "Ready")["status"], "True");
    scene.server.set_fault(None);
    let writes = scene.server.wait_for_writes(3).await;
    assert!(writes[2].path.ends_with("/a/status") && writes[2].status == 200);
}

#[tokio::test]
async fn an_object_of_another_installation_is_left_to_it() {
    let mut scene = Scene::new(&["ours", "theirs"]).await;
    let mut theirs = scene.server.get(&path("theirs")).unwrap();
    theirs["status"] = json!({"state": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    theirs["metadata"]["managedFields"] = json!([{"manager": "nuncio-b", "subresource": "status"}]);
    seen(&scene.feed, &scene.dirty, &theirs);
    scene.publish(&[verdict("ours", 1)], Some(1));
    scene.server.wait_for_writes(1).await;
    scene.look("theirs").await;
    assert_eq!(scene.server.writes().len(), 1);
    // One that becomes another one's: what was written here is taken away, once.
    scene.snapshot.verdicts(&[(ObjectKey::new(Kind::Mapping, "default", "ours"), None)], 2);
    let gone = Journal {
        objects: [ObjectKey::new(Kind::Mapping, "default", "ours")].into_iter().collect(),
        ..Journal::default()
    };
    scene.live(Some(2), gone);
    let writes = scene.server.wait_for_writes(2).await;
    assert!(writes[1].body.get("status").is_none());
    assert_eq!(scene.server.get(&path("ours")).unwrap()["status"], json!({}));
    scene.look("ours").await;
    assert_eq!(scene.end().await.writes().len(), 2);
}

#[tokio::test]
async fn definitions_of_upstream_get_what_they_keep() {
    let mut scene = Scene::new(&["a", "b", "theirs"]).await;
    let strict = |_: &http::Method, _: &str, body: &Value| {
        let conditions = body["status"].get("conditions").is_some();
        conditions.then(|| (500, ".status.conditions: field not declared in schema".to_owned()))
    };
    scene.server.set_fault(Some(Box::new(strict)));
    scene.publish(&[verdict("a", 1), verdict("b", 1)], Some(1));
    let state = |scene: &Scene, name: &str| scene.server.get(&path(name)).unwrap()["status"].clone();
    let written = json!({"state": "Running"});
    scene.wait_until("the fields", |scene| state(scene, "a") == written && state(scene, "b") == written).await;
    assert!(scene.server.writes().iter().all(|write| write.path.contains("/a/") || write.path.contains("/b/")));
    // The definitions are replaced by this gateway's own: that is found out, and everything gets its conditions.
    scene.server.set_fault(None);
    scene
        .wait_until("conditions", |scene| ["a", "b"].iter().all(|name| !scene.condition(name, "Ready").is_null()))
        .await;
}

#[tokio::test]
async fn names_of_installations_are_names_of_objects() {
    for (id, name) in [("default", "nuncio"), ("a", "nuncio-a"), ("team-1", "nuncio-team-1")] {
        assert_eq!(manager_name(id), name);
    }
    let odd = ["Team_1", "team_1", "team.1", "-x", &"x".repeat(200), "ü", ""];
    let names: std::collections::BTreeSet<String> = odd.iter().map(|id| manager_name(id)).collect();
    assert_eq!(names.len(), odd.len());
    for name in names {
        assert!(
            name.len() <= 63 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{name}"
        );
        assert!(!name.ends_with('-'));
    }
}
