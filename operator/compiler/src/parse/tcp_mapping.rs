//! TCPMapping: checked in full; TCP routes have no rows yet.

use super::report::Report;
use super::{Parsed, cluster, services};
use crate::check::{hostname, limits, text::quote};
use api::v3alpha1::TcpMappingSpec;
use ir::ProblemKind;
use std::net::IpAddr;

/// Judges a TCPMapping.
pub fn tcp_mapping(spec: &TcpMappingSpec, report: &mut Report) -> Parsed {
    services::destination("service", &spec.service, report);
    if !(1..=65535).contains(&spec.port) {
        report.refuse("port", ProblemKind::InvalidValue, format!("port {} is not between 1 and 65535", spec.port));
    }
    let host = spec.host.as_deref().filter(|host| !host.is_empty());
    if let Some(Err(reason)) = host.map(hostname::glob) {
        report.refuse("host", ProblemKind::InvalidValue, reason);
    }
    let address = spec.address.as_deref().filter(|address| !address.is_empty());
    if let Some(address) = address.filter(|address| address.parse::<IpAddr>().is_err()) {
        report.refuse("address", ProblemKind::InvalidValue, format!("{} is no IP address", quote(address)));
    }
    if let Some(weight) = spec.weight.filter(|weight| !(0..=100).contains(weight)) {
        let detail = format!("weight {weight} is not between 0 and 100");
        report.refuse("weight", ProblemKind::WeightOutOfRange, detail);
    }
    match spec.idle_timeout_ms.as_deref() {
        None | Some("") => {}
        Some(text) => match text.parse::<i64>() {
            Ok(value) => {
                report.milliseconds("idle_timeout_ms", Some(value));
            }
            Err(_) => {
                let detail = format!("{} is no number of milliseconds", quote(text));
                report.degrade("idle_timeout_ms", ProblemKind::InvalidValue, detail);
            }
        },
    }
    if let Some(list) = &spec.circuit_breakers {
        cluster::circuit_breakers("circuit_breakers", list, report);
    }
    for (field, text) in [("resolver", &spec.resolver), ("tls", &spec.tls)] {
        report.text(field, text.as_ref(), limits::NAME);
    }
    for (field, text) in [("cluster_tag", &spec.cluster_tag), ("stats_name", &spec.stats_name)] {
        report.label(field, text.as_ref(), limits::NAME);
    }
    report.note("", ProblemKind::NotSupported, "TCPMapping is not supported yet: its port is not opened");
    Parsed::Inert
}
