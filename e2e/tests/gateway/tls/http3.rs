//! A client over QUIC: a second Envoy that takes HTTP/1.1 and asks by HTTP/3, with one cluster for each way to ask.

use super::certificates::Pair;
use super::client::Outcome;
use crate::LIMIT;
use crate::serve::wait_until;
use e2e::process::Guard;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// One way to ask.
pub struct Way<'a> {
    pub server_name: &'a str,
    pub certificate: Option<&'a Pair>,
}

pub struct Http3 {
    port: u16,
    _guard: Guard,
    _folder: tempfile::TempDir,
}

impl Http3 {
    /// A client for a gateway on that port, whose certificates come from that authority.
    pub fn start(envoy: &Path, gateway: u16, authority: &str, ways: &[Way]) -> Self {
        let [port] = e2e::net::free_ports().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("client.json");
        std::fs::write(&file, config(port, gateway, authority, ways).to_string()).unwrap();
        let mut command = Command::new(envoy);
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"]).arg(&file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let guard = Guard::start("client Envoy", &mut command).unwrap();
        wait_until("the client's Envoy listens", || e2e::net::is_open(([127, 0, 0, 1], port).into()));
        Self { port, _guard: guard, _folder: folder }
    }

    /// Asks in the way with that index.
    pub fn get(&self, way: usize, host: &str) -> Outcome {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nx-way: {way}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        match status {
            // What this Envoy says itself when there is no connection; the gateway never does in these tests.
            Some(503) if answer.contains("upstream connect error") => {
                Outcome::Refused(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
            }
            Some(status) => Outcome::Status(status),
            None => panic!("no answer: {answer}"),
        }
    }
}

fn config(port: u16, gateway: u16, authority: &str, ways: &[Way]) -> Value {
    let route = |index: usize| {
        json!({
            "match": { "prefix": "/", "headers": [{ "name": "x-way", "string_match": { "exact": index.to_string() } }] },
            "route": { "cluster": format!("way-{index}"), "timeout": "20s" },
        })
    };
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "client",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": (0..ways.len()).map(route).collect::<Vec<_>>() }] },
        "http_filters": [{ "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
    });
    json!({ "static_resources": {
        "listeners": [{
            "name": "client", "address": address(port),
            "filter_chains": [{ "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }] }],
        }],
        "clusters": ways.iter().enumerate().map(|(index, way)| cluster(index, way, gateway, authority)).collect::<Vec<_>>(),
    } })
}

fn cluster(index: usize, way: &Way, gateway: u16, authority: &str) -> Value {
    let mut common = json!({ "validation_context": { "trusted_ca": { "inline_string": authority } } });
    if let Some(pair) = way.certificate {
        common["tls_certificates"] = json!([{
            "certificate_chain": { "inline_string": pair.certificate }, "private_key": { "inline_string": pair.key },
        }]);
    }
    json!({
        "name": format!("way-{index}"), "type": "STATIC", "connect_timeout": "10s",
        "load_assignment": { "cluster_name": format!("way-{index}"),
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(gateway) } }] }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http3_protocol_options": {} },
        } },
        "transport_socket": { "name": "envoy.transport_sockets.quic", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport",
            "upstream_tls_context": { "sni": way.server_name, "common_tls_context": common },
        } },
    })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}
