//! Which folders are watched, and what happens in them.
//!
//! On inotify(7) itself and not with crate notify, whose thread would have to wake the one that reads files, and which is
//! woken by every file that somebody opens: by each reading of what changed.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Before another attempt when waiting itself fails.
const FAILED: Duration = Duration::from_secs(1);

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file was written to the end, or something was put in place by a rename.
    Complete,
    /// It is new, or is being written.
    Begun,
    /// It was removed or renamed.
    Away,
    /// There is a new folder.
    Folder,
    /// The kernel dropped events.
    Lost,
}

/// Something that happened, with the path as the folder was named to [`Watches::follow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// Ends [`Watches::wait`] from another thread.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<EventFd>);

impl Bell {
    /// The next wait, or the one under way, ends.
    pub(super) fn ring(&self) {
        // It fails only when it has been rung 2^64 times.
        let _ = self.0.write(1);
    }
}

/// The watched folders.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: Inotify,
    bell: Bell,
    /// One folder may have several names.
    folders: HashMap<WatchDescriptor, BTreeSet<PathBuf>>,
}

impl Watches {
    /// Watches nothing yet. Fails when the user has as many instances of inotify as the machine allows.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self { inotify, bell: Bell(Arc::new(bell)), folders: HashMap::new() })
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Watches these folders and no others; a name that leads to another folder than before is watched anew. True when
    /// there is one that was not watched before: what happened in it until now has to be looked for. Folders that cannot be
    /// watched come with the reason.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<PathBuf>) -> (bool, Vec<(PathBuf, io::Error)>) {
        let mask = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let (mut followed, mut failed): (HashMap<_, BTreeSet<PathBuf>>, _) = (HashMap::new(), Vec::new());
        let mut new = false;
        for folder in wanted {
            let path: &Path = if folder.as_os_str().is_empty() { ".".as_ref() } else { folder };
            match self.inotify.add_watch(path, mask) {
                Ok(watch) => {
                    new |= !self.folders.get(&watch).is_some_and(|names| names.contains(folder));
                    followed.entry(watch).or_default().insert(folder.clone());
                }
                Err(error) => failed.push((folder.clone(), error.into())),
            }
        }
        for watch in self.folders.keys().filter(|watch| !followed.contains_key(watch)) {
            // It has ended already if the folder is gone.
            let _ = self.inotify.rm_watch(*watch);
        }
        self.folders = followed;
        (new, failed)
    }

    /// What has happened since the last call; waits for something, for the bell, or so long. Rounded up to milliseconds.
    pub(super) fn wait(&self, limit: Duration) -> Vec<Happened> {
        let limit = PollTimeout::try_from(limit.as_micros().div_ceil(1_000)).unwrap_or(PollTimeout::MAX);
        let mut ready =
            [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN), PollFd::new(self.bell.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, limit).is_err_and(|error| error != Errno::EINTR) {
            std::thread::sleep(FAILED);
        }
        let [events, bell] = ready.map(|ready| ready.any().unwrap_or(false));
        if bell {
            let _ = self.bell.0.read();
        }
        if events { self.read() } else { Vec::new() }
    }

    /// A page of events; what is left makes the next wait end at once.
    fn read(&self) -> Vec<Happened> {
        let mut out = Vec::new();
        for event in self.inotify.read_events().into_iter().flatten() {
            self.named(&event, &mut out);
        }
        out
    }

    /// An event under each name of its folder.
    fn named(&self, event: &InotifyEvent, out: &mut Vec<Happened>) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            out.push(Happened { path: PathBuf::new(), what: What::Lost });
            return;
        }
        let Some(what) = what(event.mask) else { return };
        for folder in self.folders.get(&event.wd).into_iter().flatten() {
            let path = event.name.as_ref().map_or_else(|| folder.clone(), |name| folder.join(name));
            out.push(Happened { path, what });
        }
    }
}

/// `None` for what says nothing, as that a watch has ended.
fn what(mask: AddWatchFlags) -> Option<What> {
    let has = |flags| mask.intersects(flags);
    let folder = has(AddWatchFlags::IN_ISDIR);
    let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_DELETE_SELF;
    if has(gone | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_MOVE_SELF) {
        Some(What::Away)
    } else if folder && has(AddWatchFlags::IN_CREATE) {
        Some(What::Folder)
    } else if has(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO) {
        Some(What::Complete)
    } else if has(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY) {
        Some(What::Begun)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, read, remove_dir_all, rename, write};

    const SOON: Duration = Duration::from_secs(20);
    const NOW: Duration = Duration::ZERO;

    fn at(folders: &[&Path]) -> (Watches, bool) {
        let mut watches = Watches::new().unwrap();
        let (new, failed) = watches.follow(&folders.iter().map(|path| path.to_path_buf()).collect());
        assert!(failed.is_empty(), "{failed:?}");
        (watches, new)
    }

    fn told(happened: Vec<Happened>, below: &Path) -> Vec<(String, What)> {
        let name = |path: PathBuf| path.strip_prefix(below).unwrap().display().to_string();
        happened.into_iter().map(|happened| (name(happened.path), happened.what)).collect()
    }

    #[test]
    fn a_file_that_is_written_is_complete_in_the_end_and_reading_it_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (watches, new) = at(&[dir.path()]);
        assert!(new);
        write(dir.path().join("a"), "x").unwrap();
        let expected = [("a".into(), What::Begun), ("a".into(), What::Begun), ("a".into(), What::Complete)];
        assert_eq!(told(watches.wait(SOON), dir.path()), expected);
        read(dir.path().join("a")).unwrap();
        assert_eq!(watches.wait(NOW), []);
        rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(told(watches.wait(SOON), dir.path()), [("a".into(), What::Away), ("b".into(), What::Complete)]);
    }

    #[test]
    fn folders_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        let (mut watches, _) = at(&[dir.path()]);
        create_dir(&inner).unwrap();
        assert_eq!(told(watches.wait(SOON), dir.path()), [("inner".into(), What::Folder)]);
        let both: BTreeSet<PathBuf> = [dir.path().to_path_buf(), inner.clone()].into();
        assert!(watches.follow(&both).0 && !watches.follow(&both).0);
        // The same name, but another folder: it is watched anew.
        remove_dir_all(&inner).unwrap();
        create_dir(&inner).unwrap();
        assert!(watches.follow(&both).0);
        watches.wait(SOON);
        write(inner.join("a"), "x").unwrap();
        assert!(told(watches.wait(SOON), dir.path()).contains(&("inner/a".into(), What::Complete)));
        assert!(!watches.follow(&[dir.path().to_path_buf()].into()).0);
        write(inner.join("a"), "x").unwrap();
        assert_eq!(watches.wait(NOW), []);
        let (_, failed) = watches.follow(&[dir.path().join("absent")].into());
        assert_eq!(failed.len(), 1);
    }

    #[test]
    fn a_folder_has_all_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (watches, _) = at(&[&real, &link]);
        write(real.join("a"), "").unwrap();
        let complete: Vec<_> =
            told(watches.wait(SOON), dir.path()).into_iter().filter(|(_, what)| *what == What::Complete).collect();
        assert_eq!(complete, [("link/a".into(), What::Complete), ("real/a".into(), What::Complete)]);
    }

    #[test]
    fn the_bell_ends_a_wait_once() {
        let (watches, _) = at(&[]);
        watches.bell().ring();
        watches.bell().ring();
        assert_eq!(watches.wait(SOON), []);
        let begun = std::time::Instant::now();
        watches.wait(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20), "nobody rang");
    }
}
