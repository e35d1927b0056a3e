//! Which answers are right at which moment, and every one that was not.
//!
//! An edit opens an epoch: from the moment before it is written its answers are right, too. The answers from before stay
//! right until the gateway is known to have the edit everywhere, and a little longer, as a request may have been on its
//! way. An answer is judged by all epochs that overlap the time of its request.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer from before stays right after an edit was seen live. A worker learns of a table microseconds after
/// the acknowledgement, but gets the processor when the machine lets it.
const GRACE: Duration = Duration::from_millis(500);
/// Edits that are named with an error: those that were written that long before it at most.
const RECENT: Duration = Duration::from_secs(5);
/// So many of them are shown with a fault: a dozen can be on their way at a time.
const SHOWN: usize = 30;
/// Errors that are kept in full; all are counted.
const KEPT: usize = 200;

/// Where a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// Clear text, a name that only the Host `*` serves.
    Any,
    /// Clear text, the name of the second TLS Host.
    ClearSecond,
    /// TLS, the first Host.
    First,
    /// TLS, the second Host.
    Second,
}

impl Entry {
    /// All of them.
    pub const ALL: [Entry; 4] = [Entry::Any, Entry::ClearSecond, Entry::First, Entry::Second];

    /// The authority that is asked for, and the server name where it is TLS.
    pub fn authority(self) -> &'static str {
        match self {
            Entry::Any => "any.example",
            Entry::First => "h0.example",
            Entry::ClearSecond | Entry::Second => "h1.example",
        }
    }

    /// Whether it is TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Entry::First | Entry::Second)
    }
}

/// Something that is asked again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// The path of a slot.
    Slot(Entry, usize),
    /// The certificate of a TLS Host.
    Certificate(Entry),
}

/// What can come back: the name of an instance, a status, a fingerprint.
pub type Answer = Arc<str>;

#[derive(Clone, Debug)]
struct Epoch {
    edit: usize,
    answers: BTreeSet<Answer>,
    until: Option<Instant>,
}

/// One edit.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Its number, from 1.
    pub number: usize,
    /// What it does.
    pub what: String,
    at: Instant,
}

/// A wrong answer, or none.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Time since the start.
    pub after: Duration,
    /// Who asked, what, and what came.
    pub what: String,
    /// Edits that may have caused it.
    pub edits: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:9.3} s  {}", self.after.as_secs_f64(), self.what)?;
        self.edits.iter().try_for_each(|edit| writeln!(f, "             {edit}"))
    }
}

/// The book of a run. All tasks share it.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    epochs: Mutex<HashMap<Probe, Vec<Epoch>>>,
    edits: Mutex<Vec<Edit>>,
    faults: Mutex<Vec<Fault>>,
    fault_count: AtomicU64,
    answers: AtomicU64,
    connections: AtomicU64,
    disturbed: Mutex<Vec<(Option<Entry>, Instant, Instant)>>,
    retired: Mutex<HashSet<Arc<str>>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            epochs: Mutex::default(),
            edits: Mutex::default(),
            faults: Mutex::default(),
            fault_count: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            disturbed: Mutex::default(),
            retired: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// Notes an edit that is about to be written, and the answers that are right after it where they differ.
    pub fn edit(&self, what: String, changed: impl IntoIterator<Item = (Probe, BTreeSet<Answer>)>) -> usize {
        let now = Instant::now();
        let number = {
            let mut edits = lock(&self.edits);
            let number = edits.len() + 1;
            edits.push(Edit { number, what, at: now });
            number
        };
        let mut epochs = lock(&self.epochs);
        for (probe, answers) in changed {
            let known = epochs.entry(probe).or_default();
            known.push(Epoch { edit: number, answers, until: None });
        }
        number
    }

    /// A Service that gave these answers gives those from now on. Where a route that led there is taken away or moved and that
    /// is not live yet, they are right, too: requests follow the old route to whatever is behind it.
    pub fn follow(&self, before: &BTreeSet<Answer>, now: &BTreeSet<Answer>) {
        let is_open = |epoch: &&mut Epoch| epoch.until.is_none_or(|until| until >= Instant::now());
        for known in lock(&self.epochs).values_mut() {
            let replaced = known.len().saturating_sub(1);
            let open = known.iter_mut().take(replaced).filter(is_open);
            open.filter(|epoch| !epoch.answers.is_disjoint(before)).for_each(|epoch| epoch.answers.extend(now.clone()));
        }
    }

    /// Everything up to that edit is live everywhere: what was right before it is wrong from now on.
    pub fn settle(&self, edit: usize) {
        let end = Instant::now() + GRACE;
        for known in lock(&self.epochs).values_mut() {
            let Some(newest) = known.iter().rposition(|epoch| epoch.edit <= edit) else { continue };
            for old in known.iter_mut().take(newest) {
                old.until.get_or_insert(end);
            }
            // No request takes a minute.
            known.retain(|epoch| epoch.until.is_none_or(|until| until.elapsed() < Duration::from_secs(60)));
        }
    }

    /// The answers that are right now.
    pub fn expected(&self, probe: Probe) -> BTreeSet<Answer> {
        let epochs = lock(&self.epochs);
        epochs.get(&probe).and_then(|known| known.last()).map(|epoch| epoch.answers.clone()).unwrap_or_default()
    }

    /// Judges an answer to a request that began then and ends now.
    pub fn answered(&self, probe: Probe, began: Instant, answer: &str, detail: impl FnOnce() -> String) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let right: BTreeSet<Answer> = {
            let epochs = lock(&self.epochs);
            let overlapping = epochs.get(&probe).into_iter().flatten();
            let overlapping = overlapping.filter(|epoch| epoch.until.is_none_or(|until| until >= began));
            let mut right = BTreeSet::new();
            for epoch in overlapping {
                if epoch.answers.contains(answer) {
                    return;
                }
                right.extend(epoch.answers.iter().cloned());
            }
            right
        };
        let right: Vec<&str> = right.iter().map(|one| &**one).collect();
        self.fault(format!("{probe:?}: got {answer}, right is {}; {}", right.join(" or "), detail()));
    }

    /// Notes something that must not happen.
    pub fn fault(&self, what: String) {
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let edits = lock(&self.edits);
        let recent = edits.iter().rev().take_while(|edit| now - edit.at < RECENT).take(SHOWN);
        let line =
            |edit: &Edit| format!("edit {} {:.3} s before: {}", edit.number, (now - edit.at).as_secs_f64(), edit.what);
        let edits: Vec<String> = recent.map(line).collect();
        let mut faults = lock(&self.faults);
        if faults.len() < KEPT {
            faults.push(Fault { after: now - self.started, what, edits });
        }
    }

    /// Connections of that entry (of all, with none) may be closed by the gateway from now on for that long.
    pub fn disturb(&self, entry: Option<Entry>, time: Duration) {
        let now = Instant::now();
        let mut disturbed = lock(&self.disturbed);
        disturbed.retain(|(_, _, until)| until.elapsed() < Duration::from_secs(60));
        disturbed.push((entry, now, now + time));
    }

    /// Whether the gateway may have closed a connection of that entry since then.
    pub fn is_disturbed(&self, entry: Entry, since: Instant) -> bool {
        let disturbed = lock(&self.disturbed);
        disturbed.iter().any(|(about, _, until)| about.is_none_or(|about| about == entry) && *until >= since)
    }

    /// That instance has ended, and with it what was connected to it.
    pub fn retire(&self, instance: Arc<str>) {
        lock(&self.retired).insert(instance);
    }

    /// Whether it has ended.
    pub fn is_retired(&self, instance: &str) -> bool {
        lock(&self.retired).contains(instance)
    }

    /// Counts a new connection.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers judged, connections made, edits written, faults found.
    pub fn counts(&self) -> (u64, u64, usize, u64) {
        (
            self.answers.load(Ordering::Relaxed),
            self.connections.load(Ordering::Relaxed),
            lock(&self.edits).len(),
            self.fault_count.load(Ordering::Relaxed),
        )
    }

    /// The faults, as far as they are kept.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.faults).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Probe = Probe::Slot(Entry::Any, 0);

    fn only(answer: &str) -> BTreeSet<Answer> {
        [Arc::from(answer)].into()
    }

    fn faults(ledger: &Ledger) -> u64 {
        ledger.counts().3
    }

    #[test]
    fn old_and_new_answers_are_right_until_the_edit_is_settled() {
        let ledger = Ledger::default();
        ledger.edit("begin".into(), [(PROBE, only("a"))]);
        ledger.answered(PROBE, Instant::now(), "a", String::new);
        assert_eq!(faults(&ledger), 0);
        ledger.answered(PROBE, Instant::now(), "b", String::new);
        assert_eq!(faults(&ledger), 1);
        let edit = ledger.edit("switch".into(), [(PROBE, only("b"))]);
        for answer in ["a", "b"] {
            ledger.answered(PROBE, Instant::now(), answer, String::new);
        }
        assert_eq!(faults(&ledger), 1);
        ledger.settle(edit);
        let later = Instant::now() + GRACE + Duration::from_millis(1);
        ledger.answered(PROBE, later, "b", String::new);
        assert_eq!(faults(&ledger), 1);
        ledger.answered(PROBE, later, "a", String::new);
        assert_eq!(faults(&ledger), 2);
        assert!(ledger.faults().last().unwrap().edits.iter().any(|edit| edit.contains("switch")));
    }

    #[test]
    fn an_edit_settles_those_before_it_and_none_behind() {
        let ledger = Ledger::default();
        let first = ledger.edit("one".into(), [(PROBE, only("a"))]);
        ledger.edit("two".into(), [(PROBE, only("b"))]);
        ledger.settle(first);
        let later = Instant::now() + GRACE * 2;
        ledger.answered(PROBE, later, "a", String::new);
        ledger.answered(PROBE, later, "b", String::new);
        assert_eq!(faults(&ledger), 0);
    }

    #[test]
    fn a_route_that_goes_follows_its_service_until_it_is_gone() {
        let ledger = Ledger::default();
        ledger.edit("begin".into(), [(PROBE, only("a"))]);
        let edit = ledger.edit("is deleted".into(), [(PROBE, only("404"))]);
        ledger.answered(PROBE, Instant::now(), "b", String::new);
        assert_eq!(faults(&ledger), 1);
        ledger.follow(&only("other"), &only("c"));
        ledger.follow(&only("a"), &only("b"));
        for answer in ["404", "a", "b"] {
            ledger.answered(PROBE, Instant::now(), answer, String::new);
        }
        assert_eq!(faults(&ledger), 1);
        ledger.answered(PROBE, Instant::now(), "c", String::new);
        assert_eq!(faults(&ledger), 2);
        ledger.settle(edit);
        ledger.answered(PROBE, Instant::now() + GRACE * 2, "b", String::new);
        assert_eq!(faults(&ledger), 3);
    }

    #[test]
    fn only_disturbed_connections_may_be_closed() {
        let ledger = Ledger::default();
        let before = Instant::now();
        assert!(!ledger.is_disturbed(Entry::First, before));
        ledger.disturb(Some(Entry::First), Duration::from_secs(1));
        assert!(ledger.is_disturbed(Entry::First, before) && !ledger.is_disturbed(Entry::Second, before));
        assert!(!ledger.is_disturbed(Entry::First, before + Duration::from_secs(2)));
        ledger.disturb(None, Duration::from_secs(1));
        assert!(ledger.is_disturbed(Entry::Second, before));
    }
}
