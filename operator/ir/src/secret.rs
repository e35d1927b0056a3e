//! Certificates as Envoy gets them.

use std::fmt;
use std::sync::Arc;

/// SDS name: `<namespace>/<secret>` for a certificate with key, `<namespace>/<secret>/ca` (with `+<namespace>/<crl secret>`
/// appended when there is a revocation list) for a validation context.
pub type SecretName = Arc<str>;

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// Bytes that never show in a debug print.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sensitive(pub Arc<[u8]>);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// One SDS resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSecret {
    /// Certificate chain and private key, PEM; judged usable.
    Certificate {
        /// PEM chain, leaf first.
        chain: Sensitive,
        /// PEM key.
        key: Sensitive,
    },
    /// CA bundle and optional revocation list, PEM; judged usable.
    Validation {
        /// PEM bundle.
        ca: Sensitive,
        /// PEM revocation list.
        crl: Option<Sensitive>,
    },
}
