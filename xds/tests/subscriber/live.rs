//! When a batch counts as live at a client.

use std::time::Duration;

use crate::script::*;

fn connected() -> Script {
    let mut s = Script::with([cluster("a", 1), endpoints("a", 1), listener("web", 1), table("t", 1), secret("s", 1)]);
    s.wildcard(CDS).sent();
    s.ask(EDS, &["a"]).ack_all();
    assert_eq!(s.live(), [0; 0], "a client that has not asked for listeners has nothing");
    s.wildcard(LDS).sent();
    s.ask(RDS, &["t"]).ask(SDS, &["s"]).ack(LDS);
    s.sent();
    assert_eq!(s.live(), [0; 0]);
    s.ack(RDS).sent();
    assert_eq!(s.live(), [0; 0], "the secret is unanswered");
    s.ack(SDS).sent();
    assert_eq!(s.live(), [1]);
    s
}

#[test]
fn a_batch_is_live_when_all_of_it_is_acknowledged() {
    let mut s = connected();
    s.put([endpoints("a", 2), table("t", 2)]).sent();
    s.ack(RDS).sent();
    assert_eq!(s.live(), [0; 0]);
    s.ack(EDS).sent();
    assert_eq!(s.live(), [2]);
}

#[test]
fn a_batch_with_nothing_for_the_client_is_live_at_once() {
    let mut s = connected();
    assert_eq!(s.put([table("of another", 1)]).sent(), [""; 0]);
    assert_eq!(s.live(), [2]);
    s.change([], &[]).sent();
    assert_eq!(s.live(), [3]);
}

#[test]
fn cluster_acks_are_not_awaited() {
    let mut s = connected();
    s.put([cluster("a", 2)]).sent();
    s.ack(EDS).sent();
    assert_eq!(s.live(), [2]);
    s.remove(&[(CDS, "a")]).sent();
    assert_eq!(s.live(), [3]);
}

#[test]
fn under_constant_change_older_batches_become_live() {
    let mut s = connected();
    s.put([table("t", 2)]).sent();
    s.put([table("t", 3)]).put([table("t", 4)]).ack(RDS);
    assert_eq!(s.sent(), ["RDS t@4"]);
    assert_eq!(s.live(), [2], "3 and 4 are unanswered");
    s.put([table("t", 5)]).ack(RDS).sent();
    assert_eq!(s.live(), [4]);
}

#[test]
fn a_refused_batch_is_not_live_until_something_is_accepted_in_its_place() {
    let mut s = connected();
    s.put([table("t", 2)]).sent();
    s.nack(RDS, "bad").sent();
    s.put([endpoints("a", 2)]).sent();
    s.ack(EDS).sent();
    assert_eq!(s.live(), [0; 0]);
    s.put([table("t", 1)]).sent();
    s.ack(RDS).sent();
    assert_eq!(s.live(), [4]);
}

#[test]
fn refused_endpoints_and_secrets_hold_nothing_else_up() {
    let mut s = connected();
    s.put([endpoints("b", 1), cluster("b", 1)]).sent();
    assert_eq!(s.live(), [0; 0]);
    s.nack(EDS, "bad").sent();
    assert_eq!(s.live(), [2], "the client has what it will have of it");
    s.put([secret("s", 2)]).sent();
    s.nack(SDS, "bad").put([table("t", 2)]).sent();
    s.ack(RDS).sent();
    assert_eq!(s.live().last(), Some(&4));
    assert_eq!(s.put([cluster("b", 2)]).sent(), ["CDS b@2"], "what was refused is not pushed again");
    s.put([endpoints("b", 2), secret("s", 3)]).sent();
    assert_eq!(s.live().last(), Some(&5));
    s.ack(EDS).ack(SDS).sent();
    assert_eq!(s.live(), [6]);
}

#[test]
fn what_is_newly_subscribed_is_awaited_too() {
    let mut s = connected();
    s.ask(RDS, &["u"]).put([table("u", 1)]).sent();
    assert_eq!(s.live(), [0; 0]);
    s.ack(RDS).sent();
    assert_eq!(s.live(), [2]);
}

#[test]
fn what_is_no_longer_subscribed_is_not_awaited() {
    let mut s = connected();
    s.put([table("t", 2)]).sent();
    s.unask(RDS, &["t"]).sent();
    assert_eq!(s.live(), [2]);
}

#[test]
fn a_removed_listener_is_awaited() {
    let mut s = connected();
    s.remove(&[(LDS, "web")]).sent();
    assert_eq!(s.live(), [0; 0]);
    s.ack(LDS).sent();
    assert_eq!(s.live(), [2]);
}

#[test]
fn a_reconnected_client_is_live_when_it_has_named_its_tables() {
    let mut s = connected().reconnect();
    s.claim(CDS, &[], &[("a", 1)]).claim(EDS, &["a"], &[("a", 1)]).claim(LDS, &[], &[("web", 1)]).sent();
    assert_eq!(s.live(), [0; 0]);
    s.claim(RDS, &["t"], &[("t", 1)]).sent();
    assert_eq!(s.live(), [1]);
}

#[test]
fn a_reconnected_client_without_tables_is_live_after_a_while() {
    let mut s = connected().reconnect();
    s.claim(CDS, &[], &[("a", 1)]).claim(LDS, &[], &[("web", 1)]).sent_and_acked();
    assert_eq!((s.live(), s.deadline()), (vec![], Some(Duration::from_secs(5))));
    s.pass(Duration::from_secs(5)).sent();
    assert_eq!((s.live(), s.deadline()), (vec![1], None));
}
