//! Tools for running Nuncio against real processes: the sample application, free ports, guarded children.
//!
//! ```text
//! net         ports that nobody uses
//! envoy       where the real Envoy is
//! process     children that do not outlive their parent
//! sample      the application behind the quickstart, served in process or by the binary `sample-app`
//! cluster     a real Kubernetes on this machine
//! faulty_api  an API server that misbehaves on demand
//! load        steady requests, and how many of them were lost
//! kat         upstream's test client and test server
//! corpus      upstream's recorded cases against Nuncio
//! probe       a cold start in it with many Mappings, measured
//! soak        edits under load
//! quickstart  the sample application and `nuncio serve` over manifests/quickstart
//! ```
//!
//! Nothing that ships depends on this crate.

pub mod cluster;
pub mod corpus;
pub mod envoy;
pub mod faulty_api;
pub mod kat;
pub mod load;
pub mod net;
pub mod probe;
pub mod process;
pub mod quickstart;
pub mod sample;
pub mod soak;
