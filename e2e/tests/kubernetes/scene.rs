//! One namespace of the shared cluster with a gateway over it.

use e2e::cluster::{self, Cluster, Scope};
use e2e::load::Requests;
use e2e::process::{Guard, descendants};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// For whatever has to happen; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(120);
/// Where Mappings of these tests lead: the sample application, inside.
pub const BACKEND: &str = "10.244.0.1:18080";
const DIAGNOSTICS: u16 = 8877;

/// Clear text on port 8080 for every host name.
pub const BASE: &str = "
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: 8080, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: SELF}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all}
spec: {hostname: '*', acmeProvider: {authority: none}, requestPolicy: {insecure: {action: Route}}}
";

/// A gateway that reads one namespace. Tests take turns, as they share ports; the cluster ends with the process.
pub struct Scene {
    pub namespace: String,
    cluster: &'static Cluster,
    gateway: Gateway,
    _application: Guard,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    /// With the definitions, a Listener and a Host; the gateway is ready. `None`, said aloud, where there is no cluster.
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let before = |cluster: &Cluster, namespace: &str| {
            install_definitions(cluster);
            apply(cluster, namespace, BASE);
        };
        let scene = Self::start_after(name, environment, before)?;
        scene.wait_until("readiness", || scene.diagnostics("/ambassador/v0/check_ready").contains("200 OK"));
        Some(scene)
    }

    /// The gateway starts when `before` has prepared the cluster.
    pub fn start_after(name: &str, environment: &[(&str, &str)], before: impl FnOnce(&Cluster, &str)) -> Option<Self> {
        static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
            Cluster::up(&format!("kubernetes-{}", std::process::id())).expect("a cluster that starts")
        });
        static TURN: Mutex<()> = Mutex::new(());
        if let Some(reason) = cluster::obstacle(Scope::Whole) {
            return skip(name, &reason);
        }
        let Some(envoy) = e2e::envoy::binary() else {
            assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
            return skip(name, "no Envoy; `make envoy` installs it");
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Scope::ApiOnly(reason) = CLUSTER.scope() {
            return skip(name, reason);
        }
        let cluster: &'static Cluster = &CLUSTER;
        output(cluster.command("kubectl").args(["create", "namespace", name]));
        before(cluster, name);
        let mut sample = cluster.command(env!("CARGO_BIN_EXE_sample-app"));
        sample.arg(format!("sample=v1@{BACKEND}")).stdin(Stdio::null()).stdout(Stdio::null());
        let application = Guard::start("the sample application", &mut sample).unwrap();
        let gateway = Gateway::start(cluster, name, &envoy, 1, environment);
        Some(Self { namespace: name.into(), cluster, gateway, _application: application, _turn: turn })
    }

    /// Like [`Scene::start`], with an API server that misbehaves on demand between it and the gateway.
    pub fn start_behind(name: &str) -> Option<(Self, Api)> {
        Self::start_behind_after(name, None, |cluster, namespace| apply(cluster, namespace, BASE))
    }

    /// Like [`Scene::start_behind`], when `before` has prepared the cluster, in the name of a ServiceAccount of the namespace.
    pub fn start_behind_after(
        name: &str,
        account: Option<&str>,
        before: impl FnOnce(&Cluster, &str),
    ) -> Option<(Self, Api)> {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let path = kubeconfig.to_str().unwrap().to_owned();
        let mut api = None;
        let before = |cluster: &Cluster, namespace: &str| {
            install_definitions(cluster);
            before(cluster, namespace);
            let user = account.map(|account| format!("system:serviceaccount:{namespace}:{account}"));
            api = Some(Api::start(cluster, folder, &kubeconfig, user.as_deref()));
        };
        let scene = Self::start_after(name, &[("KUBECONFIG", &path)], before)?;
        scene.wait_until("readiness", || scene.gateway.is_ready());
        Some((scene, api?))
    }

    /// Another replica, with its own Envoy on 127.0.0.`number`.
    pub fn replica(&self, number: u8, environment: &[(&str, &str)]) -> Gateway {
        let envoy = e2e::envoy::binary().unwrap();
        let replica = Gateway::start(self.cluster, &self.namespace, &envoy, number, environment);
        self.wait_until("readiness of another replica", || replica.is_ready());
        replica
    }

    /// The gateway that the scene began with.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Steady requests of that path from now on.
    pub fn load(&self, path: &str) -> Requests {
        let mut command = self.cluster.command(env!("CARGO_BIN_EXE_load"));
        command.args([&format!("http://127.0.0.1:8080{path}"), "--clients", "1", "--host", "x.example"]);
        Requests::start(&mut command).unwrap()
    }

    /// The running component of the cluster with that name.
    pub fn component(&self, name: &str) -> Option<Pid> {
        let first = self.cluster.state().pid("init")?;
        let is_it = |pid: &Pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next().is_some_and(|first| first.ends_with(format!("/{name}").as_bytes()))
        };
        descendants(first).into_iter().find(is_it)
    }

    /// `kubectl` in the namespace of the scene.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        output(self.cluster.command("kubectl").args(["--namespace", &self.namespace]).args(arguments))
    }

    pub fn apply(&self, manifest: &str) {
        apply(self.cluster, &self.namespace, manifest);
    }

    /// Whether the API server took it.
    pub fn try_apply(&self, manifest: &str) -> bool {
        try_apply(self.cluster, &self.namespace, manifest)
    }

    /// CPU seconds of the gateway's control plane.
    pub fn cpu(&self) -> f64 {
        let control = self.gateway.child("control-plane").unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{control}/task")).unwrap();
        let texts =
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default());
        // The first number of a thread is its time in nanoseconds.
        let times = texts.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        times.sum::<f64>() / 1e9
    }

    /// `kubectl apply` of files of the repository.
    pub fn apply_files(&self, path: &str) {
        let path = repository().join(path);
        self.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    pub fn install_definitions(&self) {
        install_definitions(self.cluster);
    }

    pub fn remove_definitions(&self) {
        remove_definitions(self.cluster);
    }

    /// The status code of a request to the gateway; 0 when there is no answer.
    pub fn get(&self, path: &str) -> u16 {
        self.gateway.get(path)
    }

    /// The answer of the port for probes and metrics.
    pub fn diagnostics(&self, path: &str) -> String {
        self.gateway.diagnostics(path)
    }

    /// A shell script in the cluster that goes on by itself.
    pub fn script(&self, script: &str) -> std::process::Child {
        let mut command = self.cluster.command("bash");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Status and output of `nuncio` in the cluster; the words are a shell's.
    pub fn nuncio(&self, words: &str) -> (i32, String) {
        let nuncio = Path::new(env!("CARGO_BIN_EXE_sample-app")).with_file_name("nuncio");
        let mut command = self.cluster.command("bash");
        command.args(["-c", &format!("\"$NUNCIO\" {words}")]).env("NUNCIO", nuncio);
        command.env("AMBASSADOR_NAMESPACE", &self.namespace).env("AMBASSADOR_SINGLE_NAMESPACE", "yes");
        let output = run(&mut command);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// An object as JSON text; empty when there is none.
    pub fn object(&self, kind: &str, name: &str) -> String {
        let get = ["--namespace", &self.namespace, "get", kind, name, "-o", "json"];
        String::from_utf8_lossy(&run(self.cluster.command("kubectl").args(get)).stdout).into_owned()
    }

    /// A condition of an object: its status, reason and message.
    pub fn condition(&self, kind: &str, name: &str, condition: &str) -> (String, String, String) {
        let object: Value = serde_json::from_str(&self.object(kind, name)).unwrap_or(Value::Null);
        let found = object["status"]["conditions"].as_array().into_iter().flatten();
        let found = found.filter(|one| one["type"] == condition).find(|one| {
            // What is said about an older version does not count.
            one["observedGeneration"] == object["metadata"]["generation"]
        });
        let text = |field: &str| found.map_or("", |found| found[field].as_str().unwrap_or_default()).to_owned();
        (text("status"), text("reason"), text("message"))
    }

    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            if started.elapsed() > LIMIT {
                let status = self.diagnostics("/api/v1/status");
                panic!("waited in vain: {what}\n{}", status.chars().take(4_000).collect::<String>());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the control plane or Envoy, which the supervisor then starts again; returns when that has been done.
    pub fn kill(&self, word: &str) {
        let find = || self.gateway.child(word);
        let mut found: Option<Pid> = None;
        self.wait_until("the process", || {
            found = find();
            found.is_some()
        });
        let old = found.unwrap();
        kill(old, Signal::SIGKILL).unwrap();
        self.wait_until("its successor", || find().is_some_and(|new| new != old));
    }

    /// Asks the gateway to end, and expects that it does so with status 0.
    pub fn end(self) {
        self.gateway.end();
    }
}

/// A gateway in the cluster.
pub struct Gateway {
    guard: Guard,
    cluster: &'static Cluster,
    /// Of Envoy and of the diagnostics.
    address: String,
}

impl Gateway {
    fn start(
        cluster: &'static Cluster,
        namespace: &str,
        envoy: &Path,
        number: u8,
        environment: &[(&str, &str)],
    ) -> Self {
        let nuncio = Path::new(env!("CARGO_BIN_EXE_sample-app")).with_file_name("nuncio");
        assert!(nuncio.is_file(), "{} is missing: cargo build --workspace --bins", nuncio.display());
        let address = format!("127.0.0.{number}");
        // By a program inside, as the way in sets KUBECONFIG.
        let mut command = cluster.command("env");
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(format!("AMBASSADOR_READY_PORT={}", 8005 + u16::from(number))).arg(nuncio);
        command.args(["entrypoint", "--concurrency", "1"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("NUNCIO_ENVOY", envoy);
        command.env("AMBASSADOR_NAMESPACE", namespace).env("AMBASSADOR_SINGLE_NAMESPACE", "yes");
        command.env("AMBASSADOR_ENVOY_BIND_ADDRESS", &address).env("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS", &address);
        let guard = Guard::start("nuncio", &mut command).unwrap();
        Self { guard, cluster, address }
    }

    /// The status code of a request; 0 when there is no answer.
    pub fn get(&self, path: &str) -> u16 {
        let answer = self.ask(8080, path);
        answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The answer of the port for probes and metrics.
    pub fn diagnostics(&self, path: &str) -> String {
        self.ask(DIAGNOSTICS, path)
    }

    pub fn is_ready(&self) -> bool {
        self.diagnostics("/ambassador/v0/check_ready").contains("200 OK")
    }

    fn ask(&self, port: u16, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\\r\\nhost: x.example\\r\\nconnection: close\\r\\n\\r\\n");
        let address = &self.address;
        let script = format!("exec 3<>/dev/tcp/{address}/{port} && printf '{request}' >&3 && timeout 10 cat <&3");
        String::from_utf8_lossy(&run(self.cluster.command("bash").args(["-c", &script])).stdout).into_owned()
    }

    /// The control plane or Envoy.
    pub fn child(&self, word: &str) -> Option<Pid> {
        descendants(self.guard.pid()).into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.first().is_some_and(|first| first.ends_with(word.as_bytes()))
                || words.get(1) == Some(&word.as_bytes())
        })
    }

    /// Asks it to end, and expects that it does so with status 0.
    pub fn end(mut self) {
        let nuncio = descendants(self.guard.pid());
        self.guard.signal(Signal::SIGTERM).unwrap();
        let status = self.guard.wait(LIMIT).unwrap();
        assert!(status.success(), "{status}");
        let begun = Instant::now();
        while nuncio.iter().any(|pid| e2e::process::is_alive(*pid)) {
            assert!(begun.elapsed() < LIMIT, "processes are left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An API server that misbehaves on demand.
pub struct Api {
    child: Guard,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Api {
    fn start(cluster: &Cluster, folder: tempfile::TempDir, kubeconfig: &Path, user: Option<&str>) -> Self {
        let mut command = cluster.command(env!("CARGO_BIN_EXE_faulty-api"));
        command.args(user.map(|user| format!("--user={user}")));
        command.arg(kubeconfig).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Guard::start("faulty-api", &mut command).unwrap();
        let answers = BufReader::new(child.child().stdout.take().unwrap());
        let mut api = Self { child, answers, _folder: folder };
        api.read();
        api
    }

    /// Tells it to misbehave, and returns what it was asked for before: `list /api/v1/services`, and how often.
    pub fn say(&mut self, word: &str) -> BTreeMap<String, u64> {
        let stdin = self.child.child().stdin.as_mut().unwrap();
        stdin.write_all(format!("{word}\n").as_bytes()).unwrap();
        self.read()
    }

    fn read(&mut self) -> BTreeMap<String, u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the API server ended: {line}"))
    }
}

/// A Mapping of that name; `rest` is more of its `spec`, in flow style.
pub fn mapping(name: &str, prefix: &str, service: &str, rest: &str) -> String {
    format!(
        "---\n{{apiVersion: getambassador.io/v3alpha1, kind: Mapping, metadata: {{name: {name}}}, \
         spec: {{hostname: '*', prefix: {prefix}, service: '{service}' {rest}}}}}\n"
    )
}

fn install_definitions(cluster: &Cluster) {
    let folder = repository().join("manifests/crds");
    output(cluster.command("kubectl").args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(folder));
    output(cluster.command("kubectl").args(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]));
}

pub fn remove_definitions(cluster: &Cluster) {
    let folder = repository().join("manifests/crds");
    output(cluster.command("kubectl").args(["delete", "--ignore-not-found", "-f"]).arg(folder));
}

pub fn apply(cluster: &Cluster, namespace: &str, manifest: &str) {
    assert!(try_apply(cluster, namespace, manifest), "{manifest}");
}

fn try_apply(cluster: &Cluster, namespace: &str, manifest: &str) -> bool {
    let mut command = cluster.command("kubectl");
    command.args(["apply", "--namespace", namespace, "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn output(command: &mut Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn skip(what: &str, reason: &str) -> Option<Scene> {
    let _ = std::io::stderr().write_all(format!("skipped: {what}: {reason}\n").as_bytes());
    None
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
