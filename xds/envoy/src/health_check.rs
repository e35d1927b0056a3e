//! Active health checks of clusters.

use crate::proto::{duration_ms, strings, u32_value};
use crate::route::header_value;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::v3::Int64Range;
use ir::{HealthCheck, HealthProbe};

/// The message of a health check.
pub(crate) fn message(check: &HealthCheck) -> core::HealthCheck {
    use core::health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck};
    let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map(|text| text.to_string()).unwrap_or_default();
    let checker = match &check.probe {
        HealthProbe::Http { path, host, add_headers, remove_headers, expected } => {
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                path: path.to_string(),
                host: text(host),
                request_headers_to_add: add_headers.iter().map(header_value).collect(),
                request_headers_to_remove: strings(remove_headers),
                // Envoy's ranges end before their end.
                expected_statuses: expected
                    .iter()
                    .map(|(first, last)| Int64Range { start: (*first).into(), end: i64::from(*last) + 1 })
                    .collect(),
                ..Default::default()
            })
        }
        HealthProbe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.to_string(),
            authority: text(authority),
            ..Default::default()
        }),
    };
    core::HealthCheck {
        timeout: Some(duration_ms(check.timeout_ms)),
        interval: Some(duration_ms(check.interval_ms)),
        healthy_threshold: Some(u32_value(check.healthy_threshold)),
        unhealthy_threshold: Some(u32_value(check.unhealthy_threshold)),
        health_checker: Some(checker),
        ..Default::default()
    }
}
