//! Route lists: groups in global order, cut into buckets by path.
//!
//! Envoy walks the routes of a virtual host one by one, so a large list becomes a tree of path prefixes. Envoy takes the
//! longest prefix and never goes back, so the bucket of a prefix holds what is below it, and everything above it that
//! can match there: shorter prefixes, regular expressions, and paths that ignore case.
//!
//! The cut depends on the set of groups only, never on the order in which they came; an edit rebuilds the buckets whose
//! contents it changes and no others.

mod trie;

use crate::stage::placement::ListClass;
use ir::{Bucket, ImpliedAuthority, ListId, OrderKey, PathMatch, ProtoVariant, RouteGroup, RouteList};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use trie::Trie;

/// Most groups of its own in a bucket.
const BUCKET: usize = 64;
/// Largest list that stays flat.
const FLAT: usize = 100;

/// The groups of one class of Hosts.
pub struct ListState {
    class: Arc<str>,
    implied: ImpliedAuthority,
    /// Groups that can match below any prefix.
    everywhere: BTreeSet<Placed>,
    trie: Trie,
    /// What was made of them, while it is current.
    buckets: Option<Vec<Arc<Bucket>>>,
    flat: bool,
    len: usize,
}

/// A group at its place: by the global order, then by the id, so that the order is total.
#[derive(Clone, Debug)]
pub struct Placed(pub Arc<RouteGroup>);

impl Placed {
    fn place(&self) -> (&OrderKey, &Arc<str>) {
        (&self.0.order, &self.0.id)
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Placed {}

impl ListState {
    /// An empty list.
    pub fn new(class: &ListClass) -> Self {
        let (class, implied) = (class.text.clone(), class.implied());
        Self { class, implied, everywhere: BTreeSet::new(), trie: Trie::default(), buckets: None, flat: true, len: 0 }
    }

    /// True when no group is left.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a group in, or in the place of its former self.
    pub fn insert(&mut self, group: &Arc<RouteGroup>) {
        let placed = Placed(group.clone());
        let added = match tree_path(group) {
            None => self.everywhere.replace(placed).is_none(),
            Some(path) => self.trie.insert(path, placed),
        };
        self.len += usize::from(added);
        self.touch(group);
    }

    /// Takes a group out.
    pub fn remove(&mut self, group: &Arc<RouteGroup>) {
        let placed = Placed(group.clone());
        let removed = match tree_path(group) {
            None => self.everywhere.remove(&placed),
            Some(path) => self.trie.remove(path, &placed),
        };
        self.len -= usize::from(removed);
        self.touch(group);
    }

    fn touch(&mut self, group: &RouteGroup) {
        self.buckets = None;
        if tree_path(group).is_none() {
            self.trie.touch_all();
        }
    }

    /// The list in one variant.
    pub fn list(&mut self, variant: ProtoVariant) -> RouteList {
        let id = ListId { class: self.class.clone(), variant };
        RouteList { id, implied: self.implied.clone(), buckets: self.buckets() }
    }

    fn buckets(&mut self) -> Vec<Arc<Bucket>> {
        if let Some(buckets) = &self.buckets {
            return buckets.clone();
        }
        let flat = self.len <= FLAT;
        if flat != self.flat {
            self.trie.touch_all();
            self.flat = flat;
        }
        let buckets = if flat {
            let mut groups: Vec<&Arc<RouteGroup>> = self.everywhere.iter().map(|placed| &placed.0).collect();
            self.trie.collect(&mut groups);
            vec![Arc::new(Bucket { prefix: "".into(), groups: in_order(groups) })]
        } else {
            self.trie.buckets(&self.everywhere)
        };
        self.buckets = Some(buckets.clone());
        buckets
    }
}

fn in_order(mut groups: Vec<&Arc<RouteGroup>>) -> Vec<Arc<RouteGroup>> {
    groups.sort_by(|left, right| (&left.order, &left.id).cmp(&(&right.order, &right.id)));
    groups.into_iter().cloned().collect()
}

/// The path that has to begin a request's raw `:path` for the group to match; `None`: it can match anywhere.
///
/// Prefix and exact matches look at the path without its query, so a text with `?` or `#` in it can never match; it
/// must not become a key of the tree, which looks at the raw path.
fn tree_path(group: &RouteGroup) -> Option<&str> {
    let plain = group.matches.case_sensitive && group.routes.iter().all(|route| route.case_sensitive);
    match &group.matches.path {
        PathMatch::Prefix(path) | PathMatch::Exact(path) if plain && !path.contains(['?', '#']) => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
