//! Secrets.

use crate::proto::inline_bytes;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use ir::{SecretName, TlsSecret};

/// The message of a secret, PEM inline.
pub(crate) fn message(name: &SecretName, row: &TlsSecret) -> tls::Secret {
    let content = match row {
        TlsSecret::Certificate { chain, key } => tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline_bytes(&chain.0)),
            private_key: Some(inline_bytes(&key.0)),
            ..Default::default()
        }),
        TlsSecret::Validation { ca, crl } => tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(inline_bytes(&ca.0)),
            crl: crl.as_ref().map(|crl| inline_bytes(&crl.0)),
            ..Default::default()
        }),
    };
    tls::Secret { name: name.to_string(), r#type: Some(content) }
}
