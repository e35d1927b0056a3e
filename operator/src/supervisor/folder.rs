//! The private folder of one running gateway.

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "nuncio-";
/// Longer paths do not fit into the address of a UNIX socket (108 bytes), with a name in them.
const PATH_BYTES: usize = 80;

/// A folder that only this user may enter. It is removed when the value is dropped; what a killed gateway left behind is
/// removed by the next one.
#[derive(Debug)]
pub(super) struct RuntimeFolder(PathBuf);

impl RuntimeFolder {
    pub(super) fn create() -> anyhow::Result<Self> {
        let base = base();
        remove_stale(&base);
        let path = base.join(format!("{PREFIX}{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The user's runtime folder when there is one, else the folder for temporary files.
fn base() -> PathBuf {
    let usable = |path: &PathBuf| path.is_dir() && path.as_os_str().len() <= PATH_BYTES;
    let candidates = [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(std::env::temp_dir())];
    candidates.into_iter().flatten().find(usable).unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn remove_stale(base: &Path) {
    let user = fs::metadata("/proc/self").ok().map(|own| own.uid());
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let owner = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<i32>().ok());
        let Some(pid) = owner.filter(|pid| *pid > 0) else { continue };
        let ours = entry.metadata().is_ok_and(|found| found.is_dir() && Some(found.uid()) == user);
        // The number may be in use again by another program; then the folder stays until that ends, too.
        if ours && (kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) || pid.unsigned_abs() == std::process::id()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
