//! Requests that are not what they look like: `docs/path-handling.md` says what is answered, and this asks.

use crate::LIMIT;
use crate::serve::{Gateway, backend, object, wait_until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// The tables of the page: rows of cells.
fn tables() -> Vec<Vec<Vec<String>>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/path-handling.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut tables: Vec<Vec<Vec<String>>> = Vec::new();
    let mut before = "";
    for line in text.lines() {
        if line.starts_with("| ") {
            let cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned());
            match before.starts_with('|') {
                true => tables.last_mut().unwrap().push(cells.collect()),
                // The line of headings opens a table.
                false => tables.push(Vec::new()),
            }
        }
        before = line;
    }
    for rows in &mut tables {
        rows.retain(|cells| !cells[0].starts_with("---"));
    }
    tables
}

/// A gateway with a Host `a.test` and two Mappings, `public` and `private`, each of which says so.
fn gateway(port: u16, config: Value) -> Option<Gateway> {
    let backend = format!("127.0.0.1:{}", backend());
    let mapping = |name: &str, more: Value| {
        let mut spec = json!({ "hostname": "a.test", "prefix": format!("/{name}/"), "service": backend, "rewrite": "",
            "add_request_headers": { "x-mapping": { "value": name, "append": false } } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object("Mapping", name, spec)
    };
    let gateway = Gateway::start(&[
        object(
            "Listener",
            "http",
            json!({ "port": port, "protocol": "HTTP", "securityModel": "INSECURE",
            "hostBinding": { "namespace": { "from": "ALL" } } }),
        ),
        object("Host", "a", json!({ "hostname": "a.test", "requestPolicy": { "insecure": { "action": "Route" } } })),
        object("Module", "ambassador", json!({ "config": config })),
        mapping("public", json!({})),
        mapping("private", json!({})),
        mapping("chosen", json!({ "headers": { "x-k": "1" } })),
    ])?;
    let mut said = String::new();
    wait_until("the gateway serves", || {
        said.push_str(&gateway.said());
        e2e::net::is_open(([127, 0, 0, 1], port).into())
            && asked(port, &request("/public/", "a.test", "")).starts_with("public")
    });
    Some(gateway)
}

fn request(target: &str, host: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

/// Who answered and with which path, or the status.
fn asked(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is cut after the answer, because the rest of the request makes no sense, is fine.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
    let Some((_, seen)) = answer.split_once("\r\n\r\n").filter(|_| status == "200") else { return status };
    let path = seen.split(' ').nth(1).unwrap_or_default();
    let mapping = seen.lines().find_map(|line| line.strip_prefix("x-mapping: ")).unwrap_or("nobody");
    format!("{mapping} {path}")
}

#[test]
fn the_page_says_what_is_answered() {
    let [port, strict_port] = e2e::net::free_ports().unwrap();
    let Some(_default) = gateway(port, json!({})) else { return };
    let switches = json!({
        "merge_slashes": true, "reject_requests_with_escaped_slashes": true, "strip_matching_host_port": true,
    });
    let _strict = gateway(strict_port, switches).unwrap();
    let tables = tables();
    let [targets, hosts] = tables.as_slice() else { panic!("two tables: {tables:?}") };
    assert!(targets.len() > 20 && hosts.len() > 5);
    let mut wrong = Vec::new();
    let mut judge = |what: &str, expected: &str, found: String| {
        if found != expected {
            wrong.push(format!("{what}: {expected} it says, {found} it is"));
        }
    };
    for (port, column) in [(port, 1), (strict_port, 2)] {
        for row in targets {
            judge(&row[0], &row[column], asked(port, &request(&row[0], "a.test", "")));
        }
        for row in hosts {
            let host = row[0].replace("PORT", &port.to_string());
            judge(&row[0], &row[column], asked(port, &request("/private/x", &host, "")));
        }
    }
    assert!(wrong.is_empty(), "docs/path-handling.md is wrong:\n{}", wrong.join("\n"));
}

/// What the page says in words about headers.
#[test]
fn headers_that_contradict_each_other_are_refused() {
    let [port] = e2e::net::free_ports().unwrap();
    let Some(_gateway) = gateway(port, json!({})) else { return };
    for (what, request, expected) in [
        ("no Host", "GET /public/ HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("two Hosts", request("/public/", "a.test", "Host: b.test\r\n"), "404"),
        ("two lengths", request("/public/", "a.test", "Content-Length: 0\r\nContent-Length: 5\r\n"), "400"),
        (
            "a length and chunks",
            request("/public/", "a.test", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            "400",
        ),
        ("a folded header is one value", request("/chosen/", "a.test", "X-K: 1\r\n 2\r\n"), "404"),
        ("a value may begin on the next line", request("/chosen/", "a.test", "X-K:\r\n 1\r\n"), "chosen /chosen/"),
        ("a space in a name", request("/public/", "a.test", "X-K : 1\r\n"), "400"),
        // Of repeated headers each is looked at for itself.
        ("one of two fits", request("/chosen/", "a.test", "X-K: 2\r\nX-K: 1\r\n"), "chosen /chosen/"),
        ("none of two fits", request("/chosen/", "a.test", "X-K: 2\r\nX-K: 3\r\n"), "404"),
        ("a list in one line is one value", request("/chosen/", "a.test", "X-K: 1,2\r\n"), "404"),
        // A header that the Mapping sets cannot be smuggled past it.
        ("the client's own", request("/public/", "a.test", "X-Mapping: private\r\n"), "public /public/"),
    ] {
        assert_eq!(asked(port, &request), expected, "{what}");
    }
}
