//! What requests get from the real Envoy with the filters that a Module asks for.

use crate::real_envoy::envoy;
use crate::rows::*;
use crate::serving::Serving;
use ir::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Status or request line, headers with lower-case names, body.
struct Message {
    first: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn status(&self) -> &str {
        self.first.split(' ').nth(1).unwrap()
    }

    /// Reads one; `None` at the end of the stream.
    fn read(stream: &mut impl BufRead) -> Option<Self> {
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_string()
        };
        let first = line();
        let mut headers = BTreeMap::new();
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_string());
        }
        let mut message = Self { first, headers, body: Vec::new() };
        if message.first.is_empty() {
            return None;
        }
        if message.header("transfer-encoding") == "chunked" {
            loop {
                let mut size = String::new();
                stream.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                let mut chunk = vec![0; size + "\r\n".len()];
                stream.read_exact(&mut chunk).unwrap();
                if size == 0 {
                    break;
                }
                message.body.extend(chunk.get(..size).unwrap());
            }
        } else {
            message.body = vec![0; message.header("content-length").parse().unwrap_or(0)];
            stream.read_exact(&mut message.body).unwrap();
        }
        Some(message)
    }
}

/// A service that answers with as many bytes as `x-length` says, with the headers `x-type` and `x-etag`, and tells in `seen-*`
/// what has come. Its threads end with the process.
fn service() -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in server.incoming().map(Result::unwrap) {
            std::thread::spawn(move || {
                let mut requests = BufReader::new(stream.try_clone().unwrap());
                while let Some(request) = Message::read(&mut requests) {
                    let length: usize = request.header("x-length").parse().unwrap_or(0);
                    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n");
                    for (name, from) in [("content-type", "x-type"), ("etag", "x-etag")] {
                        if !request.header(from).is_empty() {
                            head += &format!("{name}: {}\r\n", request.header(from));
                        }
                    }
                    for name in ["accept-encoding", "content-type"] {
                        head += &format!("seen-{name}: {}\r\n", request.header(name));
                    }
                    head += &format!("seen-length: {}\r\n\r\n", request.body.len());
                    let _ = (&stream).write_all(&[head.as_bytes(), &vec![b'a'; length]].concat());
                }
            });
        }
    });
    port
}

/// Envoy with these filters before a [`service`]; `/none` has no route.
fn serving(filters: ModuleFilters, errors: &[ErrorRule]) -> Option<Serving> {
    let envoy = envoy()?;
    let port = service();
    let id = list_id("*");
    let routes = "default/l/cleartext";
    let mut front = listener("default/l", 0, vec![clear_text(routes)]);
    front.http = Arc::new(HttpSettings { filters: Some(filters.into()), errors: errors.into(), ..http() });
    let mut to = cluster("service");
    to.discovery = Discovery::Static { address: "127.0.0.1".parse().unwrap(), port, hostname: None };
    let rows = Rows::default()
        .listener(front)
        .table(table(routes, vec![host("*", VirtualHostBody::Routes(id.clone()))]))
        .list(flat(&id, vec![group("to", on(prefix("/to/")), Action::Forward(forward_to("service")))]))
        .cluster(to);
    Some(Serving::start(&envoy, &rows.0))
}

fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    Message::read(&mut BufReader::new(stream)).expect("an answer")
}

#[test]
fn answers_are_compressed_as_the_module_says() {
    let gzip = Gzip {
        memory_level: Some(1),
        level: Some(1),
        strategy: Some(GzipStrategy::Rle),
        window_bits: Some(9),
        min_content_length: Some(100),
        content_types: vec!["text/plain".into(), "Text/HTML".into()],
        not_with_etag: true,
        remove_accept_encoding: true,
    };
    let other =
        ErrorRule { status: 404, body: ErrorBody::Text("none".repeat(100).as_str().into()), content_type: None };
    let Some(serving) = serving(ModuleFilters { gzip: Some(gzip), ..Default::default() }, &[other]) else { return };
    let (accept, plain) = (("accept-encoding", "gzip"), ("x-type", "text/plain"));
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[accept, plain, ("x-length", "500")], true),
        (&[accept, ("x-type", "text/plain; charset=utf-8"), ("x-length", "500")], true),
        (&[accept, ("x-type", "text/html"), ("x-length", "500")], true),
        (&[accept, ("x-type", "TEXT/PLAIN"), ("x-length", "500")], true),
        (&[accept, ("x-type", "application/json"), ("x-length", "500")], false),
        (&[accept, plain, ("x-length", "99")], false),
        (&[accept, plain, ("x-length", "500"), ("x-etag", "\"1\"")], false),
        (&[plain, ("x-length", "500")], false),
    ];
    for (headers, compressed) in cases {
        let answer = ask(serving.address, "/to/", headers, b"");
        assert_eq!((answer.status(), answer.header("seen-accept-encoding")), ("200", ""), "{headers:?}");
        assert_eq!(answer.header("content-encoding"), if *compressed { "gzip" } else { "" }, "{headers:?}");
        assert_eq!(answer.body.starts_with(b"\x1f\x8b"), *compressed, "{headers:?}");
    }
    // The other body of an error takes the place of a compressed one, and is not taken for one.
    let error = ask(serving.address, "/none", &[accept], b"");
    assert_eq!((error.status(), error.header("content-encoding")), ("404", ""));
    assert_eq!(error.body, "none".repeat(100).as_bytes());
}

#[test]
fn requests_that_do_not_fit_the_buffer_are_refused() {
    let filters = ModuleFilters { buffer_bytes: NonZeroU32::new(1000), ..Default::default() };
    let Some(serving) = serving(filters, &[]) else { return };
    for (length, status) in [(1000, "200"), (1001, "413")] {
        assert_eq!(ask(serving.address, "/to/", &[], &vec![b'a'; length]).status(), status, "{length}");
    }
    // It has been read to its end, so its length is known.
    let mut stream = TcpStream::connect(serving.address).unwrap();
    stream
        .write_all(b"POST /to/ HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .unwrap();
    let answer = Message::read(&mut BufReader::new(stream)).expect("an answer");
    assert_eq!((answer.status(), answer.header("seen-length")), ("200", "3"));
}

#[test]
fn grpc_web_becomes_grpc_and_is_counted_by_method() {
    let echo = GrpcService { name: "to".into(), methods: vec!["Say".into()] };
    let filters = ModuleFilters {
        grpc_web: true,
        grpc_stats: Some(GrpcStats { methods: GrpcMethods::Of(vec![echo]), upstream: true }),
        ..Default::default()
    };
    let Some(serving) = serving(filters, &[]) else { return };
    let frame = b"\0\0\0\0\x02ab";
    for method in ["Say", "Say", "Other"] {
        let headers = [("content-type", "application/grpc-web+proto"), ("x-type", "application/grpc")];
        let answer = ask(serving.address, &format!("/to/{method}"), &headers, frame);
        assert_eq!((answer.status(), answer.header("seen-content-type")), ("200", "application/grpc"));
        assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
    }
    let stats = serving.admin("/stats?filter=grpc");
    let value = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} is not in\n{stats}")).to_string()
    };
    assert_eq!(value("cluster.service.grpc.to.Say.request_message_count"), "2");
    assert_eq!(value("cluster.service.grpc.request_message_count"), "1");
    assert!(!stats.contains("Other"), "{stats}");
}

#[test]
fn how_long_requests_took_is_merged_when_the_metrics_are_asked_for() {
    let Some(serving) = serving(ModuleFilters::default(), &[]) else { return };
    let count = |wanted: u32| {
        let line = format!("envoy_cluster_upstream_rq_time_count{{envoy_cluster_name=\"service\"}} {wanted}\n");
        serving.admin("/stats/prometheus?filter=upstream_rq_time").contains(&line)
    };
    for requests in 1..=3 {
        assert_eq!(ask(serving.address, "/to/", &[], b"").status(), "200");
        // Each question has them merged for the next one. Envoy's own timer would take five seconds for each request.
        assert!((0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            count(requests)
        }));
    }
}
