//! What the pipeline publishes for everybody else to read.

use crate::feed::SourceProblem;
use crate::sharded::Sharded;
use crate::status::{Acknowledgement, Backends};
use arc_swap::ArcSwap;
use ir::{
    Action, Cluster, Discovery, EndpointHealth, EndpointSet, ListId, ListenerRow, ObjectKey, RouteList, RouteTable,
    RowChanges, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// Where the pipeline puts its snapshots. Reading never waits; [`Board::subscribe`] tells when there is a new one.
#[derive(Debug)]
pub struct Board {
    latest: ArcSwap<Snapshot>,
    bell: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { latest: ArcSwap::default(), bell: watch::Sender::new(0) }
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

    /// Replaces the snapshot and wakes who waits for it.
    pub fn publish(&self, snapshot: Snapshot) {
        self.latest.store(Arc::new(snapshot));
        self.bell.send_modify(|count| *count += 1);
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
    /// Connected clients.
    pub clients: Arc<BTreeMap<u64, Client>>,
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

    /// The newest batch that every connected client has; `None` when none is connected.
    pub fn live(&self) -> Option<u64> {
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

    /// Whether anything can take the traffic of an object, for those whose endpoints are streamed. Costs what exists.
    pub fn backends(&self) -> HashMap<ObjectKey, Backends> {
        let mut all = HashMap::new();
        let mut seen = BTreeSet::new();
        for (_, list) in self.lists.iter() {
            let groups = list.buckets.iter().flat_map(|bucket| &bucket.groups);
            for group in groups.filter(|group| seen.insert(group.id.clone())) {
                for route in &group.routes {
                    let Action::Forward(forward) = &route.action else { continue };
                    let Some(cluster) = self.clusters.get(&forward.cluster) else { continue };
                    let Discovery::Endpoints(name) = &cluster.discovery else { continue };
                    let healthy =
                        |set: &Arc<EndpointSet>| set.endpoints.iter().any(|one| one.health == EndpointHealth::Healthy);
                    let backends =
                        if self.endpoints.get(name).is_some_and(healthy) { Backends::Ready } else { Backends::Missing };
                    all.insert(route.source.clone(), backends);
                }
            }
        }
        all
    }
}
