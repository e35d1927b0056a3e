//! The network of one pod: a namespace that a small process holds, and a pair of devices to the node.

use crate::cluster::network::{self, NODE_ADDRESS};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use std::collections::VecDeque;
use std::io::{BufRead, Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// The role of the process that holds the namespace.
pub const HOLDER: &str = "--cluster-sandbox";

/// Addresses of pods: 10.244.0.2 to 10.244.7.254.
const FIRST_ADDRESS: u32 = 0x0af4_0002;
const ADDRESSES: u32 = 2045;

/// Addresses that no pod has. One that was given back comes last, so that nobody mistakes a new pod for an old one.
pub struct Addresses {
    free: VecDeque<u32>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { free: (FIRST_ADDRESS..FIRST_ADDRESS + ADDRESSES).collect() }
    }
}

impl Addresses {
    /// An address of its own.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        self.free.pop_front().map(Ipv4Addr::from)
    }

    /// Gives an address back.
    pub fn give_back(&mut self, address: Ipv4Addr) {
        self.free.push_back(address.into());
    }
}

/// A pod's network.
pub struct Sandbox {
    /// The process whose network namespace it is.
    pub process: i32,
    /// The pod's address.
    pub address: Ipv4Addr,
    holder: Child,
    input: ChildStdin,
}

impl Sandbox {
    /// Makes the namespace and connects it.
    pub async fn start(program: &Path, address: Ipv4Addr) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(HOLDER).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut holder = command.spawn().context("cannot start the holder of a pod's network")?;
        let process = holder.id().and_then(|id| i32::try_from(id).ok()).context("the holder has ended")?;
        let mut input = holder.stdin.take().context("a pipe")?;
        let mut lines = BufReader::new(holder.stdout.take().context("a pipe")?).lines();
        if lines.next_line().await?.as_deref() != Some("made") {
            bail!("cannot make a pod's network namespace");
        }
        let device = device(address);
        let commands = format!(
            "link add {device} type veth peer name eth0 netns {process}\n\
             link set {device} up\n\
             route add {address}/32 dev {device}\n"
        );
        tokio::task::spawn_blocking(move || network::ip(&commands)).await??;
        input.write_all(format!("{address}\n").as_bytes()).await?;
        if lines.next_line().await?.as_deref() != Some("up") {
            bail!("cannot set up a pod's network");
        }
        Ok(Self { process, address, holder, input })
    }

    /// Takes the network away and waits until its device is gone, so that the address can be used again.
    pub async fn close(mut self) -> Result<Ipv4Addr> {
        drop(self.input);
        self.holder.wait().await?;
        let device = device(self.address);
        // The kernel removes it with the namespace, at its leisure; either of us may be first.
        let _ = tokio::task::spawn_blocking(move || network::ip(&format!("link delete {device}\n"))).await?;
        Ok(self.address)
    }
}

fn device(address: Ipv4Addr) -> String {
    format!("pod{}", u32::from(address) - FIRST_ADDRESS)
}

/// The process that holds a namespace: as long as its standard input is open.
pub fn hold() -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let mut output = std::io::stdout();
    writeln!(output, "made")?;
    let mut address = String::new();
    std::io::stdin().lock().read_line(&mut address)?;
    let address: Ipv4Addr = address.trim().parse().context("an address")?;
    network::ip(&format!(
        "link set lo up\n\
         address add {address}/32 dev eth0\n\
         link set eth0 up\n\
         route add {NODE_ADDRESS} dev eth0 scope link\n\
         route add default via {NODE_ADDRESS}\n"
    ))?;
    // As container runtimes do, so that a program without rights can have port 80.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    writeln!(output, "up")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_used_in_turn() {
        let mut addresses = Addresses::default();
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        addresses.give_back(first);
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 244, 0, 3)));
        let rest: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!((rest.len(), rest.last()), (ADDRESSES as usize - 1, Some(&first)));
        assert_eq!(device(first), "pod0");
    }
}
