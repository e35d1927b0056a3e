use super::*;
use crate::controller::{FieldManagers, Identity};
use crate::status::tests::accepted;
use api::v3alpha1::Mapping;
use ir::{Effect, ObjectKey, Problem};
use serde_json::json;

const MANAGER: &str = "nuncio";

fn verdict() -> Verdict {
    accepted(ObjectKey::new(Kind::Mapping, "default", "m"), 2)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn known(verdict: &Verdict) -> Known<'_> {
    Known {
        verdict,
        acknowledged: Acknowledgement::Live,
        backing: None,
        waited: false,
        manager: MANAGER,
        now: (Instant::now(), at(1_000)),
    }
}

/// An object of generation 2 with that status, written here or by somebody else.
fn view(status: &Value, ours: bool) -> StatusView<Mapping> {
    let observed = serde_json::from_value(status.clone()).unwrap();
    let managers = if ours { json!([{"manager": MANAGER, "subresource": "status"}]) } else { json!([]) };
    let managers: FieldManagers = serde_json::from_value(managers).unwrap();
    StatusView::of(Identity { namespace: "default", name: "m", uid: "u", generation: 2 }, Some(observed), managers)
}

fn decided(status: &Value, known: Known<'_>) -> Option<Value> {
    match decide(&view(status, true), known, Shape::Full) {
        Decision::Nothing => None,
        Decision::Write(wanted) => Some(serde_json::to_value(wanted).unwrap()),
    }
}

/// `Accepted=True/Accepted@1000 … `
fn told(status: &Value) -> String {
    let conditions = status["conditions"].as_array().unwrap().iter();
    let line = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        let time: Timestamp = text("lastTransitionTime").parse().unwrap();
        format!("{}={}/{}@{}", text("type"), text("status"), text("reason"), time.as_second())
    };
    conditions.map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_written_is_right_afterwards() {
    let mut bad = verdict();
    bad.accepted = false;
    bad.problems.push(Problem::refused(&bad.about, "spec.prefix", ProblemKind::InvalidRegex, "`(` is not closed"));
    let mut host = verdict();
    host.about = ObjectKey::new(Kind::Host, "default", "h");
    host.certificate = true;
    let mut tcp = verdict();
    tcp.about = ObjectKey::new(Kind::TCPMapping, "default", "t");
    let ready = Backing { ready: true, since: Instant::now(), initial: false };
    for (verdict, backing) in [(verdict(), None), (verdict(), Some(ready)), (bad, None), (host, None), (tcp, None)] {
        for acknowledged in [Acknowledgement::Live, Acknowledgement::NoProxy, Acknowledgement::Pending] {
            let known = Known { acknowledged, waited: true, backing, ..known(&verdict) };
            let written = decided(&json!({}), known).expect("nothing was there");
            assert_eq!(decided(&written, known), None, "{written}");
            // A later look finds the same, whatever the time.
            assert_eq!(decided(&written, Known { now: (Instant::now(), at(9_000)), ..known }), None);
        }
    }
}

#[test]
fn the_first_status_has_everything() {
    let verdict = verdict();
    let written = decided(&json!({}), known(&verdict)).unwrap();
    assert_eq!(
        told(&written),
        "Accepted=True/Accepted@1000 ResolvedRefs=True/ResolvedRefs@1000 Programmed=True/Programmed@1000 Ready=True/Ready@1000"
    );
    assert_eq!(written["state"], "Running");
    assert_eq!(written["conditions"][0]["observedGeneration"], 2);
    assert_eq!(written["conditions"][0]["lastTransitionTime"], "1970-01-01T00:16:40Z");
}

#[test]
fn the_time_moves_with_the_truth_only() {
    let good = verdict();
    let first = decided(&json!({}), known(&good)).unwrap();
    let mut other = verdict();
    let notice = Problem::notice(&other.about, "spec.host", ProblemKind::Deprecated, "use hostname");
    other.problems.push(notice);
    let later = Known { now: (Instant::now(), at(2_000)), ..known(&other) };
    let second = decided(&first, later).unwrap();
    assert!(told(&second).starts_with("Accepted=True/Accepted@1000"), "{second}");
    assert_eq!(second["conditions"][0]["message"], "spec.host: use hostname");
    let mut bad = verdict();
    bad.accepted = false;
    let third = decided(&second, Known { now: (Instant::now(), at(3_000)), ..known(&bad) }).unwrap();
    assert_eq!(
        told(&third),
        "Accepted=False/Internal@3000 ResolvedRefs=True/ResolvedRefs@1000 Programmed=False/NotAccepted@3000 \
         Ready=False/Internal@3000"
    );
    assert_eq!(third["state"], "Inactive");
}

#[test]
fn what_is_in_force_does_not_become_unknown() {
    let verdict = verdict();
    let live = decided(&json!({}), known(&verdict)).unwrap();
    for acknowledged in [Acknowledgement::NoProxy, Acknowledgement::Pending] {
        for waited in [false, true] {
            assert_eq!(decided(&live, Known { acknowledged, waited, ..known(&verdict) }), None);
        }
    }
    // Another generation was never in force.
    let mut newer = verdict.clone();
    newer.generation = 3;
    let unknown = Known { acknowledged: Acknowledgement::NoProxy, waited: true, ..known(&newer) };
    assert!(told(&decided(&live, unknown).unwrap()).contains("Programmed=Unknown/NoProxy@1000"));
    // And a refusal is evidence.
    let mut refused = verdict.clone();
    refused.problems.push(Problem::new(&refused.about, "", ProblemKind::RefusedByEnvoy, Effect::Degraded, "no"));
    let evidence = Known { acknowledged: Acknowledgement::Pending, ..known(&refused) };
    assert!(told(&decided(&live, evidence).unwrap()).contains("Programmed=False/Refused@1000"));
}

#[test]
fn an_answer_of_envoy_is_waited_for() {
    let verdict = verdict();
    for acknowledged in [Acknowledgement::NoProxy, Acknowledgement::Pending] {
        let early = Known { acknowledged, ..known(&verdict) };
        assert_eq!(decided(&json!({}), early), None);
        let late = Known { waited: true, ..early };
        assert!(told(&decided(&json!({}), late).unwrap()).contains("Programmed=Unknown"));
    }
    let mut held = verdict.clone();
    held.problems.push(Problem::new(&held.about, "", ProblemKind::HeldBack, Effect::Notice, "wait"));
    assert_eq!(decided(&json!({}), known(&held)), None);
    assert!(decided(&json!({}), Known { waited: true, ..known(&held) }).is_some());
}

#[test]
fn a_verdict_on_an_older_version_is_not_written() {
    let mut old = verdict();
    old.generation = 1;
    assert_eq!(decided(&json!({}), known(&old)), None);
}

#[test]
fn missing_endpoints_are_told_after_a_while() {
    let verdict = verdict();
    let now = Instant::now();
    let backing = |ready, seconds, initial| Some(Backing { ready, since: now - Duration::from_secs(seconds), initial });
    let with = |backing| Known { backing, now: (now, at(1_000)), ..known(&verdict) };
    let absent = decided(&json!({}), known(&verdict)).unwrap();
    let present = decided(&json!({}), with(backing(true, 0, false))).unwrap();
    assert!(told(&present).ends_with("Ready=True/Ready@1000 BackendsReady=True/BackendsReady@1000"));
    let missing = decided(&json!({}), with(backing(false, 10, false))).unwrap();
    assert!(told(&missing).ends_with("BackendsReady=False/NoEndpoints@1000"), "{missing}");
    // A gap, such as a rollout leaves.
    assert_eq!(decided(&present, with(backing(false, 9, false))), None);
    assert_eq!(decided(&absent, with(backing(false, 9, false))), None);
    assert_eq!(decided(&missing, with(backing(false, 0, false))), None);
    // A start with none, before and after anything was said.
    assert_eq!(decided(&json!({}), with(backing(false, 0, true))), Some(missing.clone()));
    assert_eq!(decided(&present, with(backing(false, 0, true))), None);
    // They are back at once, and what is not known any more is taken away.
    assert!(told(&decided(&missing, with(backing(true, 0, false))).unwrap()).contains("BackendsReady=True"));
    assert_eq!(told(&decided(&present, known(&verdict)).unwrap()), told(&absent));
}

#[test]
fn what_others_wrote_is_left_alone() {
    let verdict = verdict();
    let mut status = decided(&json!({}), known(&verdict)).unwrap();
    let foreign = json!({"type": "Audited", "status": "True", "reason": "x", "message": ""});
    status["conditions"].as_array_mut().unwrap().push(foreign);
    status["phaseCompleted"] = "DefaultsFilled".into();
    assert_eq!(decided(&status, known(&verdict)), None);
    // A stale text of upstream's in a field that is ours now.
    status["reason"] = "bad service".into();
    let written = decided(&status, known(&verdict)).unwrap();
    assert_eq!(written["reason"], "");
    assert_eq!(decided(&written, known(&verdict)), None);
    // A condition of ours in a status that somebody else wrote.
    let backend = json!({"type": "BackendsReady", "status": "True", "reason": "BackendsReady", "message": ""});
    let mut theirs = decided(&json!({}), known(&verdict)).unwrap();
    theirs["conditions"].as_array_mut().unwrap().push(backend);
    assert_eq!(decide(&view(&theirs, false), known(&verdict), Shape::Full), Decision::Nothing);
}

#[test]
fn a_kind_gets_what_its_definition_keeps() {
    let mut bad = verdict();
    bad.accepted = false;
    bad.problems.push(Problem::refused(&bad.about, "spec.prefix", ProblemKind::InvalidRegex, "`(` is not closed"));
    let Decision::Write(wanted) = decide(&view(&json!({}), false), known(&bad), Shape::Fields) else {
        panic!("a write")
    };
    assert!(wanted.conditions.is_empty() && wanted.fields["state"] == "Inactive");
    assert_eq!(wanted.fields["reason"], "Accepted=False InvalidRegex: spec.prefix: `(` is not closed");
    let kept = serde_json::to_value(&wanted).unwrap();
    assert_eq!(decide(&view(&kept, true), known(&bad), Shape::Fields), Decision::Nothing);
    assert_eq!(decide(&view(&json!({}), false), known(&bad), Shape::None), Decision::Nothing);
    bad.about = ObjectKey::new(Kind::Module, "default", "ambassador");
    assert_eq!(decide(&view(&json!({}), false), known(&bad), Shape::Fields), Decision::Nothing);
}
