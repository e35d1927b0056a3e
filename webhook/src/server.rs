//! The HTTPS server: connections, times and sizes.
//!
//! An API server cannot authenticate itself to a conversion webhook, so anybody who reaches the port may speak. What keeps
//! strangers from the API server's way is that a connection has to prove itself: until one of its reviews is answered,
//! it is among a limited number of newcomers with a limited time, and the oldest of them makes room. Connections that have
//! proved themselves stay as long as their peer answers pings.

mod body;
mod connections;

use crate::review::{self, Answer};
use body::{Budget, Reply};
use connections::{Connection, Connections};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where reviews are answered; upstream's path, which is in the CRDs.
pub const PATH: &str = "/webhooks/crd-convert";

/// Reviews up to this size are converted where they arrive. It takes about a millisecond; handing it to another thread
/// would cost more than it saves.
const SMALL: usize = 128 << 10;

/// What one server takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a review.
    pub body: usize,
    /// Bytes of all reviews that are on their way in or being answered.
    pub bodies: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time that have not had a review answered.
    pub newcomers: usize,
    /// Time for the handshake, and for the first review to begin.
    pub patience: Duration,
    /// Time for a body to arrive, and for an answer to be taken.
    pub transfer: Duration,
    /// Time that requests get to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server asks for single objects, which it bounds at 3 MB, or for the items of a list. This is a
            // list of 50,000 Mappings.
            body: 64 << 20,
            bodies: 128 << 20,
            connections: 512,
            newcomers: 128,
            patience: Duration::from_secs(10),
            // An API server gives up on a webhook after 30 seconds at most.
            transfer: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

struct Shared {
    limits: Limits,
    connections: Arc<Connections>,
    budget: Budget,
    /// Threads that convert large reviews.
    converters: Semaphore,
}

/// Serves until `stop`, then lets requests end.
///
/// `tls` decides about certificates at every handshake, so replacing one closes no connection.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, limits: Limits, stop: CancellationToken) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = Arc::new(Shared {
        limits,
        connections: Arc::new(Connections::new(limits.connections, limits.newcomers)),
        budget: Budget::new(limits.bodies),
        converters: Semaphore::new(threads),
    });
    let acceptor = TlsAcceptor::from(tls);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(connection) = shared.connections.admit() {
                    let task = serve_one(stream, acceptor.clone(), Arc::new(connection), shared.clone(), stop.clone());
                    tasks.spawn(task);
                }
            }
            Err(error) => {
                // Mostly too many open files: it passes when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    let _ = timeout(limits.drain, tasks.wait()).await;
}

async fn serve_one(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let evicted = connection.evicted();
    let work = async {
        let _ = stream.set_nodelay(true);
        // A failed handshake is the client's business: it trusts another authority, or it is no TLS client at all.
        match timeout(shared.limits.patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, &connection, &shared, &stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake: out of time"),
        }
    };
    tokio::select! {
        () = work => {}
        () = evicted.cancelled() => tracing::debug!("a connection without an answered review made room"),
    }
}

async fn speak(
    stream: TlsStream<TcpStream>,
    connection: &Arc<Connection>,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) {
    let limits = shared.limits;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request| {
        let (connection, shared) = (connection.clone(), shared.clone());
        async move { Ok::<_, Infallible>(respond(request, &connection, &shared).await) }
    });
    let mut unproved = Box::pin(tokio::time::sleep(limits.patience + limits.transfer));
    macro_rules! drive {
        ($connection:expr) => {{
            let mut served = std::pin::pin!($connection);
            let (mut stopping, mut due) = (false, false);
            loop {
                tokio::select! {
                    _ = served.as_mut() => return,
                    () = unproved.as_mut(), if !due => {
                        due = true;
                        if !connection.is_proved() {
                            return;
                        }
                    }
                    () = stop.cancelled(), if !stopping => {
                        stopping = true;
                        served.as_mut().graceful_shutdown();
                    }
                }
            }
        }};
    }
    if http2 {
        let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(250)
            .max_header_list_size(16 << 10)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .max_send_buf_size(256 << 10);
        drive!(http.serve_connection(TokioIo::new(stream), service))
    } else {
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            // It is also the time that a connection may rest. Go's clients let go after 90 s; being first would break
            // a request that crosses the end on its way.
            .header_read_timeout(Duration::from_secs(120))
            .max_buf_size(64 << 10);
        drive!(http.serve_connection(TokioIo::new(stream), service))
    }
}

async fn respond(request: Request<Incoming>, connection: &Arc<Connection>, shared: &Arc<Shared>) -> Response<Reply> {
    if request.uri().path() != PATH {
        return text(StatusCode::NOT_FOUND, "not found\n");
    }
    if request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "a ConversionReview has to be posted\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("POST"));
        return response;
    }
    let (body, held) = match body::read(request.into_body(), &shared.limits, &shared.budget, connection).await {
        Ok(read) => read,
        Err(refusal) => return text(refusal.status(), refusal.message()),
    };
    let answer = if body.len() <= SMALL {
        review::answer(&body)
    } else {
        // Closed never, so the wait ends.
        let _turn = shared.converters.acquire().await;
        match tokio::task::spawn_blocking(move || review::answer(&body)).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "a conversion did not end");
                return text(StatusCode::INTERNAL_SERVER_ERROR, "the conversion did not end\n");
            }
        }
    };
    match answer {
        Answer::Review { body, objects, failure } => {
            if let Some(why) = failure {
                tracing::warn!("{why}");
            }
            tracing::debug!(objects, bytes = body.len(), "review");
            connection.prove();
            let mut response = Response::new(Reply::new(body).holding(held, shared.limits.transfer, connection));
            response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
            response
        }
        Answer::NotAReview(why) => text(StatusCode::BAD_REQUEST, &format!("{why}\n")),
    }
}

fn text(status: StatusCode, message: &str) -> Response<Reply> {
    let mut response = Response::new(Reply::new(message.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
