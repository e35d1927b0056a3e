//! `nuncio serve` over manifests, with a backend in this process.

use crate::LIMIT;
use e2e::process::Guard;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// What every answer of the backend ends with.
pub const BODY: &str = "from the backend\n";

/// A gateway that serves; it ends, with its Envoy, when the value is dropped.
pub struct Gateway {
    folder: tempfile::TempDir,
    lines: Receiver<String>,
    _guard: Guard,
}

impl Gateway {
    /// Starts over these objects and waits until all is live. `None`, and a line that says so, without an Envoy.
    pub fn start(objects: &[Value]) -> Option<Self> {
        Self::start_with(objects, &[])
    }

    /// The same with these variables.
    pub fn start_with(objects: &[Value], variables: &[(&str, &Path)]) -> Option<Self> {
        let Some(envoy) = e2e::envoy::binary() else {
            assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
            std::io::stderr().write_all(b"skipped: no Envoy; `make envoy` installs it\n").unwrap();
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        for (index, object) in objects.iter().enumerate() {
            write(folder.path(), &format!("{index:03}.json"), object);
        }
        let nuncio = Path::new(env!("CARGO_BIN_EXE_quickstart")).with_file_name("nuncio");
        assert!(nuncio.is_file(), "{} is missing: cargo build --workspace --bins", nuncio.display());
        let mut command = Command::new(nuncio);
        command.arg("serve").args(["--diag", "none", "--concurrency", "1"]).arg(folder.path());
        command.env("NUNCIO_ENVOY", envoy).env("AMBASSADOR_ENVOY_BIND_ADDRESS", "127.0.0.1").stderr(Stdio::null());
        command.envs(variables.iter().copied());
        let mut guard = Guard::start_piped("nuncio", &mut command).unwrap();
        let output = BufReader::new(guard.child().stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Some(Self { folder, lines, _guard: guard })
    }

    /// Writes a manifest in the place of the one with that index.
    pub fn replace(&self, index: usize, object: &Value) {
        write(self.folder.path(), &format!("{index:03}.json"), object);
    }

    /// What the gateway has printed so far, for messages.
    pub fn said(&self) -> String {
        let mut text = String::new();
        self.lines.try_iter().for_each(|line| _ = writeln!(text, "{line}"));
        text
    }
}

/// Polls until the condition holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "not so after {LIMIT:?}: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// As editors do: beside it, then by a rename.
fn write(folder: &Path, name: &str, object: &Value) {
    let beside = folder.join(format!(".{name}.new"));
    std::fs::write(&beside, object.to_string()).unwrap();
    std::fs::rename(beside, folder.join(name)).unwrap();
}

/// An object of the gateway's group.
pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

/// A Secret with these texts.
pub fn secret(name: &str, texts: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        texts.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text))).collect();
    json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": { "name": name, "namespace": "default" }, "stringData": data })
}

/// A backend that answers with the head of the request; the port. It ends with the process.
pub fn backend() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
                let mut head = String::new();
                // Requests here have no bodies: an empty line ends each.
                while reader.by_ref().take(65_536).read_line(&mut head).is_ok_and(|read| read > 0) {
                    if head.ends_with("\r\n\r\n") {
                        let body = std::mem::take(&mut head) + BODY;
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        if writer.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    port
}
