//! Policies of Mappings: retries, CORS, health checks, upgrades; and, only checked as they have no rows yet, labels.

use super::report::Report;
use super::{ParsedPolicies, error_response};
use crate::check::limits::{self, Limits};
use crate::check::{duration, header, text::quote};
use api::v3alpha1::{
    Cors, HealthCheck as HealthCheckSpec, HealthCheckProbe, HttpHealthCheck, LabelSpecifier, MappingSpec, RetryOn,
    RetryPolicy as RetrySpec,
};
use ir::{CorsPolicy, HealthCheck, HealthProbe, ProblemKind, RetryPolicy};
use std::sync::Arc;

/// The policies of a Mapping; `None` when it has none.
pub fn policies(spec: &MappingSpec, limits: &Limits, report: &mut Report) -> Option<Box<ParsedPolicies>> {
    let found = ParsedPolicies {
        retry: spec.retry_policy.as_ref().and_then(|policy| retry("retry_policy", policy, report)),
        cors: spec.cors.as_ref().map(|policy| cors("cors", policy, report)),
        high_priority: priority(spec, report),
        upgrades: upgrades(spec, report),
        health_checks: spec
            .health_checks
            .as_ref()
            .map(|checks| health_checks(checks, limits, report).into())
            .unwrap_or_default(),
        errors: spec
            .error_response_overrides
            .as_ref()
            .map(|list| error_response::of_mapping(list, report))
            .unwrap_or_default(),
        bypass_errors: spec.bypass_error_response_overrides == Some(true),
    };
    labels(spec, report);
    report.not_yet("auth_context_extensions", spec.auth_context_extensions.is_some());
    if spec.outlier_detection.is_some() {
        report.degrade("outlier_detection", ProblemKind::NotSupported, "`outlier_detection` is not supported");
    }
    report.no_effect("envoy_override", spec.envoy_override.is_some());
    report.no_effect("modules", spec.modules.is_some());
    report.no_effect("docs", spec.docs.is_some());
    (found != ParsedPolicies::default()).then(|| Box::new(found))
}

/// Retries; nothing when they do not say after what.
pub fn retry(field: &str, policy: &RetrySpec, report: &mut Report) -> Option<Arc<RetryPolicy>> {
    let retry_on = match policy.retry_on {
        Some(RetryOn::FiveXx) => Some("5xx"),
        Some(RetryOn::GatewayError) => Some("gateway-error"),
        Some(RetryOn::ConnectFailure) => Some("connect-failure"),
        Some(RetryOn::Retriable4xx) => Some("retriable-4xx"),
        Some(RetryOn::RefusedStream) => Some("refused-stream"),
        Some(RetryOn::RetriableStatusCodes) => Some("retriable-status-codes"),
        None => None,
    };
    if retry_on.is_none() {
        report.degrade(
            &format!("{field}.retry_on"),
            ProblemKind::InvalidValue,
            "without `retry_on` nothing is retried",
        );
    }
    let num_retries = report.count(format_args!("{field}.num_retries"), policy.num_retries);
    let per_try_timeout_ms = policy.per_try_timeout.as_deref().and_then(|text| match duration::parse(text) {
        Ok(ms) => Some(ms),
        Err(reason) => {
            report.degrade(&format!("{field}.per_try_timeout"), ProblemKind::InvalidValue, reason);
            None
        }
    });
    Some(Arc::new(RetryPolicy { retry_on: retry_on?, num_retries, per_try_timeout_ms }))
}

/// Cross-origin resource sharing. Entries that no header can carry are left out.
pub fn cors(field: &str, policy: &Cors, report: &mut Report) -> Arc<CorsPolicy> {
    let mut list = |name: &str, list: &Option<Vec<String>>| -> Option<Vec<Arc<str>>> {
        let list = list.as_ref()?;
        if list.len() > limits::ITEMS {
            let detail = format!("{} entries, at most {} are accepted", list.len(), limits::ITEMS);
            report.degrade(&format!("{field}.{name}"), ProblemKind::TooLarge, detail);
        }
        let mut fine = Vec::new();
        for (index, text) in list.iter().enumerate().take(limits::ITEMS) {
            if text.is_empty() || text.len() > limits::NAME || text.chars().any(char::is_control) {
                let detail = format!("{} is empty, too long, or has control characters", quote(text));
                report.degrade(&format!("{field}.{name}[{index}]"), ProblemKind::InvalidValue, detail);
            } else {
                fine.push(Arc::from(text.as_str()));
            }
        }
        Some(fine)
    };
    let joined = |list: Option<Vec<Arc<str>>>| list.filter(|list| !list.is_empty()).map(|list| list.join(", ").into());
    let origins = list("origins", &policy.origins).unwrap_or_default();
    let methods = joined(list("methods", &policy.methods));
    let headers = joined(list("headers", &policy.headers));
    let exposed_headers = joined(list("exposed_headers", &policy.exposed_headers));
    let max_age = policy.max_age.as_ref().filter(|age| !age.is_empty()).and_then(|age| match age.parse::<u32>() {
        Ok(seconds) => Some(seconds),
        Err(_) => {
            let detail = format!("{} is no number of seconds", quote(age));
            report.degrade(&format!("{field}.max_age"), ProblemKind::InvalidValue, detail);
            None
        }
    });
    let credentials = policy.credentials == Some(true);
    Arc::new(CorsPolicy { origins, methods, headers, exposed_headers, credentials, max_age })
}

/// Upstream hands the text to Envoy, which knows the upper-case form; people write the lower-case one.
fn priority(spec: &MappingSpec, report: &mut Report) -> Option<bool> {
    let text = spec.priority.as_deref().filter(|text| !text.is_empty())?;
    match text.to_ascii_lowercase().as_str() {
        "default" => Some(false),
        "high" => Some(true),
        _ => {
            let detail = format!("{} is neither `default` nor `high`", quote(text));
            report.degrade("priority", ProblemKind::InvalidValue, detail);
            None
        }
    }
}

/// A check without a usable path is left out; a bad number takes its default. Of several the first counts: Envoy wants
/// each to have a name then, and older versions refuse them altogether.
fn health_checks(checks: &[HealthCheckSpec], limits: &Limits, report: &mut Report) -> Vec<HealthCheck> {
    let mut found = Vec::new();
    for (index, check) in checks.iter().enumerate().take(limits::ITEMS) {
        let at = |name: &str| format!("health_checks[{index}].{name}");
        let mut time = |name: &str, text: &Option<String>, default: u64| match text.as_deref().map(duration::parse) {
            None => default,
            Some(Ok(ms)) if ms > 0 => ms,
            Some(Ok(_)) => {
                report.degrade(&at(name), ProblemKind::InvalidValue, "Envoy needs more than 0");
                default
            }
            Some(Err(reason)) => {
                report.degrade(&at(name), ProblemKind::InvalidValue, reason);
                default
            }
        };
        let timeout_ms = time("timeout", &check.timeout, 3000);
        let interval_ms = time("interval", &check.interval, 5000);
        let mut threshold = |name: &str, count: Option<i64>, default: u32| {
            let Some(written) = count else { return default };
            u32::try_from(written).ok().filter(|count| *count > 0).unwrap_or_else(|| {
                report.degrade(&at(name), ProblemKind::InvalidValue, format!("{written} is no count from 1 on"));
                default
            })
        };
        let healthy_threshold = threshold("healthy_threshold", check.healthy_threshold, 1);
        let unhealthy_threshold = threshold("unhealthy_threshold", check.unhealthy_threshold, 2);
        let probe = match &check.health_check {
            HealthCheckProbe::Http(http) => http_probe(&at("health_check.http"), http, limits, report),
            HealthCheckProbe::Grpc(grpc) => report
                .text_or_empty(at("health_check.grpc.upstream_name"), Some(&grpc.upstream_name), limits::NAME)
                .map(|service| HealthProbe::Grpc {
                    service,
                    authority: report.label(
                        &at("health_check.grpc.authority"),
                        grpc.authority.as_ref(),
                        limits::HOSTNAME_AND_PORT,
                    ),
                }),
        };
        found.extend(probe.map(|probe| HealthCheck {
            timeout_ms,
            interval_ms,
            healthy_threshold,
            unhealthy_threshold,
            probe,
        }));
    }
    if found.len() > 1 {
        let detail = "Envoy makes one health check for each service; the first that is usable counts";
        report.degrade("health_checks", ProblemKind::ConflictingFields, detail);
        found.truncate(1);
    }
    found
}

fn http_probe(field: &str, http: &HttpHealthCheck, limits: &Limits, report: &mut Report) -> Option<HealthProbe> {
    let path = &http.path;
    let usable = !path.is_empty() && path.len() <= limits::PATH && !path.chars().any(char::is_control);
    if !usable {
        let detail = format!("{} is empty, too long, or has control characters", quote(path));
        report.degrade(&format!("{field}.path"), ProblemKind::InvalidValue, detail);
    }
    let added = http.add_request_headers.iter().flatten();
    let added: Vec<_> = added.map(|(name, header)| (name, header.value.as_deref(), header.append)).collect();
    let add_headers =
        report.added_headers(&format!("{field}.add_request_headers"), added.into_iter(), limits.unchecked);
    let removed = http.remove_request_headers.as_deref().unwrap_or_default();
    let remove_headers = report.removed_headers(&format!("{field}.remove_request_headers"), removed);
    let mut expected = Vec::new();
    for (place, range) in http.expected_statuses.iter().flatten().enumerate().take(limits::ITEMS) {
        let status = |code: i64| u16::try_from(code).ok().filter(|code| (100..=599).contains(code));
        match (status(range.min), status(range.max)) {
            (Some(first), Some(last)) if first <= last => expected.push((first, last)),
            _ => {
                let detail = format!("{} to {} is no range of HTTP statuses", range.min, range.max);
                report.degrade(&format!("{field}.expected_statuses[{place}]"), ProblemKind::InvalidValue, detail);
            }
        }
    }
    let host = report.label(&format!("{field}.hostname"), http.hostname.as_ref(), limits::HOSTNAME_AND_PORT);
    let path = path.as_str().into();
    usable.then_some(HealthProbe::Http { path, host, add_headers, remove_headers, expected })
}

fn labels(spec: &MappingSpec, report: &mut Report) {
    let Some(labels) = spec.labels.as_ref().filter(|labels| !labels.is_empty()) else { return };
    if labels.len() > limits::ITEMS {
        let detail = format!("{} label domains, at most {} are accepted", labels.len(), limits::ITEMS);
        report.refuse("labels", ProblemKind::TooLarge, detail);
        return;
    }
    for (domain, groups) in labels {
        for (index, group) in groups.iter().flatten().enumerate().take(limits::ITEMS) {
            for specifier in &group.specifiers {
                let LabelSpecifier::RequestHeaders(header) = specifier else { continue };
                if let Err(reason) = header::matchable(&header.header_name) {
                    let at = format!("labels.{domain}[{index}].{}.header_name", group.name);
                    report.degrade(&at, ProblemKind::InvalidValue, reason);
                }
            }
        }
    }
}

/// Protocols to upgrade to. Envoy refuses one that is named twice, whatever the case.
fn upgrades(spec: &MappingSpec, report: &mut Report) -> Option<Arc<[Arc<str>]>> {
    if spec.use_websocket.is_some() {
        report.note(
            "use_websocket",
            ProblemKind::Deprecated,
            "`use_websocket` is deprecated; `allow_upgrade` takes its place",
        );
    }
    let websocket = (spec.use_websocket == Some(true)).then_some("websocket");
    if spec.allow_upgrade.is_none() && websocket.is_none() {
        return None;
    }
    let mut found: Vec<Arc<str>> = Vec::new();
    let mut add = |name: &str| {
        if !found.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            found.push(name.into());
        }
    };
    for (index, name) in spec.allow_upgrade.iter().flatten().enumerate().take(limits::ITEMS) {
        // A protocol of RFC 9110, 7.8: a token with an optional version.
        if name.split('/').any(|part| header::name(part).is_err()) {
            let detail = format!("{} is no protocol to upgrade to", quote(name));
            report.degrade(&format!("allow_upgrade[{index}]"), ProblemKind::InvalidValue, detail);
        } else {
            add(name);
        }
    }
    websocket.into_iter().for_each(add);
    Some(found.into())
}
