//! Slim, immutable views of the Kubernetes core objects: only what the gateway reads.
//!
//! Each decodes from the whole object, be it from the API server or a file, with defaults filled in as the API server
//! would. Fields nobody reads are left alone, so an edit of them leaves the view equal.

mod endpoint_slice;
mod namespace;
mod secret;
mod service;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use endpoint_slice::{AddressType, Endpoint, EndpointPort, EndpointSlice, SERVICE_NAME_LABEL};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
pub use namespace::Namespace;
pub use secret::{MAX_SECRET_BYTES, Secret};
pub use service::{HEADLESS, Service, ServicePort, ServiceType};

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// TCP, which is what a port has that names none.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP, which the gateway cannot use.
    #[serde(rename = "SCTP")]
    Sctp,
}

/// The part of an object's metadata that the views read.
#[derive(Default, Deserialize)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
}
