//! Which route groups a version of a route table is made of, for finding out which of them Envoy refuses.

use crate::route::EncodedGroup;
use crate::wire::Composed;
use ahash::AHashSet;
use ir::{PathMatch, RouteGroup};
use std::sync::Arc;

/// A run of groups that is shared, as a whole, by all versions and tables in which it is the same.
#[derive(Debug)]
pub(crate) struct Section {
    /// Prefix of the bucket.
    prefix: Arc<str>,
    groups: Vec<Arc<EncodedGroup>>,
    hash: u64,
}

impl Section {
    /// A section of these groups.
    pub fn new(prefix: Arc<str>, groups: Vec<Arc<EncodedGroup>>) -> Self {
        let mut composed = Composed::new("section");
        groups.iter().for_each(|group| composed.add(group.hash));
        Self { prefix, groups, hash: composed.done() }
    }

    /// Content hash; the prefix is not part of it.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Its groups in order.
    pub fn groups(&self) -> &[Arc<EncodedGroup>] {
        &self.groups
    }

    /// Whether it consists of the very same groups.
    pub fn same_groups(&self, other: &Section) -> bool {
        self.groups.len() == other.groups.len()
            && self.groups.iter().zip(&other.groups).all(|(left, right)| Arc::ptr_eq(left, right))
    }

    fn contains(&self, hash: u64) -> bool {
        self.groups.iter().any(|group| group.hash == hash)
    }
}

/// The sections of one list, ordered by prefix.
pub(crate) type Sections = Arc<[Arc<Section>]>;

/// The content of one version of a route table as references to shared sections. Keeping one for an old version costs
/// the sections that have changed since.
#[derive(Clone, Debug, Default)]
pub struct Fragments {
    lists: Vec<Sections>,
}

impl Fragments {
    pub(crate) fn new(lists: Vec<Sections>) -> Self {
        Self { lists }
    }

    /// All groups with the content hash of their encoded routes. A group that stands in several buckets comes several
    /// times.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<RouteGroup>)> {
        self.sections().flat_map(|section| &section.groups).map(|group| (group.hash, &group.group))
    }

    /// The groups of this version whose encoded routes the older version does not have, each once, in order of
    /// first appearance. The cost follows the sections that differ, not the size of the table.
    pub fn changed_since(&self, older: &Fragments) -> Vec<Arc<RouteGroup>> {
        let same_lists: AHashSet<_> = older.lists.iter().map(Arc::as_ptr).collect();
        let differing = || self.lists.iter().filter(|list| !same_lists.contains(&Arc::as_ptr(list)));
        let same: AHashSet<_> = match differing().next() {
            Some(_) => older.sections().map(Arc::as_ptr).collect(),
            None => AHashSet::new(),
        };
        let mut seen = AHashSet::new();
        let mut changed = Vec::new();
        for section in differing().flat_map(|list| list.iter()).filter(|section| !same.contains(&Arc::as_ptr(section)))
        {
            for group in &section.groups {
                if seen.insert((group.hash, group.group.id.clone())) && !older.contains(group) {
                    changed.push(group.group.clone());
                }
            }
        }
        changed
    }

    fn sections(&self) -> impl Iterator<Item = &Arc<Section>> {
        self.lists.iter().flat_map(|list| list.iter())
    }

    /// Whether encoded routes with that content are in this version. A group is in the bucket that decides for its own
    /// path if it is in any, and one that matches paths of all kinds is in the bucket without a prefix.
    fn contains(&self, group: &EncodedGroup) -> bool {
        let RouteGroup { matches, routes, .. } = &*group.group;
        let by_case = matches.case_sensitive && routes.iter().all(|route| route.case_sensitive);
        let path = match &matches.path {
            PathMatch::Prefix(path) | PathMatch::Exact(path) if by_case => path,
            _ => return self.lists.iter().any(|list| list.first().is_some_and(|rest| rest.contains(group.hash))),
        };
        self.lists.iter().any(|list| deciding(list, path).is_some_and(|section| section.contains(group.hash)))
    }
}

/// The section with the longest prefix of that path.
fn deciding<'a>(list: &'a [Arc<Section>], path: &str) -> Option<&'a Arc<Section>> {
    if let [only] = list {
        return Some(only);
    }
    // Prefixes of one path sort by their length and stand before everything greater than the path, but others may
    // stand between them: try every length, longest first.
    let lengths = (0..=path.len()).rev().filter(|at| path.is_char_boundary(*at));
    lengths.filter_map(|at| path.get(..at)).find_map(|prefix| {
        let at = list.binary_search_by(|section| (*section.prefix).cmp(prefix)).ok()?;
        list.get(at)
    })
}
