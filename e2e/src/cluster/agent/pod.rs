//! The life of one pod: volumes, network, init containers, containers, end.

use super::environment::Objects;
use super::running::{Ending, Keeper};
use super::sandbox::Sandbox;
use super::status::{Phase, PodRecord};
use super::volumes::Volumes;
use super::{Agent, Problem};
use anyhow::{Context, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How soon something that was missing is looked for again.
const RETRY: Duration = Duration::from_millis(500);
/// How often the content of volumes is compared with the objects.
const REFRESH: Duration = Duration::from_secs(10);

/// What the parts of one pod share.
pub struct PodContext {
    /// The agent.
    pub agent: Rc<Agent>,
    /// The pod as the API server has it; `None` once it is gone there.
    pub pod: watch::Receiver<Option<Pod>>,
    /// The pod as it was first seen; its containers never change.
    pub first: Pod,
    /// What is known of it.
    pub record: RefCell<PodRecord>,
    /// Told after every change of the record.
    pub changed: Notify,
    /// Its files on the node.
    pub folder: PathBuf,
    /// Its volumes.
    pub volumes: tokio::sync::Mutex<Volumes>,
    /// The process that holds its network.
    pub sandbox: RefCell<Option<i32>>,
}

impl PodContext {
    /// Changes the record and has the status written.
    pub fn update<T>(&self, change: impl FnOnce(&mut PodRecord) -> T) -> T {
        let result = change(&mut self.record.borrow_mut());
        self.changed.notify_one();
        result
    }

    /// The pod's address, or the node's for a pod in the node's network.
    pub fn address(&self) -> Ipv4Addr {
        self.record.borrow().address.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// True when the pod lives in the node's network.
    pub fn uses_node_network(&self) -> bool {
        self.first.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    }

    /// Reads objects of the pod's namespace.
    pub fn objects(&self) -> Objects {
        Objects::of(&self.agent.client, &self.first)
    }

    /// Writes an event about the pod.
    pub async fn event(&self, warning: bool, reason: &str, message: &str) {
        self.agent.event(&self.first, warning, reason, message).await;
    }

    /// Says the same about every container that has not run yet.
    fn waiting(&self, problem: &Problem) {
        self.update(|record| {
            let all = record.init.iter_mut().chain(&mut record.containers);
            for container in all.filter(|one| matches!(one.phase, Phase::Waiting(_))) {
                container.phase = Phase::Waiting(Problem::new("ContainerCreating", problem.message.clone()));
            }
        });
    }
}

/// Runs a pod from its first sight until it is gone from the API server.
pub async fn run(agent: Rc<Agent>, pod: watch::Receiver<Option<Pod>>) {
    let Some(first) = pod.borrow().clone() else { return };
    let phase = first.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let over = phase == "Succeeded" || phase == "Failed";
    let folder = agent.folder.join(first.uid().unwrap_or_default());
    let record = PodRecord::new(&first, Timestamp::now());
    let volumes = tokio::sync::Mutex::new(Volumes::new(folder.join("volumes")));
    let context = Rc::new(PodContext {
        agent,
        pod,
        first,
        record: RefCell::new(record),
        changed: Notify::new(),
        folder,
        volumes,
        sandbox: RefCell::new(None),
    });
    let (stop, stopped) = watch::channel(None);
    let life = async {
        if !over {
            context.changed.notify_one();
            if let Err(error) = live(&context, stopped).await {
                context.agent.say(&format!("pod {}: {error:#}", context.first.name_any()));
            }
        }
        end_asked(&context).await;
    };
    let asked = async {
        let grace = end_asked(&context).await;
        context.update(|record| record.deleting = true);
        let _ = stop.send(Some(grace));
        std::future::pending::<()>().await
    };
    let status = async { if over { std::future::pending::<()>().await } else { write_status(&context).await } };
    tokio::select! {
        () = life => {}
        () = asked => {}
        () = status => {}
    }
    let _ = std::fs::remove_dir_all(&context.folder);
    forget(&context).await;
}

/// Waits until the pod's end is asked for; how long it may take.
async fn end_asked(context: &PodContext) -> Duration {
    let mut pod = context.pod.clone();
    let grace = |pod: &Option<Pod>| {
        let Some(pod) = pod else { return Some(Duration::ZERO) };
        pod.metadata.deletion_timestamp.as_ref()?;
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let found = pod.wait_for(|pod| grace(pod).is_some()).await.map(|pod| grace(&pod));
    found.ok().flatten().unwrap_or(Duration::ZERO)
}

/// Everything up to the end of the last container.
async fn live(context: &Rc<PodContext>, stop: watch::Receiver<Option<Duration>>) -> Result<()> {
    let mut ended = stop.clone();
    let sandbox = tokio::select! {
        made = prepare(context) => made?,
        _ = ended.wait_for(Option::is_some) => return Ok(()),
    };
    let refresh = async {
        loop {
            sleep(REFRESH).await;
            let mut volumes = context.volumes.lock().await;
            if volumes.may_change() {
                // A ConfigMap that is gone leaves the files that it gave.
                let address = context.record.borrow().address;
                let _ = volumes.update(&context.agent.client, &context.first, address).await;
            }
        }
    };
    tokio::select! {
        () = run_containers(context, stop) => {}
        () = refresh => {}
    }
    if let Some(sandbox) = sandbox {
        context.sandbox.replace(None);
        let address = sandbox.close().await?;
        context.agent.addresses.borrow_mut().give_back(address);
    }
    Ok(())
}

/// Makes volumes and network, however long that takes.
async fn prepare(context: &Rc<PodContext>) -> Result<Option<Sandbox>> {
    std::fs::create_dir_all(&context.folder)?;
    let sandbox = if context.uses_node_network() {
        context.update(|record| record.address = super::NODE_ADDRESS.parse().ok());
        None
    } else {
        let address = context.agent.addresses.borrow_mut().take().context("there are no addresses left")?;
        let sandbox = Sandbox::start(&context.agent.program, address).await?;
        context.sandbox.replace(Some(sandbox.process));
        context.update(|record| record.address = Some(address));
        Some(sandbox)
    };
    let mut told = None;
    loop {
        let address = context.record.borrow().address;
        let result = context.volumes.lock().await.update(&context.agent.client, &context.first, address).await;
        let Err(problem) = result else { return Ok(sandbox) };
        if told.as_ref() != Some(&problem) {
            context.waiting(&problem);
            context.event(true, "FailedMount", &problem.message).await;
            told = Some(problem);
        }
        sleep(RETRY).await;
    }
}

async fn run_containers(context: &Rc<PodContext>, stop: watch::Receiver<Option<Duration>>) {
    let spec = context.first.spec.clone().unwrap_or_default();
    let policy = spec.restart_policy.unwrap_or_else(|| "Always".to_owned());
    // Containers beside the others end after them.
    let (stop_helpers, helpers_stopped) = watch::channel(None);
    let mut helpers = Vec::new();
    let mut failed = false;
    for (index, container) in spec.init_containers.unwrap_or_default().into_iter().enumerate() {
        if failed || stop.borrow().is_some() {
            break;
        }
        if container.restart_policy.as_deref() == Some("Always") {
            let keeper = Keeper::new(context, container, true, index, "Always");
            let stopped = helpers_stopped.clone();
            helpers.push(tokio::task::spawn_local(async move { keeper.keep(stopped).await }));
            let mut stop = stop_of(&stop);
            tokio::select! {
                () = until(context, |record| record.init.get(index).is_some_and(|one| one.started)) => {}
                () = &mut stop => {}
            }
            continue;
        }
        let policy = if policy == "Never" { "Never" } else { "OnFailure" };
        let ending = Keeper::new(context, container, true, index, policy).keep(stop.clone()).await;
        failed = !matches!(ending, Ending::Finished(0));
    }
    if !failed && stop.borrow().is_none() {
        context.update(|record| {
            record.initialized = true;
            for container in &mut record.containers {
                if matches!(&container.phase, Phase::Waiting(problem) if problem.reason == "PodInitializing") {
                    container.phase = Phase::Waiting(Problem::new("ContainerCreating", String::new()));
                }
            }
        });
        let containers: Vec<Container> = spec.containers;
        let keepers = containers.into_iter().enumerate().map(|(index, container)| {
            let keeper = Keeper::new(context, container, false, index, &policy);
            let stop = stop.clone();
            async move { keeper.keep(stop).await }
        });
        join_all(keepers).await;
    }
    let grace = stop.borrow().unwrap_or(Duration::from_secs(
        spec.termination_grace_period_seconds.map_or(30, |seconds| u64::try_from(seconds).unwrap_or(0)),
    ));
    let _ = stop_helpers.send(Some(grace));
    join_all(helpers).await;
    context.update(|record| record.finished = true);
}

fn stop_of(stop: &watch::Receiver<Option<Duration>>) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    let mut stop = stop.clone();
    Box::pin(async move {
        let _ = stop.wait_for(Option::is_some).await;
    })
}

/// Waits until the record is as wanted.
async fn until(context: &PodContext, wanted: impl Fn(&PodRecord) -> bool) {
    while !wanted(&context.record.borrow()) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes the status whenever it changes, until the pod is gone.
async fn write_status(context: &PodContext) {
    let api: Api<Pod> = Api::namespaced(context.agent.client.clone(), &context.first.namespace().unwrap_or_default());
    let mut pod = context.pod.clone();
    let mut written = None;
    loop {
        tokio::select! {
            () = context.changed.notified() => {}
            // Somebody else's condition may open a readiness gate.
            changed = pod.changed() => if changed.is_err() { return },
        }
        let Some(current) = pod.borrow().clone() else { std::future::pending().await };
        let status = context.record.borrow_mut().status(&current, Timestamp::now());
        if written.as_ref() == Some(&status) {
            continue;
        }
        match api.patch_status(&current.name_any(), &PatchParams::default(), &Patch::Strategic(&status)).await {
            Ok(_) => written = Some(status),
            // Gone, or another one of the same name.
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {}
            Err(error) => {
                context.agent.say(&format!("status of pod {}: {error}", current.name_any()));
                sleep(RETRY).await;
                context.changed.notify_one();
            }
        }
    }
}

/// Removes the pod from the API server, which waits for exactly that.
async fn forget(context: &PodContext) {
    let api: Api<Pod> = Api::namespaced(context.agent.client.clone(), &context.first.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: context.first.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
    while context.pod.borrow().is_some() {
        match api.delete(&context.first.name_any(), &parameters).await {
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return,
            Ok(_) => {
                // A finalizer may hold it; then it goes when that is done.
                let mut pod = context.pod.clone();
                let _ = timeout(Duration::from_secs(5), pod.wait_for(Option::is_none)).await;
                return;
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}
