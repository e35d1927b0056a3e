//! A route that switches to a cluster which Envoy has yet to make ready keeps its old target meanwhile.
//!
//! Everything else can be sent back to back: endpoints follow their cluster on the stream. A name is resolved by Envoy
//! itself, and so is the health of endpoints checked; until then requests to the cluster get 503. Envoy acknowledges clusters
//! when none of them warms, so the acknowledgement of the response with the cluster says that it is ready; something else
//! that does not resolve would withhold it, hence the limit. Nothing but the switched route waits.

use crate::snapshot::Snapshot;
use ir::{Action, Bucket, Cluster, Discovery, ListId, ObjectKey, RouteGroup, RouteList, RowChanges};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a route keeps its old target at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// The routes that are held back, and what they need until they are let go.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// New clusters that warm: until when at most, and the clients that have not acknowledged them.
    warming: BTreeMap<Arc<str>, (Instant, BTreeSet<u64>)>,
    /// By id of the group.
    groups: BTreeMap<Arc<str>, Held>,
    /// Lists with such groups.
    lists: BTreeSet<ListId>,
    /// Removals that wait, as held groups use what they take away.
    removals: RowChanges,
}

#[derive(Debug)]
struct Held {
    old: Arc<RouteGroup>,
    /// What it leads to.
    clusters: Vec<Arc<Cluster>>,
    waits_for: BTreeSet<Arc<str>>,
}

impl Hold {
    /// The rows to render instead of those of a batch; `None` when nothing has to wait. `before` is the snapshot without
    /// the batch. Costs nothing unless a batch brings a cluster that has to warm, or something is held.
    pub(super) fn adjust(&mut self, rows: &RowChanges, before: &Snapshot, now: Instant) -> Option<RowChanges> {
        let clients: BTreeSet<u64> = before.clients.keys().copied().collect();
        if !clients.is_empty() {
            let new = rows.clusters.iter().filter(|(name, row)| {
                row.as_ref().is_some_and(|row| row.warms()) && before.clusters.get(name).is_none()
            });
            let new = new.map(|(name, _)| (name.clone(), (now + PATIENCE, clients.clone())));
            self.warming.extend(new);
        }
        for (name, row) in &rows.clusters {
            if row.is_none() {
                self.warming.remove(name);
            }
        }
        if self.warming.is_empty() && self.groups.is_empty() {
            return None;
        }
        let mut rows = rows.clone();
        rows.lists.retain_mut(|(id, row)| {
            let Some(new) = row else {
                self.lists.remove(id);
                return true;
            };
            let (old, was_held) = (before.lists.get(id), self.lists.contains(id));
            *new = self.list(new, old, before);
            // With everything held that changed, the list is what it was: a large table is not made twice for a switch.
            was_held || old.is_none_or(|old| old != new)
        });
        self.keep_what_is_used(&mut rows);
        Some(rows)
    }

    /// A client has these clusters.
    pub(super) fn acknowledged<'a>(&mut self, client: u64, clusters: impl Iterator<Item = &'a Arc<str>>) {
        for name in clusters {
            if let Some((_, waiting)) = self.warming.get_mut(name) {
                waiting.remove(&client);
            }
        }
    }

    /// A client is gone.
    pub(super) fn disconnected(&mut self, client: u64) {
        self.warming.values_mut().for_each(|(_, waiting)| _ = waiting.remove(&client));
    }

    /// When [`Hold::release`] has to be asked again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.warming.values().map(|(until, _)| *until).min()
    }

    /// Objects whose routes are held back.
    pub(super) fn objects(&self, snapshot: &Snapshot) -> Vec<ObjectKey> {
        let lists = self.lists.iter().filter_map(|id| snapshot.lists.get(id));
        let groups = lists.flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
        let held = groups.filter(|group| self.groups.contains_key(&group.id));
        let keys: BTreeSet<ObjectKey> =
            held.flat_map(|group| &group.routes).map(|route| route.source.clone()).collect();
        keys.into_iter().collect()
    }

    /// The rows of what has waited long enough, and the objects that they come of. `snapshot` has the present rows.
    pub(super) fn release(&mut self, snapshot: &Snapshot, now: Instant) -> Option<(RowChanges, Vec<ObjectKey>)> {
        let done = |(until, waiting): &(Instant, BTreeSet<u64>)| waiting.is_empty() || *until <= now;
        let count = self.warming.len();
        self.warming.retain(|_, state| !done(state));
        if self.warming.len() == count || self.groups.is_empty() {
            return None;
        }
        let waiting_before: BTreeSet<ObjectKey> = self.objects(snapshot).into_iter().collect();
        let warming = &self.warming;
        let groups = self.groups.len();
        self.groups.retain(|_, held| held.waits_for.iter().any(|name| warming.contains_key(name)));
        if self.groups.len() == groups {
            return None;
        }
        let mut rows = RowChanges::default();
        for id in std::mem::take(&mut self.lists) {
            if let Some(list) = snapshot.lists.get(&id) {
                rows.lists.push((id, Some(self.substituted(list))));
            }
        }
        self.keep_what_is_used(&mut rows);
        let waiting: BTreeSet<ObjectKey> = self.objects(snapshot).into_iter().collect();
        Some((rows, waiting_before.difference(&waiting).cloned().collect()))
    }

    /// Finds the groups of a changed list that have to wait, and puts the old ones in their places.
    fn list(&mut self, new: &Arc<RouteList>, old: Option<&Arc<RouteList>>, before: &Snapshot) -> Arc<RouteList> {
        let unchanged = |bucket: &Arc<Bucket>| {
            old.is_some_and(|old| {
                let at = old.buckets.binary_search_by(|other| other.prefix.cmp(&bucket.prefix));
                at.ok().and_then(|at| old.buckets.get(at)).is_some_and(|found| Arc::ptr_eq(found, bucket))
            })
        };
        for bucket in new.buckets.iter().filter(|bucket| !unchanged(bucket)) {
            for group in &bucket.groups {
                let waits_for: BTreeSet<Arc<str>> =
                    targets(group).filter(|name| self.warming.contains_key(*name)).cloned().collect();
                if waits_for.is_empty() {
                    self.groups.remove(&group.id);
                    continue;
                }
                if let Some(held) = self.groups.get_mut(&group.id) {
                    held.waits_for = waits_for;
                    continue;
                }
                let Some(former) = old.and_then(|old| find(old, &group.id)) else { continue };
                // What led there before has nothing to lose.
                if targets(former).any(|name| waits_for.contains(name)) {
                    continue;
                }
                let clusters = targets(former).filter_map(|name| before.clusters.get(name)).cloned().collect();
                self.groups.insert(group.id.clone(), Held { old: former.clone(), clusters, waits_for });
            }
        }
        self.substituted(new)
    }

    fn substituted(&mut self, list: &Arc<RouteList>) -> Arc<RouteList> {
        let is_held = |bucket: &Arc<Bucket>| bucket.groups.iter().any(|group| self.groups.contains_key(&group.id));
        if self.groups.is_empty() || !list.buckets.iter().any(is_held) {
            self.lists.remove(&list.id);
            return list.clone();
        }
        let instead = |group: &Arc<RouteGroup>| self.groups.get(&group.id).map_or(group, |held| &held.old).clone();
        let bucket = |bucket: &Arc<Bucket>| match is_held(bucket) {
            true => {
                let groups = bucket.groups.iter().map(instead).collect();
                Arc::new(Bucket { prefix: bucket.prefix.clone(), groups })
            }
            false => bucket.clone(),
        };
        let buckets = list.buckets.iter().map(bucket).collect();
        let held = RouteList { id: list.id.clone(), implied: list.implied.clone(), buckets };
        self.lists.insert(list.id.clone());
        Arc::new(held)
    }

    /// Takes removals of clusters that held groups lead to out of the rows, and of what those clusters need; what was
    /// taken out before and is not used any more is put back.
    fn keep_what_is_used(&mut self, rows: &mut RowChanges) {
        let clusters: Vec<&Arc<Cluster>> = self.groups.values().flat_map(|held| &held.clusters).collect();
        let used: BTreeSet<Arc<str>> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let endpoints: BTreeSet<Arc<str>> = clusters
            .iter()
            .filter_map(|cluster| match &cluster.discovery {
                Discovery::Endpoints(name) => Some(name.clone()),
                Discovery::Static { .. } | Discovery::Dns { .. } => None,
            })
            .collect();
        let tls = clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
        let secrets: BTreeSet<_> = tls.flat_map(|tls| tls.certificate.iter().chain(&tls.validation)).cloned().collect();
        withhold(&mut rows.clusters, &mut self.removals.clusters, &used);
        withhold(&mut rows.endpoints, &mut self.removals.endpoints, &endpoints);
        withhold(&mut rows.secrets, &mut self.removals.secrets, &secrets);
    }
}

/// Moves removals of used names aside, and the others back. A name that has come back is not removed later.
fn withhold<K: Ord + Clone, V>(
    rows: &mut Vec<(K, Option<Arc<V>>)>,
    aside: &mut Vec<(K, Option<Arc<V>>)>,
    used: &BTreeSet<K>,
) {
    let newer: BTreeSet<K> = rows.iter().map(|(name, _)| name.clone()).collect();
    rows.extend(aside.drain(..).filter(|(name, _)| !newer.contains(name)));
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    let waits = |(name, row): &(K, Option<Arc<V>>)| row.is_none() && used.contains(name);
    aside.extend(rows.iter().filter(|row| waits(row)).cloned());
    rows.retain(|row| !waits(row));
}

/// The clusters that a group leads to.
fn targets(group: &RouteGroup) -> impl Iterator<Item = &Arc<str>> {
    group
        .routes
        .iter()
        .filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Direct { .. } => None,
        })
        .flat_map(|forward| {
            let mirror = forward.options.as_ref().and_then(|options| options.mirror.as_ref());
            std::iter::once(&forward.cluster).chain(mirror.map(|mirror| &mirror.cluster))
        })
}

fn find<'a>(list: &'a RouteList, id: &str) -> Option<&'a Arc<RouteGroup>> {
    list.buckets.iter().flat_map(|bucket| &bucket.groups).find(|group| *group.id == *id)
}

#[cfg(test)]
mod tests;
