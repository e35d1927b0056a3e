//! One resource type on one stream: which names the client wants, what it has, and what is on its way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;

use super::horizon::Horizon;
use super::refusal::{self, Refusals};
use crate::resource::{Resource, ResourceType, Version};
use crate::store::{self, State};
use crate::wire::Response;

/// Unanswered responses remembered for a type that is not gated. Envoy may withhold the ACKs of CDS for as long as it
/// likes; beyond this the oldest are forgotten, and an answer to them is ignored.
const OUTSTANDING_RESPONSES: usize = 4096;
const OUTSTANDING_NAMES: usize = 262_144;

/// What the client has under a name, as far as the stream tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing was ever sent or claimed.
    #[default]
    Never,
    /// Something, or nothing: a response with it was refused, or the client may have dropped it.
    Unknown,
    /// A removal, or the empty resource that stands for it.
    Absent,
    /// This content.
    At(Version),
}

#[derive(Debug, Default)]
struct Entry {
    known: Known,
    /// The unanswered response that carried it last, 0 for none.
    in_flight: u64,
    /// The oldest batch whose content of it is not acknowledged.
    unsettled: Option<u64>,
    /// The oldest batch whose content of it is not sent.
    unsent: Option<u64>,
    /// The client named it.
    asked: bool,
    /// How many clusters on the stream have it as a companion.
    companion_of: u32,
    /// The client accepted some content of it once.
    held: bool,
    /// Most resources of a response with it, as one with more was refused without a name; 0 for no limit.
    most: usize,
}

/// A response without an answer yet.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) nonce: u64,
    pub(super) resources: Vec<(Arc<str>, Version)>,
    pub(super) removed: Vec<Arc<str>>,
    bytes: usize,
}

impl Sent {
    fn names(&self) -> usize {
        self.resources.len() + self.removed.len()
    }

    fn each_name(&self) -> impl Iterator<Item = &Arc<str>> {
        self.resources.iter().map(|(name, _)| name).chain(&self.removed)
    }
}

/// What a name is to be, in the store.
pub(super) enum Target {
    Resource(Arc<Resource>),
    /// It can only be said by a removal.
    Removal,
}

/// A name that is to be switched off.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Everything that could name it must be acknowledged beyond this batch first.
    pub(super) batch: u64,
    /// Since when that is so.
    pub(super) unused_since: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: ResourceType,
    /// The client has asked for the type on this stream.
    pub(super) requested: bool,
    pub(super) wildcard: bool,
    /// A wildcard request waits for its answer, even an empty one.
    pub(super) answer_due: bool,
    /// The client said in its first request that it has resources.
    pub(super) had_state: bool,
    /// At least one response went out.
    pub(super) responses: u64,
    /// Resources in all of them.
    pub(super) resources: u64,
    pub(super) bytes_in_flight: usize,
    pub(super) names_in_flight: usize,
    pub(super) last_ack: Option<(Duration, u64)>,
    pub(super) last_nack: Option<(Duration, u64, String)>,
    pub(super) horizon: Horizon,
    /// Names to be sent.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Names to be switched off.
    pub(super) leaving: BTreeMap<Arc<str>, Leaving>,
    /// Refused clusters that the client never had: they are to be removed, or Envoy's warming list keeps them.
    pub(super) doomed: BTreeSet<Arc<str>>,
    outstanding: VecDeque<Sent>,
    /// Names in unanswered responses, of the types gated by name; a name stays here when it is unsubscribed.
    carried: AHashMap<Arc<str>, usize>,
    refused: Refusals,
    entries: AHashMap<Arc<str>, Entry>,
    /// Names to be looked up in the store again at the next opportunity.
    recheck: Vec<Arc<str>>,
    /// A wildcard began: all names of the store are to be looked at.
    enumerate: bool,
}

impl Subscription {
    pub(super) fn new(kind: ResourceType) -> Self {
        Subscription {
            kind,
            requested: false,
            wildcard: false,
            answer_due: false,
            had_state: false,
            responses: 0,
            resources: 0,
            bytes_in_flight: 0,
            names_in_flight: 0,
            last_ack: None,
            last_nack: None,
            horizon: Horizon::default(),
            dirty: BTreeSet::new(),
            leaving: BTreeMap::new(),
            doomed: BTreeSet::new(),
            outstanding: VecDeque::new(),
            carried: AHashMap::new(),
            refused: Refusals::default(),
            entries: AHashMap::new(),
            recheck: Vec::new(),
            enumerate: false,
        }
    }

    // What the client asks for.

    pub(super) fn set_wildcard(&mut self) {
        self.enumerate |= !self.wildcard;
        self.wildcard = true;
    }

    pub(super) fn clear_wildcard(&mut self) {
        if std::mem::take(&mut self.wildcard) {
            self.recheck.extend(self.entries.keys().cloned());
        }
    }

    /// The client has this from an earlier stream. What was sent on this stream is newer than the claim.
    pub(super) fn claim(&mut self, name: Arc<str>, version: Option<Version>) {
        self.had_state = true;
        let entry = self.entries.entry(name.clone()).or_default();
        if entry.known == Known::Never {
            entry.known = match version {
                None => Known::Unknown,
                Some(Version::ABSENT) => Known::Absent,
                Some(version) => Known::At(version),
            };
            entry.held = true;
            self.recheck.push(name);
        }
    }

    /// The client names a resource. `first` is whether this is its first request for the type, whose names may be
    /// covered by versions it claims.
    pub(super) fn ask(&mut self, name: Arc<str>, first: bool) {
        let wildcard = self.wildcard;
        let entry = self.entries.entry(name.clone()).or_default();
        let answered = !entry.asked && (first || entry.companion_of > 0 && !wildcard);
        if !answered && entry.known != Known::Never {
            // The protocol: a name that is asked for again is sent again, as the client may have dropped it meanwhile.
            entry.known = Known::Unknown;
        }
        entry.asked = true;
        self.recheck.push(name);
    }

    pub(super) fn unask(&mut self, name: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.asked = false;
        entry.known = if entry.known == Known::Never { Known::Never } else { Known::Unknown };
        if self.wildcard {
            // Still covered by the wildcard: the protocol wants it sent, so that the client knows.
            self.recheck.push(name.clone());
        } else if entry.companion_of == 0 {
            self.forget(name);
        } else {
            // Its cluster may come back: the client has no interest now and will ask, or gets it behind the cluster.
            self.horizon.shift(entry.unsettled.take(), None);
            entry.unsent = None;
            entry.in_flight = 0;
            self.dirty.remove(name);
        }
    }

    pub(super) fn add_companion(&mut self, name: &Arc<str>) {
        self.entries.entry(name.clone()).or_default().companion_of += 1;
    }

    pub(super) fn drop_companion(&mut self, name: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.companion_of = entry.companion_of.saturating_sub(1);
        if entry.companion_of == 0 && !entry.asked && !self.wildcard {
            self.forget(name);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn pending(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.dirty.len() + self.leaving.len() + self.doomed.len()
    }

    fn forget(&mut self, name: &Arc<str>) {
        if let Some(entry) = self.entries.remove(name) {
            self.horizon.shift(entry.unsettled, None);
        }
        store::shrink(&mut self.entries);
        self.dirty.remove(name);
        self.leaving.remove(name);
        self.doomed.remove(name);
    }

    // What the store holds.

    /// Looks at everything that requests and answers have put into question.
    pub(super) fn catch_up(&mut self, state: &State) {
        for name in std::mem::take(&mut self.recheck) {
            self.evaluate(state, &name, 0);
        }
        if std::mem::take(&mut self.enumerate) {
            self.evaluate_store(state, 0);
        }
    }

    /// Looks at everything, for a reader that lost its place in the log.
    pub(super) fn evaluate_all(&mut self, state: &State, batch: u64) {
        let names: Vec<_> = self.entries.keys().cloned().collect();
        names.iter().for_each(|name| self.evaluate(state, name, batch));
        if self.wildcard {
            self.evaluate_store(state, batch);
        }
    }

    fn evaluate_store(&mut self, state: &State, batch: u64) {
        state.of(self.kind).for_each(|resource| self.evaluate(state, &resource.name, batch));
    }

    /// Decides whether a name is to be sent, to be removed or in order. `batch` is the oldest one that may have changed
    /// it for the client, 0 when it is new to the client.
    pub(super) fn evaluate(&mut self, state: &State, name: &Arc<str>, batch: u64) {
        let version = state.get(self.kind, name).map(|resource| resource.version);
        let target = version.map_or(Known::Absent, Known::At);
        if self.wildcard && version.is_some() && !self.entries.contains_key(name) {
            self.entries.insert(name.clone(), Entry::default());
        }
        let switched_off_last = self.is_switched_off_last();
        let Some(entry) = self.entries.get_mut(name) else { return };
        let named = entry.asked || entry.companion_of > 0;
        let gone_while_away = version.is_none() && matches!(entry.known, Known::At(_) | Known::Unknown);
        let told = version.is_none() && entry.known == Known::Absent;
        let keep = named
            || (self.wildcard && version.is_some())
            || gone_while_away && (self.wildcard || entry.held)
            || told && entry.in_flight != 0;
        if !keep {
            return self.forget(name);
        }
        if entry.known == target {
            self.dirty.remove(name);
            self.leaving.remove(name);
            entry.unsent = None;
            if entry.in_flight == 0 {
                self.horizon.shift(entry.unsettled.take(), None);
            }
            return;
        }
        entry.unsent = Some(entry.unsent.map_or(batch, |old| old.min(batch)));
        let unsettled = Some(entry.unsettled.map_or(batch, |old| old.min(batch)));
        self.horizon.shift(entry.unsettled, unsettled);
        entry.unsettled = unsettled;

        if self.refused.contains(name, version.unwrap_or(Version::ABSENT)) {
            self.dirty.remove(name);
            self.leaving.remove(name);
            if matches!(self.kind, ResourceType::Endpoint | ResourceType::Secret) {
                // Nobody publishes what was accepted before in its place. The client goes on with that, and one bad
                // certificate must not keep everything that comes later from counting as live.
                entry.unsent = None;
                if entry.in_flight == 0 {
                    self.horizon.shift(entry.unsettled.take(), None);
                }
            }
        } else if switched_off_last && version.is_none() && entry.known != Known::Never {
            self.dirty.remove(name);
            self.leaving.entry(name.clone()).or_insert(Leaving { batch: state.batch(), unused_since: None });
        } else {
            self.leaving.remove(name);
            self.doomed.remove(name);
            self.dirty.insert(name.clone());
        }
    }

    /// A name that is to be switched off and that nothing in force uses: no batch has to wait for that.
    pub(super) fn excuse(&mut self, name: &Arc<str>) {
        if !self.leaving.contains_key(name) {
            return;
        }
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.unsent = None;
        if entry.in_flight == 0 {
            self.horizon.shift(entry.unsettled.take(), None);
        }
    }

    /// Whether the client neither was sent nor claims anything under the name.
    pub(super) fn is_new(&self, name: &str) -> bool {
        self.entries.get(name).is_none_or(|entry| entry.known == Known::Never)
    }

    /// What the client refused under the name may be sent again.
    pub(super) fn forgive(&mut self, name: &str) {
        self.refused.remove(name);
    }

    /// Whether the client refused what the store has under the name.
    pub(super) fn is_refused(&self, state: &State, name: &Arc<str>) -> bool {
        let version = state.get(self.kind, name).map_or(Version::ABSENT, |resource| resource.version);
        self.refused.contains(name, version)
    }

    /// Whether an unanswered response carries the name; for route tables and extension configurations.
    pub(super) fn in_flight(&self, name: &str) -> bool {
        self.carried.contains_key(name)
    }

    /// What is to be sent for a name.
    pub(super) fn target(&self, state: &State, name: &Arc<str>) -> Target {
        if let Some(resource) = state.get(self.kind, name) {
            return Target::Resource(resource.clone());
        }
        // A claim from an earlier stream that nobody subscribes to: only a removal says that it is gone.
        let wanted = self.entries.get(name).is_some_and(|entry| entry.asked || entry.companion_of > 0);
        let empty = if wanted { crate::wire::empty_resource(self.kind, name) } else { None };
        empty.map_or(Target::Removal, Target::Resource)
    }

    /// The oldest batch of a name that is to be sent, 0 also for what is new to the client.
    pub(super) fn waits_since(&self, name: &str) -> u64 {
        self.entries.get(name).and_then(|entry| entry.unsent).unwrap_or(0)
    }

    /// Most resources of a response with that one, 0 for no limit.
    pub(super) fn most(&self, name: &str) -> usize {
        self.entries.get(name).map_or(0, |entry| entry.most)
    }

    // What goes out and what comes back.

    /// Books a response as sent.
    pub(super) fn book(&mut self, response: &Response) {
        let nonce = response.nonce;
        let resources: Vec<_> = response.resources.iter().map(|r| (r.name.clone(), r.version)).collect();
        for (name, version) in &resources {
            let known = if *version == Version::ABSENT { Known::Absent } else { Known::At(*version) };
            self.carry(name, known, nonce, response.batch);
        }
        for name in &response.removed {
            self.carry(name, Known::Absent, nonce, response.batch);
        }
        let sent = Sent { nonce, resources, removed: response.removed.clone(), bytes: response.payload_len() };
        self.responses += 1;
        self.resources += sent.resources.len() as u64;
        self.answer_due = false;
        self.bytes_in_flight += sent.bytes;
        self.names_in_flight += sent.names();
        if self.is_gated_by_name() {
            sent.each_name().for_each(|name| *self.carried.entry(name.clone()).or_default() += 1);
        }
        self.outstanding.push_back(sent);
        while self.outstanding.len() > OUTSTANDING_RESPONSES
            || self.outstanding.len() > 1 && self.names_in_flight > OUTSTANDING_NAMES
        {
            self.take_at(0);
        }
    }

    fn carry(&mut self, name: &Arc<str>, known: Known, nonce: u64, batch: u64) {
        let entry = self.entries.entry(name.clone()).or_default();
        // Of a name that is new to the client (a companion nobody asked for yet) it has no batch at all.
        let since = if matches!(entry.known, Known::Never | Known::Unknown) { 0 } else { batch };
        entry.known = known;
        entry.in_flight = nonce;
        entry.unsent = None;
        let unsettled = Some(entry.unsettled.unwrap_or(since));
        self.horizon.shift(entry.unsettled, unsettled);
        entry.unsettled = unsettled;
        self.dirty.remove(name);
        self.leaving.remove(name);
        self.doomed.remove(name);
    }

    /// The unanswered response of a nonce, which is thereby answered. `None` for a stale or foreign nonce.
    pub(super) fn take(&mut self, nonce: u64) -> Option<Sent> {
        let at = self.outstanding.iter().position(|sent| sent.nonce == nonce)?;
        self.take_at(at)
    }

    fn take_at(&mut self, at: usize) -> Option<Sent> {
        let sent = self.outstanding.remove(at)?;
        self.bytes_in_flight -= sent.bytes;
        self.names_in_flight -= sent.names();
        for name in sent.each_name() {
            if let Some(count) = self.carried.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.carried.remove(name);
                }
            }
        }
        Some(sent)
    }

    /// Whether other resources name those of the type, so that traffic is lost when one goes before them.
    fn is_switched_off_last(&self) -> bool {
        matches!(self.kind, ResourceType::Cluster | ResourceType::Endpoint | ResourceType::Route)
    }

    fn is_gated_by_name(&self) -> bool {
        matches!(self.kind, ResourceType::Route | ResourceType::ExtensionConfig)
    }

    pub(super) fn accept(&mut self, sent: &Sent) {
        let present = sent.resources.iter().map(|(name, version)| (name, *version != Version::ABSENT));
        let removed = sent.removed.iter().map(|name| (name, false));
        for (name, held) in present.chain(removed) {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            entry.held = held;
            if entry.in_flight == sent.nonce {
                entry.most = 0;
                entry.in_flight = 0;
                self.horizon.shift(entry.unsettled, entry.unsent);
                entry.unsettled = entry.unsent;
                if entry.known == Known::Absent {
                    self.recheck.push(name.clone());
                }
            }
        }
    }

    /// After a NACK nothing of the response is certain: Envoy may have applied all, some or none of it, and leaves what
    /// it did apply out of `initial_resource_versions` for ever.
    pub(super) fn refuse(&mut self, sent: &Sent, detail: &str) {
        let names = sent.resources.iter().map(|(name, _)| name);
        let guilty = match self.kind {
            ResourceType::Cluster | ResourceType::Listener => refusal::guilty(detail, names),
            _ => Default::default(),
        };
        // Nobody is named, and the neighbours of the guilty one may be missing, too: all are sent again, in two halves, until
        // it is alone. Listeners are few, and whoever published them has to look for the guilty part in any case.
        let several = matches!(self.kind, ResourceType::Cluster | ResourceType::Endpoint) && sent.resources.len() > 1;
        let half = if several && guilty.is_empty() { sent.resources.len().div_ceil(2) } else { 0 };
        for (name, version) in &sent.resources {
            let blamed = half == 0 && guilty.is_empty() || guilty.contains(name);
            if blamed {
                self.refused.insert(name, *version);
            }
            let Some(entry) = self.entries.get_mut(name) else { continue };
            if entry.in_flight == sent.nonce {
                entry.in_flight = 0;
                entry.known = Known::Unknown;
                entry.most = half;
                if blamed && !guilty.is_empty() && self.kind == ResourceType::Cluster && !entry.held {
                    self.doomed.insert(name.clone());
                }
            }
            self.recheck.push(name.clone());
        }
        for name in &sent.removed {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            if entry.in_flight == sent.nonce {
                entry.in_flight = 0;
                // Removals that shared a response with what was refused are tried again, alone if need be; a refused
                // removal that stood alone cannot be mended by repeating it.
                entry.known = if sent.resources.is_empty() { Known::Absent } else { Known::Unknown };
            }
            self.recheck.push(name.clone());
        }
    }
}
