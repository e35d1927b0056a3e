//! A running quickstart over a copy of the manifests.

use bytes::Bytes;
use e2e::process::{Guard, descendants, is_alive};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nix::unistd::Pid;
use serde_json::Value;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before it counts as never. It is reached only when something is broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A quickstart that serves; it ends, with all its processes, when the value is dropped.
pub struct Quickstart {
    pub guard: Guard,
    folder: tempfile::TempDir,
    url: String,
    lines: RefCell<Lines>,
    runtime: tokio::runtime::Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the programs have printed so far, and what is still to come.
struct Lines {
    seen: Vec<String>,
    coming: Receiver<String>,
}

/// An answer, as far as the tests look at it.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    body: String,
}

impl Answer {
    /// The body as the sample application writes it.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

impl Quickstart {
    /// Starts on a port that is free, or says why the test is skipped.
    pub fn start() -> Option<Self> {
        let [port] = e2e::net::free_ports().unwrap();
        Self::start_on(port)
    }

    /// Starts with that port in the Listener.
    pub fn start_on(port: u16) -> Option<Self> {
        let Some(envoy) = e2e::envoy::binary() else {
            assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
            println!("skipped: no Envoy; `make envoy` installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/quickstart"), folder.path());
        let listener = folder.path().join("listeners.yaml");
        let text = std::fs::read_to_string(&listener).unwrap().replace("port: 8080", &format!("port: {port}"));
        std::fs::write(&listener, text).unwrap();

        let quickstart = Path::new(env!("CARGO_BIN_EXE_quickstart"));
        let nuncio = quickstart.with_file_name("nuncio");
        assert!(nuncio.is_file(), "{} is missing: cargo build --workspace --bins", nuncio.display());
        let mut command = Command::new(quickstart);
        command.arg("--manifests").arg(folder.path()).arg("--nuncio").arg(nuncio).env("NUNCIO_ENVOY", envoy);
        command.args(["--", "--diag", "none"]);
        let mut guard = Guard::start_piped("quickstart", &mut command).unwrap();
        let output = BufReader::new(guard.child().stdout.take().unwrap());
        let (sender, coming) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let lines = RefCell::new(Lines { seen: Vec::new(), coming });
        let mut started = Self { guard, folder, url: String::new(), lines, runtime, client };
        let hint = started.wait_for_line(|line| line.trim_start().starts_with("curl http://"));
        let url = hint.split_whitespace().nth(1).unwrap();
        started.url = url.strip_suffix("/hello/").unwrap().to_owned();
        Some(started)
    }

    /// The port that the hints name.
    pub fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Waits for a line of output and returns it. Each line is looked at once.
    pub fn wait_for_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut lines = self.lines.borrow_mut();
        let started = Instant::now();
        loop {
            match lines.coming.recv_timeout(LIMIT.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    lines.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}; what was printed:\n{}", lines.seen.join("\n")),
            }
        }
    }

    /// Polls until the condition holds.
    pub fn wait_until(&self, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < LIMIT, "not so after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A GET through the gateway, over a connection that is kept.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = http::Request::get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(async {
            let request = request.body(Full::default()).unwrap();
            let response = tokio::time::timeout(LIMIT, self.client.request(request)).await.unwrap().unwrap();
            let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Answer { status, location, body: String::from_utf8_lossy(&body).into_owned() }
        })
    }

    /// The text of a manifest.
    pub fn manifest(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Saves a manifest as editors do: over the old file, or beside it and then by a rename.
    pub fn save(&self, name: &str, text: &str, by_rename: bool) {
        let path = self.folder.path().join(name);
        if !by_rename {
            return std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        let beside = path.with_extension("yaml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// All processes that were started.
    pub fn family(&self) -> Vec<Pid> {
        descendants(self.guard.pid())
    }

    /// Waits until none of them exists any more.
    pub fn wait_until_gone(&self, family: &[Pid]) {
        self.wait_until(|| !family.iter().any(|pid| is_alive(*pid)));
    }
}

/// True when something answers HTTP on that port of this machine.
pub fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    sent.is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target: PathBuf = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
