//! Judges of single values: what Envoy 1.40 and the gateway accept, decided before anything is sent.
//!
//! A judge is a pure function from a text to "yes" or to the reason why not. It knows no object and no field; the
//! parsers of [`crate::parse`] add those. What a judge accepts must be accepted by Envoy, so when in doubt it says no.
//!
//! ```text
//! limits     how large anything may be
//! text       quoting values in messages, control characters
//! hostname   host names and globs
//! duration   durations as Go writes them
//! header     names of headers, and which of them may be edited
//! format     Envoy's format strings, `%COMMAND(parameters):length%`
//! regex      RE2 syntax and program size
//! service    `[scheme://]host[:port]`
//! tls        names of cipher suites and curves
//! pem        certificates, keys, revocation lists
//! ```

pub mod duration;
pub mod format;
pub mod header;
pub mod hostname;
pub mod limits;
pub mod pem;
pub mod regex;
pub mod service;
pub mod text;
pub mod tls;
