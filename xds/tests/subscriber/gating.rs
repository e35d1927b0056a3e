//! What waits for an answer, and what does not.

use xds::Limits;

use crate::script::*;

#[test]
fn a_route_table_is_unanswered_once_at_most_and_merges_meanwhile() {
    let mut s = Script::with([table("t", 1)]);
    assert_eq!(s.ask(RDS, &["t"]).sent(), ["RDS t@1"]);
    for version in 2..9 {
        assert_eq!(s.put([table("t", version)]).sent(), [""; 0]);
    }
    assert_eq!(s.ack(RDS).sent(), ["RDS t@8"]);
    assert_eq!(s.ack(RDS).sent(), [""; 0]);
}

#[test]
fn a_table_asked_for_anew_waits_for_the_answer_to_its_old_response() {
    let mut s = Script::with([table("t", 1)]);
    s.ask(RDS, &["t"]).sent();
    assert_eq!(s.unask(RDS, &["t"]).ask(RDS, &["t"]).sent(), [""; 0]);
    assert_eq!(s.ack(RDS).sent(), ["RDS t@1"]);
}

#[test]
fn tables_do_not_wait_for_each_other() {
    let mut s = Script::with([table("t", 1), table("u", 1)]);
    s.ask(RDS, &["t", "u"]).sent();
    s.ack_name(RDS, "u");
    assert_eq!(s.put([table("t", 2), table("u", 2)]).sent(), ["RDS u@2"]);
}

#[test]
fn a_table_that_changes_back_while_unanswered_is_not_sent_again() {
    let mut s = Script::with([table("t", 1)]);
    s.ask(RDS, &["t"]).sent();
    s.put([table("t", 2)]).put([table("t", 1)]);
    assert_eq!(s.ack(RDS).sent(), [""; 0]);
}

#[test]
fn small_tables_go_first_and_bytes_in_flight_are_capped() {
    let mut s = Script::unpublished(Limits { max_bytes_in_flight: 100, ..Limits::default() });
    s.put([sized(table("big", 1), 1000), sized(table("mid", 1), 60), sized(table("small", 1), 40)]);
    s.ask(RDS, &["big", "mid", "small"]);
    assert_eq!(s.sent(), ["RDS small@1", "RDS mid@1"]);
    assert_eq!(s.ack(RDS).sent(), [""; 0]);
    assert_eq!(s.ack(RDS).sent(), ["RDS big@1"], "one may always go");
}

#[test]
fn small_tables_do_not_starve_a_large_one() {
    let mut s = Script::unpublished(Limits { max_bytes_in_flight: 100, ..Limits::default() });
    s.put([sized(table("big", 1), 1000), table("a", 1), table("b", 1)]).ask(RDS, &["big", "a", "b"]).sent();
    let mut rounds = 0;
    let sent = loop {
        rounds += 1;
        assert!(rounds < 100, "the large table never had its turn");
        // Always one small table unanswered: the other was answered and has changed again.
        let name = if rounds % 2 == 0 { "a" } else { "b" };
        if s.status().types[0].pending > 0 {
            s.ack(RDS);
        }
        let sent = s.put([table(name, 1 + rounds)]).sent();
        if sent.iter().any(|line| line.contains("big")) {
            break sent;
        }
    };
    assert_eq!(sent[0], "RDS big@1");
}

#[test]
fn tables_of_like_size_take_turns() {
    let mut s = Script::unpublished(Limits { max_bytes_in_flight: 2_100, ..Limits::default() });
    let names = ["a", "b", "c", "d"];
    let all = |version| names.map(|name| sized(table(name, version), 1_000 + usize::from(name.as_bytes()[0])));
    s.put(all(1)).ask(RDS, &names).sent();
    let mut served = vec![];
    for version in 2..30 {
        s.put(all(version)).ack(RDS);
        served.extend(s.sent());
    }
    for turn in served.chunks(4) {
        let mut turn: Vec<_> = turn.iter().filter_map(|line| line.split_once('@')).map(|(name, _)| name).collect();
        turn.sort_unstable();
        turn.dedup();
        assert_eq!(turn.len(), 4, "one had two turns before another had one: {served:?}");
    }
}

#[test]
fn listeners_have_one_unanswered_response() {
    let mut s = Script::with([listener("a", 1)]);
    assert_eq!(s.wildcard(LDS).sent(), ["LDS a@1"]);
    assert_eq!(s.put([listener("b", 1)]).put([listener("a", 2)]).remove(&[(LDS, "b")]).sent(), [""; 0]);
    assert_eq!(s.ack(LDS).sent(), ["LDS a@2"]);
}

#[test]
fn small_endpoint_changes_never_wait() {
    let mut s = Script::with([]);
    s.ask(EDS, &["a", "b"]).sent();
    for version in 1..100 {
        s.put([endpoints("a", version), endpoints("b", version)]);
        assert_eq!(s.sent(), [format!("EDS a@{version} b@{version}")]);
    }
}

#[test]
fn bulk_endpoint_changes_wait_for_answers() {
    let names: Vec<String> = (0..2500).map(|n| format!("e{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut s = Script::with([]);
    s.ask(EDS, &names);
    let counts = |sent: Vec<String>| -> Vec<usize> { sent.iter().map(|line| line.matches('@').count()).collect() };
    assert_eq!(counts(s.sent()), [1000]);
    assert_eq!(counts(s.sent()), [0; 0]);
    assert_eq!(counts(s.ack(EDS).sent()), [1000]);
    assert_eq!(counts(s.ack(EDS).sent()), [500]);
}

#[test]
fn companions_of_new_clusters_do_not_wait_behind_a_bulk_change() {
    let names: Vec<String> = (0..1500).map(|n| format!("e{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut s = Script::with([]);
    s.wildcard(CDS).ask(EDS, &names).sent();
    assert_eq!(s.put([cluster("c", 1), endpoints("c", 1)]).sent(), ["CDS c@1", "EDS c@1"]);
}

#[test]
fn filter_configurations_are_gated_like_tables() {
    let mut s = Script::with([resource(ECDS, "auth", 1), resource(ECDS, "rate", 1)]);
    assert_eq!(s.ask(ECDS, &["auth", "rate"]).sent(), ["ECDS auth@1", "ECDS rate@1"]);
    s.put([resource(ECDS, "auth", 2)]).put([resource(ECDS, "auth", 3)]);
    assert_eq!(s.sent(), [""; 0]);
    assert_eq!(s.ack(ECDS).sent(), ["ECDS auth@3"]);
}
