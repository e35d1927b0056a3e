//! Listeners with their chains; never a group.

use crate::db::Db;
use crate::incr::Reads;
use ir::{Bind, HttpSettings, ListenerFilter, ListenerRow, ObjectKey};
use std::sync::Arc;

/// Row of `listeners`. A Listener without a chain is left out, as Envoy would accept connections and drop them.
pub fn row(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<ListenerRow>> {
    let listener = db.bound.get(&db.graph, reads, key)?;
    let defaults = db.http_defaults(reads);
    let mut chains = Vec::new();
    for chain in db.chains_of.get(&db.graph, reads, key).into_iter().flatten() {
        chains.extend(db.chains.get(&db.graph, reads, &(key.clone(), chain.clone())).cloned());
    }
    if chains.is_empty() {
        return None;
    }
    chains.sort_by(|left, right| left.name.cmp(&right.name));
    let http = HttpSettings {
        stat_prefix: listener.stats_prefix.clone(),
        xff_num_trusted_hops: listener.l7_depth,
        max_concurrent_streams: listener.max_concurrent_streams,
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
        access_log: defaults.access_log.clone(),
    };
    Some(Arc::new(ListenerRow {
        name: key.path().into(),
        bind: Bind { address: db.options.bind_address.clone(), port: listener.port, udp: listener.udp },
        filters: filters(&listener.filters),
        buffer_limit_bytes: defaults.buffer_limit_bytes,
        http: Arc::new(http),
        chains,
    }))
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
