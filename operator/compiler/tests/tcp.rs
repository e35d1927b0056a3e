//! TCPMappings: listeners with and without a Listener, server names, weights, and who wins where two want the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use compiler::Compiler;
use ir::{Chain, ChainBody, ChainMatch, Effect, Kind, ListenerFilter, ProblemKind, TcpProxy};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Mirror, compile, created, custom, host, listener, mapping, put, service, verdict};

fn tcp(name: &str, spec: Value) -> Value {
    let mut value = custom("TCPMapping", name, json!({ "port": 9000, "service": "db:5432" }));
    for (field, setting) in spec.as_object().unwrap() {
        value["spec"][field] = setting.clone();
    }
    value
}

fn compiled(values: &[Value]) -> (Compiler, Mirror) {
    let (compiler, _) = compile(values);
    let mirror = Mirror::of(&compiler);
    (compiler, mirror)
}

fn proxy(chain: &Chain) -> Arc<TcpProxy> {
    match &chain.body {
        ChainBody::Tcp(proxy) => proxy.clone(),
        other => panic!("{other:?}"),
    }
}

fn names(matches: &ChainMatch) -> Vec<&str> {
    match matches {
        ChainMatch::Tls(names) => names.iter().map(|name| &**name).collect(),
        ChainMatch::Rest => vec!["rest"],
    }
}

#[test]
fn a_port_without_listener_gets_one() {
    let (compiler, mirror) =
        compiled(&[service("db", Some("10.0.0.1")), tcp("t", json!({ "idle_timeout_ms": "5000" }))]);
    let listener = &mirror.listeners["listener-0.0.0.0-9000"];
    assert_eq!((&*listener.bind.address, listener.bind.port, listener.filters.len()), ("0.0.0.0", 9000, 0));
    let [chain] = &*listener.chains else { panic!("{listener:?}") };
    assert_eq!((&*chain.name, names(&chain.matches), chain.tls.is_none()), ("tcp", vec!["rest"], true));
    let proxy = proxy(chain);
    assert_eq!((&*proxy.stat_prefix, proxy.idle_timeout_ms), ("ingress_tcp_9000", Some(5000)));
    assert_eq!(proxy.clusters, [("cluster_db_5432_default".into(), 100)]);
    assert!(mirror.clusters.contains_key(&*proxy.clusters[0].0));
    let verdict = verdict(&compiler, Kind::TCPMapping, "t");
    assert!(verdict.accepted && verdict.attached && verdict.problems.is_empty(), "{verdict:?}");
    assert_eq!(compiler.objects_of_listener("listener-0.0.0.0-9000").len(), 1);
}

#[test]
fn a_listener_of_the_port_takes_it_whatever_its_binding() {
    let mut taken = listener("l", 9000, "TCP", "XFP");
    taken["spec"]["statsPrefix"] = "db".into();
    let (compiler, mirror) = compiled(&[taken, tcp("t", json!({})), tcp("apart", json!({ "address": "127.0.0.1" }))]);
    assert_eq!(proxy(&mirror.listeners["default/l"].chains[0]).stat_prefix, "db".into());
    assert_eq!(mirror.listeners["listener-127.0.0.1-9000"].chains.len(), 1);
    assert_eq!(mirror.listeners.len(), 2);
    assert!(verdict(&compiler, Kind::Listener, "l").attached);
}

#[test]
fn weights_are_weights() {
    let cases: [(&[Value], &[u32]); 5] = [
        (&[json!(10), json!(null)], &[10, 90]),
        (&[json!(null), json!(null)], &[50, 50]),
        (&[json!(30), json!(70)], &[30, 70]),
        (&[json!(20), json!(30)], &[20, 30]),
        (&[json!(0), json!(null)], &[100]),
    ];
    for (weights, expected) in cases {
        let mappings = weights.iter().enumerate().map(|(index, weight)| {
            let mut value = tcp(&format!("t{index}"), json!({ "service": format!("db{index}") }));
            if !weight.is_null() {
                value["spec"]["weight"] = weight.clone();
            }
            value
        });
        let (_, mirror) = compiled(&mappings.collect::<Vec<_>>());
        let proxy = proxy(&mirror.listeners["listener-0.0.0.0-9000"].chains[0]);
        assert_eq!(proxy.clusters.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), expected, "{weights:?}");
    }
}

#[test]
fn server_names_share_a_port_with_http() {
    let tls = |name: &str, hostname: &str| host(name, json!({ "hostname": hostname, "tlsSecret": { "name": name } }));
    let context = custom("TLSContext", "c", json!({ "hosts": ["ctx.test"], "secret": "c", "min_tls_version": "v1.2" }));
    let values = [
        listener("l", 8443, "HTTPS", "XFP"),
        tls("web", "web.test"),
        tls("wild", "*.db.test"),
        context,
        mapping("m", json!({})),
        tcp("a", json!({ "port": 8443, "host": "a.db.test" })),
        tcp("ctx", json!({ "port": 8443, "host": "ctx.test" })),
        tcp("none", json!({ "port": 8443, "host": "none.example" })),
        tcp("clear", json!({ "port": 8443 })),
    ];
    let (compiler, mirror) = compiled(&values);
    let listener = &mirror.listeners["default/l"];
    let chains: Vec<&str> = listener.chains.iter().map(|chain| &*chain.name).collect();
    assert_eq!(chains, ["cleartext", "default/web", "default/wild", "tcp:a.db.test", "tcp:ctx.test"]);
    let find = |name: &str| listener.chains.iter().find(|chain| *chain.name == *name).unwrap();
    assert_eq!(find("tcp:a.db.test").tls.as_ref().unwrap().certificate.as_deref(), Some("default/wild"));
    assert_eq!(find("tcp:ctx.test").tls.as_ref().unwrap().min_version, Some(ir::TlsVersion::V1_2));
    assert_eq!(names(&find("tcp:a.db.test").matches), ["a.db.test"]);
    for (name, kind) in [("none", ProblemKind::MissingReference), ("clear", ProblemKind::Conflict)] {
        let verdict = verdict(&compiler, Kind::TCPMapping, name);
        assert!(!verdict.attached && verdict.problems.iter().any(|problem| problem.kind == kind), "{verdict:?}");
    }
}

#[test]
fn a_server_name_is_the_older_objects() {
    let web = host("web", json!({ "hostname": "web.test", "tlsSecret": { "name": "web" } }));
    let taker = tcp("t", json!({ "port": 8443, "host": "web.test" }));
    let (old, new) = ("2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z");
    for (host_time, tcp_time, tcp_wins) in [(old, new, false), (new, old, true), (old, old, true)] {
        let values =
            [listener("l", 8443, "HTTPS", "XFP"), created(web.clone(), host_time), created(taker.clone(), tcp_time)];
        let (compiler, mirror) = compiled(&values);
        let chains: Vec<&str> = mirror.listeners["default/l"].chains.iter().map(|chain| &*chain.name).collect();
        let expected = if tcp_wins { ["cleartext", "tcp:web.test"] } else { ["cleartext", "default/web"] };
        assert_eq!(chains, expected, "{host_time} {tcp_time}");
        let loser =
            if tcp_wins { verdict(&compiler, Kind::Host, "web") } else { verdict(&compiler, Kind::TCPMapping, "t") };
        assert!(loser.problems.iter().any(|problem| problem.kind == ProblemKind::Conflict), "{loser:?}");
    }
}

#[test]
fn an_inspector_is_there_when_a_server_name_needs_it() {
    let values = [
        listener("l", 9000, "TCP", "XFP"),
        host("db", json!({ "hostname": "db.test", "tlsSecret": { "name": "db" } })),
        tcp("t", json!({ "host": "db.test" })),
    ];
    let (_, mirror) = compiled(&values);
    assert_eq!(mirror.listeners["default/l"].filters, [ListenerFilter::TlsInspector]);
}

#[test]
fn an_edit_changes_its_own_chain_only() {
    let values = [
        host("db", json!({ "hostname": "*.test", "tlsSecret": { "name": "db" } })),
        tcp("a", json!({ "host": "a.test" })),
        tcp("b", json!({ "host": "b.test" })),
    ];
    let (mut compiler, before) = compiled(&values);
    let outcome = compiler.apply(vec![put(&tcp("a", json!({ "host": "a.test", "service": "other" })))]);
    assert_eq!(outcome.rows.listeners.len(), 1);
    assert!(outcome.rows.tables.is_empty() && outcome.rows.lists.is_empty() && outcome.rows.secrets.is_empty());
    let mut after = before;
    let unchanged = after.listeners["listener-0.0.0.0-9000"].chains[1].clone();
    after.apply(&outcome.rows);
    assert!(Arc::ptr_eq(&unchanged, &after.listeners["listener-0.0.0.0-9000"].chains[1]));
    compiler.apply(vec![ir_gone("a"), ir_gone("b")]);
    assert_eq!(Mirror::of(&compiler), Mirror::of(&compile(&values[..1]).0));
}

fn ir_gone(name: &str) -> compiler::Change {
    compiler::Change::Gone(ir::ObjectKey::new(Kind::TCPMapping, "default", name))
}

#[test]
fn members_that_differ_are_refused_and_hurt_nobody() {
    let breakers = |most: u32| json!({ "circuit_breakers": [{ "max_connections": most }] });
    let values = [
        created(tcp("a", breakers(1)), "2020-01-01T00:00:00Z"),
        created(tcp("b", breakers(2)), "2021-01-01T00:00:00Z"),
    ];
    let (compiler, mirror) = compiled(&values);
    assert_eq!(mirror.listeners["listener-0.0.0.0-9000"].chains.len(), 1);
    assert!(verdict(&compiler, Kind::TCPMapping, "a").attached);
    let refused = verdict(&compiler, Kind::TCPMapping, "b");
    assert!(
        refused
            .problems
            .iter()
            .any(|problem| problem.effect == Effect::Refused && problem.at == "spec.circuit_breakers")
    );
}

#[test]
fn http3_stands_beside_tls_and_is_advertised_there() {
    let mut quic = listener("quic", 8443, "HTTPS", "XFP");
    quic["spec"].as_object_mut().unwrap().remove("protocol");
    quic["spec"]["protocolStack"] = json!(["TLS", "HTTP", "UDP"]);
    let mut values = vec![
        listener("l", 8443, "HTTPS", "XFP"),
        listener("other", 8080, "HTTPS", "XFP"),
        host("web", json!({ "hostname": "web.test", "tlsSecret": { "name": "web" } })),
        mapping("m", json!({})),
    ];
    let advertised = |mirror: &Mirror| -> Vec<String> {
        mirror.tables.values().filter(|table| table.advertises_http3).map(|table| table.name.to_string()).collect()
    };
    assert!(advertised(&compiled(&values).1).is_empty());
    values.push(quic);
    let (compiler, mirror) = compiled(&values);
    assert_eq!(advertised(&mirror), ["default/l/cleartext", "default/l/default/web"]);
    let quic = &mirror.listeners["default/quic"];
    assert!(quic.bind.udp && quic.filters.is_empty());
    assert_eq!(quic.chains.iter().map(|chain| &*chain.name).collect::<Vec<_>>(), ["default/web"]);
    assert!(verdict(&compiler, Kind::Listener, "quic").attached);
}
