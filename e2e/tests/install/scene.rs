//! One cluster with everything installed, and the quickstart in it. Tests take turns.

use e2e::cluster::{self, Cluster, Scope};
use e2e::load::Requests;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For whatever has to happen; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(150);
/// The namespace of the gateway, and its Service.
pub const GATEWAY: &str = "emissary";
pub const SERVICE: &str = "emissary-ingress.emissary";
/// The namespace of the webhook.
pub const WEBHOOK: &str = "emissary-system";

/// The installation.
pub struct Scene {
    pub cluster: &'static Cluster,
    _turn: MutexGuard<'static, ()>,
}

/// The installation, ready. `None`, said aloud, where there can be no cluster.
pub fn installed(what: &str) -> Option<Scene> {
    static CLUSTER: LazyLock<Cluster> =
        LazyLock::new(|| Cluster::up(&format!("install-{}", std::process::id())).expect("a cluster that starts"));
    static INSTALLED: LazyLock<()> = LazyLock::new(|| install(&CLUSTER));
    static TURN: Mutex<()> = Mutex::new(());
    let skip = |reason: &str| {
        let _ = std::io::stderr().write_all(format!("skipped: {what}: {reason}\n").as_bytes());
        None
    };
    if let Some(reason) = cluster::obstacle(Scope::Whole) {
        return skip(&reason);
    }
    if e2e::envoy::binary().is_none() {
        assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
        return skip("no Envoy; `make envoy` installs it");
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Scope::ApiOnly(reason) = CLUSTER.scope() {
        return skip(reason);
    }
    LazyLock::force(&INSTALLED);
    Some(Scene { cluster: &CLUSTER, _turn: turn })
}

/// What README and quickstart say, word for word.
fn install(cluster: &Cluster) {
    assert!(
        Path::new(env!("CARGO_BIN_EXE_cluster")).with_file_name("nuncio").is_file(),
        "cargo build --workspace --bins"
    );
    let kubectl = |arguments: &[&str]| output(cluster.command("kubectl").args(arguments).current_dir(repository()));
    kubectl(&["apply", "-k", "manifests/install"]);
    let pods = "manifests/quickstart/overlays/cluster/pods.yaml.in";
    kubectl(&["apply", "-f", "manifests/quickstart", "-f", pods]);
    for (namespace, name) in [(GATEWAY, "emissary-ingress"), (WEBHOOK, "emissary-apiext"), ("default", "hello")] {
        rolled_out(cluster, namespace, name);
    }
}

/// Waits until a Deployment is as its manifest says.
pub fn rolled_out(cluster: &Cluster, namespace: &str, name: &str) {
    let deployment = format!("deployment/{name}");
    output(cluster.command("kubectl").args(["rollout", "status", "--timeout=150s", "-n", namespace, &deployment]));
}

impl Scene {
    /// `kubectl`, which has to succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        output(self.cluster.command("kubectl").args(arguments))
    }

    /// What `kubectl get … -o json` says; null when there is none.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let answer = run(self.cluster.command("kubectl").arg("get").args(arguments).args(["-o", "json"]));
        serde_json::from_slice(&answer.stdout).unwrap_or(Value::Null)
    }

    pub fn apply(&self, manifest: &str) {
        let mut command = self.cluster.command("kubectl");
        command.args(["apply", "--validate=false", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{manifest}");
    }

    /// A shell script in the cluster.
    pub fn script(&self, script: &str) -> Output {
        run(self.cluster.command("bash").args(["-c", script]))
    }

    /// Status and body of a request; 0 when there is no answer.
    pub fn ask(&self, url: &str) -> (u16, String) {
        let answer = run(self.cluster.command("curl").args(["-s", "-m", "10", "-w", "\n%{http_code}", url]));
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", ""));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    /// The pods of a namespace that are not about to go: name and address.
    pub fn pods(&self, namespace: &str) -> Vec<(String, String)> {
        let list = self.get(&["pods", "-n", namespace]);
        let staying =
            list["items"].as_array().into_iter().flatten().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        staying.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]))).collect()
    }

    /// A condition of an object, if it is about the present generation.
    pub fn condition(&self, object: &[&str], kind: &str) -> String {
        let object = self.get(object);
        let all = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut of_kind = all.filter(|one| one["type"] == kind);
        let found = of_kind.find(|one| {
            one["observedGeneration"].is_null() || one["observedGeneration"] == object["metadata"]["generation"]
        });
        found.map_or("", |one| one["status"].as_str().unwrap_or_default()).to_owned()
    }

    /// Waits until Deployment, pods and endpoints are as the manifest says.
    pub fn rolled_out(&self, namespace: &str, name: &str) {
        rolled_out(self.cluster, namespace, name);
    }

    /// Steady requests of the gateway from now on.
    pub fn load(&self, path: &str) -> Requests {
        let mut command = self.cluster.command(env!("CARGO_BIN_EXE_load"));
        command.arg(format!("http://{SERVICE}{path}"));
        Requests::start(&mut command).unwrap()
    }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that has to succeed.
pub fn output(command: &mut Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
