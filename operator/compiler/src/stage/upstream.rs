//! Clusters: one row per distinct (service, settings), whoever uses it.

use crate::db::Db;
use crate::incr::Reads;
use crate::object::Body;
use crate::parse::{ParsedLoadBalancer, ResolverKind};
use crate::stage::endpoint::EndpointKey;
use ir::{
    CircuitBreaker, ClientTls, Cluster, Discovery, DnsFamily, HashOn, HealthCheck, Keepalive, Kind, LoadBalancing,
    ObjectKey,
};
use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// TLS towards the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTls {
    /// None.
    ClearText,
    /// TLS without any setting: no SNI, no verification.
    Plain,
    /// With the settings of a TLSContext.
    Context(ObjectKey),
}

/// Everything that makes one cluster different from another. Unset options take the Module's defaults when the
/// cluster is built, so that a change of those changes clusters in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// Host name or address, qualified with a namespace where upstream does that.
    pub host: Arc<str>,
    /// The port, defaults applied.
    pub port: u16,
    /// Service text after qualification, scheme and port as written: part of the name.
    pub text: Arc<str>,
    /// Whether a scheme is written.
    pub scheme: bool,
    /// TLS towards the service.
    pub tls: UpstreamTls,
    /// `host_rewrite`, which counts only with TLS.
    pub host_rewrite: Option<Arc<str>>,
    /// Namespace of the Mapping.
    pub namespace: Arc<str>,
    /// `cluster_tag`
    pub tag: Option<Arc<str>>,
    /// Limits, the Mapping's or the Module's.
    pub circuit_breakers: Vec<CircuitBreaker>,
    /// The Mapping's or the Module's, where it applies.
    pub load_balancer: Option<Box<ParsedLoadBalancer>>,
    /// How hosts are found.
    pub resolver: ResolverKind,
    /// Where a Kubernetes service would be: namespace, name.
    pub service: Option<(Arc<str>, Arc<str>)>,
    /// Options that upstream's name lacks.
    pub options: UpstreamOptions,
}

/// Options of a cluster that do not show in upstream's name; as written, without defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamOptions {
    /// `grpc`
    pub grpc: bool,
    /// `connect_timeout_ms`
    pub connect_timeout_ms: Option<u64>,
    /// `cluster_idle_timeout_ms`
    pub idle_timeout_ms: Option<u64>,
    /// `cluster_max_connection_lifetime_ms`
    pub max_connection_ms: Option<u64>,
    /// `keepalive`
    pub keepalive: Option<Box<Keepalive>>,
    /// `dns_type: logical_dns`
    pub logical_dns: bool,
    /// `respect_dns_ttl`
    pub respect_dns_ttl: bool,
    /// `stats_name`
    pub stats_name: Option<Arc<str>>,
    /// `enable_ipv4`
    pub enable_ipv4: Option<bool>,
    /// `enable_ipv6`
    pub enable_ipv6: Option<bool>,
    /// The TLSContext when a scheme hides it from upstream's name.
    pub hidden_context: Option<ObjectKey>,
    /// Endpoints are streamed although no load balancer shows it in the name.
    pub endpoints: bool,
    /// `health_checks`
    pub health_checks: Arc<[HealthCheck]>,
}

/// An [`UpstreamKey`] with its name and hash, which are asked for often.
#[derive(Debug)]
pub struct Upstream {
    /// The settings.
    pub key: UpstreamKey,
    /// What it is called unless another one has the same name.
    pub name: Arc<str>,
    /// Hash of the settings.
    pub identity: u64,
}

impl Db {
    /// The one copy of these settings, with name and hash: thousands of Mappings may use one Service alike.
    pub fn interned(&self, key: UpstreamKey) -> Arc<Upstream> {
        let mut hasher = Xxh3::new();
        key.hash(&mut hasher);
        let identity = hasher.digest();
        let mut fresh = self.fresh_upstreams.borrow_mut();
        if let Some(found) = fresh.get(&identity).filter(|found| found.key == key) {
            return found.clone();
        }
        // The name takes no part in the comparison, and making it is dear.
        let mut upstream = Arc::new(Upstream { name: key.text.clone(), identity, key });
        match self.upstream_claims.stored(&upstream) {
            Some(found) => upstream = found,
            None => {
                if let Some(own) = Arc::get_mut(&mut upstream) {
                    own.name = own.key.name();
                }
            }
        }
        fresh.insert(identity, upstream.clone());
        upstream
    }
}

impl PartialEq for Upstream {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.key == other.key
    }
}

impl Eq for Upstream {}

impl Hash for Upstream {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.identity);
    }
}

/// The Envoy name of a cluster. Upstream replaces every special character by `_`, so that `foo.bar` and `foo-bar` come
/// out the same and the second to come gets the first one's hosts. Here the one with the smaller hash keeps the name
/// and the others get theirs appended.
pub fn cluster_name(db: &Db, reads: &Reads, upstream: &Upstream) -> Arc<str> {
    let claims = db.cluster_names.get(&db.graph, reads, &upstream.name);
    match claims.and_then(|claims| claims.first()) {
        Some(identity) if *identity != upstream.identity => {
            format!("{}-{:08x}", upstream.name, upstream.identity as u32).into()
        }
        _ => upstream.name.clone(),
    }
}

impl UpstreamKey {
    /// The Envoy name: upstream's, shortened as upstream does, plus `-` and 8 hex digits when an option that it lacks
    /// is not at its default. A function of this key alone.
    pub fn name(&self) -> Arc<str> {
        let mut name = self.upstream_name();
        if name.len() > 60 {
            let digest = Sha1::digest(name.as_bytes());
            let head: String = name.chars().take(40).collect();
            name = format!("{head}-");
            for byte in digest.iter().take(8) {
                let _ = write!(name, "{byte:02X}");
            }
            name.push_str("-0");
        }
        if self.options != UpstreamOptions::default() {
            // Names have to be equal in all processes, so the hash is over a written form.
            let _ = write!(name, "-{:08x}", xxh3_64(format!("{:?}", self.options).as_bytes()) as u32);
        }
        name.into()
    }

    /// The endpoints of the Service behind it, if it is one.
    pub fn backend(&self) -> Option<EndpointKey> {
        let (namespace, name) = self.service.as_ref().filter(|_| self.resolver != ResolverKind::Consul)?;
        Some((namespace.clone(), name.clone(), self.port))
    }

    fn upstream_name(&self) -> String {
        let mut name = String::from("cluster");
        let mut part = |text: &str| {
            name.push('_');
            name.push_str(text);
        };
        if let Some(tag) = &self.tag {
            part(tag);
        }
        part(&self.text);
        if self.tls != UpstreamTls::ClearText {
            part("otls");
            if !self.scheme {
                match &self.tls {
                    UpstreamTls::Context(context) => part(&context.name),
                    _ => part("no_cert_upstream"),
                }
            }
            if let Some(host) = &self.host_rewrite {
                part(&format!("hr-{host}"));
            }
        }
        part(&self.namespace);
        for breaker in &self.circuit_breakers {
            part(&breaker_text(breaker));
        }
        if let Some(balancer) = &self.load_balancer {
            part(&balancer_text(balancer));
        }
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    }
}

fn breaker_text(breaker: &CircuitBreaker) -> String {
    let priority = match (breaker.priority_is_written, breaker.high_priority) {
        (false, _) => 'n',
        (true, true) => 'h',
        (true, false) => 'd',
    };
    let mut text = format!("cb{priority}");
    let limits = [
        ('c', breaker.max_connections),
        ('p', breaker.max_pending_requests),
        ('r', breaker.max_requests),
        ('t', breaker.max_retries),
    ];
    for (letter, limit) in limits {
        if let Some(limit) = limit {
            let _ = write!(text, "{letter}{limit}");
        }
    }
    text
}

fn balancer_text(balancer: &ParsedLoadBalancer) -> String {
    let policy = match balancer.policy {
        LoadBalancing::RoundRobin => "round_robin",
        LoadBalancing::LeastRequest => "least_request",
        LoadBalancing::RingHash => "ring_hash",
        LoadBalancing::Maglev => "maglev",
    };
    match &balancer.hash_on {
        None => format!("er-{policy}"),
        Some(HashOn::Header(header)) => format!("er-{policy}-hdr-{header}"),
        Some(HashOn::Cookie { name, .. }) => format!("er-{policy}-cookie-{name}"),
        Some(HashOn::SourceIp) => format!("er-{policy}-srcip"),
    }
}

/// Row of `upstreams`. No row when nobody uses it.
pub fn row(db: &Db, reads: &Reads, upstream: &Arc<Upstream>) -> Option<Arc<Cluster>> {
    db.upstream_users.get(&db.graph, reads, upstream)?;
    let key = &upstream.key;
    let defaults = db.cluster_defaults(reads);
    let options = &key.options;
    let v4 = options.enable_ipv4.unwrap_or(defaults.enable_ipv4);
    let v6 = options.enable_ipv6.unwrap_or(defaults.enable_ipv6);
    let tls = match &key.tls {
        UpstreamTls::ClearText => None,
        UpstreamTls::Plain => Some(ClientTls::default()),
        UpstreamTls::Context(context) => {
            Some(db.contexts.get(&db.graph, reads, context).map(|row| row.tls.client()).unwrap_or_default())
        }
    };
    Some(Arc::new(Cluster {
        name: cluster_name(db, reads, upstream),
        alt_stat_name: options.stats_name.clone().unwrap_or_else(|| stat_name(&key.text)),
        discovery: discovery(db, reads, key),
        dns_family: match (v4, v6) {
            (true, true) => DnsFamily::Auto,
            (false, true) => DnsFamily::V6Only,
            _ => DnsFamily::V4Only,
        },
        tls,
        connect_timeout_ms: options.connect_timeout_ms.unwrap_or(3000),
        idle_timeout_ms: options.idle_timeout_ms.or(defaults.idle_timeout_ms),
        max_connection_ms: options.max_connection_ms.or(defaults.max_connection_ms),
        http2: options.grpc,
        circuit_breakers: key.circuit_breakers.clone(),
        keepalive: options.keepalive.as_deref().or(defaults.keepalive.as_ref()).cloned(),
        load_balancing: key.load_balancer.as_ref().map(|balancer| balancer.policy).unwrap_or_default(),
        health_checks: options.health_checks.clone(),
    }))
}

/// The service without its scheme, every other character than letters and digits replaced.
pub fn stat_name(text: &str) -> Arc<str> {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    bare.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>().into()
}

fn discovery(db: &Db, reads: &Reads, key: &UpstreamKey) -> Discovery {
    if let Ok(address) = key.host.parse::<IpAddr>() {
        return Discovery::Static { address, port: key.port, hostname: None };
    }
    let dns = || Discovery::Dns {
        host: key.host.clone(),
        port: key.port,
        logical: key.options.logical_dns,
        respect_ttl: key.options.respect_dns_ttl,
    };
    let Some((namespace, name)) = &key.service else { return dns() };
    let streamed = || Discovery::Endpoints(format!("k8s/{namespace}/{name}/{}", key.port).into());
    if key.resolver == ResolverKind::Endpoint {
        return streamed();
    }
    let service = ObjectKey::new(Kind::Service, namespace.clone(), name.clone());
    let Some(object) = db.objects.get(&db.graph, reads, &service) else { return dns() };
    let Body::Service(decoded) = &object.body else { return dns() };
    let Ok(service) = &decoded.value else { return dns() };
    match service.cluster_ip.as_deref() {
        Some(address) => match address.parse::<IpAddr>() {
            Ok(address) => Discovery::Static { address, port: key.port, hostname: Some(key.host.clone()) },
            // "None": headless, DNS answers with the endpoints.
            Err(_) => dns(),
        },
        // The API server always allocates an address, so this Service comes from a file and nobody else will route
        // to its endpoints.
        None if service.external_name.is_none() && db.has_slices(reads, namespace, name) => streamed(),
        None => dns(),
    }
}

/// What a Mapping's status says about the service it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// There, or a name outside the cluster that cannot be judged.
    Resolved,
    /// A Kubernetes Service by its form, and there is none.
    Missing,
}

/// Row of `backends`: apart from the cluster, so that an address change wakes no Mapping.
pub fn backend(db: &Db, reads: &Reads, upstream: &Arc<Upstream>) -> Option<Backend> {
    db.upstream_users.get(&db.graph, reads, upstream)?;
    let key = &upstream.key;
    let Some((namespace, name)) = &key.service else { return Some(Backend::Resolved) };
    let service = ObjectKey::new(Kind::Service, namespace.clone(), name.clone());
    if db.objects.get(&db.graph, reads, &service).is_some() {
        return Some(Backend::Resolved);
    }
    // `a.b` may be a name on the internet; `a`, and `a.b.svc…`, can only be Services.
    let labels = key.text.split_once("://").map_or(&*key.text, |(_, rest)| rest).matches('.').count();
    let unqualified = *key.host == **name
        || (labels == 1 && *key.host == format!("{name}.{namespace}") && **namespace == *key.namespace);
    let cluster_local = key.host.contains(".svc.") || key.host.ends_with(".svc");
    Some(if unqualified || cluster_local { Backend::Missing } else { Backend::Resolved })
}
