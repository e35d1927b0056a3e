//! The server over real sockets, with a generated client: what the state machine's own tests cannot show.

// The lints that keep shipped code from panicking; clippy exempts test functions, but not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod tls;
mod unix;
