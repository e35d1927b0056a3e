//! A real Kubernetes on one machine, without containers and without root: etcd, the API server, controllers, scheduler,
//! kube-proxy and DNS as processes in namespaces of their own. Nothing of it can be seen outside, and nothing inside
//! reaches outside, so several can run side by side.
//!
//! ```text
//! binaries     the programs, built once from pinned Go modules
//! state        what a cluster has on disk
//! keeper       the processes that hold it together
//! namespace    mount, network, pid and user namespaces
//! network      devices and routes of the node
//! credentials  keys, certificates, tokens
//! components   command lines of the control plane
//! node         starts the components, says when the cluster can be used
//! agent        runs pods as processes
//! ```
//!
//! A test uses it like this; the cluster ends when the value is dropped, and when the test is killed:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use e2e::cluster::{Cluster, Scope};
//! if let Some(reason) = e2e::cluster::obstacle(Scope::Whole) {
//!     println!("skipped: {reason}");
//!     return Ok(());
//! }
//! let cluster = Cluster::up("my-test")?;
//! let status = cluster.command("kubectl").args(["get", "namespaces"]).status()?;
//! # Ok(())
//! # }
//! ```

pub mod agent;
pub mod binaries;
mod components;
mod credentials;
pub mod keeper;
mod namespace;
pub(crate) mod network;
mod node;
pub mod state;

use crate::process::{END_WITH_PARENT, is_alive};
use agent::images::{self, Image};
use anyhow::{Context, Result, bail};
use binaries::Binaries;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use state::State;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The folder of envtest; what is in it is used instead of building anything.
pub const ENVTEST: &str = "KUBEBUILDER_ASSETS";
/// The user's own cluster; it is used instead of starting one.
pub const FOREIGN: &str = "KUBECONFIG";

const READY_WHOLE: &str = "whole";
const READY_ALONE: &str = "api only: ";

/// How long a cluster may take to start or to end.
const LIMIT: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(20);

/// How much of a cluster there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All of it, in namespaces of its own.
    Whole,
    /// etcd and the API server on loopback, and why.
    ApiOnly(String),
    /// A cluster that the user brought; pods and Services work if they do there, and can be reached if they can be there.
    Foreign,
}

/// A running cluster.
pub struct Cluster {
    state: State,
    scope: Scope,
    program: PathBuf,
    /// The keeper, when the cluster is to end with this value.
    keeper: Option<Child>,
}

/// Why there can be no cluster of that scope here; for tests that then say so and end.
pub fn obstacle(wanted: Scope) -> Option<String> {
    if std::env::var_os(FOREIGN).is_some() {
        return (wanted == Scope::Whole)
            .then(|| format!("{FOREIGN} is set, and what this needs is a cluster of its own"));
    }
    if std::env::var_os(ENVTEST).is_some() {
        return (wanted == Scope::Whole).then(|| format!("{ENVTEST} is set, and has no controllers, proxy and DNS"));
    }
    binaries::obstacle()
}

impl Cluster {
    /// Starts a cluster that ends with this value or this process, whatever ends that. Its programs are built if they are
    /// missing. Fails when there is one of that name already.
    pub fn up(name: &str) -> Result<Self> {
        Self::up_with(name, components::EAGER)
    }

    /// The same, with a kube-proxy that looks at changes once a second, as it does by default. For measurements: one that
    /// looks at once is what tests need, and takes the cores of the node after each change of an endpoint.
    pub fn up_as_usual(name: &str) -> Result<Self> {
        Self::up_with(name, "1s")
    }

    fn up_with(name: &str, proxy_period: &str) -> Result<Self> {
        Self::start(&State::of(name)?, true, proxy_period, &mut |line| eprintln!("{line}"))?
            .with_context(|| format!("there is a cluster of the name {name} already"))
    }

    /// Starts a cluster that goes on after this process, or finds the running one of that name.
    pub fn up_detached(name: &str, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let state = State::of(name)?;
        match Self::start(&state, false, components::EAGER, say)? {
            Some(cluster) => Ok(cluster),
            None => {
                let scope = wait_until_ready(&state, None)?;
                Ok(Self { state, scope, program: program()?, keeper: None })
            }
        }
    }

    /// The running cluster of that name.
    pub fn find(name: &str) -> Result<Self> {
        let state = State::of(name)?;
        if !state.is_alive() {
            bail!("no cluster of the name {name} runs");
        }
        let scope = wait_until_ready(&state, None)?;
        Ok(Self { state, scope, program: program()?, keeper: None })
    }

    /// `None` when there is one already.
    fn start(state: &State, tied: bool, proxy_period: &str, say: &mut dyn FnMut(&str)) -> Result<Option<Self>> {
        if state.is_alive() {
            return Ok(None);
        }
        if std::env::var_os(ENVTEST).is_none() {
            binaries::build(say)?;
        }
        let program = program()?;
        let mut command = Command::new(&program);
        command.arg(keeper::KEEPER).arg(state.folder()).arg(if tied { keeper::TIED } else { keeper::FREE });
        command.env(components::PROXY_PERIOD, proxy_period);
        command.stdin(if tied { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut keeper = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        match wait_until_ready(state, Some(&mut keeper)) {
            Ok(scope) => Ok(Some(Self { state: state.clone(), scope, program, keeper: tied.then_some(keeper) })),
            Err(_) if keeper.try_wait()?.is_some_and(|status| status.code() == Some(i32::from(keeper::EXISTS))) => {
                Ok(None)
            }
            Err(error) => {
                let _ = down(state);
                let _ = keeper.wait();
                Err(error)
            }
        }
    }

    /// How much of a cluster it is.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The kubeconfig of a user who may do everything; its address is that inside.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// What is on disk.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Puts a program, or a folder with an `entrypoint`, into the image table.
    pub fn load(&self, name: &str, path: &Path) -> Result<()> {
        images::load(&self.state, name, &Image::from_path(path)?)
    }

    /// What the containers of a pod have written: name and file. Without a pod of that name it is the log of that component.
    /// `previous` asks for what they wrote before they were started again.
    pub fn logs(&self, namespace: &str, pod: &str, previous: bool) -> Result<Vec<(String, PathBuf)>> {
        let (folder, prefix) = (self.state.path("log/pods"), format!("{namespace}_{pod}_"));
        let suffix = if previous { ".previous.log" } else { ".log" };
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let container = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(suffix));
            // Names of containers have no dots, so with one this is the other kind of file.
            if let Some(container) = container.filter(|container| !container.contains('.')) {
                logs.push((container.to_owned(), folder.join(&name)));
            }
        }
        if logs.is_empty() && pod.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            let component = self.state.path(&format!("log/{pod}.log"));
            logs.extend(component.is_file().then(|| (pod.to_owned(), component)));
        }
        logs.sort();
        Ok(logs)
    }

    /// A command that runs inside, with `KUBECONFIG` and `kubectl`, in the same working directory. Its streams, exit status
    /// and signals are those of the program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["exec", "--name", self.state.name(), "--"]).arg(program).env_remove(FOREIGN);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = down(&self.state);
            let _ = keeper.wait();
        }
    }
}

/// Waits until the cluster can be used. With the keeper its end is noticed, and its reason told.
fn wait_until_ready(state: &State, mut keeper: Option<&mut Child>) -> Result<Scope> {
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(state.path("ready")) {
            // The file belongs to the living cluster: a claim removes what a dead one left before it takes the lock.
            if state.is_alive() {
                let alone = text.strip_prefix(READY_ALONE);
                return Ok(alone.map_or(Scope::Whole, |reason| Scope::ApiOnly(reason.to_owned())));
            }
        }
        // Read before it is removed with the rest.
        let log = state.last_lines("node", 12);
        if let Some(keeper) = &mut keeper {
            if keeper.try_wait()?.is_some() {
                let mut words = String::new();
                if let Some(stderr) = &mut keeper.stderr {
                    let _ = stderr.read_to_string(&mut words);
                }
                bail!("the cluster did not start\n{words}{log}");
            }
        } else if !state.is_alive() {
            bail!("the cluster ended\n{log}");
        }
        if started.elapsed() > LIMIT {
            bail!("the cluster is not ready after {LIMIT:?}\n{log}");
        }
        std::thread::sleep(POLL);
    }
}

/// Ends the cluster and waits until nothing of it is left; true when there was one.
pub fn down(state: &State) -> Result<bool> {
    let alive = state.is_alive();
    let existed = alive || state.exists();
    let (first, keeper) = (state.pid("init"), state.pid("keeper"));
    let started = Instant::now();
    if alive {
        // The lock says that these numbers still mean what they meant. The first process takes all others with it, and
        // its keeper removes the folder.
        if let Some(process) = first.or(keeper) {
            kill(process, Signal::SIGKILL)?;
        }
        // The folder goes before the keeper does.
        while state.is_alive() || keeper.is_some_and(is_alive) {
            if started.elapsed() > LIMIT {
                bail!("the cluster does not end");
            }
            std::thread::sleep(POLL);
        }
    }
    state.remove()?;
    Ok(existed)
}

/// Runs a command inside and returns its exit status; called from a process with one thread, which then is inside too.
pub fn exec(name: &str, command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("a command to run")?;
    let cluster = Cluster::find(name)?;
    let (kubeconfig, cache) = (cluster.kubeconfig(), cluster.state.path("data/kubectl"));
    let binaries = Binaries::in_force()?.context("the cluster's programs are gone")?;
    let own = std::env::current_exe()?;
    let parent = match &cluster.scope {
        Scope::Whole => {
            namespace::enter(cluster.state.pid("init").context("the cluster has just ended")?)?;
            0
        }
        _ => std::process::id(),
    };
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(binaries.folders().iter().cloned().chain(std::env::split_paths(&old)))?;
    // Whoever ends this process ends the command; a process in a pid namespace sees its parent outside as number 0.
    let mut inside = Command::new(&own);
    inside.arg(END_WITH_PARENT).arg(parent.to_string()).arg(program).args(arguments);
    // kubectl's cache would outlive the cluster in the user's home.
    inside.env("KUBECONFIG", kubeconfig).env("PATH", path).env("KUBECACHEDIR", cache);
    run(inside)
}

/// Runs a command of the user's own cluster.
pub fn exec_foreign(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("a command to run")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(binaries) = Binaries::in_force()? {
        // After the user's own folders: a kubectl that fits the user's cluster comes first.
        let old = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::env::split_paths(&old).chain(binaries.folders().iter().cloned()))?;
        command.env("PATH", path);
    }
    run(command)
}

/// Runs the command to its end, passes signals on, and takes its exit status over.
fn run(command: Command) -> Result<ExitCode> {
    let program = command.get_program().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut signals = Vec::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
            signals.push((kind.as_raw_value(), signal(kind)?));
        }
        let mut command = tokio::process::Command::from(command);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        loop {
            let next = futures::future::select_all(
                signals.iter_mut().map(|(number, signal)| Box::pin(async { signal.recv().await.map(|()| *number) })),
            );
            tokio::select! {
                status = child.wait() => return Ok::<ExitStatus, anyhow::Error>(status?),
                (number, _, _) = next => {
                    let signal = number.and_then(|number| Signal::try_from(number).ok());
                    // The terminal has sent its own signals to the whole group already.
                    let twice = signal != Some(Signal::SIGTERM) && is_in_foreground();
                    if let (Some(pid), Some(signal), false) = (pid, signal, twice) {
                        let _ = kill(pid, signal);
                    }
                }
            }
        }
    })?;
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code)?))
}

fn is_in_foreground() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// The program `cluster`: this one, or the one that was built beside the running test.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the running executable")?;
    if own.file_name() == Some(OsStr::new("cluster")) {
        return Ok(own);
    }
    // Tests run from target/debug/deps.
    let folders = own.ancestors().skip(1).take(2).map(Path::to_path_buf);
    folders.map(|folder| folder.join("cluster")).find(|path| path.is_file()).with_context(|| {
        format!("no `cluster` beside {}; build it with `cargo build --workspace --bins`", own.display())
    })
}
