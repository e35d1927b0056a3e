//! Types with several spellings, which v1 and v2 have and v3alpha1 does not.
//!
//! A structural schema cannot say "a string or a list", so these are open in the resource definitions; the gateway
//! judges what they hold after conversion.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Names the installations that read a resource (`AMBASSADOR_ID`): one name or a list.
pub type AmbassadorId = StringOrList;

/// A string, which counts as a list of one, or a list of strings.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum StringOrList {
    /// One string.
    String(String),
    /// A list.
    List(Vec<String>),
}

/// A boolean or a string; `"true"` in quotes is a string.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum BoolOrString {
    /// A boolean.
    Bool(bool),
    /// A string.
    String(String),
}

/// Exact matches by name: a value, or true for "is present". False and null match nothing and are ignored.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Matches(pub BTreeMap<String, Option<BoolOrString>>);

/// Headers to add, by name. A null is kept and ignored.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AddedHeaders(pub BTreeMap<String, Option<AddedHeader>>);

/// A header to add.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AddedHeader {
    /// Its value, to be added to those already present.
    Value(String),
    /// Its value, and whether it replaces those already present.
    Object {
        /// Value of the header; Envoy's `%…%` variables are substituted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// True adds the value to those already present, false replaces them. Default: true.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        append: Option<bool>,
    },
}

/// Gives types a schema of their own, inlined.
macro_rules! open_schema {
    ($($type:ty, $name:literal, $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

open_schema! {
    // Without `nullable` the API server would take out a null, which these versions have always kept.
    StringOrList, "StringOrList", { "nullable": true, "x-kubernetes-preserve-unknown-fields": true };
    BoolOrString, "BoolOrString", { "nullable": true, "x-kubernetes-preserve-unknown-fields": true };
    Matches, "Matches", { "type": "object", "x-kubernetes-preserve-unknown-fields": true };
    AddedHeaders, "AddedHeaders", { "type": "object", "x-kubernetes-preserve-unknown-fields": true };
}
