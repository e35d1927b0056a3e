//! `nuncio serve` over a folder that is edited, with a real Envoy.

use crate::net::free_ports;
use crate::process::{Guard, descendants, is_alive};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long connections are drained after their chain changed.
pub const DRAIN: Duration = Duration::from_secs(2);
/// Lines of output that are remembered.
const LINES: usize = 200;

/// The programs, and how to start them.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `nuncio`.
    pub nuncio: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
    /// Its worker threads.
    pub workers: u32,
    /// Further arguments of `nuncio serve`.
    pub arguments: Vec<String>,
    /// The running executable calls [`crate::process::become_guarded`], so that the gateway can be made to end with it.
    pub guarded: bool,
}

/// A running gateway; it ends when the value is dropped.
pub struct Gateway {
    guard: Guard,
    folder: tempfile::TempDir,
    diagnostics: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Writes the files and starts it. Call it on a thread that lives as long as the process.
    pub fn start(programs: &Programs, files: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nuncio-soak-").tempdir()?;
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text)?;
        }
        let [port] = free_ports()?;
        let diagnostics = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command =
            if programs.guarded { crate::process::guarded(&programs.nuncio)? } else { Command::new(&programs.nuncio) };
        command.args(["serve", "--diag", &diagnostics.to_string()]);
        command.args(["--concurrency", &programs.workers.to_string(), "--drain-time", &DRAIN.as_secs().to_string()]);
        command.args(&programs.arguments).arg(folder.path());
        command.env("NUNCIO_ENVOY", &programs.envoy).env("AMBASSADOR_ENVOY_BIND_ADDRESS", "127.0.0.1");
        command.stderr(Stdio::piped());
        let mut guard = Guard::start_piped("nuncio", &mut command)?;
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let out = guard.child().stdout.take().context("no pipe")?;
        let error = guard.child().stderr.take().context("no pipe")?;
        follow(out, lines.clone());
        follow(error, lines.clone());
        Ok(Self { guard, folder, diagnostics, lines })
    }

    /// Puts a file in its place at once, as `kubectl apply` would an object. Returns since when it is there: a disk may take
    /// a tenth of a second for it, which is not the gateway's.
    pub fn write(&self, name: &str, text: &str) -> Result<Instant> {
        let beside = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, self.folder.path().join(name))?;
        Ok(Instant::now())
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.folder.path().join(name))?)
    }

    /// The folder that is served.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The control plane process.
    pub fn control_plane(&self) -> Option<Pid> {
        self.child("control-plane")
    }

    /// The Envoy process.
    pub fn envoy(&self) -> Option<Pid> {
        self.child("--drain-time-s")
    }

    fn child(&self, word: &str) -> Option<Pid> {
        descendants(self.guard.pid()).into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.any(|argument| argument == word.as_bytes())
        })
    }

    /// Sends a signal to the gateway.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.guard.signal(signal)
    }

    /// Ends it in good order.
    pub fn end(&mut self) -> Result<()> {
        self.guard.end(DRAIN + Duration::from_secs(30)).map(drop)
    }

    /// A page of the diagnostics; `None` while nothing answers there.
    pub fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.diagnostics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200")?;
        Some(body.to_owned())
    }

    /// What the control plane says about its clients.
    pub fn clients(&self) -> Option<Value> {
        serde_json::from_str(&self.page("/api/v1/clients")?).ok()
    }

    /// Waits until an Envoy has acknowledged a configuration.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        while self.page("/ambassador/v0/check_ready").is_none() {
            let output = self.output();
            // A port that was free a moment ago may be somebody's outgoing connection by now.
            if !is_alive(self.guard.pid()) || output.contains("cannot listen on") {
                bail!("the gateway cannot start:\n{output}");
            }
            if begun.elapsed() > limit {
                bail!("the gateway is not ready after {limit:?}:\n{output}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The last lines that it printed.
    pub fn output(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

fn follow(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        // Whatever it is, it has to be read: a full pipe would stop whoever writes.
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if is_usual(&line) {
                continue;
            }
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() >= LINES {
                lines.remove(0);
            }
            lines.push(line);
        }
    });
}

/// A line of the access log that tells of nothing unexpected: no 503, or one of a Service without endpoints.
fn is_usual(line: &str) -> bool {
    line.starts_with("ACCESS ") && (!line.contains("\" 503 ") || line.contains("\" 503 UH "))
}
