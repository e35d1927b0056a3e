//! One container: started, probed, started again, ended.

use super::container::{CANNOT_START, COMMAND, Description, UNNAMED, WATCHER};
use super::environment;
use super::images::{self, Image};
use super::pod::PodContext;
use super::probes::{self, Commands, Schedule};
use super::root::{Mount, Root};
use super::status::{ContainerRecord, Phase, Terminated};
use super::{Problem, log};
use crate::cluster::components::DNS_ADDRESS;
use crate::process::guarded;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How soon it is tried again what cannot be had yet.
const RETRY: Duration = Duration::from_secs(1);
/// The pauses before a container is started again. The first time it is at once; a kubelet begins with 10 s, ends with
/// 5 min, and would make tests wait.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// After so long a container counts as healthy, and its next end as its first.
const HEALTHY: Duration = Duration::from_secs(600);
/// What a preStop hook that took the whole grace period leaves to the program itself.
const LAST: Duration = Duration::from_secs(2);
/// Rights that container runtimes leave to a container.
const USUAL_RIGHTS: [&str; 14] = [
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "net_bind_service",
    "net_raw",
    "sys_chroot",
    "mknod",
    "audit_write",
    "setfcap",
];

/// Why a container is not started again.
pub enum Ending {
    /// Its program ended with that status, and its restart policy leaves it at that.
    Finished(i32),
    /// The pod ends.
    Stopped,
}

/// Keeps one container as its pod wants it.
pub struct Keeper {
    context: Rc<PodContext>,
    container: Container,
    init: bool,
    index: usize,
    policy: String,
}

/// A started container.
struct Running {
    description: PathBuf,
    process: PathBuf,
    error: PathBuf,
    since: Timestamp,
}

/// How the run of a program was cut short, if it was.
enum Cut {
    No,
    Liveness(Duration),
    Stop(Duration),
}

impl Keeper {
    /// The keeper of the container with that index among the init containers or the others.
    pub fn new(context: &Rc<PodContext>, container: Container, init: bool, index: usize, policy: &str) -> Self {
        Self { context: Rc::clone(context), container, init, index, policy: policy.to_owned() }
    }

    /// Runs it until the policy or the end of the pod says that it is enough; `stop` carries the grace period.
    pub async fn keep(&self, mut stop: watch::Receiver<Option<Duration>>) -> Ending {
        let mut pause = Duration::ZERO;
        let mut failed = 0;
        loop {
            if stop.borrow().is_some() {
                return Ending::Stopped;
            }
            let (mut watcher, running) = match self.start().await {
                Ok(started) => started,
                Err(problem) => {
                    let back_off = problem.reason == "ErrImagePull" && failed > 0;
                    if failed == 0 {
                        self.context.event(true, "Failed", &problem.message).await;
                    }
                    failed += 1;
                    let shown = if back_off { problem.with_reason("ImagePullBackOff") } else { problem };
                    self.update(|record| record.phase = Phase::Waiting(shown));
                    self.pause(RETRY, &mut stop).await;
                    continue;
                }
            };
            failed = 0;
            let began = Instant::now();
            self.update(|record| record.phase = Phase::Running(running.since));
            let cut = {
                let hook = self.after_start(&running);
                let watched = self.probe(&running);
                let stopped = async {
                    let grace = stop.wait_for(Option::is_some).await.map(|grace| *grace);
                    grace.ok().flatten().unwrap_or(Duration::ZERO)
                };
                let log = self.log();
                tokio::select! {
                    _ = watcher.wait() => Cut::No,
                    grace = stopped => Cut::Stop(grace),
                    grace = watched => Cut::Liveness(grace),
                    never = hook => match never {},
                    never = log::keep_small(&log) => match never {},
                }
            };
            self.update(|record| {
                record.ready = false;
                record.started = false;
            });
            match cut {
                Cut::No => {}
                Cut::Liveness(grace) | Cut::Stop(grace) => self.end(&running, &mut watcher, grace).await,
            }
            let ended = self.ended(&running, &mut watcher).await;
            let code = ended.code;
            self.update(|record| record.phase = Phase::Terminated(ended));
            let again = match self.policy.as_str() {
                "Always" => true,
                "OnFailure" => code != 0,
                _ => false,
            };
            if matches!(cut, Cut::Stop(_)) {
                return Ending::Stopped;
            }
            if !again {
                if self.init && code == 0 {
                    self.update(|record| record.ready = true);
                }
                return Ending::Finished(code);
            }
            if began.elapsed() > HEALTHY {
                pause = Duration::ZERO;
            }
            self.back_off(pause, &mut stop).await;
            pause = if pause.is_zero() { BACK_OFF.0 } else { (pause * 2).min(BACK_OFF.1) };
        }
    }

    /// Waits before the next start, and says so.
    async fn back_off(&self, pause: Duration, stop: &mut watch::Receiver<Option<Duration>>) {
        let name = &self.container.name;
        if !pause.is_zero() {
            let message = format!(
                "back-off {}s restarting failed container={name} pod={}_{}({})",
                pause.as_secs(),
                self.context.first.name_any(),
                self.context.first.namespace().unwrap_or_default(),
                self.context.first.uid().unwrap_or_default()
            );
            self.context.event(true, "BackOff", &format!("Back-off restarting failed container {name}")).await;
            self.update(|record| {
                if let Phase::Terminated(ended) = record.phase.clone() {
                    record.last = Some(ended);
                }
                record.phase = Phase::Waiting(Problem::new("CrashLoopBackOff", message));
            });
            self.pause(pause, stop).await;
        }
        if stop.borrow().is_none() {
            self.update(|record| {
                if let Phase::Terminated(ended) = record.phase.clone() {
                    record.last = Some(ended);
                }
                record.restarts += 1;
            });
        }
    }

    async fn pause(&self, pause: Duration, stop: &mut watch::Receiver<Option<Duration>>) {
        let _ = timeout(pause, stop.wait_for(Option::is_some)).await;
    }

    fn update(&self, change: impl FnOnce(&mut ContainerRecord)) {
        self.context.update(|record| {
            let list = if self.init { &mut record.init } else { &mut record.containers };
            list.get_mut(self.index).map(change);
        });
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.context.folder.join(format!("{}.{extension}", self.container.name))
    }

    /// Starts the program; what is missing is a problem.
    async fn start(&self) -> Result<(Child, Running), Problem> {
        let reference = self.container.image.clone().unwrap_or_default();
        let image = images::find(&self.context.agent.state, &reference).ok_or_else(|| {
            Problem::new(
                "ErrImagePull",
                format!(
                    "failed to pull image \"{reference}\": it is not in the image table of this cluster (cluster load)"
                ),
            )
        })?;
        let description = self.describe(&image).await?;
        let file = self.path("json");
        for old in [&description.process, &description.process.with_extension(UNNAMED), &description.error] {
            let _ = fs::remove_file(old);
        }
        fs::create_dir_all(&description.root.scratch)?;
        fs::write(&file, serde_json::to_string(&description).unwrap_or_default())?;
        let log = log::begin(&self.log(), self.user())?;
        let mut command = Command::from(guarded(&self.context.agent.program)?);
        command.arg(WATCHER).arg(&file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let watcher = command.process_group(0).kill_on_drop(true).spawn()?;
        let (process, error) = (description.process, description.error);
        Ok((watcher, Running { description: file, process, error, since: Timestamp::now() }))
    }

    async fn describe(&self, image: &Image) -> Result<Description, Problem> {
        let pod = &self.context.first;
        let address = self.context.record.borrow().address;
        let objects = self.context.objects();
        let variables = environment::variables(&objects, pod, &self.container, image, address).await?;
        let command = environment::command(&self.container, image, &variables);
        if command.is_empty() {
            return Err(Problem::config("neither the pod nor the image says what to run".to_owned()));
        }
        let rights = self.container.security_context.clone().unwrap_or_default();
        let root = Root {
            scratch: self.path("root"),
            image: image.clone(),
            mounts: self.mounts(&variables).await?,
            files: self.files(),
            working_directory: self.container.working_dir.clone().unwrap_or_else(|| "/".to_owned()).into(),
            read_only: rights.read_only_root_filesystem.unwrap_or(false),
        };
        Ok(Description {
            sandbox: *self.context.sandbox.borrow(),
            hostname: pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).unwrap_or_else(|| pod.name_any()),
            root,
            command,
            environment: variables,
            privileges: self.privileges(),
            process: self.path("process"),
            error: self.path("error"),
        })
    }

    async fn mounts(&self, variables: &[(String, String)]) -> Result<Vec<Mount>, Problem> {
        let volumes = self.context.volumes.lock().await;
        let mut mounts = Vec::new();
        for mount in self.container.volume_mounts.iter().flatten() {
            let volume = volumes.path(&mount.name);
            let volume = volume.ok_or_else(|| Problem::config(format!("there is no volume {}", mount.name)))?;
            let expression = mount.sub_path_expr.as_ref().map(|text| environment::expanded(text, variables));
            let part = expression.or_else(|| mount.sub_path.clone()).unwrap_or_default();
            if part.split('/').any(|step| step == "..") {
                return Err(Problem::config(format!("the path {part} leads out of its volume")));
            }
            let source = volume.join(part.trim_start_matches('/'));
            if !source.exists() {
                fs::create_dir_all(&source)?;
            }
            let read_only = mount.read_only.unwrap_or(false);
            mounts.push(Mount { source, at: mount.mount_path.clone().into(), read_only });
        }
        Ok(mounts)
    }

    /// Files that every container has for itself.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let pod = &self.context.first;
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n");
        hosts.push_str(&format!("{}\t{name}\n", self.context.address()));
        let spec = pod.spec.as_ref();
        for alias in spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()) {
            hosts.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
        }
        let names = format!(
            "nameserver {DNS_ADDRESS}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
        [("/etc/hosts", hosts), ("/etc/resolv.conf", names), ("/etc/hostname", format!("{name}\n"))]
            .map(|(path, text)| (PathBuf::from(path), text))
            .into()
    }

    fn log(&self) -> PathBuf {
        log::path(&self.context.agent.state, &self.context.first, &self.container.name)
    }

    /// User and group of the container's processes, where they are not the agent's own.
    fn user(&self) -> Option<(u32, u32)> {
        if !self.context.agent.has_other_users {
            return None;
        }
        let of_pod = self.context.first.spec.as_ref()?.security_context.clone().unwrap_or_default();
        let own = self.container.security_context.clone().unwrap_or_default();
        // The images here name no user.
        let unnamed = (own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true)).then_some(65532);
        let user = own.run_as_user.or(of_pod.run_as_user).or(unnamed);
        let group = own.run_as_group.or(of_pod.run_as_group);
        if user.is_none() && group.is_none() {
            return None;
        }
        Some((u32::try_from(user.unwrap_or(0)).ok()?, u32::try_from(group.unwrap_or(0)).ok()?))
    }

    /// What `setpriv` takes away: rights that the pod drops, and the user's identity where there is another one. In a
    /// user namespace there is no other one.
    fn privileges(&self) -> Vec<String> {
        let of_pod =
            self.context.first.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
        let own = self.container.security_context.clone().unwrap_or_default();
        if own.privileged == Some(true) {
            return Vec::new();
        }
        let mut words = vec!["setpriv".to_owned()];
        if let Some((user, group)) = self.user() {
            words.push(format!("--reuid={user}"));
            words.push(format!("--regid={group}"));
            let mut groups: Vec<i64> = of_pod.supplemental_groups.unwrap_or_default();
            groups.extend(of_pod.fs_group);
            let groups: Vec<String> = groups.iter().map(i64::to_string).collect();
            words.push(if groups.is_empty() {
                "--clear-groups".into()
            } else {
                format!("--groups={}", groups.join(","))
            });
        }
        let capabilities = own.capabilities.unwrap_or_default();
        let plain = |name: &String| name.to_lowercase().trim_start_matches("cap_").to_owned();
        let dropped: Vec<String> = capabilities.drop.iter().flatten().map(plain).collect();
        let mut kept: Vec<String> = USUAL_RIGHTS.iter().map(|name| (*name).to_owned()).collect();
        kept.retain(|name| !dropped.contains(name) && !dropped.iter().any(|dropped| dropped == "all"));
        kept.extend(capabilities.add.iter().flatten().map(plain));
        if kept.iter().any(|name| name == "all") {
            kept.clear();
        } else {
            let list: Vec<String> =
                std::iter::once("-all".to_owned()).chain(kept.iter().map(|name| format!("+{name}"))).collect();
            words.push(format!("--bounding-set={}", list.join(",")));
        }
        if own.allow_privilege_escalation == Some(false) {
            words.push("--no-new-privs".to_owned());
        }
        words.push("--".to_owned());
        words
    }

    /// The postStart hook; whatever comes of it, the program decides when its time is over.
    async fn after_start(&self, running: &Running) -> std::convert::Infallible {
        if let Some(handler) = self.container.lifecycle.as_ref().and_then(|hooks| hooks.post_start.as_ref()) {
            running.started().await;
            if let Err(error) =
                probes::hook(handler, &self.container, self.context.address(), &self.commands(running)).await
            {
                self.context.event(true, "FailedPostStartHook", &format!("{error:#}")).await;
            }
        }
        std::future::pending().await
    }

    /// Follows the probes; returns when the container has to be started again, with the grace period for that.
    async fn probe(&self, running: &Running) -> Duration {
        let began = Instant::now();
        running.started().await;
        let commands = self.commands(running);
        if let Some(probe) = &self.container.startup_probe
            && let Some(grace) = self.follow(probe, "Startup", began, &commands, true, |_, _| {}).await
        {
            return grace;
        }
        self.update(|record| {
            record.started = true;
            record.ready = self.container.readiness_probe.is_none();
        });
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                let set = |keeper: &Self, good: bool| keeper.update(|record| record.ready = good);
                self.follow(probe, "Readiness", began, &commands, false, set).await;
            }
            std::future::pending().await
        };
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe
                && let Some(grace) = self.follow(probe, "Liveness", began, &commands, false, |_, _| {}).await
            {
                return grace;
            }
            std::future::pending().await
        };
        tokio::select! {
            grace = readiness => grace,
            grace = liveness => grace,
        }
    }

    /// Asks on schedule. A startup probe ends with `None` once it is good. A failed startup or liveness probe ends with the
    /// grace period; a readiness probe never ends, and `set` is told.
    async fn follow(
        &self,
        probe: &Probe,
        kind: &str,
        began: Instant,
        commands: &impl Commands,
        once: bool,
        set: impl Fn(&Self, bool),
    ) -> Option<Duration> {
        let schedule = Schedule::of(probe);
        let (mut good, mut bad) = (0, 0);
        tokio::time::sleep_until(began + schedule.initial).await;
        loop {
            match probes::ask(probe, &self.container, self.context.address(), commands).await {
                Ok(()) => {
                    (good, bad) = (good + 1, 0);
                    if good >= schedule.successes {
                        if once {
                            return None;
                        }
                        set(self, true);
                    }
                }
                Err(error) => {
                    (good, bad) = (0, bad + 1);
                    if bad == 1 || bad == schedule.failures {
                        self.context.event(true, "Unhealthy", &format!("{kind} probe failed: {error:#}")).await;
                    }
                    if bad >= schedule.failures {
                        set(self, false);
                        if kind != "Readiness" {
                            let name = &self.container.name;
                            let message =
                                format!("Container {name} failed {} probe, will be restarted", kind.to_lowercase());
                            self.context.event(false, "Killing", &message).await;
                            return Some(self.grace(probe));
                        }
                    }
                }
            }
            sleep(schedule.period).await;
        }
    }

    fn grace(&self, probe: &Probe) -> Duration {
        let of_pod = self.context.first.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = probe.termination_grace_period_seconds.or(of_pod).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Ends the program: hook, SIGTERM, and after the grace period SIGKILL.
    async fn end(&self, running: &Running, watcher: &mut Child, grace: Duration) {
        let deadline = Instant::now() + grace;
        if let Some(handler) = self.container.lifecycle.as_ref().and_then(|hooks| hooks.pre_stop.as_ref())
            && !grace.is_zero()
        {
            let commands = self.commands(running);
            let hook = probes::hook(handler, &self.container, self.context.address(), &commands);
            if let Err(error) = timeout(grace, hook).await.unwrap_or_else(|_| anyhow::bail!("it took too long")) {
                self.context.event(true, "FailedPreStopHook", &format!("{error:#}")).await;
            }
        }
        running.signal(watcher, Signal::SIGTERM);
        let rest = deadline.saturating_duration_since(Instant::now()).max(if grace.is_zero() { grace } else { LAST });
        if timeout(rest, watcher.wait()).await.is_err() {
            running.signal(watcher, Signal::SIGKILL);
            if timeout(LAST, watcher.wait()).await.is_err() {
                let _ = watcher.kill().await;
            }
        }
    }

    /// How it ended; what stands in the way of a start is told as such.
    async fn ended(&self, running: &Running, watcher: &mut Child) -> Terminated {
        let status = watcher.wait().await;
        let code = status.map_or(1, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        let mut message = fs::read_to_string(&running.error).unwrap_or_default();
        let own_policy = self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if message.is_empty() && code != 0 && own_policy {
            message = log::last_lines(&self.log());
        }
        let reason = match code {
            0 => "Completed",
            _ if code == i32::from(CANNOT_START) => "StartError",
            _ => "Error",
        };
        Terminated { code, reason, message, times: (running.since, Timestamp::now()) }
    }

    fn commands(&self, running: &Running) -> InContainer {
        InContainer {
            program: self.context.agent.program.clone(),
            process: running.process.clone(),
            description: running.description.clone(),
        }
    }
}

impl Running {
    /// Waits until there is a program; one that cannot be started ends, which others notice.
    async fn started(&self) {
        while !self.process.exists() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, watcher: &mut Child, signal: Signal) {
        match process_id(&self.process) {
            Some(process) => {
                let _ = kill(process, signal);
            }
            // There is no program yet, and the kernel will end it with its watcher.
            None => {
                let _ = watcher.start_kill();
            }
        }
    }
}

/// Runs commands in one container.
struct InContainer {
    program: PathBuf,
    process: PathBuf,
    description: PathBuf,
}

impl Commands for InContainer {
    async fn run(&self, words: &[String]) -> Result<i32> {
        let process = process_id(&self.process).context("the container does not run")?;
        let mut command = Command::new(&self.program);
        command.arg(COMMAND).arg(process.to_string()).arg(&self.description).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let _guard = Group(group);
        let status = child.wait().await?;
        Ok(status.code().unwrap_or(1))
    }
}

/// Ends a command and what it started when nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

fn process_id(file: &Path) -> Option<Pid> {
    fs::read_to_string(file).ok()?.parse().ok().map(Pid::from_raw)
}
