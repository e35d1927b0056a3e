//! A delta client that behaves like an Envoy: it asks, remembers, acknowledges, and refuses what it is told to refuse.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use xds::ResourceType;

/// Nothing here waits that long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the client has and did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Accepted resources.
    pub resources: BTreeMap<(ResourceType, String), Vec<u8>>,
    /// Responses by type.
    pub responses: BTreeMap<ResourceType, usize>,
    /// Refused responses.
    pub refusals: usize,
}

impl Seen {
    pub fn contains(&self, kind: ResourceType, name: &str, text: &str) -> bool {
        self.resources.get(&(kind, name.to_string())).is_some_and(|bytes| has(bytes, text))
    }
}

/// Whether the encoded message holds that text.
pub fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

pub struct Client {
    seen: Arc<Mutex<Seen>>,
    bell: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives the words with which a response is refused.
pub type Judge = fn(&DeltaDiscoveryResponse) -> Option<String>;

impl Client {
    /// Connects and subscribes to all clusters and listeners, and to these route tables and secrets. Endpoints come behind
    /// their clusters without being asked for.
    pub async fn connect(socket: &Path, tables: &[&str], secrets: &[&str], judge: Judge) -> Self {
        let channel = Endpoint::try_from(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap();
        let (requests, stream) = mpsc::channel(64);
        for (kind, names) in [
            (ResourceType::Cluster, &[][..]),
            (ResourceType::Listener, &[]),
            (ResourceType::Route, tables),
            (ResourceType::Secret, secrets),
        ] {
            if names.is_empty() && kind == ResourceType::Secret {
                continue;
            }
            let request = DeltaDiscoveryRequest {
                node: Some(Node { id: "test".into(), ..Node::default() }),
                type_url: kind.type_url().into(),
                resource_names_subscribe: names.iter().map(|name| (*name).into()).collect(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await.unwrap();
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ring, bell) = watch::channel(0);
        let shared = seen.clone();
        // The call returns with the first response, which may be held back until something is published.
        let task = tokio::spawn(async move {
            let Ok(answer) = client.delta_aggregated_resources(ReceiverStream::new(stream)).await else { return };
            let mut responses = answer.into_inner();
            while let Ok(Some(response)) = responses.message().await {
                let error_detail = judge(&response).map(|message| Status { code: 13, message, ..Status::default() });
                shared.lock().unwrap().take(&response, error_detail.is_some());
                let request = DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    error_detail,
                    ..DeltaDiscoveryRequest::default()
                };
                if requests.send(request).await.is_err() {
                    return;
                }
                ring.send_modify(|count| *count += 1);
            }
        });
        Self { seen, bell, task }
    }

    /// Waits until what it has seen fits.
    pub async fn until(&mut self, what: &str, fits: impl Fn(&Seen) -> bool) -> Seen {
        let waiting = async {
            loop {
                self.bell.borrow_and_update();
                let seen = self.seen.lock().unwrap().clone();
                if fits(&seen) {
                    return seen;
                }
                if self.bell.changed().await.is_err() {
                    panic!("the stream ended before: {what}");
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, waiting).await;
        result.unwrap_or_else(|_| panic!("not in time: {what}; seen: {:?}", self.names()))
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    fn names(&self) -> Vec<(ResourceType, String)> {
        self.seen.lock().unwrap().resources.keys().cloned().collect()
    }
}

impl Seen {
    fn take(&mut self, response: &DeltaDiscoveryResponse, refused: bool) {
        let Some(kind) = ResourceType::from_type_url(&response.type_url) else { return };
        *self.responses.entry(kind).or_default() += 1;
        if refused {
            self.refusals += 1;
            return;
        }
        for resource in &response.resources {
            let bytes = resource.resource.as_ref().map(|any| any.value.clone()).unwrap_or_default();
            self.resources.insert((kind, resource.name.clone()), bytes);
        }
        for name in &response.removed_resources {
            self.resources.remove(&(kind, name.clone()));
        }
    }
}
