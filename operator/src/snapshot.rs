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

/// Where the pipeline puts its snapshots. Reading never waits; [`Board::subscribe`] tells when there is one of interest.
#[derive(Debug)]
pub struct Board {
    latest: ArcSwap<Snapshot>,
    bell: watch::Sender<u64>,
    /// Kept only while somebody follows.
    followed: Mutex<Option<Followed>>,
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

/// What is kept for a follower.
#[derive(Debug, Default)]
struct Followed {
    journal: Journal,
    /// The batch whose acknowledgement is waited for.
    awaited: Option<u64>,
}

impl Journal {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.backends.is_empty()
    }
}

impl Default for Board {
    fn default() -> Self {
        Self {
            latest: ArcSwap::default(),
            bell: watch::Sender::new(0),
            followed: Mutex::default(),
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

    /// A receiver that changes with snapshots: with every one while nobody follows, else with those that are news to the
    /// follower. To wake it for each of the others would cost more than the change of an endpoint does.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Replaces the snapshot and wakes who waits for it. `changed` says what is different in it, and is empty afterwards.
    pub fn publish(&self, snapshot: Snapshot, changed: &mut Journal) {
        let is_news = {
            let mut followed = self.lock();
            let before = self.latest.load();
            let is_news = followed.as_ref().is_none_or(|followed| {
                !changed.is_empty()
                    || before.published != snapshot.published
                    || before.elsewhere != snapshot.elsewhere
                    || followed.awaited.is_some_and(|batch| snapshot.live() >= Some(batch))
            });
            drop(before);
            self.latest.store(Arc::new(snapshot));
            // An empty one is not even replaced by an empty one: that asks for random numbers.
            let changed = (!changed.is_empty()).then(|| std::mem::take(changed));
            if let (Some(Followed { journal, .. }), Some(changed)) = (&mut *followed, changed) {
                journal.objects.extend(changed.objects);
                journal.backends.extend(changed.backends);
            }
            is_news
        };
        if is_news {
            self.bell.send_modify(|count| *count += 1);
        }
    }

    /// What changed since the last call, or since [`Board::follow`], and the snapshot that has all of it. One follower
    /// at a time.
    pub fn changes(&self) -> (Journal, Arc<Snapshot>) {
        let mut followed = self.lock();
        (std::mem::take(&mut followed.get_or_insert_default().journal), self.load())
    }

    /// The follower is to be woken once all Envoys have that batch; with `None` it does not wait for any. False when they
    /// have it already: nobody wakes it then.
    pub fn wait_for(&self, batch: Option<u64>) -> bool {
        let mut followed = self.lock();
        followed.get_or_insert_default().awaited = batch;
        batch.is_none_or(|batch| self.load().live() < Some(batch))
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
        *self.lock() = follow.then(Followed::default);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Kind;

    fn at(batch: u64, live: u64) -> Snapshot {
        let clients = BTreeMap::from([(1, Client { live, ..Client::default() })]);
        Snapshot { batch, published: true, clients: Arc::new(clients), ..Snapshot::default() }
    }

    fn object() -> Journal {
        Journal { objects: [ObjectKey::new(Kind::Mapping, "default", "a")].into(), ..Journal::default() }
    }

    #[test]
    fn a_follower_is_woken_by_news_only() {
        let board = Board::default();
        let mut bell = board.subscribe();
        let mut rang = |snapshot: Snapshot, mut changed: Journal| {
            board.publish(snapshot, &mut changed);
            let rang = bell.has_changed().unwrap();
            bell.mark_unchanged();
            rang
        };
        assert!(rang(at(1, 1), Journal::default()), "nobody follows");
        board.follow(true);
        assert!(!rang(at(2, 1), Journal::default()), "an endpoint moved");
        assert!(rang(at(3, 1), object()));
        assert!(rang(Snapshot { elsewhere: Some(1), ..at(3, 1) }, Journal::default()));
        assert!(board.wait_for(Some(3)));
        assert!(rang(Snapshot { elsewhere: Some(3), ..at(3, 2) }, Journal::default()), "the others went on");
        assert!(!rang(Snapshot { elsewhere: Some(3), ..at(4, 2) }, Journal::default()), "it is not there yet");
        assert!(rang(Snapshot { elsewhere: Some(3), ..at(4, 3) }, Journal::default()), "it is there");
        assert!(!board.wait_for(Some(3)), "nobody would say so again");
        assert!(board.wait_for(None));
        assert!(!rang(Snapshot { elsewhere: Some(3), ..at(5, 4) }, Journal::default()));
        assert_eq!(board.changes().0.objects.len(), 1);
        board.follow(false);
        assert!(rang(at(6, 6), Journal::default()));
    }
}
