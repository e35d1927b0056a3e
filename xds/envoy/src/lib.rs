//! IR rows to Envoy resources: pure, incremental, and the only place where Envoy configuration is built.
//!
//! ```text
//! renderer      rows changed -> resources changed; owns everything encoded
//! table, list   route tables spliced from lists, lists from buckets
//! route         a route group as encoded routes
//! listener      listeners spliced from chains; http, access_log, module_filter: what is in a chain
//! policy, error_response   what few routes have
//! cluster, endpoint, secret
//! fragments     which route groups a version of a table is made of
//! wire          the protobuf wire format, as far as splicing needs it
//! dump          any resource as protobuf JSON
//! bootstrap     the configuration file Envoy starts with
//! ```

mod access_log;
pub mod bootstrap;
mod cluster;
pub mod dump;
mod endpoint;
mod error_response;
mod fragments;
mod health_check;
mod http;
mod list;
mod listener;
mod module_filter;
mod policy;
mod proto;
mod renderer;
mod route;
mod secret;
mod table;
mod wire;

pub use fragments::Fragments;
pub use renderer::{Options, Renderer};
