//! The process that is the node: it starts the components, watches over them, and says when the cluster can be used.

use super::agent::{self, Agent, images};
use super::binaries::Binaries;
use super::components::{self, DNS_ADDRESS, NODE_NAME, PORTS, Ports};
use super::network::NODE_ADDRESS;
use super::state::State;
use super::{READY_ALONE, READY_WHOLE, credentials};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// How long all of it may take to start, on a machine that has much else to do.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked whether something is there.
const POLL: Duration = Duration::from_millis(40);
/// The first pause before an ended component is started again, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Runs the node until a component cannot be started. `alone` says why there are no namespaces; then there is only etcd
/// and the API server, on loopback. When `tied`, the end of the standard input is the end of the cluster.
pub fn run(folder: &Path, tied: bool, alone: Option<&str>) -> Result<ExitCode> {
    if tied {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    // The kernel ties children to the thread that starts them, so there is only this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    LocalSet::new().block_on(&runtime, serve(State::at(folder)?, alone))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(state: State, alone: Option<&str>) -> Result<()> {
    let ports = if alone.is_some() {
        let [etcd, peers, api] = crate::net::free_ports()?;
        Ports { etcd, peers, api }
    } else {
        PORTS
    };
    let server = format!("https://127.0.0.1:{}", ports.api);
    let names = [
        "127.0.0.1",
        NODE_ADDRESS,
        "10.96.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    credentials::write(&state, &server, &names)?;
    components::write_configuration(&state)?;
    let binaries = Binaries::in_force()?.context("the cluster's programs are gone")?;
    let components = Components { state: state.clone(), binaries, started: Rc::new(Cell::new(false)) };

    let (failed, mut failures) = tokio::sync::mpsc::channel::<anyhow::Error>(1);
    let up = async {
        for (name, arguments) in components::storage(ports, alone.is_some()) {
            components.start(name, arguments, &failed);
        }
        let client = client(&state.path("data/agent.conf")).await?;
        wait_for("the API server", async || Ok(client.request_text(get("/readyz")?).await? == "ok")).await?;
        if alone.is_none() {
            create_node(&client).await?;
            agent::register(&client).await?;
            for (name, arguments) in components::controllers() {
                components.start(name, arguments, &failed);
            }
            create_dns_service(&client).await?;
            if let Some(folder) = std::env::current_exe()?.parent() {
                images::load_built(&state, folder)?;
            }
            let agent = Rc::new(Agent::new(client.clone(), state.clone())?);
            let beating = Rc::clone(&agent);
            tokio::task::spawn_local(async move { beating.beat().await });
            let failed = failed.clone();
            tokio::task::spawn_local(async move {
                let ended = agent.run().await.err();
                let _ = failed.send(ended.unwrap_or_else(|| anyhow::anyhow!("the watch of pods ended"))).await;
            });
            wait_for_controllers(&client).await?;
        }
        components.started.set(true);
        state
            .write("ready", &alone.map_or_else(|| READY_WHOLE.to_owned(), |reason| format!("{READY_ALONE}{reason}")))?;
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        ended = timeout_at_start(up, &components.started) => ended,
        Some(failure) = failures.recv() => Err(failure),
    }
}

/// A limit that holds only until the cluster has started.
async fn timeout_at_start(up: impl Future<Output = Result<()>>, started: &Cell<bool>) -> Result<()> {
    let limit = async {
        sleep(START_LIMIT).await;
        while started.get() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = up => ended,
        () = limit => bail!("the cluster has not started within {START_LIMIT:?}"),
    }
}

/// The components that run.
struct Components {
    state: State,
    binaries: Binaries,
    started: Rc<Cell<bool>>,
}

impl Components {
    /// Starts a component and starts it again whenever it ends, as a kubelet would. During the start of the cluster an
    /// ended component is a failure, since waiting would not help.
    fn start(&self, name: &'static str, arguments: Vec<String>, failed: &tokio::sync::mpsc::Sender<anyhow::Error>) {
        let (state, binaries, started) = (self.state.clone(), self.binaries.clone(), Rc::clone(&self.started));
        let failed = failed.clone();
        tokio::task::spawn_local(async move {
            let mut pause = BACK_OFF.0;
            loop {
                let since = Instant::now();
                let ended =
                    async { Ok(components::command(&state, &binaries, name, &arguments)?.spawn()?.wait().await?) };
                let ended: Result<std::process::ExitStatus> = ended.await;
                let ended = match ended {
                    Ok(status) => status.to_string(),
                    Err(error) => format!("{error:#}"),
                };
                say(&format!("{name} ended: {ended}"));
                if !started.get() {
                    let last = state.last_lines(name, 8);
                    let _ = failed.send(anyhow::anyhow!("{name} ended: {ended}\n{last}")).await;
                    return;
                }
                pause = if since.elapsed() > BACK_OFF.1 { BACK_OFF.0 } else { (pause * 2).min(BACK_OFF.1) };
                sleep(pause).await;
            }
        });
    }
}

/// A client with the credentials of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// kube-proxy takes the node's address from this object, so it is there first. It never says that nothing can run on it.
async fn create_node(client: &Client) -> Result<()> {
    let node = json!({
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux"}},
    });
    create::<Node>(Api::all(client.clone()), node).await?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}, {"type": "Hostname", "address": NODE_NAME}],
    }});
    let patch = kube::api::Patch::Merge(status);
    Api::<Node>::all(client.clone()).patch_status(NODE_NAME, &kube::api::PatchParams::default(), &patch).await?;
    Ok(())
}

/// CoreDNS is a process of the node and no pod, so nothing selects it and its endpoint is written by hand.
async fn create_dns_service(client: &Client) -> Result<()> {
    let ports = |key: &str| {
        let port = |name: &str, protocol: &str| {
            let mut port = json!({"name": name, "protocol": protocol});
            if let Some(fields) = port.as_object_mut() {
                fields.insert(key.to_owned(), json!(53));
            }
            port
        };
        json!([port("dns", "UDP"), port("dns-tcp", "TCP")])
    };
    let service = json!({
        "metadata": {"name": "kube-dns"},
        "spec": {"clusterIP": DNS_ADDRESS, "ports": ports("port")},
    });
    let slice = json!({
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": ports("port"),
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": true}}],
    });
    create::<Service>(Api::namespaced(client.clone(), "kube-system"), service).await?;
    create::<EndpointSlice>(Api::namespaced(client.clone(), "kube-system"), slice).await
}

async fn create<K>(api: Api<K>, object: Value) -> Result<()>
where
    K: Clone + DeserializeOwned + serde::Serialize + Debug,
{
    let object: K = serde_json::from_value(object)?;
    // Namespaces of the system are created by the API server itself, a moment after it says that it is ready.
    wait_for("a place for the first objects", async || match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(true),
        Err(error) => Err(error.into()),
    })
    .await
}

/// Waits until what the controllers do can be seen.
async fn wait_for_controllers(client: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    wait_for("the controllers' first ServiceAccount", async || Ok(accounts.get_opt("default").await?.is_some()))
        .await?;
    let roots: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    wait_for("the controllers' root certificate", async || Ok(roots.get_opt("kube-root-ca.crt").await?.is_some()))
        .await?;
    wait_for("the scheduler", async || opens("127.0.0.1:10259").await).await?;
    wait_for("kube-proxy", async || opens("10.96.0.1:443").await).await?;
    wait_for("kube-proxy, and CoreDNS behind it", async || opens(&format!("{DNS_ADDRESS}:53")).await).await?;
    wait_for("names", async || {
        // The system's own resolver, so that this also proves the node's file of name servers.
        let found = tokio::task::spawn_blocking(|| ("kubernetes.default", 443).to_socket_addrs()).await?;
        Ok(found?.next().is_some())
    })
    .await
}

async fn opens(address: &str) -> Result<bool> {
    let address: SocketAddr = address.parse()?;
    Ok(timeout(Duration::from_millis(250), TcpStream::connect(address)).await.is_ok_and(|result| result.is_ok()))
}

/// Asks until the answer is yes; an error is a no, and the last one is told when the time is over.
async fn wait_for(what: &str, mut ask: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(true) => {
                say(&format!("{what}: {} ms", started.elapsed().as_millis()));
                return Ok(());
            }
            Err(error) if started.elapsed() > START_LIMIT => return Err(error.context(format!("waited for {what}"))),
            Ok(false) if started.elapsed() > START_LIMIT => bail!("{what} did not come within {START_LIMIT:?}"),
            _ => sleep(POLL).await,
        }
    }
}

fn get(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

/// A line in the node's log.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
