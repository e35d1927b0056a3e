//! The winner of a route order: what `nuncio why` says about random Mappings and requests is what a real Envoy does.
//!
//! One Envoy serves all sets of Mappings, each on a listener of its own; every route answers with its Mapping's name.
//! Envoy is the program in `NUNCIO_ENVOY`; without it the test says that it is skipped. `NUNCIO_SEED` chooses others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

use compiler::explain::{Answer, Explainer, Request};
use compiler::{Change, Compiler, Object, Options};
use envoy::bootstrap::{Admin, BootstrapOptions, static_bootstrap};
use ir::{Action, RowChanges};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const SETS: usize = 40;
const REQUESTS: usize = 250;

/// Random numbers that are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn hits(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn path(dice: &mut Dice, most: usize, segments: &[&str]) -> String {
    let depth = dice.below(most + 1);
    let mut path: String = (0..depth).map(|_| format!("/{}", dice.one(segments))).collect();
    if path.is_empty() || dice.hits(2) {
        path.push('/');
    }
    path
}

fn mapping(dice: &mut Dice, name: &str, crowded: bool) -> Value {
    let wide = ["a", "b", "aa", "A", "c", "d", "e", "f"];
    let segments = if crowded { &wide[..] } else { &wide[..4] };
    let mut spec = json!({ "service": "backend", "prefix": path(dice, 3, segments) });
    match dice.below(8) {
        0 => spec["prefix_exact"] = true.into(),
        1 => {
            spec["prefix_regex"] = true.into();
            spec["prefix"] = dice.one(&["/a/.*", "/[ab]+(/.*)?", "/(a|b)/a", ".*/aa/?", "/a{2}.*", "(?i)/a/B"]).into();
        }
        2 => spec["case_sensitive"] = false.into(),
        _ => {}
    }
    match dice.below(12) {
        0 => {
            spec["host"] = dice.one(&["a[.].*", ".*test", "[ab].test"]).into();
            spec["host_regex"] = true.into();
        }
        1..4 => spec["hostname"] = dice.one(&["a.test", "b.test", "*.test", "a.*", "*test"]).into(),
        _ => spec["hostname"] = "*".into(),
    }
    if dice.hits(4) {
        spec["headers"] = json!({ "x-k": dice.one(&["1", "2"]) });
    }
    if dice.hits(8) {
        spec["regex_headers"] = json!({ "x-r": dice.one(&["[0-9]+", "a.*"]) });
    }
    if dice.hits(6) {
        spec["method"] = dice.one(&["GET", "POST"]).into();
    }
    if dice.hits(10) {
        spec["method"] = "G.*|PUT".into();
        spec["method_regex"] = true.into();
    }
    if dice.hits(6) {
        spec["query_parameters"] = json!({ "q": dice.one(&["1", "2"]) });
    }
    if dice.hits(12) {
        spec["regex_query_parameters"] = json!({ "p": "[a-c]+" });
    }
    if dice.hits(6) {
        spec["precedence"] = (dice.below(4) as i64 - 1).into();
    }
    object("Mapping", name, spec)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

/// A compiled set; each route answers with the name of its Mapping.
fn set(dice: &mut Dice, number: usize) -> RowChanges {
    let open = |hostname: &str| json!({ "hostname": hostname, "requestPolicy": { "insecure": { "action": "Route" } } });
    let binding = json!({ "namespace": { "from": "ALL" } });
    let port = 10_000 + number;
    let spec = json!({ "port": port, "protocol": "HTTP", "securityModel": "XFP", "hostBinding": binding });
    let mut objects = vec![object("Listener", &format!("set{number}"), spec)];
    for (name, hostname) in [("any", "*"), ("exact", "a.test"), ("suffix", "*.test"), ("prefix", "a.*")] {
        if name == "any" || dice.hits(2) {
            objects.push(object("Host", name, open(hostname)));
        }
    }
    // Every fourth set is large enough to become a tree.
    let crowded = number % 4 == 3;
    let count = if crowded { 150 + dice.below(150) } else { 3 + dice.below(40) };
    objects.extend((0..count).map(|index| mapping(dice, &format!("m{index}"), crowded)));
    let mut compiler = Compiler::new(Options::default());
    let objects = objects.iter().map(|value| Object::from_value(value, "default").unwrap().unwrap());
    compiler.apply(objects.map(Arc::new).map(Change::Put).collect());
    let mut rows = compiler.rows();
    rows.clusters.clear();
    for list in rows.lists.iter_mut().filter_map(|(_, row)| row.as_mut()) {
        for bucket in &mut Arc::make_mut(list).buckets {
            for group in &mut Arc::make_mut(bucket).groups {
                for route in &mut Arc::make_mut(group).routes {
                    route.action = Action::Direct { status: 200, body: route.source.name.clone() };
                }
            }
        }
    }
    rows
}

fn request(dice: &mut Dice) -> Request {
    let hosts = ["a.test", "b.test", "c.test", "x.a.test", "a.other", "other", "A.Test", "a.test:80", "xtest", ".test"];
    let segments = [
        "a", "b", "aa", "A", "c", "d", "e", "f", "..", ".", "%61", "%2e%2e", "a%2Fb", "a;b", "..;", ".;x", "%2e%2e;",
        "", "%zz",
    ];
    let usual = &segments[..if dice.hits(5) { segments.len() } else { 8 }];
    let mut path = path(dice, 4, usual);
    if dice.hits(3) {
        path += dice.one(&["?q=1", "?q=2&p=abc", "?p=abc&q=1&q=2", "?", "?q", "?/a/b"]);
    }
    let mut headers = Vec::new();
    for (name, values) in [("x-k", ["1", "2"]), ("x-r", ["77", "abc"]), ("X-K", ["1", "2"])] {
        if dice.hits(3) {
            headers.push((name.to_owned(), dice.one(&values).to_owned()));
        }
    }
    let method = dice.one(&["GET", "GET", "POST", "PUT"]).to_owned();
    Request { host: dice.one(&hosts).to_owned(), path, method, headers, tls: false }
}

struct Envoy {
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Envoy {
    fn start(program: &Path, sets: &[RowChanges]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join("admin.sock");
        let options = BootstrapOptions {
            admin: Some(Admin::Unix(admin.clone())),
            ready: None,
            ..BootstrapOptions::new("default", "default")
        };
        let mut all: Option<Value> = None;
        for rows in sets {
            let mut config = static_bootstrap(rows, &options).unwrap();
            let listeners = config["static_resources"]["listeners"].as_array_mut().unwrap();
            for listener in listeners.iter_mut() {
                listener["address"]["socket_address"] = json!({ "address": "127.0.0.1", "port_value": 0 });
            }
            match &mut all {
                None => all = Some(config),
                Some(all) => {
                    all["static_resources"]["listeners"].as_array_mut().unwrap().append(listeners);
                }
            }
        }
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, all.unwrap().to_string().replace("/dev/fd/1", "/dev/null")).unwrap();
        let mut child = Command::new(program)
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
        let ports = ports(&admin);
        Self { child, ports, _folder: folder }
    }
}

/// Where the listeners are, by name.
fn ports(admin: &Path) -> BTreeMap<String, SocketAddr> {
    let mut stream = UnixStream::connect(admin).unwrap();
    write!(stream, "GET /listeners HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once("::"));
    lines.filter_map(|(name, address)| Some((name.to_owned(), address.parse().ok()?))).collect()
}

/// Status and body of an answer, on a connection that stays open.
fn ask(stream: &mut BufReader<TcpStream>, request: &Request) -> (u16, String) {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (method, path, host) = (&request.method, &request.path, &request.host);
    let text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.get_mut().write_all(text.as_bytes()).unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "an answer ends early: {head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
}

#[test]
fn why_and_envoy_agree_on_the_winner() {
    let Some(program) = std::env::var_os("NUNCIO_ENVOY") else {
        std::io::stderr().write_all(b"skipped: NUNCIO_ENVOY is not set\n").unwrap();
        return;
    };
    let seed = std::env::var("NUNCIO_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_260_301);
    let mut dice = Dice(seed);
    let sets: Vec<RowChanges> = (0..SETS).map(|number| set(&mut dice, number)).collect();
    let trees = sets.iter().flat_map(|rows| &rows.lists).filter(|(_, row)| row.as_ref().unwrap().buckets.len() > 1);
    assert!(trees.count() > 0, "some lists have to be trees");
    let envoy = Envoy::start(Path::new(&program), &sets);
    let (mut answered, mut wrong) = (0, Vec::new());
    for (number, rows) in sets.iter().enumerate() {
        let address = envoy.ports[&format!("default/set{number}")];
        let explainer = Explainer::new(rows);
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        for _ in 0..REQUESTS {
            let request = request(&mut dice);
            let (status, body) = ask(&mut stream, &request);
            let said = explainer.why(&request).remove(0);
            let agrees = match &said.answer {
                Answer::Routes(shares) => {
                    answered += 1;
                    status == 200 && shares.iter().any(|share| *share.source.name == *body)
                }
                Answer::NoHost | Answer::NoRoute => status == 404,
                Answer::Refused(refused) => status == *refused,
                other => panic!("{other:?}"),
            };
            if !agrees {
                wrong.push(format!("set {number}: {request:?}: Envoy {status} {body}, {:?}", said.answer));
            }
        }
    }
    let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {} differ:\n{shown}", wrong.len(), SETS * REQUESTS);
    assert!(answered > SETS * REQUESTS / 3, "only {answered} requests were answered by a Mapping");
}
