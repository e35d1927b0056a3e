//! The `nuncio` binary, as a library for its own tests.
pub mod quarantine;
