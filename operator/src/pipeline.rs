//! The one thread that owns compiler and renderer: batch in, resources and verdicts out.
//!
//! ```text
//! mailbox ─► batch ─► Compiler ─► rows ─► Renderer ─► delta ─► xds::Store ─► Envoys
//!    ▲                   │ verdicts, wanted                        │ ACK, NACK
//!    │                   └► Snapshot, feeds                        │
//!    └──────────── Quarantine, Retained ◄──────────────────────────┘
//! ```

mod hold;
mod memory;
mod paranoid;
mod progress;
mod refusal;
mod renewal;
mod report;
mod retry;

pub use memory::RefusalMemory;
pub use report::{Audience, ChangeReport, Report, Started, What};

use crate::blame::Parts;
use crate::feed::{Feed, FeedId};
use crate::mailbox::{Batch, Mailbox};
use crate::quarantine::{Decision, Quarantine, Scope, ScopeKind};
use crate::room;
use crate::snapshot::{Board, Client, Journal, Snapshot};
use ahash::AHashMap;
use compiler::{Change, Compiler, Object, Options, Outcome, WantedChanges, WantedName};
use diag::Metrics;
use envoy::Renderer;
use hold::Hold;
use ir::{Kind, ObjectKey, RowChanges};
use paranoid::Paranoid;
use progress::Progress;
use renewal::Renewal;
use report::Reporter;
use retry::Retries;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use xds::{Delta, Event, ResourceType, Store};

/// What the pipeline is connected to.
pub struct Wiring {
    /// What the environment fixed.
    pub options: Options,
    /// Where everything arrives.
    pub mailbox: Arc<Mailbox>,
    /// What clients are sent.
    pub store: Arc<Store>,
    /// What everybody else reads.
    pub board: Arc<Board>,
    /// Sources; their place is their [`FeedId`].
    pub feeds: Vec<Box<dyn Feed>>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Where refusals outlive this process, if they do.
    pub memory: Option<RefusalMemory>,
    /// Where people are told what happened.
    pub reports: Option<Audience>,
    /// Whether every batch is compared with a compilation from scratch.
    pub paranoid: bool,
}

/// The pipeline. [`Pipeline::run`] ends when the mailbox is closed.
pub struct Pipeline {
    mailbox: Arc<Mailbox>,
    compiler: Compiler,
    renderer: Renderer,
    store: Arc<Store>,
    board: Arc<Board>,
    snapshot: Snapshot,
    /// What the next snapshot has different.
    changed: Journal,
    feeds: Vec<Box<dyn Feed>>,
    unlisted: BTreeSet<FeedId>,
    /// Changes that came before every feed had listed.
    backlog: Vec<(Change, Instant)>,
    unanswered: BTreeSet<WantedName>,
    /// Fingerprints of the objects that feeds handed on.
    prints: AHashMap<ObjectKey, u64>,
    quarantine: Quarantine<Parts>,
    /// Routes that wait for Envoy to resolve a name.
    hold: Hold,
    /// Listeners that wait for a port, and whether what is published next has some of them.
    retries: Retries,
    retrying: bool,
    renewal: Renewal,
    paranoid: Option<Paranoid>,
    /// What the replicas know of each other.
    progress: Progress,
    /// Objects that were refused because of a Secret they use, to be tried again with another one.
    refused_with: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Decisions that are not in a batch yet.
    decided: Vec<Decision>,
    /// A search among several objects is told.
    searching: bool,
    /// Accepted versions, to be retained once the batch that has them is live.
    retain: BTreeMap<ObjectKey, (u64, Option<Arc<Object>>)>,
    problems: BTreeMap<FeedId, Vec<crate::feed::SourceProblem>>,
    metrics: Arc<Metrics>,
    memory: Option<RefusalMemory>,
    reporter: Reporter,
    started: Instant,
}

impl Pipeline {
    /// A pipeline that has not seen anything. Refusals remembered from an earlier process are in force at once.
    pub fn new(wiring: Wiring) -> Self {
        let Wiring { options, mailbox, store, board, feeds, metrics, memory, reports, paranoid } = wiring;
        let started = Instant::now();
        let remembered = memory.as_ref().map(RefusalMemory::load).unwrap_or_default();
        let (mut quarantine, mut retries) = (Quarantine::default(), Retries::default());
        let mut backlog = Vec::new();
        for (key, refusal) in remembered {
            quarantine.refuse([key.clone()], &refusal.text);
            retries.refused(&key, &refusal.text, started);
            board.remember(|remembered| {
                Arc::make_mut(&mut remembered.refused).insert(key.clone(), refusal.clone()).is_none()
            });
            backlog.push((Change::Refusal(key, Some(refusal)), started));
        }
        Self {
            paranoid: paranoid.then(|| Paranoid::new(options.clone())),
            compiler: Compiler::new(options),
            renderer: Renderer::new(envoy::Options::default()),
            snapshot: Snapshot::default(),
            changed: Journal::default(),
            unlisted: (0..feeds.len()).map(FeedId).collect(),
            prints: backlog.iter().filter_map(remembered_print).collect(),
            unanswered: BTreeSet::new(),
            decided: Vec::new(),
            searching: false,
            hold: Hold::default(),
            retries,
            retrying: false,
            renewal: Renewal::default(),
            progress: Progress::default(),
            refused_with: BTreeMap::new(),
            retain: BTreeMap::new(),
            problems: BTreeMap::new(),
            reporter: Reporter::new(reports, metrics.clone()),
            mailbox,
            store,
            board,
            feeds,
            backlog,
            quarantine,
            metrics,
            memory,
            started,
        }
    }

    /// Works until the mailbox is closed and empty, then stops the feeds. It gives way to others on the same thread between
    /// two batches only.
    pub async fn run(mut self) {
        self.publish_snapshot();
        let mailbox = self.mailbox.clone();
        while let Some(batch) = {
            let due = [self.hold.due(), self.renewal.due(), self.retries.due()];
            mailbox.take(due.into_iter().flatten().min()).await
        } {
            self.step(batch);
            while !self.decided.is_empty() && self.unlisted.is_empty() {
                self.step(Batch::default());
            }
        }
        self.feeds.iter_mut().for_each(|feed| feed.stop());
    }

    fn step(&mut self, batch: Batch) {
        for event in batch.events {
            self.event(event);
        }
        self.snapshot.draining |= batch.draining;
        self.progress.reached(batch.reached);
        if let Some(reports) = batch.reports {
            self.progress.heard(&reports);
        }
        for note in batch.notes {
            self.reporter.note(note);
        }
        if !batch.problems.is_empty() {
            self.problems.extend(batch.problems);
            let mut all: Vec<_> = self.problems.values().flatten().cloned().collect();
            // An API server that does not answer is a problem of every feed, to be told once.
            all.dedup();
            self.reporter.problems(&self.snapshot.problems, &all);
            self.snapshot.problems = Arc::new(all);
        }
        for feed in batch.listed {
            self.unlisted.remove(&feed);
        }
        if self.unlisted.is_empty() {
            for key in self.retries.take(Instant::now()) {
                self.decided.extend(self.quarantine.changed(&key));
                self.retrying = true;
            }
            let mut changes = std::mem::take(&mut self.backlog);
            changes.extend(batch.changes);
            let first = !self.snapshot.published;
            memory::forget_strangers(&mut changes, first);
            self.compile(changes, first);
        } else {
            self.backlog.extend(batch.changes);
        }
        self.release();
        self.agree();
        self.publish_snapshot();
        // After what everybody reads: these take as long as a start.
        self.doubt();
        self.renew();
    }

    /// Says how far this replica is, finds out how far the others are, and takes over what their Envoys refused.
    fn agree(&mut self) {
        if self.snapshot.published {
            self.progress.settled(self.snapshot.batch);
        }
        // An object that is held back is not where its batch is.
        let waits = !self.decided.is_empty() || self.hold.due().is_some() || self.quarantine.searching() > 0;
        let live = self.snapshot.live_here().filter(|_| self.snapshot.published && !waits);
        self.board.tell(self.progress.live(self.snapshot.clients.len(), live));
        self.snapshot.elsewhere = self.progress.elsewhere();
        for (key, refused) in self.progress.refused_elsewhere() {
            // It is about that version and no other, which this replica may have to see yet.
            let object = self.compiler.object(key).filter(|_| !self.quarantine.refusals().contains_key(key));
            if object.is_some_and(|object| object.uid == refused.uid && object.generation == refused.generation) {
                self.decided.extend(self.quarantine.refuse([key.clone()], &refused.text));
            }
        }
    }

    /// Compares with a compilation from scratch, if that is wanted.
    fn doubt(&mut self) {
        let Some(paranoid) = self.paranoid.as_mut().filter(|paranoid| paranoid.is_due()) else { return };
        // What is held back is meant to be different.
        let comparable = self.snapshot.published && self.hold.due().is_none();
        let found = paranoid.check(&self.compiler, comparable.then_some(&*self.store));
        self.metrics.compiled_again(found.is_none());
        if let Some(found) = found {
            let names: Vec<String> = found.names.into_iter().collect();
            let (names, script) = (names.join("; "), found.script.join("; "));
            tracing::error!(names, script, "compiling from scratch comes to something else: this is a defect");
            self.reporter.note(format!("a defect: compiling from scratch comes to something else: {names}"));
        }
    }

    /// One batch through compiler and renderer.
    fn compile(&mut self, incoming: Vec<(Change, Instant)>, first: bool) {
        let mut changes = Vec::with_capacity(incoming.len());
        let mut touched = Vec::new();
        for (change, received) in incoming {
            self.arrived(&change, received, &mut touched);
            changes.push(change);
        }
        let objects = touched.len();
        let decisions = std::mem::take(&mut self.decided);
        let decided = !decisions.is_empty();
        self.tell_search(&decisions);
        for decision in decisions {
            self.decision(decision, &mut changes);
        }
        self.retained(&mut changes);
        if changes.is_empty() && !first {
            return;
        }
        let number = self.snapshot.batch + 1;
        let count = changes.len();
        if let Some(paranoid) = &mut self.paranoid {
            paranoid.take(&changes);
        }
        let begun = Instant::now();
        let mut outcome = self.compiler.apply(changes);
        self.metrics.batch(count, begun.elapsed(), outcome.panics);
        self.wanted(std::mem::take(&mut outcome.wanted));
        // A batch that only moved what is retained has nothing to acknowledge.
        let silent = objects == 0
            && !decided
            && outcome.rows.is_empty()
            && outcome.verdicts.is_empty()
            && outcome.readiness.is_empty();
        if silent && !first {
            return;
        }
        self.snapshot.batch = number;
        let held = self.hold.objects(&self.snapshot);
        let adjusted = match self.snapshot.published {
            true => self.hold.adjust(&outcome.rows, &self.snapshot, Instant::now()),
            false => None,
        };
        self.snapshot.rows(&outcome.rows);
        self.snapshot.verdicts(&outcome.verdicts, number);
        self.snapshot.readiness(&outcome.readiness);
        for (key, _, _) in &touched {
            self.snapshot.renewed(key, number);
        }
        self.keep(&outcome.verdicts);
        let judged = outcome.verdicts.iter().map(|(key, _)| key).chain(touched.iter().map(|(key, _, _)| key));
        self.changed.objects.extend(judged.filter(|key| key.kind.is_custom()).cloned());
        self.changed.backends.extend(outcome.readiness.iter().map(|(name, _)| name.clone()));
        for (key, object) in std::mem::take(&mut outcome.retain) {
            if object.is_some() && self.quarantine.refusals().contains_key(&key) {
                // An object from an annotation changed; no feed says so.
                self.decided.extend(self.quarantine.changed(&key));
            }
            self.retain.insert(key, (number, object));
        }
        if let Some(adjusted) = adjusted {
            outcome.rows = adjusted;
            held.iter().for_each(|key| self.snapshot.renewed(key, number));
            // What is held back is not on its way yet.
            self.hold.objects(&self.snapshot).iter().for_each(|key| self.snapshot.renewed(key, u64::MAX));
        }
        self.publish(number, outcome, &touched);
    }

    /// Sends what was held back and need not wait any longer.
    fn release(&mut self) {
        let Some((rows, objects)) = self.hold.release(&self.snapshot, Instant::now()) else { return };
        let number = self.snapshot.batch + 1;
        self.snapshot.batch = number;
        for key in &objects {
            self.snapshot.renewed(key, number);
        }
        self.changed.objects.extend(objects.into_iter().filter(|key| key.kind.is_custom()));
        self.publish_rows(number, &rows);
    }

    /// Keeps the versions that serve in the place of another one where they outlive this process.
    fn keep(&self, verdicts: &[(ObjectKey, Option<Arc<ir::Verdict>>)]) {
        for (key, verdict) in verdicts {
            let retains = verdict.as_ref().is_some_and(|verdict| verdict.retained);
            let version = retains.then(|| self.compiler.retained(key)).flatten();
            self.board.remember(|remembered| match version {
                Some(version) => {
                    Arc::make_mut(&mut remembered.retained).insert(key.clone(), version.clone()) != Some(version)
                }
                None if remembered.retained.contains_key(key) => {
                    Arc::make_mut(&mut remembered.retained).remove(key).is_some()
                }
                None => false,
            });
        }
    }

    /// Sends rows on their way, once everything that has to be known is known.
    fn publish(&mut self, number: u64, outcome: Outcome, touched: &[(ObjectKey, What, Instant)]) {
        let first = !self.snapshot.published;
        if first && !self.unanswered.is_empty() {
            return;
        }
        let all;
        let rows = if first {
            all = self.compiler.rows();
            &all
        } else {
            &outcome.rows
        };
        self.publish_rows(number, rows);
        if first {
            self.reporter.started(&self.snapshot, self.started);
        } else {
            self.reporter.changed(&self.snapshot, number, touched, &outcome.verdicts);
        }
    }

    fn publish_rows(&mut self, number: u64, rows: &RowChanges) {
        let begun = Instant::now();
        let mut delta = self.renderer.apply(rows, number);
        self.metrics.rendered(begun.elapsed());
        if std::mem::take(&mut self.retrying) {
            let listeners = delta.upserts.iter().filter(|resource| resource.kind == ResourceType::Listener);
            delta.retries = listeners.map(|resource| (resource.kind, resource.name.clone())).collect();
        }
        for resource in &delta.upserts {
            self.metrics.pushed(resource.kind.short(), resource.payload.len());
        }
        self.note_versions(number, &delta, rows);
        self.snapshot.published = true;
        self.store.apply(delta);
        let more = self.quarantine.settled(number);
        self.decided.extend(more);
    }

    /// Tells the quarantine which versions of what it watches are out now.
    fn note_versions(&mut self, number: u64, delta: &Delta, rows: &RowChanges) {
        for resource in &delta.upserts {
            let name = &resource.name;
            let (kind, parts) = match resource.kind {
                ResourceType::Route => {
                    (ScopeKind::Routes, self.renderer.fragments(resource.kind, name).map(Parts::Routes))
                }
                ResourceType::Listener => {
                    let row = rows.listeners.iter().find(|(row, _)| row == name).and_then(|(_, row)| row.clone());
                    (ScopeKind::Listener, row.map(Parts::Listener))
                }
                _ => continue,
            };
            if let Some(parts) = parts {
                let scope = Scope { kind, name: name.clone() };
                self.quarantine.published(number, &scope, Some((resource.version.0, parts)));
            }
        }
        for (kind, name) in &delta.removals {
            let kind = match kind {
                ResourceType::Route => ScopeKind::Routes,
                ResourceType::Listener => ScopeKind::Listener,
                _ => continue,
            };
            self.quarantine.published(number, &Scope { kind, name: name.clone() }, None);
        }
    }

    /// Bookkeeping for one change that came in.
    fn arrived(&mut self, change: &Change, received: Instant, touched: &mut Vec<(ObjectKey, What, Instant)>) {
        match change {
            Change::Put(object) => {
                let old = self.prints.insert(object.key.clone(), object.fingerprint);
                if old != Some(object.fingerprint) {
                    self.changed(&object.key);
                }
                self.answered_secret(&object.key);
                touched.push((object.key.clone(), What::Put, received));
            }
            Change::Gone(key) => {
                let known = self.prints.remove(key).is_some();
                room::shrink(&mut self.prints);
                self.changed(key);
                self.answered_secret(key);
                if known {
                    touched.push((key.clone(), What::Gone, received));
                }
            }
            Change::File(path, _) => _ = self.unanswered.remove(&WantedName::File(path.clone())),
            // Remembered by an earlier process, or another one.
            Change::Refusal(key, Some(refusal)) => {
                let known = self.prints.entry(key.clone()).or_insert(refusal.fingerprint);
                if *known == refusal.fingerprint && !self.quarantine.refuse([key.clone()], &refusal.text).is_empty() {
                    self.retries.refused(key, &refusal.text, received);
                    self.board.remember(|remembered| {
                        Arc::make_mut(&mut remembered.refused).insert(key.clone(), refusal.clone()).is_none()
                    });
                }
            }
            Change::Retained(..) | Change::Refusal(..) => {}
        }
    }

    /// What was said about the old version is void, and about those who were refused because of it.
    fn changed(&mut self, key: &ObjectKey) {
        self.retries.forget(key);
        self.decided.extend(self.quarantine.changed(key));
        for user in self.refused_with.remove(key).into_iter().flatten() {
            self.decided.extend(self.quarantine.changed(&user));
        }
    }

    fn answered_secret(&mut self, key: &ObjectKey) {
        if key.kind == Kind::Secret {
            self.unanswered.remove(&WantedName::Secret { namespace: key.namespace.clone(), name: key.name.clone() });
        }
    }

    fn wanted(&mut self, wanted: WantedChanges) {
        if wanted == WantedChanges::default() {
            return;
        }
        self.unanswered.extend(wanted.added.iter().cloned());
        wanted.removed.iter().for_each(|name| _ = self.unanswered.remove(name));
        let wanted = Arc::new(wanted);
        self.feeds.iter().for_each(|feed| feed.wanted(&wanted));
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected { client, node } => {
                tracing::info!(client = client.0, node = node.id, version = node.version, "Envoy connected");
                Arc::make_mut(&mut self.snapshot.clients).insert(client.0, Client::default());
            }
            Event::Disconnected { client } => {
                tracing::info!(client = client.0, "Envoy disconnected");
                Arc::make_mut(&mut self.snapshot.clients).remove(&client.0);
                self.quarantine.disconnected(client.0);
                self.hold.disconnected(client.0);
                // A search without its client may go on with another one.
                let more = self.quarantine.settled(self.snapshot.batch);
                self.decided.extend(more);
            }
            Event::Acked { client, kind, resources } => {
                self.metrics.acked(kind.short());
                if kind == ResourceType::Cluster {
                    self.hold.acknowledged(client.0, resources.iter().map(|(name, _)| name));
                }
                let scope = match kind {
                    ResourceType::Route => ScopeKind::Routes,
                    ResourceType::Listener => ScopeKind::Listener,
                    _ => return,
                };
                for (name, version) in resources {
                    let more = self.quarantine.acked(client.0, &Scope { kind: scope, name }, version.0);
                    self.decided.extend(more);
                }
            }
            Event::Refused { client, kind, resources, detail, .. } => {
                self.metrics.nacked(kind.short());
                tracing::warn!(
                    client = client.0,
                    kind = kind.short(),
                    resources = resources.len(),
                    error = detail,
                    "Envoy refused a response"
                );
                if kind == ResourceType::Cluster {
                    self.hold.acknowledged(client.0, resources.iter().map(|(name, _)| name));
                }
                self.refused(client.0, kind, &resources, &detail);
            }
            Event::Live { client, batch } => {
                if let Some(known) = Arc::make_mut(&mut self.snapshot.clients).get_mut(&client.0) {
                    known.live = batch;
                }
                self.reporter.live(&self.snapshot);
            }
        }
    }

    /// Hands back the versions that every client has by now.
    fn retained(&mut self, changes: &mut Vec<Change>) {
        let Some(live) = self.snapshot.live() else { return };
        let ready: Vec<ObjectKey> =
            self.retain.iter().filter(|(_, (batch, _))| *batch <= live).map(|(key, _)| key.clone()).collect();
        for key in ready {
            if let Some((_, object)) = self.retain.remove(&key) {
                changes.push(Change::Retained(key, object));
            }
        }
    }

    fn publish_snapshot(&mut self) {
        let mut waiting: Vec<String> = Vec::new();
        if !self.snapshot.published {
            let name = |feed: &FeedId| self.feeds.get(feed.0).map(|feed| feed.name()).unwrap_or_default();
            waiting.extend(self.unlisted.iter().map(|feed| format!("the first listing of {}", name(feed))));
            waiting.extend(self.unanswered.iter().map(|name| match name {
                WantedName::Secret { namespace, name } => format!("Secret {namespace}/{name}"),
                WantedName::File(path) => format!("file {path}"),
            }));
        }
        if *self.snapshot.waiting_for != waiting {
            self.snapshot.waiting_for = Arc::new(waiting);
        }
        self.board.publish(self.snapshot.clone(), &mut self.changed);
    }
}

fn remembered_print((change, _): &(Change, Instant)) -> Option<(ObjectKey, u64)> {
    match change {
        Change::Refusal(key, Some(refusal)) => Some((key.clone(), refusal.fingerprint)),
        _ => None,
    }
}
