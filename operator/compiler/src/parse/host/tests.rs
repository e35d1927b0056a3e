use crate::parse::tests::{table, value};
use crate::parse::{InsecureAction, Parsed, ParsedHost, SecretRef, Selector};
use ir::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

fn parsed(spec: Value) -> Arc<ParsedHost> {
    match value(Kind::Host, spec) {
        Parsed::Host(host) => host,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_host_is_named() {
    let secret = json!({"name": "s"});
    table(
        Kind::Host,
        &json!({"hostname": "a.example"}),
        &[
            (json!({}), &[]),
            (json!({"hostname": null}), &[]),
            (json!({"hostname": "a.*.example"}), &["Refused spec.hostname InvalidValue"]),
            (json!({"hostname": "*.a.*"}), &["Refused spec.hostname InvalidValue"]),
            (json!({"hostname": "a example"}), &["Refused spec.hostname InvalidValue"]),
            (json!({"hostname": "a".repeat(300)}), &["Refused spec.hostname InvalidValue"]),
            (json!({"tlsSecret": {"name": "a\nb"}}), &["Refused spec.tlsSecret.name InvalidValue"]),
            (
                json!({"tlsSecret": secret, "tls": {}, "tlsContext": {"name": "c"}}),
                &["Refused spec.tls ConflictingFields"],
            ),
            (json!({"tls": {}}), &["Degraded spec.tls NoEffect"]),
            (json!({"tls": {}, "tlsContext": {"name": "c"}}), &["Degraded spec.tls NoEffect"]),
            (
                json!({"tlsSecret": secret, "tls": {"min_tls_version": "1.2"}}),
                &["Refused spec.tls.min_tls_version InvalidValue"],
            ),
            (
                json!({"tlsSecret": secret, "tls": {"min_tls_version": "v1.3", "max_tls_version": "v1.2"}}),
                &["Refused spec.tls.min_tls_version ConflictingFields"],
            ),
            (
                json!({"tlsSecret": secret, "tls": {"cert_required": true}}),
                &["Degraded spec.tls.cert_required ConflictingFields"],
            ),
            (
                json!({"tlsSecret": secret, "tls": {"redirect_cleartext_from": 80}}),
                &["Notice spec.tls.redirect_cleartext_from NoEffect"],
            ),
            (
                json!({"requestPolicy": {"insecure": {"additionalPort": 80}}}),
                &["Notice spec.requestPolicy.insecure.additionalPort NoEffect"],
            ),
            (json!({"previewUrl": {"enabled": true}}), &["Notice spec.previewUrl NoEffect"]),
            (json!({"acmeProvider": {"authority": "none"}}), &[]),
            (
                json!({"acmeProvider": {"authority": "https://acme", "privateKeySecret": {"name": "k"}}}),
                &["Notice spec.acmeProvider NoEffect", "Notice spec.acmeProvider.privateKeySecret NoEffect"],
            ),
            (json!({"selector": {"matchLabels": {"a": "b"}}}), &["Notice spec.selector Deprecated"]),
            (
                json!({"selector": {"matchLabels": {"a": "b"}}, "mappingSelector": {"matchLabels": {"a": "c"}}}),
                &["Notice spec.selector NoEffect"],
            ),
            (
                json!({"mappingSelector": {"matchExpressions": []}}),
                &["Notice spec.mappingSelector.matchExpressions NoEffect"],
            ),
        ],
    );
}

#[test]
fn the_server_name_is_the_host_without_its_port() {
    for (hostname, host, sni) in [
        (json!(null), "*", "*"),
        (json!(""), "*", "*"),
        (json!("A.example"), "A.example", "A.example"),
        (json!("a.example:8443"), "a.example:8443", "a.example"),
        (json!("*.example:80"), "*.example:80", "*.example"),
    ] {
        let parsed = parsed(json!({"hostname": hostname}));
        assert_eq!((&*parsed.hostname, &*parsed.sni), (host, sni));
    }
}

/// Section 5.4 of the routing reference: `{}` is no selector, one that is there without labels takes everything.
#[test]
fn selectors_are_read_as_upstream_does() {
    let selector = |spec: Value| parsed(spec).selector.clone();
    let labels =
        |pairs: &[(&str, &str)]| Some(Selector(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()));
    assert_eq!(selector(json!({})), None);
    assert_eq!(selector(json!({"mappingSelector": {}})), None);
    assert_eq!(selector(json!({"mappingSelector": {"matchExpressions": []}})), labels(&[]));
    assert_eq!(
        selector(json!({"mappingSelector": {"matchLabels": {"b": "2", "a": "1"}}})),
        labels(&[("a", "1"), ("b", "2")])
    );
    assert_eq!(selector(json!({"selector": {"matchLabels": {"a": "1"}}})), labels(&[("a", "1")]));
    let both = json!({"selector": {"matchLabels": {"a": "1"}}, "mappingSelector": {"matchLabels": {"a": "2"}}});
    assert_eq!(selector(both), labels(&[("a", "2")]));
}

#[test]
fn tls_comes_from_a_secret_a_context_or_inline() {
    let host =
        parsed(json!({"tlsSecret": {"name": "s", "namespace": "n"}, "tls": {"sni": "x", "cert_required": false}}));
    assert_eq!(host.tls_secret, Some(SecretRef { namespace: Some("n".into()), name: "s".into() }));
    let tls = host.tls.as_ref().expect("inline settings");
    assert_eq!((tls.sni.as_deref(), tls.cert_required), (Some("x"), Some(false)));
    let host = parsed(json!({"tlsSecret": {"name": ""}, "tlsContext": {"name": "c.n"}}));
    assert_eq!((host.tls_secret.clone(), host.tls_context.as_deref()), (None, Some("c.n")));
    assert_eq!(parsed(json!({"tlsContext": {"name": ""}})).tls_context, None);
}

#[test]
fn clear_text_is_redirected_unless_said() {
    let action = |spec: Value| parsed(json!({"requestPolicy": spec})).insecure;
    assert_eq!(parsed(json!({})).insecure, InsecureAction::Redirect);
    assert_eq!(action(json!({"insecure": {}})), InsecureAction::Redirect);
    assert_eq!(action(json!({"insecure": {"action": "Route"}})), InsecureAction::Route);
    assert_eq!(action(json!({"insecure": {"action": "Reject"}})), InsecureAction::Reject);
}
