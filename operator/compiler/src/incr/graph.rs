//! Who read whom.

use ahash::AHashSet;
use smallvec::SmallVec;
use std::cell::RefCell;

/// One row, present or absent, of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// What a row function looked at, in the order in which it did.
#[derive(Default)]
pub struct Reads(RefCell<SmallVec<[NodeId; 16]>>);

impl Reads {
    pub(super) fn record(&self, node: NodeId) {
        self.0.borrow_mut().push(node);
    }

    fn into_sorted(self) -> SmallVec<[NodeId; 16]> {
        let mut nodes = self.0.into_inner();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// Hot rows (a Module slice that every route reads) have thousands of readers, most rows have two.
enum Readers {
    Few(SmallVec<[NodeId; 4]>),
    /// Boxed: a set is three times as large as a few, and nearly every node has few.
    Many(Box<AHashSet<NodeId>>),
}

const FEW: usize = 24;

impl Readers {
    fn insert(&mut self, node: NodeId) {
        match self {
            Readers::Few(nodes) if nodes.len() < FEW => nodes.push(node),
            Readers::Few(nodes) => {
                let mut set: AHashSet<NodeId> = nodes.iter().copied().collect();
                set.insert(node);
                *self = Readers::Many(Box::new(set));
            }
            Readers::Many(set) => {
                set.insert(node);
            }
        }
    }

    fn remove(&mut self, node: NodeId) {
        match self {
            Readers::Few(nodes) => {
                if let Some(at) = nodes.iter().position(|reader| *reader == node) {
                    nodes.swap_remove(at);
                }
            }
            Readers::Many(set) => {
                set.remove(&node);
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Readers::Few(nodes) => nodes.is_empty(),
            Readers::Many(set) => set.is_empty(),
        }
    }

    fn to_vec(&self) -> SmallVec<[NodeId; 32]> {
        match self {
            Readers::Few(nodes) => nodes.iter().copied().collect(),
            Readers::Many(set) => set.iter().copied().collect(),
        }
    }
}

struct Node {
    table: u8,
    slot: u32,
    dirty: bool,
    /// Whether the row is there.
    present: bool,
    /// Kept although nobody reads it: its row depends on what is not there yet.
    pinned: bool,
    readers: Readers,
    reads: Box<[NodeId]>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Per table: slots to re-run.
    dirty: Slots,
    /// Per table: slots that may have become unreachable.
    orphans: Slots,
}

/// Slots of each table. Most batches leave most tables alone; one word says which.
#[derive(Default)]
struct Slots {
    filled: u64,
    lists: Vec<Vec<u32>>,
}

impl Slots {
    fn new(tables: usize) -> Self {
        Self { filled: 0, lists: vec![Vec::new(); tables] }
    }

    fn has(&self, table: u8) -> bool {
        self.filled >> table & 1 == 1
    }

    fn has_among(&self, first: u8, last: u8) -> bool {
        self.filled >> first & u64::MAX >> (u64::BITS - 1 - u32::from(last - first)) != 0
    }

    fn push(&mut self, table: u8, slot: u32) {
        if let Some(list) = self.lists.get_mut(table as usize) {
            list.push(slot);
            self.filled |= 1 << table;
        }
    }

    fn take(&mut self, table: u8) -> Vec<u32> {
        self.filled &= !(1 << table);
        self.lists.get_mut(table as usize).map(std::mem::take).unwrap_or_default()
    }
}

/// A graph has no more tables than this.
pub const MOST_TABLES: usize = u64::BITS as usize;

/// The dependency graph of all tables. Interior mutability, because looking at an absent row has to remember it.
pub struct Graph {
    inner: RefCell<Inner>,
}

impl Graph {
    /// A graph for that many tables, [`MOST_TABLES`] at most.
    pub fn new(tables: usize) -> Self {
        let inner = Inner { dirty: Slots::new(tables), orphans: Slots::new(tables), ..Inner::default() };
        Self { inner: RefCell::new(inner) }
    }

    pub(super) fn allocate(&self, table: u8, slot: u32) -> NodeId {
        let inner = &mut *self.inner.borrow_mut();
        let readers = Readers::Few(SmallVec::new());
        let node = Node { table, slot, dirty: false, present: false, pinned: false, readers, reads: Box::default() };
        if let Some(id) = inner.free.pop() {
            if let Some(place) = inner.nodes.get_mut(id as usize) {
                *place = node;
            }
            return NodeId(id);
        }
        inner.nodes.push(node);
        NodeId((inner.nodes.len() - 1) as u32)
    }

    /// Marks a row for re-running in this batch.
    pub(super) fn mark(&self, node: NodeId) {
        let inner = &mut *self.inner.borrow_mut();
        inner.mark(node);
    }

    /// Marks everybody who read the row.
    pub(super) fn touch(&self, node: NodeId) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(readers) = inner.nodes.get(node.0 as usize).map(|found| found.readers.to_vec()) else { return };
        for reader in readers {
            inner.mark(reader);
        }
    }

    /// Replaces what a row read.
    pub(super) fn set_reads(&self, node: NodeId, reads: Reads) {
        let inner = &mut *self.inner.borrow_mut();
        let new = reads.into_sorted();
        let Some(old) = inner.nodes.get_mut(node.0 as usize).map(|found| std::mem::take(&mut found.reads)) else {
            return;
        };
        if *old != *new {
            for gone in old.iter().filter(|read| new.binary_search(read).is_err()) {
                inner.forget_reader(*gone, node);
            }
            for added in new.iter().filter(|read| old.binary_search(read).is_err()) {
                if let Some(target) = inner.nodes.get_mut(added.0 as usize) {
                    target.readers.insert(node);
                }
            }
        }
        if let Some(found) = inner.nodes.get_mut(node.0 as usize) {
            found.reads = if *old == *new { old } else { new.into_vec().into_boxed_slice() };
        }
    }

    /// The slots of a table that have to be re-run; they count as clean from here on.
    pub(super) fn take_dirty(&self, table: u8) -> Vec<u32> {
        self.inner.borrow_mut().dirty.take(table)
    }

    /// Whether the table has slots to re-run.
    pub(super) fn has_dirty(&self, table: u8) -> bool {
        self.inner.borrow().dirty.has(table)
    }

    /// Whether a table from one number to another has slots to re-run.
    pub fn has_dirty_among(&self, first: u8, last: u8) -> bool {
        self.inner.borrow().dirty.has_among(first, last)
    }

    pub(super) fn clean(&self, node: NodeId) {
        if let Some(found) = self.inner.borrow_mut().nodes.get_mut(node.0 as usize) {
            found.dirty = false;
        }
    }

    pub(super) fn suspect(&self, table: u8, slot: u32) {
        self.inner.borrow_mut().orphans.push(table, slot);
    }

    pub(super) fn take_orphans(&self, table: u8) -> Vec<u32> {
        self.inner.borrow_mut().orphans.take(table)
    }

    /// Whether the table has slots that may have become unreachable.
    pub fn has_orphans(&self, table: u8) -> bool {
        self.inner.borrow().orphans.has(table)
    }

    pub(super) fn set_present(&self, node: NodeId, present: bool) {
        if let Some(found) = self.inner.borrow_mut().nodes.get_mut(node.0 as usize) {
            found.present = present;
        }
    }

    pub(super) fn pin(&self, node: NodeId) {
        if let Some(found) = self.inner.borrow_mut().nodes.get_mut(node.0 as usize) {
            found.pinned = true;
        }
    }

    /// Whether an absent row can be forgotten: nobody looks at it, and nothing that is there could bring it about.
    pub(super) fn is_idle(&self, node: NodeId) -> bool {
        let inner = self.inner.borrow();
        let is_present = |read: &NodeId| inner.nodes.get(read.0 as usize).is_some_and(|read| read.present);
        inner.nodes.get(node.0 as usize).is_none_or(|found| {
            found.readers.is_empty() && !found.dirty && !found.pinned && !found.reads.iter().any(is_present)
        })
    }

    pub(super) fn release(&self, node: NodeId) {
        let inner = &mut *self.inner.borrow_mut();
        let reads =
            inner.nodes.get_mut(node.0 as usize).map(|found| std::mem::take(&mut found.reads)).unwrap_or_default();
        for read in reads.iter() {
            inner.forget_reader(*read, node);
        }
        inner.free.push(node.0);
    }

    /// Rows that exist or are looked at; for memory tests.
    pub fn len(&self) -> usize {
        let inner = self.inner.borrow();
        inner.nodes.len() - inner.free.len()
    }
}

impl Inner {
    fn mark(&mut self, node: NodeId) {
        let Some(found) = self.nodes.get_mut(node.0 as usize) else { return };
        if found.dirty {
            return;
        }
        found.dirty = true;
        let (table, slot) = (found.table, found.slot);
        self.dirty.push(table, slot);
    }

    fn forget_reader(&mut self, read: NodeId, reader: NodeId) {
        let Some(target) = self.nodes.get_mut(read.0 as usize) else { return };
        target.readers.remove(reader);
        if target.readers.is_empty() {
            let (table, slot) = (target.table, target.slot);
            self.orphans.push(table, slot);
        }
    }
}
