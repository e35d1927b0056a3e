//! A map whose copies share what did not change.

use crate::room;
use ahash::{AHashMap, RandomState};
use std::hash::Hash;
use std::sync::Arc;

const SHARDS: usize = 256;

/// A map in 256 shared pieces: a copy costs one counter, a change of a copied map costs 256 counters and one piece. The
/// pipeline publishes copies of several in every batch, and most batches change few of them.
#[derive(Debug)]
pub struct Sharded<K, V> {
    shards: Arc<[Arc<AHashMap<K, V>>]>,
    hasher: RandomState,
}

impl<K, V> Clone for Sharded<K, V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), hasher: self.hasher.clone() }
    }
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect(), hasher: RandomState::with_seeds(7, 1, 8, 2) }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    /// Puts a value, or takes it away.
    pub fn set(&mut self, key: K, value: Option<V>) {
        let at = self.at(&key);
        if value.is_none() && self.get(&key).is_none() {
            return;
        }
        let Some(shard) = Arc::make_mut(&mut self.shards).get_mut(at) else { return };
        match value {
            Some(value) => _ = Arc::make_mut(shard).insert(key, value),
            None => {
                let shard = Arc::make_mut(shard);
                shard.remove(&key);
                room::shrink(shard);
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(self.at(key))?.get(key)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    fn at(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Sharded;

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
    }
}
