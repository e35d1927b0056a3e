//! TLS as kat-client speaks it and kat-server shows it.

use crate::{Backend, ask, fields};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

/// A folder with the server's certificate, and the certificate.
fn certificate(name: &str) -> (tempfile::TempDir, String) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let certificate = parameters.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
    (folder, certificate.pem())
}

fn query(url: &str, more: Value) -> Map<String, Value> {
    let Value::Object(mut query) = more else { panic!("an object") };
    query.insert("url".to_owned(), url.into());
    ask(query.into())
}

fn error(url: &str, more: Value) -> String {
    let result = query(url, more);
    assert_eq!(fields(&result), ["error"], "{result:?}");
    result["error"].as_str().unwrap().to_owned()
}

#[test]
fn the_servers_certificate_and_the_parameters_are_shown() {
    let (folder, _) = certificate("a.example");
    let backend = Backend::start_in(&[("BACKEND", "mine")], folder.path());
    let url = backend.secure("/");
    let result = query(&url, json!({"insecure": true, "sni": true, "headers": {"Host": "a.example"}}));
    assert_eq!(fields(&result), ["body", "cipher_suite", "headers", "json", "status", "tls", "tls_version"]);
    assert_eq!(result["tls_version"], 772);
    assert!((0x1301..=0x1303).contains(&result["cipher_suite"].as_u64().unwrap()));
    let leaf = result["tls"][0].as_object().unwrap();
    assert_eq!(
        (&leaf["Subject"]["CommonName"], &leaf["Issuer"]["CommonName"]),
        (&"a.example".into(), &"a.example".into())
    );
    assert_eq!((&leaf["DNSNames"], &leaf["Version"]), (&json!(["a.example"]), &json!(3)));
    assert!(leaf["SerialNumber"].is_number() && leaf["Raw"].is_string() && leaf["NotAfter"].is_string());
    let seen = json!({"enabled": true, "negotiated-protocol": "", "negotiated-protocol-version": "v1.3", "server-name": "a.example"});
    assert_eq!(result["json"]["request"]["tls"], seen);

    let result = query(
        &url,
        json!({"insecure": true, "maxTLSv": "v1.2",
        "cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_UNKNOWN"], "ecdhCurves": ["CurveP384"]}),
    );
    assert_eq!((&result["tls_version"], &result["cipher_suite"]), (&json!(771), &json!(0xc02b)));
}

#[test]
fn certificates_are_verified() {
    let (folder, authority) = certificate("a.example");
    let backend = Backend::start_in(&[("BACKEND", "mine")], folder.path());
    let url = backend.secure("/");
    let with_name = |name: &str| json!({"ca_cert": authority, "sni": true, "headers": {"Host": name}});
    assert_eq!(query(&url, with_name("a.example"))["status"], 200);
    assert_eq!(query(&url, json!({ "ca_cert": authority }))["status"], 200);
    let text = error(&url, with_name("b.example"));
    assert!(text.ends_with("x509: certificate is valid for a.example, 127.0.0.1, not b.example"), "{text}");
    let (_, other) = certificate("a.example");
    let text = error(&url, json!({ "ca_cert": other }));
    assert!(text.ends_with("x509: certificate signed by unknown authority"), "{text}");
}

#[test]
fn refusals_are_those_of_the_server() {
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let url = backend.secure("/");
    for (more, expected) in [
        // These are rustls's own words; Envoy says "protocol version not supported".
        (json!({"minTLSv": "v1.0", "maxTLSv": "v1.0"}), "remote error: tls: handshake failure"),
        (json!({"minTLSv": "v1.0", "maxTLSv": "v1.1"}), "remote error: tls: handshake failure"),
        (json!({"maxTLSv": "v1.1"}), "tls: no supported versions satisfy MinVersion and MaxVersion"),
        (json!({"minTLSv": "v1.3", "maxTLSv": "v1.2"}), "tls: no supported versions satisfy MinVersion and MaxVersion"),
        (
            json!({"maxTLSv": "v1.2", "cipherSuites": ["TLS_RSA_WITH_AES_256_CBC_SHA"]}),
            "remote error: tls: handshake failure",
        ),
        (json!({"maxTLSv": "v1.2", "ecdhCurves": ["CurveP521"]}), "remote error: tls: handshake failure"),
    ] {
        let text = error(&url, more.clone());
        assert!(text.ends_with(expected), "{more}: {text}");
    }
    let clear = backend.clear("/").replace("http:", "https:");
    for more in [json!({"insecure": true}), json!({"minTLSv": "v1.0", "maxTLSv": "v1.0"})] {
        assert!(error(&clear, more).ends_with("http: server gave HTTP response to HTTPS client"));
    }
}

/// A server that wants client certificates of that authority and speaks that version.
fn demanding(authority: &CertificateDer<'static>, version: &'static rustls::SupportedProtocolVersion) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut buffer = [0; 4096];
            if tls.read(&mut buffer).is_ok_and(|read| read > 0) {
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    });
    port
}

#[test]
fn client_certificates_are_shown_to_those_who_take_them() {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap();
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&client_key, &authority).unwrap();
    let with_certificate = |more: Value| {
        let Value::Object(mut fields) = more else { panic!("an object") };
        fields.insert("client_cert".to_owned(), client.pem().into());
        fields.insert("client_key".to_owned(), client_key.serialize_pem().into());
        Value::Object(fields)
    };
    for (version, without) in [
        (&rustls::version::TLS13, "remote error: tls: certificate required"),
        (&rustls::version::TLS12, "remote error: tls: certificate required"),
    ] {
        let url = format!("https://127.0.0.1:{}/", demanding(authority.der(), version));
        assert_eq!(query(&url, with_certificate(json!({"insecure": true})))["status"], 200);
        let text = error(&url, json!({"insecure": true}));
        assert!(text.ends_with(without), "{text}");
    }
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let bad = json!([{"url": backend.secure("/"), "client_cert": client.pem(), "client_key": "none"}]);
    let run = tokio::runtime::Runtime::new().unwrap().block_on(e2e::kat::batch::run(bad.to_string().as_bytes(), 1));
    assert!(run.unwrap_err().to_string().contains("no usable key"));
}
