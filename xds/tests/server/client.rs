//! A server under test, and a plain delta client.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use xds::{Ads, Delta, Event, Options, Payload, Resource, ResourceType, ServeError, Store, Version};

/// Nothing here waits that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer in time")
}

pub struct Server {
    pub store: Arc<Store>,
    pub ads: Ads,
    events: mpsc::UnboundedReceiver<Event>,
    batch: u64,
}

impl Server {
    pub fn new(options: Options) -> Self {
        let store = Arc::new(Store::new());
        store.apply(Delta { batch: 1, ..Delta::default() });
        let (sink, events) = mpsc::unbounded_channel();
        let ads =
            Ads::new(store.clone(), move |events| events.into_iter().for_each(|event| _ = sink.send(event)), options);
        Server { store, ads, events, batch: 1 }
    }

    pub fn put(&mut self, kind: ResourceType, name: &str, version: u64, bytes: usize) {
        self.batch += 1;
        let resource = Resource {
            kind,
            name: name.into(),
            version: Version(version),
            payload: Payload::from(vec![0; bytes]),
            companions: Arc::new([]),
            warms: false,
        };
        self.store.apply(Delta { batch: self.batch, upserts: vec![Arc::new(resource)], ..Delta::default() });
    }

    /// The next event for which `pick` has something to say.
    pub async fn event<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        soon(async {
            loop {
                let event = self.events.recv().await.expect("the server lives");
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        })
        .await
    }
}

/// A task that serves, and its end.
pub struct Running {
    stop: Mutex<Option<oneshot::Sender<()>>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    pub fn start<F>(serve: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Running { stop: Mutex::new(Some(stop)), task: tokio::spawn(serve(stopped)) }
    }

    pub async fn stop(self) {
        drop(self.stop);
        soon(self.task).await.expect("no panic").expect("a clean end");
    }
}

pub struct Client {
    pub requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    pub async fn connect(channel: Channel) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        let call = client.delta_aggregated_resources(ReceiverStream::new(stream));
        Ok(Client { requests, responses: soon(call).await?.into_inner() })
    }

    pub async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.expect("an open stream");
    }

    pub async fn ask(&self, kind: ResourceType, names: &[&str]) {
        self.send(ask(kind, names)).await;
    }

    pub async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        self.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await;
    }

    pub async fn next(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        soon(self.responses.message()).await
    }

    /// The next response as `type name@version`.
    pub async fn names(&mut self) -> Vec<String> {
        let response = self.next().await.expect("no error").expect("a response");
        response.resources.iter().map(|r| format!("{}@{}", r.name, r.version.trim_start_matches('0'))).collect()
    }
}

pub fn ask(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "node".into(), ..Default::default() }),
        type_url: kind.type_url().into(),
        resource_names_subscribe: names.iter().map(|name| (*name).into()).collect(),
        ..Default::default()
    }
}
