//! Kinds that have no rows of their own yet. They are checked all the same, and what they ask for is never dropped in
//! silence: what guards traffic closes it, the rest is said.

use super::report::Report;
use super::{Parsed, ParsedRateLimitService, ResolverKind, cluster};
use crate::check::{header, hostname, limits, service};
use api::Spec;
use api::v3alpha1::{AuthServiceSpec, LogServiceSpec, RateLimitServiceSpec, TcpMappingSpec, TracingServiceSpec};
use ir::{Checked, ObjectKey, ProblemKind};

/// Judges one of these kinds; `None` for the others.
pub fn services(about: &ObjectKey, spec: &Spec) -> Option<Checked<Option<Parsed>>> {
    let mut report = Report::new(about);
    let value = match spec {
        Spec::AuthService(spec) => auth(spec, &mut report),
        Spec::RateLimitService(spec) => rate_limit(spec, &mut report),
        Spec::LogService(spec) => log(spec, &mut report),
        Spec::TracingService(spec) => tracing(spec, &mut report),
        Spec::TcpMapping(spec) => tcp_mapping(spec, &mut report),
        Spec::KubernetesServiceResolver(_) => Parsed::Resolver(ResolverKind::Service),
        Spec::KubernetesEndpointResolver(_) => Parsed::Resolver(ResolverKind::Endpoint),
        Spec::ConsulResolver(spec) => {
            if spec.datacenter.as_deref().unwrap_or_default().is_empty() {
                report.refuse("datacenter", ProblemKind::InvalidValue, "the datacenter is missing");
            }
            report.add(
                "",
                ProblemKind::NotSupported,
                ir::Effect::Degraded,
                "endpoints from Consul are not supported yet; Mappings that name it are refused",
            );
            Parsed::Resolver(ResolverKind::Consul)
        }
        Spec::DevPortal(_) => {
            report.note("", ProblemKind::NoEffect, "the kind is accepted and has no effect");
            Parsed::Inert
        }
        _ => return None,
    };
    Some(Checked { value: Some(value), problems: report.problems })
}

fn destination(field: &str, text: &str, report: &mut Report) {
    match service::parse(text) {
        Ok(found) => {
            found.remarks.into_iter().for_each(|remark| report.note(field, ProblemKind::InvalidService, remark))
        }
        Err(reason) => report.refuse(field, ProblemKind::InvalidService, reason),
    }
}

fn auth(spec: &AuthServiceSpec, report: &mut Report) -> Parsed {
    destination("auth_service", &spec.auth_service, report);
    report.milliseconds("timeout_ms", spec.timeout_ms);
    for (field, names) in [
        ("allowed_request_headers", &spec.allowed_request_headers),
        ("allowed_authorization_headers", &spec.allowed_authorization_headers),
    ] {
        for (index, name) in names.iter().flatten().enumerate() {
            if let Err(reason) = header::name(name) {
                report.degrade(&format!("{field}[{index}]"), ProblemKind::InvalidValue, reason);
            }
        }
    }
    if let Some(list) = &spec.circuit_breakers {
        cluster::circuit_breakers("circuit_breakers", list, report);
    }
    if let Some(code) = spec.status_on_error.as_ref().and_then(|status| status.code)
        && !(100..=599).contains(&code)
    {
        report.degrade("status_on_error.code", ProblemKind::InvalidValue, format!("{code} is no HTTP status"));
    }
    let detail = "external authorization is not supported yet: every Mapping without `bypass_auth` answers 500";
    report.degrade("", ProblemKind::NotSupported, detail);
    Parsed::AuthService
}

fn rate_limit(spec: &RateLimitServiceSpec, report: &mut Report) -> Parsed {
    destination("service", &spec.service, report);
    report.milliseconds("timeout_ms", spec.timeout_ms);
    let failure_mode_deny = spec.failure_mode_deny.unwrap_or(false);
    let detail = if failure_mode_deny {
        "rate limiting is not supported yet: Mappings with labels of its domain answer 500, as `failure_mode_deny` is set"
    } else {
        "rate limiting is not supported yet: no request is limited"
    };
    report.degrade("", ProblemKind::NotSupported, detail);
    let domain = report.text("domain", spec.domain.as_ref(), limits::NAME);
    Parsed::RateLimitService(ParsedRateLimitService { domain, failure_mode_deny })
}

fn log(spec: &LogServiceSpec, report: &mut Report) -> Parsed {
    match &spec.service {
        Some(service) => destination("service", service, report),
        None => report.refuse("service", ProblemKind::InvalidValue, "the service is missing"),
    }
    if spec.driver.is_none() {
        report.refuse("driver", ProblemKind::InvalidValue, "the driver is missing: `http` or `tcp`");
    }
    report.count("flush_interval_byte_size", spec.flush_interval_byte_size);
    report.note("", ProblemKind::NotSupported, "access logs over gRPC are not supported yet: nothing is sent");
    Parsed::Inert
}

fn tracing(spec: &TracingServiceSpec, report: &mut Report) -> Parsed {
    destination("service", &spec.service, report);
    let sampling = spec
        .sampling
        .iter()
        .flat_map(|found| [("client", found.client), ("random", found.random), ("overall", found.overall)]);
    for (name, percent) in sampling {
        if percent.is_some_and(|percent| !(0..=100).contains(&percent)) {
            report.degrade(&format!("sampling.{name}"), ProblemKind::InvalidValue, "a percentage is between 0 and 100");
        }
    }
    report.note("", ProblemKind::NotSupported, "tracing is not supported yet: nothing is sent");
    Parsed::Inert
}

fn tcp_mapping(spec: &TcpMappingSpec, report: &mut Report) -> Parsed {
    destination("service", &spec.service, report);
    if !(1..=65535).contains(&spec.port) {
        report.refuse("port", ProblemKind::InvalidValue, format!("port {} is not between 1 and 65535", spec.port));
    }
    if let Some(host) = &spec.host
        && let Err(reason) = hostname::glob(host)
    {
        report.refuse("host", ProblemKind::InvalidValue, reason);
    }
    if spec.address.as_ref().is_some_and(|address| address.parse::<std::net::IpAddr>().is_err()) {
        report.refuse("address", ProblemKind::InvalidValue, "the address is no IP address");
    }
    if spec.weight.is_some_and(|weight| !(0..=100).contains(&weight)) {
        report.refuse("weight", ProblemKind::WeightOutOfRange, "a weight is between 0 and 100");
    }
    if spec.idle_timeout_ms.as_ref().is_some_and(|text| text.parse::<u64>().is_err()) {
        report.degrade("idle_timeout_ms", ProblemKind::InvalidValue, "the timeout is no number of milliseconds");
    }
    if let Some(list) = &spec.circuit_breakers {
        cluster::circuit_breakers("circuit_breakers", list, report);
    }
    report.note("", ProblemKind::NotSupported, "TCP routes are not supported yet: its port is not opened");
    Parsed::Inert
}
