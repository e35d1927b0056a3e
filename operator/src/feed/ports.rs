//! Ports of Listeners that somebody else has taken.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Replaces taken ports of Listeners by free ones (`--choose-ports`). Every port is looked at once: later it is taken by
/// our own Envoy. The choice is kept in a file, for a restarted control plane beside a running Envoy.
#[derive(Debug)]
pub struct PortChooser {
    address: IpAddr,
    memory: PathBuf,
    chosen: BTreeMap<u16, u16>,
}

impl PortChooser {
    /// A chooser for listeners on this address that remembers its choice in that file.
    pub fn new(address: IpAddr, memory: &Path) -> Self {
        let chosen =
            std::fs::read(memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { address, memory: memory.to_path_buf(), chosen }
    }

    /// Looks at an object; when it is a Listener on a taken port, gives it another one. Returns what to tell.
    pub fn apply(&mut self, object: &mut Value) -> Option<String> {
        if object.get("kind").and_then(Value::as_str) != Some("Listener") {
            return None;
        }
        let wanted = u16::try_from(object.pointer("/spec/port")?.as_u64()?).ok()?;
        let first = !self.chosen.contains_key(&wanted);
        let port = match self.chosen.get(&wanted) {
            Some(port) => *port,
            None => self.choose(wanted),
        };
        if port == wanted {
            return None;
        }
        *object.pointer_mut("/spec/port")? = Value::from(port);
        first.then(|| format!("port {wanted} is taken; {port} is used instead"))
    }

    /// The port that serves in place of each wanted one.
    pub fn chosen(&self) -> &BTreeMap<u16, u16> {
        &self.chosen
    }

    fn choose(&mut self, wanted: u16) -> u16 {
        let port = match taken(self.address, wanted) {
            false => wanted,
            true => {
                TcpListener::bind((self.address, 0)).and_then(|free| free.local_addr()).map_or(wanted, |at| at.port())
            }
        };
        self.chosen.insert(wanted, port);
        if let Ok(bytes) = serde_json::to_vec(&self.chosen) {
            // Without the file a restarted control plane chooses again, which moves the port but breaks nothing.
            let _ = std::fs::write(&self.memory, bytes);
        }
        port
    }
}

/// Whether another socket listens on that port. Ports that may not be bound for another reason do not count.
pub fn taken(address: IpAddr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::net::Ipv4Addr;

    #[test]
    fn a_taken_port_is_replaced_once_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("ports");
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wanted = other.local_addr().unwrap().port();
        let listener = || json!({"kind": "Listener", "spec": {"port": wanted}});
        let mut chooser = PortChooser::new(Ipv4Addr::LOCALHOST.into(), &memory);
        let mut object = listener();
        assert!(chooser.apply(&mut object).unwrap().contains(&format!("port {wanted} is taken")));
        let chosen = object["spec"]["port"].as_u64().unwrap();
        assert_ne!(chosen, u64::from(wanted));
        drop(other);
        let mut again = listener();
        assert_eq!(PortChooser::new(Ipv4Addr::LOCALHOST.into(), &memory).apply(&mut again), None, "said once");
        assert_eq!(again["spec"]["port"].as_u64(), Some(chosen));
    }

    #[test]
    fn a_free_port_and_other_kinds_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut chooser = PortChooser::new(Ipv4Addr::LOCALHOST.into(), &folder.path().join("ports"));
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        for mut object in [json!({"kind": "Listener", "spec": {"port": free}}), json!({"kind": "Host", "spec": {}})] {
            let before = object.clone();
            assert_eq!(chooser.apply(&mut object), None);
            assert_eq!(object, before);
        }
    }
}
