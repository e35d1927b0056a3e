//! Extracts the descriptors of all Envoy messages from the `envoy-types` package, which carries but does not export
//! them, so that `dump` can print any resource.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let source = envoy_types()?.join("src/generated/types.bin");
    println!("cargo::rerun-if-changed={}", source.display());
    let bytes = fs::read(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    let mut descriptors = FileDescriptorSet::decode(bytes.as_slice())?;
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("envoy.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    Ok(())
}

/// The folder of the `envoy-types` package that this build uses. Asked with the target's filter, as packages of other
/// platforms need not be there. Those that only tests use are asked for all the same, and a first build has not loaded
/// them: then, and only then, the question goes to the network.
fn envoy_types() -> Result<PathBuf, Box<dyn Error>> {
    let mut output = metadata(&["--offline"])?;
    if !output.status.success() {
        output = metadata(&[])?;
    }
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata.get("packages").and_then(|packages| packages.as_array());
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(|name| name.as_str()) == Some("envoy-types"));
    let manifest = package.and_then(|package| package.get("manifest_path")).and_then(|path| path.as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent());
    folder.map(Path::to_path_buf).ok_or_else(|| "envoy-types is not among the packages of this build".into())
}

fn metadata(how: &[&str]) -> Result<Output, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &env::var("TARGET")?])
        .args(how)
        .current_dir(env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    Ok(output)
}
