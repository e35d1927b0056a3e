//! From a file to a resource and back to a status.

use crate::fixture::{BASE, Gateway, TABLE, key, mapping};
use compiler::{Change, WantedChanges, WantedName};
use ir::{Kind, ObjectKey};
use operator::feed::{Feed, FeedId};
use operator::mailbox::Mailbox;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;
use xds::ResourceType;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_becomes_a_resource_and_its_status_says_so() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let one = key(Kind::Mapping, "one");
    gateway.condition(&one, "Programmed", "Unknown/NoProxy").await;
    let mut client = gateway.client(|_| None).await;
    client.until("the route", |seen| seen.contains(ResourceType::Route, TABLE, "/one/")).await;
    gateway.condition(&one, "Programmed", "True/Programmed").await;
    gateway.condition(&one, "Ready", "True/Ready").await;
    gateway.condition(&key(Kind::Host, "all"), "Ready", "True/Ready").await;
    gateway.condition(&key(Kind::Listener, "http"), "Ready", "True/Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_a_removal_follow_and_never_touch_the_listener() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let mut client = gateway.client(|_| None).await;
    client.until("the route", |seen| seen.contains(ResourceType::Route, TABLE, "/one/")).await;
    let listeners = client.seen().responses[&ResourceType::Listener];
    gateway.write("one.yaml", &mapping("one", "/changed/"));
    client.until("the edit", |seen| seen.contains(ResourceType::Route, TABLE, "/changed/")).await;
    gateway.write("two.yaml", &mapping("two", "/two/"));
    client.until("the addition", |seen| seen.contains(ResourceType::Route, TABLE, "/two/")).await;
    gateway.condition(&key(Kind::Mapping, "two"), "Ready", "True/Ready").await;
    gateway.remove("one.yaml");
    let seen = client.until("the removal", |seen| !seen.contains(ResourceType::Route, TABLE, "/changed/")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "/two/"));
    assert_eq!(seen.responses[&ResourceType::Listener], listeners);
    gateway.until("no verdict", |snapshot| snapshot.entries.get(&key(Kind::Mapping, "one")).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edit_keeps_the_last_good_version_and_names_the_field() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let mut client = gateway.client(|_| None).await;
    client.until("the route", |seen| seen.contains(ResourceType::Route, TABLE, "/one/")).await;
    let one = key(Kind::Mapping, "one");
    gateway.condition(&one, "Ready", "True/Ready").await;
    gateway.write(
        "one.yaml",
        &mapping("one", "/new/").replace("service: 127.0.0.1:9", "service: 127.0.0.1:9\n  timeout_ms: soon"),
    );
    let snapshot = gateway
        .until("a refusal", |snapshot| snapshot.entries.get(&one).is_some_and(|entry| !entry.verdict.accepted))
        .await;
    let verdict = &snapshot.entries.get(&one).unwrap().verdict;
    assert!(verdict.retained, "{verdict:?}");
    assert!(verdict.problems.iter().any(|problem| problem.at.contains("timeout_ms")), "{verdict:?}");
    gateway.write("two.yaml", &mapping("two", "/two/"));
    let seen = client.until("the neighbour", |seen| seen.contains(ResourceType::Route, TABLE, "/two/")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "/one/") && !seen.contains(ResourceType::Route, TABLE, "/new/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_parse_is_a_problem_with_a_line() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    gateway.until("publication", |snapshot| snapshot.published).await;
    gateway.write("one.yaml", "kind: [\n");
    let snapshot = gateway.until("a problem", |snapshot| !snapshot.problems.is_empty()).await;
    let problem = snapshot.problems[0].to_string();
    assert!(problem.contains("one.yaml:") && problem.contains("not YAML"), "{problem}");
    assert!(snapshot.entries.get(&key(Kind::Mapping, "one")).is_some_and(|entry| entry.verdict.accepted));
    gateway.write("one.yaml", &mapping("one", "/one/"));
    gateway.until("its solution", |snapshot| snapshot.problems.is_empty()).await;
}

/// A feed that answers when it is told to.
struct Slow {
    wanted: Sender<Arc<WantedChanges>>,
}

impl Feed for Slow {
    fn name(&self) -> String {
        "slow things".into()
    }

    fn wanted(&self, changes: &Arc<WantedChanges>) {
        let _ = self.wanted.send(changes.clone());
    }
    fn stop(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_before_every_feed_has_listed() {
    let (wanted, _asked) = channel();
    let feeds = |_: &Arc<Mailbox>| -> Vec<Box<dyn Feed>> { vec![Box::new(Slow { wanted })] };
    let gateway = Gateway::start_with(&[("base.yaml", BASE)], feeds);
    let snapshot = gateway.until("the reason", |snapshot| !snapshot.waiting_for.is_empty()).await;
    assert!(!snapshot.published);
    gateway.mailbox.listed(FeedId(1));
    let snapshot = gateway.until("publication", |snapshot| snapshot.published).await;
    assert!(snapshot.waiting_for.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn wanted_secrets_are_asked_for_before_the_first_publication() {
    let host = "---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: tls}\n\
        spec: {hostname: a.example, tlsSecret: {name: cert}}\n";
    let (wanted, asked) = channel();
    let feeds = |mailbox: &Arc<Mailbox>| -> Vec<Box<dyn Feed>> {
        mailbox.listed(FeedId(1));
        vec![Box::new(Slow { wanted })]
    };
    let gateway = Gateway::start_with(&[("base.yaml", &format!("{BASE}{host}"))], feeds);
    // The file feed says that the Secret is absent, and that is an answer.
    let snapshot = gateway.until("publication", |snapshot| snapshot.published).await;
    let name = WantedName::Secret { namespace: "default".into(), name: "cert".into() };
    assert!(asked.try_iter().any(|changes| changes.added.contains(&name)));
    let verdict = &snapshot.entries.get(&key(Kind::Host, "tls")).unwrap().verdict;
    assert!(!verdict.resolved, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_objects_that_go_away_say_nothing() {
    let gateway = Gateway::start(&[("base.yaml", BASE)]);
    let before = gateway.until("publication", |snapshot| snapshot.published).await.batch;
    gateway.mailbox.put([Change::Gone(ObjectKey::new(Kind::Mapping, "default", "never"))], Instant::now());
    gateway.write("one.yaml", &mapping("one", "/one/"));
    let one = key(Kind::Mapping, "one");
    let snapshot = gateway.until("the Mapping", |snapshot| snapshot.entries.get(&one).is_some()).await;
    assert!(snapshot.batch <= before + 1, "batches {before} and {}", snapshot.batch);
}
