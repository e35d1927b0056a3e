//! `crd-gen` writes `manifests/crds`; `crd-gen --check` says whether it is up to date.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Writes the custom resource definitions from the types in `api`.
#[derive(Parser)]
struct Arguments {
    /// Write nothing; exit with status 1 when a file is missing, left over, or not what would be written.
    #[arg(long)]
    check: bool,
    /// Directory of the files.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds"))]
    dir: PathBuf,
}

fn main() -> Result<ExitCode> {
    let Arguments { check, dir } = Arguments::parse();
    let files = crd_gen::files()?;
    if !check {
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let mut stale = Vec::new();
    for file in &files {
        let path = dir.join(&file.name);
        // A file that cannot be read is stale: writing it anew either helps or says why not.
        if fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
            continue;
        }
        if !check {
            fs::write(&path, &file.text).with_context(|| format!("writing {}", path.display()))?;
        }
        stale.push(file.name.clone());
    }
    let wanted = files.iter().map(|file| file.name.as_str()).collect();
    for name in left_over(&dir, &wanted)? {
        if !check {
            fs::remove_file(dir.join(&name)).with_context(|| format!("removing {name}"))?;
        }
        stale.push(name);
    }
    for name in &stale {
        println!("{} {name}", if check { "stale:" } else { "written:" });
    }
    Ok(if check && !stale.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Names of definitions in the directory that no kind has any more. Files of other names are not ours.
fn left_over(dir: &Path, wanted: &BTreeSet<&str>) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("getambassador.io_") && !wanted.contains(name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
