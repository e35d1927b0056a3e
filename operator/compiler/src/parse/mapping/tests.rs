use crate::parse::tests::{brief, judge_as, table, value, with};
use crate::parse::{HostCondition, Limits, Parsed, ParsedLoadBalancer, ParsedMapping};
use ir::{HashOn, HeaderValue, Kind, LoadBalancing, NamedMatch, PathMatch, RedirectPath, TextMatch};
use serde_json::{Value, json};
use std::sync::Arc;

fn base() -> Value {
    json!({"prefix": "/a/", "service": "foo", "hostname": "*"})
}

fn parsed(fields: Value) -> Arc<ParsedMapping> {
    match value(Kind::Mapping, with(&base(), &fields)) {
        Parsed::Mapping(mapping) => mapping,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, value: TextMatch) -> NamedMatch {
    NamedMatch { name: name.into(), value }
}

#[test]
fn what_is_wrong_with_a_mapping_is_named() {
    let long = "x".repeat(20_000);
    table(
        Kind::Mapping,
        &base(),
        &[
            (json!({}), &[]),
            // Conditions and the destination: without them the wrong requests would be answered.
            (json!({"prefix": ""}), &["Refused spec.prefix InvalidValue"]),
            (json!({"prefix": "/a\nb"}), &["Refused spec.prefix InvalidValue"]),
            (json!({"prefix": long}), &["Refused spec.prefix TooLarge"]),
            (json!({"prefix": "a"}), &["Notice spec.prefix NoEffect"]),
            (json!({"prefix": "/a?b"}), &["Notice spec.prefix NoEffect"]),
            (json!({"prefix": "/(", "prefix_regex": true}), &["Refused spec.prefix InvalidRegex"]),
            (json!({"prefix": "/\\p{Letter}", "prefix_regex": true}), &["Refused spec.prefix InvalidRegex"]),
            (
                json!({"prefix": "/.*", "prefix_regex": true, "prefix_exact": true}),
                &["Notice spec.prefix_exact NoEffect"],
            ),
            (json!({"hostname": "a.*.b"}), &["Refused spec.hostname InvalidValue"]),
            (json!({"hostname": "a b"}), &["Refused spec.hostname InvalidValue"]),
            (
                json!({"hostname": null, "host": "a.*"}),
                &["Refused spec.host InvalidValue", "Notice spec.host Deprecated"],
            ),
            (
                json!({"hostname": null, "host": "*"}),
                &["Refused spec.host InvalidValue", "Notice spec.host Deprecated"],
            ),
            (
                json!({"hostname": null, "headers": {":authority": "*"}}),
                &["Refused spec.headers.:authority InvalidValue"],
            ),
            (
                json!({"hostname": null, "host": "(", "host_regex": true}),
                &["Refused spec.host InvalidRegex", "Notice spec.host Deprecated"],
            ),
            (json!({"host": "b"}), &["Notice spec.host NoEffect", "Notice spec.host Deprecated"]),
            (json!({"host_regex": true}), &["Notice spec.host_regex NoEffect"]),
            (
                json!({"hostname": null, "headers": {":authority": "*.a"}}),
                &["Refused spec.headers.:authority InvalidValue"],
            ),
            (json!({"headers": {"x y": "1"}}), &["Refused spec.headers.x y InvalidValue"]),
            (json!({"headers": {"x": "a\nb"}}), &["Refused spec.headers.x InvalidValue"]),
            (json!({"headers": {"x": long}}), &["Refused spec.headers.x TooLarge"]),
            (
                json!({"regex_headers": {"x": "[", "y": "(?=a)"}}),
                &["Refused spec.regex_headers.x InvalidRegex", "Refused spec.regex_headers.y InvalidRegex"],
            ),
            (json!({"query_parameters": {"": "1"}}), &["Refused spec.query_parameters. InvalidValue"]),
            (json!({"regex_query_parameters": {"q": ""}}), &["Refused spec.regex_query_parameters.q InvalidRegex"]),
            (json!({"method": "GE T"}), &["Refused spec.method InvalidValue"]),
            (json!({"method": "(", "method_regex": true}), &["Refused spec.method InvalidRegex"]),
            (json!({"method_regex": true}), &["Notice spec.method_regex NoEffect"]),
            (json!({"service": "foo:x"}), &["Refused spec.service InvalidService"]),
            (json!({"service": ""}), &["Refused spec.service InvalidService"]),
            (json!({"service": "ftp://foo"}), &["Notice spec.service InvalidService"]),
            (json!({"weight": 101}), &["Refused spec.weight WeightOutOfRange"]),
            (json!({"weight": -1}), &["Refused spec.weight WeightOutOfRange"]),
            // Rewrites: a request that is not rewritten goes to the wrong place.
            (json!({"rewrite": "/\u{1}"}), &["Refused spec.rewrite InvalidValue"]),
            (json!({"host_rewrite": "a\r\n"}), &["Refused spec.host_rewrite InvalidValue"]),
            (
                json!({"regex_rewrite": {"pattern": "[", "substitution": "x"}}),
                &["Refused spec.regex_rewrite.pattern InvalidRegex"],
            ),
            (json!({"regex_rewrite": {"substitution": "x"}}), &["Refused spec.regex_rewrite.pattern InvalidRegex"]),
            (
                json!({"regex_rewrite": {"pattern": "a", "substitution": "\n"}}),
                &["Refused spec.regex_rewrite.substitution InvalidValue"],
            ),
            (
                json!({"regex_rewrite": {"pattern": "a", "substitution": "\\1"}}),
                &["Notice spec.regex_rewrite.substitution InvalidValue"],
            ),
            (json!({"regex_rewrite": {}}), &["Notice spec.regex_rewrite NoEffect"]),
            (json!({"regex_rewrite": {"pattern": "a"}, "rewrite": "/b"}), &["Notice spec.rewrite NoEffect"]),
            (
                json!({"host_rewrite": "a", "auto_host_rewrite": true}),
                &["Degraded spec.auto_host_rewrite ConflictingFields"],
            ),
            // Redirects.
            (json!({"path_redirect": "/b"}), &["Notice spec.path_redirect NoEffect"]),
            (json!({"host_redirect": true, "path_redirect": "/b\n"}), &["Refused spec.path_redirect InvalidValue"]),
            (
                json!({"host_redirect": true, "path_redirect": "/b", "prefix_redirect": "/c"}),
                &["Degraded spec.host_redirect ConflictingFields"],
            ),
            (
                json!({"host_redirect": true, "redirect_response_code": 304}),
                &["Degraded spec.redirect_response_code InvalidValue"],
            ),
            (json!({"host_redirect": true, "shadow": true}), &["Degraded spec.host_redirect ConflictingFields"]),
            // Options that are left out.
            (json!({"timeout_ms": -1}), &["Degraded spec.timeout_ms InvalidValue"]),
            (json!({"idle_timeout_ms": 9_300_000_000_000_i64}), &["Degraded spec.idle_timeout_ms InvalidValue"]),
            (json!({"connect_timeout_ms": 0}), &["Degraded spec.connect_timeout_ms InvalidValue"]),
            (
                json!({"add_request_headers": {"x": {"value": "a\nb"}}}),
                &["Degraded spec.add_request_headers.x InvalidFormat"],
            ),
            (
                json!({"add_response_headers": {"x": {"value": "100%"}}}),
                &["Degraded spec.add_response_headers.x InvalidFormat"],
            ),
            (
                json!({"add_request_headers": {"Host": {"value": "a"}}}),
                &["Degraded spec.add_request_headers.Host InvalidValue"],
            ),
            (
                json!({"remove_request_headers": ["x", ":path"]}),
                &["Degraded spec.remove_request_headers[1] InvalidValue"],
            ),
            (
                json!({"circuit_breakers": [{}, {"max_connections": -1, "priority": "high"}]}),
                &["Degraded spec.circuit_breakers[1].max_connections InvalidValue"],
            ),
            (json!({"circuit_breakers": [{}, {}]}), &["Degraded spec.circuit_breakers[1].priority ConflictingFields"]),
            (json!({"keepalive": {"probes": 5_000_000_000_i64}}), &["Degraded spec.keepalive.probes InvalidValue"]),
            (json!({"load_balancer": {"policy": "ring_hash"}}), &["Refused spec.load_balancer ConflictingFields"]),
            (
                json!({"load_balancer": {"policy": "maglev", "header": "h", "source_ip": true}}),
                &["Refused spec.load_balancer ConflictingFields"],
            ),
            (
                json!({"load_balancer": {"policy": "round_robin", "header": "h"}}),
                &["Refused spec.load_balancer ConflictingFields"],
            ),
            (
                json!({"load_balancer": {"policy": "ring_hash", "header": "a b"}}),
                &["Refused spec.load_balancer.header InvalidValue"],
            ),
            (json!({"load_balancer": {"policy": "ring_hash", "header": "a"}}), &[]),
            (
                json!({"load_balancer": {"policy": "ring_hash", "cookie": {"name": "c", "ttl": "x"}}}),
                &["Degraded spec.load_balancer.cookie.ttl InvalidValue"],
            ),
            (json!({"dns_type": "dynamic"}), &["Degraded spec.dns_type InvalidValue"]),
            (
                json!({"stats_name": "a\nb", "cluster_tag": long}),
                &["Degraded spec.cluster_tag InvalidValue", "Degraded spec.stats_name InvalidValue"],
            ),
            (json!({"tls": "a\nb"}), &["Refused spec.tls InvalidValue"]),
            (json!({"precedence": 5_000_000_000_i64}), &["Degraded spec.precedence InvalidValue"]),
        ],
    );
}

#[test]
fn what_is_wrong_with_policies_is_named() {
    table(
        Kind::Mapping,
        &base(),
        &[
            (json!({"retry_policy": {"retry_on": "5xx", "per_try_timeout": "1.5s"}}), &[]),
            (
                json!({"retry_policy": {"num_retries": -1, "per_try_timeout": "x"}}),
                &[
                    "Degraded spec.retry_policy.retry_on InvalidValue",
                    "Degraded spec.retry_policy.num_retries InvalidValue",
                    "Degraded spec.retry_policy.per_try_timeout InvalidValue",
                ],
            ),
            (json!({"cors": {"origins": ["a"]}}), &[]),
            (
                json!({"cors": {"origins": ["", "b\n"], "max_age": "1d"}}),
                &[
                    "Degraded spec.cors.origins[0] InvalidValue",
                    "Degraded spec.cors.origins[1] InvalidValue",
                    "Degraded spec.cors.max_age InvalidValue",
                ],
            ),
            (
                json!({"health_checks": [{"timeout": "0s", "healthy_threshold": 0, "health_check": {"http": {
            "path": "", "expected_statuses": [{"min": 300, "max": 200}], "add_request_headers": {"a": {"value": "%"}}}}}]}),
                &[
                    "Degraded spec.health_checks[0].timeout InvalidValue",
                    "Degraded spec.health_checks[0].healthy_threshold InvalidValue",
                    "Degraded spec.health_checks[0].health_check.http.path InvalidValue",
                    "Degraded spec.health_checks[0].health_check.http.add_request_headers.a InvalidFormat",
                    "Degraded spec.health_checks[0].health_check.http.expected_statuses[0] InvalidValue",
                ],
            ),
            (json!({"labels": {}}), &[]),
            (
                json!({"labels": {"d": [{"g": [{"request_headers": {"key": "k", "header_name": "a b"}}]}]}}),
                &["Degraded spec.labels.d[0].g.header_name InvalidValue"],
            ),
            (
                json!({"allow_upgrade": ["websocket", "spdy/3.1", "a b"]}),
                &["Degraded spec.allow_upgrade[2] InvalidValue"],
            ),
            (json!({"use_websocket": true}), &["Notice spec.use_websocket Deprecated"]),
            (json!({"priority": "default"}), &[]),
            (json!({"priority": "high"}), &[]),
            (json!({"priority": "HIGH"}), &[]),
            (json!({"priority": "urgent"}), &["Degraded spec.priority InvalidValue"]),
            (json!({"auth_context_extensions": {"a": "b"}}), &["Notice spec.auth_context_extensions NotSupported"]),
            (json!({"outlier_detection": "x"}), &["Degraded spec.outlier_detection NotSupported"]),
            (
                json!({"error_response_overrides": [{"on_status_code": 200, "body": {}}]}),
                &[
                    "Degraded spec.error_response_overrides[0].on_status_code InvalidValue",
                    "Degraded spec.error_response_overrides[0].body ConflictingFields",
                ],
            ),
            (
                json!({"error_response_overrides": [
                    {"on_status_code": 404, "body": {"text_format": "%NO_SUCH%"}},
                    {"on_status_code": 404, "body": {"json_format": {"a": "50%"}}},
                    {"on_status_code": 404, "body": {"text_format_source": {"filename": "etc/issue"}}},
                    {"on_status_code": 404, "body": {"text_format_source": {}}},
                    {"on_status_code": 404, "body": {"text_format": "fine", "content_type": "a\nb"}},
                    {"on_status_code": 404, "body": {"text_format": "again"}},
                    {"on_status_code": 600, "body": {"text_format": ""}},
                ]}),
                &[
                    "Degraded spec.error_response_overrides[0].body.text_format InvalidFormat",
                    "Degraded spec.error_response_overrides[1].body.json_format.a InvalidFormat",
                    "Degraded spec.error_response_overrides[2].body.text_format_source.filename InvalidValue",
                    "Degraded spec.error_response_overrides[3].body.text_format_source.filename InvalidValue",
                    "Degraded spec.error_response_overrides[4].body.content_type InvalidValue",
                    "Notice spec.error_response_overrides[5].on_status_code NoEffect",
                    "Degraded spec.error_response_overrides[6].on_status_code InvalidValue",
                    "Notice spec.error_response_overrides Limited",
                ],
            ),
            (
                json!({"bypass_error_response_overrides": true, "envoy_override": {}, "modules": [], "docs": {}}),
                &["Notice spec.envoy_override NoEffect", "Notice spec.modules NoEffect", "Notice spec.docs NoEffect"],
            ),
            (json!({"shadow": true}), &[]),
        ],
    );
}

#[test]
fn paths_are_what_the_flags_say() {
    assert_eq!(parsed(json!({})).path, PathMatch::Prefix("/a/".into()));
    assert_eq!(parsed(json!({"prefix_exact": true})).path, PathMatch::Exact("/a/".into()));
    assert_eq!(parsed(json!({"prefix_regex": true, "prefix_exact": false})).path, PathMatch::Regex("/a/".into()));
    assert_eq!(parsed(json!({"case_sensitive": false})).case_sensitive, Some(false));
}

/// Section 10.2 of the routing reference: `:authority`, then `host`, then `hostname`, the last one wins.
#[test]
fn the_host_condition_comes_from_the_strongest_field() {
    let host = |fields: Value| parsed(fields).host.clone();
    assert_eq!(host(json!({})), HostCondition::Glob("*".into()));
    assert_eq!(host(json!({"hostname": null})), HostCondition::None);
    assert_eq!(host(json!({"hostname": ""})), HostCondition::None);
    assert_eq!(host(json!({"hostname": null, "host": "A.b"})), HostCondition::Glob("A.b".into()));
    assert_eq!(host(json!({"hostname": null, "host": "a.*", "host_regex": true})), HostCondition::Regex("a.*".into()));
    assert_eq!(host(json!({"hostname": "*.c", "host": "a"})), HostCondition::Glob("*.c".into()));
    let mapping = parsed(json!({"hostname": null, "headers": {":authority": "a", "x": "1"}}));
    assert_eq!(mapping.host, HostCondition::Glob("a".into()));
    assert_eq!(mapping.headers, [named("x", TextMatch::Exact("1".into()))], "it is not a header condition as well");
    let mapping = parsed(json!({"hostname": null, "regex_headers": {":authority": "a"}}));
    assert_eq!(mapping.host, HostCondition::None, "a regular expression on the header is no host");
    assert_eq!(mapping.headers.len(), 1);
}

#[test]
fn conditions_keep_upstreams_order() {
    let mapping = parsed(json!({
        "headers": {"z": "1", "a": ""}, "regex_headers": {"m": ".*"}, "method": "GET",
        "query_parameters": {"q": "1"}, "regex_query_parameters": {"p": "[0-9]"},
    }));
    assert_eq!(
        mapping.headers,
        [
            named("a", TextMatch::Exact("".into())),
            named("z", TextMatch::Exact("1".into())),
            named("m", TextMatch::Regex(".*".into())),
        ]
    );
    assert_eq!(mapping.query, [named("q", TextMatch::Exact("1".into())), named("p", TextMatch::Regex("[0-9]".into()))]);
    assert_eq!(mapping.method, Some(TextMatch::Exact("GET".into())));
    assert_eq!(parsed(json!({"method": "G.*", "method_regex": true})).method, Some(TextMatch::Regex("G.*".into())));
    assert_eq!(parsed(json!({"method": ""})).method, None);
}

#[test]
fn absent_empty_and_zero_stay_apart() {
    let mapping = parsed(json!({}));
    assert_eq!((mapping.rewrite.clone(), mapping.timeout_ms, mapping.weight), (None, None, None));
    assert_eq!((mapping.add_request_headers.clone(), mapping.remove_request_headers.clone()), (None, None));
    assert_eq!((mapping.circuit_breakers.clone(), mapping.labels_hash), (None, 0));
    let mapping = parsed(json!({
        "rewrite": "", "timeout_ms": 0, "weight": 0, "add_request_headers": {}, "remove_request_headers": [], "circuit_breakers": [],
        "auto_host_rewrite": false,
    }));
    assert_eq!((mapping.rewrite.as_deref(), mapping.timeout_ms, mapping.weight), (Some(""), Some(0), Some(0)));
    assert_eq!(
        (mapping.add_request_headers.clone(), mapping.remove_request_headers.clone()),
        (Some(vec![]), Some(vec![]))
    );
    assert_eq!((mapping.circuit_breakers.clone(), mapping.auto_host_rewrite), (Some(vec![]), Some(false)));
}

#[test]
fn headers_append_unless_told_otherwise() {
    let mapping = parsed(
        json!({"add_request_headers": {"b": {"value": "%PROTOCOL%"}, "a": {"value": "x", "append": false}, "c": {}}}),
    );
    let header = |name: &str, value: &str, append| HeaderValue { name: name.into(), value: value.into(), append };
    let expected = vec![header("a", "x", false), header("b", "%PROTOCOL%", true), header("c", "", true)];
    assert_eq!(mapping.add_request_headers, Some(expected), "an empty value works, unlike upstream");
}

#[test]
fn redirects_prefer_the_path() {
    let redirect =
        |fields: Value| parsed(with(&json!({"host_redirect": true}), &fields)).redirect.clone().expect("a redirect");
    assert_eq!((redirect(json!({})).path, redirect(json!({})).code), (None, 301));
    assert_eq!(redirect(json!({"redirect_response_code": 308})).code, 308);
    assert_eq!(redirect(json!({"path_redirect": "/b"})).path, Some(RedirectPath::Path("/b".into())));
    assert_eq!(redirect(json!({"prefix_redirect": "/b"})).path, Some(RedirectPath::Prefix("/b".into())));
    let regex = redirect(json!({"regex_redirect": {"pattern": "a", "substitution": "b"}})).path;
    assert!(matches!(regex, Some(RedirectPath::Regex(rewrite)) if &*rewrite.substitution == "b"));
    assert!(parsed(json!({"host_redirect": false})).redirect.is_none());
}

#[test]
fn load_balancers_hash_on_one_thing() {
    let balancer = |spec: Value| parsed(json!({"load_balancer": spec})).load_balancer.clone().expect("a load balancer");
    let plain = |policy| ParsedLoadBalancer { policy, hash_on: None };
    assert_eq!(*balancer(json!({"policy": "round_robin"})), plain(LoadBalancing::RoundRobin));
    assert_eq!(*balancer(json!({"policy": "least_request"})), plain(LoadBalancing::LeastRequest));
    let cookie = balancer(json!({"policy": "ring_hash", "cookie": {"name": "c", "path": "/", "ttl": "60s"}}));
    assert_eq!(cookie.hash_on, Some(HashOn::Cookie { name: "c".into(), path: Some("/".into()), ttl_ms: Some(60_000) }));
    let address = balancer(json!({"policy": "maglev", "source_ip": true}));
    assert_eq!((address.policy, address.hash_on), (LoadBalancing::Maglev, Some(HashOn::SourceIp)));
}

#[test]
fn a_shadow_never_becomes_a_route() {
    let mapping =
        judge_as(Kind::Mapping, "m", with(&base(), &json!({"shadow": true, "host_redirect": true})), Limits::default());
    let Some(Parsed::Mapping(mapping)) = mapping.value else { panic!("in force") };
    assert!(mapping.shadow && mapping.redirect.is_none());
}

/// Envoy is to have something to refuse in the tests that need it.
#[test]
fn the_test_hook_lets_header_values_and_rewrites_through() {
    let spec = with(&base(), &json!({"rewrite": "/\n", "add_request_headers": {"x": {"value": "100%"}}}));
    let found = judge_as(Kind::Mapping, "m", spec.clone(), Limits { unchecked: true });
    assert_eq!(brief(&found.problems), [""; 0]);
    let Some(Parsed::Mapping(mapping)) = found.value else { panic!("in force") };
    assert_eq!(mapping.rewrite.as_deref(), Some("/\n"));
    assert_eq!(mapping.add_request_headers.as_ref().map(Vec::len), Some(1));
    assert!(judge_as(Kind::Mapping, "m", spec, Limits::default()).is_refused());
}
