//! A store, one client and a clock under the control of a test.
//!
//! Responses read as `CDS a@1 b@2 -c`: type, names with versions, names removed; `@0` is the empty resource that answers
//! for a name the store does not have.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use xds::ResourceType::{self, Cluster, Endpoint, ExtensionConfig, Listener, Route, Secret};
use xds::{
    ClientId, ClientStatus, Delta, Event, Limits, NodeInfo, Payload, Request, Resource, Response, Store, Subscriber,
    Version,
};

pub const CDS: ResourceType = Cluster;
pub const EDS: ResourceType = Endpoint;
pub const SDS: ResourceType = Secret;
pub const LDS: ResourceType = Listener;
pub const RDS: ResourceType = Route;
pub const ECDS: ResourceType = ExtensionConfig;

/// A resource of 10 bytes.
pub fn resource(kind: ResourceType, name: &str, version: u64) -> Resource {
    Resource {
        kind,
        name: name.into(),
        version: Version(version),
        payload: Payload::from(vec![0; 10]),
        companions: Arc::new([]),
        warms: false,
    }
}

/// A cluster whose endpoints have its own name.
pub fn cluster(name: &str, version: u64) -> Resource {
    Resource { companions: Arc::new([(EDS, name.into())]), ..resource(CDS, name, version) }
}

pub fn endpoints(name: &str, version: u64) -> Resource {
    resource(EDS, name, version)
}

pub fn secret(name: &str, version: u64) -> Resource {
    resource(SDS, name, version)
}

pub fn listener(name: &str, version: u64) -> Resource {
    resource(LDS, name, version)
}

pub fn table(name: &str, version: u64) -> Resource {
    resource(RDS, name, version)
}

pub fn sized(resource: Resource, bytes: usize) -> Resource {
    Resource { payload: Payload::from(vec![0; bytes]), ..resource }
}

pub struct Script {
    pub store: Store,
    subscriber: Subscriber,
    batch: u64,
    now: Duration,
    unanswered: Vec<Response>,
    events: Vec<Event>,
}

impl Script {
    /// A client that connects to a store that holds this.
    pub fn with(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut script = Script::unpublished(Limits::default());
        script.put(resources);
        script
    }

    pub fn unpublished(limits: Limits) -> Self {
        Script {
            store: Store::new(),
            subscriber: Subscriber::new(ClientId(1), limits),
            batch: 0,
            now: Duration::from_secs(100),
            unanswered: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The same store, another stream.
    pub fn reconnect(self) -> Self {
        let subscriber = Subscriber::new(ClientId(2), Limits::default());
        Script { subscriber, unanswered: Vec::new(), events: Vec::new(), ..self }
    }

    // The store.

    pub fn put(&mut self, upserts: impl IntoIterator<Item = Resource>) -> &mut Self {
        self.change(upserts, &[])
    }

    pub fn remove(&mut self, removals: &[(ResourceType, &str)]) -> &mut Self {
        self.change([], removals)
    }

    pub fn change(
        &mut self,
        upserts: impl IntoIterator<Item = Resource>,
        removals: &[(ResourceType, &str)],
    ) -> &mut Self {
        self.batch += 1;
        let upserts = upserts.into_iter().map(Arc::new).collect();
        let removals = removals.iter().map(|(kind, name)| (*kind, Arc::from(*name))).collect();
        self.store.apply(Delta { batch: self.batch, upserts, removals, ..Delta::default() });
        self
    }

    pub fn retry(&mut self, kind: ResourceType, name: &str) -> &mut Self {
        self.batch += 1;
        self.store.apply(Delta { batch: self.batch, retries: vec![(kind, name.into())], ..Delta::default() });
        self
    }

    // The client.

    pub fn request(&mut self, request: Request) -> &mut Self {
        self.subscriber.on_request(request, self.now).expect("names within the limit");
        self.events.extend(self.subscriber.take_events());
        self
    }

    pub fn try_ask(&mut self, kind: ResourceType, names: &[&str]) -> bool {
        self.subscriber.on_request(ask(kind, names), self.now).is_ok()
    }

    /// The legacy wildcard of a fresh client.
    pub fn wildcard(&mut self, kind: ResourceType) -> &mut Self {
        self.request(ask(kind, &[]))
    }

    pub fn ask(&mut self, kind: ResourceType, names: &[&str]) -> &mut Self {
        self.request(ask(kind, names))
    }

    pub fn unask(&mut self, kind: ResourceType, names: &[&str]) -> &mut Self {
        self.request(Request { unsubscribe: ask(kind, names).subscribe, ..ask(kind, &[]) })
    }

    /// The first request of a reconnected client: names it wants, versions it has.
    pub fn claim(&mut self, kind: ResourceType, names: &[&str], has: &[(&str, u64)]) -> &mut Self {
        let initial_versions = has.iter().map(|(name, version)| (Arc::from(*name), Some(Version(*version)))).collect();
        self.request(Request { initial_versions, ..ask(kind, names) })
    }

    /// Accepts the oldest unanswered response of a type.
    pub fn ack(&mut self, kind: ResourceType) -> &mut Self {
        let nonce = self.oldest(kind).nonce;
        self.request(Request { nonce: Some(nonce), ..ask(kind, &[]) })
    }

    /// Accepts the unanswered response that carries a name.
    pub fn ack_name(&mut self, kind: ResourceType, name: &str) -> &mut Self {
        let carries = |r: &Response| r.kind == kind && r.resources.iter().any(|r| &*r.name == name);
        let at = self.unanswered.iter().position(carries).expect("an unanswered response with the name");
        let nonce = self.unanswered.remove(at).nonce;
        self.request(Request { nonce: Some(nonce), ..ask(kind, &[]) })
    }

    /// Accepts everything that is unanswered.
    pub fn ack_all(&mut self) -> &mut Self {
        while let Some(kind) = self.unanswered.first().map(|response| response.kind) {
            self.ack(kind);
        }
        self
    }

    /// Refuses the oldest unanswered response of a type.
    pub fn nack(&mut self, kind: ResourceType, detail: &str) -> &mut Self {
        let nonce = self.oldest(kind).nonce;
        self.request(Request { nonce: Some(nonce), error: Some(detail.into()), ..ask(kind, &[]) })
    }

    fn oldest(&mut self, kind: ResourceType) -> Response {
        let at = self.unanswered.iter().position(|response| response.kind == kind);
        self.unanswered.remove(at.unwrap_or_else(|| panic!("no unanswered {kind} response")))
    }

    // What comes of it.

    /// What the client is sent now.
    pub fn sent(&mut self) -> Vec<String> {
        let responses = self.poll();
        responses.iter().map(show).collect()
    }

    /// What the client is sent while it accepts everything at once, until nothing more comes.
    pub fn sent_and_acked(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let sent = self.sent();
            if sent.is_empty() {
                return all;
            }
            all.extend(sent);
            self.ack_all();
        }
    }

    pub fn poll(&mut self) -> Vec<Response> {
        let responses = self.subscriber.poll(&self.store.read(), self.now);
        self.events.extend(self.subscriber.take_events());
        self.unanswered.extend(responses.iter().cloned());
        responses
    }

    /// `Acked`, `Refused` and `Live` events since the last call, as `acked RDS t@1`.
    pub fn events(&mut self) -> Vec<String> {
        self.events.extend(self.subscriber.take_events());
        self.events.drain(..).filter_map(|event| show_event(&event)).collect()
    }

    /// The `Live` events since the last call.
    pub fn live(&mut self) -> Vec<u64> {
        let live = |event: &String| event.strip_prefix("live ").and_then(|batch| batch.parse().ok());
        self.events().iter().filter_map(live).collect()
    }

    pub fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// How long until the subscriber wants to be asked again.
    pub fn deadline(&self) -> Option<Duration> {
        self.subscriber.deadline().map(|at| at.saturating_sub(self.now))
    }

    pub fn status(&self) -> ClientStatus {
        self.subscriber.status(UNIX_EPOCH, |time| UNIX_EPOCH + time)
    }
}

pub fn ask(kind: ResourceType, names: &[&str]) -> Request {
    Request {
        kind,
        node: Some(NodeInfo { id: "test".into(), ..NodeInfo::default() }),
        subscribe: names.iter().map(|name| Arc::from(*name)).collect(),
        unsubscribe: vec![],
        initial_versions: vec![],
        nonce: None,
        error: None,
    }
}

pub fn show(response: &Response) -> String {
    let resources = response.resources.iter().map(|r| format!(" {}@{}", r.name, r.version.0));
    let removed = response.removed.iter().map(|name| format!(" -{name}"));
    response.kind.short().to_owned() + &resources.chain(removed).collect::<String>()
}

fn show_event(event: &Event) -> Option<String> {
    let list = |resources: &[(Arc<str>, Version)]| -> String {
        resources.iter().map(|(name, version)| format!(" {name}@{}", version.0)).collect()
    };
    match event {
        Event::Connected { .. } | Event::Disconnected { .. } => None,
        Event::Acked { kind, resources, .. } => Some(format!("acked {kind}{}", list(resources))),
        Event::Refused { kind, resources, removed, detail, .. } => {
            let removed: String = removed.iter().map(|name| format!(" -{name}")).collect();
            Some(format!("refused {kind}{}{removed}: {detail}", list(resources)))
        }
        Event::Live { batch, .. } => Some(format!("live {batch}")),
    }
}
