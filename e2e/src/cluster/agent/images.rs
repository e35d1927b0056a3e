//! The image table: what runs when a pod names an image. There is no registry; an image is a program or a folder of this
//! machine, and one that is not in the table cannot be pulled.

use crate::cluster::state::State;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the program of an image that is a single file appears in the container.
const PROGRAMS: &str = "/usr/local/bin";
/// What an image that is a folder runs when the pod names no command.
const ENTRYPOINT: &str = "/entrypoint";

/// What a container starts from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Image {
    /// A folder whose content lies over the file system of the machine.
    pub folder: Option<PathBuf>,
    /// Single files: path in the container, path on the machine.
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// What runs unless the pod names a command.
    pub entrypoint: Vec<String>,
    /// Environment that the pod may override.
    pub environment: BTreeMap<String, String>,
}

impl Image {
    /// The image for a program, or for a folder with an `entrypoint` at its top.
    pub fn from_path(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("there is no {}", path.display()))?;
        if path.is_dir() {
            if path.to_str().is_none_or(|text| text.contains([':', ',', '\\'])) {
                bail!("{}: a folder's path may not contain colons, commas and backslashes", path.display());
            }
            return Ok(Self { folder: Some(path), entrypoint: vec![ENTRYPOINT.to_owned()], ..Self::default() });
        }
        Self::of_programs(&[&path])
    }

    /// The image with some programs in `/usr/local/bin`; the first one is run.
    pub fn of_programs(programs: &[&Path]) -> Result<Self> {
        let mut image = Self::default();
        for program in programs {
            let name = program.file_name().context("a program has a name")?;
            let inside = Path::new(PROGRAMS).join(name);
            if image.entrypoint.is_empty() {
                image.entrypoint.push(inside.to_string_lossy().into_owned());
            }
            image.files.insert(inside, program.to_path_buf());
        }
        Ok(image)
    }
}

/// Puts an image into the table, in place of one of the same name.
pub fn load(state: &State, name: &str, image: &Image) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"./:-_@".contains(&byte);
    if name.is_empty() || name.len() > 200 || !name.bytes().all(allowed) {
        bail!("{name:?} is not the name of an image");
    }
    state.write(&file(name), &serde_json::to_string_pretty(image)?)
}

/// The image that a pod's reference means: an entry of exactly that name, of that name without tag and digest, or of its
/// last part alone, so that `kat-server` stands for `docker.io/emissaryingress/kat-server:3.10` too.
pub fn find(state: &State, reference: &str) -> Option<Image> {
    let untagged = untagged(reference);
    let last = untagged.rsplit('/').next().unwrap_or(untagged);
    [reference, untagged, last].into_iter().find_map(|name| {
        let text = fs::read_to_string(state.path(&file(name))).ok()?;
        serde_json::from_str(&text).ok()
    })
}

/// Puts those of the usual images into the table whose programs lie in that folder: `kat-server`, `kat-client`,
/// `sample-app`, and `nuncio`, which brings its Envoy.
pub fn load_built(state: &State, folder: &Path) -> Result<()> {
    for name in ["kat-server", "kat-client", "sample-app"] {
        let program = folder.join(name);
        if program.is_file() {
            load(state, name, &Image::of_programs(&[&program])?)?;
        }
    }
    let nuncio = folder.join("nuncio");
    if nuncio.is_file() {
        let envoy = crate::envoy::binary();
        let programs: Vec<&Path> = [nuncio.as_path()].into_iter().chain(envoy.as_deref()).collect();
        let mut image = Image::of_programs(&programs)?;
        if let Some((inside, _)) = image.files.iter().find(|(_, outside)| Some(*outside) == envoy.as_ref()) {
            image.environment.insert("NUNCIO_ENVOY".to_owned(), inside.to_string_lossy().into_owned());
        }
        load(state, "nuncio", &image)?;
    }
    Ok(())
}

fn untagged(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // A colon before a slash belongs to the port of a registry.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn file(name: &str) -> String {
    // "~" is in no name of an image.
    format!("images/{}.json", name.replace('/', "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_finds_the_closest_entry() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let state = State::at(folder.path()).unwrap();
        let image = |name: &str| Image { entrypoint: vec![name.to_owned()], ..Image::default() };
        for name in ["kat-server", "registry:5000/a/kat-server", "registry:5000/a/kat-server:2"] {
            load(&state, name, &image(name)).unwrap();
        }
        for (reference, expected) in [
            ("kat-server", Some("kat-server")),
            ("kat-server:1", Some("kat-server")),
            ("docker.io/x/kat-server@sha256:0011", Some("kat-server")),
            ("registry:5000/a/kat-server", Some("registry:5000/a/kat-server")),
            ("registry:5000/a/kat-server:1", Some("registry:5000/a/kat-server")),
            ("registry:5000/a/kat-server:2", Some("registry:5000/a/kat-server:2")),
            ("kat-client", None),
            ("../../etc/passwd", None),
        ] {
            let found = find(&state, reference).map(|image| image.entrypoint.concat());
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
        for bad in ["", "a b", "a~b", "ä"] {
            assert!(load(&state, bad, &Image::default()).is_err(), "{bad}");
        }
    }
}
