//! What Envoy refused, kept in a file beside the stream's socket, so that a restarted control plane does not offer it to
//! an Envoy that went on serving.

use ahash::AHashMap;
use compiler::{Change, Refusal};
use ir::{Kind, ObjectKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// More refusals than this are not kept; they would be found again.
const ENTRIES: usize = 10_000;

/// A small file of refusals. It holds names, hashes and Envoy's words, no configuration.
#[derive(Debug)]
pub struct RefusalMemory {
    path: PathBuf,
    entries: BTreeMap<ObjectKey, (u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    namespace: String,
    name: String,
    fingerprint: u64,
    text: String,
}

impl RefusalMemory {
    /// The memory in that file; an absent or unreadable file is an empty memory.
    pub fn open(path: &Path) -> Self {
        let stored: Vec<Stored> =
            fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let entry = |stored: Stored| {
            let kind = stored.kind.parse::<Kind>().ok()?;
            Some((ObjectKey::new(kind, stored.namespace, stored.name), (stored.fingerprint, stored.text)))
        };
        Self { path: path.to_path_buf(), entries: stored.into_iter().filter_map(entry).collect() }
    }

    /// Everything that is refused.
    pub fn load(&self) -> Vec<(ObjectKey, Refusal)> {
        let refusal = |(key, (fingerprint, text)): (&ObjectKey, &(u64, String))| {
            (key.clone(), Refusal { fingerprint: *fingerprint, held: false, text: text.as_str().into() })
        };
        self.entries.iter().map(refusal).collect()
    }

    /// Adds one.
    pub fn remember(&mut self, key: &ObjectKey, refusal: &Refusal) {
        if self.entries.len() < ENTRIES {
            self.entries.insert(key.clone(), (refusal.fingerprint, refusal.text.to_string()));
            self.write();
        }
    }

    /// Takes one away.
    pub fn forget(&mut self, key: &ObjectKey) {
        if self.entries.remove(key).is_some() {
            self.write();
        }
    }

    fn write(&self) {
        let stored: Vec<Stored> = self
            .entries
            .iter()
            .map(|(key, (fingerprint, text))| Stored {
                kind: key.kind.name().into(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                fingerprint: *fingerprint,
                text: text.clone(),
            })
            .collect();
        // By rename, so that a process that dies here leaves the old file. Failing costs a search after a restart.
        let temporary = self.path.with_extension("tmp");
        let written = serde_json::to_vec(&stored).map_err(std::io::Error::other).and_then(|bytes| {
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, &self.path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "cannot keep what Envoy refused");
        }
    }
}

/// Takes away remembered versions of objects that are not there, or are not the same any more: one that was made anew
/// under an old name does not inherit what its namesake said. With the first listing every object is in the batch; later
/// a version comes for an object that is known. (Objects from annotations are in no listing: theirs are not kept.)
pub(super) fn forget_strangers(changes: &mut Vec<(Change, Instant)>, first: bool) {
    let retains = |change: &Change| matches!(change, Change::Retained(_, Some(_)));
    if !changes.iter().any(|(change, _)| retains(change)) {
        return;
    }
    let mut uids: AHashMap<ObjectKey, Option<Arc<str>>> = AHashMap::new();
    for (change, _) in changes.iter() {
        match change {
            Change::Put(object) => _ = uids.insert(object.key.clone(), Some(object.uid.clone())),
            Change::Gone(key) => _ = uids.insert(key.clone(), None),
            _ => {}
        }
    }
    changes.retain(|(change, _)| match change {
        Change::Retained(key, Some(version)) => match uids.get(key) {
            Some(uid) => uid.as_ref() == Some(&version.uid),
            None => !first,
        },
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused.json");
        let key = ObjectKey::new(Kind::Mapping, "default", "x");
        let refusal = Refusal { fingerprint: 42, held: false, text: "bad \"thing\"".into() };
        let mut memory = RefusalMemory::open(&path);
        assert!(memory.load().is_empty());
        memory.remember(&key, &refusal);
        assert_eq!(RefusalMemory::open(&path).load(), [(key.clone(), refusal)]);
        memory.forget(&key);
        assert!(RefusalMemory::open(&path).load().is_empty());
        fs::write(&path, "garbage").unwrap();
        assert!(RefusalMemory::open(&path).load().is_empty());
    }
}
