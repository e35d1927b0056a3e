//! Which manifest files there are, found without reading them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// Folders nested deeper are not entered.
const DEPTH: usize = 32;

/// Whether a path is looked at: a visible name with one of the three endings.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'));
    !hidden
        && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

/// A look through folders.
#[derive(Default)]
pub(super) struct Walk {
    /// As they came; one that is reached twice is there twice.
    files: Vec<(PathBuf, Stamp)>,
    folders: BTreeSet<PathBuf>,
    /// Device and inode of the folders on the way down: a link that leads up again ends there.
    trail: Vec<(u64, u64)>,
}

impl Walk {
    /// Takes in a file, or what is below a folder. Fails when the path itself cannot be looked at.
    pub(super) fn enter(&mut self, path: &Path, root: bool) -> io::Result<()> {
        let found = fs::metadata(path)?;
        if found.is_file() {
            if root || is_manifest(path) {
                self.files.push((path.to_path_buf(), Stamp::of(&found)));
            }
            return Ok(());
        }
        let identity = (found.dev(), found.ino());
        if !found.is_dir() || self.trail.len() >= DEPTH || self.trail.contains(&identity) {
            return Ok(());
        }
        let entries = fs::read_dir(path)?;
        self.folders.insert(path.to_path_buf());
        self.trail.push(identity);
        let done = entries.into_iter().try_for_each(|entry| {
            let path = entry?.path();
            // Hidden folders hold the generations of a mounted ConfigMap, which are seen through their links.
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.')) {
                // A file that vanished meanwhile or may not be read is not a reason to lose the others.
                let _ = self.enter(&path, false);
            }
            Ok(())
        });
        self.trail.pop();
        done
    }

    /// The files, each once, in the order of the bytes of their paths; and the folders.
    pub(super) fn end(mut self) -> (Vec<(PathBuf, Stamp)>, BTreeSet<PathBuf>) {
        self.files.sort_unstable_by(|(one, _), (other, _)| one.as_os_str().cmp(other.as_os_str()));
        self.files.dedup_by(|(later, _), (one, _)| later.as_os_str() == one.as_os_str());
        (self.files, self.folders)
    }
}

/// Tells without reading whether a file is the same as before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(found: &fs::Metadata) -> Self {
        Self { modified: (found.mtime(), found.mtime_nsec()), size: found.len(), inode: found.ino() }
    }

    /// One that differs from every other of the same file.
    pub(super) fn distrusted(self) -> Self {
        Self { size: u64::MAX, ..self }
    }

    /// Whether this and the other are of different files.
    pub(super) fn replaces(&self, former: &Self) -> bool {
        self.inode != former.inode
    }

    /// Whether the file was written to less than this long ago.
    pub(super) fn is_younger(&self, than: Duration, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.modified.0).unwrap_or(0);
        let nanos = u32::try_from(self.modified.1).unwrap_or(0);
        let modified = UNIX_EPOCH + Duration::new(seconds, nanos);
        now.duration_since(modified).map_or(!than.is_zero(), |age| age < than)
    }
}
