//! What Envoy refuses is found, kept out, and named; its neighbours do not notice.

use crate::client::has;
use crate::fixture::{BASE, Gateway, TABLE, key, mapping, with_header};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use ir::Kind;
use xds::ResourceType;

/// Refuses every table with `poison` in it, without saying where.
fn poisoned(response: &DeltaDiscoveryResponse) -> Option<String> {
    let bad = |bytes: &[u8]| has(bytes, "poison");
    let found = response.resources.iter().any(|one| one.resource.as_ref().is_some_and(|any| bad(&any.value)));
    found.then(|| "a header is malformed".to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_object_is_named_and_leaves_its_neighbours_alone() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let mut client = gateway.client(poisoned).await;
    client.until("the route", |seen| seen.contains(ResourceType::Route, TABLE, "/one/")).await;
    gateway.write("bad.yaml", &with_header("bad", "/bad/", "poison"));
    let bad = key(Kind::Mapping, "bad");
    let condition = gateway.condition(&bad, "Programmed", "False/Refused").await;
    assert!(condition.message.contains("a header is malformed"), "{condition:?}");
    gateway.write("two.yaml", &mapping("two", "/two/"));
    let seen = client.until("the neighbour", |seen| seen.contains(ResourceType::Route, TABLE, "/two/")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "/one/"));
    assert_eq!(seen.refusals, 1, "it is not tried again");
    gateway.condition(&key(Kind::Mapping, "two"), "Ready", "True/Ready").await;

    gateway.write("bad.yaml", &with_header("bad", "/bad/", "antidote"));
    client.until("the repaired route", |seen| seen.contains(ResourceType::Route, TABLE, "antidote")).await;
    gateway.condition(&bad, "Ready", "True/Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_edit_leaves_the_last_live_version() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &with_header("one", "/one/", "fine"))]);
    let mut client = gateway.client(poisoned).await;
    let one = key(Kind::Mapping, "one");
    gateway.condition(&one, "Ready", "True/Ready").await;
    gateway.write("one.yaml", &with_header("one", "/one/", "poison"));
    gateway.condition(&one, "Programmed", "False/Refused").await;
    let snapshot = gateway.board.load();
    assert!(snapshot.entries.get(&one).unwrap().verdict.retained);
    let seen = client.until("a refusal", |seen| seen.refusals == 1).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "fine"));
    gateway.write("two.yaml", &mapping("two", "/two/"));
    let seen = client.until("the neighbour", |seen| seen.contains(ResourceType::Route, TABLE, "/two/")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "fine"), "the retained version is still there");
    assert_eq!(seen.refusals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_cold_start_everything_but_the_guilty_goes_live() {
    let mut text = BASE.to_string();
    for index in 0..40 {
        let header = if index == 13 || index == 29 { "poison" } else { "fine" };
        text.push_str(&with_header(&format!("m{index}"), &format!("/m{index}/"), header));
    }
    let gateway = Gateway::start(&[("all.yaml", &text)]);
    let mut client = gateway.client(poisoned).await;
    let seen = client
        .until("all others", |seen| {
            (0..40).all(|index| {
                index == 13 || index == 29 || seen.contains(ResourceType::Route, TABLE, &format!("/m{index}/"))
            })
        })
        .await;
    assert!(seen.refusals <= 20, "{} refusals", seen.refusals);
    for index in [13, 29] {
        gateway.condition(&key(Kind::Mapping, &format!("m{index}")), "Programmed", "False/Refused").await;
    }
    gateway.condition(&key(Kind::Mapping, "m0"), "Ready", "True/Ready").await;

    // A restarted Envoy, or another one, is not offered the guilty again.
    drop(client);
    gateway.until("it is gone", |snapshot| snapshot.clients.is_empty()).await;
    let mut next = gateway.client(poisoned).await;
    let seen = next.until("the table", |seen| seen.contains(ResourceType::Route, TABLE, "/m0/")).await;
    assert_eq!((seen.refusals, seen.responses[&ResourceType::Route]), (0, 1));
    gateway.condition(&key(Kind::Mapping, "m39"), "Ready", "True/Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_guilty_edits_at_once_are_all_found() {
    let all = |header: fn(usize) -> &'static str| {
        let part = |index| with_header(&format!("m{index}"), &format!("/m{index}/"), header(index));
        (0..12).map(part).collect::<String>()
    };
    let gateway = Gateway::start(&[("base.yaml", BASE), ("all.yaml", &all(|_| "fine"))]);
    let mut client = gateway.client(poisoned).await;
    gateway.condition(&key(Kind::Mapping, "m11"), "Ready", "True/Ready").await;
    gateway.write("all.yaml", &all(|index| if index % 5 == 0 { "poison" } else { "better" }));
    for index in [0, 5, 10] {
        gateway.condition(&key(Kind::Mapping, &format!("m{index}")), "Programmed", "False/Refused").await;
    }
    for index in [1, 2, 3, 4, 6, 7, 8, 9, 11] {
        gateway.condition(&key(Kind::Mapping, &format!("m{index}")), "Ready", "True/Ready").await;
    }
    let seen = client.until("the new versions", |seen| seen.contains(ResourceType::Route, TABLE, "better")).await;
    assert!(seen.contains(ResourceType::Route, TABLE, "fine"), "the old versions of the guilty serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_refuses_everything_is_reported_and_nobody_is_blamed() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let judge = |response: &DeltaDiscoveryResponse| {
        (response.type_url == ResourceType::Route.type_url()).then(|| "no thanks".to_string())
    };
    let _client = gateway.client(judge).await;
    let snapshot =
        gateway.until("a report", |snapshot| snapshot.clients.values().any(|client| !client.reports.is_empty())).await;
    let reports: Vec<_> = snapshot.clients.values().flat_map(|client| &client.reports).collect();
    assert!(reports[0].contains(TABLE) && reports[0].contains("no thanks"), "{reports:?}");
    gateway.condition(&key(Kind::Mapping, "one"), "Accepted", "True/Accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_bound_is_told_on_the_listener() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let judge = |response: &DeltaDiscoveryResponse| {
        let text = "Error adding/updating listener(s) default/http: cannot bind '0.0.0.0:8080': Address already in use";
        let bad = response.type_url == ResourceType::Listener.type_url() && !response.resources.is_empty();
        bad.then(|| text.to_string())
    };
    let _client = gateway.client(judge).await;
    let condition = gateway.condition(&key(Kind::Listener, "http"), "Programmed", "False/Refused").await;
    assert!(condition.message.contains("0.0.0.0:8080"), "{condition:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_cluster_is_told_on_the_mappings_that_need_it() {
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))]);
    let judge = |response: &DeltaDiscoveryResponse| {
        let name = &response.resources.first()?.name;
        let bad = response.type_url == ResourceType::Cluster.type_url();
        bad.then(|| format!("Error adding/updating cluster(s) {name}: not today"))
    };
    let _client = gateway.client(judge).await;
    let condition = gateway.condition(&key(Kind::Mapping, "one"), "Programmed", "False/Refused").await;
    assert!(condition.message.contains("not today"), "{condition:?}");
}
