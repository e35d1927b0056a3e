//! External services: authorization, rate limits, logs, traces. They have no rows of their own yet. They are checked all
//! the same, and what they ask for is never dropped in silence: what guards traffic closes it, the rest is said.

use super::report::Report;
use super::{Parsed, ParsedRateLimitService, cluster};
use crate::check::{header, limits, service, text::quote};
use api::v3alpha1::{
    AuthServiceProtocol, AuthServiceSpec, LogDriver, LogServiceSpec, ProtocolVersion, RateLimitServiceSpec,
    TraceConfig, TraceTag, TracingDriver, TracingServiceSpec, ZipkinEndpointVersion,
};
use ir::ProblemKind;

/// An AuthService. A wrong one still guards: the Mappings it would have guarded refuse traffic.
pub fn auth(spec: &AuthServiceSpec, report: &mut Report) -> Parsed {
    destination("auth_service", &spec.auth_service, report);
    report.text("path_prefix", spec.path_prefix.as_ref(), limits::PATH);
    report.text("tls", spec.tls.as_ref(), limits::NAME);
    report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    report.milliseconds("timeout_ms", spec.timeout_ms);
    if spec.proto == Some(AuthServiceProtocol::Grpc) && spec.protocol_version != Some(ProtocolVersion::V3) {
        report.refuse("protocol_version", ProblemKind::InvalidValue, "`proto: grpc` needs `protocol_version: v3`");
    }
    for (field, names) in [
        ("allowed_request_headers", &spec.allowed_request_headers),
        ("allowed_authorization_headers", &spec.allowed_authorization_headers),
    ] {
        header_names(field, names.iter().flatten(), report);
    }
    for (name, value) in spec.add_auth_headers.iter().flatten().take(limits::HEADERS) {
        let judged = header::editable(name).and_then(|()| crate::check::format::header_value(value));
        if let Err(reason) = judged {
            let at = format!("add_auth_headers.{}", quote(name).trim_matches('`'));
            report.degrade(&at, ProblemKind::InvalidValue, reason);
        }
    }
    if let Some(list) = &spec.circuit_breakers {
        cluster::circuit_breakers("circuit_breakers", list, report);
    }
    if let Some(body) = &spec.include_body {
        if !(1..=i64::from(u32::MAX)).contains(&body.max_bytes) {
            let detail = format!("{} is no number of bytes above 0", body.max_bytes);
            report.refuse("include_body.max_bytes", ProblemKind::InvalidValue, detail);
        }
        if spec.allow_request_body == Some(true) {
            let detail = "`include_body` is set, so `allow_request_body` has no effect";
            report.degrade("allow_request_body", ProblemKind::ConflictingFields, detail);
        }
    }
    let code = spec.status_on_error.as_ref().and_then(|status| status.code);
    if let Some(code) = code.filter(|code| !(100..=599).contains(code)) {
        report.degrade("status_on_error.code", ProblemKind::InvalidValue, format!("{code} is no HTTP status"));
    }
    let detail = "AuthService is not supported yet: every Mapping without `bypass_auth` answers 500";
    report.degrade("", ProblemKind::NotSupported, detail);
    Parsed::AuthService
}

/// A RateLimitService.
pub fn rate_limit(spec: &RateLimitServiceSpec, report: &mut Report) -> Parsed {
    destination("service", &spec.service, report);
    report.milliseconds("timeout_ms", spec.timeout_ms);
    report.text("tls", spec.tls.as_ref(), limits::NAME);
    report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    // It may guard, so it stays in force.
    version(spec.protocol_version, Report::degrade, report);
    let failure_mode_deny = spec.failure_mode_deny.unwrap_or(false);
    let detail = if failure_mode_deny {
        "RateLimitService is not supported yet: Mappings with labels of its domain answer 500, as `failure_mode_deny` is set"
    } else {
        "RateLimitService is not supported yet: no request is limited"
    };
    report.degrade("", ProblemKind::NotSupported, detail);
    let domain = report.text("domain", spec.domain.as_ref(), limits::NAME);
    Parsed::RateLimitService(ParsedRateLimitService { domain, failure_mode_deny })
}

/// A LogService.
pub fn log(spec: &LogServiceSpec, report: &mut Report) -> Parsed {
    match spec.service.as_deref() {
        Some(service) if !service.is_empty() => destination("service", service, report),
        _ => report.refuse("service", ProblemKind::InvalidValue, "the service is missing"),
    }
    if spec.driver.is_none() {
        report.refuse("driver", ProblemKind::InvalidValue, "the driver is missing: `http` or `tcp`");
    }
    version(spec.protocol_version, Report::refuse, report);
    report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    let seconds = spec.flush_interval_time.map(|seconds| seconds.saturating_mul(1000));
    report.milliseconds("flush_interval_time", seconds);
    report.count("flush_interval_byte_size", spec.flush_interval_byte_size);
    let config = spec.driver_config.as_ref();
    let headers = config.and_then(|config| config.additional_log_headers.as_ref());
    if headers.is_some_and(|headers| !headers.is_empty()) && spec.driver == Some(LogDriver::Tcp) {
        let detail = "the driver `tcp` logs no headers";
        report.refuse("driver_config.additional_log_headers", ProblemKind::ConflictingFields, detail);
    }
    for (index, found) in headers.into_iter().flatten().enumerate().take(limits::HEADERS) {
        if let Err(reason) = header::matchable(found.header_name.as_deref().unwrap_or_default()) {
            let at = format!("driver_config.additional_log_headers[{index}].header_name");
            report.degrade(&at, ProblemKind::InvalidValue, reason);
        }
    }
    report.note("", ProblemKind::NotSupported, "LogService is not supported yet: nothing is sent");
    Parsed::Inert
}

/// A TracingService.
pub fn tracing(spec: &TracingServiceSpec, report: &mut Report) -> Parsed {
    destination("service", &spec.service, report);
    report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    if spec.driver == TracingDriver::Lightstep {
        report.refuse(
            "driver",
            ProblemKind::InvalidValue,
            "the driver `lightstep` is gone from Envoy; use opentelemetry",
        );
    }
    let sampling = spec
        .sampling
        .iter()
        .flat_map(|found| [("client", found.client), ("random", found.random), ("overall", found.overall)]);
    for (name, percent) in sampling {
        if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
            let detail = format!("{percent} is no percentage between 0 and 100");
            report.degrade(&format!("sampling.{name}"), ProblemKind::InvalidValue, detail);
        }
    }
    for (index, tag) in spec.custom_tags.iter().flatten().enumerate().take(limits::ITEMS) {
        custom_tag(index, tag, report);
    }
    header_names("tag_headers", spec.tag_headers.iter().flatten(), report);
    match (&spec.tag_headers, &spec.custom_tags) {
        (Some(_), Some(_)) => {
            let detail = "`custom_tags` is set, so `tag_headers` has no effect";
            report.note("tag_headers", ProblemKind::NoEffect, detail);
        }
        (Some(_), None) => {
            let detail = "`tag_headers` is deprecated; `custom_tags` takes its place";
            report.note("tag_headers", ProblemKind::Deprecated, detail);
        }
        (None, _) => {}
    }
    if let Some(config) = &spec.config {
        trace_config(config, spec.driver, report);
    }
    report.note("", ProblemKind::NotSupported, "TracingService is not supported yet: nothing is sent");
    Parsed::Inert
}

/// A service, wherever it stands.
pub fn destination(field: &str, text: &str, report: &mut Report) {
    match service::parse(text) {
        Ok(found) => {
            found.remarks.into_iter().for_each(|remark| report.note(field, ProblemKind::InvalidService, remark));
        }
        Err(reason) => report.refuse(field, ProblemKind::InvalidService, reason),
    }
}

/// Envoy speaks version 3 only; a spec that says nothing asks for version 2, as upstream has it.
fn version<'a>(
    version: Option<ProtocolVersion>,
    raise: fn(&mut Report<'a>, &str, ProblemKind, String),
    report: &mut Report<'a>,
) {
    if version != Some(ProtocolVersion::V3) {
        let detail = "`protocol_version: v3` is needed; the default, `v2`, is gone from Envoy";
        raise(report, "protocol_version", ProblemKind::InvalidValue, detail.to_owned());
    }
}

fn header_names<'a>(field: &str, names: impl Iterator<Item = &'a String>, report: &mut Report) {
    for (index, name) in names.enumerate().take(limits::HEADERS) {
        if let Err(reason) = header::name(name) {
            report.degrade(&format!("{field}[{index}]"), ProblemKind::InvalidValue, reason);
        }
    }
}

fn custom_tag(index: usize, tag: &TraceTag, report: &mut Report) {
    let at = |name: &str| format!("custom_tags[{index}]{name}");
    if tag.tag.is_empty() || tag.tag.len() > limits::NAME {
        report.degrade(&at(".tag"), ProblemKind::InvalidValue, format!("{} is empty or too long", quote(&tag.tag)));
    }
    let sources = usize::from(tag.literal.is_some())
        + usize::from(tag.environment.is_some())
        + usize::from(tag.request_header.is_some());
    if sources != 1 {
        let detail = format!("exactly one of literal, environment and request_header is needed, not {sources}");
        report.degrade(&at(""), ProblemKind::ConflictingFields, detail);
    }
    if let Some(Err(reason)) = tag.request_header.as_ref().map(|found| header::matchable(&found.name)) {
        report.degrade(&at(".request_header.name"), ProblemKind::InvalidValue, reason);
    }
}

/// Each driver knows a few of the keys; Envoy refuses the others.
fn trace_config(config: &TraceConfig, driver: TracingDriver, report: &mut Report) {
    use TracingDriver::{Datadog, Lightstep, Opentelemetry, Zipkin};
    if config.collector_endpoint_version == Some(ZipkinEndpointVersion::HttpJsonV1) {
        let detail = "`HTTP_JSON_V1` is gone from Envoy; use `HTTP_JSON` or `HTTP_PROTO`";
        report.refuse("config.collector_endpoint_version", ProblemKind::InvalidValue, detail);
    }
    let known: [(&str, bool, &[TracingDriver]); 9] = [
        ("access_token_file", config.access_token_file.is_some(), &[Lightstep]),
        ("collector_cluster", config.collector_cluster.is_some(), &[]),
        ("collector_endpoint", config.collector_endpoint.is_some(), &[Zipkin]),
        ("collector_endpoint_version", config.collector_endpoint_version.is_some(), &[Zipkin]),
        ("collector_hostname", config.collector_hostname.is_some(), &[Zipkin]),
        ("trace_id_128bit", config.trace_id_128bit.is_some(), &[Zipkin]),
        ("shared_span_context", config.shared_span_context.is_some(), &[Zipkin]),
        ("service_name", config.service_name.is_some(), &[Datadog, Opentelemetry]),
        ("propagation_modes", config.propagation_modes.is_some(), &[Lightstep]),
    ];
    for (key, present, drivers) in known {
        if present && !drivers.contains(&driver) {
            let detail = format!("`{key}` has no effect with this driver");
            report.note(&format!("config.{key}"), ProblemKind::NoEffect, detail);
        }
    }
}

#[cfg(test)]
mod tests;
