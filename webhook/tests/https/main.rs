//! The HTTPS server as API servers and strangers meet it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test ends at the first surprise"
)]

mod client;
mod floods;
mod reviews;
mod rotation;
mod server;
