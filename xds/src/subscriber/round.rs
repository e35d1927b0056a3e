//! What is sent next, in the order in which Envoy must read it.
//!
//! Make before break, pipelined: clusters, their endpoints and secrets, other endpoints and secrets, listeners, filter
//! configurations, route tables. Envoy handles a stream in order, so nothing of this waits for an ACK of a type before
//! it, except at the beginning of a stream, for clusters that warm. What is switched off does wait: tables for the
//! listeners, clusters and their endpoints for the tables too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Subscriber;
use super::subscription::Target;
use crate::resource::{Resource, ResourceType};
use crate::store::State;
use crate::wire::Response;

/// Size at which a response of many resources is closed and another begun.
const RESPONSE_BYTES: usize = 4 << 20;
const ENDPOINTS_PER_RESPONSE: usize = 1000;
/// Endpoints and secrets are cheap for Envoy: only a bulk change waits for answers.
const BULK_BYTES: usize = 1 << 20;
const BULK_NAMES: usize = 1000;
/// Rounds in which a large table may be overtaken by small ones before it has its turn.
const PATIENCE: u32 = 32;
/// How long what names clusters waits for those that a stream begins with and that have to warm. Something that does not
/// resolve withholds the acknowledgement for a minute, hence the limit; everything is answered within a second.
const WARMING: Duration = Duration::from_millis(800);
/// With more tables than this waiting, they are looked at again only when half the bytes in flight are answered.
const FEW_TABLES: usize = 64;

impl Subscriber {
    /// Everything that may be sent now.
    pub(super) fn round(&mut self, state: &State, now: Duration) -> Vec<Response> {
        let mut out = Vec::new();
        self.next_release = None;
        let lingering = self.lingering_endpoints();
        lingering.iter().for_each(|name| self.table_mut(ResourceType::Endpoint).excuse(name));
        self.clusters(state, now, &mut out);
        self.endpoints(state, &mut out);
        self.secrets(state, &mut out);
        if !self.awaits_clusters() {
            self.listeners(state, &mut out);
            self.one_each(ResourceType::ExtensionConfig, state, &mut out);
            let ending = self.released(ResourceType::Route, now, &BTreeSet::new());
            self.table_mut(ResourceType::Route).dirty.extend(ending);
            self.one_each(ResourceType::Route, state, &mut out);
        }
        self.cluster_removals(state, now, &mut out);
        let ending = self.released(ResourceType::Endpoint, now, &lingering);
        if !ending.is_empty() {
            self.table_mut(ResourceType::Endpoint).dirty.extend(ending);
            self.endpoints(state, &mut out);
        }
        out
    }

    /// Additions and changes, each response followed by what its clusters wait for. Never held back by ACKs: Envoy
    /// withholds those of CDS while any cluster warms.
    fn clusters(&mut self, state: &State, now: Duration, out: &mut Vec<Response>) {
        let kind = ResourceType::Cluster;
        let names = std::mem::take(&mut self.table_mut(kind).dirty);
        let (mut resources, removed) = self.targets(kind, &names, state);
        // An Envoy that starts asks for listeners when all clusters of the first answer are warm. It holds everything that
        // is ready at once, and nothing else: a single name that nobody resolves would keep all listeners away for a minute.
        let first = self.table(kind).responses == 0;
        let is_late = |resource: &mut Arc<Resource>| first && resource.warms && self.table(kind).is_new(&resource.name);
        let late: Vec<_> = resources.extract_if(.., is_late).collect();
        let limit = if first { usize::MAX } else { RESPONSE_BYTES };
        self.send_clusters(resources, limit, state, out);
        if !removed.is_empty() || self.table(kind).answer_due {
            self.send(kind, vec![], removed, state, out);
        }
        if let Some(nonce) = self.send_clusters(late, RESPONSE_BYTES, state, out) {
            self.warming = Some((nonce, now + WARMING));
        }
    }

    /// Returns the nonce of the last response with clusters.
    fn send_clusters(
        &mut self,
        resources: Vec<Arc<Resource>>,
        limit: usize,
        state: &State,
        out: &mut Vec<Response>,
    ) -> Option<u64> {
        let kind = ResourceType::Cluster;
        let mut last = None;
        for chunk in self.chunks(kind, resources, limit, usize::MAX) {
            self.send(kind, chunk.clone(), vec![], state, out);
            last = Some(self.last_nonce);
            self.companions(&chunk, state, out);
        }
        last
    }

    /// Endpoints and secrets of clusters that were just sent, even when unchanged: a changed cluster warms until it is
    /// sent its assignment again, and Envoy does not ask for a name it is subscribed to.
    fn companions(&mut self, clusters: &[Arc<Resource>], state: &State, out: &mut Vec<Response>) {
        let mut endpoints = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        for cluster in clusters {
            for (kind, name) in cluster.companions.iter() {
                let names = if *kind == ResourceType::Secret { &mut secrets } else { &mut endpoints };
                names.insert(name.clone());
                self.table_mut(*kind).add_companion(name);
            }
            self.release_companions(&cluster.name);
            if !cluster.companions.is_empty() {
                self.companions.insert(cluster.name.clone(), cluster.companions.clone());
            }
        }
        self.keep_back_refused(ResourceType::Endpoint, &mut endpoints, state);
        self.keep_back_refused(ResourceType::Secret, &mut secrets, state);
        self.send_endpoints(&endpoints, state, out);
        self.send_secrets(&secrets, state, out);
    }

    /// What the client refused is not pushed at it again, but it counts as missing.
    fn keep_back_refused(&mut self, kind: ResourceType, names: &mut BTreeSet<Arc<str>>, state: &State) {
        let table = self.table_mut(kind);
        let refused = names.extract_if(.., |name| table.is_refused(state, name));
        let refused: Vec<_> = refused.collect();
        refused.iter().for_each(|name| table.evaluate(state, name, 0));
    }

    fn release_companions(&mut self, cluster: &str) {
        if let Some(companions) = self.companions.remove(cluster) {
            companions.iter().for_each(|(kind, name)| self.table_mut(*kind).drop_companion(name));
        }
    }

    fn endpoints(&mut self, state: &State, out: &mut Vec<Response>) {
        let names = self.ungated(ResourceType::Endpoint, state);
        self.send_endpoints(&names, state, out);
    }

    fn secrets(&mut self, state: &State, out: &mut Vec<Response>) {
        let names = self.ungated(ResourceType::Secret, state);
        self.send_secrets(&names, state, out);
    }

    /// The dirty names of a cheap type that may go out now: all of them, unless many are unanswered.
    fn ungated(&self, kind: ResourceType, state: &State) -> BTreeSet<Arc<str>> {
        let table = self.table(kind);
        let (mut bytes, mut names) = (table.bytes_in_flight, table.names_in_flight);
        let fits = |name: &&Arc<str>| {
            let fits = bytes < BULK_BYTES && names < BULK_NAMES;
            bytes += state.get(kind, name).map_or(0, |resource| resource.payload.len());
            names += 1;
            fits
        };
        table.dirty.iter().take_while(fits).cloned().collect()
    }

    fn send_endpoints(&mut self, names: &BTreeSet<Arc<str>>, state: &State, out: &mut Vec<Response>) {
        let kind = ResourceType::Endpoint;
        let (resources, removed) = self.targets(kind, names, state);
        for chunk in self.chunks(kind, resources, BULK_BYTES, ENDPOINTS_PER_RESPONSE) {
            self.send(kind, chunk, vec![], state, out);
        }
        if !removed.is_empty() {
            self.send(kind, vec![], removed, state, out);
        }
    }

    /// One secret in each response: a refusal does not name it, and would keep those behind it from being applied.
    fn send_secrets(&mut self, names: &BTreeSet<Arc<str>>, state: &State, out: &mut Vec<Response>) {
        let kind = ResourceType::Secret;
        let (resources, removed) = self.targets(kind, names, state);
        for secret in resources {
            self.send(kind, vec![secret], vec![], state, out);
        }
        if !removed.is_empty() {
            self.send(kind, vec![], removed, state, out);
        }
    }

    /// Listeners are dear for Envoy: at most one unanswered response, with whatever comes meanwhile merged.
    fn listeners(&mut self, state: &State, out: &mut Vec<Response>) {
        let kind = ResourceType::Listener;
        let table = self.table_mut(kind);
        if table.pending() > 0 || !table.answer_due && table.dirty.is_empty() {
            return;
        }
        let names = std::mem::take(&mut table.dirty);
        let (resources, removed) = self.targets(kind, &names, state);
        self.send(kind, resources, removed, state, out);
    }

    /// Route tables and extension configurations: each in its own response, so that a refusal has one culprit; none
    /// while one with its name is unanswered; small ones first, and of those of like size the one that waits longest;
    /// limited bytes in flight.
    fn one_each(&mut self, kind: ResourceType, state: &State, out: &mut Vec<Response>) {
        let limit = self.limits.max_bytes_in_flight;
        let table = self.table(kind);
        if table.dirty.is_empty() {
            *self.passed_over.get_mut(kind) = 0;
            return;
        }
        if table.dirty.len() > FEW_TABLES && table.bytes_in_flight > limit / 2 {
            return;
        }
        let starved = *self.passed_over.get(kind) >= PATIENCE;
        let ready = table.dirty.iter().filter(|name| !table.in_flight(name)).map(|name| {
            let len = state.get(kind, name).map_or(0, |resource| resource.payload.len());
            // When large ones starve, the largest is first, as soon as nothing is in flight.
            let class = if starved { usize::MAX - size_class(len) } else { size_class(len) };
            (class, table.waits_since(name), len, name.clone())
        });
        let mut ready: Vec<(usize, u64, usize, Arc<str>)> = ready.collect();
        ready.sort_unstable();
        let (mut passed_over, mut sent) = (false, false);
        for (_, _, len, name) in ready {
            let in_flight = self.table(kind).bytes_in_flight;
            if in_flight > 0 && (starved || in_flight + len > limit) {
                passed_over = true;
                break;
            }
            sent = true;
            match self.table(kind).target(state, &name) {
                Target::Resource(resource) => self.send(kind, vec![resource], vec![], state, out),
                Target::Removal => self.send(kind, vec![], vec![name], state, out),
            }
        }
        let rounds = self.passed_over.get_mut(kind);
        *rounds = if passed_over && !(starved && sent) { rounds.saturating_add(1) } else { 0 };
    }

    /// Clusters leave alone, when all that could name them is acknowledged without them. Those that were refused and
    /// never lived leave at once: nothing can use them, and Envoy's warming list would keep them.
    fn cluster_removals(&mut self, state: &State, now: Duration, out: &mut Vec<Response>) {
        let kind = ResourceType::Cluster;
        let mut names = std::mem::take(&mut self.table_mut(kind).doomed);
        names.extend(self.released(kind, now, &BTreeSet::new()));
        if !names.is_empty() {
            names.iter().for_each(|name| self.release_companions(name));
            self.send(kind, vec![], names.into_iter().collect(), state, out);
        }
    }

    /// The names of a type that are to be switched off and that nothing uses any more: all that could name them is
    /// acknowledged in a form without them, and requests that were routed before have had time to leave.
    fn released(&mut self, kind: ResourceType, now: Duration, lingering: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        if self.table(kind).leaving.is_empty() || !self.users_are_known(kind) {
            return BTreeSet::new();
        }
        let oldest = users(kind).iter().filter_map(|user| self.table(*user).horizon.oldest()).min();
        // A table leaves with its listener, which Envoy drains by itself; endpoints whose cluster stays leave at once.
        let limit = self.limits.linger;
        let lingers = |name| kind == ResourceType::Cluster || lingering.contains(name);
        let (mut names, mut next) = (BTreeSet::new(), self.next_release);
        for (name, leaving) in &mut self.table_mut(kind).leaving {
            if oldest.is_some_and(|oldest| leaving.batch >= oldest) {
                continue;
            }
            let linger = if lingers(name) { limit } else { Duration::ZERO };
            let at = *leaving.unused_since.get_or_insert(now) + linger;
            if at <= now {
                names.insert(name.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.next_release = next;
        names
    }

    /// Endpoints that leave together with their clusters.
    fn lingering_endpoints(&self) -> BTreeSet<Arc<str>> {
        if self.limits.linger.is_zero() || self.table(ResourceType::Endpoint).leaving.is_empty() {
            return BTreeSet::new();
        }
        let clusters = self.table(ResourceType::Cluster).leaving.keys();
        let companions = clusters.filter_map(|name| self.companions.get(name)).flat_map(|found| found.iter());
        companions.filter(|(kind, _)| *kind == ResourceType::Endpoint).map(|(_, name)| name.clone()).collect()
    }

    /// A reconnected client names its clusters before the tables that may still route to some that are gone.
    fn users_are_known(&self, kind: ResourceType) -> bool {
        let asker = if kind == ResourceType::Route { ResourceType::Listener } else { ResourceType::Route };
        !self.claims() || self.introduction_ends.is_none() || self.table(asker).requested
    }

    /// What to send for each name: resources, or the removal of the name.
    fn targets(
        &self,
        kind: ResourceType,
        names: &BTreeSet<Arc<str>>,
        state: &State,
    ) -> (Vec<Arc<Resource>>, Vec<Arc<str>>) {
        let (mut resources, mut removed) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            match self.table(kind).target(state, name) {
                Target::Resource(resource) => resources.push(resource),
                Target::Removal => removed.push(name.clone()),
            }
        }
        (resources, removed)
    }

    /// Cuts a list of resources into responses, those apart that were refused together with others.
    fn chunks(
        &self,
        kind: ResourceType,
        resources: Vec<Arc<Resource>>,
        max_bytes: usize,
        max_count: usize,
    ) -> Vec<Vec<Arc<Resource>>> {
        let table = self.table(kind);
        let mut apart: BTreeMap<usize, Vec<Arc<Resource>>> = BTreeMap::new();
        let mut plain = Vec::with_capacity(resources.len());
        for resource in resources {
            match table.most(&resource.name) {
                0 => plain.push(resource),
                most => apart.entry(most).or_default().push(resource),
            }
        }
        let mut all = chunks(plain, max_bytes, max_count);
        all.extend(apart.into_iter().flat_map(|(most, resources)| chunks(resources, max_bytes, most)));
        all
    }

    fn send(
        &mut self,
        kind: ResourceType,
        resources: Vec<Arc<Resource>>,
        removed: Vec<Arc<str>>,
        state: &State,
        out: &mut Vec<Response>,
    ) {
        self.last_nonce += 1;
        let response = Response { kind, nonce: self.last_nonce, batch: state.batch(), resources, removed };
        self.table_mut(kind).book(&response);
        out.push(response);
    }
}

/// Tables of one class take their turns; those of a lower one overtake them. A class spans a factor of four, so that a byte
/// more or less, which a name makes, does not put one of many equal tables last whenever all of them change.
fn size_class(len: usize) -> usize {
    len.checked_ilog(4).map_or(0, |class| class as usize)
}

/// The types whose resources may name those of a type.
fn users(kind: ResourceType) -> &'static [ResourceType] {
    match kind {
        ResourceType::Route => &[ResourceType::Listener],
        _ => &[ResourceType::Listener, ResourceType::ExtensionConfig, ResourceType::Route],
    }
}

/// Cuts a list of resources into responses; no resource is too large for one of its own.
fn chunks(resources: Vec<Arc<Resource>>, max_bytes: usize, max_count: usize) -> Vec<Vec<Arc<Resource>>> {
    let mut chunks: Vec<Vec<Arc<Resource>>> = Vec::new();
    let mut bytes = 0;
    for resource in resources {
        let len = resource.payload.len();
        match chunks.last_mut() {
            Some(last) if bytes + len <= max_bytes && last.len() < max_count => {
                bytes += len;
                last.push(resource);
            }
            _ => {
                bytes = len;
                chunks.push(vec![resource]);
            }
        }
    }
    chunks
}
