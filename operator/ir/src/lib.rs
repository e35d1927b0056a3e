//! Domain types of the gateway, free of Kubernetes, protobuf and I/O.
//!
//! The compiler produces these values, the renderer turns them into Envoy messages, and everything else only
//! reads them. All of them compare by value: an equal value means that nothing happened.
//!
//! ```text
//! key, problem          who is spoken of, and what is wrong with it
//! hostname              globs over host names and when two of them can meet
//! route                 what a request must look like and what happens to it
//! policy                what a route does beyond finding its cluster
//! cluster, endpoint     where requests go
//! listener, filter       where requests come in, and what they pass before their route
//! secret                the certificates for both
//! rows                  what one batch changed
//! verdict               what is said to the owner of an object
//! ```
#![deny(missing_docs)]

mod cluster;
mod endpoint;
mod filter;
mod hostname;
mod key;
mod listener;
mod policy;
mod problem;
mod route;
mod rows;
mod secret;
mod verdict;

pub use cluster::*;
pub use endpoint::*;
pub use filter::*;
pub use hostname::*;
pub use key::*;
pub use listener::*;
pub use policy::*;
pub use problem::*;
pub use route::*;
pub use rows::*;
pub use secret::*;
pub use verdict::*;
