//! Host: a hostname, its certificate and what happens to clear-text requests for it.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AmbassadorId, Condition, LabelSelector, LocalObjectReference, SecretReference, V2Spelling};
use crate::integer;

/// What a Host asks for: a hostname to be served, with its certificate and its Mappings.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Host",
    root = "Host",
    plural = "hosts",
    namespaced,
    category = "ambassador-crds",
    status = "HostStatus",
    derive = "PartialEq",
    doc = "Host: a hostname, its certificate and what happens to clear-text requests for it.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Hostname", type_ = "string", json_path = ".spec.hostname"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Phase Completed", type_ = "string", json_path = ".status.phaseCompleted"),
    printcolumn(name = "Phase Pending", type_ = "string", json_path = ".status.phasePending"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#)
)]
pub struct HostSpec {
    /// Installations that read this resource. Default: the one called `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambassador_id: Option<AmbassadorId>,
    /// DNS name, or a glob with one `*` at its beginning or end; may carry a `:port`. Default: `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Deprecated name of `mappingSelector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Labels of the Mappings that belong to this Host. It wins over `selector`.
    #[serde(rename = "mappingSelector", skip_serializing_if = "Option::is_none")]
    pub mapping_selector: Option<LabelSelector>,
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
    /// What a v1 or v2 object said in a way that v3alpha1 has none for, by place, for conversion back. It has no effect on
    /// traffic.
    #[serde(rename = "v2Spelling", skip_serializing_if = "Option::is_none")]
    pub v2_spelling: Option<V2Spelling>,
}

/// An ACME certificate authority and the account there.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AcmeProvider {
    /// URL of the ACME directory, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Mail address of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Secret with the account's private key.
    #[serde(rename = "privateKeySecret", skip_serializing_if = "Option::is_none")]
    pub private_key_secret: Option<LocalObjectReference>,
    /// Registration record of the account, written by an ACME client and not by people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
}

/// What a Host does with requests, by how they came in.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostRequestPolicy {
    /// What happens to clear-text requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<HostInsecurePolicy>,
}

/// What a Host does with clear-text requests.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostInsecurePolicy {
    /// The action. Default: `Redirect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<InsecureAction>,
    /// Port for clear text beside the Listeners'. It is kept and has no effect since Listeners exist.
    #[serde(
        rename = "additionalPort",
        default,
        deserialize_with = "integer::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub additional_port: Option<i64>,
}

/// What happens to a clear-text request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum InsecureAction {
    /// It is redirected to https.
    Redirect,
    /// It is answered with an error.
    Reject,
    /// It is routed like a secure one.
    Route,
}

/// Preview URLs of a development tool.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostPreviewUrl {
    /// Whether they are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How a preview is addressed.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<PreviewUrlType>,
}

/// How a preview is addressed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum PreviewUrlType {
    /// By a part of the path.
    Path,
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
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// What is known about a Host.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostStatus {
    /// Whether the Host is accepted, its references resolved, and whether it is live; `Ready` sums it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// Where the certificate comes from.
    #[serde(rename = "tlsCertificateSource", skip_serializing_if = "Option::is_none")]
    pub tls_certificate_source: Option<HostTlsCertificateSource>,
    /// Overall state. `Error` goes with the error fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<HostState>,
    /// Last phase that was completed.
    #[serde(rename = "phaseCompleted", skip_serializing_if = "Option::is_none")]
    pub phase_completed: Option<HostPhase>,
    /// Phase that is being worked on while the state is `Pending`.
    #[serde(rename = "phasePending", skip_serializing_if = "Option::is_none")]
    pub phase_pending: Option<HostPhase>,
    /// What went wrong, when the state is `Error`.
    #[serde(rename = "errorReason", skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// When it went wrong, in RFC 3339.
    #[serde(rename = "errorTimestamp", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub error_timestamp: Option<String>,
    /// How long until the next attempt, such as `5m0s`.
    #[serde(rename = "errorBackoff", skip_serializing_if = "Option::is_none")]
    pub error_backoff: Option<String>,
}

/// Where a Host's certificate comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum HostTlsCertificateSource {
    /// There is none.
    None,
    /// A Secret that somebody else maintains.
    Other,
    /// An ACME certificate authority.
    #[serde(rename = "ACME")]
    Acme,
    /// It is not known, or the stored value is none of these.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Overall state of a Host.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum HostState {
    /// Work is under way.
    Pending,
    /// The Host is served.
    Ready,
    /// The Host cannot be served.
    Error,
    /// Nothing has been done yet, or the stored value is none of these.
    #[default]
    #[serde(other)]
    Initial,
}

/// Phases on the way to a Host's certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum HostPhase {
    /// Defaults have been filled in.
    DefaultsFilled,
    /// The ACME account has a private key.
    #[serde(rename = "ACMEUserPrivateKeyCreated")]
    AcmeUserPrivateKeyCreated,
    /// The ACME account is registered.
    #[serde(rename = "ACMEUserRegistered")]
    AcmeUserRegistered,
    /// The authority's challenge is answered.
    #[serde(rename = "ACMECertificateChallenge")]
    AcmeCertificateChallenge,
    /// None applies, or the stored value is none of these.
    #[default]
    #[serde(rename = "NA", other)]
    NotApplicable,
}
