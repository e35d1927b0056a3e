//! Delta ADS over gRPC: one task for each stream, a UNIX socket for the proxy next door, mutual TLS for all others.

mod authority;
mod codec;
mod listen;
mod stream;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use self::listen::{ServeError, TlsIdentity, TlsServer, UnixServer};
use crate::event::{ClientId, ClientStatus, Event};
use crate::store::Store;
use crate::subscriber::{Limits, Subscriber};

/// Longer than an external authorization (5 s by default) lets a request wait.
const LINGER: Duration = Duration::from_secs(6);

/// Where events go, those of one moment together: whoever takes them is woken once. It is called from the streams' tasks
/// and must not block.
pub type EventSink = Arc<dyn Fn(Vec<Event>) + Send + Sync>;

/// Settings of the server; the defaults suit an Envoy of any size.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of route tables that may be sent to a client and not yet answered; one table may always be.
    pub max_bytes_in_flight: usize,
    /// How long a cluster outlives the last route to it; see [`Limits::linger`].
    pub linger: Duration,
    /// Streams at the same time; further ones are refused.
    pub max_clients: usize,
    /// Names that one client may subscribe to or claim.
    pub max_names: usize,
    /// Largest request. Envoy lists all it has after a reconnect: 2 MB with 10,000 clusters.
    pub max_request_bytes: usize,
    /// HTTP/2 keepalive: without it a dead proxy would keep its state here for hours.
    pub keepalive_interval: Duration,
    /// How long the answer to a keepalive may take.
    pub keepalive_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let Limits { max_bytes_in_flight, max_names, .. } = Limits::default();
        Options {
            max_bytes_in_flight,
            max_names,
            linger: LINGER,
            max_clients: 1000,
            max_request_bytes: 64 << 20,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

/// The discovery server. Clones are the same server; it can listen at several places.
#[derive(Clone)]
pub struct Ads {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    events: EventSink,
    options: Options,
    started: Instant,
    started_at: SystemTime,
    next_client: AtomicU64,
    streams: Mutex<BTreeMap<ClientId, Arc<Stream>>>,
}

/// One open stream, as the diagnostics see it.
struct Stream {
    since: Duration,
    subscriber: Mutex<Subscriber>,
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Subscriber> {
        self.subscriber.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ads {
    /// A server of what is in `store`; `events` is told what the clients answer.
    pub fn new(store: Arc<Store>, events: impl Fn(Vec<Event>) + Send + Sync + 'static, options: Options) -> Self {
        let shared = Shared {
            store,
            events: Arc::new(events),
            options,
            started: Instant::now(),
            started_at: SystemTime::now(),
            next_client: AtomicU64::new(1),
            streams: Mutex::default(),
        };
        Ads { shared: Arc::new(shared) }
    }

    /// The connected clients, oldest first.
    pub fn clients(&self) -> Vec<ClientStatus> {
        let streams: Vec<_> = self.streams().values().cloned().collect();
        let at = |time: Duration| self.shared.started_at + time;
        streams.iter().map(|stream| stream.lock().status(at(stream.since), at)).collect()
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<ClientId, Arc<Stream>>> {
        self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time as the subscribers know it.
    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Registers a new stream; `None` when there are too many.
    fn open(&self) -> Option<Open> {
        let options = &self.shared.options;
        let id = ClientId(self.shared.next_client.fetch_add(1, Ordering::Relaxed));
        let limits = Limits {
            max_bytes_in_flight: options.max_bytes_in_flight,
            max_names: options.max_names,
            linger: options.linger,
        };
        let subscriber = Mutex::new(Subscriber::new(id, limits));
        let stream = Arc::new(Stream { since: self.now(), subscriber });
        let mut streams = self.streams();
        if streams.len() >= options.max_clients {
            return None;
        }
        streams.insert(id, stream.clone());
        drop(streams);
        Some(Open { ads: self.clone(), id, stream, connected: false, events: Vec::new() })
    }
}

/// A registered stream; dropping it frees its state and says so.
struct Open {
    ads: Ads,
    id: ClientId,
    stream: Arc<Stream>,
    connected: bool,
    /// What happened and is not told yet.
    events: Vec<Event>,
}

impl Open {
    fn tell(&mut self) {
        if !self.events.is_empty() {
            self.connected |= self.events.iter().any(|event| matches!(event, Event::Connected { .. }));
            (self.ads.shared.events)(std::mem::take(&mut self.events));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ads.streams().remove(&self.id);
        self.tell();
        if self.connected {
            (self.ads.shared.events)(vec![Event::Disconnected { client: self.id }]);
        }
    }
}
