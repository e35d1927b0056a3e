//! A map whose copies share what did not change.

use crate::room;
use ahash::{AHashMap, RandomState};
use std::hash::Hash;
use std::sync::Arc;

/// Branches, and shards of each.
const WIDTH: usize = 32;

type Shard<K, V> = Arc<AHashMap<K, V>>;
type Branch<K, V> = Arc<[Shard<K, V>; WIDTH]>;

/// A map in 32 times 32 shared shards: a copy costs one counter, a change of a copied map costs twice 32 counters and one
/// shard. The pipeline publishes copies of several in every batch, and most batches change few of them. A counter is a
/// line of memory that nobody has read since the last batch.
#[derive(Debug)]
pub struct Sharded<K, V> {
    branches: Arc<[Branch<K, V>; WIDTH]>,
    /// In all places without an entry. A thousand empty maps, made while there was much else, would each keep a page from
    /// going back to the system.
    empty: Shard<K, V>,
    hasher: RandomState,
}

impl<K, V> Clone for Sharded<K, V> {
    fn clone(&self) -> Self {
        Self { branches: self.branches.clone(), empty: self.empty.clone(), hasher: self.hasher.clone() }
    }
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        let empty = Shard::default();
        let branch: Branch<K, V> = Arc::new(std::array::from_fn(|_| empty.clone()));
        let branches = Arc::new(std::array::from_fn(|_| branch.clone()));
        Self { branches, empty, hasher: RandomState::with_seeds(7, 1, 8, 2) }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    /// Puts a value, or takes it away.
    pub fn set(&mut self, key: K, value: Option<V>) {
        if value.is_none() && self.get(&key).is_none() {
            return;
        }
        let (branch, shard) = self.at(&key);
        let branch = Arc::make_mut(&mut self.branches).get_mut(branch).map(Arc::make_mut);
        let Some(shard) = branch.and_then(|branch| branch.get_mut(shard)) else { return };
        match value {
            Some(value) => _ = Arc::make_mut(shard).insert(key, value),
            // The one that goes is the last one.
            None if shard.len() == 1 => *shard = self.empty.clone(),
            None => {
                let shard = Arc::make_mut(shard);
                shard.remove(&key);
                room::shrink(shard);
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let (branch, shard) = self.at(key);
        self.branches.get(branch)?.get(shard)?.get(key)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|shard| shard.iter())
    }

    fn at(&self, key: &K) -> (usize, usize) {
        let hash = usize::try_from(self.hasher.hash_one(key) % (WIDTH * WIDTH) as u64).unwrap_or(0);
        (hash / WIDTH, hash % WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut map = Sharded::default();
        (0..1000).for_each(|key| map.set(key, Some(key)));
        let copy = map.clone();
        map.set(5, None);
        map.set(6, Some(0));
        map.set(5000, None);
        assert_eq!((map.get(&5), map.get(&6), copy.get(&5), copy.get(&6)), (None, Some(&0), Some(&5), Some(&6)));
        assert_eq!((map.iter().count(), copy.iter().count()), (999, 1000));
        (0..=5000).for_each(|key| map.set(key, None));
        assert!(map.branches.iter().flat_map(|branch| branch.iter()).all(|shard| Arc::ptr_eq(shard, &map.empty)));
        assert_eq!((map.iter().count(), copy.iter().count()), (0, 1000));
    }
}
