//! Groups by path, in a radix tree that is cut into buckets.

use super::{BUCKET, OrderKeyAndId, in_order};
use ir::{Bucket, PathMatch, RouteGroup};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tree. Every edge begins with another character, and no inner node but the root is without groups and with
/// fewer than two children, so the tree is a function of the set of groups.
#[derive(Default)]
pub struct Trie {
    root: Node,
}

#[derive(Default)]
struct Node {
    /// Text between the parent and this node.
    label: String,
    /// Groups with exactly this path text.
    own: BTreeMap<OrderKeyAndId, Arc<RouteGroup>>,
    children: BTreeMap<char, Node>,
    /// Groups here and below.
    count: usize,
    /// Buckets of this node and below, the node's own first; empty when something changed.
    built: Vec<Arc<Bucket>>,
    /// The node's own bucket before the change, to be used again where it turns out equal.
    former: Option<Arc<Bucket>>,
}

impl Trie {
    /// Puts a group in, or in the place of its former self, which it gives back.
    pub fn insert(&mut self, path: &str, key: OrderKeyAndId, group: Arc<RouteGroup>) -> Option<Arc<RouteGroup>> {
        self.root.insert(path, key, group)
    }

    /// Takes a group out.
    pub fn remove(&mut self, path: &str, key: &OrderKeyAndId) -> Option<Arc<RouteGroup>> {
        self.root.remove(path, key)
    }

    /// Every bucket may have changed.
    pub fn touch_all(&mut self) {
        self.root.touch_all();
    }

    /// All groups, in no order.
    pub fn collect<'a>(&'a self, groups: &mut Vec<&'a Arc<RouteGroup>>) {
        self.root.collect(groups);
    }

    /// The buckets, ordered by prefix, each with the groups of `everywhere` in it.
    pub fn buckets(&mut self, everywhere: &BTreeMap<OrderKeyAndId, Arc<RouteGroup>>) -> Vec<Arc<Bucket>> {
        let mut above: Vec<Arc<RouteGroup>> = everywhere.values().cloned().collect();
        self.root.build(&mut String::new(), &mut above);
        let mut buckets = self.root.built.clone();
        buckets.sort_by(|left, right| left.prefix.cmp(&right.prefix));
        buckets
    }
}

impl Node {
    fn touch(&mut self) {
        if let Some(own) = self.built.first() {
            self.former = Some(own.clone());
        }
        self.built.clear();
    }

    fn touch_all(&mut self) {
        self.touch();
        for child in self.children.values_mut() {
            child.touch_all();
        }
    }

    fn insert(&mut self, path: &str, key: OrderKeyAndId, group: Arc<RouteGroup>) -> Option<Arc<RouteGroup>> {
        self.touch();
        let Some(first) = path.chars().next() else {
            // A prefix reaches into every bucket below it, an exact path does not.
            if matches!(group.matches.path, PathMatch::Prefix(_)) {
                self.touch_all();
            }
            let old = self.own.insert(key, group);
            self.count += usize::from(old.is_none());
            return old;
        };
        let child = self.children.entry(first).or_insert_with(|| Node { label: path.to_owned(), ..Node::default() });
        let shared = shared_length(&child.label, path);
        if shared < child.label.len() {
            child.split(shared);
        }
        let old = child.insert(path.get(shared..).unwrap_or_default(), key, group);
        self.count += usize::from(old.is_none());
        old
    }

    /// Puts a new node between the parent and this one.
    fn split(&mut self, at: usize) {
        let (upper, lower) = self.label.split_at(at);
        let (upper, lower) = (upper.to_owned(), lower.to_owned());
        let Some(first) = lower.chars().next() else { return };
        let mut below = std::mem::take(self);
        below.label = lower;
        // The bucket keeps its prefix, so it may be used again.
        self.label = upper;
        self.count = below.count;
        self.children.insert(first, below);
    }

    fn remove(&mut self, path: &str, key: &OrderKeyAndId) -> Option<Arc<RouteGroup>> {
        let Some(first) = path.chars().next() else {
            let old = self.own.remove(key)?;
            self.touch();
            if matches!(old.matches.path, PathMatch::Prefix(_)) {
                self.touch_all();
            }
            self.count -= 1;
            return Some(old);
        };
        let child = self.children.get_mut(&first)?;
        let rest = path.strip_prefix(child.label.as_str())?;
        let old = child.remove(rest, key)?;
        if child.count == 0 {
            self.children.remove(&first);
        } else {
            child.join();
        }
        self.touch();
        self.count -= 1;
        Some(old)
    }

    /// Undoes [`Node::split`] where it is not needed any more.
    fn join(&mut self) {
        if !self.own.is_empty() || self.children.len() != 1 {
            return;
        }
        if let Some((_, mut only)) = self.children.pop_first() {
            only.label.insert_str(0, &self.label);
            only.touch();
            *self = only;
        }
    }

    fn collect<'a>(&'a self, groups: &mut Vec<&'a Arc<RouteGroup>>) {
        groups.extend(self.own.values());
        for child in self.children.values() {
            child.collect(groups);
        }
    }

    /// Makes the buckets of this node and below. `prefix` is the text up to the parent, `above` all groups outside
    /// this node that can match here.
    fn build(&mut self, prefix: &mut String, above: &mut Vec<Arc<RouteGroup>>) {
        if !self.built.is_empty() {
            return;
        }
        let parent = prefix.len();
        prefix.push_str(&self.label);
        let apart = self.apart();
        let mut groups: Vec<&Arc<RouteGroup>> = above.iter().chain(self.own.values()).collect();
        for (first, child) in &self.children {
            if !apart.contains(first) {
                child.collect(&mut groups);
            }
        }
        let groups = in_order(groups);
        let same = |former: &Arc<Bucket>| {
            *former.prefix == **prefix
                && former.groups.len() == groups.len()
                && former.groups.iter().zip(&groups).all(|(old, new)| Arc::ptr_eq(old, new))
        };
        let bucket = match self.former.take().filter(same) {
            Some(former) => former,
            None => Arc::new(Bucket { prefix: prefix.as_str().into(), groups }),
        };
        self.built.push(bucket);
        let outside = above.len();
        above.extend(self.own.values().filter(|group| matches!(group.matches.path, PathMatch::Prefix(_))).cloned());
        for first in apart {
            if let Some(child) = self.children.get_mut(&first) {
                child.build(prefix, above);
                self.built.extend(child.built.iter().cloned());
            }
        }
        above.truncate(outside);
        prefix.truncate(parent);
    }

    /// Children that get buckets of their own: none while all fit into this one, else the largest.
    fn apart(&self) -> Vec<char> {
        let mut room = BUCKET.saturating_sub(self.own.len());
        let mut by_size: Vec<(usize, char)> =
            self.children.iter().map(|(first, child)| (child.count, *first)).collect();
        by_size.sort_unstable();
        let mut apart = Vec::new();
        for (count, first) in by_size {
            match room.checked_sub(count) {
                Some(rest) => room = rest,
                None => apart.push(first),
            }
        }
        apart
    }
}

/// Length in bytes of what two texts have in common, whole characters only.
fn shared_length(left: &str, right: &str) -> usize {
    let differs = left.char_indices().zip(right.chars()).find(|((_, a), b)| a != b);
    differs.map_or(left.len().min(right.len()), |((at, _), _)| at)
}
