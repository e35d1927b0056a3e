//! The role `grpc_als`: collects access logs over gRPC, and shows them over HTTP.

use super::call::{self, Messages};
use super::{Answer, respond};
use bytes::Bytes;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties, TcpAccessLogEntry,
};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries that are kept of each sort; a client that never deletes cannot fill the memory.
const MOST: usize = 100_000;

/// The role `grpc_als`.
#[derive(Clone, Default)]
pub struct AccessLog {
    logs: Arc<Mutex<Logs>>,
}

/// Entries by version (2, 3) and protocol.
#[derive(Default)]
struct Logs {
    http: [Vec<Value>; 2],
    tcp: [Vec<Value>; 2],
}

impl AccessLog {
    /// Takes a stream of entries, or answers a request about them.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let index = match head.uri.path() {
            "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs" => Some(0),
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs" => Some(1),
            _ => None,
        };
        if let Some(index) = index.filter(|_| call::is_grpc(&head.headers)) {
            let mut messages = Messages::of(body);
            while let Some(message) = messages.next().await {
                self.keep(index, message);
            }
            // An empty StreamAccessLogsResponse.
            return call::reply(HeaderMap::new(), Some(vec![0; 5]), call::OK, "");
        }
        let mut answer = Response::new(());
        let mut shown = Vec::new();
        match (head.uri.path(), head.method) {
            ("/logs", Method::GET) => {
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                shown = self.show().into_bytes();
            }
            ("/logs", Method::DELETE) => *self.logs() = Logs::default(),
            ("/logs", _) => *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED,
            _ => *answer.status_mut() = StatusCode::NOT_FOUND,
        }
        respond(answer, shown, head.version == Version::HTTP_2)
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        // What a panicking task left behind is still a list of entries.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, index: usize, message: Bytes) {
        let Ok(message) = StreamAccessLogsMessage::decode(message) else { return };
        let mut logs = self.logs();
        let (list, entries): (_, Vec<Value>) = match message.log_entries {
            Some(LogEntries::HttpLogs(logged)) => (&mut logs.http, logged.log_entry.iter().map(http_entry).collect()),
            Some(LogEntries::TcpLogs(logged)) => (&mut logs.tcp, logged.log_entry.iter().map(tcp_entry).collect()),
            None => return,
        };
        if let Some(list) = list.get_mut(index) {
            let room = MOST.saturating_sub(list.len());
            list.extend(entries.into_iter().take(room));
        }
    }

    fn show(&self) -> String {
        let logs = self.logs();
        // Go writes a list that was never filled as null.
        let list = |list: &Vec<Value>| if list.is_empty() { Value::Null } else { Value::from(list.clone()) };
        let ([http2, http3], [tcp2, tcp3]) = (&logs.http, &logs.tcp);
        json!({
            "alsv2-http": list(http2),
            "alsv2-tcp": list(tcp2),
            "alsv3-http": list(http3),
            "alsv3-tcp": list(tcp3),
        })
        .to_string()
    }
}

/// Fields that are set, by their names in the protocol, as Go's JSON has them.
struct Fields(Map<String, Value>);

impl Fields {
    fn new() -> Self {
        Self(Map::new())
    }

    fn text(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn number(mut self, name: &str, value: u64) -> Self {
        if value != 0 {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn map(mut self, name: &str, value: &HashMap<String, String>) -> Self {
        if !value.is_empty() {
            self.0.insert(name.to_owned(), json!(value));
        }
        self
    }

    fn part<T>(mut self, name: &str, value: Option<&T>, convert: fn(&T) -> Value) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), convert(value));
        }
        self
    }

    fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

fn http_entry(entry: &HttpAccessLogEntry) -> Value {
    Fields::new()
        .part("common_properties", entry.common_properties.as_ref(), common)
        .number("protocol_version", u64::try_from(entry.protocol_version).unwrap_or_default())
        .part("request", entry.request.as_ref(), request)
        .part("response", entry.response.as_ref(), response)
        .finish()
}

fn tcp_entry(entry: &TcpAccessLogEntry) -> Value {
    Fields::new()
        .part("common_properties", entry.common_properties.as_ref(), common)
        .part("connection_properties", entry.connection_properties.as_ref(), |connection| {
            Fields::new()
                .number("received_bytes", connection.received_bytes)
                .number("sent_bytes", connection.sent_bytes)
                .finish()
        })
        .finish()
}

fn common(common: &AccessLogCommon) -> Value {
    Fields::new()
        .text("upstream_cluster", &common.upstream_cluster)
        .text("route_name", &common.route_name)
        .text("upstream_transport_failure_reason", &common.upstream_transport_failure_reason)
        .part("start_time", common.start_time.as_ref(), |time| json!({ "seconds": time.seconds, "nanos": time.nanos }))
        .finish()
}

fn request(request: &HttpRequestProperties) -> Value {
    Fields::new()
        .number("request_method", u64::try_from(request.request_method).unwrap_or_default())
        .text("scheme", &request.scheme)
        .text("authority", &request.authority)
        .part("port", request.port.as_ref(), |port| json!({ "value": port.value }))
        .text("path", &request.path)
        .text("user_agent", &request.user_agent)
        .text("referer", &request.referer)
        .text("forwarded_for", &request.forwarded_for)
        .text("request_id", &request.request_id)
        .text("original_path", &request.original_path)
        .number("request_headers_bytes", request.request_headers_bytes)
        .number("request_body_bytes", request.request_body_bytes)
        .map("request_headers", &request.request_headers)
        .finish()
}

fn response(response: &HttpResponseProperties) -> Value {
    Fields::new()
        .part("response_code", response.response_code.as_ref(), |code| json!({ "value": code.value }))
        .number("response_headers_bytes", response.response_headers_bytes)
        .number("response_body_bytes", response.response_body_bytes)
        .map("response_headers", &response.response_headers)
        .map("response_trailers", &response.response_trailers)
        .text("response_code_details", &response.response_code_details)
        .finish()
}
