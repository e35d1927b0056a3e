//! Where everything that can change the configuration arrives: objects from feeds, answers of Envoys.
//!
//! A batch is what waits when the pipeline is idle: there is no timer. A newer change of the same thing replaces the
//! older one, so what waits is bounded by what exists; feeds with threads of their own wait for room when they run ahead.

use crate::feed::{FeedId, SourceProblem};
use crate::replicas::{Generations, Report};
use crate::room;
use ahash::AHashMap;
use compiler::Change;
use ir::{Kind, ObjectKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout_at;

/// Distinct changes that may wait before feeds have to.
const CAPACITY: usize = 100_000;
/// Notes for people that may wait; later ones are dropped.
const NOTES: usize = 1_000;
/// States that may wait; when there are more, only the newest of each kind counts.
const STATES: usize = 10_000;

/// The queue between many senders and the pipeline.
#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Waiting>,
    arrived: Notify,
    room: Condvar,
    capacity: usize,
}

/// Everything that waited.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes in the order in which their subjects first came up, and when each became known.
    pub changes: Vec<(Change, Instant)>,
    /// Answers of clients, in order.
    pub events: Vec<xds::Event>,
    /// Feeds that have listed everything they have.
    pub listed: Vec<FeedId>,
    /// The present problems of a source.
    pub problems: BTreeMap<FeedId, Vec<SourceProblem>>,
    /// Things to tell a person.
    pub notes: Vec<String>,
    /// States of kinds that feeds have reached, one after the other; their changes are in this batch or in an earlier one.
    pub reached: Vec<(Kind, Generations)>,
    /// What the other replicas say, if they have said anything new.
    pub reports: Option<BTreeMap<Arc<str>, Arc<Report>>>,
    /// Readiness is to be failed: the gateway is draining.
    pub draining: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    places: AHashMap<Slot, usize>,
    /// Some feed waits for room.
    crowded: bool,
    closed: bool,
}

/// What a change is about; two changes about the same thing are one.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Slot {
    Object(ObjectKey),
    Retained(ObjectKey),
    Refusal(ObjectKey),
    File(Arc<str>),
}

impl Slot {
    fn of(change: &Change) -> Self {
        match change {
            Change::Put(object) => Slot::Object(object.key.clone()),
            Change::Gone(key) => Slot::Object(key.clone()),
            Change::Retained(key, _) => Slot::Retained(key.clone()),
            Change::Refusal(key, _) => Slot::Refusal(key.clone()),
            Change::File(path, _) => Slot::File(path.clone()),
        }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Mailbox {
    /// A mailbox for this many distinct changes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { inner: Mutex::default(), arrived: Notify::new(), room: Condvar::new(), capacity }
    }

    /// Posts changes that became known at that moment. Blocks while the mailbox is full; nobody on the thread of the pipeline
    /// may therefore call it.
    pub fn put(&self, changes: impl IntoIterator<Item = Change>, received: Instant) {
        let mut waiting = self.lock();
        for change in changes {
            while waiting.batch.changes.len() >= self.capacity && !waiting.closed {
                self.arrived.notify_one();
                waiting.crowded = true;
                waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.put(change, received);
        }
        self.ring(waiting);
    }

    /// The same on the thread of the pipeline, with the states of a kind that the changes lead to, one after the other. Never
    /// blocks, however full it is: the pipeline has its turn after each of the feeds there, and each brings a few hundred
    /// changes at a time.
    pub fn post(
        &self,
        changes: impl IntoIterator<Item = Change>,
        received: Instant,
        states: impl IntoIterator<Item = (Kind, Generations)>,
    ) {
        let mut waiting = self.lock();
        for change in changes {
            waiting.put(change, received);
        }
        let reached = &mut waiting.batch.reached;
        reached.extend(states);
        if reached.len() > STATES {
            *reached = std::mem::take(reached).into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        self.ring(waiting);
    }

    /// Posts what a client said. Never blocks: the stream allows each client only a bounded number of open questions.
    pub fn events(&self, events: impl IntoIterator<Item = xds::Event>) {
        let mut waiting = self.lock();
        for event in events {
            match (waiting.batch.events.last_mut(), event) {
                // The newest batch is all that counts.
                (Some(xds::Event::Live { client: last, batch }), xds::Event::Live { client, batch: newer })
                    if *last == client =>
                {
                    *batch = newer
                }
                (_, event) => waiting.batch.events.push(event),
            }
        }
        self.ring(waiting);
    }

    /// The feed has posted everything its source held when it began.
    pub fn listed(&self, feed: FeedId) {
        self.lock().batch.listed.push(feed);
        self.arrived.notify_one();
    }

    /// Replaces what is wrong with a feed's source.
    pub fn problems(&self, feed: FeedId, problems: Vec<SourceProblem>) {
        self.lock().batch.problems.insert(feed, problems);
        self.arrived.notify_one();
    }

    /// What the other replicas say now; nothing when this one need not know.
    pub fn reports(&self, reports: BTreeMap<Arc<str>, Arc<Report>>) {
        self.lock().batch.reports = Some(reports);
        self.arrived.notify_one();
    }

    /// Tells people something.
    pub fn note(&self, note: String) {
        let mut waiting = self.lock();
        if waiting.batch.notes.len() < NOTES {
            waiting.batch.notes.push(note);
        }
        self.ring(waiting);
    }

    /// From now on the gateway is to be left alone by new traffic.
    pub fn drain(&self) {
        self.lock().batch.draining = true;
        self.arrived.notify_one();
    }

    /// Nothing more will come; the pipeline takes what waits and ends.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
        self.room.notify_all();
    }

    /// Waits for the next batch; at that moment it is empty if nothing came. `None` after [`Mailbox::close`], once
    /// everything is taken. There is one who takes.
    pub async fn take(&self, limit: Option<Instant>) -> Option<Batch> {
        // The streams on the same thread have their turn between two batches, also while more and more comes.
        if !self.lock().batch.is_empty() {
            yield_now().await;
        }
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.batch.is_empty() {
                    waiting.places.clear();
                    room::shrink(&mut waiting.places);
                    if std::mem::take(&mut waiting.crowded) {
                        self.room.notify_all();
                    }
                    return Some(std::mem::take(&mut waiting.batch));
                }
                if waiting.closed {
                    return None;
                }
            }
            // What was posted since the look above is remembered: this ends at once then.
            let arrived = self.arrived.notified();
            match limit {
                None => arrived.await,
                Some(limit) => {
                    if timeout_at(limit.into(), arrived).await.is_err() {
                        return Some(Batch::default());
                    }
                }
            }
        }
    }

    /// Wakes the pipeline, after the lock is free: it would sleep at once again otherwise.
    fn ring(&self, waiting: MutexGuard<'_, Waiting>) {
        drop(waiting);
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn put(&mut self, change: Change, received: Instant) {
        let next = self.batch.changes.len();
        let place = *self.places.entry(Slot::of(&change)).or_insert(next);
        match self.batch.changes.get_mut(place) {
            // The clock of the first change goes on: that one waits longest.
            Some(older) => older.0 = change,
            None => self.batch.changes.push((change, received)),
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.events.is_empty()
            && self.listed.is_empty()
            && self.problems.is_empty()
            && self.notes.is_empty()
            && self.reached.is_empty()
            && self.reports.is_none()
            && !self.draining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(name: &str) -> Change {
        Change::Gone(ObjectKey::new(Kind::Mapping, "default", name))
    }

    fn refusal(name: &str) -> Change {
        Change::Refusal(ObjectKey::new(Kind::Mapping, "default", name), None)
    }

    fn taken(mailbox: &Mailbox) -> Option<Batch> {
        futures::executor::block_on(mailbox.take(None))
    }

    #[test]
    fn a_newer_change_replaces_an_older_one_in_its_place() {
        let mailbox = Mailbox::default();
        let first = Instant::now();
        mailbox.put([gone("a"), gone("b")], first);
        mailbox.put([gone("a"), refusal("a"), Change::File("/x".into(), None)], Instant::now());
        let batch = taken(&mailbox).unwrap();
        let told: Vec<String> = batch.changes.iter().map(|(change, _)| format!("{:?}", Slot::of(change))).collect();
        assert_eq!(told.len(), 4);
        assert!(told[0].contains("\"a\"") && told[1].contains("\"b\"") && told[2].starts_with("Refusal"));
        assert_eq!(batch.changes[0].1, first);
    }

    #[test]
    fn a_full_mailbox_makes_feeds_wait_and_loses_nothing() {
        let mailbox = Arc::new(Mailbox::with_capacity(3));
        let sender = mailbox.clone();
        let feed = std::thread::spawn(move || {
            sender.put((0..20).map(|index| gone(&index.to_string())), Instant::now());
            sender.close();
        });
        let mut sizes = Vec::new();
        while let Some(batch) = taken(&mailbox) {
            sizes.push(batch.changes.len());
        }
        feed.join().unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 20);
        assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
    }

    #[test]
    fn who_shares_the_thread_of_the_pipeline_never_waits() {
        let mailbox = Mailbox::with_capacity(1);
        mailbox.post([gone("a"), gone("b")], Instant::now(), None);
        mailbox.post([gone("c")], Instant::now(), None);
        assert_eq!(taken(&mailbox).unwrap().changes.len(), 3);
    }

    #[test]
    fn closing_wakes_everybody() {
        let mailbox = Arc::new(Mailbox::with_capacity(1));
        mailbox.put([gone("a")], Instant::now());
        let sender = mailbox.clone();
        let feed = std::thread::spawn(move || sender.put([gone("b")], Instant::now()));
        mailbox.close();
        feed.join().unwrap();
        while taken(&mailbox).is_some() {}
        assert!(taken(&mailbox).is_none());
    }

    #[tokio::test]
    async fn waiting_with_a_limit_ends_with_nothing_or_with_what_came() {
        let mailbox = Mailbox::default();
        assert!(mailbox.take(Some(Instant::now())).await.unwrap().is_empty());
        mailbox.put([gone("a")], Instant::now());
        assert_eq!(mailbox.take(Some(Instant::now())).await.unwrap().changes.len(), 1);
        assert!(mailbox.take(Some(Instant::now())).await.unwrap().is_empty());
        mailbox.close();
        assert!(mailbox.take(Some(Instant::now())).await.is_none());
    }

    #[tokio::test]
    async fn who_shares_the_thread_has_a_turn_between_two_batches() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.put([gone("a")], Instant::now());
        let neighbour = tokio::spawn(async {});
        mailbox.take(None).await.unwrap();
        assert!(neighbour.is_finished());
    }

    #[test]
    fn of_too_many_states_the_newest_stay() {
        let mailbox = Mailbox::default();
        mailbox.post([], Instant::now(), [(Kind::Host, Generations(1))]);
        for state in 0..25_000 {
            mailbox.post([], Instant::now(), [(Kind::Mapping, Generations(state))]);
        }
        let reached = taken(&mailbox).unwrap().reached;
        assert!(reached.len() <= STATES && reached.contains(&(Kind::Host, Generations(1))));
        assert_eq!(reached.last(), Some(&(Kind::Mapping, Generations(24_999))));
    }

    #[test]
    fn live_events_of_one_client_are_one() {
        let mailbox = Mailbox::default();
        for batch in 1..5 {
            mailbox.events([xds::Event::Live { client: xds::ClientId(1), batch }]);
        }
        mailbox.events([xds::Event::Live { client: xds::ClientId(2), batch: 4 }]);
        let events = taken(&mailbox).unwrap().events;
        assert_eq!(events.len(), 2);
        assert_eq!(events[0], xds::Event::Live { client: xds::ClientId(1), batch: 4 });
    }
}
