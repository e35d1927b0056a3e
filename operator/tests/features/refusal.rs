//! What Envoy refuses is found, kept out, and named; its neighbours do not notice.

use crate::client::{Client, has};
use crate::fixture::{BASE, Gateway, TABLE, key, mapping, with_header};
use compiler::Change;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use ir::Kind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
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
async fn a_port_that_cannot_be_bound_is_told_and_tried_again() {
    let tcp = "---\n{apiVersion: getambassador.io/v3alpha1, kind: TCPMapping, metadata: {name: redis}, \
               spec: {port: 6379, service: 10.0.0.1:6379}}\n";
    let gateway = Gateway::start(&[("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/")), ("tcp.yaml", tcp)]);
    static TAKEN: AtomicBool = AtomicBool::new(true);
    let judge = |response: &DeltaDiscoveryResponse| {
        let text = "Error adding/updating listener(s) default/http: cannot bind '0.0.0.0:8080': Address already in use\n\
                    listener-0.0.0.0-6379: cannot bind '0.0.0.0:6379': Address already in use\n";
        let bad = response.type_url == ResourceType::Listener.type_url() && !response.resources.is_empty();
        (bad && TAKEN.load(Ordering::Relaxed)).then(|| text.to_string())
    };
    let mut client = gateway.client(judge).await;
    let (http, redis) = (key(Kind::Listener, "http"), key(Kind::TCPMapping, "redis"));
    for (key, text) in [(&http, "0.0.0.0:8080"), (&redis, "0.0.0.0:6379")] {
        let condition = gateway.condition(key, "Programmed", "False/Refused").await;
        let others = ["8080", "6379"].iter().filter(|port| condition.message.contains(**port)).count();
        assert!(condition.message.contains(text) && others == 1, "{condition:?}");
    }
    assert!(gateway.board.load().clients.values().all(|client| client.reports.is_empty()));

    client.until("another try", |seen| seen.refusals >= 2).await;
    TAKEN.store(false, Ordering::Relaxed);
    gateway.condition(&http, "Ready", "True/Ready").await;
    gateway.condition(&redis, "Programmed", "True/Programmed").await;
    client.until("the route", |seen| seen.contains(ResourceType::Route, TABLE, "/one/")).await;
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

/// A Service with one endpoint at that address, and a Mapping to it.
fn service(name: &str, address: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n\
         ---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}, \
         ports: [{{port: 8080, protocol: TCP}}], endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]}}\n\
         ---\n{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {{name: {name}}}, \
         spec: {{hostname: '*', prefix: /{name}/, service: {name}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_endpoints_are_found_among_their_neighbours_and_told() {
    let judge = |response: &DeltaDiscoveryResponse| {
        let bad = |one: &envoy_types::pb::envoy::service::discovery::v3::Resource| {
            one.resource.as_ref().is_some_and(|any| has(&any.value, "10.9.9.9"))
        };
        let is_it = response.type_url == ResourceType::Endpoint.type_url() && response.resources.iter().any(bad);
        is_it.then(|| "malformed address".to_string())
    };
    let names: Vec<String> = (0..9).map(|index| format!("s{index}")).collect();
    let address = |name: &str| if name == "s4" { "10.9.9.9" } else { "10.0.0.1" };
    let files: Vec<(String, String)> =
        names.iter().map(|name| (format!("{name}.yaml"), service(name, address(name)))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::start(&[&[("base.yaml", BASE)], &files[..]].concat());
    let mut client = gateway.client(judge).await;
    let eds = |name: &str| format!("k8s/default/{name}/80");
    let seen = client
        .until("the neighbours", |seen| {
            let others = names.iter().filter(|name| *name != "s4");
            others.clone().all(|name| seen.contains(ResourceType::Endpoint, &eds(name), "10.0.0.1"))
                && seen.contains(ResourceType::Route, TABLE, "/s4/")
        })
        .await;
    assert!(seen.refusals <= 5, "{} refusals", seen.refusals);
    let told = |snapshot: &operator::snapshot::Snapshot| {
        let mut reports = snapshot.clients.values().flat_map(|client| &client.reports);
        reports.any(|report| report.contains("Service default/s4") && report.contains("malformed address"))
    };
    gateway.until("its name", told).await;
    gateway.write("s4.yaml", &service("s4", "10.0.0.2"));
    let seen =
        client.until("other endpoints", |seen| seen.contains(ResourceType::Endpoint, &eds("s4"), "10.0.0.2")).await;
    assert!(seen.refusals <= 5, "it is not tried again and again: {}", seen.refusals);
    gateway.condition(&key(Kind::Mapping, "s4"), "Ready", "True/Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_told_on_its_hosts_and_tried_again_with_another_one() {
    let judge = |response: &DeltaDiscoveryResponse| {
        let name = &response.resources.first()?.name;
        let first = response.type_url == ResourceType::Secret.type_url() && name == "default/first";
        let bad = response.resources.iter().any(|one| one.resource.as_ref().is_some_and(|any| has(&any.value, MARK)));
        (first && bad).then(|| "no such curve".to_string())
    };
    const MARK: &str = "\n\n\n\n";
    let pair = rcgen::generate_simple_self_signed(vec!["first.example".into()]).unwrap();
    let (certificate, private) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let secret = |name: &str, end: &str| {
        let data = serde_json::json!({ "tls.crt": format!("{certificate}{end}"), "tls.key": private });
        format!(
            "---\n{}\n",
            serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                                "metadata": { "name": name }, "stringData": data })
        )
    };
    let host = |name: &str| {
        format!(
            "---\n{{apiVersion: getambassador.io/v3alpha1, kind: Host, metadata: {{name: {name}}}, \
             spec: {{hostname: {name}.example, acmeProvider: {{authority: none}}, tlsSecret: {{name: {name}}}}}}}\n"
        )
    };
    let listener = "---\n{apiVersion: getambassador.io/v3alpha1, kind: Listener, metadata: {name: tls}, spec: {port: 8443, \
                    protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: SELF}}}}\n";
    let hosts = [listener.to_owned(), host("first"), host("second"), secret("second", "")].concat();
    let gateway = Gateway::start(&[("base.yaml", BASE), ("hosts.yaml", &hosts), ("first.yaml", &secret("first", ""))]);
    let names = ["default/first", "default/second"];
    let mut client = Client::connect(&gateway.socket(), &[TABLE], &names, judge).await;
    let (first, second) = (key(Kind::Host, "first"), key(Kind::Host, "second"));
    let has_both = |seen: &crate::client::Seen| {
        names.iter().all(|name| seen.resources.contains_key(&(ResourceType::Secret, (*name).to_string())))
    };
    client.until("both certificates", has_both).await;
    gateway.condition(&first, "Programmed", "True/Programmed").await;
    gateway.write("first.yaml", &secret("first", MARK));
    let condition = gateway.condition(&first, "Programmed", "False/Refused").await;
    assert!(condition.message.contains("no such curve"), "{condition:?}");
    gateway.condition(&second, "Programmed", "True/Programmed").await;
    assert_eq!(client.seen().refusals, 1);
    // The Host has not changed, but what was wrong with it.
    gateway.write("first.yaml", &secret("first", "\n"));
    gateway.condition(&first, "Programmed", "True/Programmed").await;
    assert_eq!(client.seen().refusals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_that_an_earlier_process_remembers_is_tried_again() {
    let taken = |response: &DeltaDiscoveryResponse| {
        let text =
            "Error adding/updating listener(s) default/http: cannot bind '0.0.0.0:8080': Address already in use\n";
        let bad = response.type_url == ResourceType::Listener.type_url() && !response.resources.is_empty();
        bad.then(|| text.to_string())
    };
    let files = [("base.yaml", BASE), ("one.yaml", &mapping("one", "/one/"))];
    let http = key(Kind::Listener, "http");
    let earlier = Gateway::start(&files);
    let _client = earlier.client(taken).await;
    earlier.condition(&http, "Programmed", "False/Refused").await;
    let remembered = earlier.board.remembered().borrow().refused.get(&http).cloned().unwrap();

    let gateway = Gateway::start(&files);
    let _client = gateway.client(|_| None).await;
    gateway.condition(&http, "Ready", "True/Ready").await;
    gateway.mailbox.put([Change::Refusal(http.clone(), Some(remembered))], Instant::now());
    gateway.condition(&http, "Programmed", "False/Refused").await;
    gateway.condition(&http, "Ready", "True/Ready").await;
}
