//! AuthService: an external service that decides whether a request may pass.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, CircuitBreaker, ProtocolVersion, ResourceStatus, V2ExplicitTls, V2Spelling};
use crate::integer;

/// What an AuthService asks for: an external service that every request is checked with before it is routed.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "AuthService",
    root = "AuthService",
    plural = "authservices",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "AuthService: an external service that decides whether a request may pass.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct AuthServiceSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// The external service, as `[scheme://]host[.namespace][:port]`. Several AuthServices of an installation share the
    /// load.
    pub auth_service: String,
    /// Put in front of the path of the request that is sent to an `http` service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Name of a TLSContext whose settings are used towards the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Protocol the service speaks. Default: `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<AuthServiceProtocol>,
    /// Milliseconds to wait for the service's answer. Default: 5000.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
    /// Request headers passed to an `http` service, beside the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_request_headers: Option<Vec<String>>,
    /// Headers of an `http` service's answer that are passed to the upstream, beside the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_authorization_headers: Option<Vec<String>>,
    /// Fixed headers added to the request that is sent to an `http` service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_auth_headers: Option<BTreeMap<String, String>>,
    /// Old form of `include_body`: true sends up to 4096 bytes of the body and allows it to be partial. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_request_body: Option<bool>,
    /// Whether the `l5d-dst-override` header is added for the service. Default: the Module's, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_linkerd_headers: Option<bool>,
    /// Whether requests pass while the service cannot be asked. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_mode_allow: Option<bool>,
    /// Sends the request body to the service. It wins over `allow_request_body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_body: Option<AuthServiceIncludeBody>,
    /// Answer to the client when the service cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_on_error: Option<AuthServiceStatusOnError>,
    /// Interface a `grpc` service speaks; only `v3` works, and it must be given. Default: `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the service in statistics. Default: derived from the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// Limits on what may be open towards the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// How a v1 or v2 object spelled TLS, for conversion back.
    #[serde(rename = "v2ExplicitTLS", skip_serializing_if = "Option::is_none")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// How much of a request body an AuthService gets.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AuthServiceIncludeBody {
    /// Most bytes of the body that are buffered and sent.
    #[serde(deserialize_with = "integer::required")]
    pub max_bytes: i64,
    /// Whether a longer body is cut at `max_bytes`; false answers 413 instead.
    pub allow_partial: bool,
}

/// What a client is answered when an AuthService cannot be asked.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AuthServiceStatusOnError {
    /// HTTP status code. Default: 403.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

/// Protocol of an AuthService.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum AuthServiceProtocol {
    /// Plain HTTP: the request's headers are replayed, and a 200 lets the request pass.
    #[serde(rename = "http")]
    Http,
    /// Envoy's external authorization gRPC service.
    #[serde(rename = "grpc")]
    Grpc,
}
