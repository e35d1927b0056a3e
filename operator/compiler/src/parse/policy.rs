//! Policies of routes that have no rows yet: retries, CORS, health checks, labels, error bodies. They are checked in
//! full, so that what is wrong with them is known before they come into force.

use super::report::Report;
use crate::check::{duration, format, header, limits, text::quote};
use api::v3alpha1::{
    Cors, ErrorResponseOverride, HealthCheck, HealthCheckProbe, LabelSpecifier, MappingSpec, RetryPolicy,
};
use ir::ProblemKind;

/// The policies of a Mapping.
pub fn policies(spec: &MappingSpec, report: &mut Report) {
    if let Some(policy) = &spec.retry_policy {
        retry("retry_policy", policy, report);
    }
    if let Some(policy) = &spec.cors {
        cors("cors", policy, report);
    }
    if let Some(checks) = &spec.health_checks {
        health_checks(checks, report);
    }
    if let Some(list) = &spec.error_response_overrides {
        error_bodies("error_response_overrides", list, report);
    }
    labels(spec, report);
    upgrades(spec, report);
    match spec.priority.as_deref() {
        None | Some("" | "default") => {}
        Some("high") => report.not_yet("priority", true),
        Some(other) => {
            let detail = format!("{} is neither `default` nor `high`", quote(other));
            report.degrade("priority", ProblemKind::InvalidValue, detail);
        }
    }
    report.not_yet("auth_context_extensions", spec.auth_context_extensions.is_some());
    if spec.outlier_detection.is_some() {
        report.degrade("outlier_detection", ProblemKind::NotSupported, "`outlier_detection` is not supported");
    }
    report.no_effect("bypass_error_response_overrides", spec.bypass_error_response_overrides.is_some());
    report.no_effect("envoy_override", spec.envoy_override.is_some());
    report.no_effect("modules", spec.modules.is_some());
    report.no_effect("docs", spec.docs.is_some());
}

/// Retries.
pub fn retry(field: &str, policy: &RetryPolicy, report: &mut Report) {
    if policy.retry_on.is_none() {
        report.degrade(
            &format!("{field}.retry_on"),
            ProblemKind::InvalidValue,
            "without `retry_on` nothing is retried",
        );
    }
    report.count(&format!("{field}.num_retries"), policy.num_retries);
    if let Some(Err(reason)) = policy.per_try_timeout.as_deref().map(duration::parse) {
        report.degrade(&format!("{field}.per_try_timeout"), ProblemKind::InvalidValue, reason);
    }
    report.not_yet(field, true);
}

/// Cross-origin resource sharing.
pub fn cors(field: &str, policy: &Cors, report: &mut Report) {
    for (name, list) in [
        ("origins", &policy.origins),
        ("methods", &policy.methods),
        ("headers", &policy.headers),
        ("exposed_headers", &policy.exposed_headers),
    ] {
        for (index, text) in list.iter().flatten().enumerate().take(limits::ITEMS) {
            if text.is_empty() || text.len() > limits::NAME || text.chars().any(char::is_control) {
                let detail = format!("{} is empty, too long, or has control characters", quote(text));
                report.degrade(&format!("{field}.{name}[{index}]"), ProblemKind::InvalidValue, detail);
            }
        }
    }
    if let Some(age) = policy.max_age.as_ref().filter(|age| age.parse::<u32>().is_err()) {
        let detail = format!("{} is no number of seconds", quote(age));
        report.degrade(&format!("{field}.max_age"), ProblemKind::InvalidValue, detail);
    }
    report.not_yet(field, true);
}

/// Bodies for errors; upstream gave them up as well.
pub fn error_bodies(field: &str, list: &[ErrorResponseOverride], report: &mut Report) {
    for (index, body) in list.iter().enumerate().take(limits::ITEMS) {
        let at = format!("{field}[{index}]");
        if !(400..=599).contains(&body.on_status_code) {
            let detail = format!("status {} is not between 400 and 599", body.on_status_code);
            report.degrade(&format!("{at}.on_status_code"), ProblemKind::InvalidValue, detail);
        }
        let forms = usize::from(body.body.text_format.is_some())
            + usize::from(body.body.json_format.is_some())
            + usize::from(body.body.text_format_source.is_some());
        if forms != 1 {
            let detail =
                format!("exactly one of text_format, json_format and text_format_source is needed, not {forms}");
            report.degrade(&format!("{at}.body"), ProblemKind::ConflictingFields, detail);
        }
    }
    report.degrade(field, ProblemKind::NotSupported, format!("`{field}` is not supported and has no effect"));
}

fn health_checks(checks: &[HealthCheck], report: &mut Report) {
    for (index, check) in checks.iter().enumerate().take(limits::ITEMS) {
        let at = |name: &str| format!("health_checks[{index}].{name}");
        for (name, text) in [("timeout", &check.timeout), ("interval", &check.interval)] {
            match text.as_deref().map(duration::parse) {
                Some(Err(reason)) => report.degrade(&at(name), ProblemKind::InvalidValue, reason),
                Some(Ok(0)) => report.degrade(&at(name), ProblemKind::InvalidValue, "Envoy needs more than 0"),
                _ => {}
            }
        }
        for (name, count) in
            [("healthy_threshold", check.healthy_threshold), ("unhealthy_threshold", check.unhealthy_threshold)]
        {
            if let Some(count) = count.filter(|count| !(1..=i64::from(u32::MAX)).contains(count)) {
                let detail = format!("{count} is no count from 1 on");
                report.degrade(&at(name), ProblemKind::InvalidValue, detail);
            }
        }
        let HealthCheckProbe::Http(http) = &check.health_check else { continue };
        if http.path.is_empty() || http.path.len() > limits::PATH || http.path.chars().any(char::is_control) {
            let detail = format!("{} is empty, too long, or has control characters", quote(&http.path));
            report.degrade(&at("health_check.http.path"), ProblemKind::InvalidValue, detail);
        }
        for (name, value) in http.add_request_headers.iter().flatten().take(limits::HEADERS) {
            let judged = header::editable(name).map_err(|reason| (ProblemKind::InvalidValue, reason)).and_then(|()| {
                let value = value.value.as_deref().unwrap_or_default();
                format::header_value(value).map_err(|reason| (ProblemKind::InvalidFormat, reason))
            });
            if let Err((kind, reason)) = judged {
                report.degrade(&at(&format!("health_check.http.add_request_headers.{name}")), kind, reason);
            }
        }
        for (place, range) in http.expected_statuses.iter().flatten().enumerate().take(limits::ITEMS) {
            if !(100..=599).contains(&range.min) || !(100..=599).contains(&range.max) || range.min > range.max {
                let detail = format!("{} to {} is no range of HTTP statuses", range.min, range.max);
                let field = format!("health_check.http.expected_statuses[{place}]");
                report.degrade(&at(&field), ProblemKind::InvalidValue, detail);
            }
        }
    }
    report.not_yet("health_checks", true);
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
    report.not_yet("labels", true);
}

fn upgrades(spec: &MappingSpec, report: &mut Report) {
    for (index, name) in spec.allow_upgrade.iter().flatten().enumerate().take(limits::ITEMS) {
        // A protocol of RFC 9110, 7.8: a token with an optional version.
        if name.split('/').any(|part| header::name(part).is_err()) {
            let detail = format!("{} is no protocol to upgrade to", quote(name));
            report.degrade(&format!("allow_upgrade[{index}]"), ProblemKind::InvalidValue, detail);
        }
    }
    report.not_yet("allow_upgrade", spec.allow_upgrade.as_ref().is_some_and(|list| !list.is_empty()));
    if spec.use_websocket.is_some() {
        report.note(
            "use_websocket",
            ProblemKind::Deprecated,
            "`use_websocket` is deprecated; `allow_upgrade` takes its place",
        );
    }
    report.not_yet("use_websocket", spec.use_websocket == Some(true));
}
