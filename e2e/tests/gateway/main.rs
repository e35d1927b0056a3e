//! A running gateway, `nuncio serve` with its Envoy, seen from outside: TLS, and requests that try to be something else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod error_responses;
mod paths;
mod proxy;
mod serve;
mod tls;

use std::time::Duration;

/// Nothing here takes that long unless it is broken.
pub const LIMIT: Duration = Duration::from_secs(60);
