//! What the real Envoy says: every golden case has to be accepted as a static configuration.
//!
//! Envoy is the program in `NUNCIO_ENVOY`; without it these tests say that they are skipped.

use crate::cases;
use envoy::bootstrap::{self, Admin, BootstrapOptions, static_bootstrap};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, if there is one.
pub fn envoy() -> Option<PathBuf> {
    let path = std::env::var_os("NUNCIO_ENVOY").map(PathBuf::from).filter(|path| path.is_file());
    if path.is_none() {
        eprintln!("skipped: NUNCIO_ENVOY does not name an Envoy");
    }
    path
}

/// What `envoy --mode validate` says to a configuration.
fn validate(envoy: &Path, config: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let arguments = ["--mode", "validate", "--disable-hot-restart", "--log-level", "warning", "-c"];
    Command::new(envoy).args(arguments).arg(&file).output().unwrap()
}

fn accepted(what: &str, output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn envoy_accepts_every_case_as_a_static_configuration() {
    let Some(envoy) = envoy() else { return };
    let options = BootstrapOptions::new("default", "default");
    let refused: Vec<_> = cases::all()
        .into_iter()
        .filter_map(|(name, rows)| {
            let config = static_bootstrap(&rows, &options).unwrap();
            accepted(name, &validate(&envoy, &config)).err()
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));
}

#[test]
fn envoy_accepts_the_dynamic_bootstrap() {
    let Some(envoy) = envoy() else { return };
    let folder = tempfile::tempdir().unwrap();
    for admin in [Admin::Unix(folder.path().join("admin.sock")), Admin::Tcp("127.0.0.1:0".parse().unwrap())] {
        let options = BootstrapOptions { admin: Some(admin), ..BootstrapOptions::new("default", "default") };
        let config = bootstrap::dynamic_bootstrap(&options, &folder.path().join("ads.sock"));
        let output = validate(&envoy, &config);
        accepted("dynamic", &output).unwrap();
    }
}
