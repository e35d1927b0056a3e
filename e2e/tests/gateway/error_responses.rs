//! Bodies of error answers, by rules of the Module and of Mappings: of answers that Envoy gives itself and of those of services.

use crate::LIMIT;
use crate::serve::{Gateway, object, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

/// A service that answers with the status that `x-status` asks for, and with headers that an error may have.
fn service() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let reader = BufReader::new(stream.try_clone().unwrap());
                let (mut status, mut is_head) = ("200".to_owned(), false);
                for line in reader.lines().map_while(Result::ok) {
                    is_head |= line.starts_with("HEAD ");
                    if let Some(asked) = line.strip_prefix("x-status: ") {
                        status = asked.to_owned();
                    }
                    if line.is_empty() {
                        let body = if is_head { "" } else { "of the service" };
                        let answer = format!(
                            "HTTP/1.1 {status} Status\r\nwww-authenticate: Basic realm=\"r\"\r\nretry-after: 7\r\nx-own: 1\r\n\
                             content-type: text/odd\r\ncontent-length: 14\r\n\r\n{body}"
                        );
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                        is_head = false;
                    }
                }
            });
        }
    });
    port
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn ask(port: u16, path: &str, headers: &str) -> Answer {
    send(port, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n"))
}

fn send(port: u16, request: &str) -> Answer {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn gateway(port: u16, folder: &Path) -> Option<Gateway> {
    let upstream = format!("127.0.0.1:{}", service());
    let mapping = |name: &str, more: Value| {
        let mut spec = json!({ "hostname": "*", "prefix": format!("/{name}/"), "service": upstream });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object("Mapping", name, spec)
    };
    // Nobody listens on the discard port.
    let down = "127.0.0.1:9";
    let own = json!([
        { "on_status_code": 401, "body": { "json_format": { "x": "1", "status": "%RESPONSE_CODE%" } } },
        { "on_status_code": 404, "body": { "text_format": "<i>%REQ(X-NAME)%</i>", "content_type": "text/html; q=\"100%\"" } },
        { "on_status_code": 410, "body": { "text_format_source": { "filename": folder.join("gone.html") } } },
        { "on_status_code": 411, "body": { "text_format_source": { "filename": "/etc/passwd" } } },
        { "on_status_code": 503, "body": { "text_format": "" } },
    ]);
    let module = json!({ "error_response_overrides": [
        { "on_status_code": "404", "body": { "text_format": "none: %RESPONSE_CODE%" } },
        { "on_status_code": 200, "body": { "text_format": "never" } },
        { "on_status_code": 418, "body": { "json_format": { "tea": true, "pots": 1 }, "content_type": "apology" } },
        { "on_status_code": 503, "body": { "text_format": "down\n%%" } },
    ] });
    let gateway = Gateway::start_with(
        &[
            object(
                "Listener",
                "http",
                json!({ "port": port, "protocol": "HTTP", "securityModel": "INSECURE",
                "hostBinding": { "namespace": { "from": "ALL" } } }),
            ),
            object("Host", "a", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
            object("Module", "ambassador", json!({ "config": module })),
            mapping(
                "plain",
                json!({ "cors": { "origins": ["http://o"] }, "add_response_headers": { "x-added": { "value": "1" } } }),
            ),
            mapping("down", json!({ "service": down })),
            mapping("bypass", json!({ "bypass_error_response_overrides": true, "error_response_overrides": own })),
            mapping("bypass-down", json!({ "service": down, "bypass_error_response_overrides": true })),
            mapping(
                "own",
                json!({ "error_response_overrides": own, "add_response_headers": { "retry-after": { "value": "8" } } }),
            ),
            mapping("own-down", json!({ "service": down, "error_response_overrides": own })),
            mapping("broken", json!({ "error_response_overrides": [{ "on_status_code": 404, "body": {} }] })),
        ],
        &[("NUNCIO_ERROR_BODY_FOLDER", folder)],
    )?;
    wait_until("the gateway serves", || {
        e2e::net::is_open(([127, 0, 0, 1], port).into()) && ask(port, "/plain/", "").status == 200
    });
    Some(gateway)
}

/// The rules of upstream up to 3.10, as far as they can be had with Envoy as it comes (decision 50).
#[test]
fn error_answers_have_the_bodies_that_rules_give_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gone.html"), "gone at %PROTOCOL%\n").unwrap();
    let [port] = e2e::net::free_ports().unwrap();
    let Some(_gateway) = gateway(port, folder.path()) else { return };
    let with = |path: &str, status: u16| ask(port, path, &format!("x-status: {status}\r\nx-name: n\r\n"));
    for (what, answer, status, body, content_type) in [
        ("no route", ask(port, "/none", ""), 404, "none: 404", Some("text/plain")),
        ("a 404 of the service", with("/plain/", 404), 404, "none: 404", Some("text/plain")),
        ("JSON of the Module", with("/plain/", 418), 418, "{\"pots\":\"1\",\"tea\":\"true\"}\n", Some("apology")),
        ("no rule for it", with("/plain/", 403), 403, "of the service", Some("text/odd")),
        ("no error", with("/plain/", 200), 200, "of the service", Some("text/odd")),
        ("a service that is down", ask(port, "/down/", ""), 503, "down\n%", Some("text/plain")),
        ("bypassed", with("/bypass/", 404), 404, "of the service", Some("text/odd")),
        ("own JSON", with("/own/", 401), 401, "{\"status\":401,\"x\":\"1\"}\n", Some("application/json")),
        ("own text", with("/own/", 404), 404, "<i>n</i>", Some("text/html; q=\"100%\"")),
        ("own file", with("/own/", 410), 410, "gone at HTTP/1.1\n", Some("text/plain")),
        ("a file outside the folder", with("/own/", 411), 411, "of the service", Some("text/odd")),
        ("own empty body", ask(port, "/own-down/", ""), 503, "", None),
        ("the Module's rules are put aside by own ones", with("/own/", 418), 418, "of the service", Some("text/odd")),
        ("no usable rule of its own", with("/broken/", 404), 404, "none: 404", Some("text/plain")),
    ] {
        assert_eq!((answer.status, &*answer.body), (status, body), "{what}");
        assert_eq!(answer.header("content-type"), content_type, "{what}");
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        assert_eq!(length, Some(answer.body.len()), "{what}");
    }
    let bypassed = ask(port, "/bypass-down/", "");
    assert!(bypassed.status == 503 && bypassed.body.starts_with("upstream connect error"), "{}", bypassed.body);
    let head = send(port, "HEAD /own/ HTTP/1.1\r\nhost: a\r\nx-status: 404\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, &*head.body, head.header("content-length")), (404, "", Some("8")));
}

#[test]
fn headers_that_clients_act_upon_outlive_another_body() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = e2e::net::free_ports().unwrap();
    let Some(_gateway) = gateway(port, folder.path()) else { return };
    let refused = ask(port, "/own/", "x-status: 401\r\n");
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"r\""));
    assert_eq!(refused.header("retry-after"), Some("7,8"), "with what the Mapping adds, once: {}", refused.head);
    assert_eq!(refused.header("x-own"), None, "others are not kept");
    let cross = ask(port, "/plain/", "x-status: 404\r\norigin: http://o\r\n");
    assert_eq!(cross.body, "none: 404");
    assert_eq!(cross.header("access-control-allow-origin"), Some("http://o"), "a page may read it: {}", cross.head);
    assert_eq!(cross.header("x-added"), Some("1"));
    assert_eq!(ask(port, "/plain/", "x-status: 404\r\n").header("access-control-allow-origin"), None);
}
