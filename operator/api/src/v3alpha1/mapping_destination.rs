//! Parts of a Mapping that say how its service is reached: balancing, health, keepalive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AddedHeaders, exactly_one};
use crate::integer;

/// How an endpoint is chosen. `ring_hash` and `maglev` need exactly one of `cookie`, `header` and `source_ip`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LoadBalancer {
    /// The algorithm.
    pub policy: LoadBalancerPolicy,
    /// Chooses by the value of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<LoadBalancerCookie>,
    /// Chooses by the value of this request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Chooses by the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<bool>,
}

/// A cookie that endpoints are chosen by.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LoadBalancerCookie {
    /// Name of the cookie.
    pub name: String,
    /// Path of the cookie when it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Lifetime, such as `60s`; with one, a missing cookie is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// Algorithms that choose an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum LoadBalancerPolicy {
    /// In turn.
    #[serde(rename = "round_robin")]
    RoundRobin,
    /// By consistent hashing on a ring.
    #[serde(rename = "ring_hash")]
    RingHash,
    /// By Maglev hashing.
    #[serde(rename = "maglev")]
    Maglev,
    /// The one with fewer requests.
    #[serde(rename = "least_request")]
    LeastRequest,
}

/// TCP keepalive towards a service.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Keepalive {
    /// Unanswered probes after which the connection is dead.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub probes: Option<i64>,
    /// Seconds without traffic before the first probe.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<i64>,
    /// Seconds between probes.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
}

/// An active health check.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HealthCheck {
    /// How long one probe may take, such as `3s`. Default: 3s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Time between probes, such as `5s`. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Failures in a row after which an endpoint is unhealthy. Default: 2.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<i64>,
    /// Successes in a row after which an endpoint is healthy again. Default: 1.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<i64>,
    /// What is probed.
    pub health_check: HealthCheckProbe,
}

/// What a health check probes. On the wire it is an object with exactly one of these keys.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(try_from = "AnyProbes", rename_all = "snake_case")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum HealthCheckProbe {
    /// An HTTP request.
    Http(HttpHealthCheck),
    /// A call of the gRPC health checking protocol.
    Grpc(GrpcHealthCheck),
}

/// The keys of a probe as an object, which is what the schema shows and what names them in the path of a problem.
#[derive(Deserialize, JsonSchema)]
struct AnyProbes {
    /// An HTTP request.
    http: Option<HttpHealthCheck>,
    /// A call of the gRPC health checking protocol.
    grpc: Option<GrpcHealthCheck>,
}

impl TryFrom<AnyProbes> for HealthCheckProbe {
    type Error = String;

    fn try_from(probes: AnyProbes) -> Result<Self, String> {
        exactly_one([probes.http.map(Self::Http), probes.grpc.map(Self::Grpc)])
            .map_err(|found| format!("a health check has exactly one of `http` and `grpc`, this one has {found}"))
    }
}

/// An HTTP probe.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HttpHealthCheck {
    /// Path of the request.
    pub path: String,
    /// Host header of the request. Default: the cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Headers added to the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_request_headers: Option<AddedHeaders>,
    /// Headers removed from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_request_headers: Option<Vec<String>>,
    /// Status codes that count as success. Default: 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_statuses: Option<Vec<StatusRange>>,
}

/// A range of HTTP status codes, both ends included.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct StatusRange {
    /// Lowest code.
    #[serde(deserialize_with = "integer::required")]
    #[schemars(range(min = 100, max = 599))]
    pub min: i64,
    /// Highest code.
    #[serde(deserialize_with = "integer::required")]
    #[schemars(range(min = 100, max = 599))]
    pub max: i64,
}

/// A probe by the gRPC health checking protocol.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct GrpcHealthCheck {
    /// Service name that is asked about.
    pub upstream_name: String,
    /// `:authority` of the probe. Default: the cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}
