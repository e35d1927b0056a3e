//! What one more Mapping adds to what Envoy is sent, beside what upstream sends for it.

use crate::{custom, listener, object, puts};
use compiler::{Compiler, Options};
use envoy::Renderer;
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{BoolValue, Duration};
use envoy_types::util::pack_any;
use serde_json::{Value, json};
use xds::ResourceType;

/// A Host with TLS whose clear text redirects, on one Listener, and Mappings with a service of their own each.
pub fn print() {
    let (before, after) = (sent(50), sent(51));
    let upstream_routes: usize =
        [Side::Secure, Side::Insecure].iter().map(|side| field(pack_any(upstream_route(side)).value.len())).sum();
    println!(
        "\nbytes of one Mapping with a service of its own, by TLS and redirected clear text; upstream's in parentheses"
    );
    println!(
        "RDS {} ({}: two routes in each of two tables), CDS {} ({})",
        after.0 - before.0,
        2 * upstream_routes,
        after.1 - before.1,
        // A resource of its own.
        pack_any(upstream_cluster()).value.len(),
    );
}

/// Bytes of all route tables, and of all clusters.
fn sent(mappings: usize) -> (usize, usize) {
    let mut values = vec![
        listener("https", 8443, "HTTPS"),
        custom(
            "Host",
            "h",
            json!({
                "hostname": "shop.example.com", "tlsSecret": { "name": "cert" },
            }),
        ),
    ];
    values.extend((100..100 + mappings).map(|index| {
        custom(
            "Mapping",
            &format!("m{index}"),
            json!({
                "hostname": "shop.example.com", "prefix": format!("/item{index}/"), "service": format!("item{index}"),
            }),
        )
    }));
    let objects: Vec<_> = values.iter().filter_map(|value: &Value| object(value)).collect();
    let mut compiler = Compiler::new(Options::default());
    let outcome = compiler.apply(puts(&objects));
    let delta = Renderer::new(envoy::Options::default()).apply(&outcome.rows, 1);
    let of = |kind: ResourceType| {
        let resources = delta.upserts.iter().filter(|resource| resource.kind == kind);
        resources.map(|resource| resource.payload.len()).sum()
    };
    (of(ResourceType::Route), of(ResourceType::Cluster))
}

/// An encoded message as a field of another: with a byte for the number, and one or two for the length.
fn field(encoded: usize) -> usize {
    encoded + if encoded < 128 { 2 } else { 3 }
}

enum Side {
    Secure,
    Insecure,
}

/// The route that upstream makes of a Mapping, as recorded of its releases 3 and 4.
fn upstream_route(side: &Side) -> route::Route {
    let exact = |text: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.into())),
        ..StringMatcher::default()
    };
    let header = |name: &str, value: &str| route::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(route::header_matcher::HeaderMatchSpecifier::StringMatch(exact(value))),
        ..route::HeaderMatcher::default()
    };
    let mut headers = vec![header(":authority", "shop.example.com")];
    if matches!(side, Side::Secure) {
        headers.push(header("x-forwarded-proto", "https"));
    }
    let matches = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/item100/".into())),
        case_sensitive: Some(BoolValue { value: true }),
        runtime_fraction: Some(core::RuntimeFractionalPercent {
            default_value: Some(FractionalPercent { numerator: 100, denominator: 0 }),
            runtime_key: "routing.traffic_shift.cluster_item100_default".into(),
        }),
        headers,
        ..route::RouteMatch::default()
    };
    let action = match side {
        Side::Secure => route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster("cluster_item100_default".into())),
            timeout: Some(Duration { seconds: 3, nanos: 0 }),
            prefix_rewrite: "/".into(),
            ..route::RouteAction::default()
        }),
        Side::Insecure => route::route::Action::Redirect(route::RedirectAction {
            scheme_rewrite_specifier: Some(route::redirect_action::SchemeRewriteSpecifier::HttpsRedirect(true)),
            ..route::RedirectAction::default()
        }),
    };
    route::Route { r#match: Some(matches), action: Some(action), ..route::Route::default() }
}

/// The cluster that upstream makes of its service.
fn upstream_cluster() -> cluster::Cluster {
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "item100".into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
            ..core::SocketAddress::default()
        })),
    };
    let host = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(address),
            ..endpoint::Endpoint::default()
        })),
        ..endpoint::LbEndpoint::default()
    };
    cluster::Cluster {
        name: "cluster_item100_default".into(),
        alt_stat_name: "item100".into(),
        connect_timeout: Some(Duration { seconds: 3, nanos: 0 }),
        dns_lookup_family: cluster::cluster::DnsLookupFamily::V4Only.into(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::StrictDns.into(),
        )),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: "cluster_item100_default".into(),
            endpoints: vec![endpoint::LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }],
            ..endpoint::ClusterLoadAssignment::default()
        }),
        ..cluster::Cluster::default()
    }
}
