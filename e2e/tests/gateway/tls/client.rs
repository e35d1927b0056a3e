//! A client over TCP that says exactly what it offers: HTTP/1.1 and HTTP/2 over TLS.

use super::certificates::Pair;
use crate::LIMIT;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Status(u16),
    /// The connection failed; the text is for people.
    Refused(String),
}

impl Outcome {
    pub fn is_refused(&self) -> bool {
        matches!(self, Outcome::Refused(_))
    }
}

/// What a client offers. The default is everything that rustls has.
#[derive(Clone, Default)]
pub struct Offer<'a> {
    pub versions: Option<&'static [&'static SupportedProtocolVersion]>,
    pub suite: Option<CipherSuite>,
    pub group: Option<NamedGroup>,
    pub certificate: Option<&'a Pair>,
    /// Names for ALPN.
    pub protocols: &'a [&'a str],
    /// What goes before the handshake.
    pub preface: &'a [u8],
}

/// What was agreed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    pub version: Option<rustls::ProtocolVersion>,
    pub suite: Option<CipherSuite>,
    pub group: Option<NamedGroup>,
    pub protocol: Option<String>,
    /// The server's own certificate.
    pub server: Vec<u8>,
}

/// An open connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
}

/// Opens a TLS connection to a port of this machine; the server has to prove that name.
pub async fn connect(
    port: u16,
    server_name: &str,
    authority: CertificateDer<'static>,
    offer: &Offer<'_>,
) -> Result<Connection, String> {
    let mut provider: CryptoProvider = rustls::crypto::ring::default_provider();
    if let Some(wanted) = offer.suite {
        provider.cipher_suites.retain(|suite| suite.suite() == wanted);
    }
    if let Some(wanted) = offer.group {
        provider.kx_groups.retain(|group| group.name() == wanted);
    }
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(offer.versions.unwrap_or(rustls::ALL_VERSIONS))
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match offer.certificate {
        Some(pair) => builder.with_client_auth_cert(vec![pair.der.clone()], pair.key_der()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offer.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let connecting = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        stream.write_all(offer.preface).await.map_err(|error| error.to_string())?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
    };
    let stream = tokio::time::timeout(LIMIT, connecting).await.expect("a handshake ends")?;
    Ok(Connection { stream })
}

impl Connection {
    pub fn agreed(&self) -> Agreed {
        let session = self.stream.get_ref().1;
        Agreed {
            version: session.protocol_version(),
            suite: session.negotiated_cipher_suite().map(|suite| suite.suite()),
            group: session.negotiated_key_exchange_group().map(|group| group.name()),
            protocol: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            server: session.peer_certificates().map(|all| all[0].to_vec()).unwrap_or_default(),
        }
    }

    /// One GET by the protocol that was agreed on; without any it is HTTP/1.1.
    pub async fn get(self, host: &str) -> Outcome {
        let h2 = self.agreed().protocol.as_deref() == Some("h2");
        let exchange = async {
            // A request names its target in full for HTTP/2, and by path and Host for HTTP/1.1.
            let request = http::Request::get(if h2 { format!("https://{host}/") } else { "/".to_owned() });
            let request = if h2 { request } else { request.header("host", host) };
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let stream = TokioIo::new(self.stream);
            let response = if h2 {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                sender.send_request(request).await?
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
                tokio::spawn(connection);
                sender.send_request(request).await?
            };
            let status = response.status().as_u16();
            response.into_body().collect().await?;
            Ok::<u16, hyper::Error>(status)
        };
        match tokio::time::timeout(LIMIT, exchange).await.expect("an exchange ends") {
            Ok(status) => Outcome::Status(status),
            // With TLS 1.3 a server looks at the client's certificate when the client is through with its handshake.
            Err(error) => Outcome::Refused(format!("{error:?}")),
        }
    }

    /// A GET by HTTP/1.1 on a connection that stays open; the status.
    pub async fn get_and_stay(&mut self, host: &str) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let exchange = async {
            self.stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await?;
            let mut answer = Vec::new();
            // The backend's answer ends with these bytes, and nothing else has them.
            while !answer.ends_with(crate::serve::BODY.as_bytes()) {
                if self.stream.read_buf(&mut answer).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await.expect("an exchange ends").unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer}"))
    }
}
