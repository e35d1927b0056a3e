//! What a NACK leads to: the guilty stays out, its neighbours do not, and nothing loops.

use crate::script::*;

const CLUSTERS: &str = "Error adding/updating cluster(s) ";
const LISTENERS: &str = "Error adding/updating listener(s) ";

#[test]
fn everything_of_the_refused_response_is_reported() {
    let mut s = Script::with([listener("a", 1), listener("b", 2), listener("old", 1)]);
    s.wildcard(LDS).sent_and_acked();
    s.change([listener("a", 2), listener("b", 3)], &[(LDS, "old")]).sent();
    s.events();
    s.nack(LDS, "no");
    assert_eq!(s.events(), ["refused LDS a@2 b@3 -old: no"]);
}

#[test]
fn a_refused_table_is_not_sent_again_until_it_changes() {
    let mut s = Script::with([table("t", 1)]);
    s.ask(RDS, &["t"]).sent_and_acked();
    s.put([table("t", 2)]).sent();
    assert_eq!(s.nack(RDS, "bad").sent(), [""; 0]);
    assert_eq!(s.put([table("other", 1)]).sent(), [""; 0]);
    assert_eq!(s.put([table("t", 3)]).sent(), ["RDS t@3"]);
}

#[test]
fn a_table_that_returns_to_an_accepted_version_is_sent_again() {
    let mut s = Script::with([table("t", 1)]);
    s.ask(RDS, &["t"]).sent_and_acked();
    s.put([table("t", 2)]).sent();
    s.nack(RDS, "bad");
    assert_eq!(s.put([table("t", 1)]).sent_and_acked(), ["RDS t@1"], "what the client has now is not known");
    assert_eq!(s.put([table("t", 2)]).sent(), [""; 0], "it is still refused");
}

#[test]
fn endpoints_and_secrets_are_not_sent_again_until_they_change() {
    let mut s = Script::with([endpoints("a", 1), secret("s", 1)]);
    s.ask(EDS, &["a"]).ask(SDS, &["s"]).sent();
    assert_eq!(s.nack(EDS, "a: bad address").nack(SDS, "bad certificate").sent(), [""; 0]);
    assert_eq!(s.put([endpoints("a", 2), secret("s", 2)]).sent(), ["EDS a@2", "SDS s@2"]);
}

#[test]
fn secrets_are_sent_one_by_one_so_that_a_bad_one_has_no_neighbours() {
    let mut s = Script::with([secret("a", 1), secret("b", 1), secret("c", 1)]);
    assert_eq!(s.ask(SDS, &["a", "b", "c"]).sent(), ["SDS a@1", "SDS b@1", "SDS c@1"]);
}

#[test]
fn a_named_cluster_is_removed_and_its_neighbours_are_sent_again() {
    let mut s = Script::with([]);
    s.wildcard(CDS).sent_and_acked();
    s.put([cluster("bad", 1), cluster("good", 1), endpoints("good", 1)]).sent();
    s.ack(EDS).nack(CDS, &format!("{CLUSTERS}bad: ring hash: 5 > 3"));
    assert_eq!(s.sent(), ["CDS good@1", "EDS good@1", "CDS -bad"]);
    assert_eq!(s.ack_all().sent(), [""; 0]);
    assert_eq!(s.put([cluster("bad", 2)]).sent(), ["CDS bad@2", "EDS bad@0"]);
}

#[test]
fn a_named_cluster_that_serves_in_an_older_form_is_not_removed() {
    let mut s = Script::with([cluster("a", 1)]);
    s.wildcard(CDS).sent_and_acked();
    s.put([cluster("a", 2)]).sent();
    s.ack(EDS);
    assert_eq!(s.nack(CDS, &format!("{CLUSTERS}a: bad")).sent(), [""; 0], "a@1 has traffic");
    assert_eq!(s.put([cluster("a", 1)]).sent(), ["CDS a@1", "EDS a@0"], "the other remedy: a valid one");
}

#[test]
fn the_ack_of_its_removal_is_no_ack_of_a_later_form_of_a_cluster() {
    let mut s = Script::with([cluster("a", 1)]);
    s.wildcard(CDS).sent();
    s.ack(EDS).nack(CDS, &format!("{CLUSTERS}a: bad"));
    assert_eq!(s.sent(), ["CDS -a"]);
    assert_eq!(s.put([cluster("a", 2)]).sent(), ["CDS a@2", "EDS a@0"]);
    assert_eq!(s.ack(CDS).nack(CDS, &format!("{CLUSTERS}a: bad")).sent(), ["CDS -a"]);
}

#[test]
fn a_refused_cluster_that_changed_meanwhile_is_replaced_instead_of_removed() {
    let mut s = Script::with([cluster("a", 1)]);
    s.wildcard(CDS).sent();
    s.ack(EDS).put([cluster("a", 2)]).nack(CDS, &format!("{CLUSTERS}a: bad"));
    assert_eq!(s.sent(), ["CDS a@2", "EDS a@0"]);
}

#[test]
fn the_search_for_several_bad_clusters_ends() {
    let mut s = Script::with([cluster("a", 1), cluster("b", 1), cluster("c", 1)]);
    s.wildcard(CDS).sent();
    let text = |names: &[&str]| {
        let reasons: Vec<String> = names.iter().map(|name| format!("{name}: bad")).collect();
        format!("{CLUSTERS}{}", reasons.join(", "))
    };
    s.ack(EDS).nack(CDS, &text(&["a", "b"]));
    assert_eq!(s.sent(), ["CDS c@1", "EDS c@0", "CDS -a -b"]);
    s.ack(EDS).nack(CDS, &text(&["a"]));
    assert_eq!(s.sent(), [""; 0], "an error that names nothing of its response refuses all of it");
    assert_eq!(s.ack_all().sent(), [""; 0]);
}

#[test]
fn named_listeners_stay_out_and_their_neighbours_are_sent_again() {
    let mut s = Script::with([listener("bad", 1), listener("good", 1)]);
    s.wildcard(LDS).sent();
    assert_eq!(s.nack(LDS, &format!("{LISTENERS}bad: port in use\n")).sent(), ["LDS good@1"]);
    assert_eq!(s.ack(LDS).sent(), [""; 0]);
    assert_eq!(s.put([listener("bad", 2)]).sent(), ["LDS bad@2"]);
}

#[test]
fn an_error_without_names_is_looked_for_by_halves_of_the_response() {
    let mut s = Script::with(["a", "b", "c"].map(|name| cluster(name, 1)));
    s.wildcard(CDS).sent();
    let text = "Proto constraint validation failed";
    assert_eq!(
        s.ack(EDS).nack(CDS, text).sent(),
        ["CDS a@1 b@1", "EDS a@0 b@0", "CDS c@1", "EDS c@0"],
        "nothing of the response is there"
    );
    assert_eq!(s.ack(EDS).nack(CDS, text).sent(), ["CDS a@1", "EDS a@0", "CDS b@1", "EDS b@0"]);
    // The one with c is answered next.
    s.ack(EDS).ack(CDS).ack(EDS).ack(EDS);
    assert_eq!(s.nack(CDS, text).ack(CDS).sent(), [""; 0], "it is found");
    assert_eq!(s.put([cluster("a", 2), cluster("b", 2)]).sent(), ["CDS a@2 b@2", "EDS a@0 b@0"]);
}

#[test]
fn endpoints_that_were_refused_together_come_apart() {
    let mut s = Script::with(["a", "b", "c"].map(|name| endpoints(name, 1)));
    assert_eq!(s.ask(EDS, &["a", "b", "c"]).sent(), ["EDS a@1 b@1 c@1"]);
    assert_eq!(s.nack(EDS, "malformed address").sent(), ["EDS a@1 b@1", "EDS c@1"]);
    s.events();
    assert_eq!(s.nack(EDS, "malformed address").ack(EDS).sent(), ["EDS a@1", "EDS b@1"]);
    s.events();
    assert_eq!(s.ack(EDS).nack(EDS, "malformed address").sent(), [""; 0]);
    assert_eq!(s.events(), ["acked EDS a@1", "refused EDS b@1: malformed address"]);
    assert_eq!(s.put(["a", "b", "c"].map(|name| endpoints(name, 2))).sent(), ["EDS a@2 b@2 c@2"]);
}

#[test]
fn removals_of_a_refused_response_are_tried_again() {
    let mut s = Script::with([listener("a", 1), listener("old", 1)]);
    s.wildcard(LDS).sent_and_acked();
    assert_eq!(s.change([listener("a", 2)], &[(LDS, "old")]).sent(), ["LDS a@2 -old"]);
    assert_eq!(s.nack(LDS, "cannot be decoded").sent(), ["LDS -old"]);
    assert_eq!(s.nack(LDS, "cannot be decoded").sent(), [""; 0], "alone it is not repeated");
}

#[test]
fn a_refusal_of_an_older_response_does_not_touch_a_newer_one() {
    let mut s = Script::with([endpoints("a", 1)]);
    s.ask(EDS, &["a"]).sent();
    assert_eq!(s.put([endpoints("a", 2)]).sent(), ["EDS a@2"]);
    assert_eq!(s.nack(EDS, "bad").sent(), [""; 0], "a@2 is on its way");
    assert_eq!(s.ack(EDS).put([endpoints("a", 1)]).sent(), [""; 0], "a@1 is refused");
}

#[test]
fn a_refused_companion_is_not_pushed_again_behind_its_cluster() {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 1)]);
    s.wildcard(CDS).sent();
    s.ack(CDS).nack(EDS, "bad address");
    assert_eq!(s.put([cluster("a", 2)]).sent(), ["CDS a@2"]);
    assert_eq!(s.put([endpoints("a", 2)]).sent(), ["EDS a@2"]);
}

#[test]
fn a_new_stream_forgets_refusals() {
    let mut s = Script::with([table("t", 2)]);
    s.ask(RDS, &["t"]).sent();
    s.nack(RDS, "bad");
    let mut s = s.reconnect();
    assert_eq!(s.claim(RDS, &["t"], &[]).sent(), ["RDS t@2"]);
}

#[test]
fn a_listener_is_sent_again_when_the_sender_wants_another_try() {
    let mut s = Script::with([listener("a", 1)]);
    s.wildcard(LDS).sent_and_acked();
    s.put([listener("a", 2)]).sent();
    let text = format!("{LISTENERS}a: cannot bind '0.0.0.0:80': Address already in use");
    assert_eq!(s.nack(LDS, &text).sent(), [""; 0]);
    assert_eq!(s.retry(LDS, "a").sent(), ["LDS a@2"]);
    assert_eq!(s.nack(LDS, &text).sent(), [""; 0], "one try for each time it is wanted");
    assert_eq!(s.retry(LDS, "a").sent_and_acked(), ["LDS a@2"]);
    assert_eq!(s.retry(LDS, "a").sent(), [""; 0], "the client has it");
}
