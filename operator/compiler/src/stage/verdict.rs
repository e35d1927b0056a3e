//! What is said to the owner of an object. Nothing else decides about status.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::Parsed;
use crate::stage::settings::{Setting, Slice};
use crate::stage::tls::{SdsKey, sds_problems};
use crate::stage::upstream::{Backend, Upstream};
use crate::stage::{attach, endpoint, error_response, rule};
use ir::{Effect, Kind, ObjectKey, Problem, ProblemKind, Verdict};
use std::sync::Arc;

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    attached: bool,
    backend: Option<Arc<str>>,
    certificate: bool,
}

/// Row of `verdicts`.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Verdict>> {
    let Some(parsed) = db.parsed.get(&db.graph, reads, key) else { return bearer(db, reads, key) };
    let source = db.source.get(&db.graph, reads, key)?;
    let mut found = Findings { problems: parsed.problems.clone(), ..Findings::default() };
    match &parsed.value {
        Some(Parsed::Mapping(_)) => mapping(db, reads, key, &mut found),
        Some(Parsed::TcpMapping(_)) => tcp_mapping(db, reads, key, &mut found),
        Some(Parsed::Host(_)) => host(db, reads, key, &mut found),
        Some(Parsed::Listener(listener)) => {
            found.problems.extend(attach::port_problem(db, reads, key, listener));
            self::listener(db, reads, key, &mut found);
        }
        Some(Parsed::TlsContext(_)) => context(db, reads, key, &mut found),
        Some(Parsed::Inert) if key.kind == Kind::Module => {
            found.attached = true;
            let declared = db.declared.get(&db.graph, reads, key);
            found.problems.extend(declared.into_iter().flat_map(|row| row.problems.iter().cloned()));
        }
        Some(Parsed::Module(module)) => {
            found.attached = true;
            found.problems.extend(error_response::module_problems(db, reads, key, module));
            if let Some(Setting::Module { problems, .. }) = db.settings.get(&db.graph, reads, &Slice::Module) {
                found.problems.extend(problems.iter().filter(|problem| problem.about == *key).cloned());
            }
        }
        _ => found.attached = true,
    }
    Some(Arc::new(verdict(key, source.object.generation, parsed.accepted, parsed.retained, found)))
}

fn verdict(key: &ObjectKey, generation: i64, accepted: bool, retained: bool, found: Findings) -> Verdict {
    let Findings { mut problems, attached, backend, certificate } = found;
    problems.sort_by(|left, right| {
        (std::cmp::Reverse(left.effect), &left.at, left).cmp(&(std::cmp::Reverse(right.effect), &right.at, right))
    });
    problems.dedup();
    let unresolved = |problem: &Problem| {
        matches!(
            problem.kind,
            ProblemKind::MissingReference | ProblemKind::ReferenceNotAllowed | ProblemKind::InvalidCertificate
        )
    };
    let reference = |problem: &Problem| unresolved(problem);
    Verdict {
        about: key.clone(),
        generation,
        accepted: accepted && !problems.iter().any(|problem| problem.effect == Effect::Refused && !reference(problem)),
        resolved: !problems.iter().any(unresolved),
        attached: attached && accepted | retained,
        retained,
        problems,
        backend,
        certificate,
    }
}

fn mapping(db: &Db, reads: &Reads, key: &ObjectKey, found: &mut Findings) {
    let Some(rule) = db.rules.get(&db.graph, reads, key) else { return };
    let mut problems = rule.problems.clone();
    problems.extend(about(db, reads, key));
    let refused = problems.iter().any(|problem| problem.effect == Effect::Refused);
    found.problems.extend(problems);
    if refused {
        return;
    }
    found.backend =
        rule.upstream.as_ref().and_then(|upstream| upstream.key.backend()).map(|backend| endpoint::name(&backend));
    found.problems.extend(rule.upstream.as_ref().and_then(|upstream| missing_backend(db, reads, key, upstream)));
    let placed = db.placements.get(&db.graph, reads, &rule.group).is_some_and(|classes| !classes.is_empty());
    // A shadow lives on the routes of the others in its group.
    let lives =
        !rule.mapping.shadow || db.groups.get(&db.graph, reads, &rule.group).is_some_and(|group| group.group.is_some());
    found.attached = placed && lives;
    if !placed {
        let detail = "no Host that a Listener takes accepts it: its hostname and labels have to fit one";
        found.problems.push(Problem::notice(key, "spec.hostname", ProblemKind::NoMatchingHost, detail));
    }
}

fn tcp_mapping(db: &Db, reads: &Reads, key: &ObjectKey, found: &mut Findings) {
    let Some(rule) = db.tcp_rules.get(&db.graph, reads, key) else { return };
    found.problems.extend(rule.problems.iter().cloned());
    found.problems.extend(about(db, reads, key));
    if found.problems.iter().any(|problem| problem.effect == Effect::Refused) {
        return;
    }
    found.backend = rule.upstream.key.backend().map(|backend| endpoint::name(&backend));
    found.problems.extend(missing_backend(db, reads, key, &rule.upstream));
    found.attached = db.tcp_groups.get(&db.graph, reads, &rule.group).is_some_and(|group| group.chain.is_some());
}

/// What groups say about an object.
fn about(db: &Db, reads: &Reads, key: &ObjectKey) -> Vec<Problem> {
    let found = db.group_problems.get(&db.graph, reads, key);
    found.into_iter().flatten().map(|(_, problem)| problem.clone()).collect()
}

fn missing_backend(db: &Db, reads: &Reads, key: &ObjectKey, upstream: &Arc<Upstream>) -> Option<Problem> {
    let Some(Backend::Missing) = db.backends.get(&db.graph, reads, upstream) else { return None };
    let detail = match &upstream.key.service {
        Some((namespace, name)) => format!("Service {namespace}/{name} does not exist"),
        None => format!("`{}` does not exist", upstream.key.host),
    };
    Some(Problem::notice(key, "spec.service", ProblemKind::MissingReference, detail))
}

fn host(db: &Db, reads: &Reads, key: &ObjectKey, found: &mut Findings) {
    let Some(host) = db.hosts.get(&db.graph, reads, key) else { return };
    found.problems.extend(host.problems.iter().cloned());
    found.problems.extend(attach::host_problems(db, reads, key, host));
    found.problems.extend(about(db, reads, key));
    let named = host.tls.iter().flat_map(|tls| {
        let certificate = tls.resolved.certificate.iter().map(|key| ("spec.tlsSecret", key));
        certificate.chain(tls.resolved.validation.iter().map(|key| ("spec.tls.ca_secret", key)))
    });
    let named: Vec<(&str, &SdsKey)> = named.collect();
    found.certificate = host.tls.as_ref().is_some_and(|tls| tls.resolved.certificate.is_some());
    found.problems.extend(sds_problems(db, reads, key, &named));
    found.attached = db.attachments.get(&db.graph, reads, key).is_some_and(|attached| !attached.chains.is_empty());
    if !found.attached {
        let detail = "no Listener takes it: see hostBinding of the Listeners";
        found.problems.push(Problem::notice(key, "", ProblemKind::NoMatchingListener, detail));
    }
}

fn listener(db: &Db, reads: &Reads, key: &ObjectKey, found: &mut Findings) {
    found.attached = db.listeners.get(&db.graph, reads, key).is_some();
    if !found.attached && !found.problems.iter().any(|problem| problem.effect == Effect::Refused) {
        let detail = "no Host is taken by this Listener and no TCPMapping names its port, so it is not opened";
        found.problems.push(Problem::notice(key, "spec.hostBinding", ProblemKind::NoMatchingHost, detail));
    }
    if let Some(default) = db.hosts.get(&db.graph, reads, &db.default_host_key())
        && default.default
        && default.tls.is_none()
        && found.attached
    {
        let detail = "there is no Host, so every host name is served over clear text";
        found.problems.push(Problem::notice(key, "", ProblemKind::DefaultHost, detail));
    }
}

fn context(db: &Db, reads: &Reads, key: &ObjectKey, found: &mut Findings) {
    let Some(context) = db.contexts.get(&db.graph, reads, key) else { return };
    let certificate = context.tls.certificate.iter().map(|key| ("spec.secret", key));
    let named: Vec<(&str, &SdsKey)> =
        certificate.chain(context.tls.validation.iter().map(|key| ("spec.ca_secret", key))).collect();
    found.attached = true;
    found.problems.extend(sds_problems(db, reads, key, &named));
}

/// Core objects get a verdict only when an annotation of theirs is wrong.
fn bearer(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Verdict>> {
    if !matches!(key.kind, Kind::Service | Kind::Ingress) {
        return None;
    }
    let declared = db.declared.get(&db.graph, reads, key)?;
    if declared.problems.is_empty() {
        return None;
    }
    let object = db.objects.get(&db.graph, reads, key)?;
    let found = Findings { problems: declared.problems.clone(), attached: true, ..Findings::default() };
    Some(Arc::new(verdict(key, object.generation, true, false, found)))
}

/// Keys whose verdict says something about a group's members.
pub fn is_probe(key: &ObjectKey) -> bool {
    rule::PROBES.contains(&&*key.name)
}
