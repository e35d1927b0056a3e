//! TCPMapping: a port, a server name there, and where its connections go.

use super::report::Report;
use super::{ParsedMapping, ParsedTcpMapping, cluster};
use crate::check::{hostname, limits, service, text::quote};
use crate::stage::tcp::is_server_name;
use api::v3alpha1::TcpMappingSpec;
use ir::{PathMatch, ProblemKind};
use std::net::IpAddr;
use std::sync::Arc;

/// Judges a TCPMapping. `None` when it cannot be told which connections are meant, or where they go.
pub fn tcp_mapping(spec: &TcpMappingSpec, report: &mut Report) -> Option<ParsedTcpMapping> {
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
    let port = u16::try_from(spec.port).ok().filter(|port| *port > 0);
    if port.is_none() {
        report.refuse("port", ProblemKind::InvalidValue, format!("port {} is not between 1 and 65535", spec.port));
    }
    let host = spec.host.as_deref().filter(|host| !host.is_empty());
    match host.map(hostname::glob) {
        Some(Err(reason)) => report.refuse("host", ProblemKind::InvalidValue, reason),
        Some(Ok(())) if !host.is_some_and(is_server_name) => {
            let detail =
                format!("{} is neither a name nor `*.` with a suffix nor `*`", quote(host.unwrap_or_default()));
            report.refuse("host", ProblemKind::InvalidValue, detail);
        }
        _ => {}
    }
    let address = spec.address.as_deref().filter(|address| !address.is_empty());
    if let Some(address) = address.filter(|address| address.parse::<IpAddr>().is_err()) {
        report.refuse("address", ProblemKind::InvalidValue, format!("{} is no IP address", quote(address)));
    }
    let weight = spec.weight.and_then(|weight| match u32::try_from(weight).ok().filter(|weight| *weight <= 100) {
        Some(weight) => Some(weight),
        None => {
            let detail = format!("weight {weight} is not between 0 and 100");
            report.refuse("weight", ProblemKind::WeightOutOfRange, detail);
            None
        }
    });
    let idle_timeout_ms = match spec.idle_timeout_ms.as_deref() {
        None | Some("") => None,
        Some(text) => match text.parse::<i64>() {
            Ok(value) => report.milliseconds("idle_timeout_ms", Some(value)),
            Err(_) => {
                let detail = format!("{} is no number of milliseconds", quote(text));
                report.degrade("idle_timeout_ms", ProblemKind::InvalidValue, detail);
                None
            }
        },
    };
    let circuit_breakers =
        spec.circuit_breakers.as_ref().map(|list| cluster::circuit_breakers("circuit_breakers", list, report));
    let resolver = report.text("resolver", spec.resolver.as_ref(), limits::NAME);
    let tls = report.text("tls", spec.tls.as_ref(), limits::NAME);
    let cluster_tag = report.label("cluster_tag", spec.cluster_tag.as_ref(), limits::NAME);
    let stats_name = report.label("stats_name", spec.stats_name.as_ref(), limits::NAME);
    Some(ParsedTcpMapping {
        port: port?,
        address: address.map(Arc::from),
        host: host.map(Arc::from),
        idle_timeout_ms,
        destination: ParsedMapping {
            weight,
            circuit_breakers,
            resolver,
            tls,
            cluster_tag,
            stats_name,
            enable_ipv4: spec.enable_ipv4,
            enable_ipv6: spec.enable_ipv6,
            ..ParsedMapping::new(PathMatch::Prefix("".into()), service?)
        },
    })
}
