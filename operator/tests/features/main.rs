//! The whole pipe: files, compiler, renderer, stream, answers, statuses; in process with a delta client, and as the
//! built binary with a real Envoy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod check;
mod client;
mod explain;
mod fixture;
mod pipe;
mod refusal;
mod renewal;
mod running;
mod supervise;
