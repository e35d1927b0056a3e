//! Upstream clusters.

use crate::{HeaderValue, SecretName, TlsVersion};
use std::net::IpAddr;
use std::sync::Arc;

/// The Envoy name of a cluster: upstream's name, plus a hash of the options that upstream's name lacks.
pub type ClusterName = Arc<str>;

/// How a cluster finds its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// A fixed address: a Service's ClusterIP, or an IP address written as the service.
    Static {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The name it stands for, which `auto_host_rewrite` sends.
        hostname: Option<Arc<str>>,
    },
    /// DNS.
    Dns {
        /// Name to resolve.
        host: Arc<str>,
        /// The port.
        port: u16,
        /// Use one address at a time (LOGICAL_DNS) instead of all (STRICT_DNS).
        logical: bool,
        /// Follow the record's time to live.
        respect_ttl: bool,
    },
    /// Endpoints are streamed under this name, `k8s/<namespace>/<service>/<port>` or `consul/<datacenter>/<service>`.
    Endpoints(Arc<str>),
}

/// Which address families DNS asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsFamily {
    /// IPv4 only, upstream's default.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv6 first, then IPv4.
    Auto,
}

/// TLS towards the upstream hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Client certificate.
    pub certificate: Option<SecretName>,
    /// CA (and revocation list) the server's certificate must verify against; `None`: no verification.
    pub validation: Option<SecretName>,
    /// SNI to send.
    pub sni: Option<Arc<str>>,
    /// Protocols to offer.
    pub alpn: Vec<Arc<str>>,
    /// Lowest version.
    pub min_version: Option<TlsVersion>,
    /// Highest version.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites up to TLS 1.2.
    pub cipher_suites: Vec<Arc<str>>,
    /// Curves.
    pub ecdh_curves: Vec<Arc<str>>,
}

/// Limits for one routing priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    /// True for priority `high`.
    pub high_priority: bool,
    /// Whether a priority is written, which upstream's name of a cluster tells.
    pub priority_is_written: bool,
    /// Connections.
    pub max_connections: Option<u32>,
    /// Queued requests.
    pub max_pending_requests: Option<u32>,
    /// Parallel requests.
    pub max_requests: Option<u32>,
    /// Parallel retries.
    pub max_retries: Option<u32>,
}

/// TCP keepalive; unset fields keep the kernel's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Unanswered probes until the connection is dead.
    pub probes: Option<u32>,
    /// Seconds of silence before the first probe.
    pub idle_time_s: Option<u32>,
    /// Seconds between probes.
    pub interval_s: Option<u32>,
}

/// The load-balancing policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// Fewest active requests.
    LeastRequest,
    /// Consistent hashing by ring.
    RingHash,
    /// Consistent hashing by Maglev.
    Maglev,
}

/// One active health check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// Milliseconds that one probe may take.
    pub timeout_ms: u64,
    /// Milliseconds between probes.
    pub interval_ms: u64,
    /// Successes in a row after which an endpoint is healthy again.
    pub healthy_threshold: u32,
    /// Failures in a row after which an endpoint is unhealthy.
    pub unhealthy_threshold: u32,
    /// What is asked.
    pub probe: HealthProbe,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HealthProbe {
    /// An HTTP request.
    Http {
        /// Its path.
        path: Arc<str>,
        /// Its host; `None`: the cluster's name.
        host: Option<Arc<str>>,
        /// Headers to add.
        add_headers: Vec<HeaderValue>,
        /// Headers to remove.
        remove_headers: Vec<Arc<str>>,
        /// Status codes that count as success, first and last of each range; none: 200.
        expected: Vec<(u16, u16)>,
    },
    /// A call of the gRPC health checking protocol.
    Grpc {
        /// The service that is asked about.
        service: Arc<str>,
        /// Its authority; `None`: the cluster's name.
        authority: Option<Arc<str>>,
    },
}

/// One cluster, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Envoy name.
    pub name: ClusterName,
    /// Name in statistics.
    pub alt_stat_name: Arc<str>,
    /// Where its hosts come from.
    pub discovery: Discovery,
    /// Address families for DNS.
    pub dns_family: DnsFamily,
    /// TLS towards the hosts.
    pub tls: Option<ClientTls>,
    /// Milliseconds to connect.
    pub connect_timeout_ms: u64,
    /// Milliseconds until an idle connection is closed.
    pub idle_timeout_ms: Option<u64>,
    /// Milliseconds until a connection is closed whatever it does.
    pub max_connection_ms: Option<u64>,
    /// HTTP/2 towards the hosts.
    pub http2: bool,
    /// Limits.
    pub circuit_breakers: Vec<CircuitBreaker>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// Load balancing.
    pub load_balancing: LoadBalancing,
    /// Active health checks.
    pub health_checks: Arc<[HealthCheck]>,
}

impl Cluster {
    /// Whether Envoy needs more than its configuration to make the cluster ready: it resolves a name, or checks the health of
    /// endpoints first. Routes to the cluster are answered with 503 meanwhile.
    pub fn warms(&self) -> bool {
        match self.discovery {
            Discovery::Dns { .. } => true,
            Discovery::Static { .. } | Discovery::Endpoints(_) => !self.health_checks.is_empty(),
        }
    }
}
