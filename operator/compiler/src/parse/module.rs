//! The `ambassador` Module: an untyped map, read key by key. A bad value falls back to its default; a guard that cannot
//! be honoured closes everything it would have guarded.

mod access_log;
mod defaults;
mod filters;
mod unrendered;

use super::config::Config;
use super::report::Report;
use super::{
    ClusterDefaults, HttpDefaults, Limits, Parsed, ParsedLoadBalancer, ParsedModule, ParsedProbe, RouteDefaults,
    ServiceRef, TlsDefaults, cluster, error_response, policy,
};
use crate::check::{limits, regex, service, text::quote};
use api::v3alpha1::ModuleSpec;
use defaults::Defaults;
use ir::{ClientCertificateHeader, Effect, ForwardCertificate, ObjectKey, ProblemKind, UnderscoreAction};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Judges a Module. Only the one named `ambassador` has settings.
pub fn module(about: &ObjectKey, spec: &ModuleSpec, limits: &Limits, report: &mut Report) -> Parsed {
    match &*about.name {
        "ambassador" => return Parsed::Module(Arc::new(read(&spec.config, limits, report))),
        "tls" => report.note("config", ProblemKind::Deprecated, "TLSContexts take the place of the Module `tls`"),
        _ => report.note("", ProblemKind::NoEffect, "only the Module named `ambassador` has an effect"),
    }
    Parsed::Inert
}

impl Default for ParsedModule {
    fn default() -> Self {
        let about = ObjectKey::new(ir::Kind::Module, "", "ambassador");
        read(&Map::new(), &Limits::default(), &mut Report::new(&about))
    }
}

fn read(config: &Map<String, Value>, limits: &Limits, report: &mut Report) -> ParsedModule {
    let mut config = Config::new(config, report);
    let defaults = defaults::defaults(&mut config, limits);
    let secret_namespacing = defaults.secret_namespacing.unwrap_or(true);
    let mut module = ParsedModule {
        cluster: cluster_defaults(&mut config),
        http: http_defaults(&mut config),
        tls: TlsDefaults { secret_namespacing },
        probes: [
            probe(&mut config, "liveness_probe", "/ambassador/v0/check_alive"),
            probe(&mut config, "readiness_probe", "/ambassador/v0/check_ready"),
            probe(&mut config, "diagnostics", "/ambassador/v0/"),
        ],
        route: route_defaults(&mut config, defaults),
    };
    module.route.has_errors = !module.http.errors.is_empty();
    unrendered::check(&mut config);
    config.leftovers();
    module
}

fn route_defaults(config: &mut Config, defaults: Defaults) -> RouteDefaults {
    let closed = ["ip_allow", "ip_deny"].into_iter().find(|key| config.peek(key));
    unrendered::address_lists(config);
    let labels = config.get("default_labels").and_then(Value::as_object);
    RouteDefaults {
        timeout_ms: config.milliseconds("cluster_request_timeout_ms").unwrap_or(3000),
        add_request_headers: defaults.add_request_headers,
        add_response_headers: defaults.add_response_headers,
        remove_request_headers: defaults.remove_request_headers,
        remove_response_headers: defaults.remove_response_headers,
        stats_name: defaults.stats_name,
        add_linkerd_headers: config.boolean("add_linkerd_headers").unwrap_or(false),
        regex_max_size: config
            .ranged("regex_max_size", 1..=regex::LARGEST_PROGRAM_SIZE)
            .unwrap_or(regex::DEFAULT_MAX_PROGRAM_SIZE),
        resolver: config.name("resolver"),
        own_namespace_for_services: config.boolean("use_ambassador_namespace_for_service_resolution").unwrap_or(false),
        default_label_domain: config.name("default_label_domain").unwrap_or_else(|| "ambassador".into()),
        default_labels: labels.into_iter().flat_map(Map::keys).map(|domain| Arc::from(domain.as_str())).collect(),
        retry: config
            .decoded("retry_policy")
            .and_then(|found| policy::retry("config.retry_policy", &found, config.report)),
        cors: config.decoded("cors").map(|found| policy::cors("config.cors", &found, config.report)),
        has_errors: false,
        closed: closed.map(Arc::from),
    }
}

fn cluster_defaults(config: &mut Config) -> ClusterDefaults {
    ClusterDefaults {
        idle_timeout_ms: config.milliseconds("cluster_idle_timeout_ms"),
        max_connection_ms: config.milliseconds("cluster_max_connection_lifetime_ms"),
        circuit_breakers: config.decoded("circuit_breakers").map(|list: Vec<api::v3alpha1::CircuitBreaker>| {
            cluster::circuit_breakers("config.circuit_breakers", &list, config.report)
        }),
        keepalive: keepalive(config),
        load_balancer: load_balancer(config),
        enable_ipv4: config.boolean("enable_ipv4").unwrap_or(true),
        enable_ipv6: config.boolean("enable_ipv6").unwrap_or(false),
    }
}

/// The Module spells the idle time `time`.
fn keepalive(config: &mut Config) -> Option<ir::Keepalive> {
    config.peek("keepalive").then(|| {
        let mut inner = config.inner("keepalive");
        ir::Keepalive {
            probes: inner.count("probes"),
            idle_time_s: inner.count("time").or_else(|| inner.count("idle_time")),
            interval_s: inner.count("interval"),
        }
    })
}

fn load_balancer(config: &mut Config) -> Option<ParsedLoadBalancer> {
    let found: api::v3alpha1::LoadBalancer = config.decoded("load_balancer")?;
    cluster::load_balancer("config.load_balancer", &found, Effect::Degraded, config.report)
}

fn http_defaults(config: &mut Config) -> HttpDefaults {
    HttpDefaults {
        use_remote_address: config.boolean("use_remote_address").unwrap_or(true),
        server_name: config.text("server_name").unwrap_or_else(|| "envoy".into()),
        accept_http_10: config.boolean("enable_http10").unwrap_or(false),
        allow_chunked_length: config.boolean("allow_chunked_length").unwrap_or(false),
        preserve_external_request_id: config.boolean("preserve_external_request_id").unwrap_or(false),
        strip_matching_host_port: config.boolean("strip_matching_host_port").unwrap_or(false),
        merge_slashes: config.boolean("merge_slashes").unwrap_or(false),
        reject_escaped_slashes: config.boolean("reject_requests_with_escaped_slashes").unwrap_or(false),
        suppress_envoy_headers: config.boolean("suppress_envoy_headers").unwrap_or(false),
        max_request_headers_kb: config.ranged("max_request_headers_kb", 1..=limits::REQUEST_HEADERS_KB),
        idle_timeout_ms: config.milliseconds("listener_idle_timeout_ms"),
        headers_with_underscores: underscores(config),
        proper_case: config.boolean("proper_case").unwrap_or(false),
        client_certificate: client_certificate(config),
        buffer_limit_bytes: config.count("buffer_limit_bytes"),
        access_log: access_log::access_log(config),
        errors: error_response::of_module(config),
        filters: filters::filters(config),
    }
}

fn client_certificate(config: &mut Config) -> ClientCertificateHeader {
    let mode = config.name("forward_client_cert_details").and_then(|text| match &*text {
        "SANITIZE" => Some(ForwardCertificate::Sanitize),
        "FORWARD_ONLY" => Some(ForwardCertificate::ForwardOnly),
        "APPEND_FORWARD" => Some(ForwardCertificate::AppendForward),
        "SANITIZE_SET" => Some(ForwardCertificate::SanitizeSet),
        "ALWAYS_FORWARD_ONLY" => Some(ForwardCertificate::AlwaysForwardOnly),
        other => {
            let detail = format!(
                "{} is none of SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY",
                quote(other)
            );
            config.report.degrade("config.forward_client_cert_details", ProblemKind::InvalidValue, detail);
            None
        }
    });
    let mut details = config.inner("set_current_client_cert_details");
    let mut on = |key: &str| details.boolean(key).unwrap_or(false);
    let (subject, cert, chain, dns, uri) = (on("subject"), on("cert"), on("chain"), on("dns"), on("uri"));
    details.leftovers();
    ClientCertificateHeader { mode, subject, cert, chain, dns, uri }
}

fn underscores(config: &mut Config) -> Option<UnderscoreAction> {
    let text = config.name("headers_with_underscores_action")?;
    match &*text {
        "ALLOW" => Some(UnderscoreAction::Allow),
        "REJECT_REQUEST" => Some(UnderscoreAction::RejectRequest),
        "DROP_HEADER" => Some(UnderscoreAction::DropHeader),
        other => {
            let detail = format!("{} is none of ALLOW, REJECT_REQUEST, DROP_HEADER", quote(other));
            config.report.degrade("config.headers_with_underscores_action", ProblemKind::InvalidValue, detail);
            None
        }
    }
}

fn probe(config: &mut Config, key: &str, prefix: &str) -> ParsedProbe {
    let mut inner = config.inner(key);
    let enabled = inner.boolean("enabled").unwrap_or(true);
    let prefix = inner.name("prefix").unwrap_or_else(|| prefix.into());
    let rewrite = inner.text("rewrite").unwrap_or_else(|| prefix.clone());
    let written = inner.name("service");
    inner.take("allow_non_local");
    let local = || ServiceRef {
        tls_scheme: Some(false),
        host: "127.0.0.1".into(),
        port: Some(8877),
        text: "127.0.0.1:8877".into(),
    };
    let service = match written.as_deref().map(service::parse) {
        None => ServiceRef { tls_scheme: None, ..local() },
        Some(Ok(found)) => found.value,
        Some(Err(reason)) => {
            config.report.degrade(&format!("config.{key}.service"), ProblemKind::InvalidService, reason);
            ServiceRef { tls_scheme: None, ..local() }
        }
    };
    ParsedProbe { enabled, prefix, rewrite, service }
}

#[cfg(test)]
mod tests;
