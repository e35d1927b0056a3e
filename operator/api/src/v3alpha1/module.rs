//! Module: settings of the whole installation.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, OpaqueObject, ResourceStatus, V2Spelling};

/// What a Module asks for: settings of the installation. Only the names `ambassador` and `tls` have a meaning.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Module",
    root = "Module",
    plural = "modules",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "Module: settings of the whole installation.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct ModuleSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// The settings. They are kept as they are, and each is checked where it is used.
    pub config: OpaqueObject,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}
