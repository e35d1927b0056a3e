//! TCP: only with a certificate of the given authority.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};
use xds::ResourceType::Listener;
use xds::{Options, ServeError, TlsIdentity, TlsServer};

use crate::client::{Client, Running, Server, soon};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

async fn bind(server: &Server, authority: &Authority) -> TlsServer {
    let (cert, key) = authority.issue("localhost");
    let identity = TlsIdentity { cert, key, client_ca: authority.pem.clone() };
    server.ads.bind_tls("127.0.0.1:0".parse().unwrap(), identity).await.unwrap()
}

async fn dial(port: u16, trusted: &Authority, own: Option<(String, String)>) -> Result<Channel, Error> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&trusted.pem)).domain_name("localhost");
    let tls = own.into_iter().fold(tls, |tls, (cert, key)| tls.identity(Identity::from_pem(cert, key)));
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap().tls_config(tls).unwrap();
    soon(endpoint.connect()).await
}

/// In TLS 1.3 a client learns of its refusal only when it talks.
async fn is_served(channel: Result<Channel, Error>) -> bool {
    let Ok(channel) = channel else { return false };
    let Ok(mut client) = Client::connect(channel).await else { return false };
    client.ask(Listener, &[]).await;
    matches!(client.next().await, Ok(Some(_)))
}

#[tokio::test]
async fn only_certificates_of_the_authority_are_accepted() {
    let (server, authority, other) = (Server::new(Options::default()), Authority::new(), Authority::new());
    let bound = bind(&server, &authority).await;
    let port = bound.address().port();
    let running = Running::start(|stopped| {
        bound.serve(async {
            let _ = stopped.await;
        })
    });
    assert!(is_served(dial(port, &authority, Some(authority.issue("envoy"))).await).await);
    assert!(!is_served(dial(port, &authority, None).await).await, "no certificate");
    assert!(!is_served(dial(port, &authority, Some(other.issue("envoy"))).await).await, "another authority");
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    assert!(!is_served(soon(plain.connect()).await).await, "no TLS");
    running.stop().await;
}

#[tokio::test]
async fn an_unusable_identity_is_an_error_without_its_content() {
    let (server, authority) = (Server::new(Options::default()), Authority::new());
    let (cert, key) = authority.issue("localhost");
    let good = TlsIdentity { cert, key, client_ca: authority.pem.clone() };
    assert_eq!(format!("{good:?}"), "TlsIdentity(..)");
    for bad in [
        TlsIdentity { cert: "no certificate".into(), ..good.clone() },
        TlsIdentity { key: "no key".into(), ..good.clone() },
        TlsIdentity { client_ca: "no certificate".into(), ..good.clone() },
        TlsIdentity { key: authority.issue("localhost").1, ..good.clone() },
    ] {
        let address = "127.0.0.1:0".parse().unwrap();
        let error = server.ads.bind_tls(address, bad).await.err().expect("an error");
        assert!(matches!(error, ServeError::Tls(_)), "{error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
    }
}
