//! Ports on the loopback address.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// From here on up to the ports of outgoing connections, those of tests are chosen.
const FIRST: u16 = 12_000;
/// Ports that may be taken until it is given up.
const ATTEMPTS: usize = 100;
/// Where the ports of outgoing connections begin, unless the system says otherwise.
const OUTGOING: u16 = 32_768;

/// That many different TCP ports of 127.0.0.1 that nobody uses at this moment.
///
/// Another process that listens can take one before the caller does; a caller that can bind to port 0 itself should rather
/// do that. An outgoing connection cannot: the operating system takes the ports of those from a range of their own, and a
/// server that finds its port taken by one of them would be refused it.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let below = outgoing().filter(|first| *first > FIRST + 1_000).unwrap_or(OUTGOING);
    let random = RandomState::new();
    let mut candidates = (0..).map(|number: u64| FIRST + (random.hash_one(number) % u64::from(below - FIRST)) as u16);
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let free =
            candidates.by_ref().take(ATTEMPTS).find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let listener = free.ok_or(io::ErrorKind::AddrInUse)?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The first port of outgoing connections.
fn outgoing() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

/// True when something accepts connections at that address.
pub fn is_open(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports: [u16; 16] = free_ports().unwrap();
        let distinct: std::collections::BTreeSet<u16> = ports.into_iter().collect();
        assert_eq!(distinct.len(), 16);
        assert!(ports.iter().all(|port| *port >= FIRST && outgoing().is_none_or(|first| *port < first)), "{ports:?}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        assert!(is_open(listener.local_addr().unwrap()));
    }
}
