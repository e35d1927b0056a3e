//! Recorded cases of upstream against Nuncio: the same manifests, backends and queries; are the answers the same?
//!
//! ```text
//! case      a recorded case: manifests, environment, what upstream said about its objects
//! run       Nuncio, Envoy and the outside runner for one case
//! verdict   what the comparison means
//! record    the checked-in list of names and verdicts that a run may only improve
//! table     what people read
//! ```
//!
//! The cases and the program that compares answers lie beside the checkout, in `../shared`, and are not part of it.

pub mod case;
pub mod record;
pub mod run;
pub mod table;
pub mod verdict;

use std::ffi::OsString;
use std::path::PathBuf;

/// Everything that a run needs besides the cases.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The built `nuncio`.
    pub nuncio: PathBuf,
    /// The folder of `kat-client` and `kat-server`.
    pub kat: PathBuf,
    /// The Envoy.
    pub envoy: PathBuf,
    /// A Python that has what the runner imports.
    pub python: PathBuf,
    /// `corpus_runner.py`.
    pub runner: PathBuf,
    /// Where the results go.
    pub scratch: PathBuf,
    /// Where programs are searched.
    pub search: OsString,
}
