//! AuthService: an external service that decides whether a request may pass.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, BoolOrString};
use crate::integer;
use crate::v3alpha1::{
    AuthServiceIncludeBody, AuthServiceProtocol, AuthServiceStatusOnError, CircuitBreaker, ProtocolVersion,
};

/// What an AuthService asks for: an external service that every request is checked with before it is routed.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
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
    /// True to reach the service over TLS, or the name of a TLSContext whose settings are used towards it. Default: TLS if
    /// the service has the scheme `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BoolOrString>,
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
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// Limits on what may be open towards the service.
    #[serde(rename = "v3CircuitBreakers", skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
}
