//! The API server, and what is in the cluster.

use super::objects::{self, CASE, GATEWAY};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Discovery, Scope};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// For whatever has to happen, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(200);
/// How long a connection inside of the machine may take.
const CONNECT: Duration = Duration::from_secs(3);

/// The way into the cluster.
pub struct Access {
    client: Client,
    discovery: Discovery,
    /// The manifest of the gateway.
    gateway: Vec<Value>,
}

impl Access {
    /// With the kubeconfig of the environment.
    pub async fn new(gateway: &Path) -> Result<Self> {
        let client = Client::try_from(Config::infer().await?)?;
        let discovery = Discovery::new(client.clone()).run().await?;
        let text = std::fs::read_to_string(gateway).with_context(|| format!("cannot read {}", gateway.display()))?;
        Ok(Self { client, discovery, gateway: serde_saphyr::from_multiple(&text)? })
    }

    /// The objects of a gateway.
    pub fn gateway(&self, number: usize, environment: &[(String, String)]) -> Result<Vec<Value>> {
        objects::gateway(&self.gateway, number, environment)
    }

    /// Applies an object under that field manager.
    pub async fn apply(&self, object: &Value, manager: &str) -> Result<()> {
        let types: TypeMeta = serde_json::from_value(object.clone())?;
        let kind = GroupVersionKind::try_from(&types)?;
        let metadata = |field: &str| object.get("metadata")?.get(field)?.as_str();
        let name = metadata("name").context("an object without name")?;
        let what = format!("{} {name}", kind.kind);
        let (resource, capabilities) =
            self.discovery.resolve_gvk(&kind).with_context(|| format!("{what}: there is no such kind"))?;
        let api: Api<DynamicObject> = match (capabilities.scope, metadata("namespace")) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            _ => Api::all_with(self.client.clone(), &resource),
        };
        let parameters = PatchParams::apply(manager).force();
        match api.patch(name, &parameters, &Patch::Apply(object)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => bail!("{what}: {}", status.message),
            Err(error) => Err(error).context(what),
        }
    }

    /// The pods with that label.
    async fn pods(&self, label: &str, number: usize) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::all(self.client.clone());
        Ok(api.list(&ListParams::default().labels(&format!("{label}={number}"))).await?.items)
    }

    /// Waits until a gateway and the backends of cases are ready, can be reached by their Services, and the gateway has
    /// told its Envoy everything.
    pub async fn wait_until_ready(&self, gateway: usize, cases: &[usize]) -> Result<()> {
        let began = Instant::now();
        loop {
            let mut pods = self.pods(GATEWAY, gateway).await?;
            let gateways = pods.len();
            for case in cases {
                pods.extend(self.pods(CASE, *case).await?);
            }
            let waiting: Vec<String> = pods.iter().filter(|pod| !is_ready(pod)).map(describe).collect();
            let missing = if gateways == 0 { Some("the gateway's pod".to_owned()) } else { None };
            let mut waiting: Vec<String> = missing.into_iter().chain(waiting).collect();
            if waiting.is_empty()
                && let Some(address) = pods.first().and_then(address)
            {
                waiting.extend(unsettled(&address).await);
            }
            // Only now does the gateway listen everywhere.
            if waiting.is_empty() {
                waiting = self.unreachable(&pods).await?;
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                bail!("not ready after {LIMIT:?}: {}", waiting.join("; "));
            }
            sleep(POLL).await;
        }
    }

    /// The ports of Services that do not lead to a pod although it listens.
    async fn unreachable(&self, pods: &[Pod]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut by_namespace: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
        for pod in pods {
            by_namespace.entry(pod.namespace().unwrap_or_default()).or_default().push(pod);
        }
        for (namespace, pods) in by_namespace {
            let services: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
            for service in services.list(&ListParams::default()).await? {
                let name = service.name_any();
                let spec = service.spec.unwrap_or_default();
                let selector = spec.selector.unwrap_or_default();
                let selected = |pod: &&&Pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
                let Some(pod) = pods.iter().find(selected).filter(|_| !selector.is_empty()) else { continue };
                let (Some(own), Some(cluster)) = (address(pod), spec.cluster_ip.filter(|ip| ip != "None")) else {
                    continue;
                };
                for port in spec.ports.unwrap_or_default() {
                    let Some(target) = target(&port, pod) else { continue };
                    let Ok(number) = u16::try_from(port.port) else { continue };
                    if opens(&own, target).await && !opens(&cluster, number).await {
                        found.push(format!("the Service {name}, port {number}"));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Runs the client's pod to its end, and says which address it had.
    pub async fn run_client(&self, name: &str, number: usize, folder: &str, limit: Duration) -> Result<String> {
        self.apply(&objects::client(name, number, folder), "kat").await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        let began = Instant::now();
        let pod = loop {
            let pod = pods.get(name).await?;
            match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
                Some("Succeeded") => break pod,
                Some("Failed") => bail!("kat-client failed: {}", describe(&pod)),
                _ if began.elapsed() > limit => bail!("kat-client has not ended: {}", describe(&pod)),
                _ => sleep(POLL / 2).await,
            }
        };
        let address = address(&pod).context("the client had no address")?;
        pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(address)
    }

    /// Takes a gateway and the pods of cases away. What is gone already is no error, and neither is what does not go.
    pub async fn remove(&self, gateway: usize, cases: &[usize]) {
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let labelled = |label: &str, number: usize| ListParams::default().labels(&format!("{label}={number}"));
        let found =
            deployments.list(&ListParams::default().fields(&format!("metadata.name=kat-gateway-{gateway}"))).await;
        for deployment in found.into_iter().flatten() {
            let namespace = deployment.namespace().unwrap_or_default();
            let api: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace);
            let _ = api.delete(&deployment.name_any(), &DeleteParams::background()).await;
        }
        let pods: Api<Pod> = Api::all(self.client.clone());
        for case in cases {
            for pod in pods.list(&labelled(CASE, *case)).await.into_iter().flatten() {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
                let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
            }
        }
    }
}

/// Why the gateway at that address has not told its Envoy everything yet.
async fn unsettled(address: &str) -> Option<String> {
    let overview = async {
        let status = get(address, 8877, "/api/v1/status").await?;
        let overview = status.get("overview").context("no overview")?;
        let number = |field: &str| overview.get(field).and_then(Value::as_u64).unwrap_or(0);
        let waits = overview.get("waiting_for").and_then(Value::as_array).is_none_or(|waiting| !waiting.is_empty());
        Ok::<bool, anyhow::Error>(!waits && number("live_batch") >= number("batch"))
    };
    match overview.await {
        Ok(true) => None,
        Ok(false) => Some("the gateway's configuration is not live".to_owned()),
        Err(error) => Some(format!("the gateway's diagnostics: {error:#}")),
    }
}

/// The JSON at that address.
async fn get(address: &str, port: u16, path: &str) -> Result<Value> {
    let exchange = async {
        let stream = TokioIo::new(TcpStream::connect((address, port)).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header(header::HOST, address).body(Empty::<Bytes>::new())?;
        let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(serde_json::from_slice(&body)?)
    };
    timeout(CONNECT, exchange).await.unwrap_or_else(|_| bail!("no answer in time"))
}

async fn opens(address: &str, port: u16) -> bool {
    timeout(CONNECT, TcpStream::connect((address, port))).await.is_ok_and(|stream| stream.is_ok())
}

fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone()
}

/// The port of the pod that a Service's port leads to; none for what is not TCP.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
        return None;
    }
    let number = match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    u16::try_from(number?).ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    // The client's pods of a case are never ready, and have ended.
    let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    ended || conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// What a pod says about itself.
fn describe(pod: &Pod) -> String {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let states = statuses.filter_map(|status| status.state.as_ref());
    let words = states.map(|state| {
        let waiting = state.waiting.as_ref().map(|one| (one.reason.clone(), one.message.clone()));
        let ended = state.terminated.as_ref().map(|one| (one.reason.clone(), one.message.clone()));
        let (reason, message) = waiting.or(ended).unwrap_or((Some("running".to_owned()), None));
        format!("{} {}", reason.unwrap_or_default(), message.unwrap_or_default()).trim().to_owned()
    });
    format!("the pod {}: {}", pod.name_any(), words.collect::<Vec<_>>().join(", "))
}
