//! Child processes that end with whoever started them.
//!
//! A guard ends its child when it is dropped, but a killed process drops nothing. So a child is started through
//! [`END_WITH_PARENT`]: the same executable, told to ask the kernel for a signal at the death of its parent and then
//! to become the wanted program. The request survives `execve`, and needs no unsafe code between fork and exec.

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// First argument that turns an executable which calls [`become_guarded`] into a guarded start of another program.
pub const END_WITH_PARENT: &str = "--end-with-parent-and-exec";

/// The running executable. By this name it is found also when somebody has built another one in its place.
pub const OWN: &str = "/proc/self/exe";

/// The command that starts `program` under the guard of the running executable.
///
/// The kernel watches the *thread* that starts the child, so start it from one that lives as long as the process.
pub fn guarded(program: &Path) -> Result<Command> {
    let mut command = Command::new(OWN);
    command.arg(END_WITH_PARENT).arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// Handles [`END_WITH_PARENT`]: returns at once when the process was not started that way, else only with an error.
pub fn become_guarded() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != END_WITH_PARENT) {
        return Ok(());
    }
    let parent = arguments.next().and_then(|text| text.into_string().ok()).and_then(|text| text.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        bail!("{END_WITH_PARENT} needs the parent's process id and a program");
    };
    end_with_parent(Pid::from_raw(parent), Signal::SIGKILL)?;
    let rest: Vec<OsString> = arguments.collect();
    Err(Command::new(&program).args(rest).exec()).with_context(|| format!("cannot start {}", program.to_string_lossy()))
}

/// Asks the kernel to send that signal to this process when `parent` ends.
pub fn end_with_parent(parent: Pid, signal: Signal) -> Result<()> {
    set_pdeathsig(signal).context("cannot tie the process to its parent")?;
    // A parent that died before the request never causes the signal; then somebody else has become the parent.
    if getppid() != parent {
        bail!("the parent process is gone");
    }
    Ok(())
}

/// A child that is killed, and waited for, when the value is dropped.
pub struct Guard {
    name: String,
    child: Child,
}

impl Guard {
    /// Starts the command; its standard streams are the caller's choice. `name` is used in errors.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Starts the command with its standard output going into a pipe; take it from [`Guard::child`].
    pub fn start_piped(name: &str, command: &mut Command) -> Result<Self> {
        Self::start(name, command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }

    /// The process itself, for its streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; a child that has ended already is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match kill(self.pid(), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    /// Ends the child in good order, and waits for that, at most that long.
    pub fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Waits until the child ends, at most that long.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!("{} still runs after {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when the child is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ids of all living descendants of a process, from `/proc`; zombies do not count.
pub fn descendants(root: Pid) -> Vec<Pid> {
    let processes: Vec<(Pid, Pid)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((Pid::from_raw(pid), parent_of(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// True when the process exists and is not a zombie.
pub fn is_alive(pid: Pid) -> bool {
    parent_of(pid.as_raw()).is_some()
}

/// The parent of a living process.
fn parent_of(pid: i32) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself contain spaces and parentheses; state and parent follow the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then(|| Pid::from_raw(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_guard_leaves_no_process() {
        let guard = Guard::start("sleep", Command::new("sleep").arg("600")).unwrap();
        let pid = guard.pid();
        assert!(is_alive(pid));
        assert!(descendants(Pid::this()).contains(&pid));
        drop(guard);
        assert!(!is_alive(pid));
    }

    #[test]
    fn waiting_ends_at_the_limit() {
        let mut guard = Guard::start("sleep", Command::new("sleep").arg("600")).unwrap();
        assert!(guard.wait(Duration::from_millis(20)).is_err());
        guard.signal(Signal::SIGTERM).unwrap();
        assert!(!guard.wait(Duration::from_secs(20)).unwrap().success());
    }
}
