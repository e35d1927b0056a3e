//! Upstream's numbers: group ids, route order, canary shares, cluster names (the reference's appendix A, checked
//! against upstream's own compiler).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use ir::{Action, Kind};
use serde_json::{Value, json};
use support::{Mirror, compile, created, host, labelled, listener, mapping, verdict};

fn groups(values: &[Value]) -> Vec<std::sync::Arc<ir::RouteGroup>> {
    let (compiler, _) = compile(values);
    let mirror = Mirror::of(&compiler);
    let list = mirror.lists.values().next().expect("a list");
    let probes = |group: &ir::RouteGroup| group.matches.path.text().starts_with("/ambassador/v0/");
    list.buckets[0].groups.iter().filter(|group| !probes(group)).cloned().collect()
}

fn base() -> Vec<Value> {
    vec![
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
    ]
}

#[test]
fn group_ids_are_upstreams() {
    let vectors = [
        (json!({ "prefix": "/foo/" }), "cfc9f77abfba141327b2282e7923308040d9ae76"),
        (json!({ "prefix": "/foo/", "hostname": "foo.example.com" }), "60e2618f387a7ef70b4a9f5b2c524e56e27b482c"),
        (
            json!({ "prefix": "/foo/", "hostname": "foo.example.com", "method": "GET" }),
            "de16012147d1416373678a9e465d687c2336f5a0",
        ),
        (json!({ "prefix": "/foo/", "query_parameters": { "q": "1" } }), "5aa998dda52d12b2d3801c3e66ed8ff1b022407f"),
        (json!({ "prefix": "/foo/", "precedence": 5 }), "78ef6feb8fb3b3b1ad066da3c1d93af9d1523778"),
        (json!({ "prefix": "/foo/", "precedence": -5 }), "08f39bef85626aeacad07780e62884939ba480a7"),
        (json!({ "prefix": "^/r/.*", "prefix_regex": true }), "c2598898579d88e6e2d9f91f8db571c18c63c72e"),
    ];
    for (spec, id) in vectors {
        let mut values = base();
        values.push(mapping("m", spec.clone()));
        assert_eq!(&*groups(&values)[0].id, id, "{spec}");
    }
    let values = [
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "mappingSelector": { "matchLabels": { "site": "one" } } })),
        labelled(mapping("m", json!({ "prefix": "/foo/", "hostname": null })), json!({ "site": "one", "other": "x" })),
    ];
    assert_eq!(&*groups(&values)[0].id, "a25ebbea12666efbb54f791d95855a339c2a3d87");
}

#[test]
fn routes_stand_in_upstreams_order() {
    let mut values = base();
    let specs = [
        json!({ "prefix": "/" }),
        json!({ "prefix": "/foo/bar/" }),
        json!({ "prefix": "/foo/", "hostname": "foo.example.com" }),
        json!({ "prefix": "/foo/" }),
        json!({ "prefix": "/foo/", "method": "POST" }),
        json!({ "prefix": "/foo/", "headers": { "x": "y".repeat(20) } }),
        json!({ "prefix": "/foo/", "query_parameters": { "q": "1" } }),
        json!({ "prefix": "/goo/" }),
        json!({ "prefix": "/z/", "precedence": 1 }),
        json!({ "prefix": "/low/", "precedence": -1 }),
        json!({ "prefix": "/foo/.*", "prefix_regex": true }),
    ];
    for (index, spec) in specs.into_iter().enumerate() {
        values.push(mapping(&format!("o{index:02}"), spec));
    }
    let order: Vec<String> = groups(&values).iter().map(|group| group.routes[0].source.name.to_string()).collect();
    assert_eq!(order, ["o08", "o01", "o10", "o05", "o02", "o04", "o06", "o07", "o03", "o00", "o09"]);
}

#[test]
fn canary_shares_are_upstreams() {
    /// Weights in load order, and shares in emission order.
    type Vector = (&'static [Option<i64>], &'static [(usize, u32)]);
    let vectors: [Vector; 11] = [
        (&[None], &[(0, 100)]),
        (&[Some(10)], &[(0, 100)]),
        (&[None, None], &[(0, 50), (1, 100)]),
        (&[None, None, None], &[(0, 33), (1, 66), (2, 100)]),
        (&[Some(10), None], &[(0, 10), (1, 100)]),
        (&[None, Some(10)], &[(1, 10), (0, 100)]),
        (&[Some(30), Some(70)], &[(0, 30), (1, 100)]),
        (&[Some(20), Some(30)], &[(0, 20), (1, 50)]),
        (&[Some(100), None], &[(0, 100), (1, 100)]),
        (&[Some(10), Some(30), None, None], &[(0, 10), (1, 40), (2, 70), (3, 100)]),
        (&[Some(33), Some(33), None, None, None], &[(0, 33), (1, 66), (2, 77), (3, 88), (4, 100)]),
    ];
    for (weights, expected) in vectors {
        let mut values = base();
        for (index, weight) in weights.iter().enumerate() {
            values.push(mapping(&format!("m{index}"), json!({ "prefix": "/a/", "weight": weight })));
        }
        let shares: Vec<(usize, u32)> = groups(&values)[0]
            .routes
            .iter()
            .map(|route| (route.source.name[1..].parse().unwrap(), route.fraction))
            .collect();
        assert_eq!(shares, expected, "{weights:?}");
    }
}

#[test]
fn weights_above_100_are_said_and_capped() {
    let mut values = base();
    values.extend(
        [60, 60]
            .iter()
            .enumerate()
            .map(|(index, weight)| mapping(&format!("m{index}"), json!({ "prefix": "/a/", "weight": weight }))),
    );
    let (compiler, _) = compile(&values);
    for name in ["m0", "m1"] {
        let problems = &verdict(&compiler, Kind::Mapping, name).problems;
        assert!(
            problems.iter().any(|problem| problem.at == "spec.weight" && problem.detail.contains("120")),
            "{problems:?}"
        );
    }
}

#[test]
fn clusters_have_upstreams_names() {
    let vectors = [
        (json!({ "service": "foo" }), "cluster_foo_default"),
        (json!({ "service": "https://foo" }), "cluster_https___foo_otls_default"),
        (json!({ "service": "foo", "tls": "up" }), "cluster_foo_otls_up_default"),
        (
            json!({ "service": "foo:8080", "resolver": "endpoint", "load_balancer": { "policy": "ring_hash", "cookie": { "name": "c" } } }),
            "cluster_foo_8080_default_er_ring_hash_cookie_c",
        ),
        (json!({ "service": "https://a_very_long_service_name_that_goes_on_and_on.example.com" }), ""),
    ];
    for (spec, name) in vectors {
        let mut values = base();
        values.push(support::custom("TLSContext", "up", json!({ "sni": "up.example.com" })));
        values.push(mapping("m", spec.clone()));
        let group = &groups(&values)[0];
        let Action::Forward(forward) = &group.routes[0].action else { panic!("{spec}") };
        if name.is_empty() {
            assert!(forward.cluster.len() == 59 && forward.cluster.ends_with("-0"), "{}", forward.cluster);
        } else {
            assert_eq!(&*forward.cluster, name, "{spec}");
        }
    }
}

#[test]
fn options_that_upstreams_name_lacks_make_another_cluster() {
    let mut values = base();
    values.push(mapping("a", json!({ "prefix": "/a/", "service": "foo" })));
    values.push(mapping("b", json!({ "prefix": "/b/", "service": "foo", "connect_timeout_ms": 500 })));
    values.push(mapping("c", json!({ "prefix": "/c/", "service": "foo", "connect_timeout_ms": 3000 })));
    let (compiler, _) = compile(&values);
    let names: Vec<_> = Mirror::of(&compiler)
        .clusters
        .keys()
        .filter(|name| name.starts_with("cluster_foo"))
        .map(|name| name.len())
        .collect();
    assert_eq!(names, [19, 28], "the default has upstream's name, the other one a hash behind it");
}

#[test]
fn names_that_look_alike_stay_apart() {
    let mut values = base();
    values.push(mapping("a", json!({ "prefix": "/a/", "service": "foo-bar" })));
    values.push(mapping("b", json!({ "prefix": "/b/", "service": "foo.bar" })));
    let (compiler, _) = compile(&values);
    let mirror = Mirror::of(&compiler);
    let hosts: std::collections::BTreeSet<_> = mirror
        .clusters
        .values()
        .filter(|cluster| cluster.name.starts_with("cluster_foo"))
        .map(|cluster| format!("{:?}", cluster.discovery))
        .collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
}

#[test]
fn conflicts_go_to_the_older_object() {
    let old = created(listener("z-old", 8080, "HTTP", "XFP"), "2020-01-01T00:00:00Z");
    let new = created(listener("a-new", 8080, "HTTP", "XFP"), "2024-01-01T00:00:00Z");
    let (compiler, _) = compile(&[new, old, host("h", json!({ "hostname": "*" }))]);
    assert!(verdict(&compiler, Kind::Listener, "z-old").accepted);
    let loser = verdict(&compiler, Kind::Listener, "a-new");
    assert!(
        !loser.accepted
            && loser
                .problems
                .iter()
                .any(|problem| problem.at == "spec.port" && problem.detail.contains("default/z-old")),
        "{loser:?}"
    );
}

/// Hosts' selectors can put Mappings with equal conditions into groups of their own, which one Host may have both of.
#[test]
fn of_equal_routes_of_one_host_the_older_comes_first() {
    let selected = |name: &str, labels: Value| {
        host(name, json!({ "hostname": name, "mappingSelector": { "matchLabels": labels } }))
    };
    let first = |ages: [&str; 2]| {
        let member = |name: &str, labels: Value, time: &str| {
            created(labelled(mapping(name, json!({ "hostname": null, "prefix": "/a/" })), labels), time)
        };
        let values = [
            listener("l", 8080, "HTTP", "XFP"),
            selected("h1.example", json!({ "x": "1" })),
            selected("h2.example", json!({ "y": "2" })),
            member("a", json!({ "x": "1" }), ages[0]),
            member("b", json!({ "x": "1", "y": "2" }), ages[1]),
        ];
        let (compiler, _) = compile(&values);
        let lists = Mirror::of(&compiler).lists;
        let list = lists.iter().find(|(id, _)| id.class.contains("x=1")).map(|(_, list)| list.clone()).expect("a list");
        let groups = list.buckets.iter().flat_map(|bucket| bucket.groups.clone());
        let own: Vec<_> = groups.filter(|group| &**group.matches.path.text() == "/a/").collect();
        assert_eq!(own.len(), 2);
        assert_ne!(own[0].id, own[1].id);
        own[0].routes[0].source.name.to_string()
    };
    let (old, new) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    assert_eq!(first([old, new]), "a");
    assert_eq!(first([new, old]), "b");
    assert_eq!(first([old, old]), "a", "of equal age by name");
}
