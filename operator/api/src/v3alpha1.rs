//! Version v3alpha1 of the `getambassador.io` resources: one file per kind.
//!
//! Field names, types and enumerations are those of Emissary-ingress 4.1. Every optional field is an `Option`, so that
//! an explicit zero stays apart from an absent field; null reads as absent; unknown fields are tolerated and can be
//! listed while decoding. What the published schema says beyond types, such as ranges, patterns and
//! the number of list elements, is not checked by decoding, since objects from files and annotations must get a verdict
//! on the field and not lose the whole object.

#![allow(clippy::duplicated_attributes, reason = "several columns of one type are no mistake")]

pub mod auth_service;
pub mod common;
pub mod consul_resolver;
pub mod dev_portal;
pub mod host;
pub mod listener;
pub mod log_service;
pub mod mapping;
pub mod mapping_destination;
pub mod mapping_labels;
pub mod mapping_policy;
pub mod module;
pub mod rate_limit_service;
pub mod resolver;
pub mod tcp_mapping;
pub mod tls_context;
pub mod tracing_service;

pub use auth_service::*;
pub use common::*;
pub use consul_resolver::*;
pub use dev_portal::*;
pub use host::*;
pub use listener::*;
pub use log_service::*;
pub use mapping::*;
pub use mapping_destination::*;
pub use mapping_labels::*;
pub use mapping_policy::*;
pub use module::*;
pub use rate_limit_service::*;
pub use resolver::*;
pub use tcp_mapping::*;
pub use tls_context::*;
pub use tracing_service::*;
