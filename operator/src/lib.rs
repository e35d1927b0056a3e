//! The `nuncio` binary, as a library for its own tests. Wiring only: what a gateway *is* stands in the crates below.
//!
//! ```text
//! cli          arguments, help, exit codes
//! settings     the environment
//! feed         manifests from files -> changes
//! mailbox      everything that can change the configuration, coalesced
//! pipeline     the one thread: compiler, renderer, publication
//! blame        which objects stand behind a resource that Envoy refused
//! quarantine   which of them is guilty
//! status       verdict and acknowledgement -> conditions
//! controller   conditions -> the API server
//! snapshot     what is published for readers; view: as the diagnostics show it
//! room         memory that is given back
//! control      the control plane process
//! supervisor   the parent of control plane and Envoy
//! ```

pub mod blame;
pub mod cli;
pub mod control;
pub mod controller;
pub mod feed;
pub mod mailbox;
pub mod pipeline;
pub mod quarantine;
pub mod replicas;
mod room;
pub mod settings;
mod sharded;
pub mod snapshot;
pub mod status;
pub mod supervisor;
pub mod view;
