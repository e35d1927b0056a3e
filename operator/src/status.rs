//! From the compiler's verdict and Envoy's acknowledgements to what is written on an object. Pure.
//!
//! | condition | True | otherwise |
//! | --- | --- | --- |
//! | `Accepted` | parsed and valid | the reason; an earlier version may still serve |
//! | `ResolvedRefs` | all it names exists and may be used | which not |
//! | `Programmed` | acknowledged by all connected Envoys | `Refused`, `NotAccepted`, `NotReferenced`…, `Pending`, `NoProxy` |
//! | `Ready` | the three above | the first of their reasons |
//! | `BackendsReady` | some endpoint can take traffic | `NoEndpoints`; absent when endpoints are not known |

use ir::{Effect, Kind, Problem, ProblemKind, Verdict};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// Longest message of a condition.
const MESSAGE_BYTES: usize = 2048;

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A metav1 Condition without its transition time, which only the writer knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its value.
    pub status: Truth,
    /// Stable CamelCase reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Generation that was judged.
    #[serde(rename = "observedGeneration")]
    pub observed_generation: i64,
}

/// What Envoy has of an object's present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledgement {
    /// No Envoy is connected.
    NoProxy,
    /// Not every connected Envoy has acknowledged it yet.
    Pending,
    /// All connected Envoys have it.
    Live,
}

/// Whether anything can take an object's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backends {
    /// Some endpoint can.
    Ready,
    /// None can.
    Missing,
}

/// One word for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// In force, as far as is known.
    Ready,
    /// Accepted, and on its way.
    Pending,
    /// Accepted, and nothing comes of it.
    Unused,
    /// In force with something left out.
    Degraded,
    /// Not in force.
    Refused,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The conditions of an object, in the order of the table above.
pub fn conditions(verdict: &Verdict, acknowledged: Acknowledgement, backends: Option<Backends>) -> Vec<Condition> {
    let condition = |kind, status, reason, message: String| Condition {
        kind,
        status,
        reason,
        message: bounded(message),
        observed_generation: verdict.generation,
    };
    let accepted = {
        let (status, reason, message) = accepted(verdict);
        condition("Accepted", status, reason, message)
    };
    let resolved = match verdict.problems.iter().find(|problem| is_reference(problem)) {
        Some(problem) if !verdict.resolved => {
            condition("ResolvedRefs", Truth::False, problem.kind.reason(), problem.to_string())
        }
        None if !verdict.resolved => {
            condition("ResolvedRefs", Truth::False, ProblemKind::MissingReference.reason(), String::new())
        }
        _ => condition("ResolvedRefs", Truth::True, "ResolvedRefs", String::new()),
    };
    let programmed = {
        let (status, reason, message) = programmed(verdict, acknowledged);
        condition("Programmed", status, reason, message)
    };
    let ready = match [&accepted, &resolved, &programmed].into_iter().find(|one| one.status != Truth::True) {
        Some(first) => condition("Ready", first.status, first.reason, first.message.clone()),
        None => condition("Ready", Truth::True, "Ready", String::new()),
    };
    let backends = backends.map(|backends| match backends {
        Backends::Ready => condition("BackendsReady", Truth::True, "BackendsReady", String::new()),
        Backends::Missing => {
            condition("BackendsReady", Truth::False, "NoEndpoints", "no endpoint can take traffic".into())
        }
    });
    [accepted, resolved, programmed, ready].into_iter().chain(backends).collect()
}

fn accepted(verdict: &Verdict) -> (Truth, &'static str, String) {
    let serious = verdict.leading().map(|problem| problem.kind.reason());
    if verdict.accepted {
        return (Truth::True, serious.unwrap_or("Accepted"), texts(verdict, Effect::Notice));
    }
    let mut message = texts(verdict, Effect::Degraded);
    if verdict.retained {
        message.push_str(if message.is_empty() { "" } else { "; " });
        message.push_str("the last accepted version is still in force");
    }
    (Truth::False, serious.unwrap_or(ProblemKind::Internal.reason()), message)
}

fn programmed(verdict: &Verdict, acknowledged: Acknowledgement) -> (Truth, &'static str, String) {
    let find = |kinds: &[ProblemKind]| verdict.problems.iter().find(|problem| kinds.contains(&problem.kind));
    if let Some(problem) = find(&[ProblemKind::RefusedByEnvoy]) {
        return (Truth::False, "Refused", problem.detail.clone());
    }
    if let Some(problem) = find(&[ProblemKind::HeldBack]) {
        return (Truth::False, ProblemKind::HeldBack.reason(), problem.detail.clone());
    }
    if !verdict.accepted {
        let message = if verdict.retained { "the last accepted version serves" } else { "" };
        return (Truth::False, "NotAccepted", message.into());
    }
    if !verdict.attached {
        let kinds = [
            ProblemKind::NoMatchingHost,
            ProblemKind::NoMatchingListener,
            ProblemKind::Conflict,
            ProblemKind::NotReferenced,
        ];
        return match find(&kinds) {
            Some(problem) => (Truth::False, problem.kind.reason(), problem.detail.clone()),
            None => (Truth::False, ProblemKind::NotReferenced.reason(), "nothing uses it".into()),
        };
    }
    match acknowledged {
        Acknowledgement::NoProxy => (Truth::Unknown, "NoProxy", "no Envoy is connected".into()),
        Acknowledgement::Pending => (Truth::Unknown, "Pending", "not every Envoy has acknowledged it yet".into()),
        Acknowledgement::Live => (Truth::True, "Programmed", String::new()),
    }
}

/// Upstream's own status fields, for the kinds that have any.
pub fn upstream_fields(verdict: &Verdict, acknowledged: Acknowledgement) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: String| _ = fields.insert(name.into(), Value::String(value));
    let works = verdict.accepted && verdict.attached;
    let why = || texts(verdict, Effect::Notice);
    match verdict.about.kind {
        Kind::Mapping | Kind::TCPMapping if works => set("state", "Running".into()),
        Kind::Mapping | Kind::TCPMapping => {
            set("state", "Inactive".into());
            set("reason", bounded(why()));
        }
        Kind::Host => {
            set("tlsCertificateSource", if verdict.certificate { "Other" } else { "None" }.into());
            if !verdict.accepted || !verdict.resolved {
                set("state", "Error".into());
                set("errorReason", bounded(why()));
            } else if works && acknowledged != Acknowledgement::Pending {
                set("state", "Ready".into());
            } else {
                set("state", "Pending".into());
            }
        }
        _ => {}
    }
    fields
}

/// The state of an object in one word.
pub fn state(verdict: &Verdict, acknowledged: Acknowledgement) -> State {
    if !verdict.accepted {
        State::Refused
    } else if !verdict.resolved || verdict.leading().is_some() {
        State::Degraded
    } else if !verdict.attached {
        State::Unused
    } else if acknowledged == Acknowledgement::Pending {
        State::Pending
    } else {
        State::Ready
    }
}

/// Reason, field and text of what is wrong, for one line; empty when nothing is.
pub fn summary(verdict: &Verdict) -> String {
    let Some(problem) = verdict.leading().or_else(|| verdict.problems.first()) else { return String::new() };
    let more = match verdict.problems.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let kept = if verdict.retained { "; the last accepted version serves" } else { "" };
    let text = format!("{} {problem}", problem.kind);
    format!("{}{more}{kept}", one_line(&text))
}

fn is_reference(problem: &Problem) -> bool {
    matches!(
        problem.kind,
        ProblemKind::MissingReference | ProblemKind::ReferenceNotAllowed | ProblemKind::InvalidCertificate
    )
}

fn texts(verdict: &Verdict, least: Effect) -> String {
    let texts = verdict.problems.iter().filter(|problem| problem.effect >= least).map(ToString::to_string);
    texts.collect::<Vec<_>>().join("; ")
}

fn bounded(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Texts may quote what users and Envoy wrote; a terminal gets neither line ends nor control sequences from them.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    line.trim_end().to_string()
}

#[cfg(test)]
pub(crate) mod tests;
