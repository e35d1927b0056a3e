//! Labels of a Mapping, which rate limiting sends as descriptors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::exactly_one;

/// Label groups by rate limit domain. A null in place of a domain's groups is kept apart from an empty list.
pub type DomainLabels = BTreeMap<String, Option<Vec<LabelGroup>>>;

/// A named group of labels, sent together as one descriptor. On the wire it is an object with the name as its only key.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(try_from = "BTreeMap<String, Vec<LabelSpecifier>>", into = "BTreeMap<String, Vec<LabelSpecifier>>")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct LabelGroup {
    /// Name of the group.
    pub name: String,
    /// Its labels, in the order they are sent.
    pub specifiers: Vec<LabelSpecifier>,
}

impl From<LabelGroup> for BTreeMap<String, Vec<LabelSpecifier>> {
    fn from(group: LabelGroup) -> Self {
        BTreeMap::from([(group.name, group.specifiers)])
    }
}

impl TryFrom<BTreeMap<String, Vec<LabelSpecifier>>> for LabelGroup {
    type Error = String;

    fn try_from(mut groups: BTreeMap<String, Vec<LabelSpecifier>>) -> Result<Self, String> {
        match (groups.pop_first(), groups.len()) {
            (Some((name, specifiers)), 0) => Ok(Self { name, specifiers }),
            (first, others) => {
                let found = usize::from(first.is_some()) + others;
                Err(format!("a label group is an object with exactly one key, this one has {found}"))
            }
        }
    }
}

/// One label. On the wire it is an object with exactly one of these keys.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(try_from = "AnyLabels", rename_all = "snake_case")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum LabelSpecifier {
    /// The name of the gateway's own cluster.
    SourceCluster(SourceClusterLabel),
    /// The name of the upstream cluster.
    DestinationCluster(DestinationClusterLabel),
    /// The client's address.
    RemoteAddress(RemoteAddressLabel),
    /// The value of a request header.
    RequestHeaders(RequestHeadersLabel),
    /// A fixed value.
    GenericKey(GenericKeyLabel),
}

/// The keys of a label as an object, which is what the schema shows and what names them in the path of a problem.
#[derive(Deserialize, JsonSchema)]
struct AnyLabels {
    /// The name of the gateway's own cluster.
    source_cluster: Option<SourceClusterLabel>,
    /// The name of the upstream cluster.
    destination_cluster: Option<DestinationClusterLabel>,
    /// The client's address.
    remote_address: Option<RemoteAddressLabel>,
    /// The value of a request header.
    request_headers: Option<RequestHeadersLabel>,
    /// A fixed value.
    generic_key: Option<GenericKeyLabel>,
}

impl TryFrom<AnyLabels> for LabelSpecifier {
    type Error = String;

    fn try_from(labels: AnyLabels) -> Result<Self, String> {
        let given = [
            labels.source_cluster.map(Self::SourceCluster),
            labels.destination_cluster.map(Self::DestinationCluster),
            labels.remote_address.map(Self::RemoteAddress),
            labels.request_headers.map(Self::RequestHeaders),
            labels.generic_key.map(Self::GenericKey),
        ];
        exactly_one(given).map_err(|found| {
            let keys = "`source_cluster`, `destination_cluster`, `remote_address`, `request_headers` and `generic_key`";
            format!("a label has exactly one of {keys}, this one has {found}")
        })
    }
}

/// The label that carries the name of the gateway's own cluster.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SourceClusterLabel {
    /// Its fixed key.
    pub key: SourceClusterKey,
}

/// Key of the source cluster label.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum SourceClusterKey {
    /// The only value.
    #[serde(rename = "source_cluster")]
    SourceCluster,
}

/// The label that carries the name of the upstream cluster.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DestinationClusterLabel {
    /// Its fixed key.
    pub key: DestinationClusterKey,
}

/// Key of the destination cluster label.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum DestinationClusterKey {
    /// The only value.
    #[serde(rename = "destination_cluster")]
    DestinationCluster,
}

/// The label that carries the client's address.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RemoteAddressLabel {
    /// Its fixed key.
    pub key: RemoteAddressKey,
}

/// Key of the remote address label.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RemoteAddressKey {
    /// The only value.
    #[serde(rename = "remote_address")]
    RemoteAddress,
}

/// A label that carries the value of a request header.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RequestHeadersLabel {
    /// Key of the label.
    pub key: String,
    /// Name of the header.
    pub header_name: String,
    /// Whether only this label is left out when the request has no such header; otherwise the whole group is. Default:
    /// false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omit_if_not_present: Option<bool>,
}

/// A label with a fixed value.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct GenericKeyLabel {
    /// The value.
    pub value: String,
    /// Key of the label. Default: `generic_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether a v1 or v2 object spelled it as a plain string, for conversion back.
    #[serde(rename = "v2Shorthand", skip_serializing_if = "Option::is_none")]
    pub v2_shorthand: Option<bool>,
}
