//! Host: a hostname, its certificate and what happens to clear-text requests for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::AmbassadorId;
use crate::integer;
use crate::v3alpha1::{
    AcmeProvider, HostPreviewUrl, HostRequestPolicy, LabelSelector, LocalObjectReference, SecretReference,
};

/// What a Host asks for: a hostname to be served, with its certificate and its Mappings.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct HostSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// Old spelling of `ambassador_id`; installations of both read the Host.
    #[serde(rename = "ambassadorId", skip_serializing_if = "Option::is_none")]
    pub old_ambassador_id: Option<AmbassadorId>,
    /// DNS name, or a glob with one `*` at its beginning or end; may carry a `:port`. Default: `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Labels of the Mappings that belong to this Host; `mappingSelector` in v3alpha1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Where a certificate would be ordered by ACME. It is read, but nothing is ordered.
    #[serde(rename = "acmeProvider", skip_serializing_if = "Option::is_none")]
    pub acme_provider: Option<AcmeProvider>,
    /// Secret with the certificate for this hostname. Without it the Host serves clear text only.
    #[serde(rename = "tlsSecret", skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<SecretReference>,
    /// What happens to requests depending on how they came in.
    #[serde(rename = "requestPolicy", skip_serializing_if = "Option::is_none")]
    pub request_policy: Option<HostRequestPolicy>,
    /// Preview URLs of a development tool. It is read and has no effect.
    #[serde(rename = "previewUrl", skip_serializing_if = "Option::is_none")]
    pub preview_url: Option<HostPreviewUrl>,
    /// Name of a TLSContext with further TLS settings. It cannot be combined with `tls`.
    #[serde(rename = "tlsContext", skip_serializing_if = "Option::is_none")]
    pub tls_context: Option<LocalObjectReference>,
    /// Further TLS settings, given in place. It cannot be combined with `tlsContext`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HostTls>,
}

/// TLS settings of a Host, given in place; a TLSContext has the same ones.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostTls {
    /// File with the certificate chain, instead of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_chain_file: Option<String>,
    /// File with the private key, instead of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<String>,
    /// Secret with the certificate authority that client certificates are checked against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// File with that certificate authority, instead of `ca_secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cacert_chain_file: Option<String>,
    /// Secret with a revocation list for client certificates (key `crl.pem`).
    #[serde(rename = "v3CRLSecret", skip_serializing_if = "Option::is_none")]
    pub crl_secret: Option<String>,
    /// Application protocols offered in the handshake, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn_protocols: Option<String>,
    /// Whether a client must present a certificate. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_required: Option<bool>,
    /// Lowest TLS version: `v1.0`, `v1.1`, `v1.2` or `v1.3`. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tls_version: Option<String>,
    /// Highest TLS version, spelled as in `min_tls_version`. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tls_version: Option<String>,
    /// Cipher suites for TLS up to 1.2, in order of preference. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
    /// Curves for the key exchange. Default: Envoy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecdh_curves: Option<Vec<String>>,
    /// Port on which clear text is redirected to https.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub redirect_cleartext_from: Option<i64>,
    /// Server name that is sent when this context is used towards an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}
