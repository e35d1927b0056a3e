//! The role `grpc_rls`: Envoy's rate-limit service, v2 or v3. What is used of the messages is the same in both.

use super::Answer;
use super::call::{self, Messages};
use crate::kat::{go, grpc};
use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use prost::Message;
use serde_json::json;
use std::collections::BTreeMap;

/// The role `grpc_rls`.
#[derive(Clone)]
pub struct RateLimit {
    /// What it calls itself.
    pub backend: String,
    /// Version 3 of Envoy's interface, else 2.
    pub v3: bool,
}

impl RateLimit {
    /// Judges a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if !call::is_grpc(&head.headers) {
            return call::not_grpc();
        }
        let version = if self.v3 { "v3" } else { "v2" };
        if head.uri.path() != format!("/envoy.service.ratelimit.{version}.RateLimitService/ShouldRateLimit") {
            return call::reply(HeaderMap::new(), None, call::UNIMPLEMENTED, "unknown method");
        }
        let message = Messages::of(body).next().await;
        let Some(Ok(asked)) = message.map(RateLimitRequest::decode) else {
            return call::reply(HeaderMap::new(), None, call::INVALID_ARGUMENT, "no RateLimitRequest");
        };
        let entries = asked.descriptors.into_iter().flat_map(|descriptor| descriptor.entries);
        let entries: BTreeMap<String, String> = entries.map(|entry| (entry.key, entry.value)).collect();
        let response = self.judge(version, &entries);
        call::reply(HeaderMap::new(), Some(grpc::frame(&response)), call::OK, "")
    }

    fn judge(&self, version: &str, entries: &BTreeMap<String, String>) -> RateLimitResponse {
        let entry = |name: &str| entries.get(name).map(String::as_str).unwrap_or_default();
        if entry("kat-req-rls-allow") == "true" {
            return RateLimitResponse { overall_code: Code::Ok.into(), ..RateLimitResponse::default() };
        }
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for pair in entry("kat-req-rls-headers-append").split(';') {
            if let Some((name, value)) = pair.split_once('=') {
                headers.insert(go::canonical(name.trim()), value.trim().to_owned());
            }
        }
        headers.insert("Content-Type".to_owned(), "application/json".to_owned());
        headers.insert("Kat-Resp-Rls-Protocol-Version".to_owned(), version.to_owned());
        let mut response = RateLimitResponse { overall_code: Code::OverLimit.into(), ..RateLimitResponse::default() };
        if self.v3 {
            let lists: BTreeMap<&String, [&String; 1]> = headers.iter().map(|(name, value)| (name, [value])).collect();
            let status = i32::from(Code::OverLimit);
            let report = json!({ "descriptors": "", "backend": self.backend, "status": status, "headers": lists });
            response.raw_body = format!("{report:#}").into_bytes();
        }
        let header = |(key, value)| HeaderValue { key, value, ..HeaderValue::default() };
        response.response_headers_to_add = headers.into_iter().map(header).collect();
        response
    }
}
