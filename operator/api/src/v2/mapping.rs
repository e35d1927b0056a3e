//! Mapping: requests under a prefix go to a service.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AddedHeaders, AmbassadorId, BoolOrString, Matches, StringOrList};
use super::mapping_labels::DomainLabels;
use crate::integer;
use crate::v3alpha1::{
    CircuitBreaker, ErrorResponseOverride, HealthCheck, Keepalive, LoadBalancer, MappingDocs, OpaqueObject, RegexMap,
    RetryPolicy,
};

/// What a Mapping asks for: requests that match are sent to a service, redirected or mirrored.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct MappingSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Path prefix to match; a whole path with `prefix_exact`, a regular expression with `prefix_regex`.
    pub prefix: String,
    /// Whether `prefix` is a regular expression on the whole path. It wins over `prefix_exact`. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_regex: Option<bool>,
    /// Whether `prefix` is the whole path. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_exact: Option<bool>,
    /// Whether upper and lower case differ in the path. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_sensitive: Option<bool>,
    /// Host to match: a DNS name, a glob with one `*` at its beginning or end, or a regular expression with `host_regex`.
    /// Default: any; `hostname` in v3alpha1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether `host` is a regular expression. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_regex: Option<bool>,
    /// HTTP method to match. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Whether `method` is a regular expression. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_regex: Option<bool>,
    /// Headers that must have exactly these values; true asks only that the header is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Matches>,
    /// Headers whose values must match these regular expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_headers: Option<BTreeMap<String, String>>,
    /// Query parameters that must have exactly these values; true asks only that the parameter is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_parameters: Option<Matches>,
    /// Query parameters whose values must match these regular expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_query_parameters: Option<BTreeMap<String, String>>,
    /// Order among Mappings: higher ones are tried first, before any other criterion. Default: 0.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub precedence: Option<i64>,
    /// Envoy routing priority, `default` or `high`, which chooses the circuit breakers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// The service, as `[http://|https://]host[.namespace][:port]`. For a redirect, the host to redirect to.
    pub service: String,
    /// Resolver that finds the service's addresses. Default: the Module's, else `kubernetes-service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// Share of the requests in percent, among the Mappings that match the same. Default: what is left, in equal parts.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// True to reach the service over TLS, or the name of a TLSContext whose settings are used towards it. Default: TLS if
    /// the service has the scheme `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BoolOrString>,
    /// Whether the service is spoken to over HTTP/2. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<bool>,
    /// Prefix of the cluster's name, to keep it apart from others of the same service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_tag: Option<String>,
    /// Name of the service in statistics. Default: derived from the service.
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// How an endpoint is chosen. It needs a resolver that knows endpoints. Default: the Module's, else round robin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits on what may be open towards the service. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// TCP keepalive towards the service. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
    /// Active health checks of the endpoints. They need a resolver that knows endpoints.
    #[serde(rename = "v3health_checks", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub health_checks: Option<Vec<HealthCheck>>,
    /// Milliseconds to wait for a connection to the service. Default: 3000.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<i64>,
    /// Milliseconds after which an idle connection to the service is closed. Default: the Module's.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub cluster_idle_timeout_ms: Option<i64>,
    /// Milliseconds after which any connection to the service is closed. Default: the Module's.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub cluster_max_connection_lifetime_ms: Option<i64>,
    /// How DNS names are resolved: `strict_dns` or `logical_dns`. Default: `strict_dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_type: Option<String>,
    /// Whether the time to live of DNS answers is honoured. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respect_dns_ttl: Option<bool>,
    /// Whether names are resolved to IPv4 addresses. Default: the Module's, else true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether names are resolved to IPv6 addresses. Default: the Module's, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// Not supported; a condition says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<String>,
    /// It has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy_override: Option<OpaqueObject>,
    /// What replaces the prefix; the empty string leaves the path as it is. Default: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Rewrites the path by a regular expression. It wins over `rewrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_rewrite: Option<RegexMap>,
    /// Host header for the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_rewrite: Option<String>,
    /// Whether the Host header becomes the service's DNS name. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_host_rewrite: Option<bool>,
    /// Whether the client is redirected to `service` instead. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_redirect: Option<bool>,
    /// Path of the redirect. It wins over `prefix_redirect` and `regex_redirect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_redirect: Option<String>,
    /// What replaces the prefix in the path of the redirect. It wins over `regex_redirect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_redirect: Option<String>,
    /// Makes the path of the redirect by a regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_redirect: Option<RegexMap>,
    /// Status code of the redirect. Default: 301.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub redirect_response_code: Option<i64>,
    /// Headers added to the request, each a value or an object with `value` and `append`. An empty object overrides the
    /// Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_request_headers: Option<AddedHeaders>,
    /// Headers added to the response, each a value or an object with `value` and `append`. An empty object overrides the
    /// Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_response_headers: Option<AddedHeaders>,
    /// Headers removed from the request: one name or a list. An empty list overrides the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_request_headers: Option<StringOrList>,
    /// Headers removed from the response: one name or a list. An empty list overrides the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_response_headers: Option<StringOrList>,
    /// Whether the `l5d-dst-override` header is added. Default: the Module's, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_linkerd_headers: Option<bool>,
    /// Milliseconds for the whole request; 0 is no limit. Default: the Module's `cluster_request_timeout_ms`, else
    /// 3000.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
    /// Milliseconds without activity after which the stream is closed. Default: Envoy's.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<i64>,
    /// When a request is tried again. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// Cross-origin resource sharing. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Protocols a client may upgrade to, such as `websocket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_upgrade: Option<Vec<String>>,
    /// Deprecated by `allow_upgrade`: true adds `websocket` there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_websocket: Option<bool>,
    /// Whether the service gets a copy of the traffic whose answers are dropped. It wins over `host_redirect`. Default:
    /// false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<bool>,
    /// Whether requests pass without asking the AuthService. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_auth: Option<bool>,
    /// Entries that a `grpc` AuthService gets with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_context_extensions: Option<BTreeMap<String, String>>,
    /// Labels for rate limiting, by domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<DomainLabels>,
    /// Bodies for error answers. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub error_response_overrides: Option<Vec<ErrorResponseOverride>>,
    /// Whether the Module's error bodies are not used here. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_error_response_overrides: Option<bool>,
    /// API documents of the service, for tools that show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<MappingDocs>,
    /// It has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<Vec<OpaqueObject>>,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Cors {
    /// Origins that may ask, exactly as browsers send them: a list, or one string with commas; `*` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<StringOrList>,
    /// Methods they may use: a list, or one string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<StringOrList>,
    /// Request headers they may send: a list, or one string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<StringOrList>,
    /// Whether they may send credentials. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
    /// Response headers they may read: a list, or one string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_headers: Option<StringOrList>,
    /// Seconds a browser may remember the answer, written as a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
}
