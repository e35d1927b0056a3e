//! From what the pipeline published to keys that a controller has to look at. What it costs follows the change.
//!
//! An object whose newest version is on its way to Envoy waits here: for the acknowledgement of its batch, or until
//! nobody wants to wait any longer. So an edit costs one write, and a cold start one for each object.

use crate::snapshot::{Board, Entry, Journal, Snapshot};
use crate::status::Acknowledgement;
use ahash::{AHashMap, AHashSet};
use ir::{ObjectKey, ProblemKind, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Without any Envoy nothing is acknowledged; the status says so then.
const WITHOUT_PROXY: Duration = Duration::from_secs(2);
/// An Envoy that is connected may take its time over a large configuration, and a search for what it refuses, too.
const WITH_PROXY: Duration = Duration::from_secs(10);
/// Objects a second that are looked at because of their endpoints: one Service may carry all of them.
const BACKENDS_PER_SECOND: f64 = 100.0;
/// So many at once, if there were few before.
const BACKENDS_AT_ONCE: f64 = 100.0;

/// What controllers and [`Wake`] tell each other.
#[derive(Debug, Default)]
pub(super) struct Waited {
    /// The newest batches that were waited for long enough.
    without_proxy: AtomicU64,
    with_proxy: AtomicU64,
    unacknowledged: Mutex<AHashSet<ObjectKey>>,
    bell: Notify,
}

impl Waited {
    /// Whether nobody waits any longer for what Envoy says about that batch.
    pub(super) fn is_over(&self, batch: u64, acknowledged: Acknowledgement) -> bool {
        let over = |until: &AtomicU64| until.load(Ordering::Relaxed) >= batch;
        over(&self.with_proxy) || acknowledged == Acknowledgement::NoProxy && over(&self.without_proxy)
    }

    /// A look found that not every Envoy has the object, and nobody may wait for it any more: they all had it when the
    /// controller was sent to look, and then another Envoy or replica appeared. That it has it, too, must not go unheard.
    pub(super) fn hand_back(&self, key: ObjectKey) {
        self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.bell.notify_one();
    }

    /// Ends when [`Wake::step`] has such objects to take in.
    pub(super) async fn rings(&self) {
        self.bell.notified().await;
    }
}

/// Collects what has to be looked at and when. Holds no clock: every call is told the time.
pub(super) struct Wake {
    board: Arc<Board>,
    waited: Arc<Waited>,
    /// Whether everything that was there at the first publication is dealt with.
    seeded: bool,
    /// Objects that wait for an acknowledgement, with their batch, and the same by batch.
    waiting: AHashMap<ObjectKey, u64>,
    batches: BTreeMap<u64, AHashSet<ObjectKey>>,
    /// Objects that wait for the end of a search, by batch; with its end their verdict changes.
    held: BTreeMap<u64, Vec<ObjectKey>>,
    /// When waiting for a batch ends, with and without an Envoy; ascending.
    without_proxy: VecDeque<(Instant, u64)>,
    with_proxy: VecDeque<(Instant, u64)>,
    /// Endpoints whose change is to be told at that moment.
    backends: BTreeMap<Instant, AHashSet<Arc<str>>>,
    /// Objects to look at because of their endpoints, as their turn comes.
    turns: VecDeque<ObjectKey>,
    in_turn: AHashSet<ObjectKey>,
    allowance: f64,
    allowed_at: Option<Instant>,
}

/// What has to be looked at now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Due {
    /// Every object that does not wait, whether anything is said about it or not.
    pub all: bool,
    /// These.
    pub objects: Vec<ObjectKey>,
}

impl Wake {
    pub(super) fn new(board: Arc<Board>, waited: Arc<Waited>) -> Self {
        Self {
            board,
            waited,
            seeded: false,
            waiting: AHashMap::new(),
            batches: BTreeMap::new(),
            held: BTreeMap::new(),
            without_proxy: VecDeque::new(),
            with_proxy: VecDeque::new(),
            backends: BTreeMap::new(),
            turns: VecDeque::new(),
            in_turn: AHashSet::new(),
            allowance: BACKENDS_AT_ONCE,
            allowed_at: None,
        }
    }

    /// Takes in what was published and what became due.
    pub(super) fn step(&mut self, now: Instant) -> Due {
        let (journal, snapshot) = self.board.changes();
        let mut due = Due::default();
        if !snapshot.published {
            return due;
        }
        if self.seeded {
            self.journal(&journal, &snapshot, now, &mut due);
        } else {
            self.seeded = true;
            due.all = true;
            snapshot.entries.iter().for_each(|(key, entry)| _ = self.wait(key, entry, &snapshot, now));
            let missing = snapshot.backings.iter().filter(|(_, backing)| !backing.ready);
            missing.for_each(|(name, _)| self.backend(name, &snapshot, now));
        }
        self.unacknowledged(&snapshot, now, &mut due);
        self.acknowledged(&snapshot, &mut due);
        self.patience(now, &mut due);
        self.endpoints(&snapshot, now);
        self.turn(now, &mut due);
        due
    }

    /// Whether the object waits for something that will be heard of.
    pub(super) fn is_waiting(&self, key: &ObjectKey) -> bool {
        self.waiting.contains_key(key)
    }

    /// The oldest batch that some object waits for.
    pub(super) fn awaited(&self) -> Option<u64> {
        self.batches.keys().next().copied()
    }

    /// When [`Wake::step`] has something to do even if nothing is published.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let turn = (!self.turns.is_empty()).then(|| now + Duration::from_secs_f64(10.0 / BACKENDS_PER_SECOND));
        let patience = [&self.without_proxy, &self.with_proxy].into_iter().filter_map(|ends| ends.front());
        let backends = self.backends.keys().next().copied();
        patience.map(|(at, _)| *at).chain(backends).chain(turn).min()
    }

    fn journal(&mut self, journal: &Journal, snapshot: &Snapshot, now: Instant, due: &mut Due) {
        for key in &journal.objects {
            let waits = snapshot.entries.get(key).is_some_and(|entry| self.wait(key, entry, snapshot, now));
            if !waits {
                self.forget(key);
                due.objects.push(key.clone());
            }
        }
        for name in &journal.backends {
            self.backend(name, snapshot, now);
        }
    }

    /// Lets the object wait if there is something to wait for.
    fn wait(&mut self, key: &ObjectKey, entry: &Entry, snapshot: &Snapshot, now: Instant) -> bool {
        let held = is_held(&entry.verdict);
        if !held && (!awaits(&entry.verdict) || snapshot.acknowledgement(entry) == Acknowledgement::Live) {
            return false;
        }
        self.forget(key);
        if held {
            self.held.entry(entry.batch).or_default().push(key.clone());
        } else {
            self.waiting.insert(key.clone(), entry.batch);
            self.batches.entry(entry.batch).or_default().insert(key.clone());
        }
        for (ends, patience) in [(&mut self.without_proxy, WITHOUT_PROXY), (&mut self.with_proxy, WITH_PROXY)] {
            if ends.back().is_none_or(|(_, batch)| *batch < entry.batch) {
                ends.push_back((now + patience, entry.batch));
            }
        }
        true
    }

    fn forget(&mut self, key: &ObjectKey) {
        let Some(batch) = self.waiting.remove(key) else { return };
        if let Some(keys) = self.batches.get_mut(&batch) {
            keys.remove(key);
            if keys.is_empty() {
                self.batches.remove(&batch);
            }
        }
    }

    /// Lets objects wait again, where they do not.
    fn unacknowledged(&mut self, snapshot: &Snapshot, now: Instant, due: &mut Due) {
        let keys = std::mem::take(&mut *self.waited.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        for key in keys {
            let Some(entry) = snapshot.entries.get(&key) else { continue };
            // What Envoy has nothing to say about is right as it is, and a search ends with another verdict.
            let waits =
                !awaits(&entry.verdict) || is_held(&entry.verdict) || self.waiting.get(&key) == Some(&entry.batch);
            if !waits && !self.wait(&key, entry, snapshot, now) {
                due.objects.push(key);
            }
        }
    }

    fn acknowledged(&mut self, snapshot: &Snapshot, due: &mut Due) {
        let Some(live) = snapshot.live() else { return };
        while let Some(batch) = self.batches.first_entry().filter(|batch| *batch.key() <= live) {
            for key in batch.remove() {
                self.waiting.remove(&key);
                due.objects.push(key);
            }
        }
    }

    fn patience(&mut self, now: Instant, due: &mut Due) {
        let waited = self.waited.clone();
        for (ends, over) in
            [(&mut self.without_proxy, &waited.without_proxy), (&mut self.with_proxy, &waited.with_proxy)]
        {
            while let Some((_, batch)) = ends.pop_front_if(|(at, _)| *at <= now) {
                over.fetch_max(batch, Ordering::Relaxed);
                // They are still waited for: what is said now may have to be said better later.
                due.objects.extend(self.batches.get(&batch).into_iter().flatten().cloned());
            }
        }
        let over = waited.with_proxy.load(Ordering::Relaxed);
        while let Some(held) = self.held.first_entry().filter(|held| *held.key() <= over) {
            due.objects.append(&mut held.remove());
        }
    }

    fn backend(&mut self, name: &Arc<str>, snapshot: &Snapshot, now: Instant) {
        let at = match snapshot.backings.get(name) {
            Some(backing) if !backing.ready => backing.since + super::decide::NO_ENDPOINTS_AFTER,
            _ => now,
        };
        self.backends.entry(at).or_default().insert(name.clone());
    }

    /// Finds the objects behind endpoints that changed. One look at all objects, however many endpoints: they change
    /// rarely, and nothing else has to keep an index for it.
    fn endpoints(&mut self, snapshot: &Snapshot, now: Instant) {
        let later = self.backends.split_off(&(now + Duration::from_nanos(1)));
        let names: AHashSet<Arc<str>> = std::mem::replace(&mut self.backends, later).into_values().flatten().collect();
        if names.is_empty() {
            return;
        }
        for (key, entry) in snapshot.entries.iter() {
            if entry.verdict.backend.as_ref().is_some_and(|backend| names.contains(backend))
                && self.in_turn.insert(key.clone())
            {
                self.turns.push_back(key.clone());
            }
        }
    }

    fn turn(&mut self, now: Instant, due: &mut Due) {
        let passed = self.allowed_at.replace(now).map_or(0.0, |before| (now - before).as_secs_f64());
        self.allowance = (self.allowance + passed * BACKENDS_PER_SECOND).min(BACKENDS_AT_ONCE);
        while self.allowance >= 1.0 {
            let Some(key) = self.turns.pop_front() else { return };
            self.allowance -= 1.0;
            self.in_turn.remove(&key);
            due.objects.push(key);
        }
    }
}

/// Whether what is said about the object depends on what Envoy answers.
fn awaits(verdict: &Verdict) -> bool {
    let refused = verdict.problems.iter().any(|problem| problem.kind == ProblemKind::RefusedByEnvoy);
    verdict.accepted && verdict.attached && !refused
}

fn is_held(verdict: &Verdict) -> bool {
    verdict.problems.iter().any(|problem| problem.kind == ProblemKind::HeldBack)
}

#[cfg(test)]
mod tests;
