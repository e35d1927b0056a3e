use crate::parse::tests::{table, value, with};
use crate::parse::{NamespaceFrom, Parsed, ParsedListener, SecurityModel, Selector};
use ir::{Kind, ListenerFilter};
use serde_json::{Value, json};
use std::sync::Arc;

fn base() -> Value {
    json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP", "hostBinding": {"namespace": {"from": "ALL"}}})
}

fn parsed(fields: Value) -> Arc<ParsedListener> {
    match value(Kind::Listener, with(&base(), &fields)) {
        Parsed::Listener(listener) => listener,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_listener_is_named() {
    let binding = |binding: Value| json!({"hostBinding": binding});
    table(
        Kind::Listener,
        &base(),
        &[
            (json!({}), &[]),
            (json!({"port": 0}), &["Refused spec.port InvalidValue"]),
            (json!({"port": 65536}), &["Refused spec.port InvalidValue"]),
            (
                json!({"port": -1, "protocol": null}),
                &["Refused spec.port InvalidValue", "Refused spec.protocol InvalidValue"],
            ),
            (json!({"protocol": null}), &["Refused spec.protocol InvalidValue"]),
            (json!({"protocol": "UDP"}), &["Refused spec.protocol InvalidValue"]),
            (json!({"protocol": null, "protocolStack": []}), &["Refused spec.protocol InvalidValue"]),
            (json!({"protocolStack": ["HTTP", "TCP"]}), &["Notice spec.protocol NoEffect"]),
            (json!({"protocol": null, "protocolStack": ["TLS", "HTTP"]}), &["Refused spec.protocolStack InvalidValue"]),
            (json!({"protocol": null, "protocolStack": ["TCP", "HTTP"]}), &["Refused spec.protocolStack InvalidValue"]),
            (json!({"protocol": null, "protocolStack": ["TLS", "HTTP", "UDP"]}), &[]),
            (json!({"protocol": null, "protocolStack": ["TLS", "UDP"]}), &["Refused spec.protocolStack InvalidValue"]),
            (json!({"protocol": null, "protocolStack": ["HTTP", "UDP"]}), &["Refused spec.protocolStack InvalidValue"]),
            (
                json!({"protocol": null, "protocolStack": ["PROXY", "TLS", "HTTP", "UDP"]}),
                &["Refused spec.protocolStack InvalidValue"],
            ),
            (
                json!({"protocol": null, "protocolStack": ["TLS", "TLS", "HTTP", "TCP"]}),
                &["Refused spec.protocolStack[1] InvalidValue"],
            ),
            (json!({"protocol": "TCP"}), &[]),
            (json!({"protocol": "TLS"}), &[]),
            (binding(json!({})), &["Refused spec.hostBinding InvalidValue"]),
            (binding(json!({"namespace": {}})), &["Refused spec.hostBinding.namespace.from InvalidValue"]),
            (
                binding(json!({"namespace": {"from": "SELECTOR"}})),
                &["Degraded spec.hostBinding.namespace.from NotSupported"],
            ),
            (binding(json!({"selector": {}})), &["Refused spec.hostBinding.selector InvalidValue"]),
            (binding(json!({"selector": {"matchLabels": {}}})), &["Refused spec.hostBinding.selector InvalidValue"]),
            (
                binding(json!({"selector": {"matchExpressions": []}})),
                &[
                    "Notice spec.hostBinding.selector.matchExpressions NoEffect",
                    "Refused spec.hostBinding.selector InvalidValue",
                ],
            ),
            (json!({"l7Depth": -1}), &["Degraded spec.l7Depth InvalidValue"]),
            (json!({"http2MaxConcurrentStreams": 0}), &["Degraded spec.http2MaxConcurrentStreams InvalidValue"]),
            (json!({"statsPrefix": "a\nb"}), &["Degraded spec.statsPrefix InvalidValue"]),
        ],
    );
}

/// Section 4.2 of the routing reference.
#[test]
fn protocols_are_stacks() {
    use ListenerFilter::{ProxyProtocol, TlsInspector};
    let stack = |fields: Value| {
        let listener = parsed(fields);
        (listener.http, listener.tls, listener.filters.clone(), listener.stats_prefix.to_string())
    };
    let own = |layers: &[&str]| json!({"protocol": null, "protocolStack": layers});
    assert_eq!(stack(json!({"protocol": "HTTP"})), (true, false, vec![], "ingress_http".into()));
    assert_eq!(stack(json!({"protocol": "HTTPS"})), (true, true, vec![TlsInspector], "ingress_https".into()));
    assert_eq!(stack(json!({"protocol": "HTTPPROXY"})), (true, false, vec![ProxyProtocol], "ingress_http".into()));
    // Upstream looks for TLS before it has read the PROXY header, which finds none.
    let both = (true, true, vec![ProxyProtocol, TlsInspector], "ingress_https".into());
    assert_eq!(stack(json!({"protocol": "HTTPSPROXY"})), both);
    assert_eq!(stack(own(&["PROXY", "TLS", "HTTP", "TCP"])), both);
    assert_eq!(stack(own(&["TLS", "PROXY", "HTTP", "TCP"])).2, [TlsInspector, ProxyProtocol], "as written");
}

#[test]
fn hosts_are_bound_by_namespace_and_label() {
    let binding = |binding: Value| {
        let listener = parsed(json!({"hostBinding": binding}));
        (listener.from, listener.selector.clone())
    };
    let labels = || Some(Selector(vec![("a".into(), "b".into())]));
    assert_eq!(binding(json!({"namespace": {"from": "ALL"}})), (NamespaceFrom::All, None));
    assert_eq!(binding(json!({"namespace": {"from": "SELF"}})), (NamespaceFrom::Own, None));
    let selector = json!({"matchLabels": {"a": "b"}});
    assert_eq!(binding(json!({"selector": selector})), (NamespaceFrom::Own, labels()));
    assert_eq!(binding(json!({"selector": selector, "namespace": {"from": "ALL"}})), (NamespaceFrom::All, labels()));
}

#[test]
fn the_rest_is_carried_over() {
    let listener =
        parsed(json!({"l7Depth": 2, "http2MaxConcurrentStreams": 7, "statsPrefix": "p", "securityModel": "INSECURE"}));
    assert_eq!((listener.port, listener.l7_depth, listener.max_concurrent_streams), (8080, 2, Some(7)));
    assert_eq!((&*listener.stats_prefix, listener.security), ("p", SecurityModel::Insecure));
    assert_eq!(&*parsed(json!({"statsPrefix": ""})).stats_prefix, "ingress_http");
}
