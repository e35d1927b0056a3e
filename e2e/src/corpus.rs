//! Recorded cases of upstream against Nuncio: the same manifests, backends and queries; are the answers the same?
//!
//! ```text
//! case      a recorded case: manifests, environment, what upstream said about its objects
//! run       Nuncio, Envoy and the outside runner for one case
//! verdict   what the comparison means
//! record    the checked-in list of names and verdicts that a run may only improve
//! table     what people read
//! live      the same cases as objects of a cluster
//! ```
//!
//! The cases and the program that compares answers lie beside the checkout, in `../shared`, and are not part of it.

pub mod case;
pub mod live;
pub mod record;
pub mod run;
pub mod table;
pub mod verdict;

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Installs what the comparison needs into the user's cache, if it is missing: a Python, and a folder for the front of the
/// search path.
pub fn install_tools() -> Result<(PathBuf, PathBuf)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install-corpus-tools");
    let output = Command::new(&script).output().with_context(|| format!("cannot start {}", script.display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines().map(PathBuf::from);
    lines.next().zip(lines.next()).context("install-corpus-tools printed too little")
}
