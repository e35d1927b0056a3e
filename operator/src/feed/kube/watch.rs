//! One watch: events into the mailbox, failures into problems, and when to try again.

use super::failure::Failure;
use super::state::{Follow, State, Step};
use super::wire::{Form, Wire};
use crate::feed::{FeedId, SourceProblem};
use crate::mailbox::Mailbox;
use crate::replicas::Generations;
use futures::{FutureExt, Stream, StreamExt};
use ir::{Kind, ProblemKind};
use kube::Resource;
use kube_runtime::watcher;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Events that are handed on together; what is there at the same moment is one batch.
const TOGETHER: usize = 256;
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Pause while a kind is not served: its definition may be installed any moment.
const ABSENT_PAUSE: Duration = Duration::from_secs(1);
/// A watch that has not failed for this long works, even if nothing has happened in it. More than a connection takes to
/// fail.
const SETTLED: Duration = Duration::from_secs(8);
/// How long a kind that guards nothing may fail at the start before the gateway goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether traffic could be served unprotected, or with the wrong certificate, if objects of the kind went unseen.
/// Without them nothing is published.
pub(super) fn guards(kind: Kind) -> bool {
    use Kind::{AuthService, Host, Listener, Module, RateLimitService, Secret, TLSContext};
    matches!(kind, Host | Listener | TLSContext | Secret | Module | AuthService | RateLimitService)
}

/// What a feed tells about itself beside its objects.
pub(super) struct Voice {
    pub(super) id: FeedId,
    pub(super) kind: Kind,
    /// `mappings.getambassador.io`
    pub(super) name: String,
    pub(super) mailbox: Arc<Mailbox>,
    /// The pipeline knows that everything is listed, or that it need not wait.
    listed: bool,
    told: Option<(String, String)>,
    failures: u32,
    since: Option<Instant>,
    /// Watches that expired soon after one another, and when the last one did.
    expired: u32,
    expired_at: Option<Instant>,
}

impl Voice {
    pub(super) fn new<K: Resource<DynamicType = ()>>(id: FeedId, kind: Kind, mailbox: Arc<Mailbox>) -> Self {
        let (plural, group) = (K::plural(&()), K::group(&()));
        let name = if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") };
        Self {
            id,
            kind,
            name,
            mailbox,
            listed: false,
            told: None,
            failures: 0,
            since: None,
            expired: 0,
            expired_at: None,
        }
    }

    /// A listing is complete.
    pub(super) fn listed(&mut self) {
        if !self.listed {
            self.listed = true;
            self.mailbox.listed(self.id);
        }
    }

    /// Reading works.
    pub(super) fn fine(&mut self) {
        (self.failures, self.since) = (0, None);
        if self.told.take().is_some() {
            self.mailbox.problems(self.id, Vec::new());
        }
    }

    pub(super) fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Reading failed. `complete` says whether it has worked before. Returns how long to wait.
    pub(super) fn failed(&mut self, failure: &Failure, complete: bool) -> Duration {
        if *failure == Failure::Expired {
            // One is ordinary. An API server that says so of every watch would be asked for everything again and again.
            let again = self.expired_at.replace(Instant::now()).is_some_and(|last| last.elapsed() < SETTLED);
            self.expired = if again { self.expired.saturating_add(1) } else { 1 };
            return pause(self.expired);
        }
        self.failures = self.failures.saturating_add(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        let guards = guards(self.kind);
        let waits = match failure {
            Failure::Expired | Failure::Absent => false,
            Failure::Forbidden(_) => guards,
            Failure::Answered(_) => guards || since.elapsed() < PATIENCE,
            // Nothing is known about anything. An empty kind would take routes away from an Envoy that still serves.
            Failure::Unreachable(_) => true,
        };
        let effect = match (failure, complete, waits) {
            (_, true, _) => "the objects last seen stay in force",
            (_, false, true) => "nothing is published until they can be",
            (_, false, false) => "until they can be, there are none",
        };
        let name = self.name.clone();
        let (about, detail) = match failure {
            Failure::Expired => return pause(self.expired),
            Failure::Absent if complete => (name, format!("are not served at present; {effect}")),
            Failure::Absent => (name, "are not installed; they are read as soon as they are".to_owned()),
            Failure::Forbidden(why) => (name, format!("may not be read; {effect}: {why}")),
            Failure::Answered(why) => (name, format!("cannot be read; {effect}: {why}")),
            Failure::Unreachable(why) => ("the API server".into(), format!("is not reachable; {effect}: {why}")),
        };
        // A connection that broke once is no news while there are objects.
        let passing = matches!(failure, Failure::Answered(_) | Failure::Unreachable(_));
        if self.failures > 1 || !complete || !passing {
            self.tell(about, detail);
        }
        if !waits {
            self.listed();
        }
        match failure {
            Failure::Absent => ABSENT_PAUSE,
            _ => pause(self.failures),
        }
    }

    fn tell(&mut self, about: String, detail: String) {
        if self.told.as_ref().is_some_and(|told| told.0 == about && told.1 == detail) {
            return;
        }
        let problem = SourceProblem {
            path: about.clone().into(),
            line: 0,
            kind: ProblemKind::SourceUnreadable,
            about: None,
            detail: detail.clone(),
        };
        self.told = Some((about, detail));
        self.mailbox.problems(self.id, vec![problem]);
    }
}

/// How long to wait after so many failures.
fn pause(failures: u32) -> Duration {
    (PAUSES.0 * 2_u32.saturating_pow(failures.clamp(1, 10) - 1)).min(PAUSES.1)
}

/// One kind: its objects, and who follows them.
pub(super) struct Watch<K, F> {
    pub(super) voice: Voice,
    pub(super) state: State,
    pub(super) follow: Box<dyn Follow<Wire<K, F>>>,
}

impl<K, F> Watch<K, F>
where
    K: Resource<DynamicType = ()> + 'static,
    F: Form,
{
    /// Takes in what the watcher brings until it ends, which it does not by itself. `uninstalled` asks whether the
    /// definition of the kind is gone for good.
    pub(super) async fn run<U>(
        mut self,
        events: impl Stream<Item = watcher::Result<watcher::Event<Wire<K, F>>>>,
        uninstalled: impl Fn() -> U,
    ) where
        U: Future<Output = bool>,
    {
        let mut events = pin!(events);
        let mut complete = false;
        let mut listing = true;
        loop {
            let first = if self.voice.failing() && !listing {
                match timeout(SETTLED, events.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.voice.fine();
                        continue;
                    }
                }
            } else {
                events.next().await
            };
            let Some(first) = first else { return };
            let received = Instant::now();
            let mut step = Step::default();
            let mut failure = None;
            let mut next = Some(first);
            let mut count = 0;
            while let Some(event) = next.take() {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        failure = Some(Failure::from(&error));
                        break;
                    }
                };
                listing = match event {
                    watcher::Event::Init => true,
                    watcher::Event::InitDone => false,
                    _ => listing,
                };
                if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                    self.voice.fine();
                }
                // Before the mailbox: a verdict must find the object in the store of its controller.
                self.follow.event(&event);
                self.state.event(&event, &mut step);
                count += 1;
                if count < TOGETHER {
                    next = events.next().now_or_never().flatten();
                }
            }
            if !step.changes.is_empty() || !step.reached.is_empty() {
                let states = step.reached.into_iter().map(|state| (self.voice.kind, state));
                self.voice.mailbox.post(step.changes, received, states);
            }
            if step.listed {
                complete = true;
                self.voice.listed();
            }
            let Some(failure) = failure else { continue };
            if failure == Failure::Absent && complete && uninstalled().await {
                complete = false;
                let gone = self.state.clear();
                self.follow.clear();
                let state = (self.voice.kind, Generations::default());
                self.voice.mailbox.post(gone, Instant::now(), [state]);
            }
            sleep(self.voice.failed(&failure, complete)).await;
        }
    }
}
