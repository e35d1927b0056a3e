//! Connections of clients, which notice when the gateway closes them.

use super::ledger::Entry;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// After that long anything is a failure.
pub const LIMIT: Duration = Duration::from_secs(15);

/// Ports of the gateway, and how TLS is spoken: any certificate will do, what came is judged by the model.
#[derive(Clone, Debug)]
pub struct Dialer {
    ports: (u16, u16),
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What both kinds of connections are.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The instance that answered; without one the status.
    pub fn answer(&self) -> String {
        let instance = self.head.headers.get(super::backend::INSTANCE).and_then(|value| value.to_str().ok());
        instance.map_or_else(|| self.head.status.as_str().to_owned(), str::to_owned)
    }

    /// The beginning of the body.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(160).collect()
    }
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
}

/// One HTTP/2 connection; clones share it.
#[derive(Clone, Debug)]
pub struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Dialer {
    /// For a gateway on these ports (clear text, TLS).
    pub fn new(ports: (u16, u16)) -> Result<Self> {
        let config = |protocol: &[u8]| -> Result<Arc<ClientConfig>> {
            let provider = Arc::new(ring::default_provider());
            let verifier = crate::kat::verify::verifier(true, "", &provider)?;
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            // A resumed session shows no certificate.
            config.resumption = rustls::client::Resumption::disabled();
            Ok(Arc::new(config))
        };
        Ok(Self { ports, http1: config(b"http/1.1")?, http2: config(b"h2")? })
    }

    /// Connects; with TLS the certificate comes along (DER).
    pub async fn open(&self, name: &str, tls: bool, h2: bool) -> Result<(Box<dyn Stream>, Option<Vec<u8>>)> {
        let port = if tls { self.ports.1 } else { self.ports.0 };
        let tcp = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.context("cannot connect")?;
        // A failure would only cost speed.
        let _ = tcp.set_nodelay(true);
        if !tls {
            return Ok((Box::new(tcp), None));
        }
        let config = if h2 { self.http2.clone() } else { self.http1.clone() };
        let server = ServerName::try_from(name.to_owned())?;
        let stream = TlsConnector::from(config).connect(server, tcp).await.context("TLS handshake")?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|one| one.to_vec());
        Ok((Box::new(stream), certificate))
    }

    /// A TLS handshake; the certificate that came (DER). Like everything here it ends after [`LIMIT`].
    pub async fn certificate(&self, name: &str) -> Result<Option<Vec<u8>>> {
        limited(async { Ok(self.open(name, true, false).await?.1) }).await
    }

    /// An HTTP/1.1 connection.
    pub async fn http1(&self, entry: Entry) -> Result<(Http1, Option<Vec<u8>>)> {
        limited(async {
            let (stream, certificate) = self.open(entry.authority(), entry.is_tls(), false).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            Ok((Http1 { sender, task: tokio::spawn(connection) }, certificate))
        })
        .await
    }

    /// An HTTP/2 connection, and the task that ends when it ends.
    pub async fn http2(&self, entry: Entry) -> Result<(Http2, JoinHandle<hyper::Result<()>>, Option<Vec<u8>>)> {
        limited(async {
            let (stream, certificate) = self.open(entry.authority(), entry.is_tls(), true).await?;
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await?;
            Ok((Http2 { sender }, tokio::spawn(connection), certificate))
        })
        .await
    }
}

impl Http1 {
    /// One request, answered to the end.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        limited(async {
            self.sender.ready().await?;
            collect(self.sender.send_request(request).await?).await
        })
        .await
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.task.is_finished() || self.sender.is_closed()
    }
}

impl Http2 {
    /// One request, answered to the end.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let mut sender = self.sender.clone();
        limited(async {
            sender.ready().await?;
            collect(sender.send_request(request).await?).await
        })
        .await
    }
}

/// A request of an entry.
pub fn request(entry: Entry, h2: bool, path: &str, body: usize) -> Result<Request<Full<Bytes>>> {
    let builder = if body > 0 { Request::post(target(entry, h2, path)) } else { Request::get(target(entry, h2, path)) };
    let builder = if h2 { builder } else { builder.header("host", entry.authority()) };
    Ok(builder.body(Full::new(Bytes::from(vec![b'x'; body])))?)
}

fn target(entry: Entry, h2: bool, path: &str) -> String {
    let scheme = if entry.is_tls() { "https" } else { "http" };
    if h2 { format!("{scheme}://{}{path}", entry.authority()) } else { path.to_owned() }
}

async fn collect(response: Response<hyper::body::Incoming>) -> Result<Reply> {
    let (head, body) = response.into_parts();
    Ok(Reply { head, body: body.collect().await?.to_bytes() })
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => bail!("nothing for {LIMIT:?}"),
    }
}
