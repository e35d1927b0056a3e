use super::*;
use ir::ObjectKey;

fn key(kind: Kind) -> ObjectKey {
    ObjectKey::new(kind, "default", "x")
}

/// Of a version that is in force, with nothing to be said about it; for all tests that need one.
pub(crate) fn accepted(about: ObjectKey, generation: i64) -> Verdict {
    Verdict {
        about,
        generation,
        accepted: true,
        resolved: true,
        attached: true,
        retained: false,
        problems: Vec::new(),
        backend: None,
        certificate: false,
    }
}

fn fine(kind: Kind) -> Verdict {
    accepted(key(kind), 3)
}

fn with(mut verdict: Verdict, effect: Effect, kind: ProblemKind, detail: &str) -> Verdict {
    let about = verdict.about.clone();
    verdict.problems.push(Problem::new(&about, "spec.prefix", kind, effect, detail));
    verdict
}

/// `Accepted=True/Accepted ResolvedRefs=… `
fn told(verdict: &Verdict, acknowledged: Acknowledgement) -> String {
    let line = |condition: Condition| format!("{}={}/{}", condition.kind, condition.status, condition.reason);
    conditions(verdict, acknowledged, None).into_iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_fine_object_is_ready_when_envoy_has_it() {
    let verdict = fine(Kind::Mapping);
    let base = "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs";
    let check = |acknowledged, rest: &str| assert_eq!(told(&verdict, acknowledged), format!("{base} {rest}"));
    check(Acknowledgement::Live, "Programmed=True/Programmed Ready=True/Ready");
    check(Acknowledgement::Pending, "Programmed=Unknown/Pending Ready=Unknown/Pending");
    check(Acknowledgement::NoProxy, "Programmed=Unknown/NoProxy Ready=Unknown/NoProxy");
    assert!(conditions(&verdict, Acknowledgement::Live, None).iter().all(|one| one.observed_generation == 3));
    assert_eq!(state(&verdict, Acknowledgement::Live), State::Ready);
    assert_eq!(state(&verdict, Acknowledgement::Pending), State::Pending);
}

#[test]
fn a_refused_object_says_why_and_what_still_serves() {
    let mut verdict = with(fine(Kind::Mapping), Effect::Refused, ProblemKind::InvalidRegex, "`(` is not closed");
    verdict.accepted = false;
    verdict.retained = true;
    assert_eq!(
        told(&verdict, Acknowledgement::Live),
        "Accepted=False/InvalidRegex ResolvedRefs=True/ResolvedRefs Programmed=False/NotAccepted Ready=False/InvalidRegex"
    );
    let accepted = &conditions(&verdict, Acknowledgement::Live, None)[0];
    assert_eq!(accepted.message, "spec.prefix: `(` is not closed; the last accepted version is still in force");
    assert_eq!(state(&verdict, Acknowledgement::Live), State::Refused);
    assert_eq!(summary(&verdict), "InvalidRegex spec.prefix: `(` is not closed; the last accepted version serves");
}

#[test]
fn what_envoy_refuses_carries_its_words() {
    let mut verdict = with(fine(Kind::Mapping), Effect::Refused, ProblemKind::RefusedByEnvoy, "bad thing");
    verdict.accepted = false;
    let programmed = &conditions(&verdict, Acknowledgement::Live, None)[2];
    assert_eq!((programmed.reason, programmed.message.as_str()), ("Refused", "bad thing"));
}

#[test]
fn a_missing_reference_degrades() {
    let mut verdict = with(fine(Kind::Host), Effect::Degraded, ProblemKind::MissingReference, "no Secret `a`");
    verdict.resolved = false;
    assert_eq!(
        told(&verdict, Acknowledgement::Live),
        "Accepted=True/MissingReference ResolvedRefs=False/MissingReference Programmed=True/Programmed Ready=False/MissingReference"
    );
    assert_eq!(state(&verdict, Acknowledgement::Live), State::Degraded);
}

#[test]
fn an_object_that_nothing_uses_is_not_programmed() {
    let mut verdict = fine(Kind::TLSContext);
    verdict.attached = false;
    assert!(told(&verdict, Acknowledgement::Live).contains("Programmed=False/NotReferenced Ready=False/NotReferenced"));
    assert_eq!(state(&verdict, Acknowledgement::Live), State::Unused);
    let mut verdict = with(fine(Kind::Mapping), Effect::Notice, ProblemKind::NoMatchingHost, "no Host");
    verdict.attached = false;
    assert!(told(&verdict, Acknowledgement::Live).contains("Programmed=False/NoMatchingHost"));
}

#[test]
fn backends_are_told_apart_from_ready() {
    let all = conditions(&fine(Kind::Mapping), Acknowledgement::Live, Some(Backends::Missing));
    assert_eq!((all[3].kind, all[3].status), ("Ready", Truth::True));
    assert_eq!((all[4].kind, all[4].status, all[4].reason), ("BackendsReady", Truth::False, "NoEndpoints"));
}

#[test]
fn upstream_fields_stay_filled() {
    let fields = |verdict: &Verdict, certificate| {
        let verdict = Verdict { certificate, ..verdict.clone() };
        Value::Object(upstream_fields(&verdict, Acknowledgement::Live)).to_string()
    };
    assert_eq!(fields(&fine(Kind::Mapping), false), r#"{"state":"Running"}"#);
    let mut bad = with(fine(Kind::Mapping), Effect::Refused, ProblemKind::InvalidValue, "no");
    bad.accepted = false;
    assert_eq!(fields(&bad, false), r#"{"reason":"spec.prefix: no","state":"Inactive"}"#);
    assert_eq!(fields(&fine(Kind::Host), true), r#"{"state":"Ready","tlsCertificateSource":"Other"}"#);
    bad.about = key(Kind::Host);
    assert_eq!(
        fields(&bad, false),
        r#"{"errorReason":"spec.prefix: no","state":"Error","tlsCertificateSource":"None"}"#
    );
    assert_eq!(fields(&fine(Kind::Listener), false), "{}");
}

#[test]
fn texts_are_bounded_and_harmless_on_a_terminal() {
    let long = "é".repeat(5_000);
    let verdict = with(fine(Kind::Mapping), Effect::Degraded, ProblemKind::InvalidValue, &long);
    assert!(conditions(&verdict, Acknowledgement::Live, None)[0].message.len() <= MESSAGE_BYTES + "…".len());
    let verdict = with(fine(Kind::Mapping), Effect::Degraded, ProblemKind::InvalidValue, "a\u{1b}[31m\nb");
    assert_eq!(summary(&verdict), "InvalidValue spec.prefix: a [31m b");
}
