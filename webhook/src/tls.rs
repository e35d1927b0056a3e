//! The TLS side of the server: one certificate for everybody, replaceable at any time.

use crate::authority::Leaf;
use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// The certificate that handshakes get. Clones share it.
///
/// Whatever name a client asks for, it gets this certificate or, before there is one, an alert. Nothing is made or
/// remembered per name, so asking for many names costs their handshakes and nothing more.
#[derive(Clone, Default)]
pub struct Identity(Arc<ArcSwapOption<CertifiedKey>>);

impl Identity {
    /// Takes another certificate. Connections go on; new handshakes get the new one.
    pub fn replace(&self, leaf: &Leaf) {
        self.0.store(Some(leaf.certified.clone()));
    }

    /// Settings for a server with this identity: TLS 1.3 as upstream, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    ///
    /// None with the cryptographic library that is built in.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // API servers keep their connections, so remembering sessions would only cost memory.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("present", &self.0.load().is_some()).finish()
    }
}
