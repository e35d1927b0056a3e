//! Clusters.

use crate::health_check;
use crate::proto::{TlsOptions, address, ads_for_endpoints, duration_ms, u32_value};
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as http;
use envoy_types::util::pack_any;
use ir::{CircuitBreaker, ClientTls, Cluster, Discovery, DnsFamily, Keepalive, LoadBalancing};
use std::collections::HashMap;
use std::sync::Arc;
use xds::ResourceType;

/// The key of the HTTP options among the extension protocol options.
const HTTP_PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The message of a cluster. DNS clusters use Envoy's long-standing fields rather than the newer `cluster_type`
/// extension: tools that read configurations know them, and Envoy 1.40 takes both. The map of
/// protocol options has at most one entry, so the encoding is canonical.
#[expect(deprecated, reason = "see above")]
pub(crate) fn message(row: &Cluster) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy};
    let mut out = cluster::Cluster {
        name: row.name.to_string(),
        alt_stat_name: row.alt_stat_name.to_string(),
        connect_timeout: Some(duration_ms(row.connect_timeout_ms)),
        circuit_breakers: circuit_breakers(&row.circuit_breakers),
        typed_extension_protocol_options: protocol_options(row),
        transport_socket: row.tls.as_ref().map(transport_socket),
        upstream_connection_options: row.keepalive.as_ref().map(|keepalive| cluster::UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..Default::default()
        }),
        health_checks: row.health_checks.iter().map(health_check::message).collect(),
        ..Default::default()
    };
    out.set_lb_policy(match row.load_balancing {
        LoadBalancing::RoundRobin => LbPolicy::RoundRobin,
        LoadBalancing::LeastRequest => LbPolicy::LeastRequest,
        LoadBalancing::RingHash => LbPolicy::RingHash,
        LoadBalancing::Maglev => LbPolicy::Maglev,
    });
    let discovery = match &row.discovery {
        Discovery::Static { address, port, hostname } => {
            out.load_assignment = Some(one_endpoint(&row.name, &address.to_string(), *port, hostname.as_deref()));
            DiscoveryType::Static
        }
        Discovery::Dns { host, port, logical, respect_ttl } => {
            out.load_assignment = Some(one_endpoint(&row.name, host, *port, None));
            out.respect_dns_ttl = *respect_ttl;
            out.set_dns_lookup_family(match row.dns_family {
                DnsFamily::V4Only => DnsLookupFamily::V4Only,
                DnsFamily::V6Only => DnsLookupFamily::V6Only,
                DnsFamily::Auto => DnsLookupFamily::Auto,
            });
            if *logical { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns }
        }
        Discovery::Endpoints(name) => {
            out.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(ads_for_endpoints()), service_name: name.to_string() });
            DiscoveryType::Eds
        }
    };
    out.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery.into()));
    out
}

/// What has to follow the cluster on a stream: its endpoints, and the secrets it uses.
pub(crate) fn companions(row: &Cluster) -> Arc<[(ResourceType, Arc<str>)]> {
    let endpoints = match &row.discovery {
        Discovery::Endpoints(name) => Some((ResourceType::Endpoint, name.clone())),
        Discovery::Static { .. } | Discovery::Dns { .. } => None,
    };
    let tls = row.tls.iter().flat_map(|tls| tls.certificate.iter().chain(&tls.validation));
    endpoints.into_iter().chain(tls.map(|name| (ResourceType::Secret, name.clone()))).collect()
}

fn one_endpoint(cluster: &str, host: &str, port: u16, hostname: Option<&str>) -> endpoint::ClusterLoadAssignment {
    endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_string(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
                    address: Some(address(host, port, false)),
                    hostname: hostname.unwrap_or_default().to_owned(),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn circuit_breakers(limits: &[CircuitBreaker]) -> Option<cluster::CircuitBreakers> {
    let threshold = |limit: &CircuitBreaker| {
        let mut out = cluster::circuit_breakers::Thresholds {
            max_connections: limit.max_connections.map(u32_value),
            max_pending_requests: limit.max_pending_requests.map(u32_value),
            max_requests: limit.max_requests.map(u32_value),
            max_retries: limit.max_retries.map(u32_value),
            ..Default::default()
        };
        if limit.high_priority {
            out.set_priority(core::RoutingPriority::High);
        }
        out
    };
    let thresholds: Vec<_> = limits.iter().map(threshold).collect();
    (!thresholds.is_empty()).then(|| cluster::CircuitBreakers { thresholds, ..Default::default() })
}

fn tcp_keepalive(keepalive: &Keepalive) -> core::TcpKeepalive {
    core::TcpKeepalive {
        keepalive_probes: keepalive.probes.map(u32_value),
        keepalive_time: keepalive.idle_time_s.map(u32_value),
        keepalive_interval: keepalive.interval_s.map(u32_value),
    }
}

fn protocol_options(row: &Cluster) -> HashMap<String, envoy_types::pb::google::protobuf::Any> {
    use http::http_protocol_options::explicit_http_config::ProtocolConfig;
    use http::http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions};
    if !row.http2 && row.idle_timeout_ms.is_none() && row.max_connection_ms.is_none() {
        return HashMap::new();
    }
    let protocol = match row.http2 {
        true => ProtocolConfig::Http2ProtocolOptions(Default::default()),
        false => ProtocolConfig::HttpProtocolOptions(Default::default()),
    };
    let common = core::HttpProtocolOptions {
        idle_timeout: row.idle_timeout_ms.map(duration_ms),
        max_connection_duration: row.max_connection_ms.map(duration_ms),
        ..Default::default()
    };
    let options = http::HttpProtocolOptions {
        common_http_protocol_options: (common != Default::default()).then_some(common),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..Default::default()
    };
    HashMap::from([(HTTP_PROTOCOL_OPTIONS.to_string(), pack_any(options))])
}

fn transport_socket(tls: &ClientTls) -> core::TransportSocket {
    let options = TlsOptions {
        certificate: tls.certificate.as_ref(),
        validation: tls.validation.as_ref(),
        alpn: &tls.alpn,
        min_version: tls.min_version,
        max_version: tls.max_version,
        cipher_suites: &tls.cipher_suites,
        ecdh_curves: &tls.ecdh_curves,
    };
    let context = UpstreamTlsContext {
        common_tls_context: Some(options.context()),
        sni: tls.sni.as_ref().map(|sni| sni.to_string()).unwrap_or_default(),
        ..Default::default()
    };
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_string(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack_any(context))),
    }
}
