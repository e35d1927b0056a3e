//! Ports on the loopback address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// That many different TCP ports of 127.0.0.1 that nobody listens on at this moment.
///
/// They are chosen by the operating system and all held until the last one is known, so they differ from each other.
/// Another process can take one before the caller does; a caller that can bind to port 0 itself should rather do that.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        assert!(is_open(listener.local_addr().unwrap()));
    }
}
