//! Groups by path, in a radix tree that is cut into buckets.

use super::{BUCKET, Placed, in_order};
use crate::incr::Set;
use ir::{Bucket, PathMatch, RouteGroup};
use std::collections::BTreeSet;
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
    label: Box<str>,
    /// Groups with exactly this path text.
    own: Option<Set<Placed>>,
    /// By the first character of their labels, no two of which are the same.
    children: Vec<Node>,
    /// Groups here and below.
    count: usize,
    /// Buckets of this node and below, the node's own first; empty when something changed.
    built: Vec<Arc<Bucket>>,
    /// The node's own bucket before the change, to be used again where it turns out equal.
    former: Option<Arc<Bucket>>,
}

impl Trie {
    /// Puts a group in; false when it takes the place of its former self.
    pub fn insert(&mut self, path: &str, group: Placed) -> bool {
        self.root.insert(path, group)
    }

    /// Takes a group out; false when it was not there.
    pub fn remove(&mut self, path: &str, group: &Placed) -> bool {
        self.root.remove(path, group)
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
    pub fn buckets(&mut self, everywhere: &BTreeSet<Placed>) -> Vec<Arc<Bucket>> {
        let mut above: Vec<Arc<RouteGroup>> = everywhere.iter().map(|placed| placed.0.clone()).collect();
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
        for child in &mut self.children {
            child.touch_all();
        }
    }

    fn first(&self) -> Option<char> {
        self.label.chars().next()
    }

    /// Where the child is whose label begins with that character, or where it would be.
    fn position(&self, first: char) -> Result<usize, usize> {
        self.children.binary_search_by_key(&Some(first), Node::first)
    }

    fn own(&self) -> impl Iterator<Item = &Arc<RouteGroup>> {
        self.own.iter().flatten().map(|placed| &placed.0)
    }

    fn insert(&mut self, path: &str, group: Placed) -> bool {
        self.touch();
        let Some(first) = path.chars().next() else {
            // A prefix reaches into every bucket below it, an exact path does not.
            if matches!(group.0.matches.path, PathMatch::Prefix(_)) {
                self.touch_all();
            }
            let replaced = Set::remove(&mut self.own, &group);
            Set::insert(&mut self.own, group);
            self.count += usize::from(!replaced);
            return !replaced;
        };
        let at = self.position(first).unwrap_or_else(|at| {
            self.children.insert(at, Node { label: path.into(), ..Node::default() });
            at
        });
        let Some(child) = self.children.get_mut(at) else { return false };
        let shared = shared_length(&child.label, path);
        if shared < child.label.len() {
            child.split(shared);
        }
        let added = child.insert(path.get(shared..).unwrap_or_default(), group);
        self.count += usize::from(added);
        added
    }

    /// Puts a new node between the parent and this one.
    fn split(&mut self, at: usize) {
        let (upper, lower) = self.label.split_at(at);
        let (upper, lower) = (upper.into(), lower.into());
        let mut below = std::mem::take(self);
        below.label = lower;
        // The bucket keeps its prefix, so it may be used again.
        self.label = upper;
        self.count = below.count;
        self.children.push(below);
    }

    fn remove(&mut self, path: &str, group: &Placed) -> bool {
        let Some(first) = path.chars().next() else {
            if !Set::remove(&mut self.own, group) {
                return false;
            }
            self.touch();
            if matches!(group.0.matches.path, PathMatch::Prefix(_)) {
                self.touch_all();
            }
            self.count -= 1;
            return true;
        };
        let Ok(at) = self.position(first) else { return false };
        let Some(child) = self.children.get_mut(at) else { return false };
        if !path.strip_prefix(&*child.label).is_some_and(|rest| child.remove(rest, group)) {
            return false;
        }
        if child.count == 0 {
            self.children.remove(at);
        } else {
            child.join();
        }
        self.touch();
        self.count -= 1;
        true
    }

    /// Undoes [`Node::split`] where it is not needed any more.
    fn join(&mut self) {
        if self.own.is_some() || self.children.len() != 1 {
            return;
        }
        if let Some(mut only) = self.children.pop() {
            only.label = format!("{}{}", self.label, only.label).into();
            only.touch();
            *self = only;
        }
    }

    fn collect<'a>(&'a self, groups: &mut Vec<&'a Arc<RouteGroup>>) {
        groups.extend(self.own());
        for child in &self.children {
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
        let mut groups: Vec<&Arc<RouteGroup>> = above.iter().chain(self.own()).collect();
        for child in &self.children {
            if !child.first().is_some_and(|first| apart.contains(&first)) {
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
        above.extend(self.own().filter(|group| matches!(group.matches.path, PathMatch::Prefix(_))).cloned());
        for first in apart {
            if let Ok(at) = self.position(first)
                && let Some(child) = self.children.get_mut(at)
            {
                child.build(prefix, above);
                self.built.extend(child.built.iter().cloned());
            }
        }
        above.truncate(outside);
        prefix.truncate(parent);
    }

    /// Children that get buckets of their own: none while all fit into this one, else the largest.
    fn apart(&self) -> Vec<char> {
        let mut room = BUCKET.saturating_sub(self.own.as_ref().map_or(0, Set::len));
        let mut by_size: Vec<(usize, char)> =
            self.children.iter().filter_map(|child| Some((child.count, child.first()?))).collect();
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
