//! The programs of the control plane: arguments, files, order.

use super::binaries::Binaries;
use super::network::{NODE_ADDRESS, system_path};
use super::state::State;
use crate::process::guarded;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::process::Stdio;
use tokio::process::Command;

/// The name of the one node.
pub const NODE_NAME: &str = "node";
/// The DNS server's address inside the cluster.
pub const DNS_ADDRESS: &str = "10.96.0.10";

/// Where the programs listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// etcd, for clients.
    pub etcd: u16,
    /// etcd, for peers that there are none of.
    pub peers: u16,
    /// The API server.
    pub api: u16,
}

/// The usual ports; in a network namespace nobody else has them.
pub const PORTS: Ports = Ports { etcd: 2379, peers: 2380, api: 6443 };

/// etcd and the API server: all there is without namespaces.
pub fn storage(ports: Ports, alone: bool) -> [(&'static str, Vec<String>); 2] {
    let local = |port: u16| format!("http://127.0.0.1:{port}");
    let (clients, peers) = (local(ports.etcd), local(ports.peers));
    let etcd = vec![
        "--data-dir=etcd".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    // The API server refuses endpoints on the loopback address, so alone it goes without its own Service.
    let (address, bind) = if alone { ("127.0.0.1", "127.0.0.1") } else { (NODE_ADDRESS, "0.0.0.0") };
    let mut api = vec![
        format!("--etcd-servers={clients}"),
        format!("--secure-port={}", ports.api),
        format!("--bind-address={bind}"),
        format!("--advertise-address={address}"),
        "--cert-dir=.".to_owned(),
        "--tls-cert-file=server.crt".to_owned(),
        "--tls-private-key-file=server.key".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--service-account-key-file=service-account.pub".to_owned(),
        "--service-account-signing-key-file=service-account.key".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--token-auth-file=tokens".to_owned(),
        "--allow-privileged".to_owned(),
        "--enable-aggregator-routing".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if alone {
        api.push("--endpoint-reconciler-type=none".to_owned());
        // Nobody creates the account that this plugin insists on.
        api.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    [("etcd", etcd), ("kube-apiserver", api)]
}

/// What a whole cluster has besides.
pub fn controllers() -> [(&'static str, Vec<String>); 4] {
    let serving = ["--bind-address=127.0.0.1", "--tls-cert-file=server.crt", "--tls-private-key-file=server.key"];
    let with = |arguments: &[&str]| arguments.iter().chain(&serving).map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let manager = with(&[
        "--kubeconfig=kube-controller-manager.conf",
        "--service-account-private-key-file=service-account.key",
        "--root-ca-file=ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        // The agent renews its lease; a machine that was suspended must not come back to an empty cluster.
        "--node-monitor-grace-period=1h",
        // One user may do much at once here; the default makes rollouts wait for the client's own limit.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--concurrent-service-endpoint-syncs=10",
        "--endpointslice-updates-batch-period=0s",
        "--profiling=false",
    ]);
    let scheduler = with(&[
        "--kubeconfig=kube-scheduler.conf",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]);
    [
        ("kube-controller-manager", manager),
        ("kube-scheduler", scheduler),
        ("kube-proxy", vec!["--config=kube-proxy.yaml".to_owned()]),
        ("coredns", vec!["-conf".to_owned(), "Corefile".to_owned()]),
    ]
}

/// Variable of the node: how long kube-proxy collects changes.
pub const PROXY_PERIOD: &str = "NUNCIO_CLUSTER_PROXY_PERIOD";
/// So that a test which makes a Service need not wait for it.
pub const EAGER: &str = "20ms";

/// Writes the files that [`controllers`] names.
pub fn write_configuration(state: &State) -> Result<()> {
    let period = std::env::var(PROXY_PERIOD).unwrap_or_else(|_| EAGER.to_owned());
    state.write(
        "data/kube-proxy.yaml",
        &format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
             hostnameOverride: {NODE_NAME}\nclusterCIDR: 10.244.0.0/16\nclientConnection: {{kubeconfig: kube-proxy.conf}}\n\
             metricsBindAddress: \"127.0.0.1:10249\"\nnftables: {{minSyncPeriod: {period}}}\n\
             conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}\n"
        ),
    )?;
    // No cache: what changed is to be seen at once. Names of the world outside do not exist here, which is a quicker answer
    // than an error, after which resolvers try again.
    state.write(
        "data/Corefile",
        "cluster.local:53 in-addr.arpa:53 {\n    errors\n    ready 127.0.0.1:8181\n    kubernetes cluster.local in-addr.arpa {\n        \
         kubeconfig coredns.conf test\n        ttl 1\n    }\n}\n.:53 {\n    template ANY ANY {\n        rcode NXDOMAIN\n    }\n}\n",
    )
}

/// The command that starts a program with its log in `log/NAME.log`; it ends with this process.
pub fn command(state: &State, binaries: &Binaries, name: &str, arguments: &[String]) -> Result<Command> {
    let program = binaries.path(name).with_context(|| format!("there is no {name} among the programs"))?;
    let log = OpenOptions::new().create(true).append(true).open(state.path(&format!("log/{name}.log")))?;
    let mut command = Command::from(guarded(&program)?);
    command.args(arguments).current_dir(state.path("data")).env("PATH", system_path());
    // It has its own configuration; one of the user's must not be mixed in.
    command.env_remove("KUBECONFIG");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
}
