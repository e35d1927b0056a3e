//! The `ambassador` Module: an untyped map, read key by key. A bad value falls back to its default; a guard that cannot
//! be honoured closes everything it would have guarded.

use super::config::Config;
use super::report::Report;
use super::{
    ClusterDefaults, HttpDefaults, Limits, Parsed, ParsedLoadBalancer, ParsedModule, ParsedProbe, RouteDefaults,
    ServiceRef, TlsDefaults, cluster,
};
use crate::check::{format, limits, regex, service, text::quote};
use api::v3alpha1::ModuleSpec;
use ir::{AccessLog, AccessLogFormat, Checked, HeaderValue, ObjectKey, ProblemKind, UnderscoreAction};
use serde_json::{Map, Value};
use std::sync::Arc;

const TEXT_LOG: &str = "ACCESS [%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Keys and operators of the default JSON access log (upstream's, so that log pipelines go on working).
const JSON_LOG: [(&str, &str); 22] = [
    ("start_time", "START_TIME"),
    ("method", "REQ(:METHOD)"),
    ("path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"),
    ("protocol", "PROTOCOL"),
    ("response_code", "RESPONSE_CODE"),
    ("response_flags", "RESPONSE_FLAGS"),
    ("bytes_received", "BYTES_RECEIVED"),
    ("bytes_sent", "BYTES_SENT"),
    ("duration", "DURATION"),
    ("upstream_service_time", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)"),
    ("x_forwarded_for", "REQ(X-FORWARDED-FOR)"),
    ("user_agent", "REQ(USER-AGENT)"),
    ("request_id", "REQ(X-REQUEST-ID)"),
    ("authority", "REQ(:AUTHORITY)"),
    ("upstream_host", "UPSTREAM_HOST"),
    ("upstream_cluster", "UPSTREAM_CLUSTER"),
    ("upstream_local_address", "UPSTREAM_LOCAL_ADDRESS"),
    ("downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS"),
    ("downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"),
    ("requested_server_name", "REQUESTED_SERVER_NAME"),
    ("istio_policy_status", "DYNAMIC_METADATA(istio.mixer:status)"),
    ("upstream_transport_failure_reason", "UPSTREAM_TRANSPORT_FAILURE_REASON"),
];

/// Keys that upstream accepts and ignores.
const IGNORED: [&str; 12] = [
    "auth_enabled",
    "regex_type",
    "service_port",
    "statsd",
    "use_proxy_proto",
    "x_forwarded_proto_redirect",
    "xff_num_trusted_hops",
    "prune_unreachable_routes",
    "envoy_validation_timeout",
    "tls",
    "debug_mode",
    "error_response_overrides",
];

/// Keys that have an effect upstream and none here yet.
const NOT_YET: [&str; 15] = [
    "admin_port",
    "buffer",
    "cors",
    "enable_grpc_http11_bridge",
    "enable_grpc_web",
    "forward_client_cert_details",
    "grpc_stats",
    "gzip",
    "header_case_overrides",
    "lua_scripts",
    "proper_case",
    "retry_policy",
    "runtime_flags",
    "set_current_client_cert_details",
    "default_labels",
];

/// Judges a Module. Only the one named `ambassador` has settings.
pub fn module(about: &ObjectKey, spec: &ModuleSpec, limits: &Limits) -> Checked<Option<Parsed>> {
    let mut report = Report::new(about);
    let value = match &*about.name {
        "ambassador" => Parsed::Module(Arc::new(read(&spec.config, limits, &mut report))),
        "tls" => {
            report.note("config", ProblemKind::NotSupported, "the Module `tls` is not supported; use TLSContext");
            Parsed::Inert
        }
        _ => {
            report.note("", ProblemKind::NoEffect, "only the Module named `ambassador` has an effect");
            Parsed::Inert
        }
    };
    Checked { value: Some(value), problems: report.problems }
}

impl Default for ParsedModule {
    fn default() -> Self {
        let about = ObjectKey::new(ir::Kind::Module, "", "ambassador");
        read(&Map::new(), &Limits::default(), &mut Report::new(&about))
    }
}

fn read(config: &Map<String, Value>, limits: &Limits, report: &mut Report) -> ParsedModule {
    let mut config = Config::new(config, report);
    let module = ParsedModule {
        cluster: cluster_defaults(&mut config),
        http: http_defaults(&mut config),
        tls: TlsDefaults {
            secret_namespacing: config.inner("defaults").boolean("tls_secret_namespacing").unwrap_or(true),
        },
        probes: [
            probe(&mut config, "liveness_probe", "/ambassador/v0/check_alive"),
            probe(&mut config, "readiness_probe", "/ambassador/v0/check_ready"),
            probe(&mut config, "diagnostics", "/ambassador/v0/"),
        ],
        route: route_defaults(&mut config, limits),
    };
    for key in IGNORED {
        config.take(key);
    }
    for key in NOT_YET {
        if config.take(key).is_some() {
            config.report.degrade(
                &format!("config.{key}"),
                ProblemKind::NotSupported,
                format!("`{key}` is not supported yet and has no effect"),
            );
        }
    }
    config.leftovers();
    module
}

fn route_defaults(config: &mut Config, limits: &Limits) -> RouteDefaults {
    let closed = ["ip_allow", "ip_deny"].into_iter().find(|key| config.peek(key));
    for key in ["ip_allow", "ip_deny"] {
        if config.take(key).is_some() {
            let detail = format!(
                "`{key}` is not supported yet: every request is refused with 500, as without it all would get through"
            );
            config.report.degrade(&format!("config.{key}"), ProblemKind::NotSupported, detail);
        }
    }
    let default_labels = config.get("default_labels").and_then(Value::as_object);
    let default_labels =
        default_labels.into_iter().flat_map(|map| map.keys()).map(|domain| Arc::from(domain.as_str())).collect();
    let timeout_ms = config.milliseconds("cluster_request_timeout_ms").unwrap_or(3000);
    let regex_max_size = config
        .count("regex_max_size")
        .filter(|size| (1..=regex::LARGEST_PROGRAM_SIZE).contains(size))
        .unwrap_or(regex::DEFAULT_MAX_PROGRAM_SIZE);
    let resolver = config.text("resolver");
    let own_namespace_for_services = config.boolean("use_ambassador_namespace_for_service_resolution").unwrap_or(false);
    let default_label_domain = config.text("default_label_domain").unwrap_or_else(|| "ambassador".into());
    let add_linkerd_headers = config.boolean("add_linkerd_headers").unwrap_or(false);
    let mut defaults = config.inner("defaults");
    let mut mapping = |key: &str| -> Option<Value> {
        let own = defaults.inner("httpmapping").take(key).cloned();
        own.or_else(|| defaults.take(key).cloned())
    };
    let (add_request, add_response) = (mapping("add_request_headers"), mapping("add_response_headers"));
    let (remove_request, remove_response) = (mapping("remove_request_headers"), mapping("remove_response_headers"));
    let stats_name = mapping("stats_name").and_then(|value| value.as_str().map(Arc::from));
    let report = &mut *config.report;
    RouteDefaults {
        timeout_ms,
        add_request_headers: added("add_request_headers", add_request, limits, report),
        add_response_headers: added("add_response_headers", add_response, limits, report),
        remove_request_headers: removed("remove_request_headers", remove_request, report),
        remove_response_headers: removed("remove_response_headers", remove_response, report),
        stats_name,
        add_linkerd_headers,
        regex_max_size,
        resolver,
        own_namespace_for_services,
        default_label_domain,
        default_labels,
        closed: closed.map(Arc::from),
    }
}

/// Values are texts or `{value, append}`.
fn added(key: &str, value: Option<Value>, limits: &Limits, report: &mut Report) -> Option<Vec<HeaderValue>> {
    let value = value?;
    let field = format!("config.defaults.httpmapping.{key}");
    let Some(map) = value.as_object() else {
        report.degrade(&field, ProblemKind::InvalidValue, "it is no map of headers");
        return None;
    };
    let headers: Vec<(&String, Option<&str>, Option<bool>)> = map
        .iter()
        .map(|(name, header)| match header {
            Value::String(text) => (name, Some(text.as_str()), None),
            other => (name, other.get("value").and_then(Value::as_str), other.get("append").and_then(Value::as_bool)),
        })
        .collect();
    Some(report.added_headers(&field, headers.into_iter(), limits.unchecked))
}

fn removed(key: &str, value: Option<Value>, report: &mut Report) -> Option<Vec<Arc<str>>> {
    let value = value?;
    let field = format!("config.defaults.httpmapping.{key}");
    let names: Option<Vec<String>> = match &value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let Some(names) = names else {
        report.degrade(&field, ProblemKind::InvalidValue, "it is neither a header name nor a list of them");
        return None;
    };
    Some(report.removed_headers(&field, &names))
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
    cluster::load_balancer("config.load_balancer", &found, config.report)
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
        max_request_headers_kb: config
            .count("max_request_headers_kb")
            .filter(|kb| (1..=limits::REQUEST_HEADERS_KB).contains(kb)),
        idle_timeout_ms: config.milliseconds("listener_idle_timeout_ms"),
        headers_with_underscores: underscores(config),
        buffer_limit_bytes: config.count("buffer_limit_bytes"),
        access_log: access_log(config),
    }
}

fn underscores(config: &mut Config) -> Option<UnderscoreAction> {
    let text = config.text("headers_with_underscores_action")?;
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

fn access_log(config: &mut Config) -> AccessLog {
    let path = config.text("envoy_log_path").unwrap_or_else(|| "/dev/fd/1".into());
    let kind = config.text("envoy_log_type").unwrap_or_else(|| "text".into());
    let written = config.take("envoy_log_format").cloned();
    let field = "config.envoy_log_format";
    let format = match &*kind {
        "json" | "typed_json" => {
            let map = match written {
                Some(Value::Object(map)) if judge_json(&map, config.report) => Value::Object(map),
                Some(Value::Object(_)) | None => default_json(),
                Some(_) => {
                    config.report.degrade(field, ProblemKind::InvalidValue, "it is no map; the default format is used");
                    default_json()
                }
            };
            let text = Arc::from(map.to_string());
            if *kind == *"json" { AccessLogFormat::Json(text) } else { AccessLogFormat::TypedJson(text) }
        }
        other => {
            if other != "text" {
                let detail = format!("{} is none of text, json, typed_json; text is used", quote(other));
                config.report.degrade("config.envoy_log_type", ProblemKind::InvalidValue, detail);
            }
            AccessLogFormat::Text(text_format(written, config.report))
        }
    };
    AccessLog { path, format }
}

fn text_format(written: Option<Value>, report: &mut Report) -> Arc<str> {
    let field = "config.envoy_log_format";
    match written {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= limits::LOG_FORMAT => {
            match format::format_string(&text) {
                Ok(()) => format!("{text}\n").into(),
                Err(reason) => {
                    report.degrade(field, ProblemKind::InvalidFormat, reason);
                    TEXT_LOG.into()
                }
            }
        }
        None => TEXT_LOG.into(),
        Some(Value::String(text)) if text.is_empty() => TEXT_LOG.into(),
        Some(_) => {
            report.degrade(field, ProblemKind::InvalidValue, "it is no text, or too long; the default format is used");
            TEXT_LOG.into()
        }
    }
}

fn default_json() -> Value {
    JSON_LOG
        .iter()
        .map(|(key, operator)| ((*key).to_owned(), Value::String(format!("%{operator}%"))))
        .collect::<Map<_, _>>()
        .into()
}

/// Every text in the map has to be a format string.
fn judge_json(map: &Map<String, Value>, report: &mut Report) -> bool {
    fn judge(value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) => format::format_string(text),
            Value::Object(map) => map.values().try_for_each(judge),
            Value::Array(list) => list.iter().try_for_each(judge),
            _ => Ok(()),
        }
    }
    for (key, value) in map {
        if let Err(reason) = judge(value) {
            report.degrade(&format!("config.envoy_log_format.{key}"), ProblemKind::InvalidFormat, reason);
            return false;
        }
    }
    true
}

fn probe(config: &mut Config, key: &str, prefix: &str) -> ParsedProbe {
    let mut inner = config.inner(key);
    let enabled = inner.boolean("enabled").unwrap_or(true);
    let prefix = inner.text("prefix").unwrap_or_else(|| prefix.into());
    let rewrite = inner.text("rewrite").unwrap_or_else(|| prefix.clone());
    let written = inner.text("service");
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
