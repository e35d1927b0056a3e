//! Namespace.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Metadata;
use crate::decode::{Decoded, Raw, decode_view};

/// What the gateway reads of a `v1` Namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "Wire")]
pub struct Namespace {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// Decodes a whole Namespace object; paths of problems start at the object.
    pub fn decode<'a>(object: impl Into<Raw<'a>>) -> Decoded<Self> {
        decode_view(object)
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Option<Metadata>,
}

impl From<Wire> for Namespace {
    fn from(wire: Wire) -> Self {
        Self { labels: wire.metadata.unwrap_or_default().labels.unwrap_or_default() }
    }
}
