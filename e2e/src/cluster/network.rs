//! The network of the node: no way out, one address of its own, and a route of its own to each pod.
//!
//! Pods are not joined by a bridge. Each has a pair of devices to the node, which routes between them, so every packet
//! passes kube-proxy's rules in both directions; over a bridge the answer of a pod to another one would go past them,
//! and come from an address that nobody asked.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The node's address: what the API server advertises, and the gateway of every pod.
pub const NODE_ADDRESS: &str = "10.244.0.1";

/// Programs of the system that a node needs, with the Debian package that has them.
const PROGRAMS: [(&str, &str); 2] = [("ip", "iproute2"), ("nft", "nftables")];

/// Where programs of the system are. `PATH` of an ordinary user often lacks those for root.
pub fn system_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// An error that names the package when a program of the system is missing.
pub fn require_programs() -> Result<()> {
    for (name, package) in PROGRAMS {
        let path = system_path();
        let mut candidates = path.split(':').map(|folder| PathBuf::from(folder).join(name));
        if !candidates.any(|candidate| candidate.is_file()) {
            bail!("`{name}` is not installed (Debian: apt-get install {package})");
        }
    }
    Ok(())
}

/// Sets up the new network namespace that this process is in. The node's address is a network of its own: in a larger one the
/// last address would be for broadcasts, and the pod that gets it could not be reached.
pub fn set_up() -> Result<()> {
    ip(&format!(
        "link set lo up\n\
         link add cluster0 type bridge\n\
         address add {NODE_ADDRESS}/32 dev cluster0\n\
         link set cluster0 up\n\
         route add 10.96.0.0/16 dev cluster0\n"
    ))?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")
}

/// Runs several `ip` commands in one process.
pub fn ip(commands: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).env("PATH", system_path());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start ip")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
