//! Nuncio installed by its own manifests, as a user does it: pods, probes, Services, names, rollouts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod failures;
mod manifests;
mod rollouts;
mod scene;
mod serving;
mod versions;
