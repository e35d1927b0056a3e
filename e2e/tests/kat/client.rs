//! What kat-client writes.

use crate::{Backend, ask, fields, run};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn a_response_has_the_documented_fields() {
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let id = 140_234_866_534_416_u64;
    let query = json!({"test": "T", "id": id, "url": backend.clear("/a%20b/?x=1&x=2"), "headers": {"Host": "some.host", "X-Mine": "1"},
        "body": "aGVs\nbG8=", "cookies": [{"name": "a", "value": "b"}, {"name": "c", "value": "d"}], "unknown": [1]});
    let answer = run(&json!([query])).remove(0);
    assert_eq!(
        fields(&answer),
        ["body", "client-start-date", "cookies", "headers", "id", "result", "test", "unknown", "url"]
    );
    assert_eq!((&answer["id"], &answer["unknown"]), (&json!(id), &json!([1])));
    let date = answer["client-start-date"].as_str().unwrap();
    assert!(date.len() > 20 && date.ends_with('Z') && date.contains('T'), "{date}");

    let result = answer["result"].as_object().unwrap();
    assert_eq!(fields(result), ["body", "headers", "json", "status"]);
    assert_eq!(result["status"], 200);
    assert_eq!(result["headers"]["Client-Start-Date"], json!([date]));
    assert!(result["headers"]["Client-End-Date"][0].is_string());
    assert_eq!(result["headers"]["Kat-Resp-Http-Request-Body"], json!(["hello"]));
    assert_eq!(result["headers"]["Content-Type"], json!(["text/plain; charset=utf-8"]));
    assert!(result["body"].as_str().unwrap().starts_with("ewog"), "an indented object, base64");

    let request = &result["json"]["request"];
    assert_eq!(request["host"], "some.host");
    assert_eq!(request["method"], "GET");
    assert_eq!(request["tls"], json!({"enabled": false}));
    let url = json!({"fragment": "", "host": "", "opaque": "", "path": "/a b/", "query": {"x": ["1", "2"]},
        "rawQuery": "x=1&x=2", "scheme": ""});
    assert_eq!(request["url"], url);
    let headers = json!({"accept-encoding": ["gzip"], "content-length": ["5"], "cookie": ["a=b; c=d"],
        "user-agent": ["Go-http-client/1.1"], "x-mine": ["1"]});
    assert_eq!(request["headers"], headers);
}

#[test]
fn redirects_are_not_followed_and_methods_are_kept() {
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let headers = json!({"Kat-Req-Http-Requested-Status": "302", "kat-req-http-requested-location": "/elsewhere"});
    let result = ask(json!({"url": backend.clear("/"), "method": "PUT", "headers": headers}));
    assert_eq!((&result["status"], &result["headers"]["Location"]), (&json!(302), &json!(["/elsewhere"])));
    let request = &result["json"]["request"];
    assert_eq!((&request["method"], &request["headers"]["content-length"]), (&json!("PUT"), &json!(["0"])));
}

#[test]
fn results_are_in_the_order_of_the_queries() {
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let query = |number: u32| {
        let delay = if number.is_multiple_of(7) { "50" } else { "0" };
        let headers = json!({"kat-req-http-requested-backend-delay": delay});
        json!({"url": backend.clear(&format!("/{number}")), "headers": headers})
    };
    let answers = run(&(0..60).map(query).collect::<Value>());
    let paths = answers.iter().map(|answer| answer["result"]["json"]["request"]["url"]["path"].clone());
    assert!(paths.eq((0..60).map(|number| json!(format!("/{number}")))));
}

#[test]
fn failures_are_told_in_the_words_of_go() {
    // Nobody listens there: the port was free a moment ago.
    let [closed] = e2e::net::free_ports().unwrap();
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hangs_up.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = hangs_up.accept().unwrap();
        // The request has to be read, or closing is a reset.
        let mut buffer = [0; 4096];
        while !buffer.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            if read == 0 || buffer[..read].ends_with(b"\r\n\r\n") {
                break;
            }
        }
    });
    let check = |query: Value, expected: &str| {
        let result = ask(query);
        assert_eq!(fields(&result), ["error"], "{result:?}");
        let error = result["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error} has no {expected}");
    };
    let url = format!("http://127.0.0.1:{closed}/");
    check(json!({ "url": url }), &format!("Get \"{url}\": dial tcp 127.0.0.1:{closed}: connect: connection refused"));
    check(json!({ "url": format!("http://{address}/") }), "/\": EOF");
    server.join().unwrap();
    check(json!({"url": "http://does-not-exist.invalid/"}), "no such host");
    check(json!({"url": "ftp://127.0.0.1/"}), "unsupported protocol scheme \"ftp\"");
    check(json!({"url": "http://127.0.0.1/x", "grpc_type": "real"}), "GRPC path /x is not /echo.EchoService/Echo");
    let url = format!("http://127.0.0.1:{closed}/echo.EchoService/Echo");
    check(json!({"url": url, "grpc_type": "real"}), "code = Unavailable");
}

#[test]
fn websocket_messages_come_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                match message.to_text() {
                    // Drops the connection without a close.
                    Ok("hang up") => break,
                    Ok(text) if message.is_text() => socket.send(text.to_owned().into()).await.unwrap(),
                    _ => {}
                }
            }
        }
    });
    let result = ask(json!({"url": format!("ws://{address}/x"), "messages": ["one", "two"]}));
    assert_eq!(fields(&result), ["headers", "messages", "status"]);
    assert_eq!((&result["status"], &result["messages"]), (&json!(101), &json!(["one", "two"])));
    assert_eq!(result["headers"]["Upgrade"], json!(["websocket"]));
    let result = ask(json!({"url": format!("ws://{address}/x"), "messages": ["one", "hang up"]}));
    assert_eq!(result["messages"], json!(["one"]));
    assert!(result["error"].as_str().unwrap().contains("abnormal closure"), "{result:?}");
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let result = ask(json!({"url": backend.clear("/").replace("http:", "ws:"), "messages": ["one"]}));
    assert_eq!(json!(result), json!({"error": "websocket: bad handshake"}));
}

#[test]
fn bad_input_ends_the_run() {
    for input in ["{}", "[1]", "nothing"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kat-client"))
            .args(["-input", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{input}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_kat-client")).arg("-nonsense").output().unwrap();
    assert!(!output.status.success());
}
