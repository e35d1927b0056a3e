//! The sample application: says who it is and what reached it.
//!
//! It answers every method and path with status 200 and the request as JSON, or as a small page when the client
//! prefers HTML. It speaks HTTP/1.1 and HTTP/2 without TLS on the same port.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Requests with larger bodies get 413, so that a client cannot fill the memory.
const BODY_LIMIT: usize = 1 << 20;

/// How long an application that was told to end goes on, so that no request is lost: until proxies know that it goes, and
/// have used each of their connections once more.
pub const LEAVING: Duration = Duration::from_secs(2);

/// One name and version, and where it listens; written `NAME=VERSION@ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// What the answers call the service.
    pub name: String,
    /// What the answers call its version.
    pub version: String,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
}

impl FromStr for Backend {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once('@')?)));
        let Some((name, (version, address))) = parts else {
            bail!("`{text}` is not of the form NAME=VERSION@ADDRESS:PORT");
        };
        let address = address.parse().with_context(|| format!("`{address}` is not an address with a port"))?;
        Ok(Self { name: name.to_owned(), version: version.to_owned(), address })
    }
}

/// Binds the backend's address. The returned listener knows the port that was chosen.
pub async fn bind(backend: &Backend) -> Result<TcpListener> {
    let Backend { name, version, address } = backend;
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {name} {version}"))
}

/// Serves connections until the future is dropped. Once `leaving` says so, each answer ends its connection, and after a
/// while those on which nobody asks end, too.
pub async fn serve(backend: Backend, listener: TcpListener, leaving: watch::Receiver<bool>) {
    let backend = Arc::new(backend);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or the peer is gone already: the next connection may do better.
            tokio::task::yield_now().await;
            continue;
        };
        let (backend, mut leaving) = (Arc::clone(&backend), leaving.clone());
        tokio::spawn(async move {
            let leaves = leaving.clone();
            let service =
                hyper::service::service_fn(move |request| answer(Arc::clone(&backend), request, *leaves.borrow()));
            let builder = auto::Builder::new(TokioExecutor::new());
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let left = async {
                if leaving.wait_for(|leaving| *leaving).await.is_err() {
                    std::future::pending::<()>().await;
                }
                // A client that sends just now would not know whether its request was taken.
                tokio::time::sleep(LEAVING / 2).await;
            };
            // A broken connection concerns its client only, and that one knows.
            tokio::select! {
                _ = &mut connection => return,
                () = left => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}

async fn answer(
    backend: Arc<Backend>,
    request: Request<Incoming>,
    leaving: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = respond_to(&backend, request).await;
    // HTTP/2 has a frame for that, and forbids the header.
    if leaving && response.version() != http::Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn respond_to(backend: &Backend, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut response = describe(backend, &head, body).await;
    *response.version_mut() = head.version;
    response
}

/// The request as an answer.
async fn describe(backend: &Backend, head: &http::request::Parts, body: Incoming) -> Response<Full<Bytes>> {
    let Ok(body) = http_body_util::Limited::new(body, BODY_LIMIT).collect().await else {
        return respond(http::StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "body too large\n".to_owned());
    };
    let seen = json!({
        "service": backend.name,
        "version": backend.version,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "host": host(head),
        "protocol": format!("{:?}", head.version),
        "headers": headers(&head.headers),
        "body_bytes": body.to_bytes().len(),
    });
    let (content_type, text) = if prefers_html(&head.headers) {
        ("text/html; charset=utf-8", page(backend, &seen))
    } else {
        ("application/json", format!("{seen:#}\n"))
    };
    respond(http::StatusCode::OK, content_type, text)
}

fn respond(status: http::StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// HTTP/2 carries the host in the request line, HTTP/1.1 in a header.
fn host(head: &http::request::Parts) -> Option<String> {
    let line = head.uri.authority().map(ToString::to_string);
    line.or_else(|| Some(String::from_utf8_lossy(head.headers.get(header::HOST)?.as_bytes()).into_owned()))
}

/// Headers by name; several values of one name are joined as the protocol allows.
fn headers(map: &HeaderMap) -> Value {
    let mut object = Map::new();
    for name in map.keys() {
        let values: Vec<_> = map.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        object.insert(name.to_string(), Value::String(values.join(", ")));
    }
    Value::Object(object)
}

fn prefers_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|range| range.trim().starts_with("text/html"))
}

fn page(backend: &Backend, seen: &Value) -> String {
    let title = escape(&format!("{} {}", backend.name, backend.version));
    let request = escape(&format!("{seen:#}"));
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui;max-width:48rem;\
         margin:3rem auto;padding:0 1rem}}pre{{overflow:auto;padding:1rem;border:1px solid #8884;border-radius:6px}}\
         </style><h1>{title}</h1><p>This request came through the gateway:<pre>{request}</pre></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::client::legacy::Client;

    async fn start() -> SocketAddr {
        start_until(watch::channel(false).1).await
    }

    async fn start_until(leaving: watch::Receiver<bool>) -> SocketAddr {
        let backend: Backend = "hello=v1@127.0.0.1:0".parse().unwrap();
        let listener = bind(&backend).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(backend, listener, leaving));
        address
    }

    #[tokio::test]
    async fn whoever_leaves_says_so_with_the_last_answer() {
        let (leave, leaving) = watch::channel(false);
        let address = start_until(leaving).await;
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut ask = async || {
            sender.ready().await.unwrap();
            let response =
                sender.send_request(Request::get("/").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            let announced = response.headers().contains_key(header::CONNECTION);
            response.into_body().collect().await.unwrap();
            announced
        };
        assert!(!ask().await);
        leave.send(true).unwrap();
        assert!(ask().await);
        connection.await.unwrap().unwrap();
        assert!(get(false, "*/*").await.1.contains("hello"), "others are served");
    }

    async fn get(http2: bool, accept: &str) -> (String, String) {
        let address = start().await;
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let request = Request::get(format!("http://{address}/a?b=c")).header("accept", accept);
        let response = client.request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn says_what_reached_it_over_both_protocols() {
        for (http2, protocol) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
            let (content_type, body) = get(http2, "*/*").await;
            let seen: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(content_type, "application/json");
            assert_eq!((&seen["service"], &seen["version"]), (&json!("hello"), &json!("v1")));
            assert_eq!((&seen["method"], &seen["path"]), (&json!("GET"), &json!("/a?b=c")));
            assert_eq!((&seen["protocol"], &seen["headers"]["accept"]), (&json!(protocol), &json!("*/*")));
        }
    }

    #[tokio::test]
    async fn a_browser_gets_an_escaped_page() {
        let (content_type, body) = get(false, "text/html,<b>").await;
        assert_eq!(content_type, "text/html; charset=utf-8");
        assert!(body.contains("&lt;b&gt;") && !body.contains("<b>"), "{body}");
    }

    #[test]
    fn a_backend_is_written_in_one_form() {
        let backend: Backend = "hello=v2@127.0.0.1:18082".parse().unwrap();
        assert_eq!((&*backend.name, &*backend.version, backend.address.port()), ("hello", "v2", 18082));
        for wrong in ["hello", "hello=v2", "hello@127.0.0.1:1", "hello=v2@127.0.0.1", "hello=v2@:80"] {
            assert!(wrong.parse::<Backend>().is_err(), "{wrong}");
        }
    }
}
