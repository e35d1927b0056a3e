//! The programs.

use e2e::soak::gateway::Programs;
use std::io::Write;
use std::path::Path;

/// Not captured, so that it is seen of every run.
pub fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// The built binary and the real Envoy, or a word about what is missing.
pub fn programs() -> Option<Programs> {
    let Some(envoy) = e2e::envoy::binary() else {
        assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
        std::io::stderr().write_all(b"skipped: no Envoy; `make envoy` installs it\n").unwrap();
        return None;
    };
    let nuncio = Path::new(env!("CARGO_BIN_EXE_soak")).with_file_name("nuncio");
    assert!(nuncio.is_file(), "{} is missing: cargo build --workspace --bins", nuncio.display());
    Some(Programs { nuncio, envoy, workers: 2, arguments: vec!["--paranoid".into()], guarded: false })
}
