//! The sockets of the server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::Ads;
use super::authority::Connection;
use super::codec::AdsService;

/// HTTP/2 window for requests: after a reconnect they list everything the client has.
const REQUEST_WINDOW: u32 = 1 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the server does not listen, or ceased to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be made; names the path or address.
    #[error("cannot listen on {place}: {source}")]
    Listen {
        /// Path or address.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process answers on the path.
    #[error("cannot listen on {0}: another process listens there")]
    InUse(PathBuf),
    /// Something other than a socket is at the path; it is left alone.
    #[error("cannot listen on {0}: the file is not a socket")]
    NotASocket(PathBuf),
    /// Certificate, key or client CA cannot be used.
    #[error("cannot use the TLS identity: {0}")]
    Tls(String),
    /// The server failed while it ran.
    #[error("discovery server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What the server needs for mutual TLS, all of it PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The server's certificate chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The authorities whose client certificates are accepted; a client without one is refused.
    pub client_ca: String,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}

/// A bound UNIX socket.
pub struct UnixServer {
    ads: Ads,
    listener: UnixListener,
    path: PathBuf,
}

/// A bound TCP socket with mutual TLS.
pub struct TlsServer {
    ads: Ads,
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTlsConfig,
}

impl Ads {
    /// Binds a UNIX socket that only the own user may open: creates its folder, replaces the socket of a process that is
    /// gone. From then on clients can connect; they are answered when the result is served.
    pub fn bind_unix(&self, path: impl AsRef<Path>) -> Result<UnixServer, ServeError> {
        let path = path.as_ref();
        let failed = |source| ServeError::Listen { place: path.display().to_string(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => return Err(ServeError::NotASocket(path.to_owned())),
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(ServeError::InUse(path.to_owned()));
            }
            Ok(_) => {}
        }
        // Bound under another name first: at its own name the socket is never open to other users, nor missing.
        let unready = folder.join(format!(".{}", std::process::id()));
        let listener = bind_private(&unready).and_then(|listener| {
            std::fs::rename(&unready, path)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            let _ = std::fs::remove_file(&unready);
            failed(error)
        })?;
        Ok(UnixServer { ads: self.clone(), listener, path: path.to_owned() })
    }

    /// Binds a TCP socket for clients with a certificate of the identity's client CA.
    pub async fn bind_tls(&self, address: SocketAddr, identity: TlsIdentity) -> Result<TlsServer, ServeError> {
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(identity.cert, identity.key))
            .client_ca_root(Certificate::from_pem(identity.client_ca))
            .timeout(HANDSHAKE_TIMEOUT);
        // Read the files before anything listens: an unusable identity is an error here and not a server that refuses.
        server(self).tls_config(tls.clone()).map_err(|error| ServeError::Tls(chain(&error)))?;
        let failed = |source| ServeError::Listen { place: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(TlsServer { ads: self.clone(), listener, address, tls })
    }

    /// Serves on a UNIX socket until `shutdown`; see [`Ads::bind_unix`].
    pub async fn serve_unix(
        &self,
        path: impl AsRef<Path>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        self.bind_unix(path)?.serve(shutdown).await
    }

    /// Serves on TCP with mutual TLS until `shutdown`; see [`Ads::bind_tls`].
    pub async fn serve_tls(
        &self,
        address: SocketAddr,
        identity: TlsIdentity,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        self.bind_tls(address, identity).await?.serve(shutdown).await
    }
}

impl UnixServer {
    /// Serves until `shutdown`, then ends all streams and removes the socket file.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let own = file_id(&self.path);
        let (router, close) = router(&self.ads, server(&self.ads));
        let incoming = UnixListenerStream::new(self.listener).map(|accepted| accepted.map(Connection::new));
        let result = router.serve_with_incoming_shutdown(incoming, closes(shutdown, close)).await;
        // A successor may have taken the name over already.
        if own.is_some() && file_id(&self.path) == own {
            let _ = std::fs::remove_file(&self.path);
        }
        Ok(result?)
    }
}

impl TlsServer {
    /// Where it listens: the port the system chose, if none was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then ends all streams.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let server = server(&self.ads).tls_config(self.tls).map_err(|error| ServeError::Tls(chain(&error)))?;
        let (router, close) = router(&self.ads, server);
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        Ok(router.serve_with_incoming_shutdown(incoming, closes(shutdown, close)).await?)
    }
}

fn server(ads: &Ads) -> Server {
    let options = &ads.shared.options;
    Server::builder()
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
        .initial_stream_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(REQUEST_WINDOW)
}

/// The service on a transport, and the switch that ends its streams: they would otherwise outlast any shutdown.
fn router(ads: &Ads, mut server: Server) -> (Router, watch::Sender<bool>) {
    let (close, closing) = watch::channel(false);
    (server.add_service(AdsService { ads: ads.clone(), closing }), close)
}

async fn closes(shutdown: impl Future<Output = ()>, close: watch::Sender<bool>) {
    shutdown.await;
    close.send_replace(true);
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// An error with all its causes: the transport's own text is just "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
