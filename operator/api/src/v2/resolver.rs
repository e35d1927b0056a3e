//! KubernetesServiceResolver, KubernetesEndpointResolver and ConsulResolver: where addresses come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;

/// What a KubernetesServiceResolver asks for: a Service is reached at its own address. Mappings use it by name in
/// `resolver`.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct KubernetesServiceResolverSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
}

/// What a KubernetesEndpointResolver asks for: a Service is reached at the addresses of its endpoints. Mappings use it
/// by name in `resolver`.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct KubernetesEndpointResolverSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
}

/// What a ConsulResolver asks for: endpoints of a Mapping's service are taken from Consul.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ConsulResolverSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// `host:port` of the Consul agent; `$VARIABLE` is expanded. Default: 127.0.0.1:8500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Consul data center to ask in. A resolver without one is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
}
