//! Writes the status of objects. One controller per kind, alive as long as this replica is the leader; the feeds go on
//! without it.
//!
//! ```text
//! feed ── StatusView ─► store ──┐
//!   └── key, if due ─► Dirty ─► Controller ─► decide: compare with what is wanted ─► writer: patch, or nothing
//! snapshot ─► wake ── key ──┘
//! ```
//!
//! Nothing here is waited for by the pipeline or a feed: they mark keys, and read nothing back. Statuses have a client of
//! their own, so that a slow API server holds up statuses only.

mod decide;
mod dirty;
mod kind;
mod lease;
mod memory;
mod observed;
mod replicas;
mod view;
mod wake;
mod writer;

pub use dirty::Dirty;
pub use lease::{Election, Leadership, Pace};
pub use memory::Memory;
pub use observed::{FieldManagers, ObservedStatus};
pub use replicas::Replicas;
pub use view::{Identity, StatusView};

use crate::mailbox::Mailbox;
use crate::snapshot::Board;
use diag::Metrics;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ir::{Kind, ObjectKey};
use kind::{Shared, Target, Typed};
use kube::client::{ClientBuilder, ConfigExt};
use kube::{Client, Config};
use kube_runtime::reflector::{self, store::Writer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{BoxError, ServiceExt};
use wake::{Waited, Wake};
use writer::StatusWriter;

/// A pipeline that is not busy has a snapshot by then.
const SNAPSHOT: Duration = Duration::from_secs(1);
/// How old the number of statuses that wait may be.
const PENDING: Duration = Duration::from_secs(1);

/// Statuses of all kinds. Kinds are added before it runs.
pub struct Statuses {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    client: Client,
    manager: String,
    targets: Vec<Arc<dyn Target>>,
    memory: Option<(Memory, Arc<Mailbox>)>,
    replicas: Option<Replicas>,
}

/// The name of field manager, Lease and ConfigMaps of an installation.
pub fn manager_name(ambassador_id: &str) -> String {
    // Field managers and names of objects allow less than ids do, and two ids must not become one name.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match ambassador_id {
        "default" => "nuncio".into(),
        id if (1..=48).contains(&id.len()) && id.chars().all(plain) && !id.starts_with('-') && !id.ends_with('-') => {
            format!("nuncio-{id}")
        }
        id => {
            let kept: String = id
                .chars()
                .map(|c| if plain(c.to_ascii_lowercase()) { c.to_ascii_lowercase() } else { '-' })
                .take(30)
                .collect();
            format!("nuncio-{}-{:08x}", kept.trim_matches('-'), observed::stable_hash(id))
        }
    }
}

/// A client for what is written: it neither waits for nor tries again what the controllers try again themselves, and
/// whoever uses it sets a limit of time for each request. So it has none of the layers of kube's own client that trace,
/// time and repeat requests: ten thousand statuses go through it one by one.
pub fn client(config: &Config) -> kube::Result<Client> {
    let mut config = config.clone();
    config.default_retry = false;
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let http = http.map_err(BoxError::from);
    let builder = ClientBuilder::new(http, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    let uri = config.base_uri_layer();
    Ok(match config.auth_layer()? {
        Some(auth) => builder.with_layer(&auth).with_layer(&uri).build(),
        None => builder.with_layer(&uri).build(),
    })
}

/// A kind as its feed fills it: the store of its objects, and where it marks those that changed.
pub type Marked<K> = (Writer<StatusView<K>>, Arc<Dirty<K>>);

impl Statuses {
    /// For the objects of the board, written under this name, see [`manager_name`].
    pub fn new(board: Arc<Board>, metrics: Arc<Metrics>, client: Client, manager: String) -> Self {
        Self { board, metrics, client, manager, targets: Vec::new(), memory: None, replicas: None }
    }

    /// Keeps a memory up to date, too, and takes over what another leader left in it.
    pub fn remember(&mut self, memory: Memory, mailbox: Arc<Mailbox>) {
        self.memory = Some((memory, mailbox));
    }

    /// Waits for what the Envoys of other replicas say, too.
    pub fn agree(&mut self, replicas: Replicas) {
        self.replicas = Some(replicas);
    }

    /// Adds a kind: the feed fills the store with its objects and marks those that change. `None` for kinds that the
    /// gateway does not know.
    pub fn kind<K: kube::Resource<DynamicType = ()> + 'static>(&mut self) -> Option<Marked<K>> {
        let kind = K::kind(&()).parse::<Kind>().ok()?;
        let (store, writer) = reflector::store();
        let dirty = Arc::new(Dirty::default());
        self.targets.push(Arc::new(Typed { kind, store, dirty: dirty.clone() }));
        Some((writer, dirty))
    }

    /// Writes statuses whenever this replica is the leader; returns when the election ends, with nothing under way.
    pub async fn run(self, mut leadership: Leadership) {
        loop {
            let leads = tokio::select! {
                leads = leadership.becomes(true) => leads.is_ok(),
                () = self.catch_up() => false,
            };
            if !leads {
                return;
            }
            let goes_on = tokio::select! {
                () = self.lead(leadership.clone()) => true,
                lost = leadership.becomes(false) => lost.is_ok(),
            };
            self.board.follow(false);
            self.metrics.status(self.pending(), false);
            if !goes_on {
                return;
            }
        }
    }

    /// What a replica that does not lead has to do meanwhile. Never ends.
    async fn catch_up(&self) {
        match &self.memory {
            Some((memory, mailbox)) => memory.catch_up(&self.board, mailbox).await,
            None => std::future::pending().await,
        }
    }

    /// Writes statuses until the future is dropped.
    async fn lead(&self, leadership: Leadership) {
        let waited = Arc::new(Waited::default());
        let shared = Arc::new(Shared {
            board: self.board.clone(),
            waited: waited.clone(),
            writer: StatusWriter::new(self.client.clone(), self.manager.clone(), leadership),
            metrics: self.metrics.clone(),
        });
        let mut bell = self.board.subscribe();
        self.board.follow(true);
        self.metrics.status(self.pending(), true);
        while !self.board.load().published {
            if bell.changed().await.is_err() {
                return;
            }
        }
        // Ends with this future, and everything in it with what it has under way.
        let mut controllers = JoinSet::new();
        if let Some(replicas) = self.replicas.clone() {
            let board = self.board.clone();
            let (begun, others) = oneshot::channel();
            controllers.spawn(async move { replicas.listen(&board, begun).await });
            // What they have must count for the first status, too: the pipeline answers with a snapshot.
            if others.await == Ok(true) {
                let _ = timeout(SNAPSHOT, bell.changed()).await;
            }
        }
        let mut started = false;
        let mut wake = Wake::new(self.board.clone(), waited.clone());
        loop {
            let now = Instant::now();
            let due = wake.step(now);
            if due.all {
                // In a cold start that is nearly nothing: feeds marked everything, and everything waits for Envoy.
                self.targets.iter().for_each(|target| target.mark_all_but(&|key| wake.is_waiting(key)));
            }
            self.mark(due.objects);
            if !std::mem::replace(&mut started, true) {
                for target in &self.targets {
                    controllers.spawn(target.run(shared.clone()));
                }
                if let Some((memory, mailbox)) = self.memory.clone() {
                    let board = self.board.clone();
                    controllers.spawn(async move { memory.keep(&board, &mailbox).await });
                }
            }
            let pending = self.pending();
            self.metrics.status(pending, true);
            if !self.board.wait_for(wake.awaited()) {
                continue;
            }
            let told = (pending > 0).then(|| now + PENDING);
            let next = wake.next(now).into_iter().chain(told).min().map(tokio::time::Instant::from_std);
            tokio::select! {
                changed = bell.changed() => if changed.is_err() { return },
                () = waited.rings() => {}
                () = async { tokio::time::sleep_until(next.unwrap_or_else(tokio::time::Instant::now)).await }, if next.is_some() => {}
            }
        }
    }

    fn mark(&self, keys: Vec<ObjectKey>) {
        let mut by_kind: BTreeMap<Kind, Vec<ObjectKey>> = BTreeMap::new();
        keys.into_iter().for_each(|key| by_kind.entry(key.kind).or_default().push(key));
        for target in &self.targets {
            if let Some(keys) = by_kind.get(&target.kind()) {
                target.mark(keys);
            }
        }
    }

    fn pending(&self) -> usize {
        self.targets.iter().map(|target| target.pending()).sum()
    }
}

/// The API server has not answered within the limit of a request.
fn late() -> kube::Error {
    kube::Error::Service("no answer in time".into())
}

/// Says at most once a minute that something in the API server cannot be had.
fn warn(warned: &mut Option<Instant>, what: &str, error: &kube::Error) {
    if warned.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
        *warned = Some(Instant::now());
        tracing::warn!(%error, "{what} cannot be read or written");
    }
}

#[cfg(test)]
mod tests;
