//! Queries over HTTP/1.1.

use super::batch::Failure;
use super::query::{Grpc, Outcome, Query};
use super::transport::{self, Url};
use super::{go, grpc};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;

/// Responses are read up to this size.
const LARGEST: usize = 64 << 20;

/// What Go's client says it is.
const USER_AGENT: &str = "Go-http-client/1.1";

/// Sends the query and waits for the whole response.
pub async fn exchange(query: &Query) -> Result<Outcome, Failure> {
    let failed = |text: String| Failure::Query(describe(query, &text));
    let url = Url::parse(query.url()).map_err(failed)?;
    if !matches!(url.scheme.as_str(), "http" | "https") {
        return Err(failed(format!("unsupported protocol scheme \"{}\"", url.scheme)));
    }
    let request = request(query, &url).map_err(failed)?;
    let connection = transport::connect(query, &url, &[]).await.map_err(|failure| match failure {
        Failure::Query(text) => failed(text),
        run => run,
    })?;
    let fate = connection.fate;
    let reason = |error: &hyper::Error| fate.reason().unwrap_or_else(|| error.to_string());
    let io = TokioIo::new(connection.stream);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.title_case_headers(true).max_headers(1000).max_buf_size(2 << 20);
    let (mut sender, driver) = builder.handshake(io).await.map_err(|error| failed(reason(&error)))?;
    // Ends with the connection: the sender and the response are the only ones that keep it open.
    let driver = tokio::spawn(driver);
    let response = sender.send_request(request).await.map_err(|error| failed(reason(&error)));
    let outcome = match response {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let mut outcome = Outcome { status: Some(head.status.as_u16()), ..Outcome::default() };
            outcome.headers = Some(response_headers(head.headers));
            if let Some(tls) = &connection.tls {
                tls.note(&mut outcome);
            }
            match Limited::new(body, LARGEST).collect().await {
                Ok(body) => read_body(query, &mut outcome, &body.to_bytes()),
                Err(_) => outcome.error = Some("unexpected EOF".to_owned()),
            }
            Ok(outcome)
        }
        Err(failure) => Err(failure),
    };
    driver.abort();
    outcome
}

/// The headers that Go's client shows: those that say how the body was transferred are gone with the transfer, and so is
/// the announcement that the connection ends.
fn response_headers(mut headers: HeaderMap) -> BTreeMap<String, Vec<String>> {
    let closes = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("close"));
    if headers.get_all(header::CONNECTION).iter().any(closes) {
        headers.remove(header::CONNECTION);
    }
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::TRAILER);
        headers.remove(header::CONTENT_LENGTH);
    }
    go::headers(&headers, go::canonical)
}

/// An error as Go's client words it: `Get "http://…": reason`.
pub fn describe(query: &Query, reason: &str) -> String {
    let method = query.method().to_ascii_lowercase();
    let mut letters = method.chars();
    let method = letters.next().map(|first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()));
    format!("{} \"{}\": {reason}", method.unwrap_or_default(), query.url())
}

fn request(query: &Query, url: &Url) -> Result<Request<Full<Bytes>>, String> {
    let body = match query.grpc() {
        Some(Grpc::Bridge) => Some(grpc::frame(&grpc::EchoRequest::of("foo"))),
        Some(Grpc::Web) => Some(STANDARD.encode(grpc::frame(&grpc::EchoRequest::of("foo"))).into_bytes()),
        _ => query.body()?,
    };
    let mut headers = HeaderMap::new();
    let host = query.host().map_or_else(|| url.authority(), ToOwned::to_owned);
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(|_| invalid("value", text));
    headers.insert(header::HOST, value(&host)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, text) in query.headers() {
        let key: HeaderName = name.parse().map_err(|_| invalid("name", name))?;
        match key {
            // These follow from the request itself.
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::TRAILER => {}
            header::USER_AGENT if text.is_empty() => {
                headers.remove(header::USER_AGENT);
            }
            header::USER_AGENT => {
                headers.insert(key, value(text)?);
            }
            key => {
                headers.append(key, value(text)?);
            }
        }
    }
    if let Some(cookies) = query.cookies() {
        headers.append(header::COOKIE, value(&cookies)?);
    }
    if let Some(user) = url.user.as_ref().filter(|_| !headers.contains_key(header::AUTHORIZATION)) {
        let user = if user.contains(':') { user.clone() } else { format!("{user}:") };
        headers.insert(header::AUTHORIZATION, value(&format!("Basic {}", STANDARD.encode(user)))?);
    }
    let method = query.method();
    let length = body.as_ref().map_or(0, Vec::len);
    if length > 0 || matches!(method, "POST" | "PUT" | "PATCH") {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !headers.contains_key(header::ACCEPT_ENCODING) && !headers.contains_key(header::RANGE) && method != "HEAD" {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let mut request = Request::new(Full::from(body.unwrap_or_default()));
    *request.method_mut() = method.parse().map_err(|_| format!("net/http: invalid method \"{method}\""))?;
    *request.uri_mut() = url.target.parse().map_err(|error| format!("invalid URL: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn invalid(what: &str, text: &str) -> String {
    format!("net/http: invalid header field {what} {text:?}")
}

fn read_body(query: &Query, outcome: &mut Outcome, bytes: &[u8]) {
    let message = match query.grpc() {
        Some(Grpc::Bridge) => bytes.get(5..).map(<[u8]>::to_vec),
        Some(Grpc::Web) => grpc::read_web(bytes).map(|(message, trailers)| {
            for (name, value) in trailers {
                outcome.headers.get_or_insert_default().entry(go::canonical(&name)).or_default().push(value);
            }
            message.unwrap_or_default()
        }),
        _ => return outcome.set_body(bytes),
    };
    outcome.body = Some(STANDARD.encode(bytes));
    outcome.text = message.filter(|message| !message.is_empty()).and_then(|message| grpc::read_echo(&message));
}
