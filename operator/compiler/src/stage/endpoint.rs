//! Endpoint sets: the only rows that an endpoint edit touches.

use crate::db::Db;
use crate::incr::Reads;
use crate::object::Body;
use api::core::Service;
use ir::{Endpoint, EndpointHealth, EndpointSet, Kind, ObjectKey};
use std::net::IpAddr;
use std::sync::Arc;

/// Namespace, Service, port.
pub type EndpointKey = (Arc<str>, Arc<str>, u16);

/// The EDS name.
pub fn name(key: &EndpointKey) -> Arc<str> {
    format!("k8s/{}/{}/{}", key.0, key.1, key.2).into()
}

/// The key of an EDS name that [`name`] made.
pub fn parse_name(name: &str) -> Option<EndpointKey> {
    let mut parts = name.strip_prefix("k8s/")?.split('/');
    let (namespace, service, port) = (parts.next()?, parts.next()?, parts.next()?);
    Some((namespace.into(), service.into(), port.parse().ok()?))
}

/// Row of `endpoints`: the ready addresses of all slices of a Service, and if there are none, those that are
/// terminating but still serve (KEP-1669).
pub fn row(db: &Db, reads: &Reads, key: &EndpointKey) -> Option<Arc<EndpointSet>> {
    db.endpoint_users.get(&db.graph, reads, key)?;
    let (namespace, service, port) = key;
    let port_names =
        decoded_service(db, reads, namespace, service).map(|found| port_names(found, *port)).unwrap_or_default();
    let (mut healthy, mut draining) = (Vec::new(), Vec::new());
    let slices = db.slices_of.get(&db.graph, reads, &(namespace.clone(), service.clone()));
    for slice_key in slices.into_iter().flatten() {
        let Some(object) = db.objects.get(&db.graph, reads, slice_key) else { continue };
        let Body::EndpointSlice(decoded) = &object.body else { continue };
        let Ok(slice) = &decoded.value else { continue };
        let ports = slice.ports.iter().filter(|found| port_names.contains(&&*found.name));
        let ports: Vec<u16> = ports.filter_map(|found| found.port).collect();
        for endpoint in &slice.endpoints {
            let health = match (endpoint.ready, endpoint.serving && endpoint.terminating) {
                (true, _) => EndpointHealth::Healthy,
                (false, true) => EndpointHealth::Draining,
                (false, false) => continue,
            };
            let zone: Arc<str> = endpoint.zone.as_deref().unwrap_or_default().into();
            for address in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                let set = if health == EndpointHealth::Healthy { &mut healthy } else { &mut draining };
                set.extend(ports.iter().map(|port| Endpoint { address, port: *port, health, zone: zone.clone() }));
            }
        }
    }
    let chosen = if healthy.is_empty() { draining } else { healthy };
    Some(Arc::new(EndpointSet { name: name(key), endpoints: one_family(chosen) }))
}

/// Row of `readiness`: whether any endpoint of a Service can take traffic, for status alone. It follows [`row`], but for
/// Services that are addressed by their ClusterIP, too, whose endpoints are nothing to Envoy. A row of its own, so that
/// an endpoint change wakes no verdict: one Service may carry all Mappings.
pub fn readiness(db: &Db, reads: &Reads, key: &EndpointKey) -> Option<bool> {
    db.readiness_users.get(&db.graph, reads, key)?;
    let (namespace, service, port) = key;
    let found = decoded_service(db, reads, namespace, service).filter(|service| service.external_name.is_none())?;
    let port_names = port_names(found, *port);
    let Some(slices) = db.slices_of.get(&db.graph, reads, &(namespace.clone(), service.clone())) else {
        let known = db.options.endpoint_slices || db.endpoint_users.get(&db.graph, reads, key).is_some();
        return known.then_some(false);
    };
    let usable = |slice_key: &ObjectKey| {
        let Some(object) = db.objects.get(&db.graph, reads, slice_key) else { return false };
        let Body::EndpointSlice(decoded) = &object.body else { return false };
        let Ok(slice) = &decoded.value else { return false };
        slice.ports.iter().any(|one| one.port.is_some() && port_names.contains(&&*one.name))
            && slice.endpoints.iter().any(|one| one.ready || one.serving && one.terminating)
    };
    Some(slices.iter().any(usable))
}

/// Each once, in order. A dual-stack Service has slices of both families for the same pods; IPv4 is what upstream's clusters
/// use.
fn one_family(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    if endpoints.iter().any(|endpoint| endpoint.address.is_ipv4()) {
        endpoints.retain(|endpoint| endpoint.address.is_ipv4());
    }
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints
}

/// The Service, if there is one that can be read.
fn decoded_service<'a>(db: &'a Db, reads: &Reads, namespace: &Arc<str>, service: &Arc<str>) -> Option<&'a Service> {
    let key = ObjectKey::new(Kind::Service, namespace.clone(), service.clone());
    match &db.objects.get(&db.graph, reads, &key)?.body {
        Body::Service(decoded) => decoded.value.as_ref().ok(),
        _ => None,
    }
}

/// Names under which the slices of this Service list the port. The slice's port number is the target port, so the
/// Service decides by name which of them belongs to the port that was asked for.
fn port_names(service: &Service, port: u16) -> Vec<&str> {
    service.ports.iter().filter(|candidate| candidate.port == port).map(|candidate| &*candidate.name).collect()
}

impl Db {
    /// Whether any EndpointSlice belongs to that Service.
    pub fn has_slices(&self, reads: &Reads, namespace: &Arc<str>, service: &Arc<str>) -> bool {
        self.slices_of.get(&self.graph, reads, &(namespace.clone(), service.clone())).is_some()
    }
}
