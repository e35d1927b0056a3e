//! `nuncio serve` as a process, with a real Envoy.

use crate::client::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A served folder; everything ends when the value is dropped.
pub struct Running {
    child: Child,
    pub port: u16,
    folder: tempfile::TempDir,
    lines: RefCell<Receiver<String>>,
    seen: RefCell<Vec<String>>,
    pub diagnostics: SocketAddr,
}

/// The Envoy of the lookup order, or `None` with a word about it.
pub fn envoy() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let private = cache.map(|cache| cache.join("nuncio/envoy-1.40.0/envoy"));
    let found = std::env::var_os("NUNCIO_ENVOY").map(PathBuf::from).or(private).filter(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no Envoy: `make envoy` installs it");
        println!("skipped: no Envoy; `make envoy` installs it");
    }
    found
}

/// A port that nobody has at this moment.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Answers every request with 200 and a word.
pub fn backend() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let mut line = String::new();
                    while line != "\r\n" {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    if reader.get_mut().write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A Listener on that port.
pub fn listener(port: u16) -> String {
    crate::fixture::BASE.replace("port: 8080", &format!("port: {port}"))
}

impl Running {
    /// Serves these files, and waits until they are live.
    pub fn start(manifest: impl Fn(u16) -> String) -> Option<Self> {
        let running = Self::begin(free_port(), manifest, &[], &[])?;
        running.line("live after");
        Some(running)
    }

    /// Serves, and waits for nothing but the address of the diagnostics.
    pub fn begin(
        port: u16,
        manifest: impl Fn(u16) -> String,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Option<Self> {
        let envoy = envoy()?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.yaml"), manifest(port)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
        command.args(["serve", "--diag", "127.0.0.1:0", "--concurrency", "1"]).args(arguments).arg(folder.path());
        command
            .env("NUNCIO_ENVOY", envoy)
            .env("AMBASSADOR_ENVOY_BIND_ADDRESS", "127.0.0.1")
            .envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let diagnostics = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut running =
            Self { child, port, folder, lines: RefCell::new(lines), seen: RefCell::default(), diagnostics };
        let line = running.line("diagnostics: http://");
        let address = line.trim_start_matches("diagnostics: http://").split('/').next().unwrap();
        running.diagnostics = address.parse().unwrap();
        Some(running)
    }

    /// The next line with that text; each line is looked at once.
    pub fn line(&self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(started.elapsed());
            match self.lines.borrow().recv_timeout(left) {
                Ok(line) => {
                    self.seen.borrow_mut().push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{error} while waiting for `{text}`; printed:\n{}", self.seen.borrow().join("\n")),
            }
        }
    }

    /// Everything printed so far that was looked at.
    pub fn seen(&self) -> String {
        self.seen.borrow().join("\n")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// The status of a GET through Envoy, 0 when nobody answers.
    pub fn get(&self, path: &str) -> u16 {
        get(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), path).map_or(0, |(status, _)| status)
    }

    pub fn diag(&self, path: &str) -> (u16, String) {
        get(self.diagnostics, path).unwrap_or_default()
    }

    /// Waits until it holds, asking again and again.
    pub fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < PATIENCE, "not in time: {what}; printed:\n{}", self.seen());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// The child whose command line holds that word.
    pub fn child_with(&self, word: &str) -> Option<Pid> {
        children(self.pid()).into_iter().find(|pid| command_line(*pid).contains(word))
    }

    pub fn control_plane(&self) -> Option<Pid> {
        self.child_with("control-plane")
    }

    pub fn envoy(&self) -> Option<Pid> {
        self.child_with("envoy.json").filter(|pid| !command_line(*pid).contains("guarded-exec"))
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of one exchange.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()))
}

pub fn children(pid: Pid) -> Vec<Pid> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

pub fn command_line(pid: Pid) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whether it runs; a process that ended and was not waited for does not.
pub fn is_alive(pid: Pid) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}
