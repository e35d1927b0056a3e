//! The judged form of an object: its own version if that is acceptable, else the last accepted one.

use crate::check::limits::Limits;
use crate::db::Db;
use crate::incr::Reads;
use crate::object::{Body, Object};
use crate::parse::{self, Labels, Parsed};
use crate::stage::source::in_scope;
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use std::sync::Arc;

/// Judgement of one object in scope.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRow {
    /// What takes part in compilation; `None` when neither the present nor an earlier version is acceptable.
    pub value: Option<Parsed>,
    /// Labels of the version in force.
    pub labels: Arc<Labels>,
    /// Seconds since 1970; conflicts go to the older object.
    pub created: i64,
    /// Whether the present version is in force.
    pub accepted: bool,
    /// Whether an earlier version is in force.
    pub retained: bool,
    /// Findings about the present version.
    pub problems: Vec<Problem>,
}

/// Row of `parsed`. No row for what is out of scope: it gets no verdict either.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ParsedRow>> {
    let source = db.source.get(&db.graph, reads, key)?;
    let object = &source.object;
    if !in_scope(db, object) {
        return None;
    }
    let limits = Limits { unchecked: db.options.unchecked };
    let (mut value, mut problems) = judge(object, &limits);
    problems.extend(source.problems.iter().cloned());
    if let Some(refusal) = db.refusals.get(&db.graph, reads, key)
        && refusal.fingerprint == object.fingerprint
    {
        let (kind, detail) = if refusal.held {
            (
                ProblemKind::HeldBack,
                format!("this version waits: Envoy refused a configuration it is part of: {}", refusal.text),
            )
        } else {
            (ProblemKind::RefusedByEnvoy, format!("Envoy refused it: {}", refusal.text))
        };
        problems.push(Problem::refused(key, "", kind, detail));
        value = None;
    }
    let accepted = value.is_some();
    let mut labels = object.labels.clone();
    let mut retained = false;
    if !accepted
        && let Some(earlier) = db.retained.get(&db.graph, reads, key)
        && earlier.fingerprint != object.fingerprint
        && in_scope(db, earlier)
    {
        value = judge(earlier, &limits).0;
        retained = value.is_some();
        if retained {
            labels = earlier.labels.clone();
            problems.push(Problem::notice(
                key,
                "",
                ProblemKind::Retained,
                "the last accepted version is still in force",
            ));
        }
    }
    Some(Arc::new(ParsedRow { value, labels, created: object.created, accepted, retained, problems }))
}

fn judge(object: &Object, limits: &Limits) -> (Option<Parsed>, Vec<Problem>) {
    let about = &object.key;
    if let Body::OtherVersion(version) = &object.body {
        let detail = format!("there is no {} of version `{version}`; write it as `v3alpha1`", about.kind.name());
        let effect = if guards(about.kind) { Problem::refused } else { Problem::notice };
        return (None, vec![effect(about, "apiVersion", ProblemKind::UnsupportedVersion, detail)]);
    }
    let Some(decoded) = object.spec() else { return (None, Vec::new()) };
    let mut problems = parse::unknown_fields(about, &decoded);
    let left_out = object.left_out.iter();
    problems.extend(left_out.map(|note| Problem::notice(about, &*note.at, ProblemKind::NoEffect, note.detail)));
    match &decoded.value {
        Ok(spec) => {
            let checked = parse::parse(about, spec, limits);
            let refused = checked.is_refused();
            problems.extend(checked.problems);
            (checked.value.filter(|_| !refused), problems)
        }
        Err(problem) => {
            problems.push(parse::decode_problem(about, problem));
            (None, problems)
        }
    }
}

/// Kinds whose absence would leave traffic unprotected.
pub fn guards(kind: Kind) -> bool {
    matches!(kind, Kind::Host | Kind::AuthService | Kind::TLSContext | Kind::Module | Kind::Listener)
}
