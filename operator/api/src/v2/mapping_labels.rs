//! Labels of a Mapping, which rate limiting sends as descriptors, as v1 and v2 spell them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Label groups by rate limit domain.
pub type DomainLabels = BTreeMap<String, Option<Vec<LabelGroup>>>;

/// A named group of labels, sent together as one descriptor: an object with the name as its only key. A null among the
/// labels says nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LabelGroup(pub BTreeMap<String, Vec<Option<LabelSpecifier>>>);

/// One label.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LabelSpecifier {
    /// `source_cluster`, `destination_cluster`, `remote_address`, or a fixed value.
    Shorthand(String),
    /// The value of a request header, by the key of the label; more than one key makes no sense, and none says nothing.
    Header(BTreeMap<String, HeaderLabel>),
    /// A fixed value.
    Generic(GenericLabel),
}

/// Which header a label carries.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HeaderLabel {
    /// Name of the header.
    #[serde(default)]
    pub header: String,
    /// Whether only this label is left out when the request has no such header; otherwise the whole group is. Default:
    /// false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omit_if_not_present: Option<bool>,
}

/// A label with a fixed value.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct GenericLabel {
    /// The value.
    #[serde(default)]
    pub generic_key: String,
    /// Key of the label. Default: `generic_key`.
    #[serde(default, rename = "v3Key", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl JsonSchema for LabelGroup {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LabelGroup".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object", "minProperties": 1, "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}
