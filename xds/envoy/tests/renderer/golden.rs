//! Golden cases: rows in, resources out. `UPDATE=1 cargo test -p envoy golden` rewrites them.

use crate::cases;
use envoy::{Options, Renderer, dump};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_case_gives_its_resources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = std::env::var_os("UPDATE").is_some();
    let mut known = BTreeSet::new();
    let mut different = Vec::new();
    for (name, rows) in cases::all() {
        let delta = Renderer::new(Options::default()).apply(&rows, 1);
        let json = dump::resources(delta.upserts.iter().map(AsRef::as_ref)).unwrap();
        let text = serde_json::to_string_pretty(&json).unwrap() + "\n";
        let path = folder.join(format!("{name}.json"));
        assert!(known.insert(path.clone()), "two cases are called {name}");
        if update {
            fs::write(&path, text).unwrap();
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            different.push(format!("{name}: is now\n{text}"));
        }
    }
    assert!(different.is_empty(), "run with UPDATE=1 if this is meant:\n{}", different.join("\n"));
    let stale: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !known.contains(path))
        .collect();
    if update {
        stale.iter().for_each(|path| fs::remove_file(path).unwrap());
    } else {
        assert!(stale.is_empty(), "no case gives these: {stale:?}");
    }
}

#[test]
fn a_private_key_is_in_no_dump() {
    let key = include_str!("pem/key.pem");
    let (_, rows) = cases::all().into_iter().find(|(name, _)| *name == "small").unwrap();
    let delta = Renderer::new(Options::default()).apply(&rows, 1);
    let dumped = dump::resources(delta.upserts.iter().map(AsRef::as_ref)).unwrap();
    assert_eq!(dumped["secrets"][0]["tls_certificate"]["private_key"]["inline_string"], dump::REDACTED);
    let debug = format!("{delta:?}{:?}", rows.secrets);
    let body = key.lines().nth(1).unwrap();
    assert!(!debug.contains(body) && !dumped.to_string().contains(body));
}
