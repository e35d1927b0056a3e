//! Make before break, pipelined.

use crate::script::*;

#[test]
fn one_change_goes_out_in_one_order_without_waiting() {
    let mut s = Script::with([]);
    s.wildcard(CDS).wildcard(LDS).ask(EDS, &["old"]).ask(SDS, &["cert"]).ask(RDS, &["t"]).ask(ECDS, &["auth"]);
    s.sent_and_acked();
    let upstream = xds::Resource {
        companions: std::sync::Arc::new([(EDS, "new".into()), (SDS, "upstream".into())]),
        ..resource(CDS, "new", 1)
    };
    s.put([
        table("t", 1),
        resource(ECDS, "auth", 1),
        listener("web", 1),
        secret("cert", 1),
        endpoints("old", 1),
        endpoints("new", 1),
        upstream,
    ]);
    let expected =
        ["CDS new@1", "EDS new@1", "SDS -upstream", "EDS old@1", "SDS cert@1", "LDS web@1", "ECDS auth@1", "RDS t@1"];
    assert_eq!(s.sent(), expected);
}

#[test]
fn a_stuck_cluster_ack_holds_nothing_back() {
    let mut s = Script::with([]);
    s.wildcard(CDS).ask(RDS, &["t"]).sent();
    s.ack(RDS);
    for version in 1..50 {
        s.put([cluster("a", version), table("t", version)]);
        let expected = [format!("CDS a@{version}"), "EDS a@0".into(), format!("RDS t@{version}")];
        assert_eq!(s.sent(), expected);
        s.ack(RDS);
    }
}

#[test]
fn companions_follow_every_cluster_response_even_unchanged() {
    let mut s = Script::with([cluster("a", 1), cluster("b", 1), endpoints("a", 7), endpoints("b", 7)]);
    s.wildcard(CDS).sent_and_acked();
    assert_eq!(s.ask(EDS, &["a", "b"]).sent(), [""; 0], "already answered behind the clusters");
    assert_eq!(s.put([cluster("a", 2)]).sent(), ["CDS a@2", "EDS a@7"], "of exactly this cluster");
    assert_eq!(s.ack_all().put([endpoints("a", 8)]).sent(), ["EDS a@8"]);
}

#[test]
fn clusters_that_share_an_assignment_each_bring_it_along() {
    let shared =
        |name| xds::Resource { companions: std::sync::Arc::new([(EDS, "e".into())]), ..resource(CDS, name, 1) };
    let mut s = Script::with([shared("a"), endpoints("e", 1)]);
    assert_eq!(s.wildcard(CDS).sent_and_acked(), ["CDS a@1", "EDS e@1"]);
    assert_eq!(s.put([shared("b")]).sent_and_acked(), ["CDS b@1", "EDS e@1"]);
    s.remove(&[(CDS, "a")]).sent_and_acked();
    assert_eq!(s.put([endpoints("e", 2)]).sent(), ["EDS e@2"], "b still has it");
    s.remove(&[(CDS, "b")]);
    assert_eq!(s.sent_and_acked(), ["CDS -b"]);
    assert_eq!(s.put([endpoints("e", 3)]).sent(), [""; 0], "nobody has it");
}

#[test]
fn a_cluster_that_changes_its_endpoints_name_brings_the_new_one() {
    let named = |version, eds: &str| xds::Resource {
        companions: std::sync::Arc::new([(EDS, eds.into())]),
        ..resource(CDS, "a", version)
    };
    let mut s = Script::with([named(1, "e1"), endpoints("e1", 1), endpoints("e2", 1)]);
    s.wildcard(CDS).sent_and_acked();
    assert_eq!(s.put([named(2, "e2")]).sent_and_acked(), ["CDS a@2", "EDS e2@1"]);
    assert_eq!(s.put([endpoints("e1", 2)]).sent(), [""; 0]);
}

#[test]
fn a_late_table_never_overtakes_the_clusters_it_names() {
    let mut s = Script::with([table("t", 1)]);
    s.wildcard(CDS).ask(RDS, &["t"]).sent();
    // The table is unanswered while it changes twice: what goes out later is the newest, behind the newest clusters.
    assert_eq!(s.put([cluster("a", 1), table("t", 2)]).sent(), ["CDS a@1", "EDS a@0"]);
    s.put([cluster("b", 1), table("t", 3)]).ack(RDS);
    assert_eq!(s.sent(), ["CDS b@1", "EDS b@0", "RDS t@3"]);
}
