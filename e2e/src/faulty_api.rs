//! An API server that misbehaves on demand: a proxy in front of the real one, over plain HTTP on the loopback address.
//!
//! It counts what it is asked for, so that a client that tries again and again without a pause is found out.

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Longest that a port may take to become free again after everything on it was closed.
const PORT_LIMIT: Duration = Duration::from_secs(10);
/// What a stream ends with that is cut in the middle of an event.
const HALF_AN_EVENT: &[u8] = br#"{"type":"MODIFIED","object":{"apiVersion":"getambassador.io/v3alpha1","kind":"Map"#;
/// What a watch ends with that has fallen too far behind.
const EXPIRED: &[u8] = b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is down: connections are closed, and new ones refused.
    Down,
    /// It accepts connections and requests, and answers none.
    Silent,
    /// It says 410 to every watch.
    Expired,
    /// It says 429 to every listing and watch, and asks to come back in a second.
    Busy,
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "none" => Self::None,
            "down" => Self::Down,
            "silent" => Self::Silent,
            "expired" => Self::Expired,
            "busy" => Self::Busy,
            other => anyhow::bail!("`{other}` is no fault"),
        })
    }
}

/// The proxy. Clones are the same one.
#[derive(Clone)]
pub struct FaultyApi {
    shared: Arc<Shared>,
}

struct Shared {
    real: Client,
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Grows whenever streams under way are cut.
    cuts: watch::Sender<u64>,
    asked: Mutex<BTreeMap<String, u64>>,
}

impl FaultyApi {
    /// Listens on a port that the system chooses, and passes on to `real`.
    pub async fn start(real: Client) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Shared {
            real,
            address: listener.local_addr()?,
            fault: watch::Sender::default(),
            cuts: watch::Sender::default(),
            asked: Mutex::default(),
        };
        let api = Self { shared: Arc::new(shared) };
        tokio::spawn(api.clone().accept(listener));
        Ok(api)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: faulty\n\
             clusters:\n- name: faulty\n  cluster:\n    server: http://{}\n\
             users:\n- name: faulty\n  user: {{}}\n\
             contexts:\n- name: faulty\n  context:\n    cluster: faulty\n    user: faulty\n",
            self.shared.address
        )
    }

    /// Begins to misbehave like that, or to behave. Watches under way are ended in the same spirit.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Cuts every stream under way in the middle of an event.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|count| *count += 1);
    }

    /// What was asked for since the last call, and how often: `list /api/v1/services`.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, mut listener: TcpListener) {
        let mut fault = self.shared.fault.subscribe();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::spawn(self.clone().serve(stream));
                    }
                }
                () = is_down(&mut fault, true) => {
                    drop(listener);
                    is_down(&mut fault, false).await;
                    let Some(again) = bind(self.shared.address).await else { return };
                    listener = again;
                }
            }
        }
    }

    async fn serve(self, stream: TcpStream) {
        let mut fault = self.shared.fault.subscribe();
        let service = service_fn(|request| {
            let api = self.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A connection that breaks is the client's business.
            _ = connection => {}
            () = is_down(&mut fault, true) => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let what = What::of(&request);
        *self.lock().entry(format!("{} {}", what.verb, request.uri().path())).or_default() += 1;
        let mut fault = self.shared.fault.subscribe();
        let _ = fault.wait_for(|fault| *fault != Fault::Silent).await;
        let now = *fault.borrow();
        match now {
            Fault::Busy if what.is_reading() => {
                let text = "Too many requests, please try again later.\n";
                let mut answer = Response::new(whole(text.into()));
                *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                answer.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
                answer
            }
            Fault::Expired if what.verb == "watch" => Response::new(whole(Bytes::from_static(EXPIRED))),
            _ => match self.pass(request, &what).await {
                Ok(answer) => answer,
                Err(error) => {
                    let mut answer = Response::new(whole(format!("{error:#}\n").into()));
                    *answer.status_mut() = StatusCode::BAD_GATEWAY;
                    answer
                }
            },
        }
    }

    async fn pass(&self, request: Request<Incoming>, what: &What) -> Result<Response<Answer>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut passed = Request::builder().method(head.method).uri(head.uri);
        for (name, value) in head.headers.iter().filter(|(name, _)| !is_of_the_connection(name)) {
            passed = passed.header(name, value);
        }
        let (mut head, body) = self.shared.real.send(passed.body(body.to_vec().into())?).await?.into_parts();
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            head.headers.remove(name);
        }
        let (to, answer) = mpsc::channel(1);
        tokio::spawn(self.clone().pump(body, to, what.verb == "watch"));
        Ok(Response::from_parts(head, BodyExt::boxed(StreamBody::new(ReceiverStream::new(answer)))))
    }

    /// Passes a body on until it ends, or is cut.
    async fn pump(self, body: kube::client::Body, to: mpsc::Sender<Result<Frame<Bytes>, io::Error>>, watch: bool) {
        let (mut cuts, mut fault) = (self.shared.cuts.subscribe(), self.shared.fault.subscribe());
        let mut body = body.into_data_stream();
        let broken = || io::Error::new(io::ErrorKind::ConnectionReset, "cut");
        loop {
            let data = tokio::select! {
                data = body.next() => data,
                _ = cuts.changed() => {
                    let half = Ok(Frame::data(Bytes::from_static(HALF_AN_EVENT)));
                    let _ = to.send(half).await;
                    let _ = to.send(Err(broken())).await;
                    return;
                }
                expired = begins(&mut fault), if watch => {
                    let last = if expired { Ok(Frame::data(Bytes::from_static(EXPIRED))) } else { Err(broken()) };
                    let _ = to.send(last).await;
                    return;
                }
                // Nobody listens any more; a watch may have nothing to say for long.
                () = to.closed() => return,
            };
            match data {
                Some(Ok(data)) => {
                    if to.send(Ok(Frame::data(data))).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    let _ = to.send(Err(io::Error::other(error))).await;
                    return;
                }
                None => return,
            }
        }
    }
}

type Answer = http_body_util::combinators::BoxBody<Bytes, io::Error>;

fn whole(bytes: Bytes) -> Answer {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// Waits until it is down, or is not.
async fn is_down(fault: &mut watch::Receiver<Fault>, down: bool) {
    // The sender lives as long as whoever waits.
    let _ = fault.wait_for(|fault| (*fault == Fault::Down) == down).await;
}

/// Waits for a fault; whether it is that of watches.
async fn begins(fault: &mut watch::Receiver<Fault>) -> bool {
    fault.wait_for(|fault| *fault != Fault::None).await.is_ok_and(|fault| *fault == Fault::Expired)
}

async fn bind(address: SocketAddr) -> Option<TcpListener> {
    let trying = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PORT_LIMIT, trying).await.ok()
}

/// What belongs to the one connection or names the one server.
fn is_of_the_connection(name: &HeaderName) -> bool {
    [header::HOST, header::AUTHORIZATION, header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH]
        .contains(name)
}

/// What a request is for.
struct What {
    verb: &'static str,
    lease: bool,
}

impl What {
    fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let watches = query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"));
        let verb = match *request.method() {
            Method::GET if watches => "watch",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "other",
        };
        Self { verb, lease: request.uri().path().contains("/leases/") }
    }

    /// Whether it reads what feeds read. Leases are exempt in a busy API server, too.
    fn is_reading(&self) -> bool {
        matches!(self.verb, "get" | "watch") && !self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let of = |method: &str, uri: &str| {
            let what = What::of(&Request::builder().method(method).uri(uri).body(()).unwrap());
            (what.verb, what.is_reading())
        };
        assert_eq!(of("GET", "/api/v1/services?watch=true&limit=1"), ("watch", true));
        assert_eq!(of("GET", "/api/v1/services?fieldSelector=watch%3Dtrue"), ("get", true));
        assert_eq!(of("GET", "/apis/coordination.k8s.io/v1/namespaces/a/leases/nuncio"), ("get", false));
        assert_eq!(of("PATCH", "/x"), ("patch", false));
    }

    #[test]
    fn an_expired_watch_is_one_event() {
        let event: serde_json::Value = serde_json::from_slice(EXPIRED).unwrap();
        assert_eq!((&event["type"], &event["object"]["code"]), (&"ERROR".into(), &410.into()));
        assert!(serde_json::from_slice::<serde_json::Value>(HALF_AN_EVENT).is_err());
    }
}
