//! gRPC as the kat tools need it: frames, the echo messages, and queries over real gRPC.

use super::batch::Failure;
use super::query::{Outcome, Query};
use super::transport::{self, Url};
use super::{go, http as plain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;

/// The only method that the client calls.
pub const ECHO: &str = "/echo.EchoService/Echo";

/// Largest message, both ways.
pub const LARGEST: usize = 5 << 20;

/// Metadata that belongs to gRPC itself; programs do not see or set it.
pub const RESERVED: &[&str] = &[
    "grpc-message-type",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "grpc-status-details-bin",
    "te",
];

/// `echo.EchoRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EchoRequest {
    /// Anything.
    #[prost(string, tag = "1")]
    pub data: String,
}

/// `echo.EchoResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct EchoResponse {
    /// Name of the backend.
    #[prost(string, tag = "1")]
    pub backend: String,
    /// What arrived.
    #[prost(message, optional, tag = "2")]
    pub request: Option<EchoedRequest>,
    /// What is sent back.
    #[prost(message, optional, tag = "3")]
    pub response: Option<EchoedResponse>,
}

/// `echo.Request`.
#[derive(Clone, PartialEq, Message)]
pub struct EchoedRequest {
    /// Metadata, several values joined by commas.
    #[prost(map = "string, string", tag = "1")]
    pub headers: HashMap<String, String>,
    /// Present when the client used TLS.
    #[prost(message, optional, tag = "2")]
    pub tls: Option<EchoedTls>,
}

/// `echo.Response`.
#[derive(Clone, PartialEq, Message)]
pub struct EchoedResponse {
    /// Metadata.
    #[prost(map = "string, string", tag = "1")]
    pub headers: HashMap<String, String>,
}

/// `echo.TLS`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EchoedTls {
    /// Whether the client used TLS.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
}

impl EchoRequest {
    /// A request with that data.
    pub fn of(data: &str) -> Self {
        Self { data: data.to_owned() }
    }
}

/// A message with the five bytes before it.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.encoded_len()).unwrap_or_default().to_be_bytes());
    // A Vec grows, so encoding into it cannot fail.
    let _ = message.encode(&mut bytes);
    bytes
}

/// Takes the first frame off the buffer, with its flags; `None` while it is incomplete.
pub fn take_frame(buffer: &mut Bytes) -> Option<(u8, Bytes)> {
    let mut head = buffer.get(..5)?;
    let (flags, length) = (head.get_u8(), usize::try_from(head.get_u32()).ok()?);
    if buffer.len() < length.checked_add(5)? {
        return None;
    }
    buffer.advance(5);
    Some((flags, buffer.split_to(length)))
}

/// Message and trailers of a gRPC-Web text body.
pub type Web = (Option<Vec<u8>>, Vec<(String, String)>);

/// Reads a gRPC-Web text body: pieces of base64, each padded for itself, in which frames and at last the trailers stand.
pub fn read_web(text: &[u8]) -> Option<Web> {
    let mut bytes = Vec::new();
    let letters: Vec<u8> = text.iter().copied().filter(|letter| !letter.is_ascii_whitespace()).collect();
    for group in letters.chunks(4) {
        let unpadded = group.iter().position(|letter| *letter == b'=').and_then(|end| group.get(..end));
        bytes.extend(STANDARD_NO_PAD.decode(unpadded.unwrap_or(group)).ok()?);
    }
    let mut rest = Bytes::from(bytes);
    let (mut message, mut trailers) = (None, Vec::new());
    while let Some((flags, payload)) = take_frame(&mut rest) {
        if flags & 0x80 == 0 {
            message = Some(payload.to_vec());
            continue;
        }
        for line in String::from_utf8_lossy(&payload).lines() {
            if let Some((name, value)) = line.split_once(':') {
                trailers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
    }
    Some((message, trailers))
}

/// The JSON form of an encoded `EchoResponse`.
pub fn read_echo(message: &[u8]) -> Option<Value> {
    let echo = EchoResponse::decode(message).ok()?;
    let mut text = serde_json::Map::new();
    if !echo.backend.is_empty() {
        text.insert("backend".to_owned(), echo.backend.into());
    }
    let with_headers = |headers: &HashMap<String, String>| {
        if headers.is_empty() { json!({}) } else { json!({ "headers": headers }) }
    };
    if let Some(request) = echo.request {
        let mut value = with_headers(&request.headers);
        if let (Some(tls), Some(fields)) = (request.tls, value.as_object_mut()) {
            fields.insert("tls".to_owned(), if tls.enabled { json!({ "enabled": true }) } else { json!({}) });
        }
        text.insert("request".to_owned(), value);
    }
    if let Some(response) = echo.response {
        text.insert("response".to_owned(), with_headers(&response.headers));
    }
    Some(text.into())
}

/// Calls the echo method over HTTP/2.
pub async fn exchange(query: &Query) -> Result<Outcome, Failure> {
    let failed = |text: String| Failure::Query(plain::describe(query, &text));
    let url = Url::parse(query.url()).map_err(failed)?;
    if url.path != ECHO {
        return Err(Failure::Query(format!("GRPC path {} is not {ECHO}", url.path)));
    }
    let unavailable = |text: String| {
        let text = format!("connection error: desc = \"transport: {text}\"");
        Failure::Query(format!("rpc error: code = Unavailable desc = {text}"))
    };
    let connection = transport::connect(query, &url, &[b"h2"]).await.map_err(|failure| match failure {
        Failure::Query(text) => unavailable(format!("Error while dialing {text}")),
        run => run,
    })?;
    let request = request(query, &url).map_err(failed)?;
    let fate = connection.fate;
    let lost = |error: hyper::Error| unavailable(fate.reason().unwrap_or_else(|| error.to_string()));
    let io = TokioIo::new(connection.stream);
    let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(&lost)?;
    let driver = tokio::spawn(driver);
    let response = sender.send_request(request).await.map_err(&lost);
    let outcome = match response {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let collected = Limited::new(body, LARGEST + 5).collect().await;
            let (message, trailers) = match collected {
                Ok(collected) => {
                    let trailers = collected.trailers().cloned();
                    let mut bytes = collected.to_bytes();
                    (take_frame(&mut bytes).map(|(_, message)| message), trailers)
                }
                Err(error) => return Err(unavailable(fate.reason().unwrap_or_else(|| error.to_string()))),
            };
            finish(&head, message.as_deref(), &trailers.unwrap_or_default())
        }
        Err(failure) => Err(failure),
    };
    driver.abort();
    let mut outcome = outcome?;
    if let Some(tls) = &connection.tls {
        tls.note(&mut outcome);
    }
    Ok(outcome)
}

/// A body of unstated length: gRPC is a stream, also when it has one message.
type Once = StreamBody<tokio_stream::Once<Result<Frame<Bytes>, Infallible>>>;

fn request(query: &Query, url: &Url) -> Result<Request<Once>, String> {
    let port = url.connect_port();
    let authority = query.host().map_or_else(|| format!("{}:{port}", url.host), ToOwned::to_owned);
    let mut headers = HeaderMap::new();
    for (name, text) in query.headers() {
        let name = name.to_ascii_lowercase();
        let own = ["host", "content-type", "user-agent"].contains(&name.as_str());
        if own || RESERVED.contains(&name.as_str()) || name.starts_with(':') {
            continue;
        }
        let key: HeaderName = name.parse().map_err(|_| format!("header key {name:?} contains illegal characters"))?;
        headers.append(key, HeaderValue::from_str(text).map_err(|_| format!("header value of {name:?} is not text"))?);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    // The version that upstream's client is built with; echoes contain it.
    headers.insert(header::USER_AGENT, HeaderValue::from_static("grpc-go/1.44.1-dev"));
    let message = Bytes::from(frame(&EchoRequest::of("real gRPC")));
    let mut request = Request::new(StreamBody::new(tokio_stream::once(Ok(Frame::data(message)))));
    *request.method_mut() = http::Method::POST;
    let scheme = if url.is_secure() { "https" } else { "http" };
    *request.uri_mut() =
        format!("{scheme}://{authority}{ECHO}").parse().map_err(|error| format!("invalid authority: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn finish(head: &http::response::Parts, message: Option<&[u8]>, trailers: &HeaderMap) -> Result<Outcome, Failure> {
    let find = |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).and_then(|value| value.to_str().ok());
    let written = find("grpc-status").and_then(|status| status.parse::<u32>().ok());
    let (status, text) = match written {
        Some(status) => (status, find("grpc-message").map(percent_decoded).unwrap_or_default()),
        None => without_status(head),
    };
    if status == 14 {
        return Err(Failure::Query(format!("rpc error: code = Unavailable desc = {text}")));
    }
    let headers = [("Grpc-Status", status.to_string()), ("Grpc-Message", text)];
    let mut outcome = Outcome { status: Some(200), body: Some(String::new()), ..Outcome::default() };
    outcome.headers = Some(headers.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect());
    if status == 0 {
        outcome.text = message.and_then(read_echo);
    }
    Ok(outcome)
}

/// What an HTTP status means when there is none of gRPC ("HTTP to gRPC Status Code Mapping" of its documentation).
fn without_status(head: &http::response::Parts) -> (u32, String) {
    let code = match head.status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    };
    let reason = head.status.canonical_reason().unwrap_or_default();
    let status = head.status.as_u16();
    let kind = head.headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let kind = kind.unwrap_or_default();
    let text = format!("unexpected HTTP status code received from server: {status} ({reason})");
    (code, format!("{text}; transport: received unexpected content-type {kind:?}"))
}

fn percent_decoded(text: &str) -> String {
    go::unescape(text, false).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn web_bodies_may_be_padded_in_the_middle() {
        let message = frame(&EchoRequest::of("abc"));
        let trailers = b"\x80\0\0\0\x0egrpc-status:7\n";
        let text = STANDARD.encode(&message) + &STANDARD.encode(trailers);
        assert!(text.trim_end_matches('=').contains('='), "{text}");
        let (found, trailers) = read_web(text.as_bytes()).unwrap();
        assert_eq!(found.as_deref(), Some(&message[5..]));
        assert_eq!(trailers, [("grpc-status".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn frames_are_complete_or_not_there() {
        let mut buffer = Bytes::from_static(b"\0\0\0\0\x02a");
        assert_eq!(take_frame(&mut buffer), None);
        let mut buffer = Bytes::from_static(b"\0\0\0\0\x02abc");
        assert_eq!(take_frame(&mut buffer), Some((0, Bytes::from_static(b"ab"))));
        assert_eq!(buffer, "c");
    }
}
