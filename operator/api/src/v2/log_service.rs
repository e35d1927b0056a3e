//! LogService: a server that receives the access log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;
use crate::integer;
use crate::v3alpha1::{LogDriver, LogDriverConfig, ProtocolVersion};

/// What a LogService asks for: access log entries are sent to a gRPC server.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
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
    #[serde(rename = "v3ProtocolVersion", skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the server in statistics. Default: derived from the service.
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
}
