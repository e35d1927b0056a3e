//! The renderer from outside: rows in, resources out, and what the real Envoy says to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect, in helper functions too"
)]

mod cases;
mod filters;
mod fragments;
mod golden;
mod incremental;
mod real_envoy;
mod rows;
mod serving;
mod splicing;
