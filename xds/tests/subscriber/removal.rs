//! Clusters leave last, alone, and not before everything that named them is acknowledged without them.

use std::time::Duration;

use crate::script::*;
use xds::Limits;

fn routed() -> Script {
    let mut s = Script::with([cluster("old", 1), endpoints("old", 1), listener("web", 1), table("t", 1)]);
    s.wildcard(CDS).wildcard(LDS).ask(RDS, &["t"]).sent_and_acked();
    s
}

#[test]
fn a_cluster_leaves_after_the_route_table_is_acknowledged() {
    let mut s = routed();
    s.change([cluster("new", 1), endpoints("new", 1), table("t", 2)], &[(CDS, "old"), (EDS, "old")]);
    assert_eq!(s.sent(), ["CDS new@1", "EDS new@1", "RDS t@2"], "additions alone");
    assert_eq!(s.ack(CDS).ack(EDS).sent(), [""; 0]);
    assert_eq!(s.ack(RDS).sent(), ["CDS -old"]);
    assert_eq!(s.ack_all().sent(), [""; 0]);
}

#[test]
fn endpoints_are_not_emptied_while_a_table_leads_to_them() {
    let mut s = routed();
    s.ask(EDS, &["old"]);
    s.change([table("t", 2)], &[(CDS, "old"), (EDS, "old")]);
    assert_eq!(s.sent(), ["RDS t@2"]);
    assert_eq!(s.ack(RDS).sent(), ["CDS -old", "EDS old@0"]);
    assert_eq!(s.unask(EDS, &["old"]).ack_all().sent(), [""; 0]);
}

#[test]
fn a_table_is_not_emptied_while_a_listener_uses_it() {
    let mut s = routed();
    s.change([listener("web", 2)], &[(RDS, "t")]);
    assert_eq!(s.sent(), ["LDS web@2"]);
    assert_eq!(s.ack(LDS).sent(), ["RDS t@0"]);
}

#[test]
fn a_reconnected_client_keeps_endpoints_and_tables_until_their_users_are_current() {
    let mut s = Script::with([listener("web", 2), table("t", 2)]);
    s.claim(CDS, &[], &[("old", 1)]).claim(EDS, &["old"], &[("old", 1)]);
    assert_eq!(s.sent(), ["CDS"]);
    assert_eq!(s.claim(LDS, &[], &[("web", 1)]).sent(), ["LDS web@2"]);
    assert_eq!(s.claim(RDS, &["t", "gone"], &[("t", 1), ("gone", 1)]).sent(), ["RDS t@2"]);
    assert_eq!(s.ack(LDS).sent(), ["RDS gone@0"]);
    assert_eq!(s.ack(RDS).sent(), [""; 0]);
    assert_eq!(s.ack(RDS).sent(), ["CDS -old", "EDS old@0"]);
}

#[test]
fn nothing_waits_for_a_removal() {
    let mut s = routed();
    s.change([table("t", 2)], &[(CDS, "old")]);
    assert_eq!(s.sent(), ["RDS t@2"]);
    assert_eq!(s.put([cluster("x", 1)]).sent(), ["CDS x@1", "EDS x@0"]);
    assert_eq!(s.ack(RDS).sent(), ["CDS -old"]);
}

#[test]
fn a_removal_without_route_change_goes_at_once() {
    let mut s = routed();
    assert_eq!(s.remove(&[(CDS, "old")]).sent(), ["CDS -old"]);
}

#[test]
fn a_removal_waits_for_every_table_and_for_listeners_and_filters() {
    let mut s = routed();
    s.put([table("u", 1), resource(ECDS, "auth", 1)]).ask(RDS, &["u"]).ask(ECDS, &["auth"]).sent_and_acked();
    s.change([table("t", 2), table("u", 2), listener("web", 2), resource(ECDS, "auth", 2)], &[(CDS, "old")]);
    s.sent();
    for kind in [RDS, LDS, ECDS] {
        assert_eq!(s.ack(kind).sent(), [""; 0], "{kind}");
    }
    assert_eq!(s.ack(RDS).sent(), ["CDS -old"]);
}

#[test]
fn later_changes_of_a_table_do_not_hold_a_removal_back() {
    let mut s = routed();
    s.change([table("t", 2)], &[(CDS, "old")]).sent();
    s.put([table("t", 3)]);
    assert_eq!(s.ack(RDS).sent(), ["RDS t@3", "CDS -old"], "t@2 no longer names it, whatever t@3 adds");
}

#[test]
fn a_table_that_merged_past_the_removal_counts_when_acknowledged() {
    let mut s = routed();
    s.put([table("t", 2)]).sent();
    s.change([table("t", 3)], &[(CDS, "old")]);
    assert_eq!(s.ack(RDS).sent(), ["RDS t@3"], "t@2 may still name it");
    assert_eq!(s.ack(RDS).sent(), ["CDS -old"]);
}

#[test]
fn a_refused_table_keeps_the_cluster() {
    let mut s = routed();
    s.change([table("t", 2)], &[(CDS, "old")]).sent();
    assert_eq!(s.nack(RDS, "bad").sent(), [""; 0], "the client still uses t@1");
    assert_eq!(s.put([table("t", 3)]).sent(), ["RDS t@3"]);
    assert_eq!(s.ack(RDS).sent(), ["CDS -old"]);
}

#[test]
fn a_cluster_that_comes_back_is_not_removed() {
    let mut s = routed();
    s.change([table("t", 2)], &[(CDS, "old")]).sent();
    s.change([cluster("old", 1), table("t", 3)], &[]);
    assert_eq!(s.ack(RDS).sent(), ["RDS t@3"]);
    assert_eq!(s.ack_all().sent(), [""; 0]);
}

#[test]
fn a_cluster_that_comes_back_changed_is_sent() {
    let mut s = routed();
    s.change([table("t", 2)], &[(CDS, "old")]).sent();
    assert_eq!(s.put([cluster("old", 2)]).sent(), ["CDS old@2", "EDS old@1"]);
    assert_eq!(s.ack_all().sent(), [""; 0]);
}

#[test]
fn a_removed_cluster_that_comes_back_is_sent_again() {
    let mut s = routed();
    s.remove(&[(CDS, "old")]).sent_and_acked();
    assert_eq!(s.put([cluster("old", 1)]).sent(), ["CDS old@1", "EDS old@1"]);
}

#[test]
fn removals_are_never_in_a_response_with_additions() {
    let mut s = routed();
    s.change([cluster("new", 1)], &[(CDS, "old")]);
    assert_eq!(s.sent(), ["CDS new@1", "EDS new@0", "CDS -old"]);
}

#[test]
fn a_reconnected_client_keeps_clusters_until_its_tables_are_known_and_current() {
    let mut s = Script::with([table("t", 2)]);
    s.claim(CDS, &[], &[("old", 1)]);
    assert_eq!(s.sent(), ["CDS"]);
    assert_eq!(s.claim(RDS, &["t"], &[("t", 1)]).sent(), ["RDS t@2"]);
    assert_eq!(s.ack_all().sent(), ["CDS -old"]);
}

#[test]
fn a_reconnected_client_without_tables_loses_old_clusters_after_a_while() {
    let mut s = Script::with([]);
    s.claim(CDS, &[], &[("old", 1)]).wildcard(LDS).sent_and_acked();
    assert_eq!(s.deadline(), Some(Duration::from_secs(5)));
    assert_eq!(s.pass(Duration::from_secs(5)).sent(), ["CDS -old"]);
    assert_eq!(s.deadline(), None);
}

#[test]
fn a_table_asked_for_late_still_guards_an_earlier_removal() {
    let mut s = Script::with([table("t", 1)]);
    s.claim(CDS, &[], &[("old", 1)]).sent();
    s.put([table("t", 2)]).put([table("t", 3)]);
    assert_eq!(s.claim(RDS, &["t"], &[("t", 1)]).sent(), ["RDS t@3"]);
    assert_eq!(s.ack_all().sent(), ["CDS -old"]);
}

#[test]
fn listeners_are_removed_without_waiting() {
    let mut s = routed();
    s.put([listener("tls", 1)]).sent_and_acked();
    assert_eq!(s.change([listener("web", 2)], &[(LDS, "tls")]).sent(), ["LDS web@2 -tls"]);
}

fn lingering() -> Script {
    let mut s = Script::unpublished(Limits { linger: Duration::from_secs(6), ..Limits::default() });
    s.put([cluster("old", 1), endpoints("old", 1), listener("web", 1), table("t", 1)]);
    s.wildcard(CDS).wildcard(LDS).ask(RDS, &["t"]).ask(EDS, &["old"]).sent_and_acked();
    s
}

#[test]
fn a_cluster_and_its_endpoints_outlive_the_last_route_for_requests_on_their_way() {
    let mut s = lingering();
    s.change([table("t", 2)], &[(CDS, "old"), (EDS, "old")]);
    assert_eq!(s.sent(), ["RDS t@2"]);
    assert_eq!(s.pass(Duration::from_secs(60)).sent(), [""; 0], "its time begins with the acknowledgement");
    assert_eq!(s.ack(RDS).sent(), [""; 0]);
    assert_eq!(s.live().last(), Some(&2), "nothing in force leads there, so that the batch is live");
    assert_eq!(s.deadline(), Some(Duration::from_secs(6)));
    assert_eq!(s.pass(Duration::from_secs(5)).sent(), [""; 0]);
    assert_eq!(s.pass(Duration::from_secs(1)).sent(), ["CDS -old", "EDS old@0"]);
    assert_eq!(s.deadline(), None);
}

#[test]
fn a_cluster_that_comes_back_while_it_lingers_was_never_away() {
    let mut s = lingering();
    s.change([table("t", 2)], &[(CDS, "old"), (EDS, "old")]).sent_and_acked();
    s.pass(Duration::from_secs(3)).put([cluster("old", 1), endpoints("old", 1), table("t", 3)]);
    assert_eq!(s.sent_and_acked(), ["RDS t@3"]);
    assert_eq!(s.pass(Duration::from_secs(60)).sent(), [""; 0]);
    s.change([table("t", 4)], &[(CDS, "old")]).sent_and_acked();
    assert_eq!(s.deadline(), Some(Duration::from_secs(6)), "its time begins anew");
}
