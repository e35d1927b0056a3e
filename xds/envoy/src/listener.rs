//! Listeners, spliced from their filter chains.

use crate::http::Template;
use crate::proto::{TlsOptions, address, bool_value, duration_ms, strings, u32_value};
use crate::wire::{Composed, Rope, hash, put_message};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use ir::{Chain, ChainBody, ChainMatch, HttpSettings, ListenerFilter, ListenerRow, ServerTls};
use prost::Message;
use std::sync::Arc;
use xds::{Payload, Version};

/// Field number of a filter chain in a `Listener`.
const LISTENER_FILTER_CHAINS: u32 = 3;

/// The SDS name of a chain that names no certificate. No Secret has it, so it is answered by a removal, and handshakes
/// fail instead of the listener being refused.
const NO_CERTIFICATE: &str = "-/-";

/// One chain, encoded as a field of its listener.
#[derive(Debug)]
struct RenderedChain {
    source: Arc<Chain>,
    field: Bytes,
    hash: u64,
}

/// A listener with its encoded chains.
#[derive(Debug)]
pub(crate) struct RenderedListener {
    row: Arc<ListenerRow>,
    chains: Vec<RenderedChain>,
    version: Version,
}

impl RenderedListener {
    /// A listener, with every chain taken over from its former state that is the same.
    pub fn new(row: Arc<ListenerRow>, former: Option<RenderedListener>) -> Self {
        let former = former.filter(|former| same_settings(&former.row.http, &row.http) && former.row.bind == row.bind);
        let mut old = former.map(|former| former.chains).unwrap_or_default().into_iter().peekable();
        let mut template = None;
        let mut chains = Vec::with_capacity(row.chains.len());
        for chain in &row.chains {
            while old.next_if(|before| before.source.name < chain.name).is_some() {}
            chains.push(match old.next_if(|before| before.source == *chain) {
                Some(same) => same,
                None => {
                    let template = template.get_or_insert_with(|| Template::new(&row.http, row.bind.udp));
                    RenderedChain::new(chain.clone(), template, row.bind.udp)
                }
            });
        }
        let mut composed = Composed::new("listener");
        for part in [head(&row), tail(&row)] {
            composed.add(hash(&part));
        }
        chains.iter().for_each(|chain| composed.add(chain.hash));
        Self { row, chains, version: Version::of_hash(composed.done()) }
    }

    /// Content hash.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Envoy refuses a listener without chains.
    pub fn is_valid(&self) -> bool {
        !self.chains.is_empty()
    }

    /// The encoded `Listener`: fields before the chains, the chains, fields behind them.
    pub fn payload(&self) -> Payload {
        let mut rope = Rope::from(head(&self.row));
        self.chains.iter().for_each(|chain| rope.push(chain.field.clone()));
        rope.push(tail(&self.row));
        rope.into_payload()
    }
}

fn same_settings(left: &Arc<HttpSettings>, right: &Arc<HttpSettings>) -> bool {
    Arc::ptr_eq(left, right) || left == right
}

fn head(row: &ListenerRow) -> Vec<u8> {
    listener::Listener {
        name: row.name.to_string(),
        address: Some(address(&row.bind.address, row.bind.port, row.bind.udp)),
        ..Default::default()
    }
    .encode_to_vec()
}

fn tail(row: &ListenerRow) -> Vec<u8> {
    listener::Listener {
        per_connection_buffer_limit_bytes: row.buffer_limit_bytes.map(u32_value),
        listener_filters: row.filters.iter().map(|filter| listener_filter(*filter)).collect(),
        udp_listener_config: row.bind.udp.then(|| listener::UdpListenerConfig {
            quic_options: Some(Default::default()),
            downstream_socket_config: Some(core::UdpSocketConfig {
                prefer_gro: bool_value(true),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn listener_filter(filter: ListenerFilter) -> listener::ListenerFilter {
    let (name, config) = match filter {
        ListenerFilter::ProxyProtocol => ("envoy.filters.listener.proxy_protocol", pack_any(ProxyProtocol::default())),
        ListenerFilter::TlsInspector => ("envoy.filters.listener.tls_inspector", pack_any(TlsInspector::default())),
    };
    listener::ListenerFilter {
        name: name.to_string(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

impl RenderedChain {
    fn new(source: Arc<Chain>, template: &Template, quic: bool) -> Self {
        let filter = match &source.body {
            ChainBody::Http { table } => template.filter(table),
            ChainBody::Tcp(proxy) => tcp_proxy(proxy),
        };
        let message = listener::FilterChain {
            name: source.name.to_string(),
            filter_chain_match: match &source.matches {
                ChainMatch::Tls(names) => Some(listener::FilterChainMatch {
                    server_names: strings(names),
                    transport_protocol: if quic { "quic" } else { "tls" }.to_string(),
                    ..Default::default()
                }),
                ChainMatch::Rest => None,
            },
            filters: vec![filter],
            transport_socket: source.tls.as_ref().map(|tls| transport_socket(tls, quic)),
            ..Default::default()
        };
        let mut field = Vec::new();
        put_message(&mut field, LISTENER_FILTER_CHAINS, &message);
        let hash = hash(&field);
        Self { source, field: field.into(), hash }
    }
}

fn tcp_proxy(proxy: &ir::TcpProxy) -> listener::Filter {
    use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
    let weighted = |(name, weight): &(Arc<str>, u32)| ClusterWeight {
        name: name.to_string(),
        weight: *weight,
        ..Default::default()
    };
    let clusters = match proxy.clusters.as_slice() {
        [(name, _)] => ClusterSpecifier::Cluster(name.to_string()),
        several => {
            ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: several.iter().map(weighted).collect() })
        }
    };
    let message = tcp::TcpProxy {
        stat_prefix: proxy.stat_prefix.to_string(),
        cluster_specifier: Some(clusters),
        idle_timeout: proxy.idle_timeout_ms.map(duration_ms),
        ..Default::default()
    };
    listener::Filter {
        name: "envoy.filters.network.tcp_proxy".to_string(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack_any(message))),
    }
}

fn transport_socket(tls: &ServerTls, quic: bool) -> core::TransportSocket {
    let context = server_context(tls, quic);
    let (name, config): (_, Any) = match quic {
        false => ("envoy.transport_sockets.tls", pack_any(context)),
        true => (
            "envoy.transport_sockets.quic",
            pack_any(QuicDownstreamTransport { downstream_tls_context: Some(context), ..Default::default() }),
        ),
    };
    core::TransportSocket {
        name: name.to_string(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

/// The settings of a server. QUIC negotiates HTTP/3 and nothing else: the protocols named for TCP would fail there.
fn server_context(tls: &ServerTls, quic: bool) -> DownstreamTlsContext {
    let none = Arc::from(NO_CERTIFICATE);
    let options = TlsOptions {
        certificate: Some(tls.certificate.as_ref().unwrap_or(&none)),
        validation: tls.validation.as_ref(),
        alpn: if quic { &[] } else { &tls.alpn },
        min_version: tls.min_version,
        max_version: tls.max_version,
        cipher_suites: &tls.cipher_suites,
        ecdh_curves: &tls.ecdh_curves,
    };
    DownstreamTlsContext {
        common_tls_context: Some(options.context()),
        require_client_certificate: tls.require_client_certificate.then(|| bool_value(true)).flatten(),
        ..Default::default()
    }
}
