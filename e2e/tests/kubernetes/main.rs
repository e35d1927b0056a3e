//! `nuncio entrypoint` in a real cluster, with a real Envoy: what a user sees of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod definitions;
mod explain;
mod faults;
mod replicas;
mod rights;
mod scene;
mod statuses;
