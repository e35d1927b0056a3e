//! Listener: a port, the protocols on it, and the Hosts it serves.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, LabelSelector, ResourceStatus};
use crate::integer;

/// What a Listener asks for: a port to accept connections on, and which Hosts are served there.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Listener",
    root = "Listener",
    plural = "listeners",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "Listener: a port, the protocols on it, and the Hosts it serves.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Port", type_ = "string", json_path = ".spec.port"),
    printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol"),
    printcolumn(name = "Stack", type_ = "string", json_path = ".spec.protocolStack"),
    printcolumn(name = "StatsPrefix", type_ = "string", json_path = ".spec.statsPrefix"),
    printcolumn(name = "Security", type_ = "string", json_path = ".spec.securityModel"),
    printcolumn(name = "L7Depth", type_ = "string", json_path = ".spec.l7Depth"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct ListenerSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Port to listen on.
    #[serde(deserialize_with = "integer::required")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Shorthand for a protocol stack. Either this or `protocolStack` is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ListenerProtocol>,
    /// Protocols from the top layer down, ending in `TCP` or `UDP`. It wins over `protocol`.
    #[serde(rename = "protocolStack", skip_serializing_if = "Option::is_none")]
    pub protocol_stack: Option<Vec<ListenerLayer>>,
    /// How it is decided whether a request is secure.
    #[serde(rename = "securityModel")]
    pub security_model: SecurityModel,
    /// Prefix of this listener's statistics. Default: by the protocol, such as `ingress_https`.
    #[serde(rename = "statsPrefix", skip_serializing_if = "Option::is_none")]
    pub stats_prefix: Option<String>,
    /// Number of trusted proxies in front, for the client address and `x-forwarded-proto`. Default: 0.
    #[serde(
        rename = "l7Depth",
        default,
        deserialize_with = "integer::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub l7_depth: Option<i32>,
    /// Most concurrent streams on an HTTP/2 connection. Default: Envoy's.
    #[serde(
        rename = "http2MaxConcurrentStreams",
        default,
        deserialize_with = "integer::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(min = 1))]
    pub http2_max_concurrent_streams: Option<i32>,
    /// Which Hosts are served here. At least one of its parts is needed; with both, both must match.
    #[serde(rename = "hostBinding")]
    pub host_binding: HostBinding,
}

/// Chooses the Hosts of a Listener.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostBinding {
    /// By their namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceBinding>,
    /// By their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Chooses Hosts by namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct NamespaceBinding {
    /// The rule. Default: `SELF`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NamespaceFrom>,
}

/// Rule that chooses namespaces.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum NamespaceFrom {
    /// The Listener's own namespace.
    #[serde(rename = "SELF")]
    Own,
    /// All namespaces.
    #[serde(rename = "ALL")]
    All,
    /// Namespaces by label; it passes the schema, is reported, and behaves like `SELF`.
    #[serde(rename = "SELECTOR")]
    Selector,
}

/// Names of common protocol stacks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ListenerProtocol {
    /// HTTP over TCP.
    #[serde(rename = "HTTP")]
    Http,
    /// TLS, HTTP over TCP.
    #[serde(rename = "HTTPS")]
    Https,
    /// HTTP over TCP with the PROXY protocol in front.
    #[serde(rename = "HTTPPROXY")]
    HttpProxy,
    /// TLS, HTTP over TCP with the PROXY protocol in front.
    #[serde(rename = "HTTPSPROXY")]
    HttpsProxy,
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// TLS over TCP.
    #[serde(rename = "TLS")]
    Tls,
    /// UDP; it passes the schema and is refused.
    #[serde(rename = "UDP")]
    Udp,
}

/// One layer of a protocol stack.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ListenerLayer {
    /// HTTP.
    #[serde(rename = "HTTP")]
    Http,
    /// The PROXY protocol.
    #[serde(rename = "PROXY")]
    Proxy,
    /// TLS.
    #[serde(rename = "TLS")]
    Tls,
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP, for HTTP/3.
    #[serde(rename = "UDP")]
    Udp,
}

/// How a Listener decides whether a request is secure.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum SecurityModel {
    /// By the `x-forwarded-proto` header.
    #[serde(rename = "XFP")]
    Xfp,
    /// Every request is secure.
    #[serde(rename = "SECURE")]
    Secure,
    /// No request is secure.
    #[serde(rename = "INSECURE")]
    Insecure,
}
