//! Hosts: what their virtual hosts answer, and what they leave to others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use compiler::explain::{Answer, Explainer, Request};
use compiler::{Change, Compiler, Options};
use ir::{Kind, ListId, ProblemKind, ProtoVariant, VirtualHostBody};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Mirror, compile, custom, host, listener, mapping, object, put, service, verdict};

/// What each domain of a table answers.
fn answers(mirror: &Mirror, table: &str) -> BTreeMap<String, VirtualHostBody> {
    let hosts = mirror.tables[table].virtual_hosts.iter();
    hosts.flat_map(|host| host.domains.iter().map(|domain| (domain.to_string(), host.body.clone()))).collect()
}

fn with_tls(name: &str, hostname: &str, tls: Value) -> Value {
    host(name, json!({ "hostname": hostname, "tlsSecret": { "name": "cert" }, "tls": tls }))
}

/// A TLS connection is for the names of its chain. Other names get 421, so that clients come again with theirs.
#[test]
fn another_authority_is_misdirected() {
    let values =
        [listener("l", 8443, "HTTPS", "XFP"), with_tls("a", "a.example", json!({})), with_tls("any", "*", json!({}))];
    let (compiler, _) = compile(&values[..2]);
    let mirror = Mirror::of(&compiler);
    let own = answers(&mirror, "default/l/default/a");
    assert_eq!(own["*"], VirtualHostBody::Closed { status: 421 });
    assert!(matches!(own["a.example"], VirtualHostBody::Routes(_)));
    let clear = answers(&mirror, "default/l/cleartext");
    assert_eq!(clear.keys().collect::<Vec<_>>(), ["a.example"], "clear text names nobody else");
    let (compiler, _) = compile(&values);
    let any = answers(&Mirror::of(&compiler), "default/l/default/any");
    assert_eq!(any.keys().collect::<Vec<_>>(), ["*"], "a Host for every name answers for every name");
}

/// Who asks for client certificates is not reached by a connection that showed none.
#[test]
fn a_glob_does_not_answer_for_hosts_that_verify_clients() {
    let required = json!({ "ca_secret": "ca", "cert_required": true });
    let other = json!({ "ca_secret": "other-ca", "cert_required": true });
    let values = [
        listener("l", 8443, "HTTPS", "XFP"),
        with_tls("glob", "*.example", json!({})),
        with_tls("any", "*", required.clone()),
        with_tls("open", "open.example", json!({ "ca_secret": "ca" })),
        with_tls("strict", "strict.example", required),
        with_tls("other", "other.example", other),
        with_tls("elsewhere", "elsewhere.test", json!({ "ca_secret": "ca", "cert_required": true })),
    ];
    let (mut compiler, _) = compile(&values);
    let closed = |compiler: &Compiler, table: &str| {
        let all = answers(&Mirror::of(compiler), table).into_iter();
        let closed = all.filter(|(_, body)| *body == VirtualHostBody::Closed { status: 421 });
        closed.map(|(domain, _)| domain).collect::<Vec<_>>()
    };
    assert_eq!(closed(&compiler, "default/l/default/glob"), ["*", "other.example", "strict.example"]);
    assert_eq!(closed(&compiler, "default/l/default/any"), ["other.example"], "the same authorities are enough");
    assert_eq!(closed(&compiler, "default/l/default/strict"), ["*"]);
    // The list follows edits: first without, then with a certificate again.
    let open = with_tls("strict", "strict.example", json!({ "ca_secret": "ca" }));
    compiler.apply(vec![put(&open)]);
    assert_eq!(closed(&compiler, "default/l/default/glob"), ["*", "other.example"]);
    compiler.apply(vec![put(&values[4])]);
    assert_eq!(closed(&compiler, "default/l/default/glob"), ["*", "other.example", "strict.example"]);
}

/// A Host that verifies clients and was out of force, since an older one had its server name with other settings, is
/// guarded from the others as soon as it is in force.
#[test]
fn who_verifies_clients_is_guarded_once_the_chain_is_its_own() {
    let required = json!({ "ca_secret": "ca", "cert_required": true });
    let values = [
        listener("l", 8443, "HTTPS", "XFP"),
        // Domains keep the case of the Host's spelling, server names have none.
        with_tls("a", "A.example", json!({})),
        with_tls("strict", "a.example", required),
    ];
    let (mut compiler, _) = compile(&values);
    assert!(!Mirror::of(&compiler).tables.contains_key("default/l/default/strict"));
    compiler.apply(vec![put(&with_tls("a", "*.example", json!({})))]);
    let glob = answers(&Mirror::of(&compiler), "default/l/default/a");
    assert_eq!(glob["a.example"], VirtualHostBody::Closed { status: 421 });
}

#[test]
fn upstreams_404_for_unrouted_paths_is_a_switch() {
    let values = [
        listener("l", 8443, "HTTPS", "XFP"),
        with_tls("h", "a.example", json!({})),
        service("backend", Some("10.0.0.1")),
        mapping("m", json!({ "prefix": "/a/", "hostname": "a.example" })),
        mapping(
            "proto",
            json!({ "prefix": "/p/", "hostname": "a.example", "headers": { "x-forwarded-proto": "https" } }),
        ),
        mapping("acme", json!({ "prefix": "/.well-known/acme-challenge/", "hostname": "*" })),
        custom("Module", "ambassador", json!({ "config": { "diagnostics": { "enabled": false } } })),
    ];
    let mut compiler = Compiler::new(Options { redirect_every_path: false, ..Options::default() });
    compiler.apply(values.iter().map(put).collect());
    let mirror = Mirror::of(&compiler);
    let VirtualHostBody::Routes(ListId { variant, .. }) = &answers(&mirror, "default/l/cleartext")["a.example"] else {
        panic!("a list");
    };
    assert_eq!(*variant, ProtoVariant::RedirectInsecure);
    let (rows, default) = (compiler.rows(), compile(&values).0.rows());
    let ask = |rows, path: &str| {
        let request =
            Request { host: "a.example".into(), path: path.into(), method: "GET".into(), ..Request::default() };
        Explainer::new(rows).why(&request).remove(0).answer
    };
    assert_eq!(ask(&rows, "/a/x"), Answer::RedirectToHttps);
    assert_eq!(ask(&rows, "/p/x"), Answer::RedirectToHttps, "the condition that clear text can never meet is gone");
    assert_eq!(ask(&rows, "/b/x"), Answer::NoRoute);
    assert_eq!(ask(&default, "/b/x"), Answer::RedirectToHttps);
    for rows in [&rows, &default] {
        let answer = ask(rows, "/.well-known/acme-challenge/x");
        assert!(matches!(&answer, Answer::Routes(shares) if *shares[0].source.name == *"acme"), "{answer:?}");
    }
}

/// The Module `tls` declares TLSContexts: for services, and for the TCPMappings that its `server` fits.
#[test]
fn blocks_of_the_tls_module_are_contexts() {
    let config = json!({ "server": { "secret": "own" }, "client": { "secret": "ca", "cert_required": true },
        "upstream": { "secret": "client", "sni": "inside.example" }, "taken": { "sni": "from.module" } });
    let values = [
        custom("Module", "tls", json!({ "config": config })),
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        service("backend", Some("10.0.0.1")),
        mapping("m", json!({ "tls": "upstream" })),
        mapping("n", json!({ "tls": "taken", "prefix": "/n/" })),
        custom("TLSContext", "taken", json!({ "sni": "from.resource" })),
        custom("TCPMapping", "t", json!({ "port": 9000, "host": "*", "service": "backend:5432" })),
    ];
    let (mut compiler, _) = compile(&values);
    let mirror = Mirror::of(&compiler);
    let client = |name: &str| mirror.clusters[name].tls.clone().expect("TLS");
    let upstream = client("cluster_backend_otls_upstream_default");
    assert_eq!(
        (upstream.sni.as_deref(), upstream.certificate.as_deref()),
        (Some("inside.example"), Some("default/client"))
    );
    assert_eq!(
        client("cluster_backend_otls_taken_default").sni.as_deref(),
        Some("from.resource"),
        "a resource goes first"
    );
    let chain = mirror.listeners["listener-0.0.0.0-9000"].chains[0].clone();
    let server = chain.tls.as_ref().expect("TLS");
    assert_eq!(
        (server.certificate.as_deref(), server.validation.as_deref()),
        (Some("default/own"), Some("default/ca/ca"))
    );
    assert!(server.require_client_certificate);
    let module = verdict(&compiler, Kind::Module, "tls");
    assert!(
        module.accepted && module.problems.iter().all(|problem| problem.kind == ProblemKind::Deprecated),
        "{module:?}"
    );
    compiler.apply(vec![Change::Gone(object(&values[0]).key.clone())]);
    assert!(!verdict(&compiler, Kind::Mapping, "m").resolved);
    assert!(verdict(&compiler, Kind::Mapping, "n").resolved);
}

/// Old installations have the Module in the annotation of a Service, which counts as much.
#[test]
fn a_tls_module_may_stand_in_an_annotation() {
    let annotated = |config: Value| {
        let mut bearer = service("bearer", Some("10.0.0.2"));
        let module =
            json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": "Module", "name": "tls", "config": config });
        bearer["metadata"]["annotations"] = json!({ "getambassador.io/config": module.to_string() });
        bearer
    };
    let block = |sni: &str| json!({ "upstream": { "secret": "client", "sni": sni } });
    let (mut compiler, _) = compile(&[
        annotated(block("annotated.example")),
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        service("backend", Some("10.0.0.1")),
        mapping("m", json!({ "tls": "upstream" })),
    ]);
    let sni = |compiler: &Compiler| {
        let cluster = &Mirror::of(compiler).clusters["cluster_backend_otls_upstream_default"];
        cluster.tls.as_ref().and_then(|tls| tls.sni.clone()).expect("an SNI").to_string()
    };
    assert_eq!(sni(&compiler), "annotated.example");
    let resource = custom("Module", "tls", json!({ "config": block("resource.example") }));
    compiler.apply(vec![put(&resource)]);
    assert_eq!(sni(&compiler), "resource.example", "a resource goes first");
    compiler.apply(vec![Change::Gone(object(&resource).key.clone()), put(&annotated(block("edited.example")))]);
    assert_eq!(sni(&compiler), "edited.example");
    compiler.apply(vec![put(&annotated(json!({})))]);
    assert!(!verdict(&compiler, Kind::Mapping, "m").resolved);
}
