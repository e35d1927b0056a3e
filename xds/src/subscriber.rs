//! The delta protocol towards one client, as a pure state machine.
//!
//! No socket, no task, no clock: requests, the content of the store and the time (since any fixed moment) go in;
//! responses and events come out. The state is one small entry per name; nothing encoded waits here, so a slow client
//! costs names and not bytes.

mod horizon;
mod refusal;
mod round;
mod subscription;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ahash::AHashMap;

use self::subscription::{Sent, Subscription};
use crate::event::{ClientId, ClientStatus, Event, NodeInfo, Refusal, TypeStatus};
use crate::resource::{Companions, PerType, ResourceType};
use crate::store::State;
use crate::wire::{Request, Response};

/// How long a stream may ask for other things before clusters are sent unasked: after some refusals Envoy never asks
/// for them on a new stream (envoyproxy/envoy 34334, 36951) and serves old ones until it is told.
const UNASKED_CLUSTERS_AFTER: Duration = Duration::from_secs(1);
/// How long a reconnected client that claims resources may take to say which listeners and route tables it has.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Bounds of what one client may cause.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of route tables sent and not yet answered; one table may always be. Envoy takes some 100 ms for a megabyte of
    /// them: with more in flight, a table that is sent is old when its turn comes, and its successor waits all the longer.
    pub max_bytes_in_flight: usize,
    /// Names of all types that a client may subscribe to or claim.
    pub max_names: usize,
    /// How long clusters and their endpoints stay after everything that named them is acknowledged without them: a
    /// request that was routed before may go to its cluster only now, when a filter let it wait or when it is retried.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_bytes_in_flight: 2 << 20, max_names: 1_000_000, linger: Duration::ZERO }
    }
}

/// A client names more resources than [`Limits::max_names`]: its stream is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNames;

/// One stream of one client.
#[derive(Debug)]
pub struct Subscriber {
    id: ClientId,
    limits: Limits,
    node: NodeInfo,
    connected: bool,
    /// Place in the log of the store; `None` before the first look.
    cursor: Option<u64>,
    /// The newest batch looked at.
    seen: u64,
    /// The newest batch reported live.
    live: u64,
    last_nonce: u64,
    tables: PerType<Subscription>,
    /// What every cluster sent on this stream brought along.
    companions: AHashMap<Arc<str>, Companions>,
    /// Rounds in which a table was held back for its size.
    passed_over: PerType<u32>,
    unasked_clusters_at: Option<Duration>,
    introduction_ends: Option<Duration>,
    /// The response with the clusters that the stream begins with and that have to warm, and how long it is waited for.
    warming: Option<(u64, Duration)>,
    /// When the next name is to be switched off that lingers.
    next_release: Option<Duration>,
    events: Vec<Event>,
}

impl Subscriber {
    /// A stream that has just begun.
    pub fn new(id: ClientId, limits: Limits) -> Self {
        Subscriber {
            id,
            limits,
            node: NodeInfo::default(),
            connected: false,
            cursor: None,
            seen: 0,
            live: 0,
            // Distinct between streams, so that an answer to an older one can never be taken for one to this.
            last_nonce: id.0 << 32,
            tables: PerType::from_fn(Subscription::new),
            companions: AHashMap::new(),
            passed_over: PerType::default(),
            unasked_clusters_at: None,
            introduction_ends: None,
            warming: None,
            next_release: None,
            events: Vec::new(),
        }
    }

    /// Takes a request. What it leads to comes with the next [`Subscriber::poll`].
    pub fn on_request(&mut self, request: Request, now: Duration) -> Result<(), TooManyNames> {
        let Request { kind, node, subscribe, unsubscribe, initial_versions, nonce, error } = request;
        self.introduce(node, now);
        let answer = nonce.and_then(|nonce| self.table_mut(kind).take(nonce));
        let is_answer = answer.is_some();
        if let Some(sent) = answer {
            self.on_answer(kind, sent, error, now);
        }
        // A bare answer to clusters that were sent unasked is not a request for clusters.
        let asks = !is_answer || !subscribe.is_empty() || !initial_versions.is_empty();
        if kind == ResourceType::Cluster {
            self.unasked_clusters_at = if asks { None } else { self.unasked_clusters_at };
        } else if !self.table(ResourceType::Cluster).requested && !self.table(kind).requested && asks {
            self.unasked_clusters_at.get_or_insert(now + UNASKED_CLUSTERS_AFTER);
        }

        let table = self.table_mut(kind);
        let first = asks && !table.requested;
        table.requested |= asks;
        let is_all = |name: &Arc<str>| &**name == "*";
        if first {
            initial_versions.into_iter().for_each(|(name, version)| table.claim(name, version));
            // The legacy wildcard: a first request without names. Named resources of these types are just those.
            if matches!(kind, ResourceType::Cluster | ResourceType::Listener) {
                if subscribe.is_empty() {
                    table.set_wildcard();
                    table.answer_due |= !is_answer;
                } else if !subscribe.iter().any(is_all) {
                    table.clear_wildcard();
                }
            }
        }
        for name in &unsubscribe {
            if is_all(name) { table.clear_wildcard() } else { table.unask(name) }
        }
        for name in subscribe {
            if is_all(&name) {
                table.set_wildcard();
                table.answer_due = true;
            } else {
                table.ask(name, first);
            }
        }
        let names: usize = ResourceType::ALL.into_iter().map(|kind| self.table(kind).len()).sum();
        if names > self.limits.max_names { Err(TooManyNames) } else { Ok(()) }
    }

    /// Looks at the store and the time, and gives what is to be sent now, in this order. Call it after requests, when
    /// the store changes and at the [`Subscriber::deadline`], but only when everything it gave before is on its way:
    /// what a slow client cannot take yet is merged and not queued.
    ///
    /// Nothing is sent before the store was published once.
    pub fn poll(&mut self, state: &State, now: Duration) -> Vec<Response> {
        self.on_time(now);
        if state.batch() == 0 || !self.connected {
            return Vec::new();
        }
        self.look(state);
        let responses = self.round(state, now);
        self.report_live(state.batch());
        responses
    }

    /// When [`Subscriber::poll`] is to be called even if nothing happens.
    pub fn deadline(&self) -> Option<Duration> {
        let introduction = if self.claims() { self.introduction_ends } else { None };
        let warming = self.warming.map(|(_, until)| until);
        [self.unasked_clusters_at, introduction, warming, self.next_release].into_iter().flatten().min()
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// How the client stands; `at` turns the time given to the other functions into one of the calendar.
    pub fn status(&self, connected_since: SystemTime, at: impl Fn(Duration) -> SystemTime) -> ClientStatus {
        let nonce = |nonce: u64| format!("{nonce:x}");
        let tables = ResourceType::ALL.into_iter().map(|kind| self.table(kind));
        let types = tables.filter(|table| table.requested || table.responses > 0).map(|table| TypeStatus {
            kind: table.kind,
            wildcard: table.wildcard,
            subscribed: table.len(),
            sent: table.responses,
            resources: table.resources,
            pending_bytes: table.bytes_in_flight,
            pending: table.pending(),
            waiting: table.waiting(),
            last_ack: table.last_ack.map(|(time, sent)| (at(time), nonce(sent))),
            last_nack: table.last_nack.as_ref().map(|(time, sent, detail)| Refusal {
                at: at(*time),
                nonce: nonce(*sent),
                detail: detail.clone(),
            }),
        });
        ClientStatus {
            id: self.id,
            node: self.node.clone(),
            connected_since,
            live_batch: self.live,
            types: types.collect(),
        }
    }

    fn table(&self, kind: ResourceType) -> &Subscription {
        self.tables.get(kind)
    }

    fn table_mut(&mut self, kind: ResourceType) -> &mut Subscription {
        self.tables.get_mut(kind)
    }

    fn introduce(&mut self, node: Option<NodeInfo>, now: Duration) {
        if let Some(node) = node {
            self.node = node;
        }
        if !self.connected {
            self.connected = true;
            self.introduction_ends = Some(now + INTRODUCTION);
            self.events.push(Event::Connected { client: self.id, node: self.node.clone() });
        }
    }

    fn on_answer(&mut self, kind: ResourceType, sent: Sent, error: Option<String>, now: Duration) {
        let client = self.id;
        let accepts_clusters = kind == ResourceType::Cluster && error.is_none();
        self.warming = self.warming.filter(|(nonce, _)| !accepts_clusters || sent.nonce < *nonce);
        let table = self.table_mut(kind);
        let event = match error {
            None => {
                table.accept(&sent);
                table.last_ack = Some((now, sent.nonce));
                Event::Acked { client, kind, resources: sent.resources }
            }
            Some(detail) => {
                table.refuse(&sent, &detail);
                table.last_nack = Some((now, sent.nonce, detail.clone()));
                Event::Refused { client, kind, resources: sent.resources, removed: sent.removed, detail }
            }
        };
        self.events.push(event);
    }

    fn on_time(&mut self, now: Duration) {
        self.warming = self.warming.filter(|(_, until)| now < *until);
        if self.introduction_ends.is_some_and(|at| now >= at) {
            self.introduction_ends = None;
        }
        if self.unasked_clusters_at.is_some_and(|at| now >= at) {
            self.unasked_clusters_at = None;
            let clusters = self.table_mut(ResourceType::Cluster);
            if !clusters.requested {
                clusters.set_wildcard();
                clusters.answer_due = true;
            }
        }
    }

    /// Takes in what the store changed and what requests and answers put into question.
    fn look(&mut self, state: &State) {
        let changes = self.cursor.map(|cursor| state.changes_since(cursor));
        match changes {
            // Everything the client named is up for a look anyway.
            None => {}
            Some(Some(changes)) => {
                for change in changes {
                    let table = self.tables.get_mut(change.kind);
                    if change.retry {
                        table.forgive(&change.name);
                    }
                    table.evaluate(state, &change.name, change.batch);
                }
            }
            Some(None) => {
                let oldest = self.seen + 1;
                ResourceType::ALL.into_iter().for_each(|kind| self.tables.get_mut(kind).evaluate_all(state, oldest));
            }
        }
        self.cursor = Some(state.cursor());
        self.seen = state.batch();
        ResourceType::ALL.into_iter().for_each(|kind| self.tables.get_mut(kind).catch_up(state));
    }

    /// Whether routes would go to clusters that the client does not have yet, as the stream is young. Afterwards whoever
    /// publishes knows which clusters are new.
    fn awaits_clusters(&self) -> bool {
        // A stream that breaks while a cluster warms is followed by one that asks for clusters only when that is over.
        self.warming.is_some() || self.unasked_clusters_at.is_some() && self.claims()
    }

    /// Whether the client has resources from an earlier stream.
    fn claims(&self) -> bool {
        ResourceType::ALL.into_iter().any(|kind| self.table(kind).had_state)
    }

    fn report_live(&mut self, batch: u64) {
        let listeners = self.table(ResourceType::Listener);
        let introduced = self.table(ResourceType::Route).requested
            || listeners.requested && (!listeners.had_state || self.introduction_ends.is_none());
        // Envoy withholds the ACKs of clusters while any of them warms.
        let awaited = ResourceType::ALL.into_iter().filter(|kind| *kind != ResourceType::Cluster);
        let oldest = awaited.filter_map(|kind| self.table(kind).horizon.oldest()).min();
        let live = oldest.map_or(batch, |oldest| oldest.saturating_sub(1));
        if introduced && live > self.live {
            self.live = live;
            self.events.push(Event::Live { client: self.id, batch: live });
        }
    }
}
