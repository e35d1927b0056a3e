//! The file system of a container: that of the machine, with the image, the volumes and the container's own changes over
//! it. Nothing written in it reaches the machine, and all of it is gone with the mount namespace.
//!
//! Each folder at the top is an overlay of its own, because an ordinary user may not stack `/` as a whole. Such a user
//! also owns nothing in the machine's folders, so every place where something is to be mounted is made in the upper layer
//! beforehand, where it belongs to the user.

use super::images::Image;
use crate::cluster::namespace::{bind, mount_new};
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Folders of the machine that a container does not see as they are.
const OWN: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "lost+found"];

/// A file or folder of the machine that appears in the container.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Mount {
    /// Path on the machine.
    pub source: PathBuf,
    /// Path in the container.
    pub at: PathBuf,
    /// Whether the container may not write there.
    pub read_only: bool,
}

/// What a container's file system is made of.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Root {
    /// An empty folder for the layers.
    pub scratch: PathBuf,
    /// The image.
    pub image: Image,
    /// Volumes.
    pub mounts: Vec<Mount>,
    /// Small files of the container's own: path and text.
    pub files: Vec<(PathBuf, String)>,
    /// A folder that has to exist.
    pub working_directory: PathBuf,
    /// Whether the container may write nothing but its volumes.
    pub read_only: bool,
}

/// The layers of one container.
struct Layers {
    root: PathBuf,
    upper: PathBuf,
    work: PathBuf,
}

impl Root {
    /// Mounts everything and returns the new root, into which `/proc` is still to be mounted. Called in the container's own
    /// mount namespace.
    pub fn build(&self) -> Result<PathBuf> {
        mount_new("tmpfs", &self.scratch)?;
        let [root, upper, work] = ["root", "upper", "work"].map(|name| self.scratch.join(name));
        let layers = Layers { root, upper, work };
        for folder in [&layers.root, &layers.upper, &layers.work] {
            create(folder)?;
        }
        // A root has to be a mount of its own to be entered.
        bind(&layers.root, &layers.root)?;

        let mut mounts: Vec<Mount> = self.mounts.clone();
        mounts.extend(self.image.files.iter().map(|(at, source)| Mount {
            source: source.clone(),
            at: at.clone(),
            read_only: true,
        }));
        // A volume within a volume comes after it.
        mounts.sort_by_key(|mount| mount.at.components().count());
        for mount in &mut mounts {
            mount.at = settled(&mount.at);
            layers.make_place(&mount.at, mount.source.is_dir())?;
        }
        let working_directory = settled(&self.working_directory);
        layers.make_place(&working_directory, true)?;
        for (path, text) in &self.files {
            layers.make_place(path, false)?;
            fs::write(layers.place(path), text)?;
        }

        let tops = self.stack(&layers)?;
        for mount in &mounts {
            let at = layers.root.join(relative(&mount.at));
            // What lies in a volume already has no place in the upper layer.
            if !at.exists() {
                make(&at, mount.source.is_dir())?;
            }
            bind(&mount.source, &at)?;
            if mount.read_only {
                make_read_only(&at)?;
            }
        }
        if self.read_only {
            for top in tops {
                make_read_only(&layers.root.join(top))?;
            }
            make_read_only(&layers.root)?;
        }
        Ok(layers.root)
    }

    /// Mounts the folders at the top; the names of those that are overlays.
    fn stack(&self, layers: &Layers) -> Result<BTreeSet<OsString>> {
        let mut names = BTreeSet::new();
        let image = self.image.folder.as_deref();
        for folder in [Some(Path::new("/")), image, Some(&layers.upper)].into_iter().flatten() {
            for entry in fs::read_dir(folder)? {
                names.insert(entry?.file_name());
            }
        }
        let mut tops = BTreeSet::new();
        for name in names {
            if name.to_str().is_none_or(|name| OWN.contains(&name)) {
                continue;
            }
            let at = layers.root.join(&name);
            let (own, machine) = (image.map(|image| image.join(&name)), Path::new("/").join(&name));
            let source = own.as_ref().filter(|path| path.symlink_metadata().is_ok()).unwrap_or(&machine);
            if source.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(source)?, &at)?;
                continue;
            }
            if source.is_file() {
                fs::write(&at, "")?;
                bind(source, &at)?;
                continue;
            }
            let lower: Vec<&Path> =
                own.iter().map(PathBuf::as_path).chain([&*machine]).filter(|path| path.is_dir()).collect();
            create(&at)?;
            let upper = layers.upper.join(&name);
            if !upper.exists() {
                create(&upper)?;
                // The merged folder has the attributes of the uppermost one.
                if let Some(first) = lower.first() {
                    fs::set_permissions(&upper, fs::metadata(first)?.permissions())?;
                }
            }
            if lower.is_empty() {
                bind(&upper, &at)?;
            } else if overlay(&lower, &upper, &layers.work.join(&name), &at).is_err() {
                // A folder with mounts of the machine in it cannot be stacked by an ordinary user; it can be shown.
                bind(&machine, &at)?;
                continue;
            }
            tops.insert(name);
        }
        for name in ["dev", "sys"] {
            let at = layers.root.join(name);
            create(&at)?;
            bind(&Path::new("/").join(name), &at)?;
        }
        for name in ["proc", "run", "tmp"] {
            create(&layers.root.join(name))?;
        }
        fs::set_permissions(layers.root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        Ok(tops)
    }
}

impl Layers {
    /// Where something in the container lies before the overlays are mounted.
    fn place(&self, path: &Path) -> PathBuf {
        let path = relative(path);
        // These begin empty, so they have no layers.
        let plain = path.starts_with("run") || path.starts_with("tmp");
        if plain { self.root.join(path) } else { self.upper.join(path) }
    }

    /// Makes a folder or an empty file in the upper layer.
    fn make_place(&self, path: &Path, folder: bool) -> Result<()> {
        let first = relative(path).components().next().map(|part| part.as_os_str().to_owned());
        // Device files and the like cannot be stacked, and need no places.
        if first.is_none_or(|first| first == "dev" || first == "sys" || first == "proc") {
            return Ok(());
        }
        make(&self.place(path), folder)
    }
}

fn make(path: &Path, folder: bool) -> Result<()> {
    if folder {
        return create(path);
    }
    path.parent().map_or(Ok(()), create)?;
    if !path.exists() {
        fs::write(path, "").with_context(|| format!("cannot create {}", path.display()))?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// The path with a link at its top followed: `/bin` is a link to `/usr/bin` on most machines.
fn settled(path: &Path) -> PathBuf {
    let path = relative(path);
    let mut parts = path.components();
    let Some(first) = parts.next() else { return PathBuf::from("/") };
    let top = Path::new("/").join(first);
    match fs::read_link(&top) {
        Ok(target) => Path::new("/").join(target).join(parts.as_path()),
        Err(_) => top.join(parts.as_path()),
    }
}

/// The path below the root, without steps upwards.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn overlay(lower: &[&Path], upper: &Path, work: &Path, at: &Path) -> Result<()> {
    create(work)?;
    let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let attempt = |options: &str| mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options));
    attempt(&options).or_else(|_| attempt(&format!("{options},userxattr"))).context("cannot stack folders")
}

/// Makes a mount read-only; the flags that it has must be named again.
fn make_read_only(at: &Path) -> Result<()> {
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let has = statvfs(at)?.flags();
    for (flag, kept) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if has.contains(flag) {
            flags |= kept;
        }
    }
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot make {} read-only", at.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for (path, expected) in [("/a/../../b", "a/b"), ("a/./b", "a/b"), ("/", ""), ("../..", "")] {
            assert_eq!(relative(Path::new(path)), Path::new(expected), "{path}");
        }
        assert_eq!(settled(Path::new("/")), Path::new("/"));
        assert_eq!(settled(Path::new("/no-such-folder/x")), Path::new("/no-such-folder/x"));
    }
}
