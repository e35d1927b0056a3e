//! gRPC on the server's side, by hand on hyper (a role shares its port with plain HTTP), and the role `grpc_echo`.

use super::{Answer, respond};
use crate::kat::{go, grpc};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::time::Duration;

/// Codes of gRPC that are used here.
pub const OK: u32 = 0;
/// The request is not what the method takes.
pub const INVALID_ARGUMENT: u32 = 3;
/// There is no such method.
pub const UNIMPLEMENTED: u32 = 12;

/// Reads the messages of a call, one after another.
pub struct Messages {
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    /// Those in that body.
    pub fn of(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; `None` at the end, and when a message is too large or the stream breaks.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut bytes = std::mem::take(&mut self.buffer).freeze();
            if let Some((_, message)) = grpc::take_frame(&mut bytes) {
                self.buffer = bytes.into();
                return Some(message);
            }
            self.buffer = bytes.into();
            if self.buffer.len() > grpc::LARGEST + 5 {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

/// An answer of gRPC: headers, a message when it went well, and the status in the trailers.
pub fn reply(headers: HeaderMap, message: Option<Vec<u8>>, status: u32, text: &str) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    if !text.is_empty() {
        trailers.insert("grpc-message", super::header_value(text.as_bytes()));
    }
    let data = message.map(|message| Ok::<_, Infallible>(Frame::data(Bytes::from(message))));
    let frames: Vec<_> = data.into_iter().chain([Ok(Frame::trailers(trailers))]).collect();
    let mut answer = Response::new(StreamBody::new(tokio_stream::iter(frames)).boxed_unsync());
    *answer.headers_mut() = headers;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    // Go's library announces its trailers, and proxies pass that on.
    for name in ["Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"] {
        answer.headers_mut().append(header::TRAILER, HeaderValue::from_static(name));
    }
    answer
}

/// True for a request of gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What a server of gRPC says to anything else.
pub fn not_grpc() -> Answer {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    respond(answer, b"invalid gRPC request content-type\n".to_vec(), true)
}

/// The role `grpc_echo`.
#[derive(Clone)]
pub struct Echo {
    /// What it calls itself.
    pub backend: String,
}

impl Echo {
    /// Answers a call with its metadata.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if !is_grpc(&head.headers) {
            return not_grpc();
        }
        if head.uri.path() != grpc::ECHO {
            return reply(HeaderMap::new(), None, UNIMPLEMENTED, "unknown method");
        }
        let Some(Ok(_)) = Messages::of(body).next().await.map(grpc::EchoRequest::decode) else {
            return reply(HeaderMap::new(), None, INVALID_ARGUMENT, "no EchoRequest");
        };
        let metadata = metadata(&head);
        let first = |name: &str| metadata.get(name).and_then(|all| all.first()).map(String::as_str).unwrap_or_default();
        if let Ok(delay) = first("kat-req-echo-requested-backend-delay").parse() {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let mut headers = HeaderMap::new();
        for wanted in metadata.get("kat-req-echo-requested-headers").into_iter().flatten() {
            let Ok(name) = HeaderName::from_bytes(wanted.to_ascii_lowercase().as_bytes()) else { continue };
            for value in metadata.get(name.as_str()).into_iter().flatten() {
                headers.append(&name, super::header_value(value.as_bytes()));
            }
        }
        // A status that is no number counts as none.
        let status = first("kat-req-echo-requested-status").parse().unwrap_or(OK);
        if status != OK {
            return reply(headers, None, status, "kat-req-echo-requested-status");
        }
        let joined: HashMap<String, String> =
            metadata.iter().map(|(name, values)| (name.clone(), values.join(","))).collect();
        let mut returned = joined.clone();
        returned.insert("date".to_owned(), go::Moment::now().rfc1123());
        let is_secure = first("x-forwarded-proto") == "https";
        let echo = grpc::EchoResponse {
            backend: self.backend.clone(),
            request: Some(grpc::EchoedRequest {
                headers: joined,
                tls: is_secure.then_some(grpc::EchoedTls { enabled: true }),
            }),
            response: Some(grpc::EchoedResponse { headers: returned }),
        };
        reply(headers, Some(grpc::frame(&echo)), OK, "")
    }
}

/// The metadata of a call as a Go program sees it.
fn metadata(head: &http::request::Parts) -> BTreeMap<String, Vec<String>> {
    let mut all = go::headers(&head.headers, str::to_ascii_lowercase);
    for name in grpc::RESERVED {
        all.remove(*name);
    }
    let host = all.remove("host").and_then(|all| all.into_iter().next());
    if let Some(authority) = head.uri.authority().map(|authority| authority.as_str().to_owned()).or(host) {
        all.insert(":authority".to_owned(), vec![authority]);
    }
    all
}
