//! Who of several replicas writes: the holder of a Lease, as in client-go's leader election.

use crate::api;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a holder that says nothing keeps the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder that cannot renew believes in itself. Shorter, so that there is never more than one.
const CONFIDENCE: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// A candidate.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The record as it was last seen to change, and when. Other machines' clocks are not to be compared with ours.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    /// For the Lease of a name, under an identity that no other replica has.
    pub fn new(api: Api<Lease>, name: &str, identity: &str) -> Self {
        Self { api, name: name.to_owned(), identity: identity.to_owned(), seen: None }
    }

    /// Competes until `stop`, then gives the Lease back. `leads` says whether it is held.
    pub async fn run(mut self, leads: watch::Sender<bool>, stop: CancellationToken) {
        let mut renewed: Option<Instant> = None;
        let mut complaint = None;
        loop {
            let asked = Instant::now();
            match self.attempt().await {
                Ok(held) => {
                    renewed = held.then_some(asked);
                    complaint = None;
                }
                // Once, and not every two seconds.
                Err(error) => {
                    let text = Some(error.to_string());
                    if complaint != text {
                        tracing::warn!("Lease {}: {error}", self.name);
                        complaint = text;
                    }
                }
            }
            let holds = renewed.is_some_and(|at| at.elapsed() < CONFIDENCE);
            let changed = leads.send_if_modified(|leads| std::mem::replace(leads, holds) != holds);
            if changed {
                tracing::info!("{} the Lease {}", if holds { "holds" } else { "no longer holds" }, self.name);
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stop.cancelled() => break,
            }
        }
        leads.send_replace(false);
        if renewed.is_some()
            && let Err(error) = self.give_back().await
        {
            tracing::warn!("Lease {}: {error}", self.name);
        }
    }

    /// Takes or renews the Lease if it may; whether it is held afterwards.
    async fn attempt(&mut self) -> Result<bool, api::Error> {
        let Some(lease) = api::in_time(self.api.get_opt(&self.name)).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.record(None)),
            };
            return taken(api::in_time(self.api.create(&PostParams::default(), &lease)).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        let is_free = match spec.holder_identity.as_deref() {
            None | Some("") => true,
            Some(holder) if holder == self.identity => true,
            Some(_) => {
                let told = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                let duration = told.map_or(DURATION, Duration::from_secs).max(Duration::from_secs(1));
                self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() > duration)
            }
        };
        if !is_free {
            return Ok(false);
        }
        let lease = Lease { spec: Some(self.record(Some(&spec))), ..lease };
        taken(api::in_time(self.api.replace(&self.name, &PostParams::default(), &lease)).await)
    }

    /// The record that says that this candidate holds the Lease, after another one.
    fn record(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let own = before.filter(|before| before.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before.map_or(0, |before| before.lease_transitions.unwrap_or(0));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: own.and_then(|own| own.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if own.is_some() { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    /// Lets the others know at once. They need not wait for the time to pass.
    async fn give_back(&self) -> Result<(), api::Error> {
        let mut lease = api::in_time(self.api.get(&self.name)).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            api::in_time(self.api.replace(&self.name, &PostParams::default(), &lease)).await?;
        }
        Ok(())
    }
}

/// Somebody who was faster is no error.
fn taken(written: Result<Lease, api::Error>) -> Result<bool, api::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
