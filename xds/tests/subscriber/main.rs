//! The delta protocol, told as scripts of requests and changes; each test is named by the behaviour it holds.

// The lints that keep shipped code from panicking; clippy exempts test functions, but not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod model;
mod script;

mod gating;
mod live;
mod order;
mod property;
mod refusal;
mod removal;
mod subscription;
mod warming;
