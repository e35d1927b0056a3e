//! Listeners with their chains; never a group of Mappings.

use crate::db::Db;
use crate::incr::Reads;
use crate::stage::{error_response, tcp};
use ir::{Bind, Chain, ChainMatch, HttpSettings, ListenerFilter, ListenerRow, ObjectKey};
use std::sync::Arc;

/// Row of `listeners`: one that stands for a Listener, or that is made for TCPMappings on a port without one. A
/// Listener without a chain is left out, as Envoy would accept connections and drop them.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ListenerRow>> {
    let listener = if key.namespace.is_empty() { None } else { Some(db.bound.get(&db.graph, reads, key)?) };
    let bind = match listener {
        Some(listener) => Bind { address: db.options.bind_address.clone(), port: listener.port, udp: listener.udp },
        None => made_for(db, reads, key)?,
    };
    let mut chains = tcp_chains(db, reads, &bind);
    for chain in db.chains_of.get(&db.graph, reads, key).into_iter().flatten() {
        let chain = db.chains.get(&db.graph, reads, &(key.clone(), chain.clone())).cloned();
        // Of two chains for one server name the group of TCPMappings has decided whose it is.
        chains.extend(chain.filter(|chain| chains.iter().all(|other| other.matches != chain.matches)));
    }
    if chains.is_empty() {
        return None;
    }
    // Not before: an absent row that looked at something present is kept for the case that it changes, and this one
    // would be kept for every port that a TCPMapping ever had.
    let defaults = db.http_defaults(reads);
    chains.sort_by(|left, right| left.name.cmp(&right.name));
    let mut filters = filters(listener.map(|listener| listener.filters.as_slice()).unwrap_or_default());
    let needs_names = !bind.udp && chains.iter().any(|chain| matches!(chain.matches, ChainMatch::Tls(_)));
    if needs_names && !filters.contains(&ListenerFilter::TlsInspector) {
        filters.push(ListenerFilter::TlsInspector);
    }
    let http = HttpSettings {
        stat_prefix: listener.map(|listener| listener.stats_prefix.clone()).unwrap_or_default(),
        xff_num_trusted_hops: listener.map_or(0, |listener| listener.l7_depth),
        max_concurrent_streams: listener.and_then(|listener| listener.max_concurrent_streams),
        use_remote_address: defaults.use_remote_address,
        server_name: defaults.server_name.clone(),
        accept_http_10: defaults.accept_http_10,
        allow_chunked_length: defaults.allow_chunked_length,
        preserve_external_request_id: defaults.preserve_external_request_id,
        strip_matching_host_port: defaults.strip_matching_host_port,
        merge_slashes: defaults.merge_slashes,
        reject_escaped_slashes: defaults.reject_escaped_slashes,
        suppress_envoy_headers: defaults.suppress_envoy_headers,
        max_request_headers_kb: defaults.max_request_headers_kb,
        idle_timeout_ms: defaults.idle_timeout_ms,
        headers_with_underscores: defaults.headers_with_underscores,
        proper_case: defaults.proper_case,
        client_certificate: defaults.client_certificate,
        access_log: defaults.access_log.clone(),
        errors: error_response::of_module(db, reads),
        filters: defaults.filters.clone(),
    };
    Some(Arc::new(ListenerRow {
        name: tcp::listener_name(key),
        bind,
        filters,
        buffer_limit_bytes: defaults.buffer_limit_bytes,
        http: Arc::new(http),
        chains,
    }))
}

/// What a listener without a Listener binds: TCPMappings say so, unless there is a Listener.
fn made_for(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Bind> {
    let (address, port) = key.name.strip_prefix("listener-")?.rsplit_once('-')?;
    let (address, port): (Arc<str>, u16) = (address.into(), port.parse().ok()?);
    let taken = tcp::listener_of(db, reads, &(address.clone(), port)).is_some();
    (!taken).then_some(Bind { address, port, udp: false })
}

fn tcp_chains(db: &Db, reads: &Reads, bind: &Bind) -> Vec<Arc<Chain>> {
    if bind.udp {
        return Vec::new();
    }
    let groups = db.tcp_chains.get(&db.graph, reads, &(bind.address.clone(), bind.port)).into_iter().flatten();
    groups.filter_map(|id| db.tcp_groups.get(&db.graph, reads, id)?.chain.clone()).collect()
}

/// PROXY protocol comes before the TLS hello on the wire, whatever order the stack names them in: the other order,
/// which `HTTPSPROXY` stands for upstream, cannot work.
fn filters(stack: &[ListenerFilter]) -> Vec<ListenerFilter> {
    let mut filters = stack.to_vec();
    filters.sort_by_key(|filter| match filter {
        ListenerFilter::ProxyProtocol => 0,
        ListenerFilter::TlsInspector => 1,
    });
    filters
}
