//! `crd-gen` writes `manifests/crds` and `manifests/crds-all-versions`; `crd-gen --check` says whether they are up to date.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use crd_gen::{Options, Storage, Versions, Webhook};

/// Writes the custom resource definitions from the types in `api`: v3alpha1 alone into `crds`, all versions, with a
/// conversion webhook, into `crds-all-versions`.
#[derive(Parser)]
struct Arguments {
    /// Write nothing; exit with status 1 when a file is missing, left over, or not what would be written.
    #[arg(long)]
    check: bool,
    /// Directory of the two.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests"))]
    dir: PathBuf,
}

fn main() -> Result<ExitCode> {
    let Arguments { check, dir } = Arguments::parse();
    let all = Versions::All { storage: Storage::default(), webhook: Webhook::default() };
    let mut stale = write(&dir.join("crds"), &Options::default(), check)?;
    stale |= write(&dir.join("crds-all-versions"), &Options { versions: all, ..Options::default() }, check)?;
    Ok(if check && stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Brings a directory up to date, or only says what is stale. Returns whether anything was.
fn write(dir: &Path, options: &Options, check: bool) -> Result<bool> {
    let mut files = crd_gen::files(options)?;
    files.push(crd_gen::kustomization(&files));
    if !check {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
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
        stale.push(path);
    }
    let wanted = files.iter().map(|file| file.name.as_str()).collect();
    for path in left_over(dir, &wanted)? {
        if !check {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        stale.push(path);
    }
    for path in &stale {
        println!("{} {}", if check { "stale:" } else { "written:" }, path.display());
    }
    Ok(!stale.is_empty())
}

/// Definitions in the directory that no kind has any more. Files of other names are not ours.
fn left_over(dir: &Path, wanted: &BTreeSet<&str>) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("getambassador.io_") && !wanted.contains(name.as_str()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
