//! The formats of kat-client and kat-server: fields, types and texts, with the built programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod client;
mod server;
mod tls;

use e2e::kat::server::{Environment, Server};
use serde_json::{Map, Value};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A running kat-server, with ports that the system chose.
struct Backend {
    clear: SocketAddr,
    secure: SocketAddr,
    // Ends the server when it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl Backend {
    fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_in(environment, Path::new("/nonexistent"))
    }

    fn start_in(environment: &[(&str, &str)], folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut all: Environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend([("KAT_PORT".to_owned(), "0".to_owned()), ("KAT_SSL_PORT".to_owned(), "0".to_owned())]);
        let server = runtime.block_on(Server::start(&all, folder)).unwrap();
        let loopback = |address: SocketAddr| SocketAddr::from(([127, 0, 0, 1], address.port()));
        let (clear, secure) = server.addresses[0];
        runtime.spawn(server.run());
        Self { clear: loopback(clear), secure: loopback(secure), _runtime: runtime }
    }

    fn clear(&self, path: &str) -> String {
        format!("http://{}{path}", self.clear)
    }

    fn secure(&self, path: &str) -> String {
        format!("https://{}{path}", self.secure)
    }
}

/// Runs kat-client over standard input and output.
fn run(queries: &Value) -> Vec<Map<String, Value>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kat-client"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(queries.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.ends_with('\n') && (text == "[]" || text.starts_with("[\n  {\n    \"")), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The result of a single query.
fn ask(query: Value) -> Map<String, Value> {
    let mut answers = run(&Value::Array(vec![query]));
    assert_eq!(answers.len(), 1);
    match answers.remove(0).remove("result") {
        Some(Value::Object(result)) => result,
        other => panic!("no result but {other:?}"),
    }
}

/// Names of the fields.
fn fields(object: &Map<String, Value>) -> Vec<&str> {
    object.keys().map(String::as_str).collect()
}
