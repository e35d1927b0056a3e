//! Endpoints of clusters that stream them.

use std::net::IpAddr;
use std::sync::Arc;

/// Whether an endpoint may take traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndpointHealth {
    /// Ready.
    Healthy,
    /// Terminating but still serving: used when nothing better is left (KEP-1669).
    Draining,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether it may take traffic.
    pub health: EndpointHealth,
    /// Zone, empty when unknown.
    pub zone: Arc<str>,
}

/// All addresses under one name, one ClusterLoadAssignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSet {
    /// The EDS name.
    pub name: Arc<str>,
    /// Sorted, without duplicates. Empty when nothing is ready.
    pub endpoints: Vec<Endpoint>,
}
