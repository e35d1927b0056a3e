//! Service.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{IntOrString, Protocol};
use crate::decode::{Decoded, Raw, decode_view};
use crate::integer;

/// The cluster IP of a headless Service.
pub const HEADLESS: &str = "None";

/// What the gateway reads of a `v1` Service.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(from = "Wire")]
pub struct Service {
    /// How the Service is reached.
    pub type_: ServiceType,
    /// Its address; [`HEADLESS`] for a headless one, absent when none is assigned.
    pub cluster_ip: Option<String>,
    /// DNS name that an `ExternalName` Service stands for.
    pub external_name: Option<String>,
    /// Its ports, in the order given.
    pub ports: Vec<ServicePort>,
    /// Whether it selects Pods; somebody else maintains the endpoints of one that does not.
    pub has_selector: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// Its name; empty for the only port of a Service.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Number or name of the port of the Pods; by default the same number.
    pub target_port: IntOrString,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServiceType {
    /// At an address inside the cluster.
    #[default]
    ClusterIP,
    /// Also at a port of each node.
    NodePort,
    /// Also at an address outside.
    LoadBalancer,
    /// Not at all: it is another name for a host outside.
    ExternalName,
}

impl Service {
    /// Decodes a whole Service object; paths of problems start at the object (`spec.ports[0].port`).
    pub fn decode<'a>(object: impl Into<Raw<'a>>) -> Decoded<Self> {
        decode_view(object)
    }

    /// Whether the Service has no address and its name resolves to those of its endpoints.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_ip.as_deref() == Some(HEADLESS)
    }
}

#[derive(Deserialize)]
struct Wire {
    spec: Option<WireSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpec {
    #[serde(rename = "type")]
    type_: Option<ServiceType>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    external_name: Option<String>,
    ports: Option<Vec<WirePort>>,
    selector: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePort {
    name: Option<String>,
    #[serde(deserialize_with = "integer::required")]
    port: u16,
    protocol: Option<Protocol>,
    target_port: Option<IntOrString>,
}

impl From<Wire> for Service {
    fn from(wire: Wire) -> Self {
        let spec = wire.spec.unwrap_or_default();
        Self {
            type_: spec.type_.unwrap_or_default(),
            cluster_ip: spec.cluster_ip.filter(|address| !address.is_empty()),
            external_name: spec.external_name.filter(|name| !name.is_empty()),
            ports: spec.ports.unwrap_or_default().into_iter().map(ServicePort::from).collect(),
            has_selector: spec.selector.is_some_and(|labels| !labels.is_empty()),
        }
    }
}

impl From<WirePort> for ServicePort {
    fn from(wire: WirePort) -> Self {
        let target_port = match wire.target_port {
            Some(IntOrString::String(name)) if !name.is_empty() => IntOrString::String(name),
            Some(IntOrString::Int(number)) if number != 0 => IntOrString::Int(number),
            _ => IntOrString::Int(i32::from(wire.port)),
        };
        Self {
            name: wire.name.unwrap_or_default(),
            port: wire.port,
            protocol: wire.protocol.unwrap_or_default(),
            target_port,
        }
    }
}
