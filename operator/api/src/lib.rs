//! Custom resource types of every version, and slim views of the core objects that are read.
//!
//! ```text
//! watch, files ── JSON ──► decode, decode_kind ──► Spec            of a custom resource
//!                          core::*::decode     ──► Service, …      of a core object
//! annotation   ── YAML ──► annotation::parse   ──► Document ──► decode_kind
//! ```
//!
//! The crate does no I/O and knows no semantics: what a field means, and whether its value makes sense, is decided by
//! who uses it. Its schemas are the source of `manifests/crds`.

pub mod annotation;
pub mod core;
pub mod decode;
mod integer;
mod spec;
pub mod v1;
pub mod v2;
pub mod v3alpha1;
pub mod yaml;

pub use decode::{DecodeProblem, Decoded, Raw, decode};
pub use spec::{GROUP, KINDS, Spec, decode_kind};
