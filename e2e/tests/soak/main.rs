//! Edits under load, in short: `make soak` walks longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod edits;
mod faults;
mod names;
mod site;
mod support;
mod surroundings;
