//! The role `grpc_auth`: Envoy's external authorization, v2 or v3. The messages of both versions are the same on the
//! wire as far as they are used here, only the method's name differs.

use super::Answer;
use super::call::{self, Messages};
use crate::kat::{go, grpc};
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::BoolValue;
use envoy_types::pb::google::rpc::Status;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use prost::Message;
use serde_json::json;
use std::collections::BTreeMap;

/// gRPC's code for a client that is not who it should be.
const UNAUTHENTICATED: i32 = 16;

/// The role `grpc_auth`.
#[derive(Clone)]
pub struct Auth {
    /// What it calls itself.
    pub backend: String,
    /// Version 3 of Envoy's interface, else 2.
    pub v3: bool,
}

/// Headers to add: name, value, and whether existing ones stay.
type Added = Vec<(String, String, bool)>;

impl Auth {
    /// Judges a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if !call::is_grpc(&head.headers) {
            return call::not_grpc();
        }
        let version = if self.v3 { "v3" } else { "v2" };
        if head.uri.path() != format!("/envoy.service.auth.{version}.Authorization/Check") {
            return call::reply(HeaderMap::new(), None, call::UNIMPLEMENTED, "unknown method");
        }
        let Some(Ok(check)) = Messages::of(body).next().await.map(CheckRequest::decode) else {
            return call::reply(HeaderMap::new(), None, call::INVALID_ARGUMENT, "no CheckRequest");
        };
        let attributes = check.attributes.unwrap_or_default();
        let extensions: BTreeMap<_, _> = attributes.context_extensions.into_iter().collect();
        let asked = attributes.request.and_then(|request| request.http).unwrap_or_default();
        let response = self.judge(version, &extensions, &asked);
        call::reply(HeaderMap::new(), Some(grpc::frame(&response)), call::OK, "")
    }

    fn judge(&self, version: &str, extensions: &BTreeMap<String, String>, asked: &HttpRequest) -> CheckResponse {
        let header = |name: &str| asked.headers.get(name).map(String::as_str).unwrap_or_default();
        let status = match header("kat-req-extauth-requested-status") {
            "" => 200,
            text => text.parse().unwrap_or(500),
        };
        let mut added: Added = Vec::new();
        let mut add = |name: &str, value: &str, append: bool| {
            added.push((go::canonical(name.trim()), value.trim().to_owned(), append));
        };
        add("status", &status.to_string(), false);
        if status != 200 {
            for name in header("kat-req-extauth-requested-header").split(',').map(str::trim) {
                if let Some(value) = asked.headers.get(&name.to_ascii_lowercase()) {
                    add(name, value, false);
                }
            }
        }
        for pair in header("kat-req-extauth-append").split(';') {
            if let Some((name, value)) = pair.split_once('=') {
                add(name, value, true);
            }
        }
        // Upstream splits an empty list into one empty name.
        for name in header("kat-req-extauth-requested-cookie").split(',').map(str::trim) {
            add("set-cookie", &format!("{name}={name}"), false);
        }
        if !header("kat-req-extauth-requested-location").is_empty() {
            add("location", header("kat-req-extauth-requested-location"), false);
        }
        add("kat-resp-extauth-protocol-version", version, false);
        if !extensions.is_empty() {
            add("kat-resp-extauth-context-extensions", &json!(extensions).to_string(), false);
        }
        let headers = options(&added);
        if status == 200 {
            let allowed = OkHttpResponse { headers, ..OkHttpResponse::default() };
            return CheckResponse {
                status: Some(Status::default()),
                http_response: Some(HttpResponse::OkResponse(allowed)),
                ..CheckResponse::default()
            };
        }
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: status }),
            headers,
            body: self.report(status, &added, asked),
        };
        CheckResponse {
            status: Some(Status { code: UNAUTHENTICATED, ..Status::default() }),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            ..CheckResponse::default()
        }
    }

    fn report(&self, status: i32, added: &Added, asked: &HttpRequest) -> String {
        let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value, append) in added {
            let values = headers.entry(name).or_default();
            if !append && name != "Set-Cookie" {
                values.clear();
            }
            values.push(value);
        }
        let mut arrived: BTreeMap<&str, Vec<&str>> =
            asked.headers.iter().map(|(name, value)| (name.as_str(), value.split(',').collect())).collect();
        if !asked.body.is_empty() {
            arrived.insert("body", vec![&asked.body]);
        }
        let report = json!({
            "backend": self.backend,
            "status": status,
            "headers": headers,
            "request": {
                "url": {
                    "fragment": asked.fragment,
                    "host": asked.host,
                    "path": asked.path,
                    "query": asked.query,
                    "scheme": asked.scheme,
                },
                "method": asked.method,
                "headers": arrived,
                "host": asked.host,
                "tls": { "enabled": false },
            },
        });
        format!("{report:#}")
    }
}

#[expect(deprecated, reason = "version 2 has no other way to say it, and Envoy still reads it in version 3")]
fn options(added: &Added) -> Vec<HeaderValueOption> {
    let option = |(name, value, append): &(String, String, bool)| HeaderValueOption {
        header: Some(HeaderValue { key: name.clone(), value: value.clone(), ..HeaderValue::default() }),
        append: Some(BoolValue { value: *append }),
        ..HeaderValueOption::default()
    };
    added.iter().map(option).collect()
}
