//! What a kubelet does: runs the pods that are bound to the node, as processes, and reports what becomes of them.
//!
//! ```text
//! images       what an image is here
//! environment  variables, commands, downward API
//! volumes      files of ConfigMaps, Secrets, tokens and the like
//! sandbox      the network of a pod
//! root         the file system of a container
//! container    the processes of a container
//! running      one container: starts, probes, restarts, end
//! log          what containers write
//! pod          one pod: order of its parts, status, deletion
//! probes       HTTP, TCP and command probes
//! status       from what is known to the object's fields
//! ```

pub mod container;
mod environment;
pub mod images;
mod log;
mod pod;
mod probes;
mod root;
mod running;
pub mod sandbox;
mod status;
mod volumes;

use super::components::NODE_NAME;
use super::network::NODE_ADDRESS;
use super::node::say;
use super::state::State;
use crate::process::OWN;
use anyhow::Result;
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use sandbox::Addresses;
use serde_json::json;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// Where pods have their files on the node; below the node's own `/run`, so they are gone with it.
const FOLDER: &str = "/run/pods";
/// How often the node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What stands in a container's way, in words that its status shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    reason: &'static str,
    message: String,
}

impl Problem {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }

    fn config(message: String) -> Self {
        Self::new("CreateContainerConfigError", message)
    }

    fn volume(message: String) -> Self {
        Self::new("ContainerCreating", message)
    }

    fn with_reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        Self::config(error.to_string())
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::new("CreateContainerError", error.to_string())
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::new("CreateContainerError", format!("{error:#}"))
    }
}

/// The agent of the one node.
pub struct Agent {
    client: Client,
    state: State,
    program: PathBuf,
    folder: PathBuf,
    addresses: RefCell<Addresses>,
    /// False in a user namespace, where there is one user only.
    has_other_users: bool,
    recorder: Recorder,
}

impl Agent {
    /// The agent of a node whose API server can be reached with that client.
    pub fn new(client: Client, state: State) -> Result<Self> {
        let reporter = Reporter { controller: "kubelet".to_owned(), instance: Some(NODE_NAME.to_owned()) };
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let count = users.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
        std::fs::create_dir_all(FOLDER)?;
        Ok(Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            state,
            program: PathBuf::from(OWN),
            folder: PathBuf::from(FOLDER),
            addresses: RefCell::default(),
            has_other_users: count.is_some_and(|count| count > 1),
        })
    }

    /// Runs pods until the watch cannot go on; call it within a `LocalSet`.
    pub async fn run(self: Rc<Self>) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={NODE_NAME}"));
        let mut events = pin!(watcher::watcher(pods, config));
        let mut workers: BTreeMap<String, watch::Sender<Option<Pod>>> = BTreeMap::new();
        let mut listed: BTreeSet<String> = BTreeSet::new();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                // The watcher tries again by itself.
                Err(error) => {
                    self.say(&format!("watch of pods: {error}"));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            match event {
                watcher::Event::Init => listed.clear(),
                watcher::Event::Apply(pod) => self.apply(&mut workers, pod),
                watcher::Event::InitApply(pod) => {
                    listed.extend(pod.uid());
                    self.apply(&mut workers, pod);
                }
                watcher::Event::InitDone => {
                    for (_, worker) in workers.iter().filter(|(uid, _)| !listed.contains(*uid)) {
                        worker.send_replace(None);
                    }
                }
                watcher::Event::Delete(pod) => {
                    if let Some(worker) = pod.uid().and_then(|uid| workers.remove(&uid)) {
                        worker.send_replace(None);
                    }
                }
            }
            workers.retain(|_, worker| worker.receiver_count() > 0);
        }
    }

    fn apply(self: &Rc<Self>, workers: &mut BTreeMap<String, watch::Sender<Option<Pod>>>, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        match workers.get(&uid) {
            Some(worker) => {
                worker.send_replace(Some(pod));
            }
            None => {
                let (worker, updates) = watch::channel(Some(pod));
                workers.insert(uid, worker);
                tokio::task::spawn_local(pod::run(Rc::clone(self), updates));
            }
        }
    }

    /// Says again and again that the node lives.
    pub async fn beat(&self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        loop {
            let spec = LeaseSpec {
                holder_identity: Some(NODE_NAME.to_owned()),
                lease_duration_seconds: Some(40),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            };
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE_NAME}, "spec": spec,
            });
            let parameters = PatchParams::apply("kubelet").force();
            if let Err(error) = leases.patch(NODE_NAME, &parameters, &Patch::Apply(lease)).await {
                self.say(&format!("heartbeat: {error}"));
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    async fn event(&self, pod: &Pod, warning: bool, reason: &str, message: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: reason.to_owned(),
            secondary: None,
        };
        // An event is a courtesy; the pod does not wait for it to succeed.
        let _ = self.recorder.publish(&event, &pod.object_ref(&())).await;
    }

    fn say(&self, line: &str) {
        say(line);
    }
}

/// Makes the node one that pods can run on.
pub async fn register(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let resources = json!({"cpu": "64", "memory": "64Gi", "ephemeral-storage": "64Gi", "pods": "500"});
    let now = serde_json::to_value(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()))?;
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let status = json!({"status": {
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {
            "kubeletVersion": "v1.36.3", "operatingSystem": "linux", "architecture": architecture(), "osImage": "processes",
            "kernelVersion": "", "containerRuntimeVersion": "processes://1", "machineID": "", "systemUUID": "", "bootID": "",
            "kubeProxyVersion": "",
        },
    }});
    nodes.patch_status(NODE_NAME, &PatchParams::default(), &Patch::Strategic(status)).await?;
    // A new node counts as not ready until a controller has looked at it, which takes its time.
    let taints = json!({"spec": {"taints": null}});
    nodes.patch(NODE_NAME, &PatchParams::default(), &Patch::Merge(taints)).await?;
    Ok(())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}
