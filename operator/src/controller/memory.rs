//! What outlives the process, as ConfigMaps of the installation: versions that serve in the place of one that is not
//! accepted, and versions that Envoy refused.
//!
//! Only what is in force is kept: the last accepted version of an object that is accepted is the object itself. So an
//! installation without mistakes has an empty memory. What is lost: an object that is made invalid while no replica runs
//! has no earlier version to fall back to. The leader writes; every replica reads when it starts, before it publishes
//! anything, when it becomes the leader, and when it misses a version. Nothing of a Secret is in an object's spec, so
//! nothing of one is here.

use super::{late, warn};
use crate::feed::{Feed, FeedId};
use crate::mailbox::Mailbox;
use crate::snapshot::{Board, Entry, Remembered};
use compiler::{Body, Change, Object, Refusal, WantedChanges};
use ir::{Kind, ObjectKey};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Most text in one ConfigMap; the API server takes a MiB, names and all.
const SHARD_BYTES: usize = 900_000;
/// Most ConfigMaps. What does not fit is not remembered.
const SHARDS: usize = 16;
/// Several changes are one write.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest that one request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// After a failure.
const RETRY: Duration = Duration::from_secs(10);
/// How long a start waits for the memory. Without it refused versions are found out again, and retained ones are lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a replica that does not lead looks whether it misses versions, and how often for the same one.
const CATCH_UP: (Duration, u8) =
    if cfg!(test) { (Duration::from_millis(20), u8::MAX) } else { (Duration::from_secs(2), 5) };

/// For a warning.
const WHAT: &str = "what is to outlive a restart";

const COUNT: &str = "shards";
const ENTRIES: &str = "entries.json";

/// The memory of an installation in the API server.
#[derive(Clone)]
pub struct Memory {
    api: Api<ConfigMap>,
    name: String,
    manager: String,
}

/// One thing that is remembered, in a form that people can read.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    kind: String,
    namespace: String,
    name: String,
    /// Of the version in question.
    fingerprint: u64,
    /// What Envoy said about it; absent when the version serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// The version that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<Value>,
}

impl Memory {
    /// The memory with this name and field manager, see [`super::manager_name`].
    pub fn new(client: Client, namespace: &str, manager: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: format!("{manager}-memory"), manager: manager.into() }
    }

    /// Everything that is remembered. An absent ConfigMap is an empty memory, and what cannot be read in one is not there.
    pub async fn load(&self) -> Result<Vec<Change>, kube::Error> {
        let mut changes = Vec::new();
        let mut count = 1;
        let mut at = 0;
        while at < count {
            // A limit of its own, as the client has none: an API server that takes a connection and is silent.
            let found = timeout(REQUEST, self.api.get_opt(&self.shard(at))).await.map_err(|_| late())??;
            let Some(found) = found else { break };
            let data = found.data.unwrap_or_default();
            if at == 0 {
                count = data.get(COUNT).and_then(|count| count.parse().ok()).unwrap_or(1).min(SHARDS);
            }
            let entries: Vec<Value> =
                data.get(ENTRIES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            changes.extend(entries.into_iter().filter_map(|entry| restored(serde_json::from_value(entry).ok()?)));
            at += 1;
        }
        Ok(changes)
    }

    /// Keeps the ConfigMaps like what is remembered, until the future is dropped. Begins with what another leader left.
    pub(super) async fn keep(&self, board: &Board, mailbox: &Mailbox) {
        let mut warned = None;
        let left = loop {
            match self.load().await {
                Ok(left) => break left,
                Err(error) => warn(&mut warned, WHAT, &error),
            }
            tokio::time::sleep(RETRY).await;
        };
        let mut written = written_by(&left);
        adopt(left, board, mailbox);
        let mut remembered = board.remembered();
        loop {
            // What was just adopted is on its way through the pipeline, too.
            tokio::time::sleep(PAUSE).await;
            let shards = shards(&remembered.borrow_and_update().clone());
            if board.load().published && shards != written {
                match self.write(&shards, written.len()).await {
                    Ok(()) => written = shards,
                    Err(error) => {
                        warn(&mut warned, WHAT, &error);
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            } else if board.load().published && remembered.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes over versions that this replica misses, until the future is dropped; for one that does not lead. A replica that
    /// starts in the moment of a mistake may find it instead of the version before, which was not written down yet when it
    /// looked, and would be without that route for as long as it follows.
    pub(super) async fn catch_up(&self, board: &Board, mailbox: &Mailbox) {
        let mut warned = None;
        let mut looks: BTreeMap<ObjectKey, u8> = BTreeMap::new();
        loop {
            tokio::time::sleep(CATCH_UP.0).await;
            let snapshot = board.load();
            let missed = snapshot.entries.iter().filter(|(_, entry)| misses(entry));
            looks = missed.map(|(key, _)| (key.clone(), looks.get(key).copied().unwrap_or(0))).collect();
            // One that never was right has no version before; nobody looks for it for ever.
            if !snapshot.published || looks.values().all(|count| *count >= CATCH_UP.1) {
                continue;
            }
            match self.load().await {
                Ok(left) => {
                    adopt(left, board, mailbox);
                    looks.values_mut().for_each(|count| *count = count.saturating_add(1));
                }
                Err(error) => {
                    warn(&mut warned, WHAT, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Writes all, the one that says how many there are last; then those that are too many go.
    async fn write(&self, shards: &[String], before: usize) -> Result<(), kube::Error> {
        for (at, entries) in shards.iter().enumerate().rev() {
            let name = self.shard(at);
            let mut data = BTreeMap::from([(ENTRIES, entries.clone())]);
            if at == 0 {
                data.insert(COUNT, shards.len().to_string());
            }
            let body = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "nuncio"}},
                "data": data,
            });
            let params = PatchParams::apply(&self.manager).force();
            timeout(REQUEST, self.api.patch(&name, &params, &Patch::Apply(&body))).await.map_err(|_| late())??;
        }
        for at in shards.len()..before {
            let gone = timeout(REQUEST, self.api.delete(&self.shard(at), &DeleteParams::default()))
                .await
                .map_err(|_| late())?;
            if let Err(error) = gone
                && !matches!(&error, kube::Error::Api(status) if status.code == 404)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn shard(&self, at: usize) -> String {
        if at == 0 { self.name.clone() } else { format!("{}-{at}", self.name) }
    }

    /// A feed that hands on what is remembered and then has listed everything.
    pub fn feed(self, id: FeedId, mailbox: Arc<Mailbox>) -> Box<dyn Feed> {
        let stop = CancellationToken::new();
        let until = stop.clone();
        tokio::spawn(async move {
            let mut warned = None;
            let loading = async {
                loop {
                    match self.load().await {
                        Ok(changes) => return changes,
                        Err(kube::Error::Api(status)) if status.code == 403 => {
                            tracing::warn!(error = status.message, "nothing can be remembered over a restart");
                            return Vec::new();
                        }
                        Err(error) => warn(&mut warned, WHAT, &error),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            let Some(loaded) = until.run_until_cancelled(timeout(PATIENCE, loading)).await else { return };
            let changes = loaded.unwrap_or_default();
            // Few, as a rule; but a full mailbox must not hold up the runtime.
            let posting = tokio::task::spawn_blocking(move || {
                mailbox.put(changes, Instant::now());
                mailbox.listed(id);
            });
            let _ = posting.await;
        });
        Box::new(MemoryFeed { stop })
    }
}

/// See [`Memory::feed`].
struct MemoryFeed {
    stop: CancellationToken,
}

impl Feed for MemoryFeed {
    fn name(&self) -> String {
        "what was remembered".into()
    }

    fn wanted(&self, _: &Arc<WantedChanges>) {}

    fn stop(&mut self) {
        self.stop.cancel();
    }
}

/// Whether an object is not accepted and no earlier version serves in its place.
fn misses(entry: &Entry) -> bool {
    !entry.verdict.accepted && !entry.verdict.retained
}

/// Takes over what this replica does not know, because it started between the mistake and its being written down.
fn adopt(left: Vec<Change>, board: &Board, mailbox: &Mailbox) {
    let snapshot = board.load();
    let known = board.remembered().borrow().clone();
    let unknown = left.into_iter().filter(|change| match change {
        Change::Retained(key, _) => snapshot.entries.get(key).is_some_and(misses),
        Change::Refusal(key, _) => snapshot.entries.get(key).is_some() && !known.refused.contains_key(key),
        _ => false,
    });
    let unknown: Vec<Change> = unknown.collect();
    if !unknown.is_empty() && snapshot.published {
        mailbox.put(unknown, Instant::now());
    }
}

/// The contents of the ConfigMaps. None when there is nothing to remember.
fn shards(remembered: &Remembered) -> Vec<String> {
    let retained = remembered.retained.iter().filter_map(|(key, object)| stored(key, object));
    let refused = remembered
        .refused
        .iter()
        .map(|(key, refusal)| Stored { refused: Some(refusal.text.to_string()), ..entry(key, refusal.fingerprint) });
    pack(retained.chain(refused).filter_map(|entry| serde_json::to_string(&entry).ok()))
}

/// Lists of entries, each small enough for a ConfigMap.
fn pack(entries: impl Iterator<Item = String>) -> Vec<String> {
    let mut shards: Vec<String> = Vec::new();
    let mut left_out = 0;
    for entry in entries.filter(|entry| entry.len() < SHARD_BYTES) {
        if let Some(shard) = shards.last_mut().filter(|shard| shard.len() + entry.len() + 3 <= SHARD_BYTES) {
            shard.push_str(",\n");
            shard.push_str(&entry);
        } else if shards.len() < SHARDS {
            shards.push(format!("[{entry}"));
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        tracing::warn!(left_out, "more is to be remembered over a restart than there is room for");
    }
    shards.iter_mut().for_each(|shard| shard.push(']'));
    shards
}

/// What is written already, as far as it would be written like this.
fn written_by(left: &[Change]) -> Vec<String> {
    let mut remembered = Remembered::default();
    for change in left {
        match change {
            Change::Retained(key, Some(object)) => {
                Arc::make_mut(&mut remembered.retained).insert(key.clone(), object.clone());
            }
            Change::Refusal(key, Some(refusal)) => {
                Arc::make_mut(&mut remembered.refused).insert(key.clone(), refusal.clone());
            }
            _ => {}
        }
    }
    shards(&remembered)
}

fn entry(key: &ObjectKey, fingerprint: u64) -> Stored {
    Stored {
        kind: key.kind.name().into(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        fingerprint,
        refused: None,
        object: None,
    }
}

/// A version of an object as a manifest.
fn stored(key: &ObjectKey, object: &Object) -> Option<Stored> {
    let Body::Custom(spec) = &object.body else { return None };
    let spec: Value = serde_json::from_str(spec).ok()?;
    let labels: BTreeMap<&str, &str> = object.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(key.name));
    metadata.insert("namespace".into(), json!(key.namespace));
    metadata.insert("generation".into(), json!(object.generation));
    if !object.uid.is_empty() {
        metadata.insert("uid".into(), json!(object.uid));
    }
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
    if object.created != 0 {
        let created = Timestamp::from_second(object.created).ok()?;
        metadata.insert("creationTimestamp".into(), json!(created.to_string()));
    }
    let manifest =
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": key.kind.name(), "metadata": metadata, "spec": spec});
    Some(Stored { object: Some(manifest), ..entry(key, object.fingerprint) })
}

/// The change that an entry stands for. Somebody else may have written it: what does not fit together is nothing.
fn restored(stored: Stored) -> Option<Change> {
    let kind = stored.kind.parse::<Kind>().ok().filter(|kind| kind.is_custom())?;
    let key = ObjectKey::new(kind, stored.namespace, stored.name);
    if let Some(text) = stored.refused {
        let text: String = text.chars().take(1_000).collect();
        let refusal = Refusal { fingerprint: stored.fingerprint, held: false, text: text.into() };
        return Some(Change::Refusal(key, Some(refusal)));
    }
    let object = Object::from_value(&stored.object?, "").ok().flatten().filter(|object| object.key == key)?;
    let object = Object { fingerprint: stored.fingerprint, ..object };
    Some(Change::Retained(key, Some(Arc::new(object))))
}

#[cfg(test)]
mod tests;
