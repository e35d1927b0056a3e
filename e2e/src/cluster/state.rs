//! What one cluster has on disk: a folder below a runtime directory that belongs to the user alone.
//!
//! ```text
//! lock          held by the keeper as long as the cluster lives, so that no stale process id is ever believed
//! keeper, init  process ids, as seen from outside
//! ready         exists once the cluster can be used; says how much of it there is
//! kubeconfig    for the user (system:masters)
//! images/       one link per entry of the image table
//! log/          one file per program; below pods/ one per container
//! data/         etcd, keys, tokens, configuration of the programs
//! ```
//!
//! The keeper removes the folder when it ends; `down` and the next `up` remove what a killed keeper left.

use anyhow::{Context, Result, bail};
use nix::unistd::{Pid, Uid};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest name of a cluster: it becomes part of paths of UNIX sockets.
const LONGEST_NAME: usize = 32;

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct State {
    name: String,
    folder: PathBuf,
}

impl State {
    /// The folder of the cluster of that name of this user; it need not exist.
    pub fn of(name: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
            bail!("a cluster's name has 1 to {LONGEST_NAME} lower-case letters, digits and hyphens; this is {name:?}");
        }
        Ok(Self { name: name.to_owned(), folder: runtime_directory()?.join(name) })
    }

    /// The state of the cluster whose folder is given, for the processes inside.
    pub fn at(folder: &Path) -> Result<Self> {
        let name = folder.file_name().and_then(|name| name.to_str()).context("a cluster's folder has a name")?;
        Ok(Self { name: name.to_owned(), folder: folder.to_owned() })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// The kubeconfig for users.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Creates the folder and takes the lock, which the caller keeps open as long as the cluster lives.
    ///
    /// `None` when a cluster of that name is there already. Leftovers of a dead one are removed first.
    pub fn claim(&self) -> Result<Option<File>> {
        let _turn = self.turn()?;
        if self.is_alive() {
            return Ok(None);
        }
        self.clear()?;
        for folder in ["", "images", "log", "log/pods", "data"] {
            DirBuilder::new().mode(0o700).create(self.path(folder))?;
        }
        let lock = OpenOptions::new().create_new(true).write(true).mode(0o600).open(self.path("lock"))?;
        lock.lock()?;
        Ok(Some(lock))
    }

    /// True while a cluster of that name lives.
    pub fn is_alive(&self) -> bool {
        File::open(self.path("lock")).is_ok_and(|lock| lock.try_lock_shared().is_err())
    }

    /// True when anything of that name is on disk.
    pub fn exists(&self) -> bool {
        self.folder.symlink_metadata().is_ok()
    }

    /// Removes the folder, and the runtime directory with the last one.
    pub fn remove(&self) -> Result<()> {
        if self.folder.parent().is_some_and(Path::is_dir) {
            let _turn = self.turn()?;
            self.clear()?;
            // Not empty as long as there are other clusters.
            let _ = self.folder.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// The right to create and remove folders of this user, for the moment that it takes.
    fn turn(&self) -> Result<File> {
        let parent = self.folder.parent().context("a runtime directory")?;
        loop {
            match DirBuilder::new().mode(0o700).create(parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot create {}", parent.display()));
                }
                _ => {}
            }
            // The directory may lie in a place where everybody can create files.
            let found = fs::symlink_metadata(parent)?;
            if !found.is_dir() || found.uid() != Uid::effective().as_raw() || found.mode() & 0o022 != 0 {
                bail!("{} is not a directory of this user alone", parent.display());
            }
            let Ok(turn) = File::open(parent) else { continue };
            turn.lock()?;
            // Whoever had the turn before may have removed the directory.
            let still = fs::symlink_metadata(parent).is_ok_and(|now| now.ino() == found.ino());
            if still && turn.metadata()?.ino() == found.ino() {
                return Ok(turn);
            }
        }
    }

    /// Writes a file so that a reader sees all of it or nothing.
    pub fn write(&self, relative: &str, text: &str) -> Result<()> {
        let (path, fresh) = (self.path(relative), self.path(&format!("{relative}.new")));
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&fresh);
        file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A process id out of a file.
    pub fn pid(&self, file: &str) -> Option<Pid> {
        fs::read_to_string(self.path(file)).ok()?.trim().parse().ok().map(Pid::from_raw)
    }

    /// The last lines of a log, for an error.
    pub fn last_lines(&self, log: &str, count: usize) -> String {
        let text = fs::read(self.path(&format!("log/{log}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
    }
}

/// `$XDG_RUNTIME_DIR/nuncio-cluster`, else `nuncio-cluster-<uid>` in the folder for temporary files.
fn runtime_directory() -> Result<PathBuf> {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw())
    };
    let folder = match given.filter(own) {
        Some(folder) => folder.join("nuncio-cluster"),
        None => std::env::temp_dir().join(format!("nuncio-cluster-{}", Uid::effective())),
    };
    let parent = folder.parent().context("a runtime directory")?;
    Ok(parent.canonicalize()?.join(folder.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for bad in ["", "..", "a/b", "A", "a b", "ä", &"a".repeat(33)] {
            assert!(State::of(bad).is_err(), "{bad:?}");
        }
        assert!(State::of("kat-2").is_ok());
    }

    #[test]
    fn a_claim_holds_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(&folder.path().join("clusters/one")).unwrap();
        let first = state.claim().unwrap().expect("nobody has it");
        assert!(state.is_alive() && state.claim().unwrap().is_none());
        state.write("images/x", "y").unwrap();
        drop(first);
        assert!(!state.is_alive() && state.exists());
        let second = state.claim().unwrap();
        assert!(second.is_some() && !state.path("images/x").exists());
        state.remove().unwrap();
        assert!(!state.exists() && !folder.path().join("clusters").exists());
    }
}
