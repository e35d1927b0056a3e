//! The private folder of one running gateway.

use anyhow::Context;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "nuncio-";
/// Longer paths do not fit into the address of a UNIX socket (108 bytes), with a name in them.
const PATH_BYTES: usize = 80;
/// How many names are tried. Each that is in use belongs to a gateway that runs.
const NAMES: u32 = 1_000;

/// A folder that only this user may enter. It is removed when the value is dropped; what a killed gateway left behind is
/// removed by the next one.
///
/// That a folder is in use is told by a lock on it, which ends with its process. A process id would not tell: gateways in
/// several PID namespaces may share a folder for temporary files.
#[derive(Debug)]
pub(super) struct RuntimeFolder {
    path: PathBuf,
    _lock: File,
}

impl RuntimeFolder {
    pub(super) fn create() -> anyhow::Result<Self> {
        Self::create_in(&base())
    }

    fn create_in(base: &Path) -> anyhow::Result<Self> {
        remove_stale(base);
        for number in 0..NAMES {
            let path = base.join(format!("{PREFIX}{number}"));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(|| format!("cannot create {}", path.display()))?,
            }
            // Another gateway that starts may find the folder before it is locked and take it away.
            let folder = File::open(&path).with_context(|| format!("cannot open {}", path.display()));
            match folder.map(|folder| (lock(&path, &folder), folder)) {
                // A file system without locks: nothing is ever found to be stale there, either.
                Ok((Lock::Taken | Lock::Unknown, folder)) => return Ok(Self { path, _lock: folder }),
                Ok((Lock::Lost, _)) => {}
                Err(error) if path.exists() => return Err(error),
                Err(_) => {}
            }
        }
        anyhow::bail!("cannot create a folder in {}: {PREFIX}0 to {PREFIX}{} are in use", base.display(), NAMES - 1)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The user's runtime folder when there is one, else the folder for temporary files.
fn base() -> PathBuf {
    let usable = |path: &PathBuf| path.is_dir() && path.as_os_str().len() <= PATH_BYTES;
    let candidates = [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(std::env::temp_dir())];
    candidates.into_iter().flatten().find(usable).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// What came of locking a folder.
enum Lock {
    Taken,
    /// Another process has it, or the path leads to another folder by now.
    Lost,
    /// The file system has no locks.
    Unknown,
}

fn lock(path: &Path, folder: &File) -> Lock {
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(_)) => return Lock::Unknown,
        Err(TryLockError::WouldBlock) => return Lock::Lost,
    }
    match (folder.metadata(), fs::metadata(path)) {
        (Ok(locked), Ok(named)) if (locked.dev(), locked.ino()) == (named.dev(), named.ino()) => Lock::Taken,
        _ => Lock::Lost,
    }
}

fn remove_stale(base: &Path) {
    let user = fs::metadata("/proc/self").ok().map(|own| own.uid());
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let numbered = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && Some(found.uid()) == user);
        if numbered.is_none() || !ours {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if matches!(lock(&entry.path(), &folder), Lock::Taken) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_stays_and_a_stale_one_goes() {
        let base = tempfile::tempdir().unwrap();
        let first = RuntimeFolder::create_in(base.path()).unwrap();
        fs::write(first.path().join("envoy.json"), "{}").unwrap();
        // What a killed gateway leaves, and what is nobody's business.
        for name in ["nuncio-7", "nuncio-cluster-0"] {
            fs::create_dir(base.path().join(name)).unwrap();
            fs::write(base.path().join(name).join("left"), "").unwrap();
        }
        let second = RuntimeFolder::create_in(base.path()).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(first.path().join("envoy.json").exists());
        assert!(!base.path().join("nuncio-7").exists());
        assert!(base.path().join("nuncio-cluster-0/left").exists());
        let mode = fs::metadata(second.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists() && second.path().exists());
    }

    #[test]
    fn gateways_that_start_together_have_a_folder_each() {
        let base = tempfile::tempdir().unwrap();
        let start = || RuntimeFolder::create_in(base.path()).unwrap();
        let folders: Vec<RuntimeFolder> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..32).map(|_| scope.spawn(start)).collect();
            starting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let mut paths: Vec<&Path> = folders.iter().map(RuntimeFolder::path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), 32);
        assert!(paths.iter().all(|path| path.is_dir()));
    }
}
