//! A cluster with a Service, and webhooks behind it.

use e2e::cluster::{self, Cluster, Scope};
use e2e::process::Guard;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For whatever has to happen; generous, because it only shows in failures.
pub const LIMIT: Duration = Duration::from_secs(120);
pub const PLURALS: [&str; 14] = [
    "authservices",
    "consulresolvers",
    "devportals",
    "hosts",
    "kubernetesendpointresolvers",
    "kubernetesserviceresolvers",
    "listeners",
    "logservices",
    "mappings",
    "modules",
    "ratelimitservices",
    "tcpmappings",
    "tlscontexts",
    "tracingservices",
];

/// A cluster of one test at a time; it is a gigabyte. `None`, said aloud, where there can be none.
pub fn cluster(what: &str) -> Option<(Cluster, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Some(reason) = cluster::obstacle(Scope::Whole) {
        let _ = std::io::stderr().write_all(format!("skipped: {what}: {reason}\n").as_bytes());
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The one before may not be gone yet when the turn is passed on.
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let name = format!("webhook-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
    let cluster = Cluster::up(&name).expect("a cluster that starts");
    if *cluster.scope() != Scope::Whole {
        let _ = std::io::stderr().write_all(format!("skipped: {what}: no whole cluster\n").as_bytes());
        return None;
    }
    Some((cluster, turn))
}

/// Namespace and Service as upstream's manifests have them, with two endpoints on the node.
pub fn install_service(cluster: &Cluster) {
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "emissary-system"}}),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "emissary-apiext", "namespace": "emissary-system"},
                "spec": {"ports": [{"name": "https", "port": 443}]},
            }),
            endpoint(1, true),
            endpoint(2, true),
        ],
    );
    // What the installation gives to the webhook: no more than this has to be enough.
    let mut rights = documents(&repository().join("manifests/install/webhook.yaml"));
    rights.retain(|object| {
        let kind = object["kind"].as_str().unwrap();
        kind == "ServiceAccount" || kind.contains("Role")
    });
    assert_eq!(rights.len(), 5);
    apply(cluster, &rights);
}

/// A kubeconfig of the service account.
fn kubeconfig(cluster: &Cluster) -> PathBuf {
    let token = kubectl(cluster, ["create", "token", "emissary-apiext", "-n", "emissary-system"]);
    let text = kubectl(cluster, ["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"] = json!([{"name": "apiext", "user": {"token": token.trim()}}]);
    config["contexts"][0]["context"]["user"] = json!("apiext");
    let path = cluster.kubeconfig().with_file_name("apiext.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// The endpoint of a replica.
fn endpoint(number: u16, ready: bool) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("emissary-apiext-{number}"), "namespace": "emissary-system",
            "labels": {"kubernetes.io/service-name": "emissary-apiext"},
        },
        "ports": [{"name": "https", "port": 18440 + number, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.0.1"], "conditions": {"ready": ready}}],
    })
}

/// Ends a replica as a cluster does: the order to stop, and at the same time no more new connections.
pub fn retire(cluster: &Cluster, number: u16, mut replica: Guard) {
    replica.signal(Signal::SIGTERM).unwrap();
    apply(cluster, &[endpoint(number, false)]);
    assert!(replica.wait(LIMIT).unwrap().success());
}

/// Makes the endpoint of a replica ready again.
pub fn admit(cluster: &Cluster, number: u16) {
    apply(cluster, &[endpoint(number, true)]);
}

/// Starts a replica, the first or the second, with the rights of its service account. It ends with the value.
pub fn replica(cluster: &Cluster, number: u16) -> Guard {
    let (https, probes) = (format!("10.244.0.1:{}", 18440 + number), format!("10.244.0.1:{}", 18460 + number));
    let mut command = cluster.command(nuncio());
    command.args(["apiext", "emissary-apiext", "--https", &https, "--probes", &probes]);
    command.arg("--kubeconfig").arg(kubeconfig(cluster));
    command.env("POD_NAMESPACE", "emissary-system").stdin(Stdio::null()).stdout(Stdio::null());
    let guard = Guard::start("nuncio apiext", &mut command).unwrap();
    wait_until("a ready webhook", || {
        let ask = format!(
            "exec 3<>/dev/tcp/10.244.0.1/{}; printf 'GET /probes/ready HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
            18460 + number
        );
        let answer = cluster.command("bash").args(["-c", &ask]).stderr(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&answer.stdout).contains("Ready!")
    });
    guard
}

/// The binary, which is built beside this test.
pub fn nuncio() -> PathBuf {
    let nuncio = Path::new(env!("CARGO_BIN_EXE_cluster")).with_file_name("nuncio");
    assert!(nuncio.is_file(), "{} is missing: cargo build --workspace --bins", nuncio.display());
    nuncio
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Documents of a YAML file.
pub fn documents(path: &Path) -> Vec<Value> {
    read(&std::fs::read_to_string(path).unwrap())
}

/// Documents of YAML text.
pub fn read(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple::<Value>(text).unwrap().into_iter().filter(|one| !one.is_null()).collect()
}

/// Our definitions of all versions.
pub fn definitions() -> Vec<Value> {
    let files = std::fs::read_dir(repository().join("manifests/crds-all-versions")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some());
    files.flat_map(|path| documents(&path)).collect()
}

/// The objects of every kind in every version.
pub fn objects() -> Vec<Value> {
    serde_saphyr::from_str(include_str!("objects.yaml")).unwrap()
}

pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs `kubectl`, which has to succeed.
pub fn kubectl<S: AsRef<OsStr>>(cluster: &Cluster, arguments: impl IntoIterator<Item = S>) -> String {
    let mut command = cluster.command("kubectl");
    let output = run(command.args(arguments));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Creates objects or replaces what they say of them.
pub fn apply(cluster: &Cluster, objects: &[Value]) {
    let mut command = cluster.command("kubectl");
    command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Applies definitions and waits until they are served.
pub fn define(cluster: &Cluster, definitions: &[Value]) {
    apply(cluster, definitions);
    kubectl(cluster, ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
}

/// Waits for something, at most [`LIMIT`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What all objects say in all versions, by version, kind and name: their labels, annotations, spec and status.
pub fn snapshot(cluster: &Cluster) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for version in ["v1", "v2", "v3alpha1"] {
        let is_there = |plural: &&str| match *plural {
            "listeners" => version == "v3alpha1",
            "hosts" => version != "v1",
            _ => true,
        };
        let kinds: Vec<String> =
            PLURALS.iter().filter(|one| is_there(one)).map(|one| format!("{one}.{version}.getambassador.io")).collect();
        let text = kubectl(cluster, ["get", &kinds.join(","), "--all-namespaces", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        for object in list["items"].as_array().unwrap() {
            assert_eq!(object["apiVersion"], format!("getambassador.io/{version}"));
            let plural = object["kind"].as_str().unwrap().to_lowercase() + "s";
            let name = format!("{version} {plural} {}", object["metadata"]["name"].as_str().unwrap());
            let metadata = &object["metadata"];
            let says = json!({
                "labels": metadata["labels"], "annotations": metadata["annotations"], "uid": metadata["uid"],
                "spec": object["spec"], "status": object["status"],
            });
            all.insert(name, says);
        }
    }
    all
}

/// Asserts that two snapshots are equal, and shows what differs first.
pub fn assert_same(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>, when: &str) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{when}");
    for (name, before) in before {
        assert_eq!(before, &after[name], "{when}: {name}");
    }
}
