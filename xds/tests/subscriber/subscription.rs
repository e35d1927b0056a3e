//! What a client is answered, and what it is not sent again.

use std::time::Duration;

use xds::{Limits, Request, ResourceType};

use crate::script::*;

#[test]
fn the_first_wildcard_is_answered_even_when_empty() {
    let mut s = Script::with([]);
    assert_eq!(s.wildcard(CDS).sent(), ["CDS"]);
    assert_eq!(s.wildcard(LDS).sent(), ["LDS"]);
    assert_eq!(s.ack_all().sent(), [""; 0]);
}

#[test]
fn nobody_is_answered_before_the_store_is_published() {
    let mut s = Script::unpublished(Limits::default());
    s.wildcard(CDS).claim(LDS, &[], &[("web", 1)]);
    assert_eq!(s.sent(), [""; 0], "an empty answer would take the listener away");
    assert_eq!(s.put([listener("web", 1)]).sent(), ["CDS", "LDS"]);
}

#[test]
fn the_first_cluster_answer_is_complete_in_one_response() {
    let many = (0..30).map(|n| sized(resource(CDS, &format!("c{n:02}"), 1), 1 << 20));
    let mut s = Script::with(many);
    let sent = s.wildcard(CDS).sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].matches('@').count(), 30);
}

#[test]
fn later_bulk_changes_of_clusters_are_cut_into_responses() {
    let many = |version| (0..30).map(move |n| sized(cluster(&format!("c{n:02}"), version), 1 << 20));
    let mut s = Script::with(many(1));
    s.wildcard(CDS).sent();
    let sent = s.put(many(2)).sent();
    let types: Vec<&str> = sent.iter().map(|line| &line[..3]).collect();
    assert_eq!(types, ["CDS", "EDS"].repeat(8), "four in each, their endpoints behind each");
}

#[test]
fn requests_with_names_are_no_wildcard() {
    let mut s = Script::with([cluster("a", 1), resource(CDS, "b", 1), listener("web", 1), listener("tls", 1)]);
    assert_eq!(s.ask(CDS, &["b"]).sent(), ["CDS b@1"]);
    assert_eq!(s.ask(LDS, &["web"]).sent(), ["LDS web@1"]);
    assert_eq!(s.ack_all().put([cluster("a", 2), listener("tls", 2)]).sent(), [""; 0]);
}

#[test]
fn a_star_subscribes_to_everything() {
    let mut s = Script::with([listener("web", 1), listener("tls", 1)]);
    assert_eq!(s.ask(LDS, &["web"]).sent(), ["LDS web@1"]);
    s.ack_all();
    assert_eq!(s.ask(LDS, &["*"]).sent(), ["LDS tls@1"]);
    s.ack_all().unask(LDS, &["*"]);
    assert_eq!(s.put([listener("web", 2), listener("tls", 2)]).sent(), ["LDS web@2"]);
}

#[test]
fn every_subscribed_name_is_answered_at_once() {
    let mut s = Script::with([endpoints("a", 1), secret("s", 1), table("t", 1)]);
    assert_eq!(s.ask(EDS, &["a", "nowhere"]).sent(), ["EDS a@1 nowhere@0"]);
    assert_eq!(s.ask(SDS, &["s", "nowhere"]).sent(), ["SDS s@1", "SDS -nowhere"]);
    assert_eq!(s.ask(RDS, &["t", "nowhere"]).sent(), ["RDS nowhere@0", "RDS t@1"]);
    assert_eq!(s.ask(ECDS, &["nowhere"]).sent(), ["ECDS -nowhere"]);
    assert_eq!(s.ask(CDS, &["nowhere"]).sent(), ["CDS -nowhere"]);
}

#[test]
fn an_unknown_name_is_sent_when_it_appears() {
    let mut s = Script::with([]);
    s.ask(EDS, &["a"]).ask(SDS, &["s"]).ask(RDS, &["t"]).sent_and_acked();
    assert_eq!(s.put([endpoints("a", 1)]).sent(), ["EDS a@1"]);
    assert_eq!(s.put([secret("s", 1)]).sent(), ["SDS s@1"]);
    assert_eq!(s.put([table("t", 1)]).sent(), ["RDS t@1"]);
}

#[test]
fn a_name_that_disappears_is_switched_off_and_stays_subscribed() {
    let mut s = Script::with([endpoints("a", 1), secret("s", 1), table("t", 1)]);
    s.ask(EDS, &["a"]).ask(SDS, &["s"]).ask(RDS, &["t"]).sent_and_acked();
    s.remove(&[(EDS, "a"), (SDS, "s"), (RDS, "t")]);
    assert_eq!(s.sent_and_acked(), ["SDS -s", "RDS t@0", "EDS a@0"]);
    s.put([endpoints("a", 1), secret("s", 1), table("t", 1)]);
    assert_eq!(s.sent_and_acked(), ["EDS a@1", "SDS s@1", "RDS t@1"]);
}

#[test]
fn after_unsubscribing_nothing_more_is_sent() {
    let mut s = Script::with([endpoints("a", 1), table("t", 1)]);
    s.ask(EDS, &["a"]).ask(RDS, &["t"]).sent_and_acked();
    s.unask(EDS, &["a"]).unask(RDS, &["t"]);
    assert_eq!(s.put([endpoints("a", 2), table("t", 2)]).sent(), [""; 0]);
    assert_eq!(s.remove(&[(EDS, "a"), (RDS, "t")]).sent(), [""; 0]);
}

#[test]
fn a_name_that_is_asked_for_again_is_sent_again() {
    let mut s = Script::with([endpoints("a", 1)]);
    s.ask(EDS, &["a"]).sent_and_acked();
    assert_eq!(s.unask(EDS, &["a"]).ask(EDS, &["a"]).sent_and_acked(), ["EDS a@1"]);
    assert_eq!(s.ask(EDS, &["a"]).sent_and_acked(), ["EDS a@1"], "the client may have dropped it without a word");
}

#[test]
fn a_reconnected_client_is_not_sent_what_it_has() {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 2), listener("web", 3), table("t", 4), secret("s", 5)]);
    s.claim(CDS, &[], &[("a", 1)]).claim(LDS, &[], &[("web", 3)]);
    s.claim(EDS, &["a"], &[("a", 2)]).claim(RDS, &["t"], &[("t", 4)]).claim(SDS, &["s"], &[("s", 5)]);
    assert_eq!(s.sent_and_acked(), ["CDS", "LDS"], "only the wildcards want an answer");
}

#[test]
fn a_reconnected_client_is_sent_what_changed_meanwhile() {
    let mut s = Script::with([cluster("a", 2), endpoints("a", 1), listener("web", 2), table("t", 2), secret("s", 2)]);
    s.claim(CDS, &[], &[("a", 1)]).claim(EDS, &["a"], &[("a", 1)]).claim(LDS, &[], &[("web", 1)]);
    s.claim(RDS, &["t", "gone"], &[("t", 1), ("gone", 1)]).claim(SDS, &["s", "gone"], &[("s", 1), ("gone", 1)]);
    let expected = ["CDS a@2", "EDS a@1", "SDS s@2", "SDS -gone", "LDS web@2", "RDS t@2", "RDS gone@0"];
    assert_eq!(s.sent_and_acked(), expected);
}

#[test]
fn claimed_names_that_are_gone_are_removed() {
    let mut s = Script::with([listener("web", 1)]);
    s.wildcard(CDS).sent_and_acked();
    assert_eq!(s.claim(LDS, &[], &[("web", 1), ("old", 1)]).sent(), ["LDS -old"]);
    assert_eq!(s.claim(SDS, &["a"], &[("b", 1)]).sent(), ["SDS -a -b"], "b is not subscribed to");
    s.ack_all();
    assert_eq!(s.put([secret("b", 1)]).sent(), [""; 0]);
    s.claim(RDS, &["t"], &[("t", 1), ("u", 1)]).claim(EDS, &["e"], &[("e", 1), ("f", 1)]).ack_all();
    assert_eq!(s.sent_and_acked(), ["RDS t@0", "RDS -u", "EDS e@0", "EDS -f"]);
}

#[test]
fn versions_of_another_server_are_no_versions_of_ours() {
    let mut s = Script::with([listener("web", 1)]);
    s.wildcard(CDS).request(Request { initial_versions: vec![("web".into(), None)], ..ask(LDS, &[]) });
    assert_eq!(s.sent(), ["CDS", "LDS web@1"]);
}

#[test]
fn only_the_first_request_of_a_type_may_claim() {
    let mut s = Script::with([endpoints("a", 1), endpoints("b", 1)]);
    s.ask(EDS, &["a"]).sent_and_acked();
    assert_eq!(s.claim(EDS, &["b"], &[("b", 1)]).sent(), ["EDS b@1"]);
}

#[test]
fn a_claim_does_not_override_what_this_stream_sent() {
    let mut s = Script::with([cluster("a", 2), endpoints("a", 2)]);
    assert_eq!(s.wildcard(CDS).sent(), ["CDS a@2", "EDS a@2"]);
    assert_eq!(s.claim(EDS, &["a"], &[("a", 1)]).sent(), [""; 0]);
}

#[test]
fn interests_are_no_acks_and_stale_nonces_are_ignored() {
    let mut s = Script::with([table("t", 1), table("u", 1)]);
    s.ask(RDS, &["t"]).sent();
    s.ask(RDS, &["u"]);
    assert_eq!(s.sent(), ["RDS u@1"]);
    s.request(Request { nonce: Some(0), ..ask(RDS, &[]) });
    s.request(Request { nonce: Some(77), error: Some("old".into()), ..ask(RDS, &[]) });
    assert_eq!(s.events(), [""; 0]);
    assert_eq!(s.put([table("t", 2)]).sent(), [""; 0], "t@1 is still unanswered");
    assert_eq!(s.ack(RDS).sent(), ["RDS t@2"]);
}

#[test]
fn acks_may_come_late_together_and_out_of_order() {
    let mut s = Script::with([]);
    s.ask(RDS, &["t", "u", "v"]).sent();
    s.ack_name(RDS, "v").ack_name(RDS, "t").ack_name(RDS, "u");
    assert_eq!(s.events(), ["acked RDS v@0", "acked RDS t@0", "acked RDS u@0"]);
}

#[test]
fn interest_may_ride_on_an_answer() {
    let mut s = Script::with([table("t", 1), table("u", 1)]);
    s.ask(RDS, &["t"]);
    let nonce = s.poll()[0].nonce;
    s.request(Request { nonce: Some(nonce), ..ask(RDS, &["u"]) });
    assert_eq!((s.events(), s.sent()), (vec!["acked RDS t@1".to_owned()], vec!["RDS u@1".to_owned()]));
}

#[test]
fn a_client_that_lags_behind_the_log_still_converges() {
    let many = |version| (0..70_000).map(move |n| endpoints(&n.to_string(), version));
    let mut s = Script::with(many(1).chain([listener("web", 1)]));
    s.wildcard(LDS).ask(EDS, &["5", "gone"]).sent_and_acked();
    s.put(many(2)).put([listener("web", 2)]).remove(&[(EDS, "6")]);
    assert_eq!(s.sent_and_acked(), ["EDS 5@2", "LDS web@2"]);
}

#[test]
fn clusters_are_sent_unasked_when_a_stream_forgets_to_ask() {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 1)]);
    s.ask(RDS, &["t"]).sent_and_acked();
    assert_eq!(s.deadline(), Some(Duration::from_secs(1)));
    assert_eq!(s.pass(Duration::from_millis(999)).sent(), [""; 0]);
    assert_eq!(s.pass(Duration::from_millis(1)).sent(), ["CDS a@1", "EDS a@1"]);
    assert_eq!(s.deadline(), None);
    // Envoy applies it, then asks: it is answered, with nothing it has by now.
    s.ack_all();
    assert_eq!(s.claim(CDS, &[], &[("a", 9), ("left", 1)]).sent(), ["CDS", "CDS -left"]);
}

#[test]
fn clusters_are_not_sent_unasked_when_they_were_asked_for() {
    let mut s = Script::with([]);
    s.wildcard(LDS).pass(Duration::from_millis(500)).wildcard(CDS).sent_and_acked();
    assert_eq!(s.deadline(), None);
    assert_eq!(s.pass(Duration::from_secs(9)).sent(), [""; 0]);
}

#[test]
fn the_number_of_names_is_limited() {
    let mut s = Script::unpublished(Limits { max_names: 3, ..Limits::default() });
    assert!(s.try_ask(EDS, &["a", "b"]) && s.try_ask(RDS, &["a"]));
    assert!(!s.try_ask(SDS, &["a"]));
}

#[test]
fn status_shows_how_a_client_stands() {
    let mut s = Script::with([listener("web", 1), table("t", 1), table("u", 1)]);
    s.wildcard(LDS).ask(RDS, &["t", "u"]).sent();
    s.ack(LDS).ack(RDS).nack(RDS, "bad table").put([table("t", 2), table("t2", 1)]);
    s.poll();
    let status = s.status();
    assert_eq!((status.node.id.as_str(), status.types.len()), ("test", 2));
    let routes = status.types.iter().find(|t| t.kind == ResourceType::Route).unwrap();
    assert_eq!((routes.subscribed, routes.sent, routes.pending, routes.pending_bytes), (2, 3, 1, 10));
    assert_eq!(routes.last_nack.as_ref().unwrap().detail, "bad table");
    assert!(routes.last_ack.is_some() && !routes.wildcard);
}
