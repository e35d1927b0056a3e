//! What a changed row moves in the indexes, and which later rows it brings into being.

use crate::change::WantedName;
use crate::compiler::Batch;
use crate::db::{ByAge, Db, WantedBy, is_listed};
use crate::parse::{HostCondition, Parsed};
use crate::stage::attach::{self, Attached, ChainId, ChainKey, DomainKey};
use crate::stage::group::GroupRow;
use crate::stage::host::HostRow;
use crate::stage::list::ListState;
use crate::stage::parsed::ParsedRow;
use crate::stage::placement::{ClassRow, selector_terms};
use crate::stage::rule::Rule;
use crate::stage::source::Declared;
use crate::stage::tcp::{TcpBind, TcpGroupRow, TcpRule, made_listener};
use crate::stage::tls::{ContextRow, SdsKey};
use crate::stage::upstream::Upstream;
use crate::stage::{endpoint, error_response};
use ir::{Cluster, Discovery, GlobShape, Kind, ListId, ObjectKey, RouteTable, VirtualHostBody};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) fn declared(db: &mut Db, bearer: &ObjectKey, old: Option<Arc<Declared>>) {
    let new = db.declared.peek(bearer).cloned();
    let keys = |row: &Option<Arc<Declared>>| -> BTreeSet<ObjectKey> {
        row.iter().flat_map(|row| row.objects.iter().map(|object| object.key.clone())).collect()
    };
    let (old_keys, new_keys) = (keys(&old), keys(&new));
    let entries = |keys: &BTreeSet<ObjectKey>| keys.iter().map(|key| (key.clone(), bearer.clone())).collect::<Vec<_>>();
    db.declared_by.update(&db.graph, entries(&old_keys).into_iter(), entries(&new_keys).into_iter());
    for key in old_keys.union(&new_keys) {
        db.source.mark(&db.graph, key);
    }
    db.verdicts.mark(&db.graph, bearer);
}

pub(crate) fn parsed(db: &mut Db, batch: &mut Batch, key: &ObjectKey, old: Option<Arc<ParsedRow>>) {
    let new = db.parsed.peek(key).cloned();
    let files = |row: &Option<Arc<ParsedRow>>| {
        error_response::files(&db.options, row.as_ref().and_then(|row| row.value.as_ref()))
    };
    let (before, after) = (files(&old), files(&new));
    for name in before.symmetric_difference(&after) {
        want(db, batch, name.clone(), WantedBy::Errors(key.clone()), after.contains(name));
    }
    let graph = &db.graph;
    if is_listed(key.kind) {
        match (&old, &new) {
            (None, Some(_)) => {
                db.by_kind.insert(graph, &key.kind, key.clone());
            }
            (Some(_), None) => {
                db.by_kind.remove(graph, &key.kind, key);
            }
            _ => {}
        }
    }
    match key.kind {
        Kind::Mapping => db.rules.mark(graph, key),
        Kind::TCPMapping => db.tcp_rules.mark(graph, key),
        Kind::Host => db.hosts.mark(graph, key),
        Kind::TLSContext => {
            let entry = |row: &Option<Arc<ParsedRow>>| {
                row.as_ref().map(|row| (key.name.clone(), (row.created, key.clone()))).into_iter()
            };
            db.contexts_by_name.update(graph, entry(&old), entry(&new));
            db.contexts.mark(graph, key);
        }
        Kind::Listener => {
            let entry = |row: &Option<Arc<ParsedRow>>| {
                let row = row.as_ref()?;
                let Some(Parsed::Listener(listener)) = &row.value else { return None };
                Some(((listener.port, listener.udp), (row.created, key.clone())))
            };
            db.ports.update(graph, entry(&old).into_iter(), entry(&new).into_iter());
            db.bound.mark(graph, key);
        }
        _ => {}
    }
    db.verdicts.mark(graph, key);
}

pub(crate) fn context(db: &mut Db, batch: &mut Batch, key: &ObjectKey, old: Option<Arc<ContextRow>>) {
    let new = db.contexts.peek(key).cloned();
    let sds = |row: &Option<Arc<ContextRow>>| row.iter().flat_map(|row| row.tls.sds().cloned()).collect();
    name_sds(db, batch, key, sds(&old), sds(&new));
}

pub(crate) fn host(db: &mut Db, batch: &mut Batch, key: &ObjectKey, old: Option<Arc<HostRow>>) {
    let new = db.hosts.peek(key).cloned();
    let loose = db.options.loose_selectors;
    let selecting = |row: &Option<Arc<HostRow>>| {
        let Some(row) = row else { return Vec::new() };
        let Some(selector) = &row.selector else { return Vec::new() };
        selector_terms(row, loose).into_iter().map(|term| (term, (row.load_key.clone(), selector.clone()))).collect()
    };
    db.selecting_hosts.update(&db.graph, selecting(&old).into_iter(), selecting(&new).into_iter());
    let sds = |row: &Option<Arc<HostRow>>| {
        row.iter().flat_map(|row| row.tls.iter()).flat_map(|tls| tls.resolved.sds().cloned()).collect()
    };
    name_sds(db, batch, key, sds(&old), sds(&new));
    db.attachments.mark(&db.graph, key);
    db.classes_of.mark(&db.graph, key);
}

/// Keeps track of who names which SDS resource, and of the Secrets and files behind them.
fn name_sds(db: &mut Db, batch: &mut Batch, owner: &ObjectKey, old: BTreeSet<SdsKey>, new: BTreeSet<SdsKey>) {
    for key in old.difference(&new) {
        db.sds_users.remove(&db.graph, key, owner);
    }
    for key in new.difference(&old) {
        db.sds_users.insert(&db.graph, key, owner.clone());
    }
    for key in old.symmetric_difference(&new) {
        db.sds.mark(&db.graph, key);
        let used = db.sds_users.peek(key).is_some();
        for name in key.wanted() {
            want(db, batch, name, WantedBy::Sds(key.clone()), used);
        }
    }
}

/// Begins or ceases to want a Secret or file.
fn want(db: &mut Db, batch: &mut Batch, name: WantedName, by: WantedBy, wanted: bool) {
    let before = db.wanted.peek(&name).is_some();
    if wanted {
        db.wanted.insert(&db.graph, &name, by);
    } else {
        db.wanted.remove(&db.graph, &name, &by);
    }
    let after = db.wanted.peek(&name).is_some();
    // Wanted again within the batch in which it was dropped: nothing changed for the feeds.
    if before != after && batch.wanted.remove(&name).is_none() {
        batch.wanted.insert(name, after);
    }
}

pub(crate) fn attachments(db: &mut Db, host: &ObjectKey, old: Option<Arc<Attached>>) {
    let new = db.attachments.peek(host).cloned();
    let graph = &db.graph;
    for (row, add) in [(&old, false), (&new, true)] {
        let Some(row) = row else { continue };
        let claim = (row.created, host.clone());
        for chain in &row.chains {
            let domain: DomainKey = (chain.0.clone(), chain.1.clone(), row.hostname.clone());
            let is_tls = matches!(chain.1, ChainKey::Tls(_));
            if add {
                if is_tls {
                    db.chain_claims.insert(graph, chain, claim.clone());
                }
                db.domain_claims.insert(graph, &domain, claim.clone());
            } else {
                if is_tls {
                    db.chain_claims.remove(graph, chain, &claim);
                }
                db.domain_claims.remove(graph, &domain, &claim);
            }
            db.chain_owners.mark(graph, chain);
            db.domains.mark(graph, &domain);
            db.bodies.mark(graph, &domain);
            db.chains.mark(graph, chain);
            db.tables.mark(graph, chain);
            if is_tls && row.guarded {
                db.guards.mark(graph, &domain);
            }
        }
    }
    db.classes_of.mark(graph, host);
}

/// The domain has another owner, or none. What absent rows would depend on may have been forgotten while nobody owned it.
pub(crate) fn domain(db: &mut Db, key: &DomainKey) {
    db.bodies.mark(&db.graph, key);
    let is_guarded = |(_, host): &ByAge| db.attachments.peek(host).is_some_and(|row| row.guarded);
    if matches!(key.1, ChainKey::Tls(_))
        && db.domain_claims.peek(key).is_some_and(|claims| claims.iter().any(is_guarded))
    {
        db.guards.mark(&db.graph, key);
    }
}

pub(crate) fn guard(db: &mut Db, key: &DomainKey, old: Option<Arc<str>>) {
    let new = db.guards.peek(key).cloned();
    let (listener, _, domain) = key;
    let entry = |guard: Option<Arc<str>>| guard.map(|guard| (listener.clone(), (domain.clone(), guard))).into_iter();
    db.guarded.update(&db.graph, entry(old), entry(new));
}

pub(crate) fn rule(db: &mut Db, key: &ObjectKey, old: Option<Arc<Rule>>) {
    let new = db.rules.peek(key).cloned();
    let graph = &db.graph;
    let group = |rule: &Option<Arc<Rule>>| rule.as_ref().map(|rule| rule.group.clone());
    let (old_group, new_group) = (group(&old), group(&new));
    if old_group != new_group {
        if let Some(id) = &old_group {
            db.members.remove(graph, id, key);
            db.groups.mark(graph, id);
        }
        if let Some(id) = &new_group {
            db.members.insert(graph, id, key.clone());
            db.groups.mark(graph, id);
        }
    }
    let upstream = |rule: Option<Arc<Rule>>| rule.and_then(|rule| rule.upstream.clone());
    claim_upstream(db, key, upstream(old), upstream(new));
}

pub(crate) fn tcp_rule(db: &mut Db, key: &ObjectKey, old: Option<Arc<TcpRule>>) {
    let new = db.tcp_rules.peek(key).cloned();
    let graph = &db.graph;
    let group = |rule: &Option<Arc<TcpRule>>| rule.as_ref().map(|rule| rule.group.clone());
    let (old_group, new_group) = (group(&old), group(&new));
    if let Some(id) = old_group.filter(|id| Some(id) != new_group.as_ref()) {
        db.members.remove(graph, &id, key);
        db.tcp_groups.mark(graph, &id);
    }
    if let Some(id) = new_group {
        db.members.insert(graph, &id, key.clone());
        db.tcp_groups.mark(graph, &id);
    }
    let upstream = |rule: Option<Arc<TcpRule>>| rule.map(|rule| rule.upstream.clone());
    claim_upstream(db, key, upstream(old), upstream(new));
}

pub(crate) fn tcp_group(db: &mut Db, id: &Arc<str>, old: Option<Arc<TcpGroupRow>>) {
    let new = db.tcp_groups.peek(id).cloned();
    let bind =
        |row: &Option<Arc<TcpGroupRow>>| row.as_ref().filter(|row| row.chain.is_some()).map(|row| row.bind.clone());
    let (before, after) = (bind(&old), bind(&new));
    let entry = |bind: &Option<TcpBind>| bind.clone().map(|bind| (bind, id.clone())).into_iter();
    db.tcp_chains.update(&db.graph, entry(&before), entry(&after));
    for bind in [before, after].into_iter().flatten() {
        db.listeners.mark(&db.graph, &made_listener(&bind));
    }
    let upstreams = |row: &Option<Arc<TcpGroupRow>>| row.as_ref().map(|row| row.upstreams.clone()).unwrap_or_default();
    use_upstreams(db, id, &upstreams(&old), &upstreams(&new));
    let problems = |row: &Option<Arc<TcpGroupRow>>| -> Vec<(ObjectKey, (Arc<str>, ir::Problem))> {
        let problems = row.iter().flat_map(|row| row.problems.iter());
        problems.map(|problem| (problem.about.clone(), (id.clone(), problem.clone()))).collect()
    };
    db.group_problems.update(&db.graph, problems(&old).into_iter(), problems(&new).into_iter());
}

fn claim_upstream(db: &mut Db, key: &ObjectKey, old: Option<Arc<Upstream>>, new: Option<Arc<Upstream>>) {
    let graph = &db.graph;
    if old != new {
        if let Some(upstream) = old {
            db.upstream_claims.remove(graph, &upstream, key);
            if db.upstream_claims.peek(&upstream).is_none() {
                db.cluster_names.remove(graph, &upstream.name, &upstream.identity);
                if let Some(backend) = upstream.key.backend() {
                    db.readiness_users.remove(graph, &backend, &upstream.identity);
                    db.readiness.mark(graph, &backend);
                }
            }
        }
        if let Some(upstream) = new {
            db.upstream_claims.insert(graph, &upstream, key.clone());
            db.cluster_names.insert(graph, &upstream.name, upstream.identity);
            if let Some(backend) = upstream.key.backend()
                && db.readiness_users.insert(graph, &backend, upstream.identity)
            {
                db.readiness.mark(graph, &backend);
            }
        }
    }
}

pub(crate) fn group(db: &mut Db, id: &Arc<str>, old: Option<Arc<GroupRow>>) {
    let new = db.groups.peek(id).cloned();
    let glob = |row: &Option<Arc<GroupRow>>| match row.as_ref().map(|row| &row.host) {
        Some(HostCondition::Glob(glob)) => Some(glob.clone()),
        _ => None,
    };
    let (old_glob, new_glob) = (glob(&old), glob(&new));
    if old_glob != new_glob {
        move_glob(db, id, old_glob, new_glob);
    }
    let graph = &db.graph;
    let asks = |row: &Option<Arc<GroupRow>>| row.as_ref().is_some_and(|row| row.asks_proto);
    match (asks(&old), asks(&new)) {
        (false, true) => {
            db.asking_groups.insert(graph, &(), id.clone());
        }
        (true, false) => {
            db.asking_groups.remove(graph, &(), id);
        }
        _ => {}
    }
    let any = db.asking_groups.peek(&()).map(|_| ());
    db.asks_proto.set(graph, &(), any);
    let empty: Vec<Arc<Upstream>> = Vec::new();
    let before = old.as_ref().map_or(&empty, |row| &row.upstreams);
    let after = new.as_ref().map_or(&empty, |row| &row.upstreams);
    use_upstreams(db, id, before, after);
    let graph = &db.graph;
    let problems = |row: &Option<Arc<GroupRow>>| -> Vec<(ObjectKey, (Arc<str>, ir::Problem))> {
        let problems = row.iter().flat_map(|row| row.problems.iter());
        problems.map(|problem| (problem.about.clone(), (id.clone(), problem.clone()))).collect()
    };
    db.group_problems.update(graph, problems(&old).into_iter(), problems(&new).into_iter());
    db.placements.mark(graph, id);
}

fn use_upstreams(db: &mut Db, id: &Arc<str>, before: &[Arc<Upstream>], after: &[Arc<Upstream>]) {
    let graph = &db.graph;
    for upstream in before.iter().filter(|upstream| !after.contains(upstream)) {
        db.upstream_users.remove(graph, upstream, id);
        db.upstreams.mark(graph, upstream);
        db.backends.mark(graph, upstream);
    }
    for upstream in after.iter().filter(|upstream| !before.contains(upstream)) {
        db.upstream_users.insert(graph, upstream, id.clone());
        db.upstreams.mark(graph, upstream);
        db.backends.mark(graph, upstream);
    }
}

fn move_glob(db: &mut Db, id: &Arc<str>, old: Option<Arc<str>>, new: Option<Arc<str>>) {
    let graph = &db.graph;
    for (glob, add) in [(old, false), (new, true)] {
        let Some(glob) = glob else { continue };
        if ir::glob_shape(&glob) == GlobShape::Any {
            continue;
        }
        if ir::glob_shape(&glob) == GlobShape::Exact {
            if add {
                db.exact_globs.insert(graph, &glob, id.clone())
            } else {
                db.exact_globs.remove(graph, &glob, id)
            };
            continue;
        }
        if add {
            db.wild_groups.insert(graph, &glob, id.clone())
        } else {
            db.wild_groups.remove(graph, &glob, id)
        };
        match db.wild_groups.peek(&glob).is_some() {
            true => db.wild_globs.insert(graph, &(), glob),
            false => db.wild_globs.remove(graph, &(), &glob),
        };
    }
}

pub(crate) fn class(db: &mut Db, batch: &mut Batch, host: &ObjectKey, old: Option<Arc<ClassRow>>) {
    let new = db.classes_of.peek(host).cloned();
    let terms = |row: &Option<Arc<ClassRow>>| -> Vec<_> {
        let Some(row) = row else { return Vec::new() };
        row.terms.iter().map(|term| (term.clone(), (row.class.clone(), host.clone()))).collect()
    };
    db.classes.update(&db.graph, terms(&old).into_iter(), terms(&new).into_iter());
    if let Some(row) = &new {
        db.lists.entry(row.class.text.clone()).or_insert_with(|| ListState::new(&row.class));
    }
    // A list without groups still has to be there for the tables that name it, and to go when none does.
    for row in [&old, &new].into_iter().flatten() {
        batch.lists.insert(row.class.text.clone());
    }
}

pub(crate) fn body(db: &mut Db, key: &DomainKey, old: Option<VirtualHostBody>) {
    let new = db.bodies.peek(key).cloned();
    let chain: ChainId = (key.0.clone(), key.1.clone());
    let entry = |body: Option<VirtualHostBody>| body.map(|body| (chain.clone(), (body, key.2.clone()))).into_iter();
    db.chain_domains.update(&db.graph, entry(old), entry(new));
    db.populated.mark(&db.graph, &chain);
    db.chains.mark(&db.graph, &chain);
    db.tables.mark(&db.graph, &chain);
}

pub(crate) fn populated(db: &mut Db, id: &ChainId) {
    if db.populated.peek(id).is_some() {
        db.chains_of.insert(&db.graph, &id.0, id.1.clone());
    } else {
        db.chains_of.remove(&db.graph, &id.0, &id.1);
    }
    db.listeners.mark(&db.graph, &id.0);
}

pub(crate) fn table(db: &mut Db, batch: &mut Batch, id: &ChainId, old: Option<Arc<RouteTable>>) {
    let new = db.tables.peek(id).cloned();
    let lists = |row: &Option<Arc<RouteTable>>| -> BTreeSet<ListId> {
        let mut found = Vec::new();
        for virtual_host in row.iter().flat_map(|row| row.virtual_hosts.iter()) {
            attach::lists(&virtual_host.body, &mut found);
        }
        found.into_iter().collect()
    };
    let (before, after) = (lists(&old), lists(&new));
    for list in before.difference(&after) {
        db.list_users.remove(&db.graph, list, id);
        batch.lists.insert(list.class.clone());
    }
    for list in after.difference(&before) {
        db.list_users.insert(&db.graph, list, id.clone());
        batch.lists.insert(list.class.clone());
    }
    for row in [old, new].into_iter().flatten() {
        batch.rows.tables.entry(row.name.clone()).or_default().insert(id.clone());
    }
}

pub(crate) fn upstream(db: &mut Db, batch: &mut Batch, key: &Arc<Upstream>, old: Option<Arc<Cluster>>) {
    let new = db.upstreams.peek(key).cloned();
    let streamed = |cluster: &Option<Arc<Cluster>>| match cluster.as_ref().map(|cluster| &cluster.discovery) {
        Some(Discovery::Endpoints(name)) => endpoint::parse_name(name),
        _ => None,
    };
    let entry = |cluster: &Option<Arc<Cluster>>| {
        let endpoints = streamed(cluster)?;
        Some((endpoints, cluster.as_ref()?.name.clone()))
    };
    db.endpoint_users.update(&db.graph, entry(&old).into_iter(), entry(&new).into_iter());
    for endpoints in [streamed(&old), streamed(&new)].into_iter().flatten() {
        db.endpoints.mark(&db.graph, &endpoints);
    }
    if let Some(old) = &old
        && new.as_ref().is_none_or(|new| new.name != old.name)
    {
        // Another cluster may have taken the name over in this very batch; it must not be overwritten.
        batch.rows.clusters.entry(old.name.clone()).or_insert(None);
    }
    if let Some(new) = new {
        batch.rows.clusters.insert(new.name.clone(), Some(key.clone()));
    }
}
