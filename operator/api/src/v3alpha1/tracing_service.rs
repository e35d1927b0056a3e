//! TracingService: a collector of traces.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ResourceStatus, V2Spelling};
use crate::integer;

/// What a TracingService asks for: spans of requests are sent to a collector.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "TracingService",
    root = "TracingService",
    plural = "tracingservices",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "TracingService: a collector of traces.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
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
    /// Deprecated form of `custom_tags`: request headers that become tags. It is ignored beside `custom_tags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_headers: Option<Vec<String>>,
    /// Tags of every span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_tags: Option<Vec<TraceTag>>,
    /// Settings of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<TraceConfig>,
    /// Name of the collector in statistics. Default: derived from the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_name: Option<String>,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// Which requests are traced, in percent.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceSampling {
    /// Of the requests whose client asks for it. Default: 100.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub client: Option<i64>,
    /// Of the other requests, at random. Default: 100.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub random: Option<i64>,
    /// Of all requests, as an upper limit. Default: 100.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub overall: Option<i64>,
}

/// A tag of every span, with its source. Exactly one source is expected.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceTag {
    /// Name of the tag.
    pub tag: String,
    /// A fixed value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal: Option<TraceTagLiteral>,
    /// The value of an environment variable of Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<TraceTagEnvironment>,
    /// The value of a request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header: Option<TraceTagHeader>,
}

/// A fixed tag value.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceTagLiteral {
    /// The value.
    pub value: String,
}

/// A tag value from Envoy's environment.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceTagEnvironment {
    /// Name of the variable.
    pub name: String,
    /// Value when the variable is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_value: Option<String>,
}

/// A tag value from a request header.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct TraceTagHeader {
    /// Name of the header.
    pub name: String,
    /// Value when the request has no such header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_value: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_modes: Option<Vec<TracePropagationMode>>,
}

/// Kinds of trace collectors.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TracingDriver {
    /// LightStep; it passes the schema and is refused, since Envoy dropped it.
    #[serde(rename = "lightstep")]
    Lightstep,
    /// Zipkin.
    #[serde(rename = "zipkin")]
    Zipkin,
    /// Datadog.
    #[serde(rename = "datadog")]
    Datadog,
    /// OpenTelemetry over gRPC.
    #[serde(rename = "opentelemetry")]
    Opentelemetry,
}

/// Format of spans for a Zipkin collector.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ZipkinEndpointVersion {
    /// JSON, version 1; it passes the schema and is refused.
    #[serde(rename = "HTTP_JSON_V1")]
    HttpJsonV1,
    /// JSON, version 2.
    #[serde(rename = "HTTP_JSON")]
    HttpJson,
    /// Protocol buffers.
    #[serde(rename = "HTTP_PROTO")]
    HttpProto,
}

/// Header formats for passing a trace on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TracePropagationMode {
    /// Envoy's own.
    #[serde(rename = "ENVOY")]
    Envoy,
    /// LightStep's.
    #[serde(rename = "LIGHTSTEP")]
    Lightstep,
    /// Zipkin's B3.
    B3,
    /// W3C trace context.
    #[serde(rename = "TRACE_CONTEXT")]
    TraceContext,
}
