//! What few routes have: retries, CORS, hash policies, copies of requests, upgrades.

use crate::error_response;
use crate::proto::{any, bool_value, duration_ms, u32_value};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy as CorsMessage;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::Any;
use ir::{CorsPolicy, ForwardOptions, HashOn, Mirror, RetryPolicy};
use route::route_action::{HashPolicy, RequestMirrorPolicy, UpgradeConfig, hash_policy};
use std::collections::BTreeMap;

/// The name of the CORS filter, in the chain and as the key of a route's settings.
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// Adds the options to an action.
pub(crate) fn set(options: &ForwardOptions, out: &mut route::RouteAction) {
    if options.high_priority {
        out.set_priority(core::RoutingPriority::High);
    }
    out.retry_policy = options.retry.as_deref().map(retry);
    out.hash_policy = options.hash_on.iter().map(hash).collect();
    out.request_mirror_policies = options.mirror.iter().map(mirror).collect();
    let upgrades = options.upgrades.iter();
    out.upgrade_configs =
        upgrades.map(|name| UpgradeConfig { upgrade_type: name.to_string(), ..Default::default() }).collect();
}

/// The settings of a route for HTTP filters, ordered by filter.
pub(crate) fn per_filter(options: &ForwardOptions) -> BTreeMap<&'static str, Any> {
    let mut found = BTreeMap::new();
    found.extend(options.cors.as_deref().map(|policy| (CORS, any(&cors(policy)))));
    if let Some(rules) = options.errors.as_deref() {
        found.insert(error_response::OF_ROUTE, error_response::custom_response(rules));
        found.insert(error_response::REMEMBER, error_response::remember());
    }
    if options.without_default_errors {
        found.insert(error_response::OF_MODULE, error_response::switched_off());
    }
    found
}

fn retry(policy: &RetryPolicy) -> route::RetryPolicy {
    route::RetryPolicy {
        retry_on: policy.retry_on.to_owned(),
        num_retries: policy.num_retries.map(u32_value),
        per_try_timeout: policy.per_try_timeout_ms.map(duration_ms),
        ..Default::default()
    }
}

fn hash(hash_on: &HashOn) -> HashPolicy {
    use hash_policy::{ConnectionProperties, Cookie, Header, PolicySpecifier};
    let specifier = match hash_on {
        HashOn::Cookie { name, path, ttl_ms } => PolicySpecifier::Cookie(Cookie {
            name: name.to_string(),
            path: path.as_ref().map(|path| path.to_string()).unwrap_or_default(),
            ttl: ttl_ms.map(duration_ms),
            ..Default::default()
        }),
        HashOn::Header(name) => PolicySpecifier::Header(Header { header_name: name.to_string(), ..Default::default() }),
        HashOn::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
    };
    HashPolicy { policy_specifier: Some(specifier), ..Default::default() }
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: (mirror.percent < 100).then(|| core::RuntimeFractionalPercent {
            default_value: Some(FractionalPercent { numerator: mirror.percent, ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn cors(policy: &CorsPolicy) -> CorsMessage {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map(|text| text.to_string()).unwrap_or_default();
    let exact = |origin: &std::sync::Arc<str>| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(origin.to_string())),
        ..Default::default()
    };
    CorsMessage {
        allow_origin_string_match: policy.origins.iter().map(exact).collect(),
        allow_methods: text(&policy.methods),
        allow_headers: text(&policy.headers),
        expose_headers: text(&policy.exposed_headers),
        max_age: policy.max_age.map(|seconds| seconds.to_string()).unwrap_or_default(),
        allow_credentials: policy.credentials.then(|| bool_value(true)).flatten(),
        ..Default::default()
    }
}
