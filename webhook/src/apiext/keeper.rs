//! What was observed, what is in force, and the step from the one to the other.

use super::Options;
use crate::authority::{Authority, Leaf};
use crate::ca_secret::{self, Observed};
use crate::clock::Time;
use crate::crds::{self, Crd};
use crate::tls::Identity;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use kube_runtime::watcher::Event;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long readiness waits for CRDs that cannot be put right. After that, one of them must not keep the others from being
/// converted.
const CRD_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to put CRDs right without a word about it.
const PUT_RIGHT: Duration = Duration::from_secs(15);
/// A CRD is written at most so often in [`WINDOW`]. More means that somebody else keeps writing something different.
const WRITES: usize = 5;
/// See [`WRITES`].
const WINDOW: Duration = Duration::from_secs(30);

/// The state of one replica.
pub struct Keeper {
    client: Client,
    options: Options,
    names: Vec<String>,
    identity: Identity,
    ready: Arc<AtomicBool>,
    started: Instant,

    secret: Observed,
    /// A list of Secrets that is not complete yet.
    listing: Option<Box<Secret>>,
    crds: BTreeMap<String, Crd>,
    crds_listed: bool,
    listed: BTreeMap<String, Crd>,

    /// The authority in the Secret, as it was read last, and the same one as it signs.
    authority: Option<(Authority, Authority)>,
    leaf: Option<Leaf>,
    written: BTreeMap<String, VecDeque<Instant>>,
    told: BTreeMap<String, String>,
    /// Since when some CRD has not been right.
    obstructed: Option<Instant>,
}

impl Keeper {
    /// Nothing observed, nothing in force.
    pub fn new(client: Client, options: Options, identity: Identity, ready: Arc<AtomicBool>) -> Self {
        Self {
            client,
            names: options.all_names(),
            options,
            identity,
            ready,
            started: Instant::now(),
            secret: Observed::Unknown,
            listing: None,
            crds: BTreeMap::new(),
            crds_listed: false,
            listed: BTreeMap::new(),
            authority: None,
            leaf: None,
            written: BTreeMap::new(),
            told: BTreeMap::new(),
            obstructed: None,
        }
    }

    /// Takes an event of the Secret; whether there may be something to do.
    pub fn secret(&mut self, event: Event<Secret>) -> bool {
        if !matches!(event, Event::Init) {
            self.unwatched("the Secret", None);
        }
        match event {
            Event::Init => self.listing = None,
            Event::InitApply(secret) => self.listing = Some(Box::new(secret)),
            Event::InitDone => self.secret = self.listing.take().map_or(Observed::Absent, Observed::Present),
            Event::Apply(secret) => self.secret = Observed::Present(Box::new(secret)),
            Event::Delete(_) => self.secret = Observed::Absent,
        }
        self.listing.is_none() && !matches!(self.secret, Observed::Unknown)
    }

    /// Takes an event of a CRD; whether there may be something to do.
    pub fn crd(&mut self, event: Event<Crd>) -> bool {
        if !matches!(event, Event::Init) {
            self.unwatched("the CRDs", None);
        }
        match event {
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(crd) => {
                if let Some(crd) = ours(crd) {
                    self.listed.insert(crd.name().to_owned(), crd);
                }
                return false;
            }
            Event::InitDone => {
                self.crds = std::mem::take(&mut self.listed);
                self.crds_listed = true;
            }
            Event::Apply(crd) => {
                let name = crd.name().to_owned();
                match ours(crd) {
                    Some(crd) => drop(self.crds.insert(name, crd)),
                    None => return self.crds.remove(&name).is_some(),
                }
            }
            Event::Delete(crd) => return self.crds.remove(crd.name()).is_some(),
        }
        true
    }

    /// Takes note of a watch that fails. What is known of its objects stays as it is.
    pub fn unwatched(&mut self, what: &str, why: Option<String>) -> bool {
        self.tell(what, why.map(|why| format!("cannot watch {what}: {why}")));
        false
    }

    /// Does what there is to do.
    pub async fn step(&mut self, leads: bool) {
        let now = self.options.clock.now();
        self.take_authority(now);
        if leads && self.options.manage_authority {
            self.renew_authority(now).await;
        }
        self.renew_leaf(now);
        if leads && self.options.manage_crds {
            self.point_crds(now).await;
        }
        self.judge(self.options.clock.now());
    }

    /// Reads the authority from the Secret. One that cannot be used changes nothing: the one in force still serves.
    fn take_authority(&mut self, now: Time) {
        match self.secret.authority(now) {
            Some(Ok(read)) => {
                if self.authority.as_ref().is_some_and(|(known, _)| known.is_same(&read)) {
                    self.tell("secret", None);
                    return;
                }
                let before = self.authority.as_ref().map(|(_, before)| before);
                let signs = before.map_or_else(|| read.clone(), |before| read.bridged_from(before, now));
                match signs.issue(&self.names, now) {
                    Ok(leaf) => {
                        tracing::info!("takes the authority in the Secret {}", ca_secret::NAME);
                        self.take_leaf(leaf);
                        self.authority = Some((read, signs));
                        self.tell("secret", None);
                    }
                    Err(fault) => self.tell("secret", Some(format!("Secret {}: {fault}", ca_secret::NAME))),
                }
            }
            Some(Err(fault)) => self.tell("secret", Some(format!("Secret {}: {fault}", ca_secret::NAME))),
            None => {}
        }
    }

    async fn renew_authority(&mut self, now: Time) {
        let in_force = self.authority.as_ref();
        let needs = match self.secret.authority(now) {
            None => matches!(self.secret, Observed::Absent),
            Some(Err(_)) => true,
            // It is read, but not in force: nobody accepts what it signs.
            Some(Ok(read)) => read.is_due(now) || !in_force.is_some_and(|(known, _)| known.is_same(&read)),
        };
        if !needs {
            return;
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.options.target.namespace);
        let replaced = in_force.map(|(_, signs)| signs);
        match ca_secret::renew(&api, &self.secret, replaced, self.options.lifetime, now).await {
            Ok(Some(secret)) => {
                tracing::info!("wrote a new authority into the Secret {}", ca_secret::NAME);
                self.secret = Observed::Present(Box::new(secret));
                self.tell("renewal", None);
                self.take_authority(now);
            }
            Ok(None) => {}
            Err(why) => self.tell("renewal", Some(format!("cannot write the Secret {}: {why}", ca_secret::NAME))),
        }
    }

    fn renew_leaf(&mut self, now: Time) {
        let Some((_, authority)) = &self.authority else { return };
        if self.leaf.as_ref().is_none_or(|leaf| leaf.is_due(now)) {
            match authority.issue(&self.names, now) {
                Ok(leaf) => self.take_leaf(leaf),
                Err(fault) => self.tell("leaf", Some(format!("cannot renew the certificate: {fault}"))),
            }
        }
    }

    fn take_leaf(&mut self, leaf: Leaf) {
        self.identity.replace(&leaf);
        self.leaf = Some(leaf);
        self.tell("leaf", None);
    }

    async fn point_crds(&mut self, now: Time) {
        let Some((_, authority)) = &self.authority else { return };
        let conversion = self.options.target.conversion(&authority.bundle(now));
        let differing = self.crds.values().filter(|crd| crd.needs_webhook() && crd.spec.conversion != conversion);
        let names: Vec<String> = differing.map(|crd| crd.name().to_owned()).collect();
        for name in names {
            let at = Instant::now();
            let written = self.written.entry(name.clone()).or_default();
            written.retain(|before| at.duration_since(*before) < WINDOW);
            if written.len() >= WRITES {
                self.tell(&name, Some(format!("somebody else keeps changing the conversion of {name}")));
                continue;
            }
            match crds::point(&self.client, &name, &conversion).await {
                Ok(true) => {
                    written.push_back(at);
                    tracing::info!("{name} points here");
                    // What the watch will say, ahead of it.
                    if let Some(crd) = self.crds.get_mut(&name) {
                        crd.spec.conversion = conversion.clone();
                    }
                    self.tell(&name, None);
                }
                Ok(false) => {}
                Err(error) => self.tell(&name, Some(format!("cannot point {name} here: {error}"))),
            }
        }
    }

    /// Decides about readiness.
    ///
    /// Once reached, it is lost only with the certificate: a CRD that somebody spoils is a matter of that CRD, and taking all
    /// replicas out of the Service for it would stop the conversion of all others.
    fn judge(&mut self, now: Time) {
        let serves = self.leaf.as_ref().filter(|leaf| leaf.is_valid(now));
        let mut obstacles = Vec::new();
        if let (Some(leaf), Some(name)) = (serves, self.names.first()) {
            for crd in self.crds.values().filter(|crd| crd.needs_webhook()) {
                if let Err(why) = crd.obstacle(leaf, name, now) {
                    obstacles.push(format!("API servers cannot convert {}: {why}", crd.name()));
                }
            }
        }
        let settled = self.crds_listed && obstacles.is_empty() || self.started.elapsed() > CRD_PATIENCE;
        let was = self.ready.load(Ordering::Relaxed);
        let is = serves.is_some() && (was || settled);
        if was != is {
            self.ready.store(is, Ordering::Relaxed);
            tracing::info!("{}", if is { "ready" } else { "not ready: no valid certificate" });
        }
        // While CRDs are being put right, nobody needs to hear of each step.
        let since = if obstacles.is_empty() { None } else { Some(self.obstructed.unwrap_or_else(Instant::now)) };
        self.obstructed = since;
        if since.is_none_or(|since| since.elapsed() > PUT_RIGHT) {
            self.tell("obstacles", since.map(|_| obstacles.join("; ")));
        }
    }

    /// Logs a complaint when it changes, not every ten seconds.
    fn tell(&mut self, about: &str, complaint: Option<String>) {
        match complaint {
            None => drop(self.told.remove(about)),
            Some(complaint) => {
                if self.told.get(about) != Some(&complaint) {
                    tracing::warn!("{complaint}");
                    self.told.insert(about.to_owned(), complaint);
                }
            }
        }
    }
}

/// The CRD if it is one of ours, without what is only of interest to others.
fn ours(mut crd: Crd) -> Option<Crd> {
    crd.metadata.managed_fields = None;
    crd.metadata.annotations = None;
    crd.is_ours().then_some(crd)
}
