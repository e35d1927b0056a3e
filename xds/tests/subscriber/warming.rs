//! What a young stream waits for: clusters that Envoy takes its time for.

use std::time::Duration;

use xds::Resource;

use crate::script::*;

/// A cluster whose name Envoy resolves.
fn named(name: &str, version: u64) -> Resource {
    Resource { warms: true, ..resource(CDS, name, version) }
}

#[test]
fn a_start_does_not_wait_for_clusters_that_warm() {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 1), named("b", 1), named("c", 1), listener("web", 1)]);
    assert_eq!(s.wildcard(CDS).sent(), ["CDS a@1", "EDS a@1", "CDS b@1 c@1"], "the first answer is warm at once");
    s.ack(CDS).ack(EDS).wildcard(LDS);
    assert_eq!(s.sent(), [""; 0], "its routes lead to b, too");
    assert_eq!(s.ack(CDS).sent(), ["LDS web@1"]);
}

#[test]
fn the_first_answer_is_empty_when_all_clusters_warm() {
    let mut s = Script::with([named("b", 1)]);
    assert_eq!(s.wildcard(CDS).sent(), ["CDS", "CDS b@1"]);
}

#[test]
fn a_name_that_nobody_resolves_is_waited_for_less_than_a_second() {
    let mut s = Script::with([named("b", 1), listener("web", 1), table("t", 1)]);
    s.wildcard(CDS).sent();
    s.ack(CDS).wildcard(LDS).ask(RDS, &["t"]);
    assert_eq!(s.deadline(), Some(Duration::from_millis(800)));
    assert_eq!(s.pass(Duration::from_millis(799)).sent(), [""; 0]);
    assert_eq!(s.pass(Duration::from_millis(1)).sent(), ["LDS web@1", "RDS t@1"]);
    assert_eq!(s.deadline(), None);
    assert_eq!(
        s.put([named("d", 1), table("t", 2)]).ack(RDS).sent(),
        ["CDS d@1", "RDS t@2"],
        "not new to the publisher"
    );
}

#[test]
fn endpoints_and_secrets_do_not_wait() {
    let mut s = Script::with([named("b", 1), endpoints("e", 1), secret("s", 1)]);
    s.wildcard(CDS).sent();
    assert_eq!(s.ask(EDS, &["e"]).ask(SDS, &["s"]).sent(), ["EDS e@1", "SDS s@1"]);
}

#[test]
fn a_reconnected_client_waits_for_what_is_new_only() {
    let store = [named("b", 2), listener("web", 1), table("t", 2)];
    let reconnected = |store: Vec<Resource>| {
        let mut s = Script::with(store);
        s.claim(CDS, &[], &[("b", 1)]).claim(LDS, &[], &[("web", 1)]).claim(RDS, &["t"], &[("t", 1)]);
        s
    };
    assert_eq!(reconnected(store.to_vec()).sent(), ["CDS b@2", "LDS", "RDS t@2"], "Envoy serves with the old b");
    let mut s = reconnected(store.into_iter().chain([named("c", 1)]).collect());
    assert_eq!(s.sent(), ["CDS b@2", "CDS c@1"]);
    assert_eq!(s.ack(CDS).sent(), [""; 0]);
    assert_eq!(s.ack(CDS).sent(), ["LDS", "RDS t@2"]);
}

#[test]
fn a_refusal_does_not_end_the_wait() {
    let mut s = Script::with([named("b", 1), table("t", 1)]);
    s.wildcard(CDS).ask(RDS, &["t"]).sent();
    s.ack(CDS).nack(CDS, "Error adding/updating cluster(s) b: refused");
    assert_eq!(s.sent(), ["CDS -b"]);
    assert_eq!(s.ack(CDS).sent(), ["RDS t@1"]);
}

#[test]
fn routes_wait_for_a_stream_that_has_yet_to_ask_for_clusters() {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 1), listener("web", 1), table("t", 2)]);
    s.claim(LDS, &[], &[("web", 1)]).claim(RDS, &["t"], &[("t", 1)]);
    assert_eq!(s.sent(), [""; 0], "t@2 may name a cluster that the client does not have");
    assert_eq!(s.claim(CDS, &[], &[]).sent(), ["CDS a@1", "EDS a@1", "LDS", "RDS t@2"]);

    let mut s = Script::with([cluster("a", 1), endpoints("a", 1), listener("web", 1), table("t", 2)]);
    s.claim(LDS, &[], &[("web", 1)]).claim(RDS, &["t"], &[("t", 1)]).pass(Duration::from_secs(1));
    assert_eq!(s.sent(), ["CDS a@1", "EDS a@1", "LDS", "RDS t@2"]);
}
