//! Starting clusters from tests, and looking for what they leave.

use e2e::cluster::{self, Cluster, Scope};
use e2e::process::Guard;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The program under test.
pub const CLUSTER: &str = env!("CARGO_BIN_EXE_cluster");
/// For whatever has to happen; generous, because it only shows in failures.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Says on the terminal why a test has nothing to do here.
pub fn skip(what: &str, reason: &str) {
    let _ = std::io::stderr().write_all(format!("skipped: {what}: {reason}\n").as_bytes());
}

/// True when there can be whole clusters; else the reason is said.
pub fn possible(what: &str) -> bool {
    match cluster::obstacle(Scope::Whole) {
        Some(reason) => {
            skip(what, &reason);
            false
        }
        None => true,
    }
}

/// The cluster that most tests share; it ends with this process. `None`, said aloud, when there is none to be had.
pub fn shared(what: &str) -> Option<&'static Cluster> {
    static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::up(&unique("shared")).expect("a cluster that starts"));
    if !possible(what) {
        return None;
    }
    if let Scope::ApiOnly(reason) = SHARED.scope() {
        skip(what, reason);
        return None;
    }
    Some(&SHARED)
}

/// One more cluster at a time: each is six processes and most of a gigabyte.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A name that no other run of the tests uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Runs a shell script in the cluster; its output when it succeeds.
pub fn script(cluster: &Cluster, script: &str) -> String {
    output(cluster.command("bash").args(["-euo", "pipefail", "-c", script]))
}

/// Runs a command that has to succeed.
pub fn output(command: &mut Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// `kubectl apply` of that YAML.
pub fn apply(cluster: &Cluster, manifest: &str) {
    let mut command = cluster.command("kubectl");
    command.args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{manifest}");
}

/// Waits for something, at most [`LIMIT`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A program in the cluster that ends with the value.
pub fn inside(cluster: &Cluster, program: &str, arguments: &[&str]) -> Guard {
    Guard::start(program, cluster.command(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null())).unwrap()
}

/// A root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a cluster may not leave on the machine.
#[derive(Debug, Eq, PartialEq)]
pub struct Traces {
    /// Processes in the pid namespace of the cluster.
    pub processes: Vec<String>,
    /// Mounts that others can see, and that name its folder.
    pub mounts: Vec<String>,
    pub folder: bool,
}

/// What identifies a cluster from outside while it runs.
pub struct Fingerprint {
    folder: PathBuf,
    namespaces: BTreeSet<PathBuf>,
}

impl Fingerprint {
    pub fn of(folder: &Path) -> Self {
        let first = std::fs::read_to_string(folder.join("init")).unwrap();
        let namespaces = ["pid", "net", "mnt"].map(|kind| namespace(&first, kind).expect("the cluster runs"));
        Self { folder: folder.to_owned(), namespaces: namespaces.into() }
    }

    /// What is there of it now.
    pub fn traces(&self) -> Traces {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid = entry.ok()?.file_name().into_string().ok()?;
            let inside = ["pid", "net", "mnt"]
                .iter()
                .any(|kind| namespace(&pid, kind).is_some_and(|found| self.namespaces.contains(&found)));
            inside.then(|| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        });
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let name = self.folder.to_str().unwrap();
        Traces {
            processes: processes.collect(),
            mounts: mounts.lines().filter(|line| line.contains(name)).map(str::to_owned).collect(),
            folder: self.folder.exists(),
        }
    }

    /// Waits until there is nothing; what is there after the limit is a failure.
    pub fn expect_nothing(&self) {
        let nothing = Traces { processes: Vec::new(), mounts: Vec::new(), folder: false };
        let started = Instant::now();
        while self.traces() != nothing {
            assert!(started.elapsed() < Duration::from_secs(20), "left behind: {:?}", self.traces());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn namespace(pid: &str, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/ns/{kind}", pid.trim())).ok()
}
