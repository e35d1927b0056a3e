//! What is in which file, which definition of an object wins, and what changed since the last look.

use super::parse::{self, Document};
use super::walk::{Stamp, Walk, is_manifest};
use crate::feed::SourceProblem;
use crate::feed::expand::Expansion;
use crate::feed::ports::PortChooser;
use crate::room;
use compiler::{Change, FileContent, Object, WantedChanges, WantedName};
use ir::{Kind, ObjectKey, ProblemKind};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io, mem};

/// Larger manifest files are not read.
const FILE_BYTES: u64 = 256 << 20;
/// Larger certificate files are not read.
const WANTED_BYTES: u64 = 1 << 20;
/// No file system's clock is coarser than this while files are edited.
const TICK: Duration = Duration::from_millis(50);

/// What is read, and how.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files and folders.
    pub roots: Vec<PathBuf>,
    /// Namespace of objects that name none.
    pub namespace: Arc<str>,
    /// Variables to put in.
    pub expansion: Expansion,
    /// Replaces taken ports, if that is wanted.
    pub ports: Option<PortChooser>,
    /// Certificate files that count as existing.
    pub assumed: BTreeSet<Arc<str>>,
    /// Secrets come from another feed, too, so one that no file has is not answered for.
    pub elsewhere: bool,
}

/// What one look at the files found.
#[derive(Debug, Default)]
pub struct Update {
    /// Objects that are new, different or gone, sorted by key; answers for wanted names.
    pub changes: Vec<Change>,
    /// Things worth telling a person once.
    pub notes: Vec<String>,
}

/// The state of all manifest files. An object that did not change since the last look gives no change, whatever
/// happened to its file.
#[derive(Debug, Default)]
pub struct Folder {
    sources: Sources,
    /// By path, in the order of its bytes: paths compare themselves by component, which takes longer than all the rest of a
    /// look at files that have not changed.
    files: BTreeMap<OsString, FileState>,
    /// Files that have problems: what is asked after every edit must not cost a look at all files.
    faulty: BTreeSet<PathBuf>,
    /// Every definition of an object, by its place; the first place wins.
    claims: HashMap<ObjectKey, BTreeSet<(PathBuf, usize)>>,
    /// Objects with several definitions.
    contested: BTreeSet<ObjectKey>,
    /// What was handed on, with its fingerprint and generation.
    sent: HashMap<ObjectKey, (u64, i64)>,
    wanted: BTreeSet<WantedName>,
    /// Certificate files as they were handed on.
    contents: BTreeMap<Arc<str>, Option<FileContent>>,
    missing_roots: BTreeSet<PathBuf>,
    /// Folders that the last look at everything went through.
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct FileState {
    stamp: Stamp,
    entries: Vec<Entry>,
    documents: HashMap<u64, Vec<Entry>>,
    problems: Vec<SourceProblem>,
}

/// One definition of an object.
#[derive(Clone, Debug)]
struct Entry {
    key: ObjectKey,
    fingerprint: u64,
    generation: i64,
    line: usize,
    /// `None` for a Secret that nobody wants: its bytes are not kept.
    object: Option<Arc<Object>>,
}

impl Folder {
    /// An empty state; [`Folder::rescan`] fills it.
    pub fn new(mut sources: Sources) -> Self {
        // One spelling for each path: that of events, which are told with the folder that is watched.
        sources.roots.iter_mut().for_each(|root| *root = root.components().collect());
        Self { sources, ..Self::default() }
    }

    /// The files and folders that are read.
    pub fn roots(&self) -> &[PathBuf] {
        &self.sources.roots
    }

    /// Folders in which something may happen that matters: those of manifests, and those of wanted certificate files.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let parent = |path: &Path| path.parent().map(Path::to_path_buf);
        let certificates = self.contents.keys().filter_map(|path| parent(Path::new(&**path)));
        // The folder of a single file: an editor replaces the file, and a watch on it would end. Also while it is away, and
        // that of a folder that is away.
        let above = self.sources.roots.iter().filter(|root| !root.is_dir()).filter_map(|root| parent(root));
        self.folders.iter().cloned().chain(certificates).chain(above).collect()
    }

    /// Whether certificate files are wanted.
    pub fn wants_files(&self) -> bool {
        !self.contents.is_empty()
    }

    /// Looks at all files and reads those whose size, time or identity changed.
    pub fn rescan(&mut self) -> Update {
        self.rescan_settled(Duration::ZERO).0
    }

    /// The same, but leaves files alone that may be in the middle of being written, as half a file may well parse: those
    /// that changed in place less than `quiet` ago. They are returned, to be looked at later.
    pub(super) fn rescan_settled(&mut self, quiet: Duration) -> (Update, Vec<PathBuf>) {
        let now = SystemTime::now();
        let mut unsettled = Vec::new();
        let mut walk = Walk::default();
        let mut missing = BTreeSet::new();
        for root in &self.sources.roots {
            if walk.enter(root, true).is_err() {
                missing.insert(root.clone());
            }
        }
        let (present, folders) = walk.end();
        self.folders = folders;
        let mut lost = Vec::new();
        let mut different = Vec::new();
        let mut known = self.files.iter().peekable();
        for (path, stamp) in present {
            while let Some((gone, _)) = known.next_if(|(known, _)| known.as_os_str() < path.as_os_str()) {
                lost.push(PathBuf::from(gone));
            }
            let former = known.next_if(|(known, _)| known.as_os_str() == path.as_os_str());
            let former = former.map(|(_, file)| file.stamp);
            if former != Some(stamp) {
                different.push((path, stamp, former));
            }
        }
        lost.extend(known.map(|(gone, _)| PathBuf::from(gone)));
        // A root that cannot be listed keeps its objects: an unmounted folder must not empty the gateway.
        lost.retain(|path| !missing.iter().any(|root| path.starts_with(root)));
        self.missing_roots = missing;
        let mut touched = BTreeSet::new();
        let mut update = Update::default();
        for path in lost {
            self.forget(&path, &mut touched);
        }
        for (path, stamp, former) in different {
            // A file that was put in place by a rename is complete, and so is what a link leads to.
            let replaced = former.is_some_and(|former| stamp.replaces(&former)) || path.is_symlink();
            if !replaced && stamp.is_younger(quiet, now) {
                unsettled.push(path);
            } else {
                self.load(&path, stamp, &mut touched, &mut update.notes);
            }
        }
        self.settle(touched, &mut update);
        self.answer_files(&mut update);
        (update, unsettled)
    }

    /// Reads these files again, whatever their stamps say. Paths that are no manifest files are ignored.
    pub fn reload(&mut self, paths: &BTreeSet<PathBuf>) -> Update {
        let mut update = Update::default();
        let mut touched = BTreeSet::new();
        for path in paths {
            if !is_manifest(path) {
                continue;
            }
            match fs::metadata(path) {
                Ok(found) if found.is_file() => self.load(path, Stamp::of(&found), &mut touched, &mut update.notes),
                _ => self.forget(path, &mut touched),
            }
        }
        self.settle(touched, &mut update);
        self.answer_files(&mut update);
        update
    }

    /// Takes note of what is wanted and answers it.
    pub fn want(&mut self, changes: &WantedChanges) -> Update {
        let mut update = Update::default();
        let mut touched = BTreeSet::new();
        for name in &changes.removed {
            self.wanted.remove(name);
            match name {
                WantedName::File(path) => _ = self.contents.remove(path),
                WantedName::Secret { namespace, name } => {
                    let key = ObjectKey::new(Kind::Secret, namespace.clone(), name.clone());
                    self.drop_secret(&key);
                    touched.insert(key);
                }
            }
        }
        let mut unread = BTreeSet::new();
        for name in &changes.added {
            self.wanted.insert(name.clone());
            if let WantedName::Secret { namespace, name } = name {
                let key = ObjectKey::new(Kind::Secret, namespace.clone(), name.clone());
                unread.extend(self.claims.get(&key).into_iter().flatten().map(|(path, _)| path.clone()));
                touched.insert(key);
            }
        }
        for path in unread {
            // The bytes were not kept; the file has them.
            if let (Some(file), Ok(found)) = (self.files.get_mut(path.as_os_str()), fs::metadata(&path)) {
                file.documents.retain(|_, entries| entries.iter().all(|entry| entry.object.is_some()));
                self.load(&path, Stamp::of(&found), &mut touched, &mut update.notes);
            }
        }
        self.settle(touched, &mut update);
        for name in &changes.added {
            if let (WantedName::Secret { namespace, name }, false) = (name, self.sources.elsewhere) {
                let key = ObjectKey::new(Kind::Secret, namespace.clone(), name.clone());
                if !self.sent.contains_key(&key) {
                    update.changes.push(Change::Gone(key));
                }
            }
        }
        self.answer_files(&mut update);
        update
    }

    /// Everything that is wrong with the files at present, by path and line.
    pub fn problems(&self) -> Vec<SourceProblem> {
        let faulty = self.faulty.iter().filter_map(|path| self.files.get(path.as_os_str()));
        let mut problems: Vec<SourceProblem> = faulty.flat_map(|file| &file.problems).cloned().collect();
        for (key, places) in self.contested.iter().filter_map(|key| self.claims.get_key_value(key)) {
            let place = |(path, index): &(PathBuf, usize)| {
                (path.clone(), self.entry_at(path, *index).map_or(0, |entry| entry.line))
            };
            let Some((winner, winner_line)) = places.first().map(place) else { continue };
            problems.extend(places.iter().skip(1).map(place).map(|(path, line)| SourceProblem {
                detail: format!("is defined in {}:{winner_line} already, which is in force", winner.display()),
                about: Some(key.clone()),
                kind: ProblemKind::Duplicate,
                path,
                line,
            }));
        }
        problems.extend(self.missing_roots.iter().map(|root| SourceProblem {
            path: root.clone(),
            line: 0,
            kind: ProblemKind::Malformed,
            about: None,
            detail: "cannot be read; the objects last seen there stay in force".into(),
        }));
        problems.sort();
        problems
    }

    /// Where an object is defined: file and line.
    pub fn place(&self, key: &ObjectKey) -> Option<(&Path, usize)> {
        let (path, index) = self.claims.get(key)?.first()?;
        Some((path, self.entry_at(path, *index)?.line))
    }

    fn entry_at(&self, path: &Path, index: usize) -> Option<&Entry> {
        self.files.get(path.as_os_str())?.entries.get(index)
    }

    /// How many files are read.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    fn load(&mut self, path: &Path, stamp: Stamp, touched: &mut BTreeSet<ObjectKey>, notes: &mut Vec<String>) {
        let mut former = self.files.remove(path.as_os_str()).unwrap_or_default();
        // Times of files are coarse: a second write within the same tick would look like none. A stamp that young is
        // not trusted at the next look.
        let stamp = if stamp.is_younger(TICK, SystemTime::now()) { stamp.distrusted() } else { stamp };
        let mut state = FileState { stamp, ..FileState::default() };
        match read(path, FILE_BYTES).and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text"))
        }) {
            Ok(text) => self.documents(path, &text, &mut former, &mut state, notes),
            // Gone between the look and the reading: the next event tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => state.problems.push(problem(path, 0, ProblemKind::Malformed, error.to_string())),
        }
        if !state.problems.is_empty() {
            // Whatever a broken document held stays in force as it was.
            let keys: BTreeSet<&ObjectKey> = state.entries.iter().map(|entry| &entry.key).collect();
            let kept: Vec<Entry> = former.entries.iter().filter(|old| !keys.contains(&old.key)).cloned().collect();
            state.entries.extend(kept);
        }
        self.unclaim(path, &former.entries, touched);
        for (index, entry) in state.entries.iter().enumerate() {
            self.claims.entry(entry.key.clone()).or_default().insert((path.to_path_buf(), index));
            touched.insert(entry.key.clone());
        }
        match state.problems.is_empty() {
            true => _ = self.faulty.remove(path),
            false => _ = self.faulty.insert(path.to_path_buf()),
        }
        self.files.insert(path.into(), state);
    }

    /// Reads the documents of a file; what has the same text as before is not decoded again.
    fn documents(
        &mut self,
        path: &Path,
        text: &str,
        former: &mut FileState,
        state: &mut FileState,
        notes: &mut Vec<String>,
    ) {
        let json = path.extension().is_some_and(|extension| extension == "json");
        let whole = [Document { line: 1, text }];
        let cut = if json { Vec::new() } else { parse::documents(text) };
        for document in if json { &whole[..] } else { &cut[..] } {
            let mut hasher = DefaultHasher::new();
            document.text.hash(&mut hasher);
            let hash = hasher.finish();
            let entries = match former.documents.remove(&hash) {
                Some(mut known) => {
                    known.iter_mut().for_each(|entry| entry.line = document.line);
                    known
                }
                None => match self.decode(path, *document, json, notes) {
                    Ok((entries, mut problems)) => {
                        let clean = problems.is_empty();
                        state.problems.append(&mut problems);
                        if !clean {
                            // Not remembered, so that its problems are found again.
                            state.entries.extend(entries);
                            continue;
                        }
                        entries
                    }
                    Err(found) => {
                        state.problems.push(problem(path, found.line, found.kind, found.detail));
                        continue;
                    }
                },
            };
            state.entries.extend(entries.iter().cloned());
            state.documents.insert(hash, entries);
        }
    }

    fn decode(
        &mut self,
        path: &Path,
        document: Document<'_>,
        json: bool,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<Entry>, Vec<SourceProblem>), parse::ParseProblem> {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for mut value in parse::values(document, json)? {
            self.sources.expansion.apply(&mut value);
            if let Some(note) = self.sources.ports.as_mut().and_then(|ports| ports.apply(&mut value)) {
                notes.push(note);
            }
            match Object::from_value(&value, &self.sources.namespace) {
                Ok(Some(object)) => entries.push(self.entry(object, document.line)),
                Ok(None) => {}
                Err(found) => {
                    let mut problem = problem(path, document.line, found.kind, found.to_string());
                    problem.about = Some(found.about).filter(|about| !about.name.is_empty());
                    problems.push(problem);
                }
            }
        }
        Ok((entries, problems))
    }

    fn entry(&self, object: Object, line: usize) -> Entry {
        let keep = object.key.kind != Kind::Secret || self.wants(&object.key);
        Entry {
            key: object.key.clone(),
            fingerprint: object.fingerprint,
            generation: object.generation,
            line,
            object: keep.then(|| Arc::new(object)),
        }
    }

    fn wants(&self, key: &ObjectKey) -> bool {
        self.wanted.contains(&WantedName::Secret { namespace: key.namespace.clone(), name: key.name.clone() })
    }

    fn drop_secret(&mut self, key: &ObjectKey) {
        for (path, _) in self.claims.get(key).into_iter().flatten() {
            if let Some(file) = self.files.get_mut(path.as_os_str()) {
                let known = file.documents.values_mut().flatten();
                for entry in file.entries.iter_mut().chain(known).filter(|entry| entry.key == *key) {
                    entry.object = None;
                }
            }
        }
    }

    fn forget(&mut self, path: &Path, touched: &mut BTreeSet<ObjectKey>) {
        if let Some(file) = self.files.remove(path.as_os_str()) {
            self.faulty.remove(path);
            self.unclaim(path, &file.entries, touched);
        }
    }

    fn unclaim(&mut self, path: &Path, entries: &[Entry], touched: &mut BTreeSet<ObjectKey>) {
        for (index, entry) in entries.iter().enumerate() {
            if let Some(places) = self.claims.get_mut(&entry.key) {
                places.remove(&(path.to_path_buf(), index));
                if places.is_empty() {
                    self.claims.remove(&entry.key);
                }
            }
            touched.insert(entry.key.clone());
        }
        room::shrink(&mut self.claims);
    }

    /// Turns what may have changed into what did.
    fn settle(&mut self, touched: BTreeSet<ObjectKey>, update: &mut Update) {
        for key in touched {
            match self.claims.get(&key).is_some_and(|places| places.len() > 1) {
                true => _ = self.contested.insert(key.clone()),
                false => _ = self.contested.remove(&key),
            }
            let winner = self.claims.get(&key).and_then(|places| places.first()).and_then(|(path, index)| {
                let entry = self.entry_at(path, *index)?;
                Some((entry.object.clone()?, (entry.fingerprint, entry.generation)))
            });
            match winner {
                Some((object, mark)) => {
                    if self.sent.insert(key, mark) != Some(mark) {
                        update.changes.push(Change::Put(object));
                    }
                }
                None => {
                    if self.sent.remove(&key).is_some() {
                        update.changes.push(Change::Gone(key));
                    }
                }
            }
        }
        room::shrink(&mut self.sent);
    }

    fn answer_files(&mut self, update: &mut Update) {
        for name in &self.wanted {
            let WantedName::File(path) = name else { continue };
            let content = if self.sources.assumed.contains(path) {
                Some(FileContent::Assumed)
            } else {
                read(Path::new(&**path), WANTED_BYTES).ok().map(|bytes| FileContent::Bytes(bytes.into()))
            };
            if self.contents.get(path) != Some(&content) {
                update.changes.push(Change::File(path.clone(), content.clone()));
                self.contents.insert(path.clone(), content);
            }
        }
    }
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use io::Read;
    let file = fs::File::open(path)?;
    // With room for all of it, and for the end to be seen, it is read in one go.
    let size = file.metadata()?.len().min(limit);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file is larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn problem(path: &Path, line: usize, kind: ProblemKind, detail: String) -> SourceProblem {
    SourceProblem { path: path.to_path_buf(), line, kind, about: None, detail }
}

impl Update {
    /// True when there is nothing to hand on.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.notes.is_empty()
    }

    /// Puts what a later look found behind what this one did.
    pub fn extend(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.notes.extend(later.notes);
    }

    /// The changes, leaving none behind.
    pub fn take(&mut self) -> Vec<Change> {
        mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests;
