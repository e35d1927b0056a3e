//! Settings of clusters that Mapping, TCPMapping, AuthService and Module share.

use super::ParsedLoadBalancer;
use super::report::Report;
use crate::check::{duration, header, limits, text::quote};
use api::v3alpha1::{
    CircuitBreaker as Breaker, CircuitBreakerPriority, Keepalive as KeepaliveSpec, LoadBalancer, LoadBalancerPolicy,
};
use ir::{CircuitBreaker, Effect, HashOn, Keepalive, LoadBalancing, ProblemKind};

/// Circuit breakers; of several for one priority the first counts, as Envoy has one each.
pub fn circuit_breakers(field: &str, list: &[Breaker], report: &mut Report) -> Vec<CircuitBreaker> {
    let mut found: Vec<CircuitBreaker> = Vec::new();
    if list.len() > limits::ITEMS {
        let detail = format!("{} circuit breakers, at most {} are accepted", list.len(), limits::ITEMS);
        report.refuse(field, ProblemKind::TooLarge, detail);
    }
    for (index, breaker) in list.iter().take(limits::ITEMS).enumerate() {
        let mut count = |name: &str, value| report.count(format_args!("{field}[{index}].{name}"), value);
        let high_priority = breaker.priority == Some(CircuitBreakerPriority::High);
        if found.iter().any(|other| other.high_priority == high_priority) {
            report.degrade(
                &format!("{field}[{index}].priority"),
                ProblemKind::ConflictingFields,
                "there is already a circuit breaker for this priority; that one counts",
            );
            continue;
        }
        found.push(CircuitBreaker {
            high_priority,
            priority_is_written: breaker.priority.is_some(),
            max_connections: count("max_connections", breaker.max_connections),
            max_pending_requests: count("max_pending_requests", breaker.max_pending_requests),
            max_requests: count("max_requests", breaker.max_requests),
            max_retries: count("max_retries", breaker.max_retries),
        });
    }
    found
}

/// TCP keepalive.
pub fn keepalive(field: &str, spec: &KeepaliveSpec, report: &mut Report) -> Keepalive {
    Keepalive {
        probes: report.count(format_args!("{field}.probes"), spec.probes),
        idle_time_s: report.count(format_args!("{field}.idle_time"), spec.idle_time),
        interval_s: report.count(format_args!("{field}.interval"), spec.interval),
    }
}

/// A load balancer; `None` when its parts do not fit together. That takes a Mapping out of force, as upstream has it; of
/// the Module only this setting.
pub fn load_balancer(
    field: &str,
    spec: &LoadBalancer,
    effect: Effect,
    report: &mut Report,
) -> Option<ParsedLoadBalancer> {
    let hashes = usize::from(spec.cookie.is_some())
        + usize::from(spec.header.is_some())
        + usize::from(spec.source_ip == Some(true));
    let policy = match spec.policy {
        LoadBalancerPolicy::RoundRobin => LoadBalancing::RoundRobin,
        LoadBalancerPolicy::LeastRequest => LoadBalancing::LeastRequest,
        LoadBalancerPolicy::RingHash => LoadBalancing::RingHash,
        LoadBalancerPolicy::Maglev => LoadBalancing::Maglev,
    };
    let by_hash = matches!(policy, LoadBalancing::RingHash | LoadBalancing::Maglev);
    if by_hash && hashes != 1 {
        let detail = format!("this policy needs exactly one of cookie, header and source_ip, there are {hashes}");
        report.add(field, ProblemKind::ConflictingFields, effect, detail);
        return None;
    }
    if !by_hash && hashes != 0 {
        let detail = "this policy takes none of cookie, header and source_ip";
        report.add(field, ProblemKind::ConflictingFields, effect, detail);
        return None;
    }
    let hash_on = match (&spec.cookie, &spec.header) {
        _ if !by_hash => None,
        (Some(cookie), _) => {
            if let Err(reason) = header::name(&cookie.name) {
                let detail = reason.replace("header name", "cookie name");
                report.add(&format!("{field}.cookie.name"), ProblemKind::InvalidValue, effect, detail);
                return None;
            }
            let ttl_ms = cookie.ttl.as_ref().and_then(|text| match duration::parse(text) {
                Ok(ms) => Some(ms),
                Err(reason) => {
                    report.degrade(&format!("{field}.cookie.ttl"), ProblemKind::InvalidValue, reason);
                    None
                }
            });
            let path = report.label(&format!("{field}.cookie.path"), cookie.path.as_ref(), limits::PATH);
            Some(HashOn::Cookie { name: cookie.name.as_str().into(), path, ttl_ms })
        }
        (None, Some(name)) => {
            if header::matchable(name).is_err() {
                let detail = format!("{} is no header name", quote(name));
                report.add(&format!("{field}.header"), ProblemKind::InvalidValue, effect, detail);
                return None;
            }
            Some(HashOn::Header(name.as_str().into()))
        }
        (None, None) => Some(HashOn::SourceIp),
    };
    Some(ParsedLoadBalancer { policy, hash_on })
}
