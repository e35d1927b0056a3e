//! TracingService: a collector of traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;
use crate::v3alpha1::{TracePropagationMode, TraceSampling, TraceTag, TracingDriver, ZipkinEndpointVersion};

/// What a TracingService asks for: spans of requests are sent to a collector.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct TracingServiceSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Kind of collector.
    pub driver: TracingDriver,
    /// The collector, as `[scheme://]host[.namespace][:port]`.
    pub service: String,
    /// Which requests are traced. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<TraceSampling>,
    /// Request headers that become tags. It is ignored beside `v3CustomTags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_headers: Option<Vec<String>>,
    /// Tags of every span.
    #[serde(rename = "v3CustomTags", skip_serializing_if = "Option::is_none")]
    pub custom_tags: Option<Vec<TraceTag>>,
    /// Settings of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<TraceConfig>,
    /// Name of the collector in statistics. Default: derived from the service.
    #[serde(rename = "v3StatsName", skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
}

/// Settings of a tracing driver.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceConfig {
    /// File with the access token of a LightStep collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_file: Option<String>,
    /// Cluster of the collector. It is set by the gateway; what stands here has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector_cluster: Option<String>,
    /// Path at a Zipkin collector. Default: `/api/v2/spans`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector_endpoint: Option<String>,
    /// Format of the spans for a Zipkin collector. Default: `HTTP_JSON`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector_endpoint_version: Option<ZipkinEndpointVersion>,
    /// Host header for a Zipkin collector. Default: the collector's cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector_hostname: Option<String>,
    /// Whether trace ids of a Zipkin collector have 128 bits. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id_128bit: Option<bool>,
    /// Whether client and server share a span at a Zipkin collector. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_span_context: Option<bool>,
    /// Name of this gateway at a Datadog collector. Default: `ambassador`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Header formats in which a LightStep trace is passed on.
    #[serde(rename = "v3PropagationModes", skip_serializing_if = "Option::is_none")]
    pub propagation_modes: Option<Vec<TracePropagationMode>>,
}
