//! Tools for running Nuncio against real processes: the sample application, free ports, guarded children.
//!
//! ```text
//! net         ports that nobody uses
//! envoy       where the real Envoy is
//! process     children that do not outlive their parent
//! sample      the application behind the quickstart, served in process or by the binary `sample-app`
//! cluster     a real Kubernetes on this machine
//! quickstart  the sample application and `nuncio serve` over manifests/quickstart
//! ```
//!
//! Nothing that ships depends on this crate.

pub mod cluster;
pub mod envoy;
pub mod kat;
pub mod net;
pub mod process;
pub mod quickstart;
pub mod sample;
