//! A server with an authority of its own.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhook::authority::Authority;
use webhook::clock::Clock;
use webhook::server::{Limits, serve};
use webhook::tls::Identity;

/// The name that API servers ask for.
pub const NAME: &str = "emissary-apiext.emissary-system.svc";
/// What no step of a test may exceed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server with an authority of its own.
pub struct Server {
    pub address: SocketAddr,
    pub authority: Authority,
    pub identity: Identity,
    pub clock: Clock,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Server {
    pub async fn start(limits: Limits) -> Self {
        let clock = Clock::default();
        let authority = Authority::generate(clock.now(), Duration::from_secs(30 * 24 * 3600), None).unwrap();
        let identity = Identity::default();
        identity.replace(&authority.issue(&[NAME.to_owned()], clock.now()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, identity.server_config().unwrap(), limits, stop.clone()));
        Self { address, authority, identity, clock, stop, task }
    }

    pub fn bundle(&self) -> Vec<u8> {
        self.authority.bundle(self.clock.now())
    }
}

pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect()
}

pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it takes too long")
}
