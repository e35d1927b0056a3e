//! ConsulResolver: endpoints from a Consul catalogue.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ResourceStatus, V2Spelling};

/// What a ConsulResolver asks for: endpoints of a Mapping's service are taken from Consul.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "ConsulResolver",
    root = "ConsulResolver",
    plural = "consulresolvers",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "ConsulResolver: endpoints from a Consul catalogue.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
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
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}
