//! HTTP filters that the Module asks for, by name and configuration. Where they stand is decided in `http`.
//!
//! Sources: <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/http_filters>. The names are upstream's.

use crate::proto::{any, bool_value, strings, u32_value};
use envoy_types::pb::envoy::config::core::v3::{GrpcMethodList, TypedExtensionConfig, grpc_method_list};
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3 as zlib;
use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::{Compressor, compressor};
use envoy_types::pb::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config as GrpcHttp1Bridge;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as stats;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use ir::{GrpcMethods, GrpcService, GrpcStats, Gzip, GzipStrategy};
use stats::filter_config::PerMethodStatSpecifier;
use std::num::NonZeroU32;

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

/// Compressed answers.
pub(crate) fn gzip(settings: &Gzip) -> (&'static str, Any) {
    let mut library = zlib::Gzip {
        memory_level: settings.memory_level.map(u32_value),
        // The numbers of Envoy's levels are zlib's, and 0 is its default.
        compression_level: settings.level.map_or(0, |level| level as i32),
        window_bits: settings.window_bits.map(u32_value),
        ..Default::default()
    };
    if let Some(strategy) = settings.strategy {
        library.set_compression_strategy(match strategy {
            GzipStrategy::Filtered => zlib::gzip::CompressionStrategy::Filtered,
            GzipStrategy::HuffmanOnly => zlib::gzip::CompressionStrategy::HuffmanOnly,
            GzipStrategy::Rle => zlib::gzip::CompressionStrategy::Rle,
            GzipStrategy::Fixed => zlib::gzip::CompressionStrategy::Fixed,
        });
    }
    let config = Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: "envoy.compression.gzip.compressor".to_string(),
            typed_config: Some(any(&library)),
        }),
        response_direction_config: Some(compressor::ResponseDirectionConfig {
            common_config: Some(compressor::CommonDirectionConfig {
                min_content_length: settings.min_content_length.map(u32_value),
                content_type_matcher: settings.content_types.iter().map(|name| media_type(name)).collect(),
                ..Default::default()
            }),
            disable_on_etag_header: settings.not_with_etag,
            remove_accept_encoding_header: settings.remove_accept_encoding,
            ..Default::default()
        }),
        ..Default::default()
    };
    ("envoy.filters.http.gzip", any(&config))
}

/// What the list of names did that Envoy warns about since it has matchers: it compared without case.
fn media_type(name: &str) -> StringMatcher {
    StringMatcher { ignore_case: true, match_pattern: Some(MatchPattern::Exact(name.to_string())) }
}

/// Requests that are read to their end.
pub(crate) fn buffer(bytes: NonZeroU32) -> (&'static str, Any) {
    ("envoy.filters.http.buffer", any(&Buffer { max_request_bytes: Some(u32_value(bytes.get())) }))
}

fn service(service: &GrpcService) -> grpc_method_list::Service {
    grpc_method_list::Service { name: service.name.to_string(), method_names: strings(&service.methods) }
}
