//! The processes that hold a cluster together.
//!
//! ```text
//! cluster up ──► keeper            outside: owns the state folder, waits for the first process, then removes the folder
//!                  └─ first        the first process of the pid namespace: its end is the end of all of them
//!                       └─ node    starts the components and the pods
//! ```
//!
//! The kernel ends `first` when the keeper dies, and everything in the pid namespace when `first` dies. Without
//! namespaces the keeper starts `node` itself, and the kernel ends each component with `node`.

use super::agent::{container, sandbox};
use super::state::State;
use super::{ENVTEST, namespace, network, node};
use crate::process::{END_WITH_PARENT, guarded};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, setsid};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// The roles that an executable can be started in, as its first argument.
pub const KEEPER: &str = "--cluster-keeper";
const FIRST: &str = "--cluster-first";
const NODE: &str = "--cluster-node";
const TRY: &str = "--cluster-try";
const TRY_FIRST: &str = "--cluster-try-first";

/// The cluster ends when the standard input of these processes does.
pub const TIED: &str = "--tied";
/// It ends when it is told to.
pub const FREE: &str = "--free";
/// The keeper's exit status when there is a cluster of that name already.
pub const EXISTS: u8 = 4;

/// Plays the role that the first argument names; `None` when it names none, and the program is its own.
pub fn play_role() -> Option<Result<ExitCode>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.get(1).map(PathBuf::from).unwrap_or_default();
    let tied = arguments.get(2).is_some_and(|argument| argument == TIED);
    match arguments.first().map(String::as_str)? {
        KEEPER => Some(keep(&folder, tied)),
        FIRST => Some(first(&folder, tied)),
        NODE => Some(node::run(&folder, tied, arguments.get(3).map(String::as_str))),
        TRY => Some(try_namespaces(&folder)),
        sandbox::HOLDER => Some(sandbox::hold()),
        container::WATCHER => Some(container::watch(&folder)),
        container::PROGRAM => Some(container::become_program(&folder)),
        container::COMMAND => Some(container::run_command(arguments.get(1..).unwrap_or_default())),
        TRY_FIRST => Some(namespace::mount_file_systems(&folder).map(|()| ExitCode::SUCCESS)),
        _ => None,
    }
}

fn keep(folder: &Path, tied: bool) -> Result<ExitCode> {
    let state = State::at(folder)?;
    let Some(_lock) = state.claim()? else { return Ok(ExitCode::from(EXISTS)) };
    // A group of its own: what the terminal sends to the starting command is not meant for the cluster.
    let _ = setsid();
    let log = OpenOptions::new().create(true).append(true).open(state.path("log/node.log"))?;
    nix::unistd::dup2_stdout(&log)?;
    nix::unistd::dup2_stderr(&log)?;
    state.write("keeper", &std::process::id().to_string())?;

    let obstacle = obstacle(folder)?;
    let own = std::env::current_exe()?;
    let life = if tied { TIED } else { FREE };
    let mut child = match &obstacle {
        None => {
            namespace::create()?;
            // To a process in a new pid namespace its parent outside has the number 0.
            let mut command = Command::new(&own);
            command.arg(END_WITH_PARENT).arg("0").arg(&own).arg(FIRST).arg(folder).arg(life);
            start(&mut command)?
        }
        Some(reason) => start(guarded(&own)?.arg(NODE).arg(folder).arg(life).arg(reason))?,
    };
    state.write("init", &child.id().to_string())?;
    let status = child.wait()?;
    state.remove()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(command: &mut Command) -> Result<Child> {
    command.current_dir("/").spawn().context("cannot start the first process of the cluster")
}

/// Why a node cannot have its namespaces here. It is tried in a process of its own, because there is no way back.
fn obstacle(folder: &Path) -> Result<Option<String>> {
    if std::env::var_os(ENVTEST).is_some() {
        return Ok(Some(format!("{ENVTEST} is set")));
    }
    let output = Command::new(std::env::current_exe()?).arg(TRY).arg(folder).stdin(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| words.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn try_namespaces(folder: &Path) -> Result<ExitCode> {
    let own = std::env::current_exe()?;
    network::require_programs()?;
    namespace::create()?;
    let status = Command::new(own).arg(TRY_FIRST).arg(folder).status()?;
    if !status.success() {
        bail!("a node's file systems cannot be mounted");
    }
    Ok(ExitCode::SUCCESS)
}

fn first(folder: &Path, tied: bool) -> Result<ExitCode> {
    let own = std::env::current_exe()?;
    namespace::mount_file_systems(folder)?;
    network::set_up()?;
    let node = Command::new(own).arg(NODE).arg(folder).arg(if tied { TIED } else { FREE }).spawn()?;
    let node = Pid::from_raw(i32::try_from(node.id())?);
    // Orphans become children of this process, and would stay zombies if nobody asked for them.
    loop {
        match wait() {
            Ok(WaitStatus::Exited(process, code)) if process == node => return Ok(ExitCode::from(u8::try_from(code)?)),
            Ok(WaitStatus::Signaled(process, signal, _)) if process == node => bail!("the node got {signal}"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the node"),
        }
    }
}
