//! Mapping: conditions, destination, and what happens on the way.

use super::report::Report;
use super::{HostCondition, ParsedMapping, ParsedRedirect, ServiceRef, cluster, policy};
use crate::check::limits::{self, Limits};
use crate::check::{header, hostname, service, text::quote};
use api::v3alpha1::{AddedHeaders, MappingSpec, RegexMap};
use ir::{Effect, NamedMatch, PathMatch, ProblemKind, RedirectPath, RegexRewrite, TextMatch};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Judges a Mapping. `None` when a condition or the destination cannot be honoured: serving without it would answer
/// requests that were not meant.
pub fn mapping(spec: &MappingSpec, limits: &Limits, report: &mut Report) -> Option<ParsedMapping> {
    let path = path(spec, report);
    let host = host(spec, report);
    let headers = conditions("headers", &spec.headers, "regex_headers", &spec.regex_headers, header::matchable, report);
    let query = conditions(
        "query_parameters",
        &spec.query_parameters,
        "regex_query_parameters",
        &spec.regex_query_parameters,
        query_name,
        report,
    );
    let method = method(spec, report);
    let service = match service::parse(&spec.service) {
        Ok(found) => {
            found.remarks.into_iter().for_each(|remark| report.note("service", ProblemKind::InvalidService, remark));
            Some(found.value)
        }
        Err(reason) => {
            report.refuse("service", ProblemKind::InvalidService, reason);
            None
        }
    };
    let weight = spec.weight.and_then(|weight| match u32::try_from(weight).ok().filter(|weight| *weight <= 100) {
        Some(weight) => Some(weight),
        None => {
            report.refuse("weight", ProblemKind::WeightOutOfRange, format!("weight {weight} is not between 0 and 100"));
            None
        }
    });
    let in_force = path.is_some() && host.is_some() && service.is_some();
    // Stand-ins let the rest be judged as well, so that all findings are there at once.
    let nothing = || ServiceRef { tls_scheme: None, host: "".into(), port: None, text: "".into() };
    let mut mapping =
        ParsedMapping::new(path.unwrap_or_else(|| PathMatch::Prefix("/".into())), service.unwrap_or_else(nothing));
    mapping.case_sensitive = spec.case_sensitive;
    mapping.host = host.unwrap_or(HostCondition::None);
    mapping.headers = headers.into_iter().filter(|header| !is_host(header, &mapping.host)).collect();
    mapping.query = query;
    mapping.method = method;
    mapping.weight = weight;
    mapping.precedence = precedence(spec, report);
    mapping.shadow = spec.shadow.unwrap_or(false);
    mapping.redirect = redirect(spec, report).map(Box::new);
    rewriting(spec, limits, report, &mut mapping);
    header_edits(spec, limits, report, &mut mapping);
    destination(spec, report, &mut mapping);
    mapping.timeout_ms = report.milliseconds("timeout_ms", spec.timeout_ms);
    mapping.idle_timeout_ms = report.milliseconds("idle_timeout_ms", spec.idle_timeout_ms);
    mapping.bypass_auth = spec.bypass_auth.unwrap_or(false);
    mapping.label_domains =
        spec.labels.iter().flat_map(|labels| labels.keys()).map(|domain| domain.as_str().into()).collect();
    mapping.policies = policy::policies(spec, limits, report);
    remarks(spec, report);
    mapping.program_size = report.program_size;
    mapping.labels_hash = spec.labels.as_ref().map_or(0, |labels| xxh3_64(format!("{labels:?}").as_bytes()));
    in_force.then_some(mapping)
}

fn path(spec: &MappingSpec, report: &mut Report) -> Option<PathMatch> {
    let text = report.text_or_empty("prefix", Some(&spec.prefix), limits::PATH)?;
    if spec.prefix_regex == Some(true) {
        report.expression("prefix", &text)?;
        return Some(PathMatch::Regex(text));
    }
    if text.is_empty() {
        report.refuse("prefix", ProblemKind::InvalidValue, "the prefix is empty; `/` matches every path");
        return None;
    }
    if !text.starts_with('/') || text.contains('?') {
        let detail = format!("no path begins with {}: paths begin with `/` and end before the `?`", quote(&text));
        report.note("prefix", ProblemKind::NoEffect, detail);
    }
    Some(if spec.prefix_exact == Some(true) { PathMatch::Exact(text) } else { PathMatch::Prefix(text) })
}

/// From lowest to highest priority: header `:authority`, `host`, `hostname`.
fn host(spec: &MappingSpec, report: &mut Report) -> Option<HostCondition> {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(glob) = written(&spec.hostname) {
        if spec.host.is_some() {
            report.note("host", ProblemKind::NoEffect, "`hostname` is set, so `host` has no effect");
        }
        return glob_condition("hostname", &glob, report);
    }
    if let Some(host) = written(&spec.host) {
        if spec.host_regex == Some(true) {
            report.expression("host", &host)?;
            return Some(HostCondition::Regex(host.into()));
        }
        return exact_condition("host", &host, report);
    }
    match spec.headers.as_ref().and_then(|headers| headers.get(":authority")) {
        Some(host) => exact_condition("headers.:authority", host, report),
        None => Some(HostCondition::None),
    }
}

fn exact_condition(field: &str, host: &str, report: &mut Report) -> Option<HostCondition> {
    // Upstream takes it for the name as it stands, which no host has.
    if host.contains('*') {
        let detail = format!("{} contains `*`; globs go into `hostname`", quote(host));
        report.refuse(field, ProblemKind::InvalidValue, detail);
        return None;
    }
    glob_condition(field, host, report)
}

fn glob_condition(field: &str, glob: &str, report: &mut Report) -> Option<HostCondition> {
    match hostname::glob(glob) {
        Ok(()) => Some(HostCondition::Glob(glob.into())),
        Err(reason) => {
            report.refuse(field, ProblemKind::InvalidValue, reason);
            None
        }
    }
}

/// An exact `:authority` that became the host condition is not a header condition as well.
fn is_host(header: &NamedMatch, host: &HostCondition) -> bool {
    *header.name == *":authority" && matches!(header.value, TextMatch::Exact(_)) && !matches!(host, HostCondition::None)
}

fn conditions(
    exact_field: &str,
    exact: &Option<BTreeMap<String, String>>,
    regex_field: &str,
    regexes: &Option<BTreeMap<String, String>>,
    judge_name: fn(&str) -> Result<(), String>,
    report: &mut Report,
) -> Vec<NamedMatch> {
    let mut found = Vec::new();
    for (field, map, is_regex) in [(exact_field, exact, false), (regex_field, regexes, true)] {
        let Some(map) = map else { continue };
        if map.len() > limits::HEADERS {
            report.refuse(
                field,
                ProblemKind::TooLarge,
                format!("{} conditions, at most {} are accepted", map.len(), limits::HEADERS),
            );
            continue;
        }
        for (name, value) in map {
            if let Err(reason) = judge_name(name) {
                report.refuse(&format!("{field}.{name}"), ProblemKind::InvalidValue, reason);
                continue;
            }
            let text = report.text_or_empty(format_args!("{field}.{name}"), Some(value), limits::HEADER_VALUE);
            let Some(text) = text else { continue };
            let value = if is_regex {
                if report.expression(format_args!("{field}.{name}"), &text).is_none() {
                    continue;
                }
                TextMatch::Regex(text)
            } else {
                TextMatch::Exact(text)
            };
            found.push(NamedMatch { name: name.as_str().into(), value });
        }
    }
    found
}

fn query_name(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("the name of a query parameter is empty".into()),
        1..=limits::QUERY_NAME => Ok(()),
        long => Err(format!(
            "the name of a query parameter is {long} bytes long, at most {} are accepted",
            limits::QUERY_NAME
        )),
    }
}

fn method(spec: &MappingSpec, report: &mut Report) -> Option<TextMatch> {
    let text = report.text("method", spec.method.as_ref(), limits::NAME)?;
    if spec.method_regex == Some(true) {
        report.expression("method", &text)?;
        return Some(TextMatch::Regex(text));
    }
    if let Err(reason) = header::name(&text) {
        report.refuse("method", ProblemKind::InvalidValue, reason.replace("header name", "method"));
        return None;
    }
    Some(TextMatch::Exact(text))
}

fn precedence(spec: &MappingSpec, report: &mut Report) -> i64 {
    let precedence = spec.precedence.unwrap_or(0);
    if i32::try_from(precedence).is_err() {
        report.degrade(
            "precedence",
            ProblemKind::InvalidValue,
            format!("precedence {precedence} does not fit 32 bits; 0 is used"),
        );
        return 0;
    }
    precedence
}

fn redirect(spec: &MappingSpec, report: &mut Report) -> Option<ParsedRedirect> {
    if spec.host_redirect != Some(true) {
        let forms = [
            ("path_redirect", spec.path_redirect.is_some()),
            ("prefix_redirect", spec.prefix_redirect.is_some()),
            ("regex_redirect", spec.regex_redirect.is_some()),
        ];
        for (field, present) in forms {
            if present {
                report.note(
                    field,
                    ProblemKind::NoEffect,
                    format!("`{field}` has no effect without `host_redirect: true`"),
                );
            }
        }
        return None;
    }
    if spec.shadow == Some(true) {
        report.degrade(
            "host_redirect",
            ProblemKind::ConflictingFields,
            "`shadow` is set, so `host_redirect` has no effect",
        );
        return None;
    }
    let path = report.text("path_redirect", spec.path_redirect.as_ref(), limits::PATH).map(RedirectPath::Path);
    let prefix = report.text("prefix_redirect", spec.prefix_redirect.as_ref(), limits::PATH).map(RedirectPath::Prefix);
    let regex = spec
        .regex_redirect
        .as_ref()
        .and_then(|map| regex_rewrite("regex_redirect", map, report))
        .map(RedirectPath::Regex);
    let forms = [&path, &prefix, &regex].into_iter().flatten().count();
    if forms > 1 {
        let detail = "only one of path_redirect, prefix_redirect and regex_redirect can count; it is the first of them";
        report.degrade("host_redirect", ProblemKind::ConflictingFields, detail);
    }
    let code = match spec.redirect_response_code {
        None => 301,
        Some(code @ (301 | 302 | 303 | 307 | 308)) => code as u16,
        Some(other) => {
            let detail = format!("{other} is none of 301, 302, 303, 307, 308; 301 is used");
            report.degrade("redirect_response_code", ProblemKind::InvalidValue, detail);
            301
        }
    };
    Some(ParsedRedirect { path: path.or(prefix).or(regex), code })
}

fn regex_rewrite(field: &str, map: &RegexMap, report: &mut Report) -> Option<RegexRewrite> {
    let pattern = map.pattern.clone().unwrap_or_default();
    let substitution = report.text_or_empty(
        format_args!("{field}.substitution"),
        Some(map.substitution.as_ref().unwrap_or(&String::new())),
        limits::PATH,
    )?;
    let expression = report.expression(format_args!("{field}.pattern"), &pattern)?;
    if let Some(remark) = expression.remark(&substitution) {
        report.note(&format!("{field}.substitution"), ProblemKind::InvalidValue, remark);
    }
    Some(RegexRewrite { pattern: pattern.into(), substitution })
}

fn rewriting(spec: &MappingSpec, limits: &Limits, report: &mut Report, mapping: &mut ParsedMapping) {
    mapping.rewrite = match &spec.rewrite {
        Some(text) if limits.unchecked => Some(text.as_str().into()),
        text => report.text_or_empty("rewrite", text.as_ref(), limits::PATH),
    };
    mapping.regex_rewrite = match &spec.regex_rewrite {
        // Upstream takes an empty map for none.
        Some(RegexMap { pattern: None, substitution: None }) => {
            report.note("regex_rewrite", ProblemKind::NoEffect, "`regex_rewrite` has no pattern and has no effect");
            None
        }
        Some(map) => regex_rewrite("regex_rewrite", map, report).map(Box::new),
        None => None,
    };
    if mapping.regex_rewrite.is_some() && mapping.rewrite.as_ref().is_some_and(|text| **text != *"/") {
        report.note("rewrite", ProblemKind::NoEffect, "`regex_rewrite` is set, so `rewrite` has no effect");
    }
    mapping.host_rewrite = report.text("host_rewrite", spec.host_rewrite.as_ref(), limits::HOSTNAME_AND_PORT);
    mapping.auto_host_rewrite = spec.auto_host_rewrite;
    if mapping.host_rewrite.is_some() && spec.auto_host_rewrite == Some(true) {
        report.degrade(
            "auto_host_rewrite",
            ProblemKind::ConflictingFields,
            "`host_rewrite` is set, so `auto_host_rewrite` has no effect",
        );
    }
}

fn header_edits(spec: &MappingSpec, limits: &Limits, report: &mut Report, mapping: &mut ParsedMapping) {
    let mut added = |field: &str, headers: &Option<AddedHeaders>| {
        let headers = headers.as_ref()?;
        let headers = headers.iter().map(|(name, header)| (name, header.value.as_deref(), header.append));
        Some(report.added_headers(field, headers, limits.unchecked))
    };
    mapping.add_request_headers = added("add_request_headers", &spec.add_request_headers);
    mapping.add_response_headers = added("add_response_headers", &spec.add_response_headers);
    let mut removed =
        |field: &str, names: &Option<Vec<String>>| names.as_ref().map(|names| report.removed_headers(field, names));
    mapping.remove_request_headers = removed("remove_request_headers", &spec.remove_request_headers);
    mapping.remove_response_headers = removed("remove_response_headers", &spec.remove_response_headers);
    mapping.add_linkerd_headers = spec.add_linkerd_headers;
}

fn destination(spec: &MappingSpec, report: &mut Report, mapping: &mut ParsedMapping) {
    mapping.resolver = report.text("resolver", spec.resolver.as_ref(), limits::NAME);
    mapping.tls = report.text("tls", spec.tls.as_ref(), limits::NAME);
    mapping.grpc = spec.grpc.unwrap_or(false);
    mapping.cluster_tag = report.label("cluster_tag", spec.cluster_tag.as_ref(), limits::NAME);
    mapping.stats_name = report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    mapping.connect_timeout_ms = report.milliseconds("connect_timeout_ms", spec.connect_timeout_ms);
    if mapping.connect_timeout_ms == Some(0) {
        report.degrade("connect_timeout_ms", ProblemKind::InvalidValue, "Envoy needs more than 0; 3000 is used");
        mapping.connect_timeout_ms = None;
    }
    mapping.cluster_idle_timeout_ms = report.milliseconds("cluster_idle_timeout_ms", spec.cluster_idle_timeout_ms);
    mapping.cluster_max_connection_ms =
        report.milliseconds("cluster_max_connection_lifetime_ms", spec.cluster_max_connection_lifetime_ms);
    mapping.circuit_breakers =
        spec.circuit_breakers.as_ref().map(|list| cluster::circuit_breakers("circuit_breakers", list, report));
    mapping.keepalive = spec.keepalive.as_ref().map(|found| Box::new(cluster::keepalive("keepalive", found, report)));
    mapping.load_balancer = spec
        .load_balancer
        .as_ref()
        .and_then(|found| cluster::load_balancer("load_balancer", found, Effect::Refused, report))
        .map(Box::new);
    mapping.respect_dns_ttl = spec.respect_dns_ttl.unwrap_or(false);
    mapping.enable_ipv4 = spec.enable_ipv4;
    mapping.enable_ipv6 = spec.enable_ipv6;
    mapping.logical_dns = match spec.dns_type.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "strict_dns") => false,
        Some("logical_dns") => true,
        Some(other) => {
            let detail = format!("{} is neither `strict_dns` nor `logical_dns`; `strict_dns` is used", quote(other));
            report.degrade("dns_type", ProblemKind::InvalidValue, detail);
            false
        }
    };
}

/// What is said about the Mapping as a whole.
fn remarks(spec: &MappingSpec, report: &mut Report) {
    if spec.host.is_some() {
        report.note("host", ProblemKind::Deprecated, "`host` is deprecated; `hostname` takes its place");
    }
    for (field, is_set, needs, is_there) in [
        ("host_regex", spec.host_regex, "host", spec.host.is_some()),
        ("method_regex", spec.method_regex, "method", spec.method.is_some()),
        ("prefix_exact", spec.prefix_exact, "a prefix that is no regular expression", spec.prefix_regex != Some(true)),
    ] {
        if is_set == Some(true) && !is_there {
            report.note(field, ProblemKind::NoEffect, format!("`{field}` has no effect without {needs}"));
        }
    }
}

#[cfg(test)]
mod tests;
