//! The test cluster: what it serves, and that nothing of it stays behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod lifetime;
mod pods;
mod serving;
mod support;
