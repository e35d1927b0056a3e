//! Which functions of a running program a change needs, in the order in which it needs them first.
//!
//! After a pause a change costs the memory that it touches, and most of that is code. A linker that knows these functions
//! puts them next to each other (`operator/build.rs`, decision 60). The program is followed one instruction at a time, by
//! ptrace(2): it is some thousand times slower meanwhile, and is killed in the end.

use anyhow::{Context, Result, bail};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the program is followed while something changes. It has done all that comes of it by then.
const LONG_ENOUGH: Duration = Duration::from_secs(60);

/// Follows a program while something changes, and adds the names of the functions that run to the file, a line for each that
/// it does not have yet. The program is killed. What comes of `change` does not matter: to see it takes longer than anybody
/// waits for it.
pub(super) async fn record<T>(pid: Pid, change: impl Future<Output = T>, file: &Path) -> Result<()> {
    let followed = Followed::begin(pid)?;
    let _ = change.await;
    tokio::time::sleep(LONG_ENOUGH).await;
    add(file, &followed.end()?)
}

/// A program that is being followed.
struct Followed {
    pid: Pid,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u64>>>,
}

impl Followed {
    /// Follows all threads that a process has. Only descendants can be followed without privileges.
    fn begin(pid: Pid) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, (attached, begins)) = (stop.clone(), sync_channel(1));
        // The kernel takes orders about a thread only from the thread that asked to follow it.
        let thread = std::thread::spawn(move || {
            let threads = attach(pid)?;
            let _ = attached.send(());
            follow(threads, &until)
        });
        // An error comes out at the end.
        let _ = begins.recv();
        Ok(Self { pid, stop, thread })
    }

    /// Kills the program, and names the functions that have run since the beginning. (A thread that is let go in the middle
    /// of a system call is killed by the signal of its last step.)
    fn end(self) -> Result<Vec<String>> {
        let symbols = Symbols::of(self.pid);
        kill(self.pid, Signal::SIGKILL)?;
        self.stop.store(true, Ordering::Relaxed);
        let Ok(places) = self.thread.join() else { bail!("the thread that followed the program ended") };
        let symbols = symbols?;
        let mut named = HashSet::new();
        let names = places?.into_iter().filter_map(|place| symbols.name(place).map(str::to_owned)).collect::<Vec<_>>();
        Ok(names.into_iter().filter(|name| named.insert(name.clone())).collect())
    }
}

fn add(file: &Path, names: &[String]) -> Result<()> {
    let mut text = std::fs::read_to_string(file).unwrap_or_default();
    let known: HashSet<String> = text.lines().map(str::to_owned).collect();
    for name in names.iter().filter(|name| !known.contains(*name)) {
        text.push_str(name);
        text.push('\n');
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn attach(pid: Pid) -> Result<Vec<Pid>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = Pid::from_raw(entry?.file_name().to_string_lossy().parse()?);
        ptrace::seize(thread, ptrace::Options::empty()).context("the program cannot be followed")?;
        ptrace::interrupt(thread)?;
        threads.push(thread);
    }
    Ok(threads)
}

/// Addresses of instructions in the order in which they ran first, thread by thread.
fn follow(mut threads: Vec<Pid>, stop: &AtomicBool) -> Result<Vec<u64>> {
    let mut seen = HashSet::new();
    let mut places: BTreeMap<Pid, Vec<u64>> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        threads.retain(|thread| {
            // By their ids: other children of this process are waited for by others.
            let status = waitpid(*thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            let signal = match status {
                Ok(WaitStatus::StillAlive) => return true,
                Ok(WaitStatus::Stopped(_, signal)) => Some(signal).filter(|signal| *signal != Signal::SIGTRAP),
                Ok(WaitStatus::PtraceEvent(..) | WaitStatus::PtraceSyscall(_)) => None,
                _ => return false,
            };
            if let Some(place) = place(*thread)
                && seen.insert(place)
            {
                places.entry(*thread).or_default().push(place);
            }
            ptrace::step(*thread, signal).is_ok()
        });
    }
    Ok(places.into_values().flatten().collect())
}

/// The instruction that a stopped thread is at.
#[cfg(target_arch = "x86_64")]
fn place(thread: Pid) -> Option<u64> {
    ptrace::getregs(thread).ok().map(|registers| registers.rip)
}

/// The list is for x86-64 only.
#[cfg(not(target_arch = "x86_64"))]
fn place(_: Pid) -> Option<u64> {
    None
}

/// Where the functions of an executable are in the memory of a process.
struct Symbols {
    functions: BTreeMap<u64, String>,
    text: std::ops::Range<u64>,
    loaded_at: u64,
}

impl Symbols {
    fn of(pid: Pid) -> Result<Self> {
        let program: PathBuf = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let mut parts = maps.lines().filter(|line| line.ends_with(&*program.to_string_lossy()));
        let range = |line: &str| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
        };
        let loaded_at = parts.clone().next().and_then(range).context("the program is not in its own memory")?.start;
        let text = parts.find(|line| line.contains(" r-xp ")).and_then(range).context("the program has no code")?;
        let output = Command::new("nm").arg("--defined-only").arg(&program).output().context("nm, of binutils")?;
        let listing = String::from_utf8(output.stdout)?;
        let function = |line: &str| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            let is_code = matches!(kind, "t" | "T" | "w" | "W");
            Some((u64::from_str_radix(address, 16).ok().filter(|_| is_code)?, name.to_owned()))
        };
        let functions: BTreeMap<u64, String> = listing.lines().filter_map(function).collect();
        if functions.is_empty() {
            bail!("{} does not name its functions", program.display());
        }
        Ok(Self { functions, text, loaded_at })
    }

    fn name(&self, place: u64) -> Option<&str> {
        let place = Some(place).filter(|place| self.text.contains(place))? - self.loaded_at;
        self.functions.range(..=place).next_back().map(|(_, name)| name.as_str())
    }
}
