//! Keyed rows.

use super::graph::{Graph, NodeId, Reads};
use ahash::AHashMap;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::Hash;

struct Keys<K> {
    slots: AHashMap<K, (u32, NodeId)>,
    /// Key and node of each slot; `None` for a free one.
    names: Vec<Option<(K, NodeId)>>,
    free: Vec<u32>,
}

/// Rows by key. `V` compares by value; an equal row changes nothing.
pub struct Table<K, V> {
    number: u8,
    keys: RefCell<Keys<K>>,
    rows: Vec<Option<V>>,
}

impl<K: Clone + Eq + Hash, V: PartialEq> Table<K, V> {
    /// An empty table; `number` is its place in the order of stages.
    pub fn new(number: u8) -> Self {
        let keys = Keys { slots: AHashMap::new(), names: Vec::new(), free: Vec::new() };
        Self { number, keys: RefCell::new(keys), rows: Vec::new() }
    }

    fn slot(&self, graph: &Graph, key: &K) -> (u32, NodeId) {
        let keys = &mut *self.keys.borrow_mut();
        if let Some(found) = keys.slots.get(key) {
            return *found;
        }
        let slot = keys.free.pop().unwrap_or(keys.names.len() as u32);
        let node = graph.allocate(self.number, slot);
        let name = Some((key.clone(), node));
        match keys.names.get_mut(slot as usize) {
            Some(place) => *place = name,
            None => keys.names.push(name),
        }
        keys.slots.insert(key.clone(), (slot, node));
        (slot, node)
    }

    /// The row, recorded as read whether it is there or not.
    pub fn get(&self, graph: &Graph, reads: &Reads, key: &K) -> Option<&V> {
        let (slot, node) = self.slot(graph, key);
        reads.record(node);
        self.rows.get(slot as usize)?.as_ref()
    }

    /// The row, for those outside the stages (output, provenance): nothing is recorded.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let slot = self.keys.borrow().slots.get(key)?.0;
        self.rows.get(slot as usize)?.as_ref()
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
        self.put(graph, slot, node, row)
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
            let Some(place) = keys.names.get_mut(slot as usize) else { continue };
            if !place.as_ref().is_some_and(|(_, node)| graph.is_idle(*node)) {
                continue;
            }
            if let Some((key, node)) = place.take() {
                keys.slots.remove(&key);
                keys.free.push(slot);
                graph.release(node);
            }
        }
    }
}

impl<K: Clone + Eq + Hash, E: Ord + Clone> Table<K, BTreeSet<E>> {
    /// Adds an element to the set of a term.
    pub fn insert(&mut self, graph: &Graph, term: &K, element: E) -> bool {
        let (slot, node) = self.slot(graph, term);
        let added = self.place(slot).get_or_insert_default().insert(element);
        if added {
            graph.set_present(node, true);
            graph.touch(node);
        }
        added
    }

    /// Takes an element out of the set of a term; an empty set is no set.
    pub fn remove(&mut self, graph: &Graph, term: &K, element: &E) -> bool {
        let (slot, node) = self.slot(graph, term);
        let place = self.place(slot);
        let removed = place.as_mut().is_some_and(|set| set.remove(element));
        if place.as_ref().is_some_and(BTreeSet::is_empty) {
            *place = None;
        }
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
