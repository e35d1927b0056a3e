//! The whole webhook: one loop that keeps certificate, Secret and CRDs in step, beside two servers.
//!
//! Everything is decided by [`Keeper::step`] from what has been observed; it runs after every event and every ten seconds.
//! Writing is for the holder of the Lease, serving for every replica.

mod keeper;

use crate::clock::Clock;
use crate::crds::{Crd, Target};
use crate::lease::{Election, Leadership, Pace};
use crate::server::Limits;
use crate::tls::Identity;
use crate::{ca_secret, probes, server};
use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use keeper::Keeper;
use kube::{Api, Client};
use kube_runtime::utils::Backoff;
use kube_runtime::{WatchStreamExt, watcher};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The Lease of who manages authority and CRDs; upstream's, so that its replicas and ours never write in turns.
pub const LEASE: &str = "emissary-ca-mgr-leader";
/// How often certificates are compared with the clock, and failed writes tried again.
const PERIOD: Duration = Duration::from_secs(10);

/// What the webhook is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Service that CRDs shall point to, and its namespace, which is the webhook's own.
    pub target: Target,
    /// Further names that the certificate shall have, for those who call the webhook by other ways than its Service.
    pub names: Vec<String>,
    /// Limits the CRDs to those with these labels.
    pub crd_labels: Option<String>,
    /// Whether to make and renew the authority. Off when somebody else fills the Secret.
    pub manage_authority: bool,
    /// Whether to point CRDs here. Off when somebody else does.
    pub manage_crds: bool,
    /// Where to serve reviews. None: port 8443.
    pub https: Option<SocketAddr>,
    /// Where to serve probes. None: port 8080.
    pub probes: Option<SocketAddr>,
    /// Who this replica is among the others.
    pub identity: String,
    /// How long a new authority is valid.
    pub lifetime: Duration,
    /// How long requests are still taken after the order to stop, until all proxies have heard of it.
    pub linger: Duration,
    /// What the server takes.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
}

impl Options {
    /// What upstream does, for a Service.
    pub fn new(service: &str, namespace: &str, identity: &str) -> Self {
        Self {
            target: Target { service: service.to_owned(), namespace: namespace.to_owned() },
            names: Vec::new(),
            crd_labels: None,
            manage_authority: true,
            manage_crds: true,
            https: None,
            probes: None,
            identity: identity.to_owned(),
            lifetime: crate::authority::LIFETIME,
            linger: Duration::from_secs(5),
            limits: Limits::default(),
            clock: Clock::default(),
        }
    }

    /// All names that the certificate has; the first one is what API servers ask for.
    fn all_names(&self) -> Vec<String> {
        let Target { service, namespace } = &self.target;
        let mut names = vec![
            self.target.dns_name(),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            service.clone(),
        ];
        names.extend(self.names.iter().cloned());
        names
    }
}

/// Where the servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Reviews.
    pub https: SocketAddr,
    /// Probes.
    pub probes: SocketAddr,
}

/// A webhook whose ports are open.
pub struct Webhook {
    client: Client,
    options: Options,
    https: TcpListener,
    probes: TcpListener,
}

impl Webhook {
    /// Opens the ports.
    ///
    /// # Errors
    ///
    /// If they are taken.
    pub async fn bind(client: Client, options: Options) -> anyhow::Result<Self> {
        let https = listen(options.https, 8443).await?;
        let probes = listen(options.probes, 8080).await?;
        Ok(Self { client, options, https, probes })
    }

    /// Where the ports are.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn places(&self) -> anyhow::Result<Places> {
        Ok(Places { https: self.https.local_addr()?, probes: self.probes.local_addr()? })
    }

    /// Serves until `stop`, then gives back the Lease, waits for requests, and returns.
    ///
    /// # Errors
    ///
    /// Only from the cryptographic library at start. Whatever the API server says or does not say, the webhook goes on with
    /// what it has.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { client, options, https, probes } = self;
        let identity = Identity::default();
        let tls = identity.server_config().context("TLS")?;
        let ready = Arc::new(AtomicBool::new(false));
        let end = CancellationToken::new();
        let reviews = tokio::spawn(server::serve(https, tls, options.limits, end.clone()));
        let probing = tokio::spawn(probes::serve(probes, ready.clone(), end.clone()));
        let quiet = CancellationToken::new();
        let standing = (options.manage_authority || options.manage_crds).then(|| {
            let namespace = &options.target.namespace;
            let election = Election::new(client.clone(), namespace, LEASE, &options.identity, Pace::default());
            let (leadership, standing) = election.start(stop.clone(), quiet.clone().cancelled_owned());
            (leadership, tokio::spawn(standing))
        });
        let (leadership, standing) = standing.unzip();
        let linger = options.linger;
        keep(client, options, identity, ready.clone(), leadership, &stop).await;

        quiet.cancel();
        ready.store(false, std::sync::atomic::Ordering::Relaxed);
        if let Some(standing) = standing {
            let _ = standing.await;
        }
        tokio::time::sleep(linger).await;
        end.cancel();
        let _ = reviews.await;
        let _ = probing.await;
        Ok(())
    }
}

/// Follows Secret, CRDs, leadership and time until `stop`.
async fn keep(
    client: Client,
    options: Options,
    identity: Identity,
    ready: Arc<AtomicBool>,
    mut leadership: Option<Leadership>,
    stop: &CancellationToken,
) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.target.namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={}", ca_secret::NAME));
    let mut secret_events = pin!(watcher(secrets, only).backoff(Patience::default()));
    let mut labelled = watcher::Config::default();
    if let Some(labels) = &options.crd_labels {
        labelled = labelled.labels(labels);
    }
    let crds: Api<Crd> = Api::all(client.clone());
    // Without an upper bound on the time between looks, a machine that slept would find its certificate expired.
    let mut crd_events = pin!(watcher(crds, labelled).backoff(Patience::default()));
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut keeper = Keeper::new(client, options, identity, ready);
    loop {
        let led = leadership.as_ref().is_some_and(|leadership| leadership.until().is_some());
        let act = tokio::select! {
            () = stop.cancelled() => return,
            Some(event) = secret_events.next() => match event {
                Ok(event) => keeper.secret(event),
                Err(error) => keeper.unwatched("the Secret", Some(trouble(&error))),
            },
            Some(event) = crd_events.next() => match event {
                Ok(event) => keeper.crd(event),
                Err(error) => keeper.unwatched("the CRDs", Some(trouble(&error))),
            },
            () = becomes(leadership.as_mut(), !led) => true,
            _ = tick.tick() => true,
        };
        if act {
            let leads = leadership.as_ref().is_some_and(Leadership::leads);
            tokio::select! {
                () = stop.cancelled() => return,
                () = keeper.step(leads) => {}
            }
        }
    }
}

/// Waits until this replica is the leader, or is not. Without an election it never changes.
async fn becomes(leadership: Option<&mut Leadership>, leader: bool) {
    let became = match leadership {
        Some(leadership) => leadership.becomes(leader).await.is_ok(),
        None => false,
    };
    if !became {
        std::future::pending().await
    }
}

/// What is wrong with a watch, in a line.
fn trouble(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::api::brief(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        error @ watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Waits between failed watches: doubling to two seconds. The default goes to half a minute, in which nothing heals.
#[derive(Default)]
struct Patience(u32);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 = (self.0 + 1).min(5);
        Some(Duration::from_millis(2000 >> (5 - self.0)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

async fn listen(address: Option<SocketAddr>, port: u16) -> anyhow::Result<TcpListener> {
    let listener = match address {
        Some(address) => TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?,
        // Machines without IPv6 refuse the address that means both.
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                .await
                .with_context(|| format!("cannot listen on port {port}"))?,
        },
    };
    Ok(listener)
}
