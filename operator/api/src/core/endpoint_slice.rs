//! EndpointSlice.

use serde::Deserialize;

use super::{Metadata, Protocol};
use crate::decode::{Decoded, Raw, decode_view};
use crate::integer;

/// Label that names the Service a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What the gateway reads of a `discovery.k8s.io/v1` EndpointSlice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(from = "Wire")]
pub struct EndpointSlice {
    /// Name of the Service it belongs to, in its own namespace; empty for a slice that belongs to none.
    pub service: String,
    /// Kind of its addresses.
    pub address_type: AddressType,
    /// Ports of all its endpoints.
    pub ports: Vec<EndpointPort>,
    /// Its endpoints, in the order given.
    pub endpoints: Vec<Endpoint>,
}

/// Kind of the addresses in a slice.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AddressType {
    /// IPv4 addresses.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6 addresses.
    #[serde(rename = "IPv6")]
    Ipv6,
    /// DNS names.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// A port of the endpoints in a slice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointPort {
    /// Name of the Service's port; empty for an unnamed one.
    pub name: String,
    /// Its number; none stands for all ports, which the gateway cannot use.
    pub port: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its addresses; Kubernetes says that all of them are the same endpoint.
    pub addresses: Vec<String>,
    /// Whether it may get traffic; by default it may.
    pub ready: bool,
    /// Whether it answers, shutting down or not; by default it does.
    pub serving: bool,
    /// Whether it is shutting down; by default it is not.
    pub terminating: bool,
    /// Zone it runs in.
    pub zone: Option<String>,
    /// Node it runs on.
    pub node: Option<String>,
}

impl EndpointSlice {
    /// Decodes a whole EndpointSlice object; paths of problems start at the object (`ports[0].port`).
    pub fn decode<'a>(object: impl Into<Raw<'a>>) -> Decoded<Self> {
        decode_view(object)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    metadata: Option<Metadata>,
    address_type: AddressType,
    ports: Option<Vec<WirePort>>,
    endpoints: Option<Vec<WireEndpoint>>,
}

#[derive(Deserialize)]
struct WirePort {
    name: Option<String>,
    #[serde(default, deserialize_with = "integer::optional")]
    port: Option<u16>,
    protocol: Option<Protocol>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEndpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<WireConditions>,
    zone: Option<String>,
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl From<Wire> for EndpointSlice {
    fn from(wire: Wire) -> Self {
        let mut labels = wire.metadata.unwrap_or_default().labels.unwrap_or_default();
        Self {
            service: labels.remove(SERVICE_NAME_LABEL).unwrap_or_default(),
            address_type: wire.address_type,
            ports: wire.ports.unwrap_or_default().into_iter().map(EndpointPort::from).collect(),
            endpoints: wire.endpoints.unwrap_or_default().into_iter().map(Endpoint::from).collect(),
        }
    }
}

impl From<WirePort> for EndpointPort {
    fn from(wire: WirePort) -> Self {
        Self { name: wire.name.unwrap_or_default(), port: wire.port, protocol: wire.protocol.unwrap_or_default() }
    }
}

impl From<WireEndpoint> for Endpoint {
    fn from(wire: WireEndpoint) -> Self {
        // An absent condition is unknown, and the API says how to read that: ready, serving, not terminating.
        let conditions = wire.conditions.unwrap_or_default();
        Self {
            addresses: wire.addresses.unwrap_or_default(),
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            zone: wire.zone.filter(|zone| !zone.is_empty()),
            node: wire.node_name.filter(|node| !node.is_empty()),
        }
    }
}
