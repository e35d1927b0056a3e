//! The conversion webhook: HTTPS server, certificates, and the CRDs that point to it.
//!
//! [`apiext`] is the whole of it. [`review`] answers ConversionReviews, [`server`] and [`tls`] serve them, [`authority`] makes
//! the certificates, [`ca_secret`] keeps the authority, [`crds`] points the CRDs to it, [`lease`] decides who of several
//! replicas writes, and [`migrate`] rewrites stored objects.

pub mod api;
pub mod apiext;
pub mod authority;
pub mod ca_secret;
pub mod clock;
pub mod crds;
pub mod lease;
pub mod migrate;
pub mod probes;
pub mod review;
pub mod server;
pub mod tls;
