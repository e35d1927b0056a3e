//! Retries, CORS, hash policies, copies, upgrades, priorities and health checks: from Mappings and the Module to rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use compiler::Compiler;
use ir::{Action, Cluster, Effect, ForwardOptions, HashOn, HealthProbe, Kind, PathRewrite, ProblemKind, Route};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Mirror, compile, custom, host, listener, mapping, service, verdict};

fn base() -> Vec<Value> {
    vec![
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        service("backend", Some("10.0.0.1")),
    ]
}

fn compiled(more: impl IntoIterator<Item = Value>) -> (Compiler, Mirror) {
    let values: Vec<Value> = base().into_iter().chain(more).collect();
    let (compiler, _) = compile(&values);
    let mirror = Mirror::of(&compiler);
    (compiler, mirror)
}

fn module(config: Value) -> Value {
    custom("Module", "ambassador", json!({ "config": config }))
}

fn route(mirror: &Mirror, name: &str) -> Route {
    let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
    let mut routes = groups.flat_map(|group| &group.routes);
    routes.find(|route| *route.source.name == *name).cloned().expect("a route")
}

fn options(mirror: &Mirror, name: &str) -> ForwardOptions {
    match route(mirror, name).action {
        Action::Forward(forward) => forward.options.map(|options| *options).unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

fn cluster_of(mirror: &Mirror, name: &str) -> Arc<Cluster> {
    match route(mirror, name).action {
        Action::Forward(forward) => mirror.clusters[&forward.cluster].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_mapping_has_no_options() {
    let (_, mirror) = compiled([mapping("m", json!({}))]);
    let Action::Forward(forward) = route(&mirror, "m").action else { panic!("a forward") };
    assert_eq!(forward.options, None);
}

#[test]
fn policies_of_a_mapping_beat_those_of_the_module() {
    let own = json!({
        "prefix": "/own/",
        "retry_policy": { "retry_on": "5xx", "num_retries": 2, "per_try_timeout": "1.5s" },
        "cors": { "origins": ["https://a"], "methods": ["GET", "POST"], "credentials": true, "max_age": "60" },
        "allow_upgrade": ["websocket", "WebSocket"], "use_websocket": true, "priority": "HIGH",
    });
    let defaults = json!({
        "retry_policy": { "retry_on": "gateway-error" }, "cors": { "origins": ["*"], "exposed_headers": ["x"] },
    });
    let (compiler, mirror) = compiled([mapping("own", own), mapping("m", json!({})), module(defaults)]);
    let own = options(&mirror, "own");
    let retry = own.retry.unwrap();
    assert_eq!((retry.retry_on, retry.num_retries, retry.per_try_timeout_ms), ("5xx", Some(2), Some(1500)));
    let cors = own.cors.unwrap();
    assert_eq!((&*cors.origins[0], cors.methods.as_deref(), cors.max_age), ("https://a", Some("GET, POST"), Some(60)));
    assert!(cors.credentials && own.high_priority);
    assert_eq!(own.upgrades.iter().map(|name| &**name).collect::<Vec<_>>(), ["websocket"]);
    let other = options(&mirror, "m");
    assert_eq!(other.retry.unwrap().retry_on, "gateway-error");
    assert_eq!(other.cors.unwrap().exposed_headers.as_deref(), Some("x"));
    // As upstream has it, the built-in routes take the Module's as well.
    assert!(options(&mirror, "internal_readiness_probe_mapping").retry.is_some());
    for kind in [(Kind::Mapping, "own"), (Kind::Module, "ambassador")] {
        let verdict = verdict(&compiler, kind.0, kind.1);
        assert!(!verdict.problems.iter().any(|problem| problem.kind == ProblemKind::NotSupported), "{verdict:?}");
    }
}

#[test]
fn bad_parts_of_policies_are_left_out_alone() {
    let spec = json!({
        "retry_policy": { "num_retries": 2 },
        "cors": { "origins": ["", "https://a"], "max_age": "soon" },
        "allow_upgrade": ["web socket", "h2c"], "priority": "urgent",
    });
    let (compiler, mirror) = compiled([mapping("m", spec)]);
    let options = options(&mirror, "m");
    assert_eq!((options.retry.clone(), options.high_priority), (None, false));
    assert_eq!(options.cors.as_ref().unwrap().origins, ["https://a".into()]);
    assert_eq!(options.upgrades.as_ref(), ["h2c".into()]);
    let verdict = verdict(&compiler, Kind::Mapping, "m");
    assert!(verdict.accepted);
    let mut degraded: Vec<&str> =
        verdict.problems.iter().filter(|p| p.effect == Effect::Degraded).map(|p| &*p.at).collect();
    degraded.sort_unstable();
    assert_eq!(
        degraded,
        [
            "spec.allow_upgrade[0]",
            "spec.cors.max_age",
            "spec.cors.origins[0]",
            "spec.priority",
            "spec.retry_policy.retry_on"
        ]
    );
}

#[test]
fn members_of_a_group_share_what_the_last_of_them_says() {
    let first = json!({ "weight": 10, "retry_policy": { "retry_on": "5xx" }, "allow_upgrade": ["websocket"] });
    let last = json!({
        "retry_policy": { "retry_on": "refused-stream" }, "regex_rewrite": { "pattern": "/a", "substitution": "/b" },
    });
    let (_, mirror) = compiled([mapping("a", first), mapping("b", last)]);
    for name in ["a", "b"] {
        let options = options(&mirror, name);
        assert_eq!((options.retry.unwrap().retry_on, options.upgrades.len()), ("refused-stream", 1), "{name}");
        let Action::Forward(forward) = route(&mirror, name).action else { panic!("a forward") };
        assert!(matches!(forward.rewrite, Some(PathRewrite::Regex(_))), "{name}");
    }
}

/// What is done to headers is merged over a group: added ones by name, of the removals the last that anybody has.
#[test]
fn header_edits_of_a_group_are_upstreams() {
    let edits = |name: &str, spec: Value| {
        let mut own = json!({ "prefix": "/a/" });
        own.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        mapping(name, own)
    };
    let first = json!({ "remove_request_headers": ["x-1"], "remove_response_headers": ["x-2"],
        "add_request_headers": { "x-both": { "value": "first" }, "x-first": { "value": "1" } } });
    let second = json!({ "remove_response_headers": [], "add_request_headers": { "x-both": { "value": "second" } } });
    let redirect = json!({ "prefix": "/r/", "host_redirect": true, "service": "x.example",
        "remove_request_headers": ["x-1"], "add_response_headers": { "x": { "value": "1" } } });
    let values = [edits("a", first), edits("b", second), edits("c", json!({})), mapping("r", redirect)];
    let (_, mirror) = compiled(values);
    let group = |path: &str| {
        let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
        groups.into_iter().find(|group| **group.matches.path.text() == *path).expect("a group").clone()
    };
    let headers = &group("/a/").headers;
    assert_eq!(headers.remove_request, ["x-1".into()], "the others say nothing");
    assert!(headers.remove_response.is_empty(), "the second says that there are none");
    let added: Vec<_> = headers.add_request.iter().map(|header| (&*header.name, &*header.value)).collect();
    assert_eq!(added, [("x-both", "second"), ("x-first", "1")]);
    assert_eq!(group("/r/").headers, ir::HeaderEdits::default(), "a redirect has none");
}

/// Labels are for rate limits, and a group has one set of them.
#[test]
fn members_of_a_group_have_the_same_labels() {
    let labels =
        |text: &str| json!({ "weight": 10, "labels": { "d": [{ "g": [{ "generic_key": { "value": text } }] }] } });
    let (compiler, _) = compiled([mapping("a", labels("1")), mapping("b", labels("2")), mapping("c", json!({}))]);
    assert!(verdict(&compiler, Kind::Mapping, "a").problems.is_empty());
    assert!(verdict(&compiler, Kind::Mapping, "c").accepted);
    let refused = verdict(&compiler, Kind::Mapping, "b");
    assert!(!refused.accepted && refused.problems[0].at == "spec.labels", "{refused:?}");
}

#[test]
fn a_shadow_gets_copies_and_no_route() {
    let shadow = json!({ "prefix": "/a/", "service": "copies", "shadow": true, "weight": 25 });
    let lonely = json!({ "prefix": "/lonely/", "service": "copies", "shadow": true });
    let values = [mapping("m", json!({ "prefix": "/a/" })), mapping("s", shadow), mapping("lonely", lonely)];
    let (compiler, mirror) = compiled(values);
    let found = options(&mirror, "m").mirror.expect("a mirror");
    assert_eq!((&*found.cluster, found.percent), ("cluster_shadow_copies_default", 25));
    assert!(mirror.clusters.contains_key(&found.cluster));
    assert_eq!(compiler.users_of_cluster(&found.cluster).len(), 2);
    assert!(verdict(&compiler, Kind::Mapping, "s").attached);
    let lonely = verdict(&compiler, Kind::Mapping, "lonely");
    assert!(lonely.accepted && !lonely.attached, "{lonely:?}");
}

#[test]
fn a_hashing_load_balancer_gives_a_hash_policy() {
    let with = |balancer: Value| json!({ "resolver": "endpoint", "load_balancer": balancer, "prefix": "/own/" });
    let cases = [
        (json!({ "policy": "ring_hash", "header": "x-user" }), Some(HashOn::Header("x-user".into()))),
        (json!({ "policy": "maglev", "source_ip": true }), Some(HashOn::SourceIp)),
        (
            json!({ "policy": "ring_hash", "cookie": { "name": "c", "ttl": "60s" } }),
            Some(HashOn::Cookie { name: "c".into(), path: None, ttl_ms: Some(60_000) }),
        ),
        (json!({ "policy": "least_request" }), None),
    ];
    for (balancer, expected) in cases {
        let default = module(json!({ "load_balancer": { "policy": "ring_hash", "header": "x-default" } }));
        let (_, mirror) = compiled([mapping("own", with(balancer.clone())), mapping("m", json!({})), default]);
        assert_eq!(options(&mirror, "own").hash_on, expected, "{balancer}");
        assert_eq!(options(&mirror, "m").hash_on, Some(HashOn::Header("x-default".into())));
        assert_eq!(&*cluster_of(&mirror, "m").name, "cluster_backend_default_er_ring_hash_hdr_x_default");
    }
}

#[test]
fn health_checks_need_streamed_endpoints() {
    let checks = json!([
        { "health_check": { "http": { "path": "/ok", "expected_statuses": [{ "min": 200, "max": 204 }, { "min": 9, "max": 1 }] } },
          "timeout": "1s", "interval": "nonsense", "healthy_threshold": 3 },
        { "health_check": { "http": { "path": "" } } },
    ]);
    let grpc = json!([{ "health_check": { "grpc": { "upstream_name": "svc" } } }, checks[0]]);
    let streamed = mapping("m", json!({ "resolver": "endpoint", "health_checks": checks }));
    let (compiler, mirror) = compiled([streamed]);
    let cluster = cluster_of(&mirror, "m");
    let [check] = &*cluster.health_checks else { panic!("{:?}", cluster.health_checks) };
    assert_eq!(
        (check.timeout_ms, check.interval_ms, check.healthy_threshold, check.unhealthy_threshold),
        (1000, 5000, 3, 2)
    );
    assert!(matches!(&check.probe, HealthProbe::Http { expected, .. } if *expected == [(200, 204)]));
    assert_eq!(
        verdict(&compiler, Kind::Mapping, "m").problems.iter().filter(|p| p.effect == Effect::Degraded).count(),
        3
    );

    let (compiler, mirror) = compiled([mapping("m", json!({ "health_checks": checks }))]);
    assert!(cluster_of(&mirror, "m").health_checks.is_empty());
    assert!(verdict(&compiler, Kind::Mapping, "m").problems.iter().any(|p| p.at == "spec.health_checks"));

    for (speaks_grpc, expected) in [(true, 1), (false, 0)] {
        let spec = json!({ "resolver": "endpoint", "grpc": speaks_grpc, "health_checks": grpc });
        let (compiler, mirror) = compiled([mapping("m", spec)]);
        assert_eq!(cluster_of(&mirror, "m").health_checks.len(), expected);
        let found = verdict(&compiler, Kind::Mapping, "m");
        assert!(
            found.problems.iter().any(|p| p.at == "spec.health_checks" && p.kind == ProblemKind::ConflictingFields)
        );
    }
}
