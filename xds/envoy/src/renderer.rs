//! The incremental renderer.

use crate::fragments::Fragments;
use crate::list::RenderedList;
use crate::listener::RenderedListener;
use crate::route::GroupCache;
use crate::table::{Lists, RenderedTable, lists_of};
use crate::{cluster, endpoint, secret, wire};
use ahash::AHashMap;
use ir::{Cluster, ListId, Row, RowChanges};
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use xds::{Companions, Delta, Payload, Resource, ResourceType, Version};

/// Settings of the renderer. None so far: everything it needs is in the rows.
#[derive(Clone, Debug, Default)]
pub struct Options {}

/// Turns changed rows into changed resources.
///
/// Holds encoded bytes of everything in force: per route group, bucket, list, virtual host and chain. A batch encodes
/// what it changes, splices the tables and listeners around it, and composes their versions from the hashes of their
/// parts. The same rows give the same versions, whatever came before and in whichever process.
#[derive(Debug, Default)]
pub struct Renderer {
    groups: GroupCache,
    lists: Lists,
    /// Tables that name a list.
    users: AHashMap<ListId, BTreeSet<Arc<str>>>,
    tables: AHashMap<Arc<str>, RenderedTable>,
    listeners: AHashMap<Arc<str>, RenderedListener>,
    published: AHashMap<(ResourceType, Arc<str>), Version>,
}

impl Renderer {
    /// A renderer without rows.
    pub fn new(_options: Options) -> Self {
        Self::default()
    }

    /// Takes the changed rows of a batch; returns the resources whose content changed, and the names that are gone.
    /// Upserts and removals are ordered by type and then as the rows are.
    pub fn apply(&mut self, rows: &RowChanges, batch: u64) -> Delta {
        let mut delta = Delta { batch, ..Delta::default() };
        for (name, row) in &rows.clusters {
            let needs = |row: &Arc<Cluster>| (cluster::companions(row), row.warms());
            self.simple(ResourceType::Cluster, name, row, |row| cluster::message(row), needs, &mut delta);
        }
        for (name, row) in &rows.endpoints {
            self.simple(
                ResourceType::Endpoint,
                name,
                row,
                |row| endpoint::message(row),
                |_| Default::default(),
                &mut delta,
            );
        }
        for (name, row) in &rows.secrets {
            let message = |row: &Arc<_>| secret::message(name, row);
            self.simple(ResourceType::Secret, name, row, message, |_| Default::default(), &mut delta);
        }
        for (name, row) in &rows.listeners {
            self.listener(name, row, &mut delta);
        }
        self.routes(rows, &mut delta);
        self.groups.sweep();
        delta
    }

    /// The route groups that the current version of a resource is made of. Only route tables have any; the others
    /// are made of one row, which their name tells.
    pub fn fragments(&self, kind: ResourceType, name: &str) -> Option<Fragments> {
        match kind {
            ResourceType::Route => self.tables.get(name).map(|table| table.fragments(&self.lists)),
            _ => None,
        }
    }

    /// A resource that is one message.
    fn simple<T, M: Message>(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        row: &Row<T>,
        message: impl Fn(&Arc<T>) -> M,
        needs: impl Fn(&Arc<T>) -> (Companions, bool),
        delta: &mut Delta,
    ) {
        let Some(row) = row else { return self.remove(kind, name, delta) };
        let bytes = message(row).encode_to_vec();
        let version = Version::of_hash(wire::hash(&bytes));
        if self.publish(kind, name, version) {
            let payload = Payload::from(bytes);
            let (companions, warms) = needs(row);
            let resource = Resource { kind, name: name.clone(), version, payload, companions, warms };
            delta.upserts.push(Arc::new(resource));
        }
    }

    fn listener(&mut self, name: &Arc<str>, row: &Row<ir::ListenerRow>, delta: &mut Delta) {
        let former = self.listeners.remove(name);
        let rendered = row.as_ref().map(|row| RenderedListener::new(row.clone(), former));
        let Some(rendered) = rendered.filter(RenderedListener::is_valid) else {
            return self.remove(ResourceType::Listener, name, delta);
        };
        let version = rendered.version();
        if self.publish(ResourceType::Listener, name, version) {
            delta.upserts.push(spliced(ResourceType::Listener, name, version, rendered.payload()));
        }
        self.listeners.insert(name.clone(), rendered);
    }

    fn routes(&mut self, rows: &RowChanges, delta: &mut Delta) {
        // Lists first: what a table refers to has to be there. Removed lists go last for the same reason.
        let mut dirty = BTreeSet::new();
        for (id, row) in &rows.lists {
            let Some(row) = row else { continue };
            let former = self.lists.get(id);
            if former.is_some_and(|former| Arc::ptr_eq(former.row(), row)) {
                continue;
            }
            let list = RenderedList::new(row.clone(), former.map(Arc::as_ref), &mut self.groups);
            let same = former.is_some_and(|former| former.hash() == list.hash());
            if !same && let Some(users) = self.users.get(id) {
                dirty.extend(users.iter().cloned());
            }
            self.lists.insert(id.clone(), Arc::new(list));
        }
        for (id, row) in &rows.lists {
            if row.is_none()
                && self.lists.remove(id).is_some()
                && let Some(users) = self.users.get(id)
            {
                dirty.extend(users.iter().cloned());
            }
        }
        for (name, row) in &rows.tables {
            dirty.remove(name);
            let mut former = self.tables.remove(name);
            if let Some(former) = &former {
                self.forget_user(name, former);
            }
            let Some(row) = row else {
                self.remove(ResourceType::Route, name, delta);
                continue;
            };
            for list in row.virtual_hosts.iter().flat_map(|host| lists_of(&host.body)) {
                self.users.entry(list.clone()).or_default().insert(name.clone());
            }
            let table = RenderedTable::new(row.clone(), former.as_mut(), &self.lists);
            self.tables.insert(name.clone(), table);
            self.publish_table(name, delta);
        }
        for name in dirty {
            let changed = self.tables.get_mut(&name).is_some_and(|table| table.refresh(&self.lists));
            if changed {
                self.publish_table(&name, delta);
            }
        }
    }

    fn publish_table(&mut self, name: &Arc<str>, delta: &mut Delta) {
        let Some(version) = self.tables.get(name).map(RenderedTable::version) else { return };
        if self.publish(ResourceType::Route, name, version)
            && let Some(table) = self.tables.get(name)
        {
            delta.upserts.push(spliced(ResourceType::Route, name, version, table.payload()));
        }
    }

    fn forget_user(&mut self, name: &Arc<str>, table: &RenderedTable) {
        for list in table.row().virtual_hosts.iter().flat_map(|host| lists_of(&host.body)) {
            if let Some(users) = self.users.get_mut(list) {
                users.remove(name);
                if users.is_empty() {
                    self.users.remove(list);
                }
            }
        }
    }

    /// Notes the version of a resource; true when it is another one than before.
    fn publish(&mut self, kind: ResourceType, name: &Arc<str>, version: Version) -> bool {
        self.published.insert((kind, name.clone()), version) != Some(version)
    }

    fn remove(&mut self, kind: ResourceType, name: &Arc<str>, delta: &mut Delta) {
        if self.published.remove(&(kind, name.clone())).is_some() {
            delta.removals.push((kind, name.clone()));
        }
    }
}

fn spliced(kind: ResourceType, name: &Arc<str>, version: Version, payload: Payload) -> Arc<Resource> {
    Arc::new(Resource { kind, name: name.clone(), version, payload, companions: Arc::default(), warms: false })
}
