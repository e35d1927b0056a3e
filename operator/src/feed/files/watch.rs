//! File events into changes, within milliseconds of the last byte.

use super::folder::{Folder, Update};
use crate::feed::{Feed, FeedId, SourceProblem};
use crate::mailbox::Mailbox;
use anyhow::Context;
use compiler::WantedChanges;
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a file may be away before that counts: editors rename the old file away before they write the new one.
const AWAY: Duration = Duration::from_millis(50);
/// A writer that keeps its file open without closing it is read after this long.
const OPEN: Duration = Duration::from_millis(250);
/// All files are looked at this often, for file systems that send no events.
const ROUND: Duration = Duration::from_secs(10);
/// When to look at a path.
type Deadlines = BTreeMap<PathBuf, Instant>;

/// A feed over files and folders. It owns one thread.
#[derive(Debug)]
pub struct FileFeed {
    inbox: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    File(notify::Result<notify::Event>),
    Wanted(Arc<WantedChanges>),
    Stop,
}

impl FileFeed {
    /// Reads everything once, posts it, says that it has listed, and goes on watching. Fails when a root does not exist.
    pub fn start(id: FeedId, mut folder: Folder, mailbox: Arc<Mailbox>) -> anyhow::Result<Self> {
        let (inbox, messages) = channel();
        let events = inbox.clone();
        let roots = Arc::new(Roots::new(folder.roots())?);
        let certificates = Arc::new(AtomicBool::new(false));
        let (below, wanted) = (roots.clone(), certificates.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A file that is written and renamed is five events, of which one says something.
            let is_idle = |event: &notify::Event| is_idle(event, &below, wanted.load(Ordering::Relaxed));
            if !event.as_ref().is_ok_and(is_idle) {
                // The receiver is gone only when the feed is.
                let _ = events.send(Message::File(event));
            }
        })
        .context("cannot watch files")?;
        for root in folder.roots() {
            // The folder of a single file is watched: an editor replaces the file, and a watch on it would end.
            let found = std::fs::metadata(root).with_context(|| format!("cannot read {}", root.display()))?;
            let (path, mode) = match found.is_dir() {
                true => (root.as_path(), RecursiveMode::Recursive),
                false => (
                    root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(".".as_ref()),
                    RecursiveMode::NonRecursive,
                ),
            };
            watcher.watch(path, mode).with_context(|| format!("cannot watch {}", path.display()))?;
        }
        let started = Instant::now();
        let update = folder.rescan();
        let (watched, told) = (BTreeSet::new(), Vec::new());
        let mut feed = Watching { id, folder, mailbox, watcher, roots, certificates, watched, told };
        let thread = std::thread::Builder::new().name("files".into()).spawn(move || {
            feed.post(update, started);
            feed.mailbox.listed(feed.id);
            feed.run(&messages);
        })?;
        Ok(Self { inbox, thread: Some(thread) })
    }
}

impl Feed for FileFeed {
    fn name(&self) -> String {
        "manifest files".into()
    }

    fn wanted(&self, changes: &Arc<WantedChanges>) {
        let _ = self.inbox.send(Message::Wanted(changes.clone()));
    }

    fn stop(&mut self) {
        let _ = self.inbox.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FileFeed {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Watching {
    id: FeedId,
    folder: Folder,
    mailbox: Arc<Mailbox>,
    watcher: RecommendedWatcher,
    roots: Arc<Roots>,
    /// Whether files beside manifests are wanted.
    certificates: Arc<AtomicBool>,
    /// Folders watched for the sake of certificate files.
    watched: BTreeSet<PathBuf>,
    /// The problems that were posted last.
    told: Vec<SourceProblem>,
}

/// Roots as events name them (absolute) and as the user does.
struct Roots(Vec<(PathBuf, PathBuf)>);

impl Roots {
    fn new(roots: &[PathBuf]) -> std::io::Result<Self> {
        roots.iter().map(|root| Ok((std::path::absolute(root)?, root.clone()))).collect::<Result<_, _>>().map(Self)
    }

    /// The user's spelling of a path of an event; `None` for what lies below no root, as the neighbours of a single file.
    fn name(&self, path: &Path) -> Option<PathBuf> {
        self.0.iter().find_map(|(absolute, given)| {
            let rest = path.strip_prefix(absolute).ok()?;
            Some(if rest.as_os_str().is_empty() { given.clone() } else { given.join(rest) })
        })
    }
}

/// Whether a path is hidden below every root it is in, so that it is not read: what an editor has beside the file until it
/// renames it, or what a version control keeps. Names that begin with two dots are how a mounted ConfigMap changes.
fn is_private(path: &Path, roots: &Roots) -> bool {
    let mut below = roots.0.iter().filter_map(|(_, given)| path.strip_prefix(given).ok());
    let hidden = |name: &std::ffi::OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b".") && !name.starts_with(b"..")
    };
    below.all(|rest| rest.iter().any(hidden))
}

/// Whether an event says nothing: a file was opened or read, both names of a rename that is told of each as well, or, while
/// no certificate is wanted, of hidden files.
fn is_idle(event: &notify::Event, roots: &Roots, certificates: bool) -> bool {
    let quiet = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => true,
        _ => false,
    };
    let hidden = |path: &PathBuf| roots.name(path).is_some_and(|path| is_private(&path, roots));
    !event.need_rescan() && (quiet || !certificates && event.paths.iter().all(hidden))
}

/// What the events of a moment ask for.
#[derive(Debug, Default)]
struct Dirty {
    /// Written to the end, or put in place by a rename.
    ready: BTreeSet<PathBuf>,
    /// To be looked at later, unless something happens before.
    later: Deadlines,
    /// Something about folders: look at everything.
    everything: bool,
    /// Something beside what is read: look at wanted files.
    neighbours: bool,
}

impl Watching {
    fn run(&mut self, messages: &Receiver<Message>) {
        let mut dirty = Dirty::default();
        let mut round = Instant::now() + ROUND;
        loop {
            let next = dirty.later.values().min().copied().unwrap_or(round).min(round);
            let first = match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let received = Instant::now();
            for message in first.into_iter().chain(messages.try_iter()) {
                match message {
                    Message::File(Ok(event)) => dirty.note(&event, received, &self.roots),
                    // Events were lost, or the watch has trouble: the look at everything finds what they said.
                    Message::File(Err(_)) => dirty.everything = true,
                    Message::Wanted(changes) => {
                        // Before they are read: what happens from then on has to be heard of.
                        self.certificates.store(true, Ordering::Relaxed);
                        let update = self.folder.want(&changes);
                        self.certificates.store(self.folder.wants_files(), Ordering::Relaxed);
                        self.follow_wanted();
                        self.post(update, received);
                    }
                    Message::Stop => return,
                }
            }
            dirty.ripen(received);
            if received >= round {
                dirty.everything = true;
                round = received + ROUND;
            }
            let neighbours = std::mem::take(&mut dirty.neighbours) && self.folder.wants_files();
            if neighbours || dirty.everything || !dirty.ready.is_empty() {
                let ready = std::mem::take(&mut dirty.ready);
                let mut update = self.folder.reload(&ready);
                if std::mem::take(&mut dirty.everything) {
                    let (more, unsettled) = self.folder.rescan_settled(OPEN);
                    update.changes.extend(more.changes);
                    update.notes.extend(more.notes);
                    for path in unsettled {
                        dirty.later.entry(path).or_insert(received + OPEN);
                    }
                }
                self.post(update, received);
            }
        }
    }

    fn post(&mut self, update: Update, received: Instant) {
        for note in update.notes {
            self.mailbox.note(note);
        }
        let problems = self.folder.problems();
        if problems != self.told {
            self.mailbox.problems(self.id, problems.clone());
            self.told = problems;
        }
        // The pipeline goes through a whole round for whatever is posted.
        if !update.changes.is_empty() {
            self.mailbox.put(update.changes, received);
        }
    }

    fn follow_wanted(&mut self) {
        let wanted = self.folder.wanted_folders();
        for folder in self.watched.difference(&wanted) {
            let _ = self.watcher.unwatch(folder);
        }
        // A folder that cannot be watched is looked at in every round.
        self.watched =
            wanted.into_iter().filter(|path| self.watcher.watch(path, RecursiveMode::NonRecursive).is_ok()).collect();
    }
}

impl Dirty {
    fn note(&mut self, event: &notify::Event, now: Instant, roots: &Roots) {
        if event.need_rescan() {
            self.everything = true;
        }
        for path in &event.paths {
            let Some(path) = &roots.name(path) else {
                // In a folder with certificates, or beside a single file.
                self.neighbours = true;
                continue;
            };
            if is_private(path, roots) {
                self.neighbours = true;
                continue;
            }
            match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                    self.later.remove(path);
                    self.ready.insert(path.clone());
                    // A link that is put in place (`..data`) changes what other paths lead to, a folder brings files.
                    self.everything |= !path.is_file() || path.extension().is_none();
                }
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                    self.later.insert(path.clone(), now + AWAY);
                }
                EventKind::Create(CreateKind::Folder) => {
                    // Again later: what was written before the folder was watched gave no event.
                    self.everything = true;
                    self.later.insert(path.clone(), now + OPEN);
                }
                EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => {
                    // The close that follows reads it at once. A link is complete when it is created.
                    let linked = path.is_symlink();
                    self.later.insert(path.clone(), if linked { now } else { now + OPEN });
                }
                _ => {}
            }
        }
    }

    /// Moves what has waited long enough to what is looked at now.
    fn ripen(&mut self, now: Instant) {
        let ripe: Vec<PathBuf> =
            self.later.iter().filter(|(_, at)| **at <= now).map(|(path, _)| path.clone()).collect();
        for path in ripe {
            self.later.remove(&path);
            // Also a folder may have gone.
            self.everything |= !path.is_file() || path.is_symlink() || path.extension().is_none();
            self.ready.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::files::Sources;
    use compiler::Change;
    use std::fs::{create_dir, remove_file, rename, write};

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Fixture {
        dir: tempfile::TempDir,
        mailbox: Arc<Mailbox>,
        _feed: FileFeed,
    }

    fn mapping(prefix: &str) -> String {
        format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: m}}\nspec: {{hostname: '*', prefix: {prefix}, service: s}}\n"
        )
    }

    impl Fixture {
        /// Watches `m.yaml` in a folder, or the folder.
        fn new(single: bool) -> Self {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path().join("m.yaml"), mapping("/first")).unwrap();
            let root = if single { dir.path().join("m.yaml") } else { dir.path().to_path_buf() };
            let mailbox = Arc::new(Mailbox::default());
            let sources = Sources { roots: vec![root], namespace: "default".into(), ..Sources::default() };
            let feed = FileFeed::start(FeedId(0), Folder::new(sources), mailbox.clone()).unwrap();
            let fixture = Self { dir, mailbox, _feed: feed };
            assert_eq!(fixture.next(), ["put m"]);
            fixture
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// The changes of the next batch that has any. The watchdog makes a missing one a failure instead of a hang.
        fn next(&self) -> Vec<String> {
            let (done, wait) = channel::<()>();
            let mailbox = self.mailbox.clone();
            let watchdog = std::thread::spawn(move || {
                if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    mailbox.close();
                }
            });
            let changes = loop {
                let batch = self.mailbox.take().expect("a change in time");
                if !batch.changes.is_empty() {
                    break batch.changes;
                }
            };
            drop(done);
            watchdog.join().unwrap();
            let line = |change: &Change| match change {
                Change::Put(object) => format!("put {}", object.key.name),
                Change::Gone(key) => format!("gone {}", key.name),
                other => format!("{other:?}"),
            };
            changes.iter().map(|(change, _)| line(change)).collect()
        }
    }

    #[test]
    fn a_written_file_is_read_when_it_is_closed() {
        let at = Fixture::new(false);
        write(at.path("m.yaml"), mapping("/second")).unwrap();
        assert_eq!(at.next(), ["put m"]);
    }

    #[test]
    fn editors_that_replace_the_file_do_not_take_the_object_away() {
        for single in [false, true] {
            let at = Fixture::new(single);
            // As vim does: the old one becomes a backup, the new one is written under the old name.
            rename(at.path("m.yaml"), at.path("m.yaml~")).unwrap();
            write(at.path("m.yaml"), mapping("/second")).unwrap();
            assert_eq!(at.next(), ["put m"], "single: {single}");
            // As others do: a new file is moved over the old one.
            write(at.path(".m.yaml.tmp"), mapping("/third")).unwrap();
            rename(at.path(".m.yaml.tmp"), at.path("m.yaml")).unwrap();
            assert_eq!(at.next(), ["put m"], "single: {single}");
        }
    }

    #[test]
    fn a_removed_file_takes_its_objects_along() {
        let at = Fixture::new(false);
        remove_file(at.path("m.yaml")).unwrap();
        assert_eq!(at.next(), ["gone m"]);
    }

    #[test]
    fn new_folders_are_followed() {
        let at = Fixture::new(false);
        create_dir(at.path("new")).unwrap();
        write(at.path("new/n.yaml"), mapping("/x").replace("name: m", "name: new")).unwrap();
        assert_eq!(at.next(), ["put new"]);
        write(at.path("new/n.yaml"), mapping("/y").replace("name: m", "name: new")).unwrap();
        assert_eq!(at.next(), ["put new"]);
    }

    #[test]
    fn the_neighbours_of_a_single_file_are_not_read() {
        let at = Fixture::new(true);
        write(at.path("other.yaml"), mapping("/x").replace("name: m", "name: other")).unwrap();
        write(at.path("m.yaml"), mapping("/second")).unwrap();
        assert_eq!(at.next(), ["put m"]);
    }

    #[test]
    fn what_is_hidden_is_not_looked_at() {
        let roots = Roots(vec![("/home/.me/manifests".into(), "../.me/manifests".into())]);
        let hidden = |path: &str| is_private(&roots.name(Path::new(path)).unwrap(), &roots);
        assert!(hidden("/home/.me/manifests/.m.yaml.swp") && hidden("/home/.me/manifests/.git/objects/12"));
        assert!(!hidden("/home/.me/manifests/m.yaml") && !hidden("/home/.me/manifests/..data"));
        let both = Roots(vec![("/m".into(), "/m".into()), ("/m/.in".into(), "/m/.in".into())]);
        assert!(!is_private(Path::new("/m/.in/a.yaml"), &both) && is_private(Path::new("/m/.out/a.yaml"), &both));
        let at = |kind: EventKind, name: &str| {
            let path = Path::new("/home/.me/manifests").join(name);
            let mut dirty = Dirty::default();
            dirty.note(&notify::Event::new(kind).add_path(path), Instant::now(), &roots);
            (dirty.everything, dirty.ready.len() + dirty.later.len(), dirty.neighbours)
        };
        let moved = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        assert_eq!(at(moved, ".m.yaml.tmp"), (false, 0, true));
        assert_eq!(at(moved, "m.yaml"), (false, 1, false));
        assert_eq!(at(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "..data"), (true, 1, false));
        let idle = |kind: EventKind, name: &str, certificates: bool| {
            let path = Path::new("/home/.me/manifests").join(name);
            is_idle(&notify::Event::new(kind).add_path(path), &roots, certificates)
        };
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(idle(moved, ".m.yaml.tmp", false) && idle(closed, ".m.yaml.tmp", false));
        assert!(!idle(moved, ".m.yaml.tmp", true) && !idle(moved, "m.yaml", false) && !idle(closed, "m.yaml", false));
        assert!(!idle(closed, "../tls.crt", false), "beside a root there may be what it leads to");
        assert!(idle(EventKind::Access(AccessKind::Open(AccessMode::Any)), "m.yaml", true));
    }

    #[test]
    fn paths_are_spelled_as_the_user_does() {
        let roots =
            Roots(vec![("/manifests/dir".into(), "dir".into()), ("/manifests/one.yaml".into(), "./one.yaml".into())]);
        assert_eq!(roots.name(Path::new("/manifests/dir/a/b.yaml")), Some("dir/a/b.yaml".into()));
        assert_eq!(roots.name(Path::new("/manifests/one.yaml")), Some("./one.yaml".into()));
        assert_eq!(roots.name(Path::new("/manifests/two.yaml")), None);
    }
}
