//! The one place that holds what all clients are to have.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ahash::AHashMap;
use tokio::sync::watch;

use crate::resource::{Delta, PerType, Resource, ResourceType};

/// Changed names kept for clients that lag behind, at most; one further behind looks through everything once instead.
const LOG_NAMES: usize = 65_536;
/// And at least; between the two, as many as there are resources: a longer log is no shortcut. Room for so many names is
/// also kept in a map when they go. Not more: each may be all that keeps a page of memory from going back.
const FEW_NAMES: usize = 64;

/// All current resources, and a bounded log of the names that changed.
///
/// Applying costs what the delta holds. Readers share a lock: a [`View`] is consistent, and cheap as long as it is
/// short-lived.
#[derive(Debug, Default)]
pub struct Store {
    state: RwLock<State>,
    bell: watch::Sender<u64>,
}

/// The content of the store at one moment.
#[derive(Debug, Default)]
pub struct State {
    batch: u64,
    tables: PerType<AHashMap<Arc<str>, Arc<Resource>>>,
    log: VecDeque<Changed>,
    /// How many names were ever dropped from the front of the log.
    dropped: u64,
}

/// A name that a batch changed.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) batch: u64,
    pub(crate) kind: ResourceType,
    pub(crate) name: Arc<str>,
    /// What clients refused of it counts no longer.
    pub(crate) retry: bool,
}

/// Shared access to the content; do not keep it over an await point.
pub struct View<'a>(RwLockReadGuard<'a, State>);

impl Deref for View<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Store {
    /// An empty store that was never published: clients wait until the first [`Store::apply`], so that a restart of the
    /// control plane does not take away what a reconnecting Envoy serves.
    pub fn new() -> Self {
        Store::default()
    }

    /// Takes a change and wakes the subscribers. A resource with an unchanged version is replaced silently.
    ///
    /// The first delta must be the complete first configuration (it may be empty, with batch 1); see [`Store::new`].
    pub fn apply(&self, delta: Delta) {
        let batch = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.apply(delta);
            state.batch
        };
        self.bell.send_replace(batch);
    }

    /// The content at this moment.
    pub fn read(&self) -> View<'_> {
        View(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the last batch, 0 before the first.
    pub fn batch(&self) -> u64 {
        self.read().batch()
    }

    /// A resource, if there is one of that name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<Arc<Resource>> {
        self.read().get(kind, name).cloned()
    }

    /// A receiver that changes with every applied delta; its value is the batch.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}

impl State {
    /// The number of the last batch, 0 before the first.
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// A resource, if there is one of that name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.tables.get(kind).get(name)
    }

    /// All resources of a type, in no particular order.
    pub fn of(&self, kind: ResourceType) -> impl ExactSizeIterator<Item = &Arc<Resource>> {
        self.tables.get(kind).values()
    }

    /// The end of the log: a reader that has seen everything up to now continues here.
    pub(crate) fn cursor(&self) -> u64 {
        self.dropped + self.log.len() as u64
    }

    /// What changed after `cursor`; `None` when the log does not reach back that far.
    pub(crate) fn changes_since(&self, cursor: u64) -> Option<impl Iterator<Item = &Changed>> {
        let skip = usize::try_from(cursor.checked_sub(self.dropped)?).ok()?;
        Some(self.log.range(skip.min(self.log.len())..))
    }

    fn apply(&mut self, delta: Delta) {
        // A number that goes back would let `Live` claim what is not acknowledged.
        self.batch = self.batch.max(delta.batch).max(1);
        for resource in delta.upserts {
            let (kind, name, version) = (resource.kind, resource.name.clone(), resource.version);
            let before = self.tables.get_mut(kind).insert(name.clone(), resource);
            if before.is_none_or(|old| old.version != version) {
                self.note(kind, name, false);
            }
        }
        for (kind, name) in delta.removals {
            if self.tables.get_mut(kind).remove(&name).is_some() {
                self.note(kind, name, false);
            }
        }
        for (kind, name) in delta.retries {
            self.note(kind, name, true);
        }
        self.forget();
    }

    fn note(&mut self, kind: ResourceType, name: Arc<str>, retry: bool) {
        self.log.push_back(Changed { batch: self.batch, kind, name, retry });
    }

    /// Drops the beginning of a log that is too long, and gives back room that is not needed any more.
    fn forget(&mut self) {
        let resources: usize = ResourceType::ALL.into_iter().map(|kind| self.tables.get(kind).len()).sum();
        let limit = resources.clamp(FEW_NAMES, LOG_NAMES);
        let old = self.log.len().saturating_sub(limit);
        self.log.drain(..old);
        self.dropped += old as u64;
        if self.log.capacity() > 4 * limit {
            self.log.shrink_to(2 * limit);
        }
        ResourceType::ALL.into_iter().for_each(|kind| shrink(self.tables.get_mut(kind)));
    }
}

/// Gives back most of a map's room once it holds less than an eighth of it.
pub(crate) fn shrink<V>(map: &mut AHashMap<Arc<str>, V>) {
    if map.capacity() > FEW_NAMES && map.len() < map.capacity() / 8 {
        let left = map.len();
        map.shrink_to(left * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Payload, Version};

    fn cluster(name: &str, version: u64) -> Arc<Resource> {
        Arc::new(Resource {
            kind: ResourceType::Cluster,
            name: name.into(),
            version: Version(version),
            payload: Payload::from(vec![]),
            companions: Arc::new([]),
            warms: false,
        })
    }

    fn upsert(batch: u64, upserts: Vec<Arc<Resource>>) -> Delta {
        Delta { batch, upserts, ..Delta::default() }
    }

    fn names(store: &Store, cursor: u64) -> Option<Vec<String>> {
        store.read().changes_since(cursor).map(|c| c.map(|c| format!("{}@{}", c.name, c.batch)).collect())
    }

    #[test]
    fn readers_continue_where_they_stopped() {
        let store = Store::new();
        store.apply(upsert(1, vec![cluster("a", 1)]));
        let cursor = store.read().cursor();
        store.apply(upsert(2, vec![cluster("b", 1)]));
        store.apply(Delta { batch: 3, removals: vec![(ResourceType::Cluster, "a".into())], ..Delta::default() });
        assert_eq!(names(&store, cursor), Some(vec!["b@2".into(), "a@3".into()]));
        assert_eq!(store.get(ResourceType::Cluster, "a").is_none(), store.read().of(ResourceType::Cluster).len() == 1);
    }

    #[test]
    fn unchanged_resources_and_unknown_removals_are_silent() {
        let store = Store::new();
        store.apply(upsert(1, vec![cluster("a", 1)]));
        let cursor = store.read().cursor();
        let removals = vec![(ResourceType::Cluster, "zz".into())];
        store.apply(Delta { batch: 2, upserts: vec![cluster("a", 1)], removals, ..Delta::default() });
        assert_eq!(names(&store, cursor), Some(vec![]));
        assert_eq!(store.batch(), 2);
    }

    #[test]
    fn the_log_is_bounded_and_says_when_it_does_not_reach_back() {
        let store = Store::new();
        store.apply(upsert(1, (0..LOG_NAMES).map(|i| cluster(&i.to_string(), 1)).collect()));
        assert_eq!(names(&store, 0).map(|n| n.len()), Some(LOG_NAMES));
        store.apply(upsert(2, vec![cluster("more", 1)]));
        assert_eq!(names(&store, 0), None);
        assert_eq!(names(&store, 1).map(|n| n.len()), Some(LOG_NAMES));
    }

    #[test]
    fn a_log_longer_than_the_store_is_dropped() {
        let store = Store::new();
        store.apply(upsert(1, (0..10_000).map(|i| cluster(&i.to_string(), 1)).collect()));
        assert_eq!(names(&store, 0).map(|n| n.len()), Some(10_000));
        let removals = (0..9_990).map(|i| (ResourceType::Cluster, i.to_string().into())).collect();
        store.apply(Delta { batch: 2, removals, ..Delta::default() });
        assert_eq!(names(&store, 10_000), None);
        let cursor = store.read().cursor();
        store.apply(upsert(3, vec![cluster("more", 1)]));
        assert_eq!(names(&store, cursor), Some(vec!["more@3".into()]));
        assert!(store.read().log.capacity() <= 4 * FEW_NAMES);
    }

    #[test]
    fn an_empty_first_delta_publishes() {
        let store = Store::new();
        let mut bell = store.subscribe();
        assert_eq!(store.batch(), 0);
        store.apply(Delta::default());
        assert_eq!((store.batch(), *bell.borrow_and_update()), (1, 1));
    }
}
