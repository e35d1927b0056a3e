//! What people are told while the gateway runs: verdicts at the start, then what changed and how long it took.

use crate::feed::SourceProblem;
use crate::snapshot::Snapshot;
use crate::status::{self, Acknowledgement, State};
use diag::Metrics;
use ir::{Kind, ListenerRow, ObjectKey, ProblemKind, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new or different.
    Put,
    /// It is gone.
    Gone,
    /// Something else changed what is said about it.
    Judged,
}

/// One thing to tell.
#[derive(Clone, Debug)]
pub enum Report {
    /// The first configuration is published.
    Started(Box<Started>),
    /// All connected Envoys have the first configuration.
    Serving(Duration),
    /// An object changed.
    Changed(ChangeReport),
    /// Something in a source became wrong.
    Problem(SourceProblem),
    /// A source problem is no more.
    Solved(SourceProblem),
    /// Anything else.
    Note(String),
}

/// The first configuration.
#[derive(Clone, Debug)]
pub struct Started {
    /// Objects with their state and what there is to say.
    pub objects: Vec<(ObjectKey, State, String)>,
    /// What is bound.
    pub listeners: Vec<Arc<ListenerRow>>,
    /// Since the start of the pipeline.
    pub after: Duration,
}

/// A change, told once it is live or will not become so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeReport {
    /// The object.
    pub key: ObjectKey,
    /// What happened.
    pub what: What,
    /// Its state; `None` for objects that nothing is said about.
    pub state: Option<State>,
    /// What there is to say.
    pub summary: String,
    /// From the moment it was noticed until all connected Envoys had acknowledged it; `None` when there is nothing to
    /// wait for.
    pub live: Option<Duration>,
}

/// Who is told.
#[derive(Debug)]
pub struct Audience {
    /// Their end.
    pub to: SyncSender<Box<Report>>,
    /// Only of objects of `getambassador.io`: in a cluster Services, EndpointSlices and Secrets change with every pod, and
    /// what comes of it is told with those who use them.
    pub custom_only: bool,
}

/// Keeps changes until they are live.
#[derive(Debug)]
pub(super) struct Reporter {
    to: Option<Audience>,
    metrics: Arc<Metrics>,
    waiting: BTreeMap<ObjectKey, Waiting>,
    /// The first batch and when it was begun, until it is live.
    first: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Waiting {
    batch: u64,
    what: What,
    received: Instant,
    /// It was held back together with others; that it is back is told only if something is wrong with it.
    held: bool,
}

impl Reporter {
    pub(super) fn new(to: Option<Audience>, metrics: Arc<Metrics>) -> Self {
        Self { to, metrics, waiting: BTreeMap::new(), first: None }
    }

    pub(super) fn note(&self, note: String) {
        self.tell(Report::Note(note));
    }

    pub(super) fn problems(&self, before: &[SourceProblem], now: &[SourceProblem]) {
        now.iter()
            .filter(|problem| !before.contains(problem))
            .for_each(|problem| self.tell(Report::Problem(problem.clone())));
        before
            .iter()
            .filter(|problem| !now.contains(problem))
            .for_each(|problem| self.tell(Report::Solved(problem.clone())));
    }

    pub(super) fn started(&mut self, snapshot: &Snapshot, begun: Instant) {
        self.first = Some((snapshot.batch, begun));
        if self.to.is_none() {
            return;
        }
        let mut objects: Vec<_> = snapshot
            .entries
            .iter()
            .map(|(key, entry)| {
                let state = status::state(&entry.verdict, Acknowledgement::NoProxy);
                (key.clone(), state, status::summary(&entry.verdict))
            })
            .collect();
        objects.sort_by(|left, right| left.0.cmp(&right.0));
        let mut listeners: Vec<_> = snapshot.listeners.iter().map(|(_, row)| row.clone()).collect();
        listeners.sort_by(|left, right| left.name.cmp(&right.name));
        self.tell(Report::Started(Box::new(Started { objects, listeners, after: begun.elapsed() })));
    }

    /// Objects of a batch: those that changed, and those about which something else is said now.
    pub(super) fn changed(
        &mut self,
        snapshot: &Snapshot,
        batch: u64,
        touched: &[(ObjectKey, What, Instant)],
        verdicts: &[(ObjectKey, Option<Arc<Verdict>>)],
    ) {
        for (key, what, received) in touched {
            // The clock of an older change of the object runs on, as that one is not live yet.
            let received = self.waiting.get(key).map_or(*received, |older| older.received.min(*received));
            self.waiting.insert(key.clone(), Waiting { batch, what: *what, received, held: false });
        }
        let now = Instant::now();
        for (key, verdict) in verdicts {
            let held = verdict.as_ref().is_some_and(|verdict| is_held(verdict));
            let new = Waiting { batch, what: What::Judged, received: now, held };
            let waiting = self.waiting.entry(key.clone()).or_insert(new);
            waiting.batch = batch;
            waiting.held |= held;
        }
        let settled: Vec<ObjectKey> = self
            .waiting
            .iter()
            .filter(|(key, waiting)| waiting.batch == batch && !self.awaits(snapshot, key) && !held_now(snapshot, key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in settled {
            self.finish(snapshot, &key, false);
        }
    }

    /// A client has got further.
    pub(super) fn live(&mut self, snapshot: &Snapshot) {
        let Some(live) = snapshot.live_here() else { return };
        if let Some((batch, begun)) = self.first
            && live >= batch
        {
            self.first = None;
            self.tell(Report::Serving(begun.elapsed()));
        }
        let ready: Vec<ObjectKey> = self
            .waiting
            .iter()
            .filter(|(key, waiting)| waiting.batch <= live && !held_now(snapshot, key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ready {
            self.finish(snapshot, &key, true);
        }
    }

    /// Whether Envoy has something to acknowledge for that object.
    fn awaits(&self, snapshot: &Snapshot, key: &ObjectKey) -> bool {
        let works = snapshot.entries.get(key).is_none_or(|entry| entry.verdict.accepted && entry.verdict.attached);
        works && snapshot.live_here().is_some()
    }

    fn finish(&mut self, snapshot: &Snapshot, key: &ObjectKey, live: bool) {
        let Some(waiting) = self.waiting.remove(key) else { return };
        let entry = snapshot.entries.get(key);
        let state = entry.map(|entry| status::state(&entry.verdict, snapshot.acknowledgement(entry)));
        let live = (live && state != Some(State::Refused)).then(|| waiting.received.elapsed());
        if let (Some(after), true) = (live, waiting.what != What::Judged) {
            self.metrics.live(after);
        }
        // Namespaces and Secrets change for many reasons; what comes of it is told with those who use them.
        let back = waiting.held && waiting.what == What::Judged && state != Some(State::Refused);
        let is_told = |audience: &Audience| !audience.custom_only || key.kind.is_custom();
        if key.kind == Kind::Namespace || back || !self.to.as_ref().is_some_and(is_told) {
            return;
        }
        let summary = entry.map(|entry| status::summary(&entry.verdict)).unwrap_or_default();
        self.tell(Report::Changed(ChangeReport { key: key.clone(), what: waiting.what, state, summary, live }));
    }

    fn tell(&self, report: Report) {
        if let Some(audience) = &self.to {
            // A reader that does not keep up loses lines; the pipeline does not wait for a terminal.
            let _ = audience.to.try_send(Box::new(report));
        }
    }
}

/// Whether the object waits for the end of a search.
fn is_held(verdict: &Verdict) -> bool {
    verdict.problems.iter().any(|problem| problem.kind == ProblemKind::HeldBack)
}

fn held_now(snapshot: &Snapshot, key: &ObjectKey) -> bool {
    snapshot.entries.get(key).is_some_and(|entry| is_held(&entry.verdict))
}
