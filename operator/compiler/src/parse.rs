//! From decoded specs to judged values: one file per kind, each a pure function of the object alone.
//!
//! What needs another object (Module defaults, Services, Secrets, Hosts) is the business of the later stages.

mod cluster;
mod config;
mod dev_portal;
mod error_response;
mod host;
mod listener;
mod mapping;
mod module;
mod policy;
mod report;
mod resolver;
mod services;
mod tcp_mapping;
#[cfg(test)]
mod tests;
mod tls_context;

pub use crate::check::limits::Limits;
pub use error_response::{ParsedErrorBody, ParsedErrorRule, judge as error_text};

use api::{DecodeProblem, Decoded, Spec};
use ir::{
    AccessLog, Checked, CircuitBreaker, ClientCertificateHeader, CorsPolicy, HashOn, HeaderValue, HealthCheck,
    Keepalive, ListenerFilter, LoadBalancing, ModuleFilters, NamedMatch, ObjectKey, PathMatch, Problem, ProblemKind,
    RedirectPath, RegexRewrite, RetryPolicy, TextMatch, TlsVersion, UnderscoreAction,
};
use report::Report;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Judges a decoded spec. No value, or a problem that refuses, when it must not be in force; the problems say why.
pub fn parse(about: &ObjectKey, spec: &Spec, limits: &Limits) -> Checked<Option<Parsed>> {
    let mut report = Report::new(about);
    let value = match spec {
        Spec::AuthService(spec) => Some(services::auth(spec, &mut report)),
        Spec::ConsulResolver(spec) => Some(resolver::consul(spec, &mut report)),
        Spec::DevPortal(spec) => Some(dev_portal::dev_portal(spec, &mut report)),
        Spec::Host(spec) => host::host(spec, &mut report).map(Arc::new).map(Parsed::Host),
        Spec::KubernetesEndpointResolver(_) => Some(Parsed::Resolver(ResolverKind::Endpoint)),
        Spec::KubernetesServiceResolver(_) => Some(Parsed::Resolver(ResolverKind::Service)),
        Spec::Listener(spec) => listener::listener(spec, &mut report).map(Arc::new).map(Parsed::Listener),
        Spec::LogService(spec) => Some(services::log(spec, &mut report)),
        Spec::Mapping(spec) => mapping::mapping(spec, limits, &mut report).map(Arc::new).map(Parsed::Mapping),
        Spec::Module(spec) => Some(module::module(about, spec, limits, &mut report)),
        Spec::RateLimitService(spec) => Some(services::rate_limit(spec, &mut report)),
        Spec::TcpMapping(spec) => tcp_mapping::tcp_mapping(spec, &mut report).map(Arc::new).map(Parsed::TcpMapping),
        Spec::TlsContext(spec) => Some(Parsed::TlsContext(Arc::new(tls_context::tls_context(spec, &mut report)))),
        Spec::TracingService(spec) => Some(services::tracing(spec, &mut report)),
    };
    Checked { value, problems: report.problems }
}

/// A spec that does not decode. The decoder quotes what it found; a status and a terminal get no control characters.
pub fn decode_problem(about: &ObjectKey, problem: &DecodeProblem) -> Problem {
    let message: String = problem.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Problem::refused(about, spec_path(&problem.path), ProblemKind::Malformed, message)
}

/// Fields that nobody reads.
pub fn unknown_fields<T>(about: &ObjectKey, decoded: &Decoded<T>) -> Vec<Problem> {
    let unknown = decoded.unknown.iter();
    unknown
        .map(|path| {
            Problem::notice(
                about,
                spec_path(path),
                ProblemKind::UnknownField,
                "the field is not known and has no effect",
            )
        })
        .collect()
}

fn spec_path(path: &str) -> String {
    if path.is_empty() || path == "." { "spec".to_owned() } else { format!("spec.{path}") }
}

/// Labels of an object or of a selector, sorted by key.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A label selector; only `matchLabels` counts, as upstream has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(pub Vec<(Arc<str>, Arc<str>)>);

/// The parsed form of any object that takes part in compilation.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// A Mapping.
    Mapping(Arc<ParsedMapping>),
    /// A Host.
    Host(Arc<ParsedHost>),
    /// A Listener.
    Listener(Arc<ParsedListener>),
    /// A TLSContext.
    TlsContext(Arc<ParsedTlsContext>),
    /// A TCPMapping.
    TcpMapping(Arc<ParsedTcpMapping>),
    /// A Module named `ambassador`.
    Module(Arc<ParsedModule>),
    /// A KubernetesServiceResolver, KubernetesEndpointResolver or ConsulResolver.
    Resolver(ResolverKind),
    /// An AuthService: every Mapping without `bypass_auth` is guarded by it.
    AuthService,
    /// A RateLimitService.
    RateLimitService(ParsedRateLimitService),
    /// A kind that is checked and has no rows of its own.
    Inert,
}

/// What a resolver object resolves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResolverKind {
    /// Address the Service itself.
    Service,
    /// Stream the endpoints of the Service.
    Endpoint,
    /// Endpoints from Consul (not available yet).
    Consul,
}

/// A RateLimitService, as far as it guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRateLimitService {
    /// Label domain it serves; `None`: the Module's default domain.
    pub domain: Option<Arc<str>>,
    /// Whether requests are to be refused when it does not answer.
    pub failure_mode_deny: bool,
}

/// `[scheme://]host[:port]`, judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceRef {
    /// `Some(true)` for https, `Some(false)` for http, `None` when nothing is written.
    pub tls_scheme: Option<bool>,
    /// Host, lower case, without brackets, percent escapes decoded.
    pub host: Arc<str>,
    /// The port as written; 0 counts as not written.
    pub port: Option<u16>,
    /// The text in canonical form without the namespace qualification; what upstream puts into names.
    pub text: Arc<str>,
}

/// The host condition of a Mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostCondition {
    /// None given: only a Host whose selector matches takes it.
    None,
    /// `hostname`, `host` without regex, or an exact `:authority` header.
    Glob(Arc<str>),
    /// `host` with `host_regex`.
    Regex(Arc<str>),
}

/// Redirect settings of a Mapping (`host_redirect: true`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRedirect {
    /// New path.
    pub path: Option<RedirectPath>,
    /// 301 by default.
    pub code: u16,
}

/// `load_balancer`, judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParsedLoadBalancer {
    /// The policy.
    pub policy: LoadBalancing,
    /// What to hash on, for ring_hash and maglev.
    pub hash_on: Option<HashOn>,
}

/// A Mapping without the defaults that come from elsewhere. `None` means that the field was not there. What few
/// Mappings have is boxed: there may be 100,000 of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedMapping {
    /// Path condition.
    pub path: PathMatch,
    /// `case_sensitive`
    pub case_sensitive: Option<bool>,
    /// Host condition.
    pub host: HostCondition,
    /// `headers` in key order, then `regex_headers` in key order; never `:authority` of a host condition.
    pub headers: Vec<NamedMatch>,
    /// `method`
    pub method: Option<TextMatch>,
    /// `query_parameters` in key order, then `regex_query_parameters`.
    pub query: Vec<NamedMatch>,
    /// `precedence`
    pub precedence: i64,
    /// `service`
    pub service: ServiceRef,
    /// `resolver`
    pub resolver: Option<Arc<str>>,
    /// `tls`: name of a TLSContext; with `v2ExplicitTLS` nothing is read from that field.
    pub tls: Option<Arc<str>>,
    /// `weight`, 0..=100
    pub weight: Option<u32>,
    /// `shadow`
    pub shadow: bool,
    /// Redirect settings.
    pub redirect: Option<Box<ParsedRedirect>>,
    /// `rewrite`; the empty text means no rewriting.
    pub rewrite: Option<Arc<str>>,
    /// `regex_rewrite`
    pub regex_rewrite: Option<Box<RegexRewrite>>,
    /// `host_rewrite`
    pub host_rewrite: Option<Arc<str>>,
    /// `auto_host_rewrite`
    pub auto_host_rewrite: Option<bool>,
    /// `add_request_headers`
    pub add_request_headers: Option<Vec<HeaderValue>>,
    /// `add_response_headers`
    pub add_response_headers: Option<Vec<HeaderValue>>,
    /// `remove_request_headers`
    pub remove_request_headers: Option<Vec<Arc<str>>>,
    /// `remove_response_headers`
    pub remove_response_headers: Option<Vec<Arc<str>>>,
    /// `add_linkerd_headers`
    pub add_linkerd_headers: Option<bool>,
    /// `timeout_ms`
    pub timeout_ms: Option<u64>,
    /// `idle_timeout_ms`
    pub idle_timeout_ms: Option<u64>,
    /// `connect_timeout_ms`
    pub connect_timeout_ms: Option<u64>,
    /// `cluster_idle_timeout_ms`
    pub cluster_idle_timeout_ms: Option<u64>,
    /// `cluster_max_connection_lifetime_ms`
    pub cluster_max_connection_ms: Option<u64>,
    /// `grpc`
    pub grpc: bool,
    /// `cluster_tag`
    pub cluster_tag: Option<Arc<str>>,
    /// `stats_name`
    pub stats_name: Option<Arc<str>>,
    /// `circuit_breakers`
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// `keepalive`
    pub keepalive: Option<Box<Keepalive>>,
    /// `load_balancer`
    pub load_balancer: Option<Box<ParsedLoadBalancer>>,
    /// `dns_type: logical_dns`
    pub logical_dns: bool,
    /// `respect_dns_ttl`
    pub respect_dns_ttl: bool,
    /// `enable_ipv4`
    pub enable_ipv4: Option<bool>,
    /// `enable_ipv6`
    pub enable_ipv6: Option<bool>,
    /// `bypass_auth`
    pub bypass_auth: bool,
    /// Rate-limit label domains that are present.
    pub label_domains: Vec<Arc<str>>,
    /// Fingerprint of `labels`, which members of one group must share; 0 without.
    pub labels_hash: u64,
    /// Of the largest regular expression, in instructions of RE2; 0 without any.
    pub program_size: u32,
    /// What few Mappings have.
    pub policies: Option<Box<ParsedPolicies>>,
}

/// Policies of a Mapping. `None` means that the field was not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParsedPolicies {
    /// `retry_policy`
    pub retry: Option<Arc<RetryPolicy>>,
    /// `cors`
    pub cors: Option<Arc<CorsPolicy>>,
    /// `priority`: whether it is `high`
    pub high_priority: Option<bool>,
    /// `allow_upgrade`, and what `use_websocket` adds
    pub upgrades: Option<Arc<[Arc<str>]>>,
    /// `health_checks`
    pub health_checks: Arc<[HealthCheck]>,
    /// `error_response_overrides`
    pub errors: Arc<[ParsedErrorRule]>,
    /// `bypass_error_response_overrides`
    pub bypass_errors: bool,
}

impl ParsedMapping {
    /// A Mapping with nothing but a path and a service.
    pub fn new(path: PathMatch, service: ServiceRef) -> Self {
        Self {
            path,
            service,
            case_sensitive: None,
            host: HostCondition::None,
            headers: Vec::new(),
            method: None,
            query: Vec::new(),
            precedence: 0,
            resolver: None,
            tls: None,
            weight: None,
            shadow: false,
            program_size: 0,
            redirect: None,
            rewrite: None,
            regex_rewrite: None,
            host_rewrite: None,
            auto_host_rewrite: None,
            add_request_headers: None,
            add_response_headers: None,
            remove_request_headers: None,
            remove_response_headers: None,
            add_linkerd_headers: None,
            timeout_ms: None,
            idle_timeout_ms: None,
            connect_timeout_ms: None,
            cluster_idle_timeout_ms: None,
            cluster_max_connection_ms: None,
            grpc: false,
            cluster_tag: None,
            stats_name: None,
            circuit_breakers: None,
            keepalive: None,
            load_balancer: None,
            logical_dns: false,
            respect_dns_ttl: false,
            enable_ipv4: None,
            enable_ipv6: None,
            bypass_auth: false,
            label_domains: Vec::new(),
            labels_hash: 0,
            policies: None,
        }
    }
}

/// A TCPMapping.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedTcpMapping {
    /// `port`
    pub port: u16,
    /// `address`
    pub address: Option<Arc<str>>,
    /// `host`: a server name, `*.suffix` or `*`. Without it all connections of the port are meant, as they come.
    pub host: Option<Arc<str>>,
    /// `idle_timeout_ms`
    pub idle_timeout_ms: Option<u64>,
    /// Service, resolver, TLS, weight and settings of the cluster: what it has in common with a Mapping. The rest
    /// of this Mapping says nothing.
    pub destination: ParsedMapping,
}

/// What a Host does with clear text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InsecureAction {
    /// Redirect to https.
    Redirect,
    /// Serve it.
    Route,
    /// 404.
    Reject,
}

/// Namespace (when written) and name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// As written.
    pub namespace: Option<Arc<str>>,
    /// As written.
    pub name: Arc<str>,
}

/// TLS settings that TLSContext and inline `tls` share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// `cert_chain_file`
    pub cert_chain_file: Option<Arc<str>>,
    /// `private_key_file`
    pub private_key_file: Option<Arc<str>>,
    /// `ca_secret`, as written
    pub ca_secret: Option<Arc<str>>,
    /// `cacert_chain_file`
    pub ca_file: Option<Arc<str>>,
    /// `crl_secret`, as written
    pub crl_secret: Option<Arc<str>>,
    /// `crl_file`
    pub crl_file: Option<Arc<str>>,
    /// `cert_required`
    pub cert_required: Option<bool>,
    /// `alpn_protocols`, split at commas and trimmed
    pub alpn: Vec<Arc<str>>,
    /// `min_tls_version`
    pub min_version: Option<TlsVersion>,
    /// `max_tls_version`
    pub max_version: Option<TlsVersion>,
    /// `cipher_suites`, judged against what Envoy knows
    pub cipher_suites: Vec<Arc<str>>,
    /// `ecdh_curves`, judged
    pub ecdh_curves: Vec<Arc<str>>,
    /// `sni`
    pub sni: Option<Arc<str>>,
    /// A setting that protects traffic cannot be honoured, so nothing may be served under these settings.
    pub closed: bool,
}

/// A Host.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedHost {
    /// `hostname`, default `*`, lower case kept as written.
    pub hostname: Arc<str>,
    /// SNI name: the host name without a trailing port.
    pub sni: Arc<str>,
    /// `mappingSelector`, else `selector`; `None` when absent or `{}`. An empty list matches every Mapping.
    pub selector: Option<Selector>,
    /// `tlsSecret`, when its name is set.
    pub tls_secret: Option<SecretRef>,
    /// `tlsContext.name`
    pub tls_context: Option<Arc<str>>,
    /// Inline `tls`.
    pub tls: Option<TlsSettings>,
    /// `requestPolicy.insecure.action`
    pub insecure: InsecureAction,
}

/// Who decides whether a request is secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecurityModel {
    /// `x-forwarded-proto`
    Xfp,
    /// All are.
    Secure,
    /// None is.
    Insecure,
}

/// Which namespaces' Hosts a Listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamespaceFrom {
    /// All.
    All,
    /// Its own.
    Own,
}

/// A Listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedListener {
    /// `port`
    pub port: u16,
    /// The stack has HTTP.
    pub http: bool,
    /// The stack has TLS.
    pub tls: bool,
    /// The stack ends in UDP.
    pub udp: bool,
    /// Listener filters in stack order.
    pub filters: Vec<ListenerFilter>,
    /// `securityModel`
    pub security: SecurityModel,
    /// `statsPrefix`, default applied.
    pub stats_prefix: Arc<str>,
    /// `l7Depth`
    pub l7_depth: u32,
    /// `http2MaxConcurrentStreams`
    pub max_concurrent_streams: Option<u32>,
    /// `hostBinding.namespace`
    pub from: NamespaceFrom,
    /// `hostBinding.selector`
    pub selector: Option<Selector>,
}

/// A TLSContext.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedTlsContext {
    /// `hosts`
    pub hosts: Vec<Arc<str>>,
    /// `secret`, as written
    pub secret: Option<Arc<str>>,
    /// `secret_namespacing`
    pub secret_namespacing: Option<bool>,
    /// The rest.
    pub settings: TlsSettings,
}

/// One built-in route of the Module (`diagnostics`, `liveness_probe`, `readiness_probe`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedProbe {
    /// Whether it is served.
    pub enabled: bool,
    /// Its prefix.
    pub prefix: Arc<str>,
    /// What the prefix becomes.
    pub rewrite: Arc<str>,
    /// Where it goes.
    pub service: ServiceRef,
}

/// The `ambassador` Module with all defaults applied. Each stage reads one narrow slice of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedModule {
    /// Defaults of routes.
    pub route: RouteDefaults,
    /// Defaults of clusters.
    pub cluster: ClusterDefaults,
    /// Settings of HTTP connection managers.
    pub http: HttpDefaults,
    /// Defaults of TLS.
    pub tls: TlsDefaults,
    /// Probe routes: liveness, readiness, diagnostics.
    pub probes: [ParsedProbe; 3],
}

/// Slice: what a route takes from the Module.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteDefaults {
    /// `cluster_request_timeout_ms`, default 3000
    pub timeout_ms: u64,
    /// `defaults.httpmapping.add_request_headers` and so on.
    pub add_request_headers: Option<Vec<HeaderValue>>,
    /// See above.
    pub add_response_headers: Option<Vec<HeaderValue>>,
    /// See above.
    pub remove_request_headers: Option<Vec<Arc<str>>>,
    /// See above.
    pub remove_response_headers: Option<Vec<Arc<str>>>,
    /// `defaults.httpmapping.stats_name`
    pub stats_name: Option<Arc<str>>,
    /// `add_linkerd_headers`
    pub add_linkerd_headers: bool,
    /// Largest compiled size of a regular expression, RE2 program instructions.
    pub regex_max_size: u32,
    /// `resolver`
    pub resolver: Option<Arc<str>>,
    /// `use_ambassador_namespace_for_service_resolution`
    pub own_namespace_for_services: bool,
    /// `default_label_domain`
    pub default_label_domain: Arc<str>,
    /// Domains that have default labels.
    pub default_labels: Vec<Arc<str>>,
    /// `retry_policy`
    pub retry: Option<Arc<RetryPolicy>>,
    /// `cors`
    pub cors: Option<Arc<CorsPolicy>>,
    /// Whether the Module has `error_response_overrides`, so that a Mapping with its own has something to put aside.
    pub has_errors: bool,
    /// A guard of the Module that cannot be enforced (`ip_allow`, `ip_deny`, invalid or not available): every request
    /// is refused. The text names the field.
    pub closed: Option<Arc<str>>,
}

/// Slice: what a cluster takes from the Module.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterDefaults {
    /// `cluster_idle_timeout_ms`
    pub idle_timeout_ms: Option<u64>,
    /// `cluster_max_connection_lifetime_ms`
    pub max_connection_ms: Option<u64>,
    /// `circuit_breakers`
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// `keepalive`
    pub keepalive: Option<Keepalive>,
    /// `load_balancer`
    pub load_balancer: Option<ParsedLoadBalancer>,
    /// `enable_ipv4`, default true
    pub enable_ipv4: bool,
    /// `enable_ipv6`, default false
    pub enable_ipv6: bool,
}

/// Slice: what a connection manager takes from the Module.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpDefaults {
    /// `use_remote_address`, default true
    pub use_remote_address: bool,
    /// `server_name`, default `envoy`
    pub server_name: Arc<str>,
    /// `enable_http10`
    pub accept_http_10: bool,
    /// `allow_chunked_length`
    pub allow_chunked_length: bool,
    /// `preserve_external_request_id`
    pub preserve_external_request_id: bool,
    /// `strip_matching_host_port`
    pub strip_matching_host_port: bool,
    /// `merge_slashes`
    pub merge_slashes: bool,
    /// `reject_requests_with_escaped_slashes`
    pub reject_escaped_slashes: bool,
    /// `suppress_envoy_headers`
    pub suppress_envoy_headers: bool,
    /// `max_request_headers_kb`
    pub max_request_headers_kb: Option<u32>,
    /// `listener_idle_timeout_ms`
    pub idle_timeout_ms: Option<u64>,
    /// `headers_with_underscores_action`
    pub headers_with_underscores: Option<UnderscoreAction>,
    /// `proper_case`
    pub proper_case: bool,
    /// `forward_client_cert_details`, `set_current_client_cert_details`
    pub client_certificate: ClientCertificateHeader,
    /// `buffer_limit_bytes`
    pub buffer_limit_bytes: Option<u32>,
    /// `envoy_log_path`, `envoy_log_type`, `envoy_log_format`
    pub access_log: AccessLog,
    /// `error_response_overrides`
    pub errors: Arc<[ParsedErrorRule]>,
    /// `enable_grpc_http11_bridge`, `enable_grpc_web`, `grpc_stats`, `gzip`, `buffer`; `None` without any of them.
    pub filters: Option<Arc<ModuleFilters>>,
}

/// Slice: what TLS takes from the Module.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsDefaults {
    /// `defaults.tls_secret_namespacing`, default true
    pub secret_namespacing: bool,
}
