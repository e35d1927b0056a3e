//! What the pipeline publishes for everybody else to read.

use crate::feed::SourceProblem;
use crate::replicas::Report;
use crate::sharded::Sharded;
use crate::status::{Acknowledgement, Backends};
use ahash::AHashSet;
use arc_swap::ArcSwap;
use compiler::{Object, Refusal};
use ir::{Cluster, EndpointSet, ListId, ListenerRow, ObjectKey, RouteList, RouteTable, RowChanges, Verdict};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Where the pipeline puts its snapshots. Reading never waits; [`Board::subscribe`] tells when there is a new one.
#[derive(Debug)]
pub struct Board {
    latest: ArcSwap<Snapshot>,
    bell: watch::Sender<u64>,
    /// Kept only while somebody follows.
    journal: Mutex<Option<Journal>>,
    remembered: watch::Sender<Remembered>,
    report: watch::Sender<Report>,
}

/// What a restarted process could not find out by itself. Copies share what they hold.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Versions that serve in the place of one that is not accepted.
    pub retained: Arc<BTreeMap<ObjectKey, Arc<Object>>>,
    /// Versions that Envoy refused.
    pub refused: Arc<BTreeMap<ObjectKey, Refusal>>,
}

/// What became different between two looks at the board, each thing once.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Objects with another verdict, another version on its way, or none any more.
    pub objects: AHashSet<ObjectKey>,
    /// Names of endpoints that became usable or unusable.
    pub backends: AHashSet<Arc<str>>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            latest: ArcSwap::default(),
            bell: watch::Sender::new(0),
            journal: Mutex::default(),
            remembered: watch::Sender::default(),
            report: watch::Sender::default(),
        }
    }
}

impl Board {
    /// The newest snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.latest.load_full()
    }

    /// A receiver that changes with every snapshot.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Replaces the snapshot and wakes who waits for it. `changed` says what is different in it.
    pub fn publish(&self, snapshot: Snapshot, changed: Journal) {
        {
            let mut journal = self.lock();
            self.latest.store(Arc::new(snapshot));
            if let Some(journal) = &mut *journal {
                journal.objects.extend(changed.objects);
                journal.backends.extend(changed.backends);
            }
        }
        self.bell.send_modify(|count| *count += 1);
    }

    /// What changed since the last call, or since [`Board::follow`], and the snapshot that has all of it. One follower
    /// at a time.
    pub fn changes(&self) -> (Journal, Arc<Snapshot>) {
        let mut journal = self.lock();
        (journal.replace(Journal::default()).unwrap_or_default(), self.load())
    }

    /// What is to outlive the process, as it changes.
    pub fn remembered(&self) -> watch::Receiver<Remembered> {
        self.remembered.subscribe()
    }

    /// Changes what is to outlive the process; `change` says whether it did.
    pub fn remember(&self, change: impl FnOnce(&mut Remembered) -> bool) {
        self.remembered.send_if_modified(change);
    }

    /// What this replica tells the others, as it changes.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Replaces what this replica tells the others.
    pub fn tell(&self, report: &Report) {
        self.report.send_if_modified(|told| {
            let differs = told != report;
            if differs {
                *told = report.clone();
            }
            differs
        });
    }

    /// Begins to note what changes, or ends it.
    pub fn follow(&self, follow: bool) {
        *self.lock() = follow.then(Journal::default);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One object that something is said about.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The compiler's judgement.
    pub verdict: Arc<Verdict>,
    /// The batch that carries what comes of the present version.
    pub batch: u64,
}

/// Whether any endpoint behind a name can take traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing {
    /// Some can.
    pub ready: bool,
    /// Since when that is so, or is known.
    pub since: Instant,
    /// It has been so from the first publication on: nothing is known about the time before.
    pub initial: bool,
}

/// One connected client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Newest batch it has completely.
    pub live: u64,
    /// Refusals that no object can be blamed for.
    pub reports: Vec<Arc<str>>,
}

/// The state after a batch. A copy shares what did not change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Number of the newest batch.
    pub batch: u64,
    /// Whether clients get anything yet.
    pub published: bool,
    /// The gateway is draining.
    pub draining: bool,
    /// What the first publication waits for.
    pub waiting_for: Arc<Vec<String>>,
    /// Objects.
    pub entries: Sharded<ObjectKey, Entry>,
    /// Listeners by name.
    pub listeners: Sharded<Arc<str>, Arc<ListenerRow>>,
    /// Route tables by name.
    pub tables: Sharded<Arc<str>, Arc<RouteTable>>,
    /// Route lists.
    pub lists: Sharded<ListId, Arc<RouteList>>,
    /// Clusters by name.
    pub clusters: Sharded<Arc<str>, Arc<Cluster>>,
    /// Endpoints by EDS name.
    pub endpoints: Sharded<Arc<str>, Arc<EndpointSet>>,
    /// Whether endpoints can take traffic, by [`Verdict::backend`]; absent where that is not known.
    pub backings: Sharded<Arc<str>, Backing>,
    /// Connected clients.
    pub clients: Arc<BTreeMap<u64, Client>>,
    /// The newest batch that the Envoys of every other replica have; `None` when there are no others.
    pub elsewhere: Option<u64>,
    /// What is wrong with the sources.
    pub problems: Arc<Vec<SourceProblem>>,
}

impl Snapshot {
    /// Takes in changed rows.
    pub fn rows(&mut self, rows: &RowChanges) {
        rows.listeners.iter().for_each(|(name, row)| self.listeners.set(name.clone(), row.clone()));
        rows.tables.iter().for_each(|(name, row)| self.tables.set(name.clone(), row.clone()));
        rows.lists.iter().for_each(|(id, row)| self.lists.set(id.clone(), row.clone()));
        rows.clusters.iter().for_each(|(name, row)| self.clusters.set(name.clone(), row.clone()));
        rows.endpoints.iter().for_each(|(name, row)| self.endpoints.set(name.clone(), row.clone()));
    }

    /// Takes in changed verdicts. Objects whose present version is not newer keep their batch.
    pub fn verdicts(&mut self, verdicts: &[(ObjectKey, Option<Arc<Verdict>>)], batch: u64) {
        for (key, verdict) in verdicts {
            self.entries.set(key.clone(), verdict.clone().map(|verdict| Entry { verdict, batch }));
        }
    }

    /// The present version of an object goes out with this batch.
    pub fn renewed(&mut self, key: &ObjectKey, batch: u64) {
        if let Some(entry) = self.entries.get(key).cloned() {
            self.entries.set(key.clone(), Some(Entry { batch, ..entry }));
        }
    }

    /// The newest batch that every connected client has, here and in other replicas; `None` when none is connected.
    pub fn live(&self) -> Option<u64> {
        [self.live_here(), self.elsewhere].into_iter().flatten().min()
    }

    /// The newest batch that every client of this replica has; `None` when none is connected.
    pub fn live_here(&self) -> Option<u64> {
        self.clients.values().map(|client| client.live).min()
    }

    /// What Envoy has of an object.
    pub fn acknowledgement(&self, entry: &Entry) -> Acknowledgement {
        match self.live() {
            None => Acknowledgement::NoProxy,
            Some(live) if live >= entry.batch => Acknowledgement::Live,
            Some(_) => Acknowledgement::Pending,
        }
    }

    /// Takes in what became of endpoints.
    pub fn readiness(&mut self, changes: &[(Arc<str>, Option<bool>)]) {
        let since = Instant::now();
        for (name, ready) in changes {
            let initial = !self.published;
            self.backings.set(name.clone(), ready.map(|ready| Backing { ready, since, initial }));
        }
    }

    /// The endpoints that an object's traffic goes to, where something is known about them.
    pub fn backing(&self, entry: &Entry) -> Option<Backing> {
        self.backings.get(entry.verdict.backend.as_ref()?).copied()
    }

    /// Whether anything can take the traffic of an object, at this moment.
    pub fn backends(&self, entry: &Entry) -> Option<Backends> {
        self.backing(entry).map(|backing| if backing.ready { Backends::Ready } else { Backends::Missing })
    }
}
