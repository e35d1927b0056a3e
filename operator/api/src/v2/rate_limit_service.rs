//! RateLimitService: an external service that counts requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, BoolOrString};
use crate::integer;
use crate::v3alpha1::{ProtocolVersion, RateLimitGrpc};

/// What a RateLimitService asks for: an external service that decides by their labels whether requests exceed a limit.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct RateLimitServiceSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// The external service, as `[scheme://]host[.namespace][:port]`.
    pub service: String,
    /// Milliseconds to wait for the service's answer. Default: 20.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
    /// Label domain it decides about. Default: the Module's `default_label_domain`, else `ambassador`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// True to reach the service over TLS, or the name of a TLSContext whose settings are used towards it. Default: TLS if
    /// the service has the scheme `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BoolOrString>,
    /// Interface the service speaks; only `v3` works, and it must be given. Default: `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the service in statistics. Default: derived from the service.
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// Whether requests are denied while the service cannot be asked. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_mode_deny: Option<bool>,
    /// How a denied gRPC request is answered.
    #[serde(rename = "v3GRPC", skip_serializing_if = "Option::is_none")]
    pub grpc: Option<RateLimitGrpc>,
}
