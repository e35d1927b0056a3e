//! Secret.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::decode::{DecodeProblem, Decoded, Raw, decode_view};

/// Bytes of data in a Secret, all keys together: the limit of the API server, which files must keep as well.
pub const MAX_SECRET_BYTES: usize = 1 << 20;

/// What the gateway reads of a `v1` Secret. Printing it for debugging shows keys and sizes, never data.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret {
    /// Its type, such as `kubernetes.io/tls`; `Opaque` when none is given.
    pub type_: String,
    /// Its data, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Secret {
    /// Decodes a whole Secret object. Values of `stringData`, which only files have, win over those of `data`.
    ///
    /// No problem ever repeats a value; paths start at the object (`data.tls.crt`).
    pub fn decode<'a>(object: impl Into<Raw<'a>>) -> Decoded<Self> {
        let value = decode_view(object).value.map_err(without_values).and_then(Wire::into_secret);
        Decoded { value, unknown: Vec::new() }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Sizes<'a>(&'a BTreeMap<String, Vec<u8>>);
        impl fmt::Debug for Sizes<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let sizes = self.0.iter().map(|(key, data)| (key, format!("{} bytes", data.len())));
                f.debug_map().entries(sizes).finish()
            }
        }
        f.debug_struct("Secret").field("type_", &self.type_).field("data", &Sizes(&self.data)).finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(rename = "type")]
    type_: Option<String>,
    data: Option<BTreeMap<String, Option<String>>>,
    string_data: Option<BTreeMap<String, Option<String>>>,
}

impl Wire {
    fn into_secret(self) -> Result<Secret, DecodeProblem> {
        let mut data = BTreeMap::new();
        for (key, encoded) in self.data.unwrap_or_default() {
            // Go's decoder skips line breaks, which YAML block scalars bring along.
            let encoded: Vec<u8> =
                encoded.unwrap_or_default().bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
            match STANDARD.decode(encoded) {
                Ok(decoded) => data.insert(key, decoded),
                Err(_) => return Err(DecodeProblem::new(format!("data.{key}"), "not valid base64")),
            };
        }
        for (key, text) in self.string_data.unwrap_or_default() {
            data.insert(key, text.unwrap_or_default().into_bytes());
        }
        if data.values().map(Vec::len).sum::<usize>() > MAX_SECRET_BYTES {
            return Err(DecodeProblem::new("data", format!("more than {MAX_SECRET_BYTES} bytes")));
        }
        let type_ = self.type_.filter(|type_| !type_.is_empty()).unwrap_or_else(|| "Opaque".to_owned());
        Ok(Secret { type_, data })
    }
}

/// Keeps of a message what was expected, and drops the value that was found instead: it may be the secret.
fn without_values(problem: DecodeProblem) -> DecodeProblem {
    match problem.message.rfind(", expected ") {
        Some(start) => {
            let expected = problem.message.get(start + ", ".len()..).unwrap_or_default();
            DecodeProblem::new(problem.path, format!("wrong type, {expected}"))
        }
        None => problem,
    }
}
