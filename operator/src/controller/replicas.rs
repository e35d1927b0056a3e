//! What replicas tell each other, in one ConfigMap of the installation with an entry for each.
//!
//! Every replica writes its own entry, by server-side apply under a name of its own, when it has news and otherwise now and
//! then, and reads in the answer what the others wrote; the leader looks more often. One object with a fixed name needs no
//! right to list ConfigMaps, and none to write those of others. Clocks are never compared: an entry that stays the same
//! for three times the pause it promises is that of a replica that is gone.

use super::{late, warn};
use crate::mailbox::Mailbox;
use crate::replicas::Report;
use crate::snapshot::Board;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Shortest pause between two writes of one replica: several changes are one write.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });
/// So many writes a second come of all replicas together at most.
const WRITES_PER_SECOND: u32 = 10;
/// Without news an entry is written again after that long.
const EVERY: Duration = Duration::from_secs(5);
/// How often the leader looks while something is waited for, and otherwise.
const LOOKS: (Duration, Duration) = (
    Duration::from_millis(if cfg!(test) { 10 } else { 250 }),
    Duration::from_millis(if cfg!(test) { 10 } else { 2_000 }),
);
/// Promises that a replica may miss.
const MISSED: u32 = 3;
/// Entries of replicas that are gone are taken away after that long.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Longest that one request may take.
const REQUEST: Duration = Duration::from_secs(3);
/// For a warning.
const WHAT: &str = "what replicas tell each other";

/// The entries of an installation, as one of its replicas sees them.
#[derive(Clone)]
pub struct Replicas {
    api: Api<ConfigMap>,
    name: String,
    id: Arc<str>,
    manager: String,
    mailbox: Arc<Mailbox>,
    known: Arc<Mutex<Known>>,
}

type Reports = BTreeMap<Arc<str>, Arc<Report>>;

/// What is known of the other replicas.
#[derive(Default)]
struct Known {
    entries: BTreeMap<Arc<str>, Entry>,
    /// What the pipeline was told.
    told: Reports,
}

/// What is known of another replica's entry.
struct Entry {
    text: String,
    since: Instant,
    report: Arc<Report>,
    every: Duration,
}

impl Entry {
    fn is_gone(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > self.every * MISSED
    }
}

impl Replicas {
    /// The replica with this identity, see [`super::Election`], in the installation of that name, see
    /// [`super::manager_name`].
    pub fn new(client: Client, namespace: &str, installation: &str, identity: &str, mailbox: Arc<Mailbox>) -> Self {
        // What a key of a ConfigMap may be made of.
        let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        let id: String = identity.chars().map(allowed).take(200).collect();
        let manager = format!("{installation}-replica-{:08x}", super::observed::stable_hash(identity));
        Self {
            api: Api::namespaced(client, namespace),
            name: format!("{installation}-replicas"),
            id: id.into(),
            manager,
            mailbox,
            known: Arc::default(),
        }
    }

    /// Keeps the own entry up to date, until the future is dropped. The answers say what the others have written.
    pub async fn tell(&self, board: &Board) {
        let mut news = board.report();
        let mut warned = None;
        let mut beat = 0;
        let mut replicas = 1;
        loop {
            // An entry without Envoys says nothing; a replica that never had one needs none.
            let report = news.borrow_and_update().clone();
            let pause = PAUSE.max(Duration::from_secs(1) * replicas / WRITES_PER_SECOND);
            let every = EVERY.max(pause * 2);
            if beat > 0 || report.envoys > 0 {
                beat += 1;
                match self.write(Some(report.write(beat, every.as_secs()))).await {
                    Ok(data) => {
                        replicas = u32::try_from(data.len()).unwrap_or(u32::MAX).clamp(1, 10_000);
                        self.hear(data);
                    }
                    Err(error) => warn(&mut warned, WHAT, &error),
                }
            }
            sleep(pause).await;
            // The board lives as long as this process.
            let _ = timeout(every.saturating_sub(pause), news.changed()).await;
        }
    }

    /// Takes the own entry away.
    pub async fn leave(&self) {
        if let Err(error) = self.write(None).await {
            tracing::info!(%error, "the entry of this replica was not taken away; it ends by itself");
        }
    }

    /// Looks often enough for the leader, until the future is dropped. `begun` is told whether there are others, once that
    /// is known.
    pub(super) async fn listen(&self, board: &Board, begun: oneshot::Sender<bool>) {
        let mut begun = Some(begun);
        let mut warned = None;
        loop {
            match timeout(REQUEST, self.api.get_opt(&self.name)).await {
                Ok(Ok(found)) => {
                    let others = self.hear(found.and_then(|found| found.data).unwrap_or_default());
                    if let Some(begun) = begun.take() {
                        let _ = begun.send(others);
                    }
                }
                // What is known stays, and grows old.
                Ok(Err(error)) => warn(&mut warned, WHAT, &error),
                Err(_) => warn(&mut warned, WHAT, &late()),
            }
            let forgotten = self.known().forgotten(Instant::now());
            if let Some(id) = forgotten {
                self.take_away(&id).await;
            }
            let snapshot = board.load();
            let waits = snapshot.elsewhere.is_some_and(|live| live < snapshot.batch);
            sleep(if waits { LOOKS.0 } else { LOOKS.1 }).await;
        }
    }

    /// Takes in the entries and tells the pipeline what is new. Whether there are others.
    fn hear(&self, data: BTreeMap<String, String>) -> bool {
        let mut known = self.known();
        known.see(&self.id, data);
        let now = Instant::now();
        let present = known.entries.iter().filter(|(_, entry)| !entry.is_gone(now));
        let reports: Reports = present.map(|(id, entry)| (id.clone(), entry.report.clone())).collect();
        let others = !reports.is_empty();
        if reports != known.told {
            self.mailbox.reports(reports.clone());
            known.told = reports;
        }
        others
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the own entry, or takes it away. Gives all entries.
    async fn write(&self, text: Option<String>) -> Result<BTreeMap<String, String>, kube::Error> {
        let data: Map<String, Value> = text.map(|text| (self.id.to_string(), text.into())).into_iter().collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "labels": {"app.kubernetes.io/managed-by": "nuncio"}},
            "data": data,
        });
        let (params, patch) = (PatchParams::apply(&self.manager).force(), Patch::Apply(&body));
        let written = timeout(REQUEST, self.api.patch(&self.name, &params, &patch));
        let written = written.await.map_err(|_| late())??;
        Ok(written.data.unwrap_or_default())
    }

    async fn take_away(&self, id: &str) {
        let mut data = Map::new();
        data.insert(id.to_owned(), Value::Null);
        let patch = Patch::Merge(json!({"data": data}));
        // Nobody waits for it; another leader may do it.
        let _ = timeout(REQUEST, self.api.patch(&self.name, &PatchParams::default(), &patch)).await;
    }
}

impl Known {
    fn see(&mut self, own: &str, data: BTreeMap<String, String>) {
        let entries = &mut self.entries;
        entries.retain(|id, _| data.contains_key(&**id));
        for (id, text) in data {
            if id == own || entries.get(&*id).is_some_and(|entry| entry.text == text) {
                continue;
            }
            // Something that is no entry is nobody's.
            let Some((report, every)) = Report::read(&text) else {
                entries.remove(&*id);
                continue;
            };
            let (report, every) = (Arc::new(report), Duration::from_secs(every));
            entries.insert(id.into(), Entry { text, since: Instant::now(), report, every });
        }
    }

    /// One of a replica that has been gone for long.
    fn forgotten(&self, now: Instant) -> Option<Arc<str>> {
        let old = |entry: &Entry| now.saturating_duration_since(entry.since) > FORGOTTEN.max(entry.every * MISSED);
        self.entries.iter().find(|(_, entry)| old(entry)).map(|(id, _)| id.clone())
    }
}

#[cfg(test)]
mod tests;
