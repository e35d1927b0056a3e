//! DevPortal: a catalogue of API documents. Read and kept; nothing here serves it.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ResourceStatus, V2Spelling};
use crate::integer;

/// What a DevPortal asks for: a site that shows the API documents of Mappings. It is accepted and has no effect on
/// traffic.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "DevPortal",
    root = "DevPortal",
    plural = "devportals",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "DevPortal: a catalogue of API documents. Read and kept; nothing here serves it.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
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
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// Where the pages of a DevPortal come from.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DevPortalContent {
    /// Repository or directory with the pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Branch of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Directory inside the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// A service with an API document.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DevPortalDoc {
    /// Name the document is shown under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where the OpenAPI document is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Milliseconds to wait for the document.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i64>,
}

/// Chooses the Mappings a DevPortal shows.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DevPortalSelector {
    /// Namespaces of the Mappings.
    #[serde(rename = "matchNamespaces", skip_serializing_if = "Option::is_none")]
    pub match_namespaces: Option<Vec<String>>,
    /// Labels the Mappings must carry.
    #[serde(rename = "matchLabels", skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// The search box of a DevPortal.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DevPortalSearch {
    /// Whether there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What it searches.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<DevPortalSearchType>,
}

/// What a DevPortal's search looks at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum DevPortalSearchType {
    /// Titles.
    #[serde(rename = "title-only")]
    TitleOnly,
    /// Titles and text.
    #[serde(rename = "all-content")]
    AllContent,
}

/// How services are called in a DevPortal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum DevPortalNamingScheme {
    /// Namespace and name of the Mapping.
    #[serde(rename = "namespace.name")]
    NamespaceName,
    /// Name and prefix of the Mapping.
    #[serde(rename = "name.prefix")]
    NamePrefix,
}
