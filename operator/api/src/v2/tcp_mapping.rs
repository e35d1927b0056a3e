//! TCPMapping: connections on a port go to a service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, BoolOrString};
use crate::integer;
use crate::v3alpha1::CircuitBreaker;

/// What a TCPMapping asks for: connections on a port, or with a server name there, go to a service.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct TcpMappingSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Port to listen on. Without a Listener for it, one is made.
    #[serde(deserialize_with = "integer::required")]
    pub port: i64,
    /// Server name (SNI) or glob that chooses connections; it implies that TLS is terminated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Address to listen on. Default: 0.0.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The service, as `[scheme://]host[.namespace][:port]`.
    pub service: String,
    /// Whether names are resolved to IPv4 addresses. Default: the Module's, else true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Whether names are resolved to IPv6 addresses. Default: the Module's, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// Limits on what may be open towards the service. Default: the Module's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// Milliseconds without traffic after which a connection is closed, written as a string of digits. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<String>,
    /// Resolver that finds the service's addresses. Default: the Module's, else `kubernetes-service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// True to reach the service over TLS, or the name of a TLSContext whose settings are used towards it. Default: TLS if
    /// the service has the scheme `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BoolOrString>,
    /// Share of the connections in percent, among the TCPMappings of the same port and host. Default: what is left, in
    /// equal parts.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// Prefix of the cluster's name, to keep it apart from others of the same service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_tag: Option<String>,
    /// Name of the service in statistics. Default: derived from the service.
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
}
