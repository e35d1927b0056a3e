use super::access_log::TEXT;
use crate::parse::tests::{brief, judge_as};
use crate::parse::{Limits, Parsed, ParsedModule};
use ir::{AccessLogFormat, HeaderValue, Kind, LoadBalancing, UnderscoreAction};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn found(config: Value) -> (Arc<ParsedModule>, Vec<String>) {
    let found = judge_as(Kind::Module, "ambassador", json!({"config": config}), Limits::default());
    assert!(!found.is_refused(), "a bad setting falls back to its default");
    match found.value {
        Some(Parsed::Module(module)) => (module, brief(&found.problems)),
        other => panic!("{other:?}"),
    }
}

/// The module of a configuration without findings.
pub(super) fn parsed(config: Value) -> Arc<ParsedModule> {
    let (module, problems) = found(config);
    assert_eq!(problems, [""; 0]);
    module
}

pub(super) fn table(rows: &[(Value, &[&str])]) {
    for (config, expected) in rows {
        assert_eq!(found(config.clone()).1, *expected, "{config}");
    }
}

#[test]
fn an_empty_module_has_upstreams_defaults() {
    let module = parsed(json!({}));
    assert_eq!(*module, ParsedModule::default());
    let route = &module.route;
    assert_eq!((route.timeout_ms, route.regex_max_size, &*route.default_label_domain), (3000, 200, "ambassador"));
    assert_eq!((route.resolver.clone(), route.closed.clone(), route.own_namespace_for_services), (None, None, false));
    assert_eq!(
        (module.cluster.enable_ipv4, module.cluster.enable_ipv6, module.tls.secret_namespacing),
        (true, false, true)
    );
    let http = &module.http;
    assert_eq!((http.use_remote_address, &*http.server_name, http.max_request_headers_kb), (true, "envoy", None));
    assert_eq!((&*http.access_log.path, &http.access_log.format), ("/dev/fd/1", &AccessLogFormat::Text(TEXT.into())));
    let probes: Vec<(bool, &str, &str, &str)> = module
        .probes
        .iter()
        .map(|probe| (probe.enabled, &*probe.prefix, &*probe.rewrite, &*probe.service.text))
        .collect();
    assert_eq!(
        probes,
        [
            (true, "/ambassador/v0/check_alive", "/ambassador/v0/check_alive", "127.0.0.1:8877"),
            (true, "/ambassador/v0/check_ready", "/ambassador/v0/check_ready", "127.0.0.1:8877"),
            (true, "/ambassador/v0/", "/ambassador/v0/", "127.0.0.1:8877"),
        ]
    );
    assert_eq!(parsed(json!({"server_name": null, "ip_allow": null, "buffer": null})), module, "null is absent");
}

/// Log pipelines parse it, so it has to be the same to the letter.
#[test]
fn the_default_log_line_is_upstreams() {
    assert_eq!(
        TEXT,
        r#"ACCESS [%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#
            .to_owned()
            + "\n"
    );
    assert_eq!(crate::check::format::format_string(TEXT), Ok(()));
}

#[test]
fn bad_settings_fall_back_and_are_named() {
    table(&[
        (json!({"use_remote_address": 1}), &["Degraded spec.config.use_remote_address InvalidValue"]),
        (json!({"server_name": ["x"]}), &["Degraded spec.config.server_name InvalidValue"]),
        (json!({"server_name": "a\nb"}), &["Degraded spec.config.server_name InvalidValue"]),
        (json!({"cluster_request_timeout_ms": "5"}), &["Degraded spec.config.cluster_request_timeout_ms InvalidValue"]),
        (json!({"cluster_idle_timeout_ms": -1}), &["Degraded spec.config.cluster_idle_timeout_ms InvalidValue"]),
        (json!({"regex_max_size": 0}), &["Degraded spec.config.regex_max_size InvalidValue"]),
        (json!({"max_request_headers_kb": 8193}), &["Degraded spec.config.max_request_headers_kb InvalidValue"]),
        (json!({"buffer_limit_bytes": 4_294_967_296_i64}), &["Degraded spec.config.buffer_limit_bytes InvalidValue"]),
        (
            json!({"headers_with_underscores_action": "KEEP"}),
            &["Degraded spec.config.headers_with_underscores_action InvalidValue"],
        ),
        (json!({"circuit_breakers": {}}), &["Degraded spec.config.circuit_breakers Malformed"]),
        (
            json!({"circuit_breakers": [{"priority": "low"}]}),
            &["Degraded spec.config.circuit_breakers[0].priority Malformed"],
        ),
        (
            json!({"circuit_breakers": [{"max_retries": -1}]}),
            &["Degraded spec.config.circuit_breakers[0].max_retries InvalidValue"],
        ),
        (json!({"keepalive": 5}), &["Degraded spec.config.keepalive InvalidValue"]),
        (json!({"keepalive": {"probes": "x"}}), &["Degraded spec.config.keepalive.probes InvalidValue"]),
        (json!({"load_balancer": {"policy": "ring_hash"}}), &["Degraded spec.config.load_balancer ConflictingFields"]),
        (json!({"load_balancer": "x"}), &["Degraded spec.config.load_balancer Malformed"]),
        (json!({"diagnostics": {"service": "a b"}}), &["Degraded spec.config.diagnostics.service InvalidService"]),
        (json!({"diagnostics": {"enabled": []}}), &["Degraded spec.config.diagnostics.enabled InvalidValue"]),
        (json!({"liveness_probe": false}), &["Degraded spec.config.liveness_probe InvalidValue"]),
        (json!({"envoy_log_path": ""}), &[]),
        (json!({"envoy_log_type": "xml"}), &["Degraded spec.config.envoy_log_type InvalidValue"]),
        (json!({"envoy_log_format": "100%"}), &["Degraded spec.config.envoy_log_format InvalidFormat"]),
        (json!({"envoy_log_format": {"a": "b"}}), &["Degraded spec.config.envoy_log_format InvalidValue"]),
        (json!({"envoy_log_format": "x".repeat(70_000)}), &["Degraded spec.config.envoy_log_format TooLarge"]),
        (
            json!({"envoy_log_type": "json", "envoy_log_format": "x"}),
            &["Degraded spec.config.envoy_log_format InvalidValue"],
        ),
        (
            json!({"envoy_log_type": "json", "envoy_log_format": {"a": {"b": ["%NO%"]}}}),
            &["Degraded spec.config.envoy_log_format.a InvalidFormat"],
        ),
        (json!({"defaults": 5}), &["Degraded spec.config.defaults InvalidValue"]),
        (
            json!({"defaults": {"httpmapping": [], "x": 1}}),
            &["Degraded spec.config.defaults.httpmapping InvalidValue", "Notice spec.config.defaults.x UnknownField"],
        ),
        (
            json!({"defaults": {"add_request_headers": {"a": "b", "Host": "c", "d": "%", "e": 5, "f": {"value": 1}}}}),
            &[
                "Degraded spec.config.defaults.add_request_headers.e InvalidValue",
                "Degraded spec.config.defaults.add_request_headers.f InvalidValue",
                "Degraded spec.config.defaults.add_request_headers.Host InvalidValue",
                "Degraded spec.config.defaults.add_request_headers.d InvalidFormat",
            ],
        ),
        (
            json!({"defaults": {"httpmapping": {"remove_response_headers": ["a", ":b"], "stats_name": 5}}}),
            &[
                "Degraded spec.config.defaults.httpmapping.remove_response_headers[1] InvalidValue",
                "Degraded spec.config.defaults.httpmapping.stats_name InvalidValue",
            ],
        ),
        (
            json!({"no_such_key": 1, "another": null}),
            &["Notice spec.config.another UnknownField", "Notice spec.config.no_such_key UnknownField"],
        ),
    ]);
}

#[test]
fn what_is_not_rendered_is_said() {
    table(&[
        (json!({"lua_scripts": "x"}), &["Degraded spec.config.lua_scripts NotSupported"]),
        (
            json!({"lua_scripts": 1}),
            &["Degraded spec.config.lua_scripts InvalidValue", "Degraded spec.config.lua_scripts NotSupported"],
        ),
        (
            json!({"admin_port": 70_000}),
            &["Degraded spec.config.admin_port InvalidValue", "Degraded spec.config.admin_port NotSupported"],
        ),
        (
            json!({"forward_client_cert_details": "X"}),
            &["Degraded spec.config.forward_client_cert_details InvalidValue"],
        ),
        (
            json!({"set_current_client_cert_details": {"subject": 1, "x": true}}),
            &[
                "Degraded spec.config.set_current_client_cert_details.subject InvalidValue",
                "Notice spec.config.set_current_client_cert_details.x UnknownField",
            ],
        ),
        (json!({"retry_policy": {"retry_on": "5xx"}}), &[]),
        (json!({"retry_policy": {"retry_on": "6xx"}}), &["Degraded spec.config.retry_policy.retry_on Malformed"]),
        (json!({"cors": {"max_age": "x"}}), &["Degraded spec.config.cors.max_age InvalidValue"]),
        (json!({"default_labels": {"d": {"defaults": []}}}), &[]),
        (json!({"error_response_overrides": {}}), &["Degraded spec.config.error_response_overrides InvalidValue"]),
        (
            json!({"error_response_overrides": [
                {"on_status_code": "404", "body": {"json_format": {"a": 1, "b": true}}},
                {"on_status_code": "x", "body": {"text_format": ""}},
                {"on_status_code": 503, "body": {"json_format": {"a": []}}},
                {"body": {"text_format": ""}},
            ]}),
            &[
                "Degraded spec.config.error_response_overrides[1].on_status_code Malformed",
                "Degraded spec.config.error_response_overrides[2].body.json_format.a Malformed",
                "Degraded spec.config.error_response_overrides[3].on_status_code Malformed",
                "Notice spec.config.error_response_overrides Limited",
            ],
        ),
        (
            json!({"xff_num_trusted_hops": 1, "tls": {}}),
            &["Notice spec.config.xff_num_trusted_hops NoEffect", "Notice spec.config.tls NoEffect"],
        ),
    ]);
    assert_eq!(parsed_labels(), ["d"]);
}

fn parsed_labels() -> Vec<String> {
    let (module, _) = found(json!({"default_labels": {"d": {"defaults": []}}}));
    module.route.default_labels.iter().map(ToString::to_string).collect()
}

/// A guard that cannot be honoured closes, whatever is in it.
#[test]
fn address_lists_close_everything() {
    table(&[
        (
            json!({"ip_allow": [{"peer": "10.0.0.0/8"}, {"remote": "::1"}]}),
            &["Degraded spec.config.ip_allow NotSupported"],
        ),
        (
            json!({"ip_deny": [{"peer": "10.0.0.0/33"}, {"x": "::1"}, 5]}),
            &[
                "Degraded spec.config.ip_deny[0] InvalidValue",
                "Degraded spec.config.ip_deny[1] InvalidValue",
                "Degraded spec.config.ip_deny[2] InvalidValue",
                "Degraded spec.config.ip_deny NotSupported",
            ],
        ),
        (
            json!({"ip_allow": "x"}),
            &["Degraded spec.config.ip_allow InvalidValue", "Degraded spec.config.ip_allow NotSupported"],
        ),
        (
            json!({"ip_allow": [{"peer": "::1"}], "ip_deny": [{"peer": "::1"}]}),
            &[
                "Degraded spec.config.ip_allow ConflictingFields",
                "Degraded spec.config.ip_allow NotSupported",
                "Degraded spec.config.ip_deny ConflictingFields",
                "Degraded spec.config.ip_deny NotSupported",
            ],
        ),
    ]);
    for (config, closed) in [
        (json!({"ip_allow": [{"peer": "10.0.0.0/8"}]}), Some("ip_allow")),
        (json!({"ip_deny": []}), Some("ip_deny")),
        (json!({"ip_deny": "nonsense"}), Some("ip_deny")),
        (json!({"ip_deny": null}), None),
    ] {
        assert_eq!(found(config).0.route.closed.as_deref(), closed);
    }
}

#[test]
fn settings_are_carried_over() {
    let module = parsed(json!({
        "cluster_request_timeout_ms": 5000.0, "cluster_idle_timeout_ms": 1, "cluster_max_connection_lifetime_ms": 2,
        "enable_ipv4": false, "enable_ipv6": true, "merge_slashes": "Yes", "strip_matching_host_port": "on",
        "suppress_envoy_headers": "no", "headers_with_underscores_action": "DROP_HEADER", "max_request_headers_kb": 96,
        "keepalive": {"time": 1, "interval": 2, "probes": 3}, "load_balancer": {"policy": "least_request"},
        "resolver": "endpoint", "server_name": "", "envoy_log_path": "/log", "envoy_log_format": "%PROTOCOL%",
        "listener_idle_timeout_ms": 7, "buffer_limit_bytes": 8, "regex_max_size": 400, "add_linkerd_headers": true,
        "diagnostics": {"enabled": false}, "readiness_probe": {"prefix": "/ready", "service": "https://x:1"},
        "circuit_breakers": [{"priority": "high", "max_connections": 9}],
    }));
    let (route, cluster, http) = (&module.route, &module.cluster, &module.http);
    assert_eq!((route.timeout_ms, route.resolver.as_deref(), route.regex_max_size), (5000, Some("endpoint"), 400));
    assert!(route.add_linkerd_headers);
    assert_eq!((cluster.idle_timeout_ms, cluster.max_connection_ms), (Some(1), Some(2)));
    assert_eq!((cluster.enable_ipv4, cluster.enable_ipv6), (false, true));
    let keepalive = cluster.keepalive.as_ref().expect("keepalive");
    assert_eq!((keepalive.idle_time_s, keepalive.interval_s, keepalive.probes), (Some(1), Some(2), Some(3)));
    assert_eq!(cluster.load_balancer.as_ref().map(|found| found.policy), Some(LoadBalancing::LeastRequest));
    assert_eq!(cluster.circuit_breakers.as_ref().map(|list| list[0].high_priority), Some(true));
    assert_eq!((http.merge_slashes, http.strip_matching_host_port, http.suppress_envoy_headers), (true, true, false));
    assert_eq!(http.headers_with_underscores, Some(UnderscoreAction::DropHeader));
    assert_eq!(
        (http.max_request_headers_kb, http.idle_timeout_ms, http.buffer_limit_bytes),
        (Some(96), Some(7), Some(8))
    );
    assert_eq!((&*http.server_name, &*http.access_log.path), ("", "/log"));
    assert_eq!(http.access_log.format, AccessLogFormat::Text("%PROTOCOL%\n".into()), "a line ends");
    assert_eq!(
        (module.probes[2].enabled, &*module.probes[1].prefix, &*module.probes[1].rewrite),
        (false, "/ready", "/ready")
    );
    assert_eq!(module.probes[1].service.tls_scheme, Some(true));
}

#[test]
fn json_logs_are_canonical() {
    let format = |config: Value| parsed(config).http.access_log.format.clone();
    let own = json!({"envoy_log_type": "json", "envoy_log_format": {"z": "%PROTOCOL%", "a": {"c": 1, "b": ["%%"]}}});
    assert_eq!(format(own), AccessLogFormat::Json(r#"{"a":{"b":["%%"],"c":1},"z":"%PROTOCOL%"}"#.into()));
    let empty = json!({"envoy_log_type": "typed_json", "envoy_log_format": {}});
    assert_eq!(format(empty), AccessLogFormat::TypedJson("{}".into()), "an empty map stays one, as upstream");
    let AccessLogFormat::Json(default) = format(json!({"envoy_log_type": "json"})) else { panic!("JSON") };
    let default: Value = serde_json::from_str(&default).expect("JSON");
    assert_eq!(default.as_object().map(serde_json::Map::len), Some(22));
    assert_eq!(default["upstream_service_time"], "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%");
}

#[test]
fn defaults_of_mappings_are_found_in_two_places() {
    let header = |name: &str, value: &str, append| HeaderValue { name: name.into(), value: value.into(), append };
    let route = |defaults: Value| parsed(json!({"defaults": defaults})).route.clone();
    let found = route(json!({
        "add_request_headers": {"a": "1"}, "remove_request_headers": "x", "stats_name": "outer", "tls_secret_namespacing": false,
        "httpmapping": {"add_request_headers": {"b": {"value": "2", "append": false}}, "remove_response_headers": ["y"]},
    }));
    assert_eq!(found.add_request_headers, Some(vec![header("b", "2", false)]), "the inner one wins");
    assert_eq!(found.remove_request_headers, Some(vec!["x".into()]));
    assert_eq!(found.remove_response_headers, Some(vec!["y".into()]));
    assert_eq!((found.stats_name.as_deref(), found.add_response_headers), (Some("outer"), None));
    assert_eq!(route(json!({"add_request_headers": {}})).add_request_headers, Some(vec![]));
    assert!(!parsed(json!({"defaults": {"tls_secret_namespacing": false}})).tls.secret_namespacing);
}

#[test]
fn only_the_module_named_ambassador_counts() {
    let judged = |name: &str| judge_as(Kind::Module, name, json!({"config": {"server_name": 5}}), Limits::default());
    for (name, expected) in [("tls", "Notice spec.config Deprecated"), ("other", "Notice spec NoEffect")] {
        let found = judged(name);
        assert_eq!((brief(&found.problems), found.value), (vec![expected.to_owned()], Some(Parsed::Inert)));
    }
}
