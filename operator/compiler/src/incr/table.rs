//! Keyed rows.

use super::graph::{Graph, NodeId, Reads};
use super::set::Set;
use ahash::RandomState;
use hashbrown::HashTable;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::Hash;

/// How many nodes stand for the absent rows of a sparse table.
const SHARES: usize = 1024;

/// Slots by key. The key is stored once, in its slot.
struct Keys<K> {
    hasher: RandomState,
    slots: HashTable<Slot>,
    /// Key and node of each slot; `None` for a free one.
    names: Vec<Option<(K, NodeId)>>,
    free: Vec<u32>,
}

/// A slot with the hash of its key: while a table grows, the keys themselves, which are anywhere in memory, stay
/// unread.
#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Slot {
    /// A hash table looks at both ends of 64 bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl<K: Clone + Eq + Hash> Keys<K> {
    fn hash(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn find(&self, key: &K) -> Option<(u32, NodeId)> {
        let hash = self.hash(key);
        let is_named = |slot: u32| matches!(self.names.get(slot as usize), Some(Some((name, _))) if name == key);
        let same = |slot: &Slot| slot.hash == hash && is_named(slot.number);
        let slot = self.slots.find(Slot::spread(hash), same)?.number;
        self.names.get(slot as usize)?.as_ref().map(|(_, node)| (slot, *node))
    }

    fn add(&mut self, key: &K, number: u32, node: NodeId) {
        let name = Some((key.clone(), node));
        match self.names.get_mut(number as usize) {
            Some(place) => *place = name,
            None => self.names.push(name),
        }
        let hash = self.hash(key);
        self.slots.insert_unique(Slot::spread(hash), Slot { hash, number }, |slot| Slot::spread(slot.hash));
    }

    fn remove(&mut self, slot: u32) -> Option<NodeId> {
        let (key, node) = self.names.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.slots.find_entry(Slot::spread(self.hash(&key)), |other| other.number == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(node)
    }
}

/// Rows by key. `V` compares by value; an equal row changes nothing.
pub struct Table<K, V> {
    number: u8,
    keys: RefCell<Keys<K>>,
    rows: Vec<Option<V>>,
    /// In a sparse table: what a reader of an absent row depends on, by the key's hash.
    shares: Vec<NodeId>,
}

impl<K: Clone + Eq + Hash, V: PartialEq> Table<K, V> {
    /// An empty table; `number` is its place in the order of stages.
    pub fn new(number: u8) -> Self {
        let keys = Keys { hasher: RandomState::new(), slots: HashTable::new(), names: Vec::new(), free: Vec::new() };
        Self { number, keys: RefCell::new(keys), rows: Vec::new(), shares: Vec::new() }
    }

    /// From now on absent rows share nodes: for tables that nearly every object is looked up in and hardly any is
    /// found in (refusals, say), where a node and a key for each absence would outweigh everything that is there. When
    /// a row appears, the readers of some other absent rows run again, for nothing.
    pub fn make_sparse(&mut self, graph: &Graph) {
        self.shares = (0..SHARES).map(|_| graph.allocate(self.number, u32::MAX)).collect();
    }

    fn share(&self, key: &K) -> Option<NodeId> {
        let hash = self.keys.borrow().hasher.hash_one(key) as usize;
        self.shares.get(hash % SHARES).copied()
    }

    fn slot(&self, graph: &Graph, key: &K) -> (u32, NodeId) {
        let keys = &mut *self.keys.borrow_mut();
        if let Some(found) = keys.find(key) {
            return found;
        }
        let slot = keys.free.pop().unwrap_or(keys.names.len() as u32);
        let node = graph.allocate(self.number, slot);
        keys.add(key, slot, node);
        (slot, node)
    }

    /// The row, recorded as read whether it is there or not.
    pub fn get(&self, graph: &Graph, reads: &Reads, key: &K) -> Option<&V> {
        if !self.shares.is_empty() {
            let found = self.keys.borrow().find(key);
            let row = found.and_then(|(slot, node)| Some((self.rows.get(slot as usize)?.as_ref()?, node)));
            reads.record(row.map(|(_, node)| node).or_else(|| self.share(key))?);
            return row.map(|(row, _)| row);
        }
        let (slot, node) = self.slot(graph, key);
        reads.record(node);
        self.rows.get(slot as usize)?.as_ref()
    }

    /// The row, for those outside the stages (output, provenance): nothing is recorded.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let (slot, _) = self.keys.borrow().find(key)?;
        self.rows.get(slot as usize)?.as_ref()
    }

    /// The table's own copy of a key, so that equal keys are kept once.
    pub fn stored(&self, key: &K) -> Option<K> {
        let keys = self.keys.borrow();
        let (slot, _) = keys.find(key)?;
        keys.names.get(slot as usize)?.as_ref().map(|(key, _)| key.clone())
    }

    /// All rows in slot order, which says nothing; sort what has to be ordered.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.rows.iter().enumerate().filter_map(|(slot, row)| {
            let row = row.as_ref()?;
            let key = self.keys.borrow().names.get(slot)?.as_ref()?.0.clone();
            Some((key, row))
        })
    }

    /// Puts or takes away a row and marks its readers when it differs. Gives the old row back then.
    pub fn set(&mut self, graph: &Graph, key: &K, row: Option<V>) -> Option<Option<V>> {
        let (slot, node) = self.slot(graph, key);
        let old = self.put(graph, slot, node, row)?;
        if old.is_none() {
            self.appeared(graph, key);
        }
        Some(old)
    }

    fn appeared(&self, graph: &Graph, key: &K) {
        if let Some(share) = self.share(key) {
            graph.touch(share);
        }
    }

    fn put(&mut self, graph: &Graph, slot: u32, node: NodeId, row: Option<V>) -> Option<Option<V>> {
        let place = self.place(slot);
        if *place == row {
            if row.is_none() {
                graph.suspect(self.number, slot);
            }
            return None;
        }
        let gone = row.is_none();
        let old = std::mem::replace(place, row);
        graph.set_present(node, !gone);
        graph.touch(node);
        if gone {
            graph.suspect(self.number, slot);
        }
        Some(old)
    }

    #[expect(clippy::indexing_slicing, reason = "the resize makes the place")]
    fn place(&mut self, slot: u32) -> &mut Option<V> {
        let at = slot as usize;
        if self.rows.len() <= at {
            self.rows.resize_with(at + 1, || None);
        }
        &mut self.rows[at]
    }

    /// Makes sure that the row of this key is (re)computed in this batch.
    pub fn mark(&self, graph: &Graph, key: &K) {
        let (_, node) = self.slot(graph, key);
        graph.mark(node);
    }

    /// As [`Table::mark`], and the key is never forgotten: nothing else would bring the row into being.
    pub fn pin(&self, graph: &Graph, key: &K) {
        let (_, node) = self.slot(graph, key);
        graph.pin(node);
        graph.mark(node);
    }

    /// Whether there are keys to recompute.
    pub fn is_dirty(&self, graph: &Graph) -> bool {
        graph.has_dirty(self.number)
    }

    /// Keys to recompute, with what [`Table::finish`] needs.
    pub fn take_dirty(&self, graph: &Graph) -> Vec<(K, u32, NodeId)> {
        let keys = self.keys.borrow();
        let slots = graph.take_dirty(self.number);
        let mut dirty = Vec::with_capacity(slots.len());
        for slot in slots {
            if let Some(Some((key, node))) = keys.names.get(slot as usize) {
                graph.clean(*node);
                dirty.push((key.clone(), slot, *node));
            }
        }
        dirty
    }

    /// Stores a recomputed row with what it read. Gives the old row back when it differs.
    pub fn finish(
        &mut self,
        graph: &Graph,
        slot: u32,
        node: NodeId,
        reads: Reads,
        row: Option<V>,
    ) -> Option<Option<V>> {
        graph.set_reads(node, reads);
        self.put(graph, slot, node, row)
    }

    /// Forgets keys that have no row and that nobody looks at, so that churn does not grow anything.
    pub fn sweep(&mut self, graph: &Graph) {
        let keys = self.keys.get_mut();
        for slot in graph.take_orphans(self.number) {
            if self.rows.get(slot as usize).is_some_and(Option::is_some) {
                continue;
            }
            let Some(Some((_, node))) = keys.names.get(slot as usize) else { continue };
            if graph.is_idle(*node)
                && let Some(node) = keys.remove(slot)
            {
                graph.release(node);
            }
        }
    }
}

impl<K: Clone + Eq + Hash, E: Ord + Clone> Table<K, Set<E>> {
    /// Adds an element to the set of a term.
    pub fn insert(&mut self, graph: &Graph, term: &K, element: E) -> bool {
        let (slot, node) = self.slot(graph, term);
        let place = self.place(slot);
        let appears = place.is_none();
        let added = Set::insert(place, element);
        if added {
            graph.set_present(node, true);
            graph.touch(node);
        }
        if appears {
            self.appeared(graph, term);
        }
        added
    }

    /// Takes an element out of the set of a term; an empty set is no set.
    pub fn remove(&mut self, graph: &Graph, term: &K, element: &E) -> bool {
        let (slot, node) = self.slot(graph, term);
        let place = self.place(slot);
        let removed = Set::remove(place, element);
        if place.is_none() {
            graph.set_present(node, false);
            graph.suspect(self.number, slot);
        }
        if removed {
            graph.touch(node);
        }
        removed
    }

    /// Moves an owner from its old terms to its new ones.
    pub fn update<'a>(&mut self, graph: &Graph, old: impl Iterator<Item = (K, E)>, new: impl Iterator<Item = (K, E)>)
    where
        K: Ord + 'a,
    {
        let old: BTreeSet<(K, E)> = old.collect();
        let new: BTreeSet<(K, E)> = new.collect();
        for (term, element) in old.difference(&new) {
            self.remove(graph, term, element);
        }
        for (term, element) in new.difference(&old) {
            self.insert(graph, term, element.clone());
        }
    }
}
