//! Queries over WebSocket.

use super::batch::Failure;
use super::go;
use super::query::{Outcome, Query};
use super::transport::{self, Url};
use futures::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages that are kept; an endless talker is cut off.
const MOST: usize = 10_000;

/// Connects, sends all messages and a normal close, and listens until the other side closes.
pub async fn exchange(query: &Query) -> Result<Outcome, Failure> {
    let url = Url::parse(query.url()).map_err(Failure::Query)?;
    let request = request(query, &url).map_err(Failure::Query)?;
    let connection = transport::connect(query, &url, &[]).await?;
    let fate = connection.fate;
    let upgraded = tokio_tungstenite::client_async(request, connection.stream).await;
    let (mut socket, response) = upgraded.map_err(|error| {
        Failure::Query(match error {
            Error::Http(_) | Error::Protocol(_) => "websocket: bad handshake".to_owned(),
            other => fate.reason().unwrap_or_else(|| other.to_string()),
        })
    })?;
    let mut outcome = Outcome { status: Some(response.status().as_u16()), ..Outcome::default() };
    outcome.headers = Some(go::headers(response.headers(), go::canonical));
    let mut sent = Ok(());
    for text in query.list("messages") {
        sent = socket.send(Message::text(text)).await;
        if sent.is_err() {
            break;
        }
    }
    if sent.is_ok() {
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sent = socket.send(Message::Close(Some(close))).await;
    }
    let mut messages = Vec::new();
    let mut closed = None;
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) if messages.len() < MOST => messages.push(text.to_string()),
            Ok(Message::Binary(bytes)) if messages.len() < MOST => {
                messages.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            Ok(Message::Close(frame)) => closed = Some(frame.map_or(1005, |frame| u16::from(frame.code))),
            Ok(_) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => break,
            Err(error) => {
                if closed.is_none() {
                    let reason = fate.reason().unwrap_or_else(|| error.to_string());
                    outcome.error = Some(format!("websocket: close 1006 (abnormal closure): unexpected {reason}"));
                }
                break;
            }
        }
    }
    match closed {
        Some(1000) => {}
        Some(code) => outcome.error = Some(format!("websocket: close {code}")),
        None => {
            let reason = || sent.err().map_or_else(|| "EOF".to_owned(), |error| error.to_string());
            outcome
                .error
                .get_or_insert_with(|| format!("websocket: close 1006 (abnormal closure): unexpected {}", reason()));
        }
    }
    outcome.messages = Some(messages);
    Ok(outcome)
}

fn request(query: &Query, url: &Url) -> Result<http::Request<()>, String> {
    let plain = format!("ws://{}{}", url.authority(), url.target);
    let mut request = plain.into_client_request().map_err(|error| error.to_string())?;
    for (name, text) in query.headers() {
        let key: HeaderName = name.parse().map_err(|_| format!("invalid header field name {name:?}"))?;
        let value = HeaderValue::from_str(text).map_err(|_| format!("invalid header field value {text:?}"))?;
        request.headers_mut().insert(key, value);
    }
    if let Some(cookies) = query.cookies().and_then(|cookies| HeaderValue::from_str(&cookies).ok()) {
        request.headers_mut().insert(http::header::COOKIE, cookies);
    }
    Ok(request)
}
