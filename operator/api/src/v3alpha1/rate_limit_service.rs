//! RateLimitService: an external service that counts requests.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ProtocolVersion, ResourceStatus, V2ExplicitTls, V2Spelling};
use crate::integer;

/// What a RateLimitService asks for: an external service that decides by their labels whether requests exceed a limit.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "RateLimitService",
    root = "RateLimitService",
    plural = "ratelimitservices",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "RateLimitService: an external service that counts requests.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
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
    /// Name of a TLSContext whose settings are used towards the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Interface the service speaks; only `v3` works, and it must be given. Default: `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the service in statistics. Default: derived from the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// Whether requests are denied while the service cannot be asked. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_mode_deny: Option<bool>,
    /// How a denied gRPC request is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<RateLimitGrpc>,
    /// How a v1 or v2 object spelled TLS, for conversion back.
    #[serde(rename = "v2ExplicitTLS", skip_serializing_if = "Option::is_none")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// How gRPC requests over a limit are answered.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RateLimitGrpc {
    /// Whether the answer is RESOURCE_EXHAUSTED instead of UNAVAILABLE. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_resource_exhausted_code: Option<bool>,
}
