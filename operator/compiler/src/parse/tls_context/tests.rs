use crate::parse::tests::{table, value};
use crate::parse::{Parsed, ParsedTlsContext};
use ir::{Kind, TlsVersion};
use serde_json::{Value, json};
use std::sync::Arc;

fn parsed(spec: Value) -> Arc<ParsedTlsContext> {
    match value(Kind::TLSContext, spec) {
        Parsed::TlsContext(context) => context,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_context_is_named() {
    table(
        Kind::TLSContext,
        &json!({"secret": "s"}),
        &[
            (json!({}), &[]),
            (json!({"secret": null}), &[]),
            (
                json!({"cert_chain_file": "/c", "private_key_file": "/k"}),
                &["Refused spec.cert_chain_file ConflictingFields"],
            ),
            (json!({"secret": null, "cert_chain_file": "/c"}), &["Refused spec.cert_chain_file ConflictingFields"]),
            (json!({"secret": null, "private_key_file": "/k"}), &["Refused spec.cert_chain_file ConflictingFields"]),
            (json!({"secret": null, "cert_chain_file": "/c", "private_key_file": "/k"}), &[]),
            (json!({"cacert_chain_file": "/c\n"}), &["Refused spec.cacert_chain_file InvalidValue"]),
            (json!({"cacert_chain_file": "/".repeat(5000)}), &["Refused spec.cacert_chain_file TooLarge"]),
            (json!({"hosts": ["a", "b c"]}), &["Degraded spec.hosts[1] InvalidValue"]),
            (json!({"hosts": vec!["a"; 2000]}), &["Refused spec.hosts TooLarge"]),
            // What would weaken the context if it were left out.
            (json!({"cert_required": true}), &["Refused spec.cert_required ConflictingFields"]),
            (json!({"crl_secret": "c"}), &["Refused spec.crl_secret ConflictingFields"]),
            (
                json!({"min_tls_version": "v1.3", "max_tls_version": "v1.0"}),
                &["Refused spec.min_tls_version ConflictingFields"],
            ),
            (json!({"cipher_suites": ["AES128-SHA", "RC4-SHA"]}), &["Degraded spec.cipher_suites[1] InvalidValue"]),
            (
                json!({"cipher_suites": ["RC4-SHA"]}),
                &["Degraded spec.cipher_suites[0] InvalidValue", "Refused spec.cipher_suites InvalidValue"],
            ),
            (json!({"ecdh_curves": ["P-256", "P-224"]}), &["Degraded spec.ecdh_curves[1] InvalidValue"]),
            (
                json!({"ecdh_curves": ["X448"]}),
                &["Degraded spec.ecdh_curves[0] InvalidValue", "Refused spec.ecdh_curves InvalidValue"],
            ),
            (json!({"ecdh_curves": vec!["P-256"; 2000]}), &["Refused spec.ecdh_curves TooLarge"]),
            (
                json!({"alpn_protocols": format!("h2,{}", "x".repeat(256))}),
                &["Degraded spec.alpn_protocols InvalidValue"],
            ),
            (json!({"redirect_cleartext_from": 8080}), &["Notice spec.redirect_cleartext_from NoEffect"]),
        ],
    );
}

#[test]
fn settings_are_carried_over() {
    let context = parsed(json!({
        "hosts": ["a.example", "*.b"], "secret": "s.n", "ca_secret": "ca", "crl_secret": "crl", "cert_required": true,
        "alpn_protocols": "h2, http/1.1,", "min_tls_version": "v1.0", "max_tls_version": "v1.3",
        "cipher_suites": ["HIGH", "AES128-SHA"], "ecdh_curves": ["X25519"], "secret_namespacing": false, "sni": "up",
    }));
    let settings = &context.settings;
    assert_eq!(context.hosts.iter().map(|host| &**host).collect::<Vec<_>>(), ["a.example", "*.b"]);
    assert_eq!((context.secret.as_deref(), context.secret_namespacing), (Some("s.n"), Some(false)));
    assert_eq!((settings.ca_secret.as_deref(), settings.crl_secret.as_deref()), (Some("ca"), Some("crl")));
    assert_eq!((settings.min_version, settings.max_version), (Some(TlsVersion::V1_0), Some(TlsVersion::V1_3)));
    assert_eq!(settings.alpn.iter().map(|name| &**name).collect::<Vec<_>>(), ["h2", "http/1.1"]);
    assert_eq!((settings.cipher_suites.len(), settings.ecdh_curves.len(), settings.sni.as_deref()), (2, 1, Some("up")));
    assert_eq!((settings.cert_required, settings.closed), (Some(true), false));
    let empty = parsed(json!({"secret": "", "ca_secret": "", "sni": "", "cert_chain_file": "", "alpn_protocols": ""}));
    assert_eq!(
        (empty.secret.clone(), empty.settings.clone()),
        (None, crate::parse::TlsSettings::default()),
        "empty is absent"
    );
}
