//! Module: settings of the whole installation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;
use crate::v3alpha1::OpaqueObject;

/// What a Module asks for: settings of the installation. Only the names `ambassador` and `tls` have a meaning.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ModuleSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// The settings. They are kept as they are, and each is checked where it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<OpaqueObject>,
}
