//! The parent of control plane and Envoy.
//!
//! It holds nothing but its two children and a private folder with the socket between them, so that either child can be
//! killed without the other: Envoy goes on serving without a control plane, and a new Envoy gets everything from the
//! control plane that is there. Nothing survives it: the children ask the kernel to be killed when it ends.

mod admin;
mod envoy;
mod folder;
mod guard;

pub use guard::{end_with, guarded_exec};

use crate::cli::args::{AdsAddress, DiagAddress, EntrypointArgs, GatewayArgs, ServeArgs};
use crate::settings::Environment;
use ::envoy::bootstrap::{self, Admin, BootstrapOptions, Ready};
use anyhow::{Context, bail};
use folder::RuntimeFolder;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::stderr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Name of the stream's socket in the private folder.
pub const ADS_SOCKET: &str = "ads.sock";
const ADMIN_SOCKET: &str = "admin.sock";

/// First and longest pause before a child that ended is started again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// A child that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);
/// How long a child may take to end after it was asked to.
const ENDING: Duration = Duration::from_secs(3);
/// How long connections get on SIGTERM by default; in a cluster a little less than the 30 s that a pod gets to end.
const SERVE_DRAIN: Drain = Drain { most: Duration::from_secs(10), least: Duration::ZERO };
const CLUSTER_DRAIN: Drain = Drain { most: Duration::from_secs(25), least: CLUSTER_LINGER };
/// How long a gateway in a cluster goes on in any case: until everybody knows that its pod goes, new connections come, and
/// between two of them it looks as if nobody were there.
const CLUSTER_LINGER: Duration = Duration::from_secs(5);
/// How long connections get after Ctrl-C, when a person waits.
const INTERACTIVE: Duration = Duration::from_secs(2);
/// How often the socket of the control plane is looked for, and connections are counted.
const LOOK: Duration = Duration::from_millis(10);

/// How long Envoy serves on after SIGTERM.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// While there are connections.
    most: Duration,
    /// Even if there are none.
    least: Duration,
}

/// `nuncio serve`: a gateway over manifest files, until a signal ends it.
pub fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    for path in &args.paths {
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let environment = Environment::of_process();
    let mut control: Vec<OsString> = Vec::new();
    if args.choose_ports {
        control.push("--choose-ports".into());
    }
    let paths = args.paths.iter().map(|path| path.clone().into_os_string());
    run(&args.gateway, &environment, SERVE_DRAIN, control, paths.collect())
}

/// `nuncio entrypoint`: a gateway over a Kubernetes cluster, until a signal ends it.
pub fn entrypoint(args: &EntrypointArgs) -> anyhow::Result<ExitCode> {
    let mut environment = Environment::of_process();
    // Upstream always has the ready listener.
    environment.set_default("AMBASSADOR_READY_PORT", "8006");
    let mut gateway = args.gateway.clone();
    gateway.diag.get_or_insert_with(|| DiagAddress::Tcp(environment.health_address()));
    let folders = environment.manifest_folders().into_iter().map(PathBuf::into_os_string);
    run(&gateway, &environment, CLUSTER_DRAIN, vec!["--kubernetes".into()], folders.collect())
}

/// Runs control plane and Envoy until a signal ends it. `options` and `paths` are for the control plane.
fn run(
    args: &GatewayArgs,
    environment: &Environment,
    drain: Drain,
    options: Vec<OsString>,
    paths: Vec<OsString>,
) -> anyhow::Result<ExitCode> {
    if matches!(args.ads, Some(AdsAddress::Tcp(_)))
        && (args.ads_cert.is_none() || args.ads_key.is_none() || args.ads_client_ca.is_none())
    {
        bail!("--ads on an address needs --ads-cert, --ads-key and --ads-client-ca: the stream carries private keys");
    }
    crate::control::init_logging(args.log_format, environment);
    for (name, instead) in environment.without_effect() {
        tracing::warn!("{name} is set and has no effect: {instead}");
    }
    let envoy = match args.without_envoy() {
        true => None,
        false => Some(envoy::find(args.envoy.as_deref(), environment)?),
    };
    let folder = RuntimeFolder::create()?;
    let mut words = options;
    words.extend(args.to_arguments());
    words.push("--".into());
    words.extend(paths);
    let most = args.drain_time.map_or(drain.most, Duration::from_secs);
    let drain = Drain { most, least: drain.least.min(most) };
    let mut supervisor = Supervisor::new(args, words, drain, environment, envoy, folder)?;
    // One thread: the kernel kills a child when the thread that started it ends, not only when the process does.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(supervisor.run())
}

struct Supervisor {
    folder: RuntimeFolder,
    control: Child,
    envoy: Option<Child>,
    /// What the control plane listens on for Envoy.
    socket: PathBuf,
    drain: Drain,
}

/// One of the two, running or not.
#[derive(Debug)]
struct Child {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Its standard output goes to our standard error.
    quiet: bool,
    pid: Option<Pid>,
    started: Instant,
    starts: u32,
    pause: Duration,
    due: Instant,
}

impl Supervisor {
    fn new(
        args: &GatewayArgs,
        words: Vec<OsString>,
        drain: Drain,
        environment: &Environment,
        envoy: Option<PathBuf>,
        folder: RuntimeFolder,
    ) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find the running executable")?;
        let parent = std::process::id().to_string();
        let socket = match &args.ads {
            Some(AdsAddress::Unix(path)) => std::path::absolute(path)?,
            _ => folder.path().join(ADS_SOCKET),
        };
        let mut control: Vec<OsString> = vec![
            "control-plane".into(),
            "--runtime".into(),
            folder.path().into(),
            "--parent".into(),
            parent.clone().into(),
        ];
        control.extend(words);
        let envoy = match envoy {
            None => None,
            Some(program) => {
                let options = environment.options();
                let mut settings = BootstrapOptions::new(&options.ambassador_id, &options.namespace);
                settings.node_cluster = environment.node_cluster();
                settings.admin = Some(Admin::Unix(folder.path().join(ADMIN_SOCKET)));
                settings.ready = environment.ready_port().map(|port| Ready { port, ..Ready::default() });
                let file = folder.path().join("envoy.json");
                std::fs::write(&file, serde_json::to_vec_pretty(&bootstrap::dynamic_bootstrap(&settings, &socket))?)?;
                let mut arguments: Vec<OsString> =
                    vec!["guarded-exec".into(), "--parent".into(), parent.into(), "--".into(), program.into()];
                arguments.extend(["-c".into(), file.into(), "-l".into(), envoy::log_level(environment).into()]);
                arguments.extend(bootstrap::arguments(drain.most).into_iter().map(OsString::from));
                if let Some(workers) = args.concurrency {
                    arguments.extend(["--concurrency".into(), workers.to_string().into()]);
                }
                Some(Child::new("Envoy", own.clone(), arguments, true))
            }
        };
        Ok(Self { control: Child::new("control plane", own, control, false), envoy, socket, drain, folder })
    }

    async fn run(&mut self) -> anyhow::Result<ExitCode> {
        let mut ended = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        // A socket left by an earlier gateway on a path of the user's would look like a control plane that listens.
        let _ = std::fs::remove_file(&self.socket);
        self.control.start()?;
        loop {
            if let Some(code) = self.reap() {
                self.kill_all();
                return Ok(code);
            }
            self.start_what_is_due()?;
            let next = [self.control.next(), self.envoy.as_ref().and_then(Child::next)].into_iter().flatten().min();
            let grace = tokio::select! {
                _ = ended.recv() => continue,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => continue,
                _ = terminate.recv() => self.drain,
                _ = hangup.recv() => self.drain,
                _ = interrupt.recv() => Drain { most: self.drain.most.min(INTERACTIVE), least: Duration::ZERO },
            };
            tokio::select! {
                biased;
                _ = second(&mut terminate, &mut interrupt) => {}
                () = self.shut_down(grace) => {}
            }
            self.kill_all();
            return Ok(ExitCode::SUCCESS);
        }
    }

    /// Takes note of children that ended, orphans included. An exit status when there is no point in going on.
    fn reap(&mut self) -> Option<ExitCode> {
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("ended with status {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("was killed by {signal}")),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
                Ok(_) | Err(_) => continue,
            };
            if self.control.pid == Some(pid) {
                // Status 2: the arguments or the surroundings do not permit it; it has said why.
                if how == "ended with status 2" && self.control.starts == 1 {
                    return Some(ExitCode::from(crate::cli::COULD_NOT_RUN));
                }
                if self.control.starts == 1 {
                    self.control.arguments.insert(1, "--restarted".into());
                }
                self.control.ended(&how);
            } else if let Some(envoy) = self.envoy.as_mut().filter(|envoy| envoy.pid == Some(pid)) {
                envoy.ended(&how);
            }
        }
    }

    fn start_what_is_due(&mut self) -> anyhow::Result<()> {
        if self.control.is_due() {
            self.control.start()?;
        }
        if let Some(envoy) = self.envoy.as_mut().filter(|envoy| envoy.is_due()) {
            // The first Envoy waits for the socket: its own attempts would be further apart.
            if envoy.starts == 0 && !self.socket.exists() {
                envoy.due = Instant::now() + LOOK;
            } else {
                envoy.start()?;
            }
        }
        Ok(())
    }

    /// Fails readiness, lets connections end, then ends Envoy and the control plane.
    async fn shut_down(&mut self, grace: Drain) {
        self.control.signal(Signal::SIGUSR1);
        let running = self.envoy.as_ref().is_some_and(|envoy| envoy.pid.is_some());
        if running {
            let admin = self.folder.path().join(ADMIN_SOCKET);
            let begun = Instant::now();
            if admin::drain(&admin).await.is_ok() {
                sleep(grace.least).await;
                let mut asked = Instant::now();
                while begun.elapsed() < grace.most && admin::connections(&admin).await.is_ok_and(|open| open > 0) {
                    // Envoy goes through all statistics for an answer, and has endpoints to take in meanwhile.
                    sleep((LOOK * 5).max(asked.elapsed() * 4)).await;
                    asked = Instant::now();
                }
            }
        }
        // Envoy ends before the control plane: endpoints and certificates are kept current until then.
        if let Some(envoy) = &mut self.envoy {
            envoy.end().await;
        }
        self.control.end().await;
    }

    fn kill_all(&mut self) {
        for child in [Some(&self.control), self.envoy.as_ref()].into_iter().flatten() {
            if child.signal(Signal::SIGKILL)
                && let Some(pid) = child.pid
            {
                let _ = waitpid(pid, None);
            }
        }
    }
}

async fn second(terminate: &mut Stream, interrupt: &mut Stream) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Child {
    fn new(name: &'static str, program: PathBuf, arguments: Vec<OsString>, quiet: bool) -> Self {
        let now = Instant::now();
        Self { name, program, arguments, quiet, pid: None, started: now, starts: 0, pause: PAUSES.0, due: now }
    }

    fn is_due(&self) -> bool {
        self.pid.is_none() && Instant::now() >= self.due
    }

    /// When something is to be done about it.
    fn next(&self) -> Option<Instant> {
        self.pid.is_none().then_some(self.due)
    }

    /// Starts it in a process group of its own, so that Ctrl-C reaches only the supervisor.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).process_group(0).stdin(std::process::Stdio::null());
        if self.quiet {
            command.stdout(stderr());
        }
        let child = command.spawn().with_context(|| format!("cannot start the {}", self.name))?;
        self.pid = Some(Pid::from_raw(i32::try_from(child.id()).context("no process id")?));
        self.started = Instant::now();
        self.starts += 1;
        Ok(())
    }

    fn ended(&mut self, how: &str) {
        self.pid = None;
        if self.started.elapsed() >= RECOVERED {
            self.pause = PAUSES.0;
        }
        self.due = Instant::now() + self.pause;
        tracing::error!("the {} {how}; it is started again in {} ms", self.name, self.pause.as_millis());
        self.pause = (self.pause * 2).min(PAUSES.1);
    }

    /// Whether it was there to get the signal.
    fn signal(&self, signal: Signal) -> bool {
        self.pid.is_some_and(|pid| kill(pid, signal).is_ok())
    }

    /// Asks it to end, and insists after a while.
    async fn end(&mut self) {
        let Some(pid) = self.pid.filter(|_| self.signal(Signal::SIGTERM)) else { return };
        let gone = async {
            while matches!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
                sleep(LOOK / 2).await;
            }
        };
        if timeout(ENDING, gone).await.is_err() {
            self.signal(Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
        self.pid = None;
    }
}
