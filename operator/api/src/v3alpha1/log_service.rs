//! LogService: a server that receives the access log.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ProtocolVersion, ResourceStatus, V2Spelling};
use crate::integer;

/// What a LogService asks for: access log entries are sent to a gRPC server.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "LogService",
    root = "LogService",
    plural = "logservices",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "LogService: a server that receives the access log.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct LogServiceSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// The server, as `[scheme://]host[.namespace][:port]`. A LogService without one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which entries are sent. A LogService without one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<LogDriver>,
    /// Settings of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<LogDriverConfig>,
    /// Seconds after which buffered entries are sent. Default: 1.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub flush_interval_time: Option<i64>,
    /// Bytes of buffered entries after which they are sent. Default: 16384.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub flush_interval_byte_size: Option<i64>,
    /// Whether the server is spoken to over HTTP/2. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<bool>,
    /// Interface the server speaks; only `v3` works, and it must be given. Default: `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the server in statistics. Default: derived from the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// Settings of a log driver.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LogDriverConfig {
    /// Headers that entries of the `http` driver contain beside the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_log_headers: Option<Vec<AdditionalLogHeader>>,
}

/// A header to be logged.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AdditionalLogHeader {
    /// Name of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
    /// Whether it is logged from the request. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during_request: Option<bool>,
    /// Whether it is logged from the response. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during_response: Option<bool>,
    /// Whether it is logged from the response's trailers. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during_trailer: Option<bool>,
}

/// Kinds of access log entries.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum LogDriver {
    /// Entries about connections.
    #[serde(rename = "tcp")]
    Tcp,
    /// Entries about requests.
    #[serde(rename = "http")]
    Http,
}
