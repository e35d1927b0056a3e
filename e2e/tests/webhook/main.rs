//! The conversion webhook in a real cluster: API server, Service, `nuncio apiext` as it is installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

mod admission;
mod healing;
#[path = "../../../webhook/convert/tests/schemas/maker.rs"]
mod maker;
mod support;
mod upgrade;
