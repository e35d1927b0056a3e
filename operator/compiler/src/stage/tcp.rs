//! TCPMappings: groups of those that want the same connections, and the filter chains that come of them.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{Parsed, ParsedTcpMapping, ResolverKind};
use crate::stage::attach::ChainKey;
use crate::stage::group::{load_order, percentages};
use crate::stage::host::HostRow;
use crate::stage::rule;
use crate::stage::tls::ResolvedTls;
use crate::stage::upstream::{self, Upstream};
use ir::{
    Chain, ChainBody, ChainMatch, ClusterName, Effect, GlobShape, Kind, ObjectKey, Problem, ProblemKind, TcpProxy,
};
use std::sync::Arc;

/// Address and port that connections come in on.
pub type TcpBind = (Arc<str>, u16);

/// A TCPMapping with all defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRule {
    /// Which group it belongs to.
    pub group: Arc<str>,
    /// What the group listens on.
    pub bind: TcpBind,
    /// As written.
    pub parsed: Arc<ParsedTcpMapping>,
    /// Its cluster.
    pub upstream: Arc<Upstream>,
    /// Seconds since 1970.
    pub created: i64,
    /// Findings that need more than the object itself.
    pub problems: Vec<Problem>,
}

/// TCPMappings with one address, port and server name.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpGroupRow {
    /// What it listens on.
    pub bind: TcpBind,
    /// Its chain; `None` when it cannot have one.
    pub chain: Option<Arc<Chain>>,
    /// Clusters that it needs.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Findings about members, and about a Host whose connections it takes.
    pub problems: Vec<Problem>,
}

/// Row of `tcp_rules`.
pub fn rule(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<TcpRule>> {
    let row = db.parsed.get(&db.graph, reads, key)?;
    let Some(Parsed::TcpMapping(parsed)) = &row.value else { return None };
    let mut problems = Vec::new();
    let defaults = db.route_defaults(reads);
    let mut settings = rule::upstream(db, reads, key, &parsed.destination, &defaults, &mut problems);
    // A load balancer is no setting of TCPMappings, and the Module's is for requests.
    if settings.load_balancer.take().is_some() {
        settings.options.endpoints = settings.resolver == ResolverKind::Endpoint;
    }
    let address = parsed.address.clone().unwrap_or_else(|| db.options.bind_address.clone());
    let bind = (address, parsed.port);
    let host = parsed.host.as_deref();
    Some(Arc::new(TcpRule {
        group: format!("tcp {} {} {}", bind.0, bind.1, host.unwrap_or_default()).into(),
        bind,
        parsed: parsed.clone(),
        upstream: db.interned(settings),
        created: row.created,
        problems,
    }))
}

/// Row of `tcp_groups`.
pub fn group(db: &Db, reads: &Reads, id: &Arc<str>) -> Option<Arc<TcpGroupRow>> {
    let mut members: Vec<(&ObjectKey, &Arc<TcpRule>)> = Vec::new();
    for key in db.members.get(&db.graph, reads, id)? {
        if let Some(rule) = db.tcp_rules.get(&db.graph, reads, key)
            && !rule.problems.iter().any(|problem| problem.effect == Effect::Refused)
        {
            members.push((key, rule));
        }
    }
    members.sort_by_key(|(key, rule)| (rule.created, *key));
    let (first_key, first) = members.first().copied()?;
    let mut problems = Vec::new();
    members.retain(|(key, rule)| match disagreement(&rule.parsed, &first.parsed) {
        None => true,
        Some(field) => {
            let detail = format!("differs from that of {first_key}, which takes the same connections");
            problems.push(Problem::refused(key, format!("spec.{field}"), ProblemKind::Conflict, detail));
            false
        }
    });
    members.sort_by(|left, right| load_order(left.0, right.0));
    let keys: Vec<&ObjectKey> = members.iter().map(|(key, _)| *key).collect();
    let place = place(db, reads, &keys, first, &mut problems);
    let chain = place.and_then(|place| {
        let clusters = clusters(db, reads, &members, &mut problems);
        if clusters.is_empty() {
            let detail = "no TCPMapping of this port and host has a weight above 0";
            problems.push(Problem::degraded(first_key, "spec.weight", ProblemKind::WeightOutOfRange, detail));
            return None;
        }
        let body = TcpProxy {
            stat_prefix: place.stat_prefix,
            clusters,
            idle_timeout_ms: members.iter().rev().find_map(|(_, rule)| rule.parsed.idle_timeout_ms),
        };
        let name = first.parsed.host.as_deref().map_or_else(|| "tcp".to_owned(), |host| format!("tcp:{host}"));
        let body = ChainBody::Tcp(Arc::new(body));
        Some(Arc::new(Chain { name: name.into(), matches: place.matches, tls: place.tls, body }))
    });
    let upstreams =
        if chain.is_some() { members.iter().map(|(_, rule)| rule.upstream.clone()).collect() } else { Vec::new() };
    Some(Arc::new(TcpGroupRow { bind: first.bind.clone(), chain, upstreams, problems }))
}

/// Where a group's chain stands.
struct Place {
    stat_prefix: Arc<str>,
    matches: ChainMatch,
    tls: Option<ir::ServerTls>,
}

fn place(db: &Db, reads: &Reads, keys: &[&ObjectKey], first: &TcpRule, problems: &mut Vec<Problem>) -> Option<Place> {
    let mut refuse = |at: &str, kind: ProblemKind, detail: String| {
        problems.extend(keys.iter().map(|key| Problem::degraded(key, at, kind, detail.clone())));
    };
    let listener = listener_of(db, reads, &first.bind);
    let stat_prefix = match listener.as_ref().and_then(|key| db.bound.get(&db.graph, reads, key)) {
        Some(listener) => listener.stats_prefix.clone(),
        None => format!("ingress_{}_{}", if first.parsed.host.is_some() { "tls" } else { "tcp" }, first.bind.1).into(),
    };
    let Some(host) = &first.parsed.host else {
        let clear_text = listener.map(|key| (key, ChainKey::ClearText));
        if let Some(chain) = clear_text.filter(|chain| db.populated.get(&db.graph, reads, chain).is_some()) {
            let detail = format!("{} serves HTTP on this port; a `host` would tell the connections apart", chain.0);
            refuse("spec.port", ProblemKind::Conflict, detail);
            return None;
        }
        return Some(Place { stat_prefix, matches: ChainMatch::Rest, tls: None });
    };
    let Some(tls) = termination(db, reads, host) else {
        let detail = format!("no Host and no TLSContext terminates TLS for `{host}`, so nothing is served");
        refuse("spec.host", ProblemKind::MissingReference, detail);
        return None;
    };
    let Some(tls) = tls else {
        let detail = format!("the TLS settings for `{host}` cannot be honoured, so nothing is served");
        refuse("spec.host", ProblemKind::MissingReference, detail);
        return None;
    };
    let server_name: Arc<str> = host.to_ascii_lowercase().into();
    if let Some(key) = listener
        && let Some(owner) = db.chain_owners.get(&db.graph, reads, &(key.clone(), ChainKey::Tls(server_name.clone())))
    {
        // The older object has the name; within one age the TCPMapping, as upstream has it.
        if db.hosts.get(&db.graph, reads, owner).is_some_and(|row| row.created < first.created) {
            let detail = format!("{owner} already terminates TLS for `{host}` on {key}");
            refuse("spec.host", ProblemKind::Conflict, detail);
            return None;
        }
        let taker = keys.first().map(|key| key.to_string()).unwrap_or_default();
        let detail = format!("{taker} takes the TLS connections for `{host}` on {key}");
        problems.push(Problem::degraded(owner, "spec.hostname", ProblemKind::Conflict, detail));
    }
    let names = if *server_name == *"*" { Vec::new() } else { vec![server_name] };
    Some(Place { stat_prefix, matches: ChainMatch::Tls(names), tls: Some(tls.server()) })
}

/// The Listener of an address and port; `None` when one is made for it.
pub fn listener_of(db: &Db, reads: &Reads, bind: &TcpBind) -> Option<ObjectKey> {
    if bind.0 != db.options.bind_address {
        return None;
    }
    let claims = db.ports.get(&db.graph, reads, &(bind.1, false))?;
    claims.iter().map(|(_, key)| key).find(|key| db.bound.get(&db.graph, reads, key).is_some()).cloned()
}

/// Key of the Listener that is made for an address and port which no Listener has. No object has an empty namespace.
pub fn made_listener(bind: &TcpBind) -> ObjectKey {
    ObjectKey::new(Kind::Listener, "", format!("listener-{}-{}", bind.0, bind.1))
}

/// Name of an Envoy listener: upstream's where no Listener stands behind it.
pub fn listener_name(key: &ObjectKey) -> Arc<str> {
    if key.namespace.is_empty() { key.name.clone() } else { key.path().into() }
}

/// Settings for a server name: those of the first Host, in the order of host names, that terminates TLS and fits; else
/// those of the oldest TLSContext that names it among its `hosts`. `Some(None)`: there are some, and they are void.
fn termination(db: &Db, reads: &Reads, host: &str) -> Option<Option<ResolvedTls>> {
    let hosts = db.by_kind.get(&db.graph, reads, &Kind::Host).into_iter().flatten().cloned();
    let rows = hosts.chain([db.default_host_key()]).filter_map(|key| db.hosts.get(&db.graph, reads, &key).cloned());
    let mut rows: Vec<Arc<HostRow>> =
        rows.filter(|row| row.tls.is_some() && ir::globs_meet(&row.hostname, host)).collect();
    rows.sort_by(|left, right| (&left.hostname, &left.load_key).cmp(&(&right.hostname, &right.load_key)));
    if let Some(tls) = rows.first().and_then(|row| row.tls.as_ref()) {
        return Some((!tls.closed).then(|| tls.resolved.clone()));
    }
    let mut contexts = Vec::new();
    for key in db.by_kind.get(&db.graph, reads, &Kind::TLSContext).into_iter().flatten() {
        if let Some(row) = db.contexts.get(&db.graph, reads, key)
            && row.parsed.hosts.iter().any(|name| **name == *host)
        {
            let created = db.parsed.get(&db.graph, reads, key).map_or(0, |row| row.created);
            contexts.push(((created, key.clone()), row));
        }
    }
    contexts.sort_by(|left, right| left.0.cmp(&right.0));
    let (_, row) = contexts.first()?;
    Some((row.tls.certificate.is_some() && !row.tls.settings.closed).then(|| row.tls.clone()))
}

/// Clusters with their weights. Envoy takes no weight of 0, so those are left out.
fn clusters(
    db: &Db,
    reads: &Reads,
    members: &[(&ObjectKey, &Arc<TcpRule>)],
    problems: &mut Vec<Problem>,
) -> Vec<(ClusterName, u32)> {
    let weights: Vec<(&ObjectKey, Option<u32>)> =
        members.iter().map(|(key, rule)| (*key, rule.parsed.destination.weight)).collect();
    let mut before = 0;
    let mut found: Vec<(ClusterName, u32)> = Vec::new();
    for (index, cumulative) in percentages(&weights, problems) {
        let weight = cumulative.saturating_sub(before);
        before = cumulative.max(before);
        let Some((_, rule)) = members.get(index).filter(|_| weight > 0) else { continue };
        let name = upstream::cluster_name(db, reads, &rule.upstream);
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum += weight,
            None => found.push((name, weight)),
        }
    }
    found
}

/// The first setting in which a newcomer differs from the group's first member; what it leaves out fits any.
fn disagreement(newcomer: &ParsedTcpMapping, first: &ParsedTcpMapping) -> Option<&'static str> {
    fn differs<T: PartialEq>(own: &Option<T>, first: &Option<T>) -> bool {
        own.is_some() && own != first
    }
    let (own, other) = (&newcomer.destination, &first.destination);
    let fields = [
        ("circuit_breakers", differs(&own.circuit_breakers, &other.circuit_breakers)),
        ("enable_ipv4", differs(&own.enable_ipv4, &other.enable_ipv4)),
        ("enable_ipv6", differs(&own.enable_ipv6, &other.enable_ipv6)),
        ("idle_timeout_ms", differs(&newcomer.idle_timeout_ms, &first.idle_timeout_ms)),
        ("tls", differs(&own.tls, &other.tls)),
    ];
    fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
}

/// Whether Envoy can tell connections apart by this name: exact, `*.suffix`, or any.
pub fn is_server_name(host: &str) -> bool {
    match ir::glob_shape(host) {
        GlobShape::Any | GlobShape::Exact => true,
        GlobShape::Suffix => host.starts_with("*."),
        GlobShape::Prefix | GlobShape::Both => false,
    }
}
