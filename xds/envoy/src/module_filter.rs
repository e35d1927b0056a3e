//! HTTP filters that the Module asks for, by name and configuration. Where they stand is decided in `http`.
//!
//! Sources: <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/http_filters>. The names are upstream's.

use crate::proto::{any, bool_value, strings};
use envoy_types::pb::envoy::config::core::v3::{GrpcMethodList, grpc_method_list};
use envoy_types::pb::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config as GrpcHttp1Bridge;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as stats;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::google::protobuf::Any;
use ir::{GrpcMethods, GrpcService, GrpcStats};
use stats::filter_config::PerMethodStatSpecifier;

/// gRPC for clients of HTTP/1.1.
pub(crate) fn grpc_http1_bridge() -> (&'static str, Any) {
    ("envoy.filters.http.grpc_http1_bridge", any(&GrpcHttp1Bridge::default()))
}

/// gRPC for browsers.
pub(crate) fn grpc_web() -> (&'static str, Any) {
    ("envoy.filters.http.grpc_web", any(&GrpcWeb::default()))
}

/// Counters of gRPC calls.
pub(crate) fn grpc_stats(settings: &GrpcStats) -> (&'static str, Any) {
    let methods = match &settings.methods {
        GrpcMethods::Unnamed => None,
        GrpcMethods::All => bool_value(true).map(PerMethodStatSpecifier::StatsForAllMethods),
        GrpcMethods::Of(services) => Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(GrpcMethodList {
            services: services.iter().map(service).collect(),
        })),
    };
    let config = stats::FilterConfig {
        enable_upstream_stats: settings.upstream,
        per_method_stat_specifier: methods,
        ..Default::default()
    };
    ("envoy.filters.http.grpc_stats", any(&config))
}

fn service(service: &GrpcService) -> grpc_method_list::Service {
    grpc_method_list::Service { name: service.name.to_string(), method_names: strings(&service.methods) }
}
