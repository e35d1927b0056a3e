//! A delta client that remembers versions, and reconnects with them as an Envoy does.

use anyhow::{Context, Result, bail};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Response, Status, Streaming};

/// Nothing takes that long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

type Opening = tokio::task::JoinHandle<std::result::Result<Response<Streaming<DeltaDiscoveryResponse>>, Status>>;

/// The client. It has all clusters and listeners, and one route table.
pub struct Delta {
    socket: PathBuf,
    table: String,
    requests: Sender<DeltaDiscoveryRequest>,
    opening: Option<Opening>,
    stream: Option<Streaming<DeltaDiscoveryResponse>>,
    has: BTreeMap<(String, String), String>,
    routes: Vec<u8>,
    again: Vec<String>,
}

impl Delta {
    /// Asks for all clusters and listeners and for one route table. One that does not read never sees an answer.
    pub async fn connect(socket: &Path, table: &str, reads: bool) -> Result<Self> {
        let (requests, _) = channel(1);
        let mut client = Self {
            socket: socket.to_owned(),
            table: table.to_owned(),
            requests,
            opening: None,
            stream: None,
            has: BTreeMap::new(),
            routes: Vec::new(),
            again: Vec::new(),
        };
        client.reconnect().await?;
        if !reads && let Some(opening) = client.opening.take() {
            let opened = timeout(PATIENCE, opening).await.context("no stream in time")?;
            client.stream = Some(opened??.into_inner());
        }
        Ok(client)
    }

    /// A new stream, as soon as somebody listens; it claims what the client has.
    pub async fn reconnect(&mut self) -> Result<()> {
        let endpoint = Endpoint::try_from(format!("unix:{}", self.socket.display()))?;
        let connect = async {
            loop {
                match endpoint.connect().await {
                    Ok(channel) => return channel,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let channel = timeout(PATIENCE, connect).await.context("no server in time")?;
        let (requests, stream) = tokio::sync::mpsc::channel(64);
        for (kind, names) in [(CLUSTERS, vec![]), (LISTENERS, vec![]), (ROUTES, vec![self.table.clone()])] {
            let versions = self.has.iter().filter(|((of, _), _)| of == kind);
            let initial_resource_versions: HashMap<String, String> =
                versions.map(|((_, name), version)| (name.clone(), version.clone())).collect();
            let request = DeltaDiscoveryRequest {
                node: Some(Node { id: "many".into(), ..Node::default() }),
                type_url: kind.into(),
                resource_names_subscribe: names,
                initial_resource_versions,
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await?;
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        self.requests = requests;
        self.stream = None;
        // The call returns with the first response.
        self.opening =
            Some(tokio::spawn(async move { client.delta_aggregated_resources(ReceiverStream::new(stream)).await }));
        Ok(())
    }

    /// Reads and accepts until the route table has that text.
    pub async fn until_route(&mut self, text: &str) -> Result<()> {
        let reading = async {
            while !self.routes.windows(text.len()).any(|part| part == text.as_bytes()) {
                if let Some(opening) = self.opening.take() {
                    self.stream = opening.await?.ok().map(Response::into_inner);
                }
                let response = match &mut self.stream {
                    Some(stream) => stream.message().await.ok().flatten(),
                    None => None,
                };
                match response {
                    Some(response) => self.accept(response).await,
                    // The other side ended, perhaps in the middle of the connection.
                    None => self.reconnect().await?,
                }
            }
            Ok(())
        };
        match timeout(PATIENCE, reading).await {
            Ok(read) => read,
            Err(_) => bail!("no {text} in time"),
        }
    }

    /// Resources that came although the client had just that version.
    pub fn sent_again(&self) -> Vec<String> {
        self.again.clone()
    }

    async fn accept(&mut self, response: DeltaDiscoveryResponse) {
        for resource in response.resources {
            let key = (response.type_url.clone(), resource.name.clone());
            let old = self.has.insert(key, resource.version.clone());
            if old.as_ref() == Some(&resource.version) {
                self.again.push(resource.name);
            }
            if response.type_url == ROUTES {
                self.routes = resource.resource.map(|any| any.value).unwrap_or_default();
            }
        }
        for name in response.removed_resources {
            self.has.remove(&(response.type_url.clone(), name));
        }
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        // If nobody takes it, the stream is about to say so.
        let _ = self.requests.send(request).await;
    }
}
