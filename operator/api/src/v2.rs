//! Version v2 of the `getambassador.io` resources: the specs, one file per kind or group of kinds.
//!
//! They document the version, as the source of its schemas in `manifests/crds-all-versions`, and they read every spelling
//! that Emissary-ingress reads: a string or a list, a string or a boolean, headers as values or objects, labels in
//! all forms. The gateway itself works on v3alpha1, and conversion (crate `convert`) on JSON, so that it loses nothing that
//! a type does not know. What both versions have in common is taken from [`crate::v3alpha1`]; status is the same.
//!
//! Every spec is open: API servers have always kept unknown fields of this version, and still do. Version v1 has the
//! same fields under another label, see [`crate::v1`].

pub mod auth_service;
pub mod common;
pub mod dev_portal;
pub mod host;
pub mod log_service;
pub mod mapping;
pub mod mapping_labels;
pub mod module;
pub mod rate_limit_service;
pub mod resolver;
pub mod tcp_mapping;
pub mod tls_context;
pub mod tracing_service;

pub use auth_service::*;
pub use common::*;
pub use dev_portal::*;
pub use host::*;
pub use log_service::*;
pub use mapping::*;
pub use mapping_labels::*;
pub use module::*;
pub use rate_limit_service::*;
pub use resolver::*;
pub use tcp_mapping::*;
pub use tls_context::*;
pub use tracing_service::*;
