//! The applications behind the gateway: each instance says its own name in every answer and can be rolled out.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The header that names the instance.
pub const INSTANCE: &str = "x-instance";
/// With this query the answer takes a while, so that edits meet requests under way.
pub const SLOW: &str = "slow";
const SLOWNESS: Duration = Duration::from_millis(300);

/// One running instance; it listens until it is dropped.
#[derive(Debug)]
pub struct Instance {
    /// Its name, unique in a run.
    pub name: Arc<str>,
    /// Its port on 127.0.0.1, or on the address that it was started at.
    pub port: u16,
    retired: Arc<AtomicBool>,
    end: watch::Sender<bool>,
}

impl Instance {
    /// Starts one on a port that the system chooses.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_at(name, Ipv4Addr::LOCALHOST).await
    }

    /// The same at an address of this machine; an API server takes no loopback address into an EndpointSlice.
    pub async fn start_at(name: &str, address: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await.context("cannot listen for a backend")?;
        let port = listener.local_addr()?.port();
        let (end, ended) = watch::channel(false);
        let name: Arc<str> = name.into();
        tokio::spawn(accept(name.clone(), listener, ended));
        Ok(Self { name, port, retired: Arc::default(), end })
    }

    /// Ends it as a pod ends that nobody routes to any more: it answers what it has, then closes its connections.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.end.send_replace(true);
    }
}

async fn accept(name: Arc<str>, listener: TcpListener, mut ended: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors, or the peer is gone already: the next connection may do better.
                Err(_) => { tokio::task::yield_now().await; continue }
            },
            () = until(&mut ended) => return,
        };
        // A failure would only cost speed.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(name.clone(), stream, ended.clone()));
    }
}

async fn serve(name: Arc<str>, stream: tokio::net::TcpStream, mut ended: watch::Receiver<bool>) {
    let upgrades = ended.clone();
    let service = hyper::service::service_fn(move |request| answer(name.clone(), request, upgrades.clone()));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A broken connection is noticed by who asked.
    let finished = tokio::select! {
        _ = connection.as_mut() => true,
        () = until(&mut ended) => false,
    };
    if !finished {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

async fn answer(
    name: Arc<str>,
    mut request: Request<Incoming>,
    ended: watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(key) = websocket_key(request.headers()) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                echo(&name, TokioIo::new(upgraded), ended).await;
            }
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(value) = HeaderValue::from_str(&key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
        }
        return Ok(response);
    }
    let (head, body) = request.into_parts();
    let received = match body.collect().await {
        Ok(body) => body.to_bytes().len(),
        Err(_) => 0,
    };
    if head.uri.query().is_some_and(|query| query.contains(SLOW)) {
        tokio::time::sleep(SLOWNESS).await;
    }
    let mut response = Response::new(Full::new(Bytes::from(format!("{received}\n"))));
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(INSTANCE, value);
    }
    Ok(response)
}

/// Waits for the end of the instance; without holding on to the value, which must not cross an await point.
async fn until(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

fn websocket_key(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    upgrade.eq_ignore_ascii_case("websocket").then(|| derive_accept_key(key.as_bytes()))
}

/// Sends every message back behind the name of the instance.
async fn echo(
    name: &str,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    mut ended: watch::Receiver<bool>,
) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = until(&mut ended) => {
                let _ = socket.close(None).await;
                return;
            }
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                if socket.send(Message::text(format!("{name} {text}"))).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}
