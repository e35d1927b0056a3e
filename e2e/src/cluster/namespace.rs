//! The namespaces of a node, and how processes get into them.
//!
//! Everything here needs a process with one thread: the kernel lets only such a one enter user and mount namespaces.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Pid, Uid};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the system's file with the name servers is replaced by: the DNS server of the cluster.
const RESOLV_CONF: &str = "nameserver 10.96.0.10\n\
                           search default.svc.cluster.local svc.cluster.local cluster.local\n\
                           options ndots:5\n";

/// Moves this process into new mount and network namespaces, and its children into a new pid namespace.
///
/// Where that is not permitted as it is, a user namespace in which this user is root makes it so.
pub fn create() -> Result<()> {
    let wanted = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    if Uid::effective().is_root() && unshare(wanted).is_ok() {
        return Ok(());
    }
    let (user, group) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).context("user namespaces are forbidden here")?;
    fs::write("/proc/self/setgroups", "deny").context("cannot set up the user namespace")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("cannot set up the user namespace")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("cannot set up the user namespace")?;
    unshare(wanted).context("namespaces are forbidden here")
}

/// Makes the file systems those of the node; called by the first process of the pid namespace.
///
/// `/run` becomes empty, so that no program finds the sockets of the machine's own services (name resolution goes
/// through such a socket in many systems). `keep` stays where it is even if that is below `/run`.
pub fn mount_file_systems(keep: &Path) -> Result<()> {
    // Taken before anything is mounted over it.
    let kept = File::open(keep)?;
    make_private()?;
    mount_new("proc", Path::new("/proc"))?;
    let resolv_conf = resolv_conf();
    let run = Path::new("/run").canonicalize()?;
    mount_new("tmpfs", &run)?;
    if keep.starts_with(&run) {
        fs::create_dir_all(keep)?;
        bind(&PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept))), keep)?;
    }
    let Some(path) = resolv_conf else { return Ok(()) };
    if path.starts_with(&run) {
        fs::create_dir_all(path.parent().unwrap_or(&run))?;
        fs::write(&path, RESOLV_CONF)?;
        return Ok(());
    }
    let ours = run.join("resolv.conf");
    fs::write(&ours, RESOLV_CONF)?;
    bind(&ours, &path)
}

/// The file behind `/etc/resolv.conf`, which need not exist when it is a link; `None` when there is nothing at all.
fn resolv_conf() -> Option<PathBuf> {
    let path = PathBuf::from("/etc/resolv.conf");
    if let Ok(found) = path.canonicalize() {
        return Some(found);
    }
    let target = Path::new("/etc").join(fs::read_link(&path).ok()?);
    Some(target.parent()?.canonicalize().ok()?.join(target.file_name()?))
}

/// Keeps what is mounted in this namespace from appearing in others.
pub fn make_private() -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts private")
}

/// Mounts an empty file system of that kind.
pub fn mount_new(kind: &str, at: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(kind), at, Some(kind), flags, None::<&str>)
        .with_context(|| format!("cannot mount a {kind} at {}", at.display()))
}

/// Makes a file or folder appear at another place too, with what is mounted below it.
pub fn bind(source: &Path, at: &Path) -> Result<()> {
    mount(Some(source), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("cannot mount {} at {}", source.display(), at.display()))
}

/// Moves this process into the namespaces of another one, and its children into that one's pid namespace.
pub fn enter(process: Pid) -> Result<()> {
    let directory = std::env::current_dir();
    let open = |kind: &str| {
        let path = format!("/proc/{process}/ns/{kind}");
        File::open(&path).with_context(|| format!("cannot open {path}"))
    };
    let spaces = [open("user")?, open("pid")?, open("net")?, open("mnt")?];
    for (space, kind) in spaces.iter().zip(["user", "pid", "net", "mnt"]) {
        // Entering the user namespace that a process is in already is an error.
        if kind == "user" && fs::metadata("/proc/self/ns/user")?.ino() == space.metadata()?.ino() {
            continue;
        }
        setns(space, CloneFlags::empty())
            .with_context(|| format!("cannot enter the {kind} namespace of the cluster"))?;
    }
    // Entering a mount namespace leads to its root.
    if let Ok(directory) = directory {
        let _ = std::env::set_current_dir(directory);
    }
    Ok(())
}
