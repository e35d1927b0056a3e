//! The processes of a container, and commands in it.
//!
//! ```text
//! node ──► watcher        enters the pod's network, builds the file system, reports how the program ended
//!            └─ program   the first process of a pid namespace, as in any container
//! ```
//!
//! The kernel ends the program with its watcher and everything that the program started with the program.

use super::root::Root;
use crate::cluster::namespace;
use crate::process::{END_WITH_PARENT, OWN};
use anyhow::{Context, Result, bail};
use nix::fcntl::renameat;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, pivot_root, sethostname};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The role of [`watch`]; the argument is the file of the description, as with the other two.
pub const WATCHER: &str = "--cluster-container";
/// The role of [`become_program`].
pub const PROGRAM: &str = "--cluster-program";
/// The role of [`run_command`].
pub const COMMAND: &str = "--cluster-command";

/// The exit status of a program that could not be started, as container runtimes give it.
pub const CANNOT_START: u8 = 128;

/// The file of the process id is called so until the program is where it belongs.
pub const UNNAMED: &str = "unnamed";
const WATCHER_LIMIT: Duration = Duration::from_secs(60);

/// How a container is started.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Description {
    /// A process in the pod's network namespace; none when the pod uses the node's.
    pub sandbox: Option<i32>,
    /// The pod's name.
    pub hostname: String,
    /// The file system.
    pub root: Root,
    /// Program and arguments.
    pub command: Vec<String>,
    /// All of the environment.
    pub environment: Vec<(String, String)>,
    /// Options of `setpriv` that take rights away; none when nothing is to be taken away.
    pub privileges: Vec<String>,
    /// Where the program's process id is written, once there is one.
    pub process: PathBuf,
    /// Where it is written why the program could not be started.
    pub error: PathBuf,
}

impl Description {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The command with its privileges and environment.
    fn command(&self, words: &[String]) -> Result<Command> {
        let with_privileges: Vec<&String> = self.privileges.iter().chain(words).collect();
        let (program, arguments) = with_privileges.split_first().context("a container has a command")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// The watcher: starts the program and ends with its exit status.
pub fn watch(file: &Path) -> Result<ExitCode> {
    let description = Description::read(file)?;
    match start(&description, file).and_then(|mut child| Ok(child.wait()?)) {
        Ok(status) => Ok(exit_code(status)),
        Err(error) => {
            fs::write(&description.error, format!("{error:#}"))?;
            Ok(ExitCode::from(CANNOT_START))
        }
    }
}

fn start(description: &Description, file: &Path) -> Result<std::process::Child> {
    if let Some(sandbox) = description.sandbox {
        let network = File::open(format!("/proc/{sandbox}/ns/net")).context("the pod's network is gone")?;
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the pod's network")?;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS)?;
    sethostname(&description.hostname)?;
    namespace::make_private()?;
    description.root.build()?;
    let mut command = Command::new(OWN);
    command.arg(END_WITH_PARENT).arg("0").arg(OWN).arg(PROGRAM).arg(file).stdin(Stdio::null());
    let child = command.spawn()?;
    // The program itself gives the file its name, once commands in the container would find themselves in its file system.
    let fresh = description.process.with_extension("fresh");
    fs::write(&fresh, child.id().to_string())?;
    fs::rename(fresh, description.process.with_extension(UNNAMED))?;
    Ok(child)
}

/// The first process of the container's pid namespace: enters the file system and becomes the program.
pub fn become_program(file: &Path) -> Result<ExitCode> {
    let description = Description::read(file)?;
    let root = description.root.scratch.join("root");
    let unnamed = description.process.with_extension(UNNAMED);
    let began = Instant::now();
    while !unnamed.exists() {
        if began.elapsed() > WATCHER_LIMIT {
            bail!("the watcher does not write the process id");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let names = [unnamed.as_path(), &description.process].map(Path::file_name);
    let folder = File::open(description.process.parent().context("a folder")?)?;
    // A new root is the new root of every process in the mount namespace, and the watcher has files to write in the old one.
    unshare(CloneFlags::CLONE_NEWNS)?;
    namespace::mount_new("proc", &root.join("proc"))?;
    std::env::set_current_dir(&root)?;
    // The old root ends up over the new one and is taken away; it needs no place in the container.
    pivot_root(".", ".").context("cannot enter the container's file system")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir(&description.root.working_directory)
        .with_context(|| format!("there is no working directory {}", description.root.working_directory.display()))?;
    if let [Some(unnamed), Some(name)] = names {
        renameat(&folder, unnamed, &folder, name)?;
    }
    let error = description.command(&description.command)?.exec();
    // The container's log is where its user looks.
    let program = description.command.first().map_or("", String::as_str);
    node_says(&format!("cannot start {program}: {error}"));
    Ok(ExitCode::from(CANNOT_START))
}

/// Runs a command in a running container; the arguments are its process, its description, and the command.
pub fn run_command(arguments: &[String]) -> Result<ExitCode> {
    let (process, file, words) = match arguments {
        [process, file, words @ ..] => (process.parse().map(Pid::from_raw)?, file, words),
        _ => bail!("a process, a description and a command"),
    };
    let description = Description::read(Path::new(file))?;
    namespace::enter(process)?;
    std::env::set_current_dir(&description.root.working_directory)?;
    let mut command = description.command(words)?;
    match command.status() {
        Ok(status) => Ok(exit_code(status)),
        Err(error) => {
            node_says(&format!("cannot start {}: {error}", words.first().map_or("", String::as_str)));
            Ok(ExitCode::from(126))
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn node_says(line: &str) {
    crate::cluster::node::say(line);
}
