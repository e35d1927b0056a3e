//! Endpoint sets.

use crate::proto::address;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use ir::{Endpoint, EndpointHealth, EndpointSet};
use std::collections::BTreeMap;

/// The assignment of an endpoint set: one locality per zone, ordered by zone, endpoints in the order of the row.
///
/// Draining endpoints wait in the second priority, as DRAINING. While any other endpoint is there, the first priority
/// is wholly healthy, so Envoy neither spills over to them nor goes into panic and spreads traffic over everything (it
/// would, in one priority, as soon as more than half of the endpoints drain). When nothing else is left they are
/// the first priority, and panic mode is what then sends them the traffic that Kubernetes wants them to have
/// (KEP-1669).
pub(crate) fn message(row: &EndpointSet) -> endpoint::ClusterLoadAssignment {
    let of = |health: EndpointHealth| row.endpoints.iter().filter(move |endpoint| endpoint.health == health);
    let mut localities = by_zone(of(EndpointHealth::Healthy), 0);
    let priority = u32::from(!localities.is_empty());
    localities.extend(by_zone(of(EndpointHealth::Draining), priority));
    endpoint::ClusterLoadAssignment { cluster_name: row.name.to_string(), endpoints: localities, ..Default::default() }
}

fn by_zone<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, priority: u32) -> Vec<endpoint::LocalityLbEndpoints> {
    let mut zones: BTreeMap<&str, Vec<endpoint::LbEndpoint>> = BTreeMap::new();
    for one in endpoints {
        zones.entry(&*one.zone).or_default().push(lb_endpoint(one));
    }
    let locality = |zone: &str| core::Locality { zone: zone.to_string(), ..Default::default() };
    zones
        .into_iter()
        .map(|(zone, lb_endpoints)| endpoint::LocalityLbEndpoints {
            locality: (!zone.is_empty()).then(|| locality(zone)),
            lb_endpoints,
            priority,
            ..Default::default()
        })
        .collect()
}

fn lb_endpoint(one: &Endpoint) -> endpoint::LbEndpoint {
    let mut out = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address(&one.address.to_string(), one.port, false)),
            ..Default::default()
        })),
        ..Default::default()
    };
    if one.health == EndpointHealth::Draining {
        out.set_health_status(core::HealthStatus::Draining);
    }
    out
}
