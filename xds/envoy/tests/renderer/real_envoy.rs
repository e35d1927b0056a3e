//! What the real Envoy says: every golden case has to be accepted as a static configuration.
//!
//! Envoy is the program in `NUNCIO_ENVOY` or on the path; without it these tests say that they are skipped.

use crate::cases;
use envoy::bootstrap::{self, Admin, BootstrapOptions, static_bootstrap};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, if there is one.
pub fn envoy() -> Option<PathBuf> {
    let named = std::env::var_os("NUNCIO_ENVOY").map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|program| program.is_file())
    };
    let found = named.filter(|program| program.is_file()).or_else(on_path);
    if found.is_none() {
        // Not by `eprintln`, which the test runner would hide.
        let _ = writeln!(std::io::stderr(), "skipped: no Envoy in NUNCIO_ENVOY or PATH");
    }
    found
}

/// Deprecated fields that are used on purpose; the code that fills them says why.
const DEPRECATED: [&str; 2] = ["Cluster.respect_dns_ttl", "FileAccessLog.json_format"];

/// What `envoy --mode validate` says to a configuration.
fn validate(envoy: &Path, config: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let arguments = ["--mode", "validate", "--disable-hot-restart", "--log-level", "warning", "-c"];
    Command::new(envoy).args(arguments).arg(&file).output().unwrap()
}

fn accepted(what: &str, output: &Output) -> Result<(), String> {
    let log = String::from_utf8_lossy(&output.stderr);
    let known = |line: &str| DEPRECATED.iter().any(|field| line.contains(field));
    let complaint = log.lines().any(|line| line.contains("eprecated field") && !known(line));
    match output.status.success() && !complaint {
        true => Ok(()),
        false => Err(format!("{what}: {log}")),
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
