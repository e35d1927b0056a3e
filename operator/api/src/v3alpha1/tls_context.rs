//! TLSContext: TLS settings, towards clients or towards upstreams.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, ResourceStatus, V2Spelling};
use crate::integer;

/// What a TLSContext asks for: TLS settings that Hosts use towards clients, and Mappings and services towards
/// upstreams.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "TLSContext",
    root = "TlsContext",
    plural = "tlscontexts",
    namespaced,
    category = "ambassador-crds",
    status = "ResourceStatus",
    derive = "PartialEq",
    doc = "TLSContext: TLS settings, towards clients or towards upstreams.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct TlsContextSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Server names this context terminates TLS for. Without any it is for upstreams, or for a Host that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Secret with the certificate, as `name` or `name.namespace`. It cannot be combined with `cert_chain_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// File with the certificate chain; it needs `private_key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_chain_file: Option<String>,
    /// File with the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<String>,
    /// Secret with the certificate authority that the peer's certificate is checked against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// File with that certificate authority, instead of `ca_secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert_chain_file: Option<String>,
    /// Secret with a revocation list for client certificates (key `crl.pem`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl_secret: Option<String>,
    /// Application protocols offered in the handshake, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<String>,
    /// Whether a client must present a certificate. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_required: Option<bool>,
    /// Lowest TLS version. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tls_version: Option<TlsVersion>,
    /// Highest TLS version. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tls_version: Option<TlsVersion>,
    /// Cipher suites for TLS up to 1.2, in order of preference. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
    /// Curves for the key exchange. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecdh_curves: Option<Vec<String>>,
    /// Whether the last dot in a Secret's name separates its namespace. Default: the Module's
    /// `defaults.tls_secret_namespacing`, else true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_namespacing: Option<bool>,
    /// Port on which clear text is redirected to https.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub redirect_cleartext_from: Option<i64>,
    /// Server name that is sent towards an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TlsVersion {
    /// TLS 1.0.
    #[serde(rename = "v1.0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "v1.1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "v1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "v1.3")]
    V1_3,
}
