//! One batch: inputs, then every stage once.

use crate::change::{Change, Outcome, WantedChanges, WantedName};
use crate::db::{Db, Number, is_listed};
use crate::incr::Reads;
use crate::index;
use crate::object::{Body, Object};
use crate::options::Options;
use crate::stage::list::ListState;
use crate::stage::placement::ListClass;
use crate::stage::settings::Slice;
use crate::stage::{
    attach, endpoint, group, host, listener, parsed, placement, rule, settings, source, tcp, tls, upstream, verdict,
};
use ahash::AHashMap;
use ir::{Kind, ListId, ObjectKey, ProtoVariant, RouteGroup, RowChanges, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The compiler: a pure function from inputs to rows and verdicts that keeps its tables between calls.
///
/// It remembers nothing that its inputs do not say: an empty compiler that gets the same objects, retained versions and
/// refusals in one batch comes to the same rows.
pub struct Compiler {
    db: Db,
    /// What each group put into the lists.
    listed: AHashMap<Arc<str>, Listed>,
}

/// A group as it was put into lists, and the classes of those lists.
type Listed = (Arc<RouteGroup>, Arc<[ListClass]>);

/// Collects what one batch changes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) groups: Vec<Arc<str>>,
    pub(crate) lists: BTreeSet<Arc<str>>,
    pub(crate) wanted: BTreeMap<WantedName, bool>,
    pub(crate) retain: Vec<ObjectKey>,
    pub(crate) rows: RowKeys,
    panics: u32,
    rows_run: u32,
}

/// Keys of rows that left the compiler's tables differently than they were.
#[derive(Default)]
pub(crate) struct RowKeys {
    pub(crate) listeners: Vec<(Arc<str>, ObjectKey)>,
    /// A name can move from one chain to another within a batch, so all chains that had or have it are kept.
    pub(crate) tables: BTreeMap<Arc<str>, BTreeSet<attach::ChainId>>,
    pub(crate) lists: Vec<ListId>,
    pub(crate) clusters: BTreeMap<Arc<str>, Option<Arc<upstream::Upstream>>>,
    pub(crate) endpoints: Vec<(Arc<str>, endpoint::EndpointKey)>,
    pub(crate) secrets: Vec<(Arc<str>, tls::SdsKey)>,
    pub(crate) verdicts: Vec<ObjectKey>,
    pub(crate) readiness: Vec<endpoint::EndpointKey>,
}

/// Each once, in order. A cold start has ten thousand of them, which are cheaper to sort once than to keep sorted.
fn in_order<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

/// Re-runs the dirty rows of a table. Gives the keys whose rows differ now, with the rows they had.
macro_rules! pass {
    ($self:ident, $batch:ident, $table:ident, $row:expr) => {{
        let mut changed = Vec::new();
        // The code of other tables stays unread; see [`Compiler::apply`].
        let is_dirty = $self.db.$table.is_dirty(&$self.db.graph);
        for (key, slot, node) in is_dirty.then(|| $self.db.$table.take_dirty(&$self.db.graph)).into_iter().flatten() {
            let reads = Reads::default();
            let db = &$self.db;
            // A row function that panics is a defect; it costs its row and nothing else.
            let row = catch_unwind(AssertUnwindSafe(|| $row(db, &reads, &key))).unwrap_or_else(|_| {
                $batch.panics += 1;
                None
            });
            $batch.rows_run += 1;
            if let Some(old) = $self.db.$table.finish(&$self.db.graph, slot, node, reads, row) {
                changed.push((key, old));
            }
        }
        changed
    }};
}

/// The Service that a slice belongs to.
fn service_of(slice: &Option<Arc<Object>>) -> Option<&str> {
    match slice.as_ref().map(|slice| &slice.body) {
        Some(Body::EndpointSlice(decoded)) => decoded.value.as_ref().ok().map(|slice| slice.service.as_str()),
        _ => None,
    }
}

impl Compiler {
    /// A compiler without inputs. Its first batch also reports what is always wanted.
    pub fn new(options: Options) -> Self {
        let db = Db::new(options);
        for slice in Slice::ALL {
            db.settings.pin(&db.graph, &slice);
        }
        for key in rule::probe_keys(&db.options.namespace) {
            db.rules.pin(&db.graph, &key);
        }
        db.hosts.pin(&db.graph, &db.default_host_key());
        Self { db, listed: AHashMap::new() }
    }

    /// A compiler that comes to the same rows and verdicts by the same inputs, compiled from scratch. Tables and the graph
    /// keep the room of their largest day; this one has the room that it needs.
    pub fn renewed(&self) -> Self {
        let db = &self.db;
        let objects = db.objects.iter().map(|(_, object)| Change::Put(object.clone()));
        let retained = db.retained.iter().map(|(key, version)| Change::Retained(key, Some(version.clone())));
        let refusals = db.refusals.iter().map(|(key, refusal)| Change::Refusal(key, Some(refusal.clone())));
        let files = db.files.iter().map(|(path, content)| Change::File(path, Some(content.clone())));
        let mut new = Self::new(db.options.clone());
        new.apply(objects.chain(retained).chain(refusals).chain(files).collect());
        new
    }

    /// What the environment fixed.
    pub fn options(&self) -> &Options {
        &self.db.options
    }

    /// Takes a batch of changes and re-runs what depends on them. The order within the batch does not matter, except
    /// that of several changes of one input the last counts.
    pub fn apply(&mut self, changes: Vec<Change>) -> Outcome {
        let mut batch = Batch::default();
        for change in changes {
            self.input(change);
        }
        self.objects(&mut batch);
        // A small batch concerns a few of sixty tables. What runs once after a pause costs as much as the memory that it
        // touches, and the code of all passes is a good part of what an endpoint costs.
        if self.db.is_dirty(Number::contexts, Number::guards) {
            self.infrastructure(&mut batch);
        }
        if self.db.is_dirty(Number::rules, Number::placements) {
            self.routes(&mut batch);
        }
        if self.db.is_dirty(Number::bodies, Number::listeners) || !batch.lists.is_empty() {
            self.tables(&mut batch);
        }
        self.destinations(&mut batch);
        for (key, _) in pass!(self, batch, verdicts, verdict::row) {
            batch.rows.verdicts.push(key);
        }
        self.db.sweep();
        self.outcome(batch)
    }

    fn input(&mut self, change: Change) {
        let db = &mut self.db;
        match change {
            Change::Put(object) => {
                let key = object.key.clone();
                self.put(key, Some(object));
            }
            Change::Gone(key) => self.put(key, None),
            Change::Retained(key, version) => {
                db.retained.set(&db.graph, &key, version);
            }
            Change::Refusal(key, refusal) => {
                db.refusals.set(&db.graph, &key, refusal);
            }
            Change::File(path, content) => {
                db.files.set(&db.graph, &path, content);
            }
        }
    }

    fn put(&mut self, key: ObjectKey, object: Option<Arc<Object>>) {
        let db = &mut self.db;
        let bears = |object: &Option<Arc<Object>>| object.as_deref().is_some_and(source::bears);
        let Some(old) = db.objects.set(&db.graph, &key, object.clone()) else { return };
        if key.kind.is_custom() {
            db.source.mark(&db.graph, &key);
        }
        if bears(&object) || bears(&old) {
            db.declared.mark(&db.graph, &key);
        }
        if key.kind == Kind::EndpointSlice {
            let (old, new) = (service_of(&old), service_of(&object));
            if old != new {
                let entry = |service: Option<&str>| {
                    service.map(|service| ((key.namespace.clone(), Arc::from(service)), key.clone())).into_iter()
                };
                db.slices_of.update(&db.graph, entry(old), entry(new));
            }
        }
    }

    /// From inputs to judged objects.
    fn objects(&mut self, batch: &mut Batch) {
        for (key, old) in pass!(self, batch, declared, source::declared) {
            index::declared(&mut self.db, &key, old);
        }
        for (key, _) in pass!(self, batch, source, source::source) {
            self.db.parsed.mark(&self.db.graph, &key);
            self.db.verdicts.mark(&self.db.graph, &key);
            batch.retain.push(key);
        }
        for (key, old) in pass!(self, batch, parsed, parsed::row) {
            index::parsed(&mut self.db, batch, &key, old);
            batch.retain.push(key);
        }
        pass!(self, batch, settings, settings::row);
    }

    /// Listeners, Hosts, and who takes whom.
    fn infrastructure(&mut self, batch: &mut Batch) {
        for (key, old) in pass!(self, batch, contexts, tls::context) {
            index::context(&mut self.db, batch, &key, old);
        }
        for (key, old) in pass!(self, batch, hosts, host::row) {
            index::host(&mut self.db, batch, &key, old);
        }
        for (key, _) in pass!(self, batch, bound, attach::bound) {
            self.db.listeners.mark(&self.db.graph, &key);
        }
        for (key, old) in pass!(self, batch, attachments, attach::attachments) {
            index::attachments(&mut self.db, &key, old);
        }
        pass!(self, batch, chain_owners, attach::chain_owner);
        for (key, _) in pass!(self, batch, domains, attach::domain) {
            index::domain(&mut self.db, &key);
        }
        for (key, old) in pass!(self, batch, guards, attach::guard) {
            index::guard(&mut self.db, &key, old);
        }
    }

    /// Mappings, groups, and the lists that they are in.
    fn routes(&mut self, batch: &mut Batch) {
        for (key, old) in pass!(self, batch, rules, rule::row) {
            index::rule(&mut self.db, &key, old);
        }
        for (key, old) in pass!(self, batch, tcp_rules, tcp::rule) {
            index::tcp_rule(&mut self.db, &key, old);
        }
        for (id, old) in pass!(self, batch, groups, group::row) {
            index::group(&mut self.db, &id, old);
            batch.groups.push(id);
        }
        for (key, old) in pass!(self, batch, classes_of, placement::class) {
            index::class(&mut self.db, batch, &key, old);
        }
        for (id, _) in pass!(self, batch, placements, placement::placement) {
            batch.groups.push(id);
        }
        // Both passes have the same copy of an id, and whose turn it is changes nothing. By their addresses they come as they
        // were made, as do the rows that belong to them; texts would have to be read from all over the memory to sort them.
        let mut groups = std::mem::take(&mut batch.groups);
        groups.sort_unstable_by_key(|id| id.as_ptr());
        groups.dedup_by(|left, right| Arc::ptr_eq(left, right));
        for id in groups {
            self.place(batch, id);
        }
    }

    /// Moves a group from the lists that it was in to those that it belongs to now.
    fn place(&mut self, batch: &mut Batch, id: Arc<str>) {
        let group = self.db.groups.peek(&id).and_then(|row| row.group.clone());
        let classes = self.db.placements.peek(&id).cloned();
        let new = group.zip(classes);
        let old = self.listed.remove(&id);
        if let Some((group, classes)) = &old {
            for class in classes.iter() {
                if let Some(list) = self.db.lists.get_mut(&class.text) {
                    list.remove(group);
                    batch.lists.insert(class.text.clone());
                }
            }
        }
        if let Some((group, classes)) = &new {
            for class in classes.iter() {
                self.db.lists.entry(class.text.clone()).or_insert_with(|| ListState::new(class)).insert(group);
                batch.lists.insert(class.text.clone());
            }
        }
        if let Some(new) = new {
            self.listed.insert(id, new);
        }
    }

    /// Chains, route tables, route lists, listeners.
    fn tables(&mut self, batch: &mut Batch) {
        for (key, old) in pass!(self, batch, bodies, attach::body) {
            index::body(&mut self.db, &key, old);
        }
        for (id, _) in pass!(self, batch, populated, attach::populated) {
            index::populated(&mut self.db, &id);
        }
        pass!(self, batch, chains, attach::chain);
        for (id, old) in pass!(self, batch, tables, attach::table) {
            index::table(&mut self.db, batch, &id, old);
        }
        for class in std::mem::take(&mut batch.lists) {
            self.list(batch, &class);
        }
        for (id, old) in pass!(self, batch, tcp_groups, tcp::group) {
            index::tcp_group(&mut self.db, &id, old);
        }
        for (key, _) in pass!(self, batch, listeners, listener::row) {
            batch.rows.listeners.push((tcp::listener_name(&key), key));
        }
    }

    /// Brings the lists of one class up to date, in those variants that a table uses.
    fn list(&mut self, batch: &mut Batch, class: &Arc<str>) {
        let mut used = false;
        for variant in ProtoVariant::ALL {
            let id = ListId { class: class.clone(), variant };
            let in_use = self.db.list_users.peek(&id).is_some();
            used |= in_use;
            let list = self.db.lists.get_mut(class).filter(|_| in_use).map(|list| Arc::new(list.list(variant)));
            if self.db.route_lists.set(&self.db.graph, &id, list).is_some() {
                batch.rows.lists.push(id);
            }
        }
        if !used && self.db.lists.get(class).is_some_and(ListState::is_empty) {
            self.db.lists.remove(class);
        }
    }

    /// Clusters, endpoints, certificates.
    fn destinations(&mut self, batch: &mut Batch) {
        for (key, old) in pass!(self, batch, upstreams, upstream::row) {
            index::upstream(&mut self.db, batch, &key, old);
        }
        pass!(self, batch, backends, upstream::backend);
        for (key, _) in pass!(self, batch, endpoints, endpoint::row) {
            batch.rows.endpoints.push((endpoint::name(&key), key));
        }
        for (key, _) in pass!(self, batch, readiness, endpoint::readiness) {
            batch.rows.readiness.push(key);
        }
        for (key, _) in pass!(self, batch, sds, tls::sds) {
            batch.rows.secrets.push((key.name(), key));
        }
    }

    fn outcome(&mut self, batch: Batch) -> Outcome {
        let db = &self.db;
        let keys = batch.rows;
        let rows = RowChanges {
            listeners: in_order(keys.listeners)
                .into_iter()
                .map(|(name, key)| (name, db.listeners.peek(&key).cloned()))
                .collect(),
            tables: keys.tables.into_iter().map(|(name, ids)| self.table_row(name, &ids)).collect(),
            lists: in_order(keys.lists).into_iter().map(|id| (id.clone(), db.route_lists.peek(&id).cloned())).collect(),
            clusters: keys
                .clusters
                .into_iter()
                .map(|(name, key)| (name, key.and_then(|key| db.upstreams.peek(&key).cloned())))
                .collect(),
            endpoints: in_order(keys.endpoints)
                .into_iter()
                .map(|(name, key)| (name, db.endpoints.peek(&key).cloned()))
                .collect(),
            secrets: in_order(keys.secrets)
                .into_iter()
                .map(|(name, key)| (name, db.sds.peek(&key).and_then(|row| row.secret.clone())))
                .collect(),
        };
        let verdicts =
            in_order(keys.verdicts).into_iter().map(|key| (key.clone(), db.verdicts.peek(&key).cloned())).collect();
        let readiness = in_order(keys.readiness)
            .into_iter()
            .map(|key| (endpoint::name(&key), db.readiness.peek(&key).copied()))
            .collect();
        let mut wanted = WantedChanges::default();
        for (name, added) in batch.wanted {
            if added { wanted.added.push(name) } else { wanted.removed.push(name) }
        }
        let retain = in_order(batch.retain).into_iter().filter_map(|key| {
            let accepted = db.parsed.peek(&key).is_some_and(|row| row.accepted);
            match db.source.peek(&key) {
                Some(source) if accepted => Some((key, Some(source.object.clone()))),
                Some(_) => None,
                None => Some((key, None)),
            }
        });
        Outcome {
            rows,
            verdicts,
            readiness,
            wanted,
            retain: retain.collect(),
            panics: batch.panics,
            rows_run: batch.rows_run,
        }
    }

    /// A chain that changed its owner has a table under another name; the row under the former name is gone.
    fn table_row(&self, name: Arc<str>, ids: &BTreeSet<attach::ChainId>) -> (Arc<str>, ir::Row<ir::RouteTable>) {
        let row = ids.iter().find_map(|id| self.db.tables.peek(id).filter(|table| table.name == name)).cloned();
        (name, row)
    }

    /// All rows, as an empty renderer would have to get them.
    pub fn rows(&self) -> RowChanges {
        let db = &self.db;
        let mut rows = RowChanges {
            listeners: db.listeners.iter().map(|(_, row)| (row.name.clone(), Some(row.clone()))).collect(),
            tables: db.tables.iter().map(|(_, row)| (row.name.clone(), Some(row.clone()))).collect(),
            lists: db.route_lists.iter().map(|(id, row)| (id, Some(row.clone()))).collect(),
            clusters: db.upstreams.iter().map(|(_, row)| (row.name.clone(), Some(row.clone()))).collect(),
            endpoints: db.endpoints.iter().map(|(_, row)| (row.name.clone(), Some(row.clone()))).collect(),
            secrets: db.sds.iter().filter_map(|(key, row)| Some((key.name(), Some(row.secret.clone()?)))).collect(),
        };
        rows.listeners.sort_by(|left, right| left.0.cmp(&right.0));
        rows.tables.sort_by(|left, right| left.0.cmp(&right.0));
        rows.lists.sort_by(|left, right| left.0.cmp(&right.0));
        rows.clusters.sort_by(|left, right| left.0.cmp(&right.0));
        rows.endpoints.sort_by(|left, right| left.0.cmp(&right.0));
        rows.secrets.sort_by(|left, right| left.0.cmp(&right.0));
        rows
    }

    /// All judgements, sorted by object.
    pub fn verdicts(&self) -> Vec<Arc<Verdict>> {
        let mut all: Vec<Arc<Verdict>> = self.db.verdicts.iter().map(|(_, row)| row.clone()).collect();
        all.sort_by(|left, right| left.about.cmp(&right.about));
        all
    }

    /// The object in force for a key: from a resource or an annotation.
    pub fn object(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.db.source.peek(key).map(|source| source.object.clone())
    }

    /// The version of an object that was handed in as its last accepted one.
    pub fn retained(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.db.retained.peek(key).cloned()
    }

    /// Mappings that make a cluster necessary, sorted.
    pub fn users_of_cluster(&self, name: &str) -> Vec<ObjectKey> {
        let upstreams = self.db.upstreams.iter().filter(|(_, row)| *row.name == *name);
        let groups = upstreams.filter_map(|(key, _)| self.db.upstream_users.peek(&key)).flatten();
        let mut users: Vec<ObjectKey> = groups
            .filter_map(|id| self.db.members.peek(id))
            .flatten()
            .filter(|key| !verdict::is_probe(key))
            .cloned()
            .collect();
        users.sort();
        users.dedup();
        users
    }

    /// Hosts and TLSContexts that name an SDS resource, sorted.
    pub fn users_of_secret(&self, name: &str) -> Vec<ObjectKey> {
        let keys = self.db.sds.iter().filter(|(key, _)| *key.name() == *name);
        let mut users: Vec<ObjectKey> =
            keys.filter_map(|(key, _)| self.db.sds_users.peek(&key)).flatten().cloned().collect();
        users.sort();
        users.dedup();
        users
    }

    /// A Listener with the Hosts and TCPMappings on it, by the name of the Envoy listener.
    pub fn objects_of_listener(&self, name: &str) -> Vec<ObjectKey> {
        let Some((key, _)) = self.db.listeners.iter().find(|(_, row)| *row.name == *name) else { return Vec::new() };
        let mut objects: Vec<ObjectKey> = self
            .db
            .attachments
            .iter()
            .filter(|(_, attached)| attached.chains.iter().any(|chain| chain.0 == key))
            .map(|(host, _)| host)
            .collect();
        let bind = self.db.listeners.peek(&key).map(|row| (row.bind.address.clone(), row.bind.port));
        let groups = bind.and_then(|bind| self.db.tcp_chains.peek(&bind)).into_iter().flatten();
        objects.extend(groups.filter_map(|id| self.db.members.peek(id)).flatten().cloned());
        objects.extend((!key.namespace.is_empty()).then_some(key));
        objects.sort();
        objects
    }

    /// Rows that exist or are looked at; what memory follows.
    pub fn nodes(&self) -> usize {
        self.db.graph.len()
    }

    /// Whether an object of that kind can be read as a whole by a row.
    pub fn is_listed(kind: Kind) -> bool {
        is_listed(kind)
    }
}
