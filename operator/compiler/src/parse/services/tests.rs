use crate::parse::tests::{table, value};
use crate::parse::{Parsed, ParsedRateLimitService, ResolverKind};
use ir::Kind;
use serde_json::json;

#[test]
fn auth_services_guard_and_are_checked() {
    const GUARD: &str = "Degraded spec NotSupported";
    table(
        Kind::AuthService,
        &json!({"auth_service": "auth"}),
        &[
            (json!({}), &[GUARD]),
            (json!({"auth_service": "a b"}), &["Refused spec.auth_service InvalidService", GUARD]),
            (json!({"proto": "grpc"}), &["Refused spec.protocol_version InvalidValue", GUARD]),
            (json!({"proto": "grpc", "protocol_version": "v3"}), &[GUARD]),
            (json!({"timeout_ms": -1}), &["Degraded spec.timeout_ms InvalidValue", GUARD]),
            (
                json!({"allowed_request_headers": ["x", "a b"]}),
                &["Degraded spec.allowed_request_headers[1] InvalidValue", GUARD],
            ),
            (
                json!({"allowed_authorization_headers": [""]}),
                &["Degraded spec.allowed_authorization_headers[0] InvalidValue", GUARD],
            ),
            (
                json!({"add_auth_headers": {"a": "b\n", "host": "x"}}),
                &[
                    "Degraded spec.add_auth_headers.a InvalidValue",
                    "Degraded spec.add_auth_headers.host InvalidValue",
                    GUARD,
                ],
            ),
            (
                json!({"include_body": {"max_bytes": 0, "allow_partial": true}}),
                &["Refused spec.include_body.max_bytes InvalidValue", GUARD],
            ),
            (
                json!({"include_body": {"max_bytes": 1, "allow_partial": true}, "allow_request_body": true}),
                &["Degraded spec.allow_request_body ConflictingFields", GUARD],
            ),
            (json!({"status_on_error": {"code": 99}}), &["Degraded spec.status_on_error.code InvalidValue", GUARD]),
            (
                json!({"circuit_breakers": [{"max_retries": -1}]}),
                &["Degraded spec.circuit_breakers[0].max_retries InvalidValue", GUARD],
            ),
            (json!({"path_prefix": "/\n"}), &["Refused spec.path_prefix InvalidValue", GUARD]),
        ],
    );
}

#[test]
fn rate_limit_services_say_what_they_guard() {
    const GUARD: &str = "Degraded spec NotSupported";
    let base = json!({"service": "limits", "protocol_version": "v3"});
    table(
        Kind::RateLimitService,
        &base,
        &[
            (json!({}), &[GUARD]),
            (json!({"service": ":80"}), &["Refused spec.service InvalidService", GUARD]),
            (json!({"protocol_version": null}), &["Degraded spec.protocol_version InvalidValue", GUARD]),
            (json!({"timeout_ms": -5}), &["Degraded spec.timeout_ms InvalidValue", GUARD]),
        ],
    );
    let spec = json!({"service": "limits", "protocol_version": "v3", "domain": "d", "failure_mode_deny": true});
    let found = crate::parse::tests::judge(Kind::RateLimitService, spec).value;
    let expected = ParsedRateLimitService { domain: Some("d".into()), failure_mode_deny: true };
    assert_eq!(found, Some(Parsed::RateLimitService(expected)));
}

#[test]
fn log_services_are_checked() {
    const NOTICE: &str = "Notice spec NotSupported";
    let base = json!({"service": "logs", "driver": "http", "protocol_version": "v3"});
    table(
        Kind::LogService,
        &base,
        &[
            (json!({}), &[NOTICE]),
            (json!({"service": null}), &["Refused spec.service InvalidValue", NOTICE]),
            (json!({"service": "a:b"}), &["Refused spec.service InvalidService", NOTICE]),
            (json!({"driver": null}), &["Refused spec.driver InvalidValue", NOTICE]),
            (json!({"protocol_version": "v2"}), &["Refused spec.protocol_version InvalidValue", NOTICE]),
            (json!({"flush_interval_time": -1}), &["Degraded spec.flush_interval_time InvalidValue", NOTICE]),
            (json!({"flush_interval_byte_size": -1}), &["Degraded spec.flush_interval_byte_size InvalidValue", NOTICE]),
            (
                json!({"driver_config": {"additional_log_headers": [{"header_name": ""}]}}),
                &["Degraded spec.driver_config.additional_log_headers[0].header_name InvalidValue", NOTICE],
            ),
            (
                json!({"driver": "tcp", "driver_config": {"additional_log_headers": [{"header_name": "x"}]}}),
                &["Refused spec.driver_config.additional_log_headers ConflictingFields", NOTICE],
            ),
        ],
    );
}

#[test]
fn tracing_services_are_checked() {
    const NOTICE: &str = "Notice spec NotSupported";
    table(
        Kind::TracingService,
        &json!({"service": "traces", "driver": "zipkin"}),
        &[
            (json!({}), &[NOTICE]),
            (json!({"driver": "lightstep"}), &["Refused spec.driver InvalidValue", NOTICE]),
            (
                json!({"sampling": {"client": 101, "random": 0}}),
                &["Degraded spec.sampling.client InvalidValue", NOTICE],
            ),
            (
                json!({"custom_tags": [{"tag": ""}]}),
                &[
                    "Degraded spec.custom_tags[0].tag InvalidValue",
                    "Degraded spec.custom_tags[0] ConflictingFields",
                    NOTICE,
                ],
            ),
            (
                json!({"custom_tags": [{"tag": "t", "request_header": {"name": "a b"}}]}),
                &["Degraded spec.custom_tags[0].request_header.name InvalidValue", NOTICE],
            ),
            (json!({"tag_headers": ["x"]}), &["Notice spec.tag_headers Deprecated", NOTICE]),
            (json!({"tag_headers": ["x"], "custom_tags": []}), &["Notice spec.tag_headers NoEffect", NOTICE]),
            (
                json!({"config": {"collector_endpoint_version": "HTTP_JSON_V1"}}),
                &["Refused spec.config.collector_endpoint_version InvalidValue", NOTICE],
            ),
            (json!({"config": {"service_name": "x"}}), &["Notice spec.config.service_name NoEffect", NOTICE]),
            (json!({"driver": "datadog", "config": {"service_name": "x"}}), &[NOTICE]),
        ],
    );
}

#[test]
fn tcp_mappings_are_checked() {
    table(
        Kind::TCPMapping,
        &json!({"service": "foo:1", "port": 9000}),
        &[
            (json!({}), &[]),
            (json!({"service": "foo:70000"}), &["Refused spec.service InvalidService"]),
            (json!({"port": 0}), &["Refused spec.port InvalidValue"]),
            (json!({"host": "a.*.b"}), &["Refused spec.host InvalidValue"]),
            (json!({"host": ""}), &[]),
            (json!({"host": "*.example.com"}), &[]),
            (json!({"host": "example.*"}), &["Refused spec.host InvalidValue"]),
            (json!({"host": "*example.com"}), &["Refused spec.host InvalidValue"]),
            (json!({"address": "localhost"}), &["Refused spec.address InvalidValue"]),
            (json!({"weight": 101}), &["Refused spec.weight WeightOutOfRange"]),
            (json!({"idle_timeout_ms": "5s"}), &["Degraded spec.idle_timeout_ms InvalidValue"]),
            (json!({"idle_timeout_ms": "-5"}), &["Degraded spec.idle_timeout_ms InvalidValue"]),
            (
                json!({"circuit_breakers": [{"max_requests": -1}]}),
                &["Degraded spec.circuit_breakers[0].max_requests InvalidValue"],
            ),
            (json!({"cluster_tag": "a\n"}), &["Degraded spec.cluster_tag InvalidValue"]),
            (json!({"resolver": "a\n"}), &["Refused spec.resolver InvalidValue"]),
        ],
    );
}

#[test]
fn resolvers_and_portals_are_told_apart() {
    assert_eq!(value(Kind::KubernetesServiceResolver, json!({})), Parsed::Resolver(ResolverKind::Service));
    assert_eq!(value(Kind::KubernetesEndpointResolver, json!({})), Parsed::Resolver(ResolverKind::Endpoint));
    table(
        Kind::ConsulResolver,
        &json!({"datacenter": "dc1"}),
        &[
            (json!({}), &["Degraded spec NotSupported"]),
            (json!({"datacenter": ""}), &["Refused spec.datacenter InvalidValue", "Degraded spec NotSupported"]),
        ],
    );
    table(
        Kind::DevPortal,
        &json!({}),
        &[
            (json!({}), &["Notice spec NoEffect"]),
            (
                json!({"docs": [{"service": "a b"}]}),
                &["Refused spec.docs[0].service InvalidService", "Notice spec NoEffect"],
            ),
        ],
    );
    assert_eq!(value(Kind::DevPortal, json!({})), Parsed::Inert);
}
