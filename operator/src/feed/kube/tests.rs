//! All feeds against an API server in this process.

mod server;

use super::{Scope, start};
use crate::feed::expand::Expansion;
use crate::feed::{Feed, FeedId};
use crate::mailbox::Mailbox;
use compiler::{Change, WantedChanges, WantedName};
use serde_json::{Value, json};
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the feeds have said so far.
struct Feeds {
    server: Server,
    /// Where they live.
    _runtime: Runtime,
    feeds: Vec<Box<dyn Feed>>,
    mailbox: Arc<Mailbox>,
    batches: Receiver<crate::mailbox::Batch>,
    /// Changes in order, as `+Mapping ns/a@1` and `-Mapping ns/a`.
    changes: Vec<String>,
    listed: BTreeSet<String>,
    problems: BTreeMap<String, String>,
}

impl Feeds {
    fn start(server: &Server) -> Self {
        Self::scoped(server, Scope::default())
    }

    fn scoped(server: &Server, scope: Scope) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let world = server.clone();
        let client = move || Ok(world.client());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let feeds =
            start(FeedId(0), runtime.handle(), client, scope, Expansion::default(), mailbox.clone(), ()).unwrap();
        let (sender, batches) = channel();
        let from = mailbox.clone();
        std::thread::spawn(move || {
            while let Some(batch) = futures::executor::block_on(from.take(None)) {
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        let (changes, listed, problems) = Default::default();
        Self { server: server.clone(), _runtime: runtime, feeds, mailbox, batches, changes, listed, problems }
    }

    /// Waits until something holds of what was said.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !holds(self) {
            // Some of what is waited for happens at the server, which tells nobody.
            let Ok(batch) = self.batches.recv_timeout(Duration::from_millis(10)) else {
                let (changes, listed, problems) = (&self.changes, &self.listed, &self.problems);
                assert!(Instant::now() < limit, "{what} did not come: {changes:?}\n{listed:?}\n{problems:?}");
                continue;
            };
            for feed in batch.listed {
                self.listed.insert(self.feeds[feed.0].name());
            }
            for (feed, problems) in batch.problems {
                let name = self.feeds[feed.0].name();
                self.problems.remove(&name);
                if let Some(problem) = problems.first() {
                    self.problems.insert(name, problem.to_string());
                }
            }
            self.changes.extend(batch.changes.iter().map(|(change, _)| match change {
                Change::Put(object) => {
                    let bad = object.spec().is_some_and(|decoded| decoded.value.is_err());
                    format!("+{}@{}{}", object.key, object.generation, if bad { " malformed" } else { "" })
                }
                Change::Gone(key) => format!("-{key}"),
                other => format!("{other:?}"),
            }));
        }
    }

    fn until_listed(&mut self) {
        self.until("all listings", |feeds| feeds.listed.len() == feeds.feeds.len());
    }

    fn until_change(&mut self, change: &str) {
        self.until(change, |feeds| feeds.changes.iter().any(|one| one == change));
    }

    fn want(&self, added: &[&str], removed: &[&str]) {
        let name = |name: &&str| WantedName::Secret { namespace: "ns".into(), name: (*name).into() };
        let changes = Arc::new(WantedChanges {
            added: added.iter().map(name).collect(),
            removed: removed.iter().map(name).collect(),
        });
        self.feeds.iter().for_each(|feed| feed.wanted(&changes));
    }

    fn count(&self, change: &str) -> usize {
        self.changes.iter().filter(|one| *one == change).count()
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.mailbox.close();
        self.feeds.iter_mut().for_each(|feed| feed.stop());
    }
}

fn mapping(service: &str, generation: u64) -> Value {
    json!({"metadata": {"generation": generation}, "spec": {"prefix": "/x/", "service": service}})
}

#[test]
fn a_cluster_without_anything_is_listed() {
    let mut feeds = Feeds::start(&Server::default());
    feeds.until_listed();
    assert_eq!(feeds.feeds.len(), 18);
    assert!(feeds.listed.contains("mappings.getambassador.io") && feeds.listed.contains("secrets"));
    assert!(feeds.changes.is_empty() && feeds.problems.is_empty());
}

#[test]
fn edits_come_and_status_writes_do_not() {
    let server = Server::default();
    server.put("mappings", "a", mapping("s", 1));
    server.put("services", "s", json!({"spec": {"ports": [{"port": 80}]}}));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until_change("+Mapping ns/a@1");
    feeds.until("its watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) == 1);
    let mut written = mapping("s", 1);
    written["status"] = json!({"state": "Running"});
    server.put("mappings", "a", written);
    server.put("mappings", "a", mapping("t", 2));
    feeds.until_change("+Mapping ns/a@2");
    server.delete("mappings", "a");
    feeds.until_change("-Mapping ns/a");
    assert_eq!(feeds.changes.iter().filter(|change| change.contains("Mapping")).count(), 3, "{:?}", feeds.changes);
}

#[test]
fn a_relist_after_an_expired_watch_finds_what_was_missed() {
    let server = Server::default();
    for name in ["a", "b", "c"] {
        server.put("mappings", name, mapping("s", 1));
    }
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until_change("+Mapping ns/c@1");
    server.lose("mappings", "b");
    feeds.until("its watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) == 1);
    server.expire("mappings");
    feeds.until_change("-Mapping ns/b");
    assert_eq!((feeds.count("+Mapping ns/a@1"), feeds.count("-Mapping ns/a")), (1, 0));
    assert!(feeds.problems.is_empty(), "a relist is ordinary: {:?}", feeds.problems);
}

#[test]
fn large_kinds_come_in_pages() {
    let server = Server::default();
    for index in 0..1_200 {
        server.put("mappings", &format!("m{index}"), mapping("s", 1));
    }
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until("all of them", |feeds| feeds.changes.len() == 1_200);
    assert_eq!(server.asked(&["/mappings", "\"limit\": \"500\"", "continue"]), 2);
}

/// As in a gateway. A feed that waited for room there would wait for itself.
#[test]
fn feeds_share_the_thread_of_who_takes() {
    let server = Server::default();
    for index in 0..1_200 {
        server.put("mappings", &format!("m{index}"), mapping("s", 1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mailbox = Arc::new(Mailbox::with_capacity(3));
    let (world, shared) = (server.clone(), mailbox.clone());
    let client = move || Ok(world.client());
    let mut feeds =
        start(FeedId(0), runtime.handle(), client, Scope::default(), Expansion::default(), shared, ()).unwrap();
    let taken = async |count: usize| {
        let mut changes = 0;
        while changes < count {
            changes += mailbox.take(None).await.unwrap().changes.len();
        }
        changes
    };
    let all = async {
        assert_eq!(taken(1_200).await, 1_200);
        // Until its watch has begun, what is put now would be missed by the listing and the watch of this server.
        while server.asked(&["/mappings", "watch"]) == 0 {
            tokio::task::yield_now().await;
        }
        server.put("mappings", "one more", mapping("s", 1));
        assert_eq!(taken(1).await, 1);
        feeds.iter_mut().for_each(|feed| feed.stop());
        server.put("mappings", "too late", mapping("s", 1));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let left = mailbox.take(Some(Instant::now())).await.unwrap();
        assert!(left.changes.is_empty(), "posted after the end: {left:?}");
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await }).unwrap();
}

#[test]
fn a_malformed_or_huge_object_comes_alone() {
    let server = Server::default();
    server.put("mappings", "bad", json!({"spec": {"prefix": {"not": ["text"]}, "service": 7}}));
    server.put("mappings", "odd", json!({"spec": "nothing of the kind", "status": [1]}));
    let many: BTreeMap<String, String> = (0..20_000).map(|index| (format!("x-{index}"), "y".repeat(50))).collect();
    server.put("mappings", "huge", json!({"spec": {"prefix": "/h/", "service": "s", "headers": many}}));
    server.put("mappings", "good", mapping("s", 1));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until("all of them", |feeds| feeds.changes.len() == 4);
    for change in
        ["+Mapping ns/bad@1 malformed", "+Mapping ns/odd@1 malformed", "+Mapping ns/huge@1", "+Mapping ns/good@1"]
    {
        assert_eq!(feeds.count(change), 1, "{change} in {:?}", feeds.changes);
    }
}

#[test]
fn a_kind_that_guards_holds_back_and_another_counts_as_empty() {
    let server = Server::default();
    server.refuse("hosts", 403, "hosts is forbidden: User \"x\" cannot list");
    server.refuse("mappings", 403, "mappings is forbidden: User \"x\" cannot list");
    server.put("hosts", "h", json!({"spec": {"hostname": "h"}}));
    let mut feeds = Feeds::start(&server);
    feeds.until("all but one", |feeds| feeds.listed.len() == feeds.feeds.len() - 1 && feeds.problems.len() == 2);
    assert!(!feeds.listed.contains("hosts.getambassador.io"));
    let told = &feeds.problems["hosts.getambassador.io"];
    assert!(told.contains("nothing is published until they can be") && told.contains("cannot list"), "{told}");
    assert!(feeds.problems["mappings.getambassador.io"].contains("there are none"), "{:?}", feeds.problems);
    server.allow("hosts");
    server.allow("mappings");
    feeds.until_listed();
    feeds.until_change("+Host ns/h@1");
    feeds.until("no problem", |feeds| feeds.problems.is_empty());
}

#[test]
fn lost_rights_keep_what_there_is() {
    let server = Server::default();
    server.put("mappings", "a", mapping("s", 1));
    server.put("mappings", "b", mapping("s", 1));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until("its watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) == 1);
    server.refuse("mappings", 403, "mappings is forbidden");
    let name = "mappings.getambassador.io";
    feeds.until("a problem", |feeds| feeds.problems.get(name).is_some_and(|told| told.contains("stay in force")));
    server.lose("mappings", "b");
    server.put("mappings", "c", mapping("s", 1));
    server.allow("mappings");
    // The watch goes on where it was, as far as this server knows; it takes an event to see that all is well.
    feeds.until("another watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) > 2);
    server.expire("mappings");
    feeds.until_change("-Mapping ns/b");
    feeds.until_change("+Mapping ns/c@1");
    feeds.until("no problem", |feeds| feeds.problems.is_empty());
    assert_eq!((feeds.count("+Mapping ns/a@1"), feeds.count("-Mapping ns/a")), (1, 0));
}

#[test]
fn definitions_may_be_installed_later_and_taken_away() {
    let server = Server::default();
    server.refuse("mappings", 404, "404 page not found");
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until("the reason", |feeds| !feeds.problems.is_empty());
    assert!(feeds.problems["mappings.getambassador.io"].contains("not installed"), "{:?}", feeds.problems);
    server.put("mappings", "a", mapping("s", 1));
    server.allow("mappings");
    feeds.until_change("+Mapping ns/a@1");
    feeds.until("its watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) == 1);
    server.refuse("mappings", 404, "404 page not found");
    feeds.until_change("-Mapping ns/a");
}

#[test]
fn a_kind_that_is_not_served_but_defined_keeps_its_objects() {
    let server = Server::default();
    server.put("mappings", "a", mapping("s", 1));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.until("its watch", |feeds| feeds.server.asked(&["/mappings", "watch"]) == 1);
    // The definition cannot be asked for.
    server.refuse("customresourcedefinitions", 403, "forbidden");
    server.refuse("mappings", 404, "404 page not found");
    let name = "mappings.getambassador.io";
    feeds.until("a problem", |feeds| {
        feeds.problems.get(name).is_some_and(|told| told.contains("not served at present"))
    });
    assert_eq!(feeds.count("-Mapping ns/a"), 0);
}

#[test]
fn without_an_api_server_nothing_is_known() {
    let server = Server::default();
    server.put("mappings", "a", mapping("s", 1));
    server.refuse("mappings", 0, "");
    let mut feeds = Feeds::start(&server);
    feeds.until("the problem", |feeds| feeds.problems.len() == 1 && feeds.listed.len() == feeds.feeds.len() - 1);
    assert!(!feeds.listed.contains("mappings.getambassador.io"));
    let told = &feeds.problems["mappings.getambassador.io"];
    assert!(told.starts_with("the API server: is not reachable"), "{told}");
    server.allow("mappings");
    feeds.until_listed();
    feeds.until("no problem", |feeds| feeds.problems.is_empty());
}

#[test]
fn only_wanted_secrets_are_fetched_and_each_is_answered() {
    let server = Server::default();
    let tls = |cert: &str| json!({"type": "kubernetes.io/tls", "data": {"tls.crt": cert, "tls.key": "aw=="}});
    server.put("secrets", "cert", tls("YQ=="));
    server.put("secrets", "other", tls("YQ=="));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    feeds.want(&["cert", "missing", "bad,name"], &[]);
    feeds.until_change("+Secret ns/cert@1");
    feeds.until_change("-Secret ns/missing");
    feeds.until_change("-Secret ns/bad,name");
    assert_eq!(server.asked(&["/secrets", "PartialObjectMetadata", "watch"]), 1, "the watch has no data");
    assert_eq!(server.asked(&["/secrets", "metadata.name=other"]), 0);
    // A rotation, and one that comes later.
    server.put("secrets", "cert", tls("Yg=="));
    feeds.until("the rotation", |feeds| feeds.count("+Secret ns/cert@1") == 2);
    server.put("secrets", "missing", tls("YQ=="));
    feeds.until_change("+Secret ns/missing@1");
    server.delete("secrets", "missing");
    feeds.until("its end", |feeds| feeds.count("-Secret ns/missing") == 2);
    feeds.want(&[], &["cert"]);
    feeds.until_change("-Secret ns/cert");
    assert_eq!(feeds.count("+Secret ns/other@1"), 0);
}

#[test]
fn a_secret_that_cannot_be_fetched_is_tried_again() {
    let server = Server::default();
    server.put("secrets", "cert", json!({"data": {}}));
    let mut feeds = Feeds::start(&server);
    feeds.until_listed();
    server.refuse("secrets", 500, "etcd is away");
    feeds.want(&["cert"], &[]);
    feeds.until("a try", |feeds| feeds.server.asked(&["metadata.name=cert"]) > 0 && !feeds.problems.is_empty());
    assert_eq!(feeds.changes.len(), 0);
    server.allow("secrets");
    feeds.until_change("+Secret ns/cert@1");
}

#[test]
fn selectors_and_namespaces_narrow_every_request() {
    let server = Server::default();
    server.put("secrets", "cert", json!({"data": {}}));
    let scope = Scope {
        namespace: Some("ns".into()),
        secrets: Some("elsewhere".into()),
        labels: Some("app=gw".into()),
        fields: Some("metadata.name!=x".into()),
    };
    let mut feeds = Feeds::scoped(&server, scope);
    feeds.until_listed();
    feeds.want(&["cert"], &[]);
    feeds.until_change("-Secret ns/cert");
    let narrowed = ["\"labelSelector\": \"app=gw\"", "\"fieldSelector\": \"metadata.name!=x\""];
    for path in [
        "/namespaces/ns/mappings",
        "/namespaces/ns/services",
        "/namespaces/ns/endpointslices",
        "/namespaces/elsewhere/secrets",
    ] {
        assert!(server.asked(&[path, narrowed[0], narrowed[1]]) > 0, "{path}");
    }
    assert_eq!(server.asked(&["\"limit\""]), 18);
    assert!(server.asked(&["/api/v1/namespaces ", "metadata.name=ns"]) > 0);
}
