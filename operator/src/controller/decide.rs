//! Whether an object's status has to be written, and what. Pure.

use super::StatusView;
use super::observed::{CONDITIONS, ObservedStatus, hash, hasher};
use crate::snapshot::Backing;
use crate::status::{self, Acknowledgement, Backends, Condition, Truth};
use ir::{Kind, ProblemKind, Verdict};
use k8s_openapi::jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// How long a Service has to be without endpoints until that is said: a rollout may leave a gap.
pub(super) const NO_ENDPOINTS_AFTER: Duration = Duration::from_secs(10);

/// What is known about an object at the moment of the decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The compiler's judgement.
    pub verdict: &'a Verdict,
    /// What Envoy has of it.
    pub acknowledged: Acknowledgement,
    /// The endpoints behind it.
    pub backing: Option<Backing>,
    /// Nobody waits any longer for what Envoy or a search may say: what is not known by now is written as not known.
    pub waited: bool,
    /// The field manager that writes.
    pub manager: &'a str,
    /// The time.
    pub now: (Instant, Timestamp),
}

/// Which parts of a status the API server keeps for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Conditions and upstream's own fields: this gateway's own definitions are installed.
    Full,
    /// Only upstream's own fields: the definitions are upstream's.
    Fields,
    /// None: the definition has no status.
    None,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// The status is right, or it is too early to say anything.
    Nothing,
    /// This is to be the status, as far as it is ours.
    Write(Wanted),
}

/// A status to write.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Wanted {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Timed>,
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// A condition with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Timed {
    #[serde(flatten)]
    pub condition: Condition,
    /// Of whole seconds, as metav1 times are.
    #[serde(rename = "lastTransitionTime", serialize_with = "rfc3339")]
    pub transition: Timestamp,
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl Wanted {
    /// Hash of everything but times: equal for equal statements.
    pub(super) fn statement(&self) -> u64 {
        let mut hasher = hasher();
        self.fields.hash(&mut hasher);
        for timed in &self.conditions {
            timed.condition.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Compares what is known with what the status says.
pub(super) fn decide<K>(view: &StatusView<K>, known: Known<'_>, shape: Shape) -> Decision {
    let verdict = known.verdict;
    // Of a newer version nothing is known yet; it is looked at again when something is.
    if verdict.generation < view.generation() || shape == Shape::None {
        return Decision::Nothing;
    }
    let observed = view.status();
    let is_held = verdict.problems.iter().any(|problem| problem.kind == ProblemKind::HeldBack);
    if is_held && !known.waited {
        return Decision::Nothing;
    }
    let mut acknowledged = known.acknowledged;
    let mut conditions = status::conditions(verdict, acknowledged, backends(observed, &known));
    if conditions.iter().any(|one| one.kind == "Programmed" && one.status == Truth::Unknown) {
        if was_programmed(observed, verdict.generation) {
            // It was in force, and nothing says that it is not: this process or a proxy has only just started, or what
            // the object leads to changed a moment ago.
            acknowledged = Acknowledgement::Live;
            conditions = status::conditions(verdict, acknowledged, backends(observed, &known));
        } else if !known.waited {
            return Decision::Nothing;
        }
    }
    let mut fields = fields(observed, verdict, acknowledged);
    if shape == Shape::Fields {
        // The text is the only place for what a condition would say.
        let failed = conditions.iter().find(|one| one.status == Truth::False);
        let text = ["reason", "errorReason"].into_iter().find(|name| fields.get(*name).is_some_and(|text| text != ""));
        if let (Some(failed), Some(name)) = (failed, text) {
            let text = fields.get(name).and_then(Value::as_str).unwrap_or_default();
            let text = format!("{}={} {}: {text}", failed.kind, failed.status, failed.reason);
            fields.insert(name.into(), Value::String(text));
        }
        conditions.clear();
    }
    let is_left = |name: &str| observed.condition(name).is_some() && !conditions.iter().any(|one| one.kind == name);
    let left_over =
        shape == Shape::Full && view.is_written_by(known.manager) && CONDITIONS.iter().any(|name| is_left(name));
    let same = conditions.iter().all(|one| is_same(observed, one))
        && fields.iter().all(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            observed.field(name) == Some(value).filter(|value| !value.is_empty()).map(hash)
        });
    if same && !left_over || conditions.is_empty() && fields.is_empty() {
        return Decision::Nothing;
    }
    let now = known.now.1.as_second();
    let timed = |condition: Condition| {
        let before = observed.condition(condition.kind).filter(|one| one.truth == Some(condition.status));
        let second = before.and_then(|one| one.transition).unwrap_or(now);
        Timed { condition, transition: Timestamp::from_second(second).unwrap_or(known.now.1) }
    };
    Decision::Write(Wanted { conditions: conditions.into_iter().map(timed).collect(), fields })
}

/// What is to be said about endpoints: that there are none only after a while, and meanwhile what was said before.
fn backends(observed: &ObservedStatus, known: &Known<'_>) -> Option<Backends> {
    let backing = known.backing?;
    if backing.ready {
        return Some(Backends::Ready);
    }
    let said = observed.condition("BackendsReady").and_then(|one| one.truth);
    let for_long = known.now.0.saturating_duration_since(backing.since) >= NO_ENDPOINTS_AFTER;
    match said {
        _ if for_long => Some(Backends::Missing),
        Some(Truth::True) => Some(Backends::Ready),
        Some(_) => Some(Backends::Missing),
        // It was like this when the process started, so no rollout's gap began before its eyes.
        None => backing.initial.then_some(Backends::Missing),
    }
}

fn was_programmed(observed: &ObservedStatus, generation: i64) -> bool {
    observed.condition("Programmed").is_some_and(|one| one.truth == Some(Truth::True) && one.generation == generation)
}

/// Upstream's own fields, where upstream has any.
fn fields(observed: &ObservedStatus, verdict: &Verdict, acknowledged: Acknowledgement) -> Map<String, Value> {
    let texts: &[&str] = match verdict.about.kind {
        Kind::Mapping => &["reason"],
        Kind::Host => &["errorReason"],
        _ => return Map::new(),
    };
    let mut fields = status::upstream_fields(verdict, acknowledged);
    for text in texts {
        // Somebody else, such as upstream itself, may own a text that does not hold any more: leaving it out of what is
        // applied would leave it where it is.
        if !fields.contains_key(*text) && observed.field(text).is_some() {
            fields.insert((*text).into(), Value::String(String::new()));
        }
    }
    fields
}

fn is_same(observed: &ObservedStatus, condition: &Condition) -> bool {
    observed.condition(condition.kind).is_some_and(|one| {
        one.truth == Some(condition.status)
            && one.generation == condition.observed_generation
            && one.reason == hash(condition.reason)
            && one.message == hash(&condition.message)
    })
}

#[cfg(test)]
mod tests;
