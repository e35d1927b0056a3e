//! kat-server: one program, many backends.
//!
//! The role comes from `KAT_BACKEND_TYPE`, names from `BACKEND` and `BACKEND_<port>`. Every backend answers in clear
//! text (HTTP/1.1 and HTTP/2) on one port and over TLS on another.

mod access_log;
mod auth;
mod call;
mod echo;
mod rate_limit;

use super::go;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The settings, from the process's environment or from a test.
pub type Environment = BTreeMap<String, String>;

/// What every role answers with.
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What the server knows about a connection.
#[derive(Clone, Debug, Default)]
struct Peer {
    tls: Option<Tls>,
}

/// What TLS negotiated.
#[derive(Clone, Debug)]
struct Tls {
    protocol: String,
    name: String,
    version: &'static str,
}

/// What a server does.
#[derive(Clone)]
enum Role {
    Echo(echo::Echo),
    GrpcEcho(call::Echo),
    Auth(auth::Auth),
    RateLimit(rate_limit::RateLimit),
    AccessLog(access_log::AccessLog),
}

/// One listening pair of ports.
struct Pair {
    clear: u16,
    secure: u16,
    role: Role,
}

/// A running server.
pub struct Server {
    /// Where it listens: clear text and TLS, in the order of the backends.
    pub addresses: Vec<(SocketAddr, SocketAddr)>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Opens all ports that the environment names. `folder` holds `server.crt` and `server.key`; without them the server
    /// makes a certificate for `kat.server.local` itself.
    pub async fn start(environment: &Environment, folder: &Path) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(tls(folder)?));
        let mut server = Self { addresses: Vec::new(), tasks: JoinSet::new() };
        for Pair { clear, secure, role } in pairs(environment)? {
            let (clear, secure) = (bind(clear).await?, bind(secure).await?);
            server.addresses.push((clear.local_addr()?, secure.local_addr()?));
            server.tasks.spawn(serve(clear, None, role.clone()));
            server.tasks.spawn(serve(secure, Some(acceptor.clone()), role));
        }
        Ok(server)
    }

    /// Serves until the future is dropped.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The backends that the environment asks for.
fn pairs(environment: &Environment) -> Result<Vec<Pair>> {
    let text = |name: &str| environment.get(name).map(String::as_str).unwrap_or_default();
    let port = |name: &str, usual: u16| match text(name) {
        "" => Ok(usual),
        text => text.parse::<u16>().with_context(|| format!("{name} is not a port: {text}")),
    };
    let (clear, secure) = (port("KAT_PORT", 8080)?, port("KAT_SSL_PORT", 8443)?);
    let backend = text("BACKEND").to_owned();
    let is_v3 = |name: &str| text(name) == "v3";
    let with_extauth = !text("INCLUDE_EXTAUTH_HEADER").is_empty();
    let role = match text("KAT_BACKEND_TYPE") {
        "grpc_echo" => Role::GrpcEcho(call::Echo { backend }),
        "grpc_auth" => Role::Auth(auth::Auth { backend, v3: is_v3("GRPC_AUTH_PROTOCOL_VERSION") }),
        "grpc_rls" => Role::RateLimit(rate_limit::RateLimit { backend, v3: is_v3("GRPC_RLS_PROTOCOL_VERSION") }),
        "grpc_als" => Role::AccessLog(access_log::AccessLog::default()),
        "health_check_server" => {
            let status = |name: &str, usual: u16| text(name).parse().unwrap_or(usual);
            let health = (status("HEALTHY_STATUS_CODE", 200), status("UNHEALTHY_STATUS_CODE", 500));
            Role::Echo(echo::Echo::new(backend, with_extauth, Some(health)))
        }
        "" | "http" => {
            let mut pairs = Vec::new();
            for step in 0..=u16::MAX - clear.max(secure) {
                let (clear, secure) = (clear + step, secure + step);
                let name = |port: u16| match text(&format!("BACKEND_{port}")) {
                    "" if step == 0 => text("BACKEND"),
                    name => name,
                };
                let (name, other) = (name(clear), name(secure));
                if name.is_empty() || other.is_empty() {
                    break;
                }
                if name == other {
                    let role = Role::Echo(echo::Echo::new(name.to_owned(), with_extauth, None));
                    pairs.push(Pair { clear, secure, role });
                }
                // Port 0 lets the system choose, so there is nothing to count up from.
                if clear == 0 || secure == 0 {
                    break;
                }
            }
            if pairs.is_empty() {
                bail!("no backend is named: set BACKEND, or BACKEND_{clear} and BACKEND_{secure}");
            }
            return Ok(pairs);
        }
        other => bail!("unknown KAT_BACKEND_TYPE {other}"),
    };
    Ok(vec![Pair { clear, secure, role }])
}

/// Both families where the machine has both.
async fn bind(port: u16) -> Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.with_context(|| format!("cannot listen on {port}"))
        }
    }
}

fn tls(folder: &Path) -> Result<ServerConfig> {
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    let (chain, key) = if certificate.exists() {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&certificate)?.filter_map(Result::ok).collect();
        let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("cannot read {}", key.display()))?;
        (chain, key)
    } else {
        let name = "kat.server.local";
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()])?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate()?;
        let made = parameters.self_signed(&key)?;
        (vec![made.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("{} does not go with its key", certificate.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, role: Role) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the peer is gone already: the next connection may do better.
            tokio::task::yield_now().await;
            continue;
        };
        // A failure would only cost speed.
        let _ = stream.set_nodelay(true);
        let (acceptor, role) = (acceptor.clone(), role.clone());
        connections.spawn(async move {
            let Some(acceptor) = acceptor else { return converse(stream, Peer::default(), role).await };
            // A client that breaks off the handshake, or does not trust the certificate, has its own error.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let (_, session) = stream.get_ref();
            let tls = Tls {
                protocol: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into_owned(),
                name: session.server_name().unwrap_or_default().to_owned(),
                version: match session.protocol_version().map(u16::from) {
                    Some(0x0301) => "v1.0",
                    Some(0x0302) => "v1.1",
                    Some(0x0303) => "v1.2",
                    Some(0x0304) => "v1.3",
                    _ => "unknown",
                },
            };
            converse(stream, Peer { tls: Some(tls) }, role).await;
        });
    }
}

async fn converse<S>(stream: S, peer: Peer, role: Role)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let (peer, role) = (peer.clone(), role.clone());
        async move { Ok::<_, Infallible>(answer(request, peer, role).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Envoy has been told by tests to send more headers than usual.
    builder.http1().max_headers(1000).max_buf_size(2 << 20);
    builder.http2().max_header_list_size(2 << 20);
    // A broken connection concerns its client only, and that one knows.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, peer: Peer, role: Role) -> Answer {
    match role {
        Role::Echo(echo) => echo.answer(request, &peer).await,
        Role::GrpcEcho(echo) => echo.answer(request).await,
        Role::Auth(auth) => auth.answer(request).await,
        Role::RateLimit(limit) => limit.answer(request).await,
        Role::AccessLog(log) => log.answer(request).await,
    }
}

/// Bytes as a header's value: what may not stand there becomes a space, as with Go's server.
fn header_value(bytes: &[u8]) -> HeaderValue {
    let clean: Vec<u8> = bytes.iter().map(|byte| if *byte < 0x20 || *byte == 0x7f { b' ' } else { *byte }).collect();
    HeaderValue::from_bytes(clean.trim_ascii()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// An answer with a whole body. Like Go's server it states the length of short bodies only, and gives a body without a
/// media type one.
fn respond(mut answer: Response<()>, body: Vec<u8>, http2: bool) -> Answer {
    let longest = if http2 { 4096 } else { 2048 };
    if body.len() > longest {
        return respond_unsized(answer, body);
    }
    set_type(&mut answer, &body);
    answer.map(|()| Full::from(body).boxed_unsync())
}

/// The same without the length.
fn respond_unsized(mut answer: Response<()>, body: Vec<u8>) -> Answer {
    set_type(&mut answer, &body);
    let frame = hyper::body::Frame::data(Bytes::from(body));
    answer.map(|()| StreamBody::new(tokio_stream::iter([Ok::<_, Infallible>(frame)])).boxed_unsync())
}

fn set_type(answer: &mut Response<()>, body: &[u8]) {
    if !body.is_empty() && !answer.headers().contains_key(header::CONTENT_TYPE) {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(go::sniff(body)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_superpod_opens_agreeing_pairs_until_one_is_missing() {
        let named = environment(&[
            ("KAT_PORT", "10080"),
            ("KAT_SSL_PORT", "14443"),
            ("BACKEND", "first"),
            ("BACKEND_10081", "second"),
            ("BACKEND_14444", "other"),
            ("BACKEND_10082", "third"),
            ("BACKEND_14445", "third"),
            ("BACKEND_10084", "beyond"),
            ("BACKEND_14447", "beyond"),
        ]);
        let ports: Vec<_> = pairs(&named).unwrap().iter().map(|pair| (pair.clear, pair.secure)).collect();
        assert_eq!(ports, [(10080, 14443), (10082, 14445)]);
    }

    #[test]
    fn without_a_name_there_is_no_server() {
        assert!(pairs(&environment(&[])).is_err());
        assert!(pairs(&environment(&[("KAT_BACKEND_TYPE", "other")])).is_err());
        assert!(pairs(&environment(&[("BACKEND", "x"), ("KAT_PORT", "x")])).is_err());
    }
}
