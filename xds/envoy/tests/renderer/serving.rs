//! What requests get from the real Envoy with rendered configurations.

use crate::cases::tree;
use crate::real_envoy::envoy;
use crate::rows::*;
use envoy::bootstrap::{Admin, BootstrapOptions, static_bootstrap};
use envoy::{Options, Renderer, dump};
use ir::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Its admin socket.
const ADMIN: &str = "admin.sock";

/// A running Envoy that serves rows. It ends with the value.
pub struct Serving {
    child: Child,
    /// Of its only listener.
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Serving {
    /// Starts Envoy with rows of one listener on port 0.
    pub fn start(envoy: &Path, rows: &RowChanges) -> Self {
        Self::start_with(envoy, rows, |_| {})
    }

    /// The same with a last change of the configuration.
    fn start_with(envoy: &Path, rows: &RowChanges, change: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join(ADMIN);
        let options = BootstrapOptions {
            admin: Some(Admin::Unix(admin.clone())),
            ready: None,
            ..BootstrapOptions::new("default", "default")
        };
        let file = folder.path().join("envoy.json");
        let mut config = static_bootstrap(rows, &options).unwrap();
        change(&mut config);
        std::fs::write(&file, config.to_string()).unwrap();
        let mut child = Command::new(envoy)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "info", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut seen = Vec::new();
        let started = log.by_ref().any(|line| {
            let started = line.contains("starting workers");
            seen.push(line);
            started
        });
        assert!(started, "Envoy did not start:\n{}", seen.join("\n"));
        // Somebody has to read on, or Envoy would stop at a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        let address = listening_address(&admin);
        Self { child, address, folder }
    }

    /// What the admin interface answers.
    pub fn admin(&self, path: &str) -> String {
        exchange(UnixStream::connect(self.folder.path().join(ADMIN)).unwrap(), "admin", path, &[]).1
    }

    /// Sends a request; returns the status, and the location or, without one, the body.
    fn get(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let stream = TcpStream::connect(self.address).unwrap();
        let (head, body) = exchange(stream, host, path, headers);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let location = head.lines().find_map(|line| line.strip_prefix("location: "));
        (status, location.map_or(body, str::to_string))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Sends a request and reads exactly one answer: Envoy leaves a closing connection open for a second.
fn exchange(mut stream: impl Read + Write, host: &str, path: &str, headers: &[(&str, &str)]) -> (String, String) {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "an answer ends early: {head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    if head.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            assert!(stream.read_until(b'\n', &mut body).unwrap() > 0, "an answer ends early");
        }
    }
    (head, String::from_utf8(body).unwrap())
}

fn listening_address(admin: &Path) -> SocketAddr {
    let (_, body) = exchange(UnixStream::connect(admin).unwrap(), "admin", "/listeners?format=json", &[]);
    // The body is chunked; the JSON in it is not split.
    let json = body.get(body.find('{').unwrap()..=body.rfind('}').unwrap()).unwrap();
    let json: Value = serde_json::from_str(json).unwrap();
    let address = &json["listener_statuses"][0]["local_address"]["socket_address"];
    format!("{}:{}", address["address"].as_str().unwrap(), address["port_value"]).parse().unwrap()
}

/// Requests and what they have to get: host, path, `x-forwarded-proto`, status, location or body.
fn check(serving: &Serving, expected: &[(&str, &str, &str, u16, &str)]) {
    for (host, path, proto, status, answer) in expected {
        let headers: &[_] = if proto.is_empty() { &[] } else { &[("x-forwarded-proto", *proto)] };
        let got = serving.get(host, path, headers);
        assert_eq!((got.0, &*got.1), (*status, *answer), "{host}{path} {proto}");
    }
}

/// A tree whose only root route is missing: what no bucket takes is answered 404.
fn without_root(id: &ListId) -> RouteList {
    let at = |path: &str| Arc::new(group(path, on(prefix(path)), direct(200, &format!("partial {path}"))));
    list(id, ImpliedAuthority::Nothing, vec![bucket("/a/", &[at("/a/b/")])])
}

#[test]
fn the_longest_bucket_decides_and_falls_back_to_no_other() {
    let Some(envoy) = envoy() else { return };
    let (full, partial) = (list_id("full"), list_id("partial"));
    let hosts = vec![
        host("full.test", VirtualHostBody::Routes(full.clone())),
        host("partial.test", VirtualHostBody::Routes(partial.clone())),
    ];
    let rows = Rows::default().serve(0, hosts).list(tree(&full, "tree")).list(without_root(&partial)).0;
    check(
        &Serving::start(&envoy, &rows),
        &[
            ("full.test", "/", "", 200, "tree /"),
            ("full.test", "/a", "", 200, "tree /"),
            ("full.test", "/a/x?y=1", "", 200, "tree /a/"),
            ("full.test", "/a/b/x", "", 200, "tree /a/b/"),
            ("full.test", "/b/a/", "", 200, "tree /b/"),
            ("full.test", "/.well-known/acme-challenge/token", "", 200, "tree /.well-known/acme-challenge/"),
            ("full.test", "/.well-known/other", "", 200, "tree /"),
            ("partial.test", "/a/b/x", "", 200, "partial /a/b/"),
            ("partial.test", "/a/x", "", 404, ""),
            ("partial.test", "/x", "", 404, ""),
            ("other.test", "/", "", 404, ""),
        ],
    );
}

#[test]
fn the_forwarded_protocol_chooses_between_two_answers() {
    let Some(envoy) = envoy() else { return };
    let (secure, insecure, partial) = (list_id("secure"), list_id("insecure"), list_id("partial"));
    let by = |secure: &ListId, insecure| VirtualHostBody::ByForwardedProto {
        secure: secure.clone(),
        insecure: Box::new(insecure),
    };
    let hosts = vec![
        host("acme-only.test", by(&secure, VirtualHostBody::AcmeOnly(insecure.clone()))),
        host("closed.test", by(&secure, VirtualHostBody::Closed { status: 403 })),
        host("partial.test", by(&partial, VirtualHostBody::Routes(insecure.clone()))),
        host("redirect.test", by(&secure, VirtualHostBody::RedirectToHttps { acme: insecure.clone() })),
        host("route.test", by(&secure, VirtualHostBody::Routes(insecure.clone()))),
    ];
    let mut rows = Rows::default()
        .serve(0, hosts)
        .list(tree(&insecure, "insecure"))
        .list(without_root(&partial))
        .list(tree(&secure, "secure"))
        .0;
    // With trusted proxies in front, Envoy keeps the header that the last of them set.
    let (_, Some(row)) = &mut rows.listeners[0] else { panic!("a listener") };
    Arc::make_mut(row).http = Arc::new(HttpSettings { xff_num_trusted_hops: 1, ..http() });
    check(
        &Serving::start(&envoy, &rows),
        &[
            ("route.test", "/a/x", "https", 200, "secure /a/"),
            ("route.test", "/a/x", "http", 200, "insecure /a/"),
            ("route.test", "/x", "https", 200, "secure /"),
            ("route.test", "/x", "", 200, "insecure /"),
            ("redirect.test", "/a/x?y=1", "http", 301, "https://redirect.test/a/x?y=1"),
            ("redirect.test", "/a/x", "https", 200, "secure /a/"),
            ("redirect.test", "/.well-known/acme-challenge/t", "http", 200, "insecure /.well-known/acme-challenge/"),
            ("redirect.test", "/.well-known/other", "http", 301, "https://redirect.test/.well-known/other"),
            ("acme-only.test", "/a/x", "http", 404, ""),
            ("acme-only.test", "/.well-known/acme-challenge/t", "http", 200, "insecure /.well-known/acme-challenge/"),
            ("acme-only.test", "/a/x", "https", 200, "secure /a/"),
            ("closed.test", "/a/x", "http", 403, ""),
            ("closed.test", "/a/x", "https", 200, "secure /a/"),
            ("partial.test", "/a/b/x", "https", 200, "partial /a/b/"),
            ("partial.test", "/a/x", "https", 404, ""),
            ("partial.test", "/x", "https", 404, ""),
            ("partial.test", "/x", "http", 200, "insecure /"),
        ],
    );
}

#[test]
fn insecure_actions_leave_the_challenge_open() {
    let Some(envoy) = envoy() else { return };
    let id = list_id("*");
    let hosts = vec![
        host("acme-only.test", VirtualHostBody::AcmeOnly(id.clone())),
        host("closed.test", VirtualHostBody::Closed { status: 503 }),
        host("redirect.test", VirtualHostBody::RedirectToHttps { acme: id.clone() }),
    ];
    let rows = Rows::default().serve(0, hosts).list(tree(&id, "tree")).0;
    check(
        &Serving::start(&envoy, &rows),
        &[
            ("redirect.test", "/x", "", 301, "https://redirect.test/x"),
            ("redirect.test", "/.well-known/acme-challenge/t", "", 200, "tree /.well-known/acme-challenge/"),
            ("acme-only.test", "/x", "", 404, ""),
            ("acme-only.test", "/.well-known/acme-challenge/t", "", 200, "tree /.well-known/acme-challenge/"),
            ("closed.test", "/.well-known/acme-challenge/t", "", 503, ""),
        ],
    );
}

/// A server on a port of its own that answers every request with 200 and a name. Its thread ends with the process.
fn backend(name: &'static str) -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in server.incoming().map(Result::unwrap) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let length = name.len();
            let _ = write!(&stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{name}");
        }
    });
    port
}

/// The answers of ten requests to a cluster with these endpoints.
fn answers(envoy: &Path, endpoints: &[(u16, EndpointHealth)]) -> BTreeSet<String> {
    let at = |(port, health): &(u16, EndpointHealth)| Endpoint {
        address: "127.0.0.1".parse().unwrap(),
        port: *port,
        health: *health,
        zone: "".into(),
    };
    let set = EndpointSet { name: "eds".into(), endpoints: endpoints.iter().map(at).collect() };
    let mut assignment = Value::Null;
    for resource in Renderer::new(Options::default()).apply(&Rows::default().endpoints(set).0, 1).upserts {
        assignment = dump::resource(&resource).unwrap();
    }
    let id = list_id("*");
    let rows = Rows::default()
        .serve(0, vec![host("*", VirtualHostBody::Routes(id.clone()))])
        .list(flat(&id, vec![group("root", on(prefix("/")), Action::Forward(forward_to("backends")))]))
        .cluster(cluster("backends"));
    let serving = Serving::start_with(envoy, &rows.0, |config| {
        config["static_resources"]["clusters"][0]["load_assignment"] = assignment;
    });
    (0..10).map(|_| serving.get("a.test", "/", &[])).map(|(status, body)| format!("{status} {body}")).collect()
}

#[test]
fn draining_endpoints_serve_only_when_nothing_else_is_left() {
    use EndpointHealth::{Draining, Healthy};
    let Some(envoy) = envoy() else { return };
    let (healthy, first, second) = (backend("healthy"), backend("first"), backend("second"));
    let all = |names: &[&str]| names.iter().map(|name| format!("200 {name}")).collect::<BTreeSet<_>>();
    let mixed = answers(&envoy, &[(healthy, Healthy), (first, Draining), (second, Draining)]);
    assert_eq!(mixed, all(&["healthy"]));
    assert_eq!(answers(&envoy, &[(first, Draining), (second, Draining)]), all(&["first", "second"]));
}
