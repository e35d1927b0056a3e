//! DevPortal: a catalogue of API documents. Read and kept; nothing here serves it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;
use crate::v3alpha1::{DevPortalContent, DevPortalDoc, DevPortalNamingScheme, DevPortalSearch, DevPortalSelector};

/// What a DevPortal asks for: a site that shows the API documents of Mappings. It is accepted and has no effect on
/// traffic.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct DevPortalSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Whether this portal serves where no other does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Where the pages of the portal come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<DevPortalContent>,
    /// Services with API documents, named one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<Vec<DevPortalDoc>>,
    /// Mappings whose documents are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<DevPortalSelector>,
    /// How a service is called in the portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naming_scheme: Option<DevPortalNamingScheme>,
    /// The portal's search box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<DevPortalSearch>,
    /// Whether the `servers` of an OpenAPI document are kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_servers: Option<bool>,
}
