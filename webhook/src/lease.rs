//! Which replica writes: the holder of a Lease of `coordination.k8s.io`, as in client-go's leader election. The webhook and
//! the gateway have one each.
//!
//! Taking, renewing and releasing are updates that name the resource version they are based on, so of several replicas
//! one succeeds. Clocks of different machines are never compared: a Lease is abandoned when its record has not changed
//! for its own duration by the clock of whoever watches it.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// A Lease that asks for less or more patience does not get it.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a Lease holds without being renewed; whole seconds.
    pub duration: Duration,
    /// How long after a renewal its holder still writes. What is left of `duration` is for answers under way.
    pub writes_for: Duration,
    /// How often the Lease is renewed, or looked at.
    pub period: Duration,
    /// The pause after a failure.
    pub retry: Duration,
    /// Longest that one request may take.
    pub request: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let (duration, writes_for, period) = (seconds(15), seconds(10), seconds(3));
        Self { duration, writes_for, period, retry: seconds(1), request: seconds(3) }
    }
}

/// Until when this replica is the leader, if it is.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// The moment after which nothing may be written any more.
    pub fn until(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Whether this replica may write now.
    pub fn leads(&self) -> bool {
        self.until().is_some_and(|until| until > Instant::now())
    }

    /// Waits until this replica is the leader (or is not). `Err` when the election ended.
    pub async fn becomes(&mut self, leader: bool) -> Result<(), watch::error::RecvError> {
        self.0.wait_for(|until| until.is_some() == leader).await.map(|_| ())
    }
}

/// A leadership that somebody else gives and takes: until when, if it is held.
impl From<watch::Receiver<Option<Instant>>> for Leadership {
    fn from(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }
}

/// A candidate.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    pace: Pace,
}

/// What is known of the Lease.
#[derive(Default)]
struct Seen {
    lease: Option<Lease>,
    /// When it was first seen like this.
    since: Option<Instant>,
    /// Whether a failure or somebody else may have changed it since.
    stale: bool,
}

impl Election {
    /// A candidate for the Lease of that name. The identity is that of the replica and outlives its processes, so that a
    /// restarted process goes on at once; no two replicas may have the same.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, pace: Pace) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.into(), identity: identity.into(), pace }
    }

    /// The leadership, and what keeps it up: a future that ends, with the Lease released, after `stop` and after
    /// `quiet`, which is to end when nothing is written any more.
    pub fn start(
        self,
        stop: CancellationToken,
        quiet: impl Future<Output = ()>,
    ) -> (Leadership, impl Future<Output = ()>) {
        let (sender, receiver) = watch::channel(None);
        let running = async move {
            let mut seen = Seen::default();
            stop.run_until_cancelled(self.stand(&mut seen, &sender)).await;
            sender.send_replace(None);
            quiet.await;
            self.release(seen.lease).await;
        };
        (Leadership(receiver), running)
    }

    async fn stand(&self, seen: &mut Seen, leadership: &watch::Sender<Option<Instant>>) {
        let mut complaint = None;
        loop {
            let begun = Instant::now();
            let step =
                timeout(self.pace.request, self.step(seen)).await.unwrap_or_else(|_| Err("no answer in time".into()));
            let wait = match step {
                Ok(true) => {
                    let before = leadership.send_replace(Some(begun + self.pace.writes_for));
                    if before.is_none() {
                        tracing::info!(lease = self.name, "this replica holds the Lease");
                    }
                    complaint = None;
                    self.pace.period
                }
                Ok(false) => {
                    self.lost(leadership, "another replica holds it");
                    complaint = None;
                    self.pace.period
                }
                Err(error) => {
                    seen.stale = true;
                    if complaint.as_ref() != Some(&error) {
                        tracing::warn!(lease = self.name, error, "cannot hold the Lease");
                        complaint = Some(error);
                    }
                    self.pace.retry
                }
            };
            let next = begun + wait;
            let until = *leadership.borrow();
            sleep_until(until.map_or(next, |until| until.min(next))).await;
            if leadership.borrow().is_some_and(|until| until <= Instant::now()) {
                self.lost(leadership, "it could not be renewed");
            }
        }
    }

    fn lost(&self, leadership: &watch::Sender<Option<Instant>>, why: &str) {
        if leadership.send_replace(None).is_some() {
            tracing::warn!(lease = self.name, why, "this replica does not hold the Lease any more");
        }
    }

    /// Renews, takes or looks at the Lease. True when it is ours.
    async fn step(&self, seen: &mut Seen) -> Result<bool, String> {
        let ours = |lease: &Lease| holder(lease) == Some(&*self.identity);
        // The holder knows the resource version from its last renewal.
        if seen.stale || !seen.lease.as_ref().is_some_and(ours) {
            let found = self.api.get_opt(&self.name).await.map_err(text)?;
            if found != seen.lease || seen.since.is_none() {
                *seen = Seen { lease: found, since: Some(Instant::now()), stale: false };
            }
            seen.stale = false;
        }
        let Some(lease) = &seen.lease else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return self.keep(seen, self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let told = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let [least, most] = PATIENCE;
        let patience = told.map_or(self.pace.duration, Duration::from_secs).clamp(least, most);
        let abandoned = seen.since.is_some_and(|since| since.elapsed() >= patience);
        if holder(lease).is_none() || ours(lease) || abandoned {
            let lease = Lease { metadata: lease.metadata.clone(), spec: Some(self.spec(Some(&spec))) };
            return self.keep(seen, self.api.replace(&self.name, &PostParams::default(), &lease).await);
        }
        Ok(false)
    }

    fn keep(&self, seen: &mut Seen, answer: kube::Result<Lease>) -> Result<bool, String> {
        match answer {
            Ok(lease) => {
                *seen = Seen { lease: Some(lease), since: Some(Instant::now()), stale: false };
                Ok(true)
            }
            // Somebody was quicker; the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                seen.stale = true;
                Ok(false)
            }
            Err(error) => Err(text(error)),
        }
    }

    /// The record of a Lease that this replica holds, after that one.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let same = before.filter(|spec| spec.holder_identity.as_deref() == Some(&*self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.pace.duration.as_secs()).ok(),
            acquire_time: same.and_then(|spec| spec.acquire_time.clone()).or_else(|| now.clone()),
            renew_time: now,
            lease_transitions: Some(if same.is_some() || before.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..before.cloned().unwrap_or_default()
        }
    }

    /// Lets the next replica take over without waiting.
    async fn release(&self, lease: Option<Lease>) {
        let Some(mut lease) = lease.filter(|lease| holder(lease) == Some(&*self.identity)) else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let released = timeout(self.pace.request, self.api.replace(&self.name, &PostParams::default(), &lease)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::info!(lease = self.name, "the Lease was not released; it ends by itself");
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn text(error: kube::Error) -> String {
    crate::api::brief(&error)
}
