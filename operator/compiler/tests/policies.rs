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
use compiler::explain::{Answer, Explainer, Request};
use ir::{
    Action, Cluster, Effect, ForwardOptions, GrpcMethods, GrpcStats, HashOn, HealthProbe, Kind, ModuleFilters,
    PathRewrite, ProblemKind, Route,
};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Mirror, compile, custom, host, listener, mapping, put, service, verdict};

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

/// What a member of a canary does not say about case it has of the others; one that says so keeps its own.
#[test]
fn case_is_shared_by_members_that_say_nothing() {
    let ask = |first: Value, second: Value| {
        let member = |name: &str, own: Value| {
            let mut spec = json!({ "prefix": "/a/" });
            spec.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            mapping(name, spec)
        };
        let rows = compiled([member("first", first), member("second", second)]).0.rows();
        let request = Request { host: "a".into(), path: "/A/x".into(), method: "GET".into(), ..Request::default() };
        let Answer::Routes(shares) = Explainer::new(&rows).why(&request).remove(0).answer else { return Vec::new() };
        shares.iter().map(|share| (share.source.name.to_string(), share.percent)).collect()
    };
    let both = vec![("first".to_owned(), 10), ("second".to_owned(), 90)];
    assert_eq!(ask(json!({ "weight": 10, "case_sensitive": false }), json!({})), both);
    assert_eq!(ask(json!({ "weight": 10 }), json!({ "case_sensitive": false })), both);
    let only_second = vec![("second".to_owned(), 100)];
    assert_eq!(ask(json!({ "weight": 10, "case_sensitive": true }), json!({ "case_sensitive": false })), only_second);
    assert_eq!(ask(json!({ "weight": 10 }), json!({})), []);
}

/// Upstream makes the header of the service as it is written; that `tls` means another port does not count.
#[test]
fn the_linkerd_header_has_the_port_of_the_scheme() {
    let (_, mirror) = compiled([
        custom("TLSContext", "inside", json!({ "sni": "x" })),
        mapping("a", json!({ "prefix": "/a/", "tls": "inside", "add_linkerd_headers": true })),
        mapping("b", json!({ "prefix": "/b/", "service": "https://backend", "add_linkerd_headers": true })),
        mapping("c", json!({ "prefix": "/c/", "service": "https://backend:8443", "add_linkerd_headers": true })),
    ]);
    let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
    let mut found: Vec<(String, String)> = groups
        .filter_map(|group| {
            Some((group.matches.path.text().to_string(), group.headers.add_request.first()?.value.to_string()))
        })
        .collect();
    found.sort();
    let expected = [("/a/", "backend:80"), ("/b/", "backend:443"), ("/c/", "backend:8443")];
    assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
}

/// Envoy has one set of limits for each priority, and upstream's names of clusters tell which are written.
#[test]
fn circuit_breakers_are_for_priorities() {
    let breakers =
        json!([{ "priority": "high", "max_connections": 10 }, { "max_pending_requests": 6, "max_retries": 7 }]);
    let named = json!([{ "priority": "default", "max_connections": 1, "max_pending_requests": 1 }]);
    let (_, mirror) = compiled([
        mapping("a", json!({ "prefix": "/a/", "circuit_breakers": breakers })),
        mapping("b", json!({ "prefix": "/b/", "circuit_breakers": named })),
        mapping("c", json!({ "prefix": "/c/", "circuit_breakers": [] })),
        mapping("d", json!({ "prefix": "/d/" })),
        module(json!({ "circuit_breakers": [{ "max_requests": 5 }] })),
    ]);
    let of = |name| {
        let cluster = cluster_of(&mirror, name);
        let limits = cluster.circuit_breakers.iter().map(|breaker| {
            let limits =
                [breaker.max_connections, breaker.max_pending_requests, breaker.max_requests, breaker.max_retries];
            (breaker.high_priority, limits)
        });
        (cluster.name.to_string(), limits.collect::<Vec<_>>())
    };
    let high = (true, [Some(10), None, None, None]);
    let other = (false, [None, Some(6), None, Some(7)]);
    assert_eq!(of("a"), ("cluster_backend_default_cbhc10_cbnp6t7".into(), vec![high, other]));
    assert_eq!(of("b"), ("cluster_backend_default_cbdc1p1".into(), vec![(false, [Some(1), Some(1), None, None])]));
    assert_eq!(of("c"), ("cluster_backend_default".into(), vec![]), "an empty list beats the Module's");
    assert_eq!(of("d"), ("cluster_backend_default_cbnr5".into(), vec![(false, [None, None, Some(5), None])]));
}

/// Upstream answers 404 where these do not fit together.
#[test]
fn a_load_balancer_that_does_not_fit_takes_its_mapping_out_of_force() {
    for balancer in [
        json!({ "policy": "ring_hash", "cookie": { "name": "c" }, "header": "h", "source_ip": true }),
        json!({ "policy": "round_robin", "cookie": { "name": "c" } }),
        json!({ "policy": "least_request", "cookie": { "name": "c" } }),
        json!({ "policy": "maglev" }),
        json!({ "policy": "rr" }),
    ] {
        let spec = json!({ "prefix": "/m/", "resolver": "endpoint", "load_balancer": balancer });
        let (compiler, mirror) = compiled([mapping("m", spec)]);
        assert!(!verdict(&compiler, Kind::Mapping, "m").accepted, "{balancer}");
        let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
        assert!(groups.flat_map(|group| &group.routes).all(|route| *route.source.name != *"m"), "{balancer}");
    }
}

/// Not so upstream: a context without a certificate counts as undefined there, and a missing one as none.
#[test]
fn a_context_for_a_service_needs_no_certificate_but_has_to_exist() {
    let (compiler, mirror) = compiled([
        custom("TLSContext", "verify", json!({ "ca_secret": "authority", "sni": "inside.example" })),
        custom("TLSContext", "h2", json!({ "alpn_protocols": "h2, http/1.1" })),
        mapping("a", json!({ "prefix": "/a/", "tls": "verify" })),
        mapping("b", json!({ "prefix": "/b/", "tls": "h2" })),
        mapping("c", json!({ "prefix": "/c/", "tls": "missing" })),
    ]);
    let tls = |name| cluster_of(&mirror, name).tls.clone().expect("TLS");
    let verify = tls("a");
    assert_eq!((verify.sni.as_deref(), verify.certificate), (Some("inside.example"), None));
    assert_eq!(verify.validation.as_deref(), Some("default/authority/ca"));
    assert_eq!(tls("b").alpn, ["h2".into(), "http/1.1".into()]);
    // Neither clear text nor a server that nobody verifies is what was asked for.
    assert!(!verdict(&compiler, Kind::Mapping, "c").resolved);
    let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
    assert!(groups.flat_map(|group| &group.routes).all(|route| *route.source.name != *"c"));
}

/// Upstream hands Envoy `http://…` as the name of a host, and takes shares that cannot be for nothing at all.
#[test]
fn what_cannot_be_meant_is_put_right_or_refused() {
    let (compiler, mirror) = compiled([
        mapping("to", json!({ "prefix": "/to/", "service": "https://other.example", "host_redirect": true })),
        mapping("all", json!({ "prefix": "/w/", "weight": 150 })),
        mapping("rest", json!({ "prefix": "/w/" })),
    ]);
    let Action::Redirect(redirect) = route(&mirror, "to").action else { panic!("a redirect") };
    assert_eq!(&*redirect.host, "other.example");
    assert_eq!(route(&mirror, "rest").fraction, 100);
    assert!(!verdict(&compiler, Kind::Mapping, "all").accepted);
}

#[test]
fn filters_of_the_module_are_in_every_listener_and_touch_nothing_else() {
    let (mut compiler, before) = compiled([listener("m", 8443, "HTTPS", "SECURE"), mapping("m", json!({}))]);
    let filters = |mirror: &Mirror| {
        let filters = mirror.listeners.values().map(|row| row.http.filters.as_deref().cloned());
        filters.collect::<Vec<_>>()
    };
    assert!(filters(&before).iter().all(Option::is_none));
    let config = json!({ "enable_grpc_web": true, "grpc_stats": { "all_methods": true } });
    let rows = compiler.apply(vec![put(&module(config))]).rows;
    assert!(!rows.listeners.is_empty());
    assert!(rows.tables.is_empty() && rows.lists.is_empty() && rows.clusters.is_empty());
    let stats = GrpcStats { methods: GrpcMethods::All, upstream: false };
    let asked = ModuleFilters { grpc_web: true, grpc_stats: Some(stats), ..ModuleFilters::default() };
    let after = filters(&Mirror::of(&compiler));
    assert_eq!(after, vec![Some(asked); filters(&before).len()]);

    // What is bad takes its filter away, or an entry of it, and nothing else.
    let config = json!({ "enable_grpc_web": true, "grpc_stats": 5 });
    compiler.apply(vec![put(&module(config))]);
    let web = ModuleFilters { grpc_web: true, ..ModuleFilters::default() };
    assert!(filters(&Mirror::of(&compiler)).iter().all(|found| found.as_ref() == Some(&web)));
    let problems = &verdict(&compiler, Kind::Module, "ambassador").problems;
    assert_eq!(problems.iter().map(|problem| problem.effect).collect::<Vec<_>>(), [Effect::Degraded]);
}
