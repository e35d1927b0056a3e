//! Installation-wide settings, cut into slices so that each reader depends on what it uses and nothing else.

use crate::db::Db;
use crate::incr::Reads;
use crate::parse::{
    ClusterDefaults, HttpDefaults, Parsed, ParsedModule, ParsedProbe, ResolverKind, RouteDefaults, TlsDefaults,
};
use api::Spec;
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slice {
    /// Which Module is in force, and what is wrong with the others.
    Module,
    /// [`RouteDefaults`]
    Route,
    /// [`ClusterDefaults`]
    Cluster,
    /// [`HttpDefaults`]
    Http,
    /// [`TlsDefaults`]
    Tls,
    /// The probe routes.
    Probes,
    /// Why requests that need authorization are refused.
    Auth,
    /// Label domains whose requests are refused, as their rate limiter must be asked and cannot be.
    RateLimit,
    /// Resolvers by name, the built-in ones included.
    Resolvers,
}

/// Value of a slice.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// See [`Slice::Module`].
    Module {
        /// The one in force.
        module: Option<Arc<ParsedModule>>,
        /// About the others.
        problems: Vec<Problem>,
    },
    /// See [`Slice::Route`].
    Route(Arc<RouteDefaults>),
    /// See [`Slice::Cluster`].
    Cluster(Arc<ClusterDefaults>),
    /// See [`Slice::Http`].
    Http(Arc<HttpDefaults>),
    /// See [`Slice::Tls`].
    Tls(Arc<TlsDefaults>),
    /// See [`Slice::Probes`].
    Probes(Arc<[ParsedProbe; 3]>),
    /// See [`Slice::Auth`].
    Auth(Arc<str>),
    /// See [`Slice::RateLimit`].
    RateLimit(Arc<[Arc<str>]>),
    /// See [`Slice::Resolvers`].
    Resolvers(Arc<BTreeMap<Arc<str>, ResolverKind>>),
}

/// Row of `module`: the oldest Module named `ambassador`.
pub fn module(db: &Db, reads: &Reads) -> (Option<Arc<ParsedModule>>, Vec<Problem>) {
    let mut found: Vec<(i64, &ObjectKey, Option<Arc<ParsedModule>>)> = Vec::new();
    for key in db.by_kind.get(&db.graph, reads, &Kind::Module).into_iter().flatten() {
        if *key.name != *"ambassador" {
            continue;
        }
        let Some(row) = db.parsed.get(&db.graph, reads, key) else { continue };
        let module = match &row.value {
            Some(Parsed::Module(module)) => Some(module.clone()),
            _ => None,
        };
        found.push((row.created, key, module));
    }
    found.sort_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)));
    let mut found = found.into_iter();
    let Some((_, winner, module)) = found.next() else { return (None, Vec::new()) };
    let problems = found
        .map(|(_, key, _)| {
            let detail = format!("only one Module `ambassador` is in force, that of {}", winner.path());
            Problem::refused(key, "metadata.name", ProblemKind::Conflict, detail)
        })
        .collect();
    (module, problems)
}

/// Row of `settings`.
pub fn row(db: &Db, reads: &Reads, slice: &Slice) -> Option<Setting> {
    Some(match slice {
        Slice::Module => {
            let (module, problems) = module(db, reads);
            Setting::Module { module, problems }
        }
        Slice::Auth => Setting::Auth(auth(db, reads)?),
        Slice::RateLimit => Setting::RateLimit(rate_limit(db, reads)?),
        Slice::Resolvers => Setting::Resolvers(Arc::new(resolvers(db, reads))),
        slice => {
            let module = module(db, reads).0.unwrap_or_else(|| db.default_module.clone());
            match slice {
                Slice::Cluster => Setting::Cluster(Arc::new(module.cluster.clone())),
                Slice::Http => Setting::Http(Arc::new(module.http.clone())),
                Slice::Tls => Setting::Tls(Arc::new(module.tls.clone())),
                Slice::Probes => Setting::Probes(Arc::new(module.probes.clone())),
                _ => Setting::Route(Arc::new(module.route.clone())),
            }
        }
    })
}

/// An AuthService in scope guards every Mapping, whether it is valid or not: external authorization is not available
/// yet, so what it guards is refused rather than served unprotected.
fn auth(db: &Db, reads: &Reads) -> Option<Arc<str>> {
    let key = db.by_kind.get(&db.graph, reads, &Kind::AuthService)?.iter().next()?;
    Some(format!("guarded by {key}, which is not supported yet").into())
}

fn rate_limit(db: &Db, reads: &Reads) -> Option<Arc<[Arc<str>]>> {
    let mut domains = Vec::new();
    for key in db.by_kind.get(&db.graph, reads, &Kind::RateLimitService)? {
        let Some(row) = db.parsed.get(&db.graph, reads, key) else { continue };
        let domain = match &row.value {
            Some(Parsed::RateLimitService(service)) if service.failure_mode_deny => service.domain.clone(),
            Some(_) => continue,
            None => match denying_domain(db, reads, key) {
                Some(domain) => domain,
                None => continue,
            },
        };
        domains.push(domain.unwrap_or_else(|| "ambassador".into()));
    }
    (!domains.is_empty()).then(|| domains.into())
}

/// The domain of a refused RateLimitService that asks to deny: being invalid must not open what it closes.
fn denying_domain(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Option<Arc<str>>> {
    let source = db.source.get(&db.graph, reads, key)?;
    let Ok(Spec::RateLimitService(spec)) = source.object.spec()?.value else { return None };
    (spec.failure_mode_deny == Some(true)).then(|| spec.domain.as_deref().map(Arc::from))
}

fn resolvers(db: &Db, reads: &Reads) -> BTreeMap<Arc<str>, ResolverKind> {
    let mut known: BTreeMap<Arc<str>, ResolverKind> = BTreeMap::from([
        ("kubernetes-service".into(), ResolverKind::Service),
        ("kubernetes-endpoint".into(), ResolverKind::Endpoint),
        ("endpoint".into(), ResolverKind::Endpoint),
        ("consul".into(), ResolverKind::Consul),
        ("consul-endpoint".into(), ResolverKind::Consul),
    ]);
    // Of several resolvers with one name the first kind in this list counts, so the order of arrival does not.
    for kind in [Kind::ConsulResolver, Kind::KubernetesEndpointResolver, Kind::KubernetesServiceResolver] {
        for key in db.by_kind.get(&db.graph, reads, &kind).into_iter().flatten() {
            if let Some(row) = db.parsed.get(&db.graph, reads, key)
                && let Some(Parsed::Resolver(found)) = &row.value
            {
                known.insert(key.name.clone(), *found);
            }
        }
    }
    known
}

impl Slice {
    /// All slices.
    pub const ALL: [Slice; 9] = [
        Slice::Module,
        Slice::Route,
        Slice::Cluster,
        Slice::Http,
        Slice::Tls,
        Slice::Probes,
        Slice::Auth,
        Slice::RateLimit,
        Slice::Resolvers,
    ];
}

impl Db {
    /// Slice of route defaults.
    pub fn route_defaults(&self, reads: &Reads) -> Arc<RouteDefaults> {
        match self.settings.get(&self.graph, reads, &Slice::Route) {
            Some(Setting::Route(found)) => found.clone(),
            _ => Arc::new(self.default_module.route.clone()),
        }
    }

    /// Slice of cluster defaults.
    pub fn cluster_defaults(&self, reads: &Reads) -> Arc<ClusterDefaults> {
        match self.settings.get(&self.graph, reads, &Slice::Cluster) {
            Some(Setting::Cluster(found)) => found.clone(),
            _ => Arc::new(self.default_module.cluster.clone()),
        }
    }

    /// Slice of connection manager defaults.
    pub fn http_defaults(&self, reads: &Reads) -> Arc<HttpDefaults> {
        match self.settings.get(&self.graph, reads, &Slice::Http) {
            Some(Setting::Http(found)) => found.clone(),
            _ => Arc::new(self.default_module.http.clone()),
        }
    }

    /// Whether a dot in a Secret name separates its namespace.
    pub fn secret_namespacing(&self, reads: &Reads) -> bool {
        match self.settings.get(&self.graph, reads, &Slice::Tls) {
            Some(Setting::Tls(found)) => found.secret_namespacing,
            _ => self.default_module.tls.secret_namespacing,
        }
    }
}
