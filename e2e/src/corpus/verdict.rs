//! What a comparison means.

use super::case::Case;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a run of a case brought.
#[derive(Debug, Default)]
pub struct Observed {
    /// What `nuncio check --output status` printed.
    pub status: Value,
    /// Why the case could not be run to its end.
    pub failure: Option<String>,
    /// What Envoy said when it refused the configuration.
    pub envoy_refuses: Option<String>,
    /// How many answers differ from the recorded ones.
    pub answers_differ: Option<u64>,
    /// They differ only where chance decides, and the shares are right.
    pub distribution: bool,
    /// The first difference, for people.
    pub first_difference: Option<String>,
}

/// The outcome of a case.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The case's name.
    pub name: String,
    /// Whether it came out as recorded.
    pub equal: bool,
    /// Chance picks its answers, so shares were compared. They may be alike by chance, too.
    pub random: bool,
    /// Features that the case uses and that are not built, as the objects' own statuses name them.
    pub missing: BTreeSet<String>,
    /// What is different, for people; or a remark about how it is equal.
    pub detail: String,
}

/// A finding in a status.
struct Finding<'a> {
    kind: &'a str,
    key: (String, String),
    field: &'a str,
    reason: &'a str,
    effect: &'a str,
    message: &'a str,
}

/// Judges what was observed.
pub fn judge(case: &Case, observed: Observed) -> Judged {
    let findings = findings(&observed.status);
    let mut missing: BTreeSet<String> = findings.iter().filter_map(feature).collect();
    missing.extend(case.foreign.iter().map(|kind| (*kind).to_owned()));
    let random = observed.distribution;
    let (equal, detail) = if let Some(failure) = observed.failure {
        (false, failure)
    } else if let Some(refusal) = observed.envoy_refuses {
        (false, format!("Envoy refuses the configuration: {refusal}"))
    } else if let Some(differ) = observed.answers_differ {
        match (differ, observed.distribution) {
            (0, _) => (true, String::new()),
            (_, true) => (true, "the shares of random answers are equal".to_owned()),
            (differ, false) => {
                let first = observed.first_difference.unwrap_or_default();
                (false, format!("{differ} answers differ; {first}"))
            }
        }
    } else {
        // Without answers there is nothing that would show a missing feature.
        match unexpected(case, &findings) {
            Some(detail) => (false, detail),
            None => (missing.is_empty(), String::new()),
        }
    };
    Judged { name: case.name.clone(), equal, random, missing, detail }
}

fn findings(status: &Value) -> Vec<Finding<'_>> {
    let mut all = Vec::new();
    for object in status.get("objects").and_then(Value::as_array).into_iter().flatten() {
        let text = |value: &'_ Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (text(object, "name"), text(object, "namespace"));
        for problem in object.get("problems").and_then(Value::as_array).into_iter().flatten() {
            let field = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
            all.push(Finding {
                kind: object.get("kind").and_then(Value::as_str).unwrap_or_default(),
                key: key.clone(),
                field: field("field"),
                reason: field("reason"),
                effect: field("effect"),
                message: field("message"),
            });
        }
    }
    all
}

/// The feature that a finding says is not there yet. What upstream does not support either is none.
fn feature(finding: &Finding<'_>) -> Option<String> {
    if finding.reason == "UnsupportedVersion" {
        return Some(format!("older versions of {}", finding.kind));
    }
    // Without a field it repeats what another object's finding says.
    if finding.reason != "NotSupported" || finding.field.is_empty() || !finding.message.contains("not supported yet") {
        return None;
    }
    let field = finding.field.strip_prefix("spec.config.").or_else(|| finding.field.strip_prefix("spec."));
    Some(match field {
        Some("protocol") => "TCPMapping".to_owned(),
        Some("resolver") => "ConsulResolver".to_owned(),
        Some(field) => format!("{} {field}", finding.kind),
        None => finding.kind.to_owned(),
    })
}

/// How what is said about the objects differs from what upstream said.
fn unexpected(case: &Case, findings: &[Finding<'_>]) -> Option<String> {
    // That there is no Host is said about every Listener and is no complaint.
    let telling: Vec<_> = findings.iter().filter(|finding| finding.reason != "DefaultHost").collect();
    // Of two objects in conflict upstream complains about the first, and here it is the second that is refused.
    let is_about = |finding: &Finding<'_>, (name, namespace): &(String, String)| {
        finding.key == (name.clone(), namespace.clone()) || finding.message.contains(&format!("{namespace}/{name}"))
    };
    for object in &case.complaints.objects {
        if !telling.iter().any(|finding| is_about(finding, object)) {
            return Some(format!("upstream complains about {}.{}, and nothing is said here", object.0, object.1));
        }
    }
    if case.complaints.general && telling.is_empty() {
        return Some("upstream complains, and nothing is said here".to_owned());
    }
    let refused = telling.iter().find(|finding| {
        finding.effect == "Refused"
            && feature(finding).is_none()
            && !case.complaints.objects.iter().any(|object| is_about(finding, object))
    });
    refused.filter(|_| !case.complaints.general).map(|finding| {
        let (name, namespace) = &finding.key;
        format!("{} {namespace}/{name} is refused, and upstream takes it: {}", finding.kind, finding.message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::case::Complaints;
    use serde_json::json;

    fn case(complaints: Complaints, has_answers: bool) -> Case {
        Case {
            name: "unit/x".into(),
            folder: "x".into(),
            environment: Vec::new(),
            assumed: Vec::new(),
            has_answers,
            complaints,
            foreign: BTreeSet::new(),
        }
    }

    fn status(problems: &Value) -> Value {
        json!({"objects": [{"kind": "Mapping", "name": "m", "namespace": "d", "problems": problems}]})
    }

    #[test]
    fn objects_are_judged_as_upstream_judged_them() {
        let check = |complaints: &Complaints, problems: Value, equal: bool| {
            let observed = Observed { status: status(&problems), ..Observed::default() };
            let judged = judge(&case(complaints.clone(), false), observed);
            assert_eq!(judged.equal, equal, "{complaints:?} {problems} {judged:?}");
        };
        let refused =
            json!([{"effect": "Refused", "reason": "InvalidValue", "field": "spec.prefix", "message": "bad"}]);
        let default = json!([{"effect": "Notice", "reason": "DefaultHost", "field": "", "message": "no Host"}]);
        let missing = json!([{"effect": "Notice", "reason": "NotSupported", "field": "spec.shadow",
            "message": "`shadow` is not supported yet"}]);
        let none = Complaints::default();
        let about_it = Complaints { objects: [("m".to_owned(), "d".to_owned())].into(), general: false };
        let general = Complaints { general: true, ..Complaints::default() };
        let conflict = json!([{"effect": "Refused", "reason": "Conflict", "field": "", "message": "d/other has it"}]);
        let about_other = Complaints { objects: [("other".to_owned(), "d".to_owned())].into(), general: false };
        check(&about_other, conflict.clone(), true);
        check(&none, conflict, false);
        check(&none, json!([]), true);
        check(&none, refused.clone(), false);
        check(&none, default.clone(), true);
        check(&none, missing.clone(), false);
        check(&about_it, json!([]), false);
        check(&about_it, refused.clone(), true);
        check(&general, default, false);
        check(&general, refused, true);
        let judged = judge(&case(none, false), Observed { status: status(&missing), ..Observed::default() });
        assert_eq!(judged.missing, ["Mapping shadow".to_owned()].into());
    }

    #[test]
    fn answers_decide_where_there_are_some() {
        let check = |differ: u64, distribution: bool, equal: bool| {
            let observed = Observed { answers_differ: Some(differ), distribution, ..Observed::default() };
            assert_eq!(judge(&case(Complaints::default(), true), observed).equal, equal);
        };
        check(0, false, true);
        check(3, true, true);
        check(3, false, false);
        let failed = Observed { failure: Some("no".into()), answers_differ: Some(0), ..Observed::default() };
        assert!(!judge(&case(Complaints::default(), true), failed).equal);
    }
}
