//! File events into changes, within milliseconds of the last byte.

use super::folder::{Folder, Update};
use super::watches::{Bell, Happened, Watches, What};
use crate::feed::{Feed, FeedId, SourceProblem};
use crate::mailbox::Mailbox;
use anyhow::Context;
use compiler::WantedChanges;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a file may be away before that counts: editors rename the old file away before they write the new one.
const AWAY: Duration = Duration::from_millis(50);
/// A writer that keeps its file open without closing it is read after this long.
const OPEN: Duration = Duration::from_millis(250);
/// All files are looked at this often, for file systems that send no events: the more there are the less often, so that a
/// thousandth of the time goes into it, but at least once a minute.
const ROUND: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// When to look at a path.
type Deadlines = BTreeMap<PathBuf, Instant>;

/// A feed over files and folders. It owns one thread.
#[derive(Debug)]
pub struct FileFeed {
    inbox: Sender<Message>,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Wanted(Arc<WantedChanges>),
    Stop,
}

impl FileFeed {
    /// Reads everything once, posts it, says that it has listed, and goes on watching. Fails when a root does not exist.
    pub fn start(id: FeedId, mut folder: Folder, mailbox: Arc<Mailbox>) -> anyhow::Result<Self> {
        let (inbox, messages) = channel();
        let mut watches = Watches::new().context("cannot watch files")?;
        for root in folder.roots() {
            std::fs::metadata(root).with_context(|| format!("cannot read {}", root.display()))?;
        }
        let started = Instant::now();
        let mut update = folder.rescan();
        let mut unwatched = true;
        while unwatched {
            let (new, failed) = watches.follow(&folder.folders());
            if let Some((path, error)) = failed.into_iter().next() {
                return Err(error).with_context(|| format!("cannot watch {}", path.display()));
            }
            update.extend(if new { folder.rescan() } else { Update::default() });
            unwatched = new;
        }
        let bell = watches.bell();
        let mut feed = Watching { id, folder, mailbox, watches, told: Vec::new() };
        let thread = std::thread::Builder::new().name("files".into()).spawn(move || {
            feed.post(update, started);
            feed.mailbox.listed(feed.id);
            feed.run(&messages);
        })?;
        Ok(Self { inbox, bell, thread: Some(thread) })
    }

    fn say(&self, message: Message) {
        // The receiver is gone only when the feed is.
        let _ = self.inbox.send(message);
        self.bell.ring();
    }
}

impl Feed for FileFeed {
    fn name(&self) -> String {
        "manifest files".into()
    }

    fn wanted(&self, changes: &Arc<WantedChanges>) {
        self.say(Message::Wanted(changes.clone()));
    }

    fn stop(&mut self) {
        self.say(Message::Stop);
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
    watches: Watches,
    /// The problems that were posted last.
    told: Vec<SourceProblem>,
}

/// Where a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It may be a manifest, or lead to some.
    Manifests,
    /// It is not read for manifests: below no root, or hidden. What an editor has beside the file until it renames it, or
    /// what a version control keeps. Names that begin with two dots are how a mounted ConfigMap changes.
    Beside,
}

impl Place {
    fn of(path: &Path, roots: &[PathBuf]) -> Self {
        let hidden = |name: &std::ffi::OsStr| {
            let name = name.as_encoded_bytes();
            name.starts_with(b".") && !name.starts_with(b"..")
        };
        let mut below = roots.iter().filter_map(|root| path.strip_prefix(root).ok());
        if below.any(|rest| !rest.iter().any(hidden)) { Self::Manifests } else { Self::Beside }
    }
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
        let mut round = Instant::now() + ROUND.0;
        loop {
            let next = dirty.later.values().min().copied().unwrap_or(round).min(round);
            let happened = self.watches.wait(next.saturating_duration_since(Instant::now()));
            let received = Instant::now();
            for happened in happened {
                dirty.note(happened, received, self.folder.roots());
            }
            for message in messages.try_iter() {
                match message {
                    Message::Wanted(changes) => {
                        let update = self.folder.want(&changes);
                        // What happens from now on is heard of, and what happened between the reading and that is looked for.
                        dirty.neighbours |= self.watches.follow(&self.folder.folders()).0;
                        self.post(update, received);
                    }
                    Message::Stop => return,
                }
            }
            dirty.ripen(received);
            let due = received >= round;
            dirty.everything |= due;
            let neighbours = std::mem::take(&mut dirty.neighbours) && self.folder.wants_files();
            if neighbours || dirty.everything || !dirty.ready.is_empty() {
                let ready = std::mem::take(&mut dirty.ready);
                let mut update = self.folder.reload(&ready);
                let mut everything = std::mem::take(&mut dirty.everything);
                while everything {
                    let (more, unsettled) = self.folder.rescan_settled(OPEN);
                    update.extend(more);
                    for path in unsettled {
                        dirty.later.entry(path).or_insert(received + OPEN);
                    }
                    // What was written into a folder before it was watched gave no event. One that cannot be watched is looked
                    // at in every round.
                    everything = self.watches.follow(&self.folder.folders()).0;
                }
                self.post(update, received);
            }
            if due {
                let now = Instant::now();
                round = now + (now.duration_since(received).saturating_mul(1000)).clamp(ROUND.0, ROUND.1);
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
}

impl Dirty {
    fn note(&mut self, happened: Happened, now: Instant, roots: &[PathBuf]) {
        let Happened { path, what } = happened;
        if what != What::Lost && Place::of(&path, roots) == Place::Beside {
            self.neighbours = true;
            return;
        }
        match what {
            What::Complete => {
                self.later.remove(&path);
                // A link that is put in place (`..data`) changes what other paths lead to, a folder brings files.
                self.everything |= !path.is_file() || path.extension().is_none();
                self.ready.insert(path);
            }
            What::Away => _ = self.later.insert(path, now + AWAY),
            // The close that follows reads it at once. A link is complete when it is created.
            What::Begun => {
                let due = if path.is_symlink() { now } else { now + OPEN };
                self.later.insert(path, due);
            }
            What::Folder | What::Lost => self.everything = true,
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
    use compiler::{Change, WantedName};
    use std::fs::{create_dir, remove_file, rename, write};
    use std::sync::mpsc::RecvTimeoutError;

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Fixture {
        dir: tempfile::TempDir,
        mailbox: Arc<Mailbox>,
        feed: FileFeed,
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
            let fixture = Self { dir, mailbox, feed };
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
                let batch = futures::executor::block_on(self.mailbox.take(None)).expect("a change in time");
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
        let roots: [PathBuf; 1] = ["../.me/manifests".into()];
        let place = |path: &str| Place::of(Path::new(path), &roots);
        assert_eq!(place("../.me/manifests/.m.yaml.swp"), Place::Beside);
        assert_eq!(place("../.me/manifests/.git/objects/12"), Place::Beside);
        assert_eq!(place("../.me/manifests/m.yaml"), Place::Manifests);
        assert_eq!(place("../.me/manifests/..data"), Place::Manifests);
        assert_eq!(place("../.me/tls.crt"), Place::Beside, "beside a root there may be what it leads to");
        let both: [PathBuf; 2] = ["/m".into(), "/m/.in".into()];
        assert_eq!(Place::of(Path::new("/m/.in/a.yaml"), &both), Place::Manifests);
        assert_eq!(Place::of(Path::new("/m/.out/a.yaml"), &both), Place::Beside);
        let one: [PathBuf; 1] = ["m.yaml".into()];
        assert_eq!(Place::of(&Path::new("").join("m.yaml"), &one), Place::Manifests);
        let at = |what: What, name: &str| {
            let mut dirty = Dirty::default();
            let path = Path::new("../.me/manifests").join(name);
            dirty.note(Happened { path, what }, Instant::now(), &roots);
            (dirty.everything, dirty.ready.len() + dirty.later.len(), dirty.neighbours)
        };
        assert_eq!(at(What::Away, ".m.yaml.tmp"), (false, 0, true));
        assert_eq!(at(What::Away, "m.yaml"), (false, 1, false));
        assert_eq!(at(What::Complete, "..data"), (true, 1, false));
        assert_eq!(at(What::Lost, ""), (true, 0, false));
    }

    #[test]
    fn a_certificate_is_heard_of_wherever_it_is() {
        let elsewhere = tempfile::tempdir().unwrap();
        let path: Arc<str> = elsewhere.path().join("tls.crt").to_str().unwrap().into();
        let at = Fixture::new(false);
        let added = [WantedName::File(path.clone())].into();
        at.feed.wanted(&Arc::new(WantedChanges { added, ..WantedChanges::default() }));
        assert!(at.next()[0].contains("None"));
        write(&*path, "first").unwrap();
        assert!(at.next()[0].contains("Bytes"));
        // As a mounted Secret changes.
        let next = elsewhere.path().join(".next");
        write(&next, "second").unwrap();
        rename(next, &*path).unwrap();
        assert!(at.next()[0].contains("Bytes"));
    }

    #[test]
    fn links_in_a_circle_end() {
        let at = Fixture::new(false);
        for name in ["one", "two"] {
            std::os::unix::fs::symlink(at.dir.path(), at.path(name)).unwrap();
        }
        create_dir(at.path("new")).unwrap();
        write(at.path("new/n.yaml"), mapping("/x").replace("name: m", "name: new")).unwrap();
        assert_eq!(at.next(), ["put new"]);
    }
}
