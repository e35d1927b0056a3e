//! The PROXY protocol, with which a load balancer tells whose connection it forwards.
//! Source: <https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>.

use crate::LIMIT;
use crate::serve::{Gateway, backend, object, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// What the service saw of a request behind that header, or what else came back.
fn ask(port: u16, header: &[u8]) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(header).unwrap();
    let mut text = String::new();
    // A connection that is cut is an answer as well.
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let _ = sent.and_then(|()| stream.read_to_string(&mut text).map(drop));
    text
}

#[test]
fn both_versions_of_the_proxy_protocol_tell_the_client() {
    let [port] = e2e::net::free_ports().unwrap();
    let service = format!("127.0.0.1:{}", backend());
    let Some(_gateway) = Gateway::start(&[
        object(
            "Listener",
            "proxied",
            json!({ "port": port, "protocol": "HTTPPROXY", "securityModel": "XFP",
                "hostBinding": { "namespace": { "from": "ALL" } } }),
        ),
        object("Host", "a", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        object("Mapping", "all", json!({ "hostname": "*", "prefix": "/", "service": service })),
    ]) else {
        return;
    };
    let first = b"PROXY TCP4 203.0.113.7 198.51.100.1 1111 80\r\n";
    // Signature; version 2, PROXY; TCP over IPv4; 12 bytes: addresses and ports.
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    second.extend([203, 0, 113, 8, 198, 51, 100, 1, 0x04, 0x57, 0, 80]);
    wait_until("the gateway serves", || {
        e2e::net::is_open(([127, 0, 0, 1], port).into()) && ask(port, first).starts_with("HTTP/1.1 200")
    });
    assert!(ask(port, first).contains("x-forwarded-for: 203.0.113.7\r\n"), "{}", ask(port, first));
    assert!(ask(port, &second).contains("x-forwarded-for: 203.0.113.8\r\n"), "{}", ask(port, &second));
    assert_eq!(ask(port, b""), "", "who sends no header is cut off");
}
