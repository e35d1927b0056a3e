//! Which Listener takes which Host, and what comes of it: chains, virtual hosts, route tables.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{InsecureAction, NamespaceFrom, Parsed, ParsedListener, SecurityModel};
use crate::stage::host::HostRow;
use crate::stage::tls::SdsKey;
use ir::{
    Chain, ChainBody, ChainMatch, GlobShape, Kind, ListId, ObjectKey, Problem, ProblemKind, ProtoVariant, RouteTable,
    VirtualHost, VirtualHostBody,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A chain of a Listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainKey {
    /// Everything that is no TLS, or TLS that no other chain takes.
    ClearText,
    /// TLS with this server name; `*` for any.
    Tls(Arc<str>),
}

/// A chain and its Listener.
pub type ChainId = (ObjectKey, ChainKey);

/// A virtual host's place: chain and domain.
pub type DomainKey = (ObjectKey, ChainKey, Arc<str>);

/// A Host's claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// Seconds since 1970: the older claim wins.
    pub created: i64,
    /// The domain.
    pub hostname: Arc<str>,
    /// The chains.
    pub chains: Vec<ChainId>,
    /// Its clients are verified.
    pub guarded: bool,
}

/// Row of `attachments`: the chains in which a Host takes part.
pub fn attachments(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Attached>> {
    let host = db.hosts.get(&db.graph, reads, key)?;
    let mut chains = Vec::new();
    for listener_key in db.by_kind.get(&db.graph, reads, &Kind::Listener).into_iter().flatten() {
        let Some(listener) = db.bound.get(&db.graph, reads, listener_key) else { continue };
        if !listener.http || !binds(db, listener_key, listener, host) {
            continue;
        }
        if listener.tls && host.tls.is_some() {
            chains.push((listener_key.clone(), ChainKey::Tls(server_name(&host.sni))));
        }
        // QUIC is never without TLS.
        let rejects = listener.security == SecurityModel::Insecure && host.insecure == InsecureAction::Reject;
        if !listener.udp && !rejects {
            chains.push((listener_key.clone(), ChainKey::ClearText));
        }
    }
    let guarded = guard_of(host).is_some();
    Some(Arc::new(Attached { created: host.created, hostname: host.hostname.clone(), chains, guarded }))
}

/// Envoy matches server names exactly or by `*.suffix`; any other glob takes all names and leaves the rest to the routes.
fn server_name(sni: &Arc<str>) -> Arc<str> {
    match ir::glob_shape(sni) {
        GlobShape::Exact => sni.to_ascii_lowercase().into(),
        GlobShape::Suffix if sni.starts_with("*.") => sni.to_ascii_lowercase().into(),
        _ => "*".into(),
    }
}

fn binds(db: &Db, listener_key: &ObjectKey, listener: &ParsedListener, host: &HostRow) -> bool {
    let near = match listener.from {
        NamespaceFrom::All => true,
        NamespaceFrom::Own => host.key.namespace == listener_key.namespace,
    };
    near && listener.selector.as_ref().is_none_or(|selector| db.selects(selector, &host.labels))
}

/// Row of `bound`: a Listener that owns its port. Between two the older wins.
pub fn bound(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ParsedListener>> {
    let row = db.parsed.get(&db.graph, reads, key)?;
    let Some(Parsed::Listener(listener)) = &row.value else { return None };
    (port_winner(db, reads, listener)? == *key).then(|| listener.clone())
}

fn port_winner(db: &Db, reads: &Reads, listener: &ParsedListener) -> Option<ObjectKey> {
    let claims = db.ports.get(&db.graph, reads, &(listener.port, listener.udp))?;
    claims.iter().next().map(|(_, key)| key.clone())
}

/// Findings about a Listener's port.
pub fn port_problem(db: &Db, reads: &Reads, key: &ObjectKey, listener: &ParsedListener) -> Option<Problem> {
    let winner = port_winner(db, reads, listener).filter(|winner| winner != key)?;
    let detail = format!("port {} already belongs to {winner}", listener.port);
    Some(Problem::refused(key, "spec.port", ProblemKind::Conflict, detail))
}

/// Row of `domains`: the Host that owns a domain in a chain. Between several the older wins.
pub fn domain(db: &Db, reads: &Reads, key: &DomainKey) -> Option<ObjectKey> {
    let (listener, chain, hostname) = key;
    let claims = db.domain_claims.get(&db.graph, reads, &(listener.clone(), chain.clone(), hostname.clone()))?;
    let owner = db.chain_owners.get(&db.graph, reads, &(listener.clone(), chain.clone()));
    claims.iter().map(|(_, host)| host).find(|host| shares_chain(db, reads, chain, owner, host)).cloned()
}

/// Row of `chain_owners`: the Host whose TLS settings a chain has.
pub fn chain_owner(db: &Db, reads: &Reads, id: &ChainId) -> Option<ObjectKey> {
    match &id.1 {
        ChainKey::ClearText => None,
        ChainKey::Tls(_) => db.chain_claims.get(&db.graph, reads, id)?.iter().next().map(|(_, host)| host.clone()),
    }
}

/// Hosts with the same server name share a chain only if nothing in their TLS settings differs.
fn shares_chain(db: &Db, reads: &Reads, chain: &ChainKey, owner: Option<&ObjectKey>, host: &ObjectKey) -> bool {
    let (ChainKey::Tls(_), Some(owner)) = (chain, owner) else { return true };
    if owner == host {
        return true;
    }
    let tls = |key: &ObjectKey| db.hosts.get(&db.graph, reads, key).and_then(|row| row.tls.clone());
    tls(owner) == tls(host)
}

/// What verifies the clients of a Host: the name of its authorities, or nothing that any client could show. `None`: they
/// need no certificate.
fn guard_of(host: &HostRow) -> Option<Arc<str>> {
    let tls = host.tls.as_ref()?;
    if tls.closed {
        return Some("".into());
    }
    let required = tls.resolved.settings.cert_required == Some(true);
    required.then(|| tls.resolved.validation.as_ref().map(SdsKey::name).unwrap_or_default())
}

/// Row of `guards`: what verifies the clients of a domain over TLS.
pub fn guard(db: &Db, reads: &Reads, key: &DomainKey) -> Option<Arc<str>> {
    let owner = db.domains.get(&db.graph, reads, key)?;
    guard_of(db.hosts.get(&db.graph, reads, owner)?)
}

/// Findings about a Host's place in its chains.
pub fn host_problems(db: &Db, reads: &Reads, key: &ObjectKey, host: &HostRow) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (listener, chain) in
        db.attachments.get(&db.graph, reads, key).into_iter().flat_map(|attached| attached.chains.iter())
    {
        let owner = db.chain_owners.get(&db.graph, reads, &(listener.clone(), chain.clone()));
        if !shares_chain(db, reads, chain, owner, key)
            && let Some(owner) = owner
        {
            let detail = format!("{owner} already terminates TLS for `{}` on {listener} with other settings", host.sni);
            problems.push(Problem::degraded(key, "spec.hostname", ProblemKind::Conflict, detail));
            continue;
        }
        let domain = (listener.clone(), chain.clone(), host.hostname.clone());
        if let Some(owner) = db.domains.get(&db.graph, reads, &domain)
            && owner != key
        {
            let detail = format!("{owner} already serves `{}` on {listener}", host.hostname);
            problems.push(Problem::degraded(key, "spec.hostname", ProblemKind::Conflict, detail));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// Row of `bodies`: what the virtual host of a domain answers.
pub fn body(db: &Db, reads: &Reads, key: &DomainKey) -> Option<VirtualHostBody> {
    let host_key = db.domains.get(&db.graph, reads, key)?;
    let host = db.hosts.get(&db.graph, reads, host_key)?;
    let listener = db.bound.get(&db.graph, reads, &key.0)?;
    let class = db.classes_of.get(&db.graph, reads, host_key)?.class.text.clone();
    let list = |variant| ListId { class: class.clone(), variant };
    if matches!(key.1, ChainKey::Tls(_)) && host.tls.as_ref().is_none_or(|tls| tls.closed) {
        return Some(VirtualHostBody::Closed { status: 503 });
    }
    // While no Mapping asks for the header, all variants are the same list.
    let asks = db.asks_proto.get(&db.graph, reads, &()).is_some();
    let (secure, insecure) =
        if asks { (ProtoVariant::Secure, ProtoVariant::Insecure) } else { (ProtoVariant::AsIs, ProtoVariant::AsIs) };
    let every_path = db.options.redirect_every_path;
    let insecure_body = |variant: ProtoVariant| match host.insecure {
        InsecureAction::Route => VirtualHostBody::Routes(list(variant)),
        InsecureAction::Redirect if every_path => VirtualHostBody::RedirectToHttps { acme: list(variant) },
        InsecureAction::Redirect => VirtualHostBody::Routes(list(variant.redirecting())),
        InsecureAction::Reject => VirtualHostBody::AcmeOnly(list(variant)),
    };
    Some(match listener.security {
        SecurityModel::Secure => VirtualHostBody::Routes(list(ProtoVariant::AsIs)),
        SecurityModel::Insecure => insecure_body(ProtoVariant::AsIs),
        SecurityModel::Xfp if listener.l7_depth == 0 && db.http_defaults(reads).use_remote_address => match &key.1 {
            ChainKey::Tls(_) => VirtualHostBody::Routes(list(secure)),
            ChainKey::ClearText => insecure_body(insecure),
        },
        SecurityModel::Xfp => match insecure_body(insecure) {
            VirtualHostBody::Routes(found) if !asks && !found.variant.redirects() => VirtualHostBody::Routes(found),
            other => VirtualHostBody::ByForwardedProto { secure: list(secure), insecure: Box::new(other) },
        },
    })
}

/// Name of a chain: stable over everything but its owner.
pub fn chain_name(db: &Db, reads: &Reads, id: &ChainId) -> Option<Arc<str>> {
    match &id.1 {
        ChainKey::ClearText => Some("cleartext".into()),
        ChainKey::Tls(_) => db.chain_owners.get(&db.graph, reads, id).map(|owner| owner.path().into()),
    }
}

/// Name of the route table of a chain.
pub fn table_name(listener: &ObjectKey, chain: &str) -> Arc<str> {
    format!("{}/{}/{chain}", listener.namespace, listener.name).into()
}

/// Row of `chains`.
pub fn chain(db: &Db, reads: &Reads, id: &ChainId) -> Option<Arc<Chain>> {
    db.populated.get(&db.graph, reads, id)?;
    let name = chain_name(db, reads, id)?;
    let (matches, tls) = match &id.1 {
        ChainKey::ClearText => (ChainMatch::Rest, None),
        ChainKey::Tls(server_name) => {
            let owner = db.chain_owners.get(&db.graph, reads, id)?;
            let host = db.hosts.get(&db.graph, reads, owner)?;
            let names = if **server_name == *"*" { Vec::new() } else { vec![server_name.clone()] };
            (ChainMatch::Tls(names), Some(host.tls.as_ref()?.resolved.server()))
        }
    };
    Some(Arc::new(Chain { body: ChainBody::Http { table: table_name(&id.0, &name) }, name, matches, tls }))
}

/// Row of `tables`: hosts with equal answers share a virtual host.
pub fn table(db: &Db, reads: &Reads, id: &ChainId) -> Option<Arc<RouteTable>> {
    let name = chain_name(db, reads, id)?;
    let mut by_body: BTreeMap<VirtualHostBody, Vec<Arc<str>>> = BTreeMap::new();
    for (body, domain) in db.chain_domains.get(&db.graph, reads, id)? {
        by_body.entry(body.clone()).or_default().push(domain.clone());
    }
    let mut virtual_hosts: Vec<VirtualHost> = by_body
        .into_iter()
        .filter_map(|(body, domains)| Some(VirtualHost { name: domains.first()?.clone(), domains, body }))
        .collect();
    virtual_hosts.extend(misdirected(db, reads, id, &virtual_hosts));
    virtual_hosts.sort_by(|left, right| left.name.cmp(&right.name));
    let advertises_http3 = has_companion(db, reads, &id.0);
    Some(Arc::new(RouteTable { name: table_name(&id.0, &name), virtual_hosts, advertises_http3 }))
}

/// The domains that a TLS chain must not answer for, although a client may ask it: 421, so that the client comes again by
/// a connection of its own (RFC 9110, 15.5.20). They are those that the chain's Hosts do not have, and, where one of its
/// Hosts is a glob, those below it whose clients another chain verifies in a way that this one does not.
fn misdirected(db: &Db, reads: &Reads, id: &ChainId, served: &[VirtualHost]) -> Option<VirtualHost> {
    let ChainKey::Tls(_) = &id.1 else { return None };
    let owner = db.chain_owners.get(&db.graph, reads, id)?;
    let own = guard_of(db.hosts.get(&db.graph, reads, owner)?);
    let served: BTreeSet<&Arc<str>> = served.iter().flat_map(|host| &host.domains).collect();
    let globs: Vec<&Arc<str>> = served.iter().filter(|domain| domain.contains('*')).copied().collect();
    let mut domains = Vec::new();
    if globs.iter().all(|glob| ***glob != *"*") {
        domains.push("*".into());
    }
    let guarded = if globs.is_empty() { None } else { db.guarded.get(&db.graph, reads, &id.0) };
    for (domain, guard) in guarded.into_iter().flatten() {
        let elsewhere = own.as_ref() != Some(guard) && !served.contains(domain) && !domains.contains(domain);
        if elsewhere && globs.iter().any(|glob| ir::globs_meet(glob, domain)) {
            domains.push(domain.clone());
        }
    }
    domains.sort();
    let name = domains.first()?.clone();
    Some(VirtualHost { name, domains, body: VirtualHostBody::Closed { status: 421 } })
}

/// Whether a TCP Listener has one for HTTP/3 on its port.
fn has_companion(db: &Db, reads: &Reads, listener: &ObjectKey) -> bool {
    let Some(listener) = db.bound.get(&db.graph, reads, listener).filter(|listener| !listener.udp) else {
        return false;
    };
    let claims = db.ports.get(&db.graph, reads, &(listener.port, true));
    claims.into_iter().flatten().any(|(_, key)| db.bound.get(&db.graph, reads, key).is_some())
}

/// The lists that an answer draws from.
pub fn lists(body: &VirtualHostBody, found: &mut Vec<ListId>) {
    match body {
        VirtualHostBody::Routes(list)
        | VirtualHostBody::AcmeOnly(list)
        | VirtualHostBody::RedirectToHttps { acme: list } => {
            found.push(list.clone());
        }
        VirtualHostBody::ByForwardedProto { secure, insecure } => {
            found.push(secure.clone());
            lists(insecure, found);
        }
        VirtualHostBody::Closed { .. } => {}
    }
}

/// Row of `populated`.
pub fn populated(db: &Db, reads: &Reads, id: &ChainId) -> Option<()> {
    db.chain_domains.get(&db.graph, reads, id).map(|_| ())
}
