//! The quickstart: the sample application in this process, and `nuncio serve` over the manifests as a child.
//!
//! The child writes to a pipe, so that the hints can name the address that it really listens on. It dies with this
//! process whatever ends it, and gets every SIGINT, SIGTERM and SIGHUP that this process gets exactly once.

use crate::process::{self, guarded};
use crate::sample::{self, Backend};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Names, versions and ports of the sample application, as `overlays/files/endpoints.yaml` expects them.
pub const BACKENDS: [(&str, &str, u16); 3] =
    [("hello", "v1", 18081), ("hello-canary", "v2", 18082), ("echo", "v1", 18083)];

/// The overlay that leads to the sample application on this machine, below the folder of the manifests.
const ENDPOINTS: &str = "overlays/files/endpoints.yaml";

/// How long a line of an ended child may take to come out of the pipe.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What to run.
pub struct Options {
    /// The folder of the quickstart manifests.
    pub manifests: PathBuf,
    /// The `nuncio` binary.
    pub nuncio: PathBuf,
    /// Further arguments of `nuncio serve`.
    pub arguments: Vec<String>,
}

/// Runs until `nuncio serve` ends, and returns how it ended.
///
/// Must be called on the main thread with a current-thread runtime: the kernel ties the child to the starting thread.
pub async fn run(options: &Options) -> Result<ExitStatus> {
    // The handlers stand before the child exists, so that no signal can leave it behind.
    let mut signals = Signals::new()?;
    let (backends, moved) = bind_backends().await?;
    let overlay = if moved.is_empty() { None } else { Some(Overlay::write(&options.manifests, &moved)?) };
    let (_stays, leaving) = tokio::sync::watch::channel(false);
    for (backend, listener) in backends {
        tokio::spawn(sample::serve(backend, listener, leaving.clone()));
    }

    let mut command = tokio::process::Command::from(guarded(&options.nuncio)?);
    command.arg("serve").arg("--choose-ports").args(&options.arguments);
    match &overlay {
        None => command.arg(&options.manifests),
        Some(overlay) => command.args(&overlay.paths),
    };
    // A group of its own keeps the terminal's Ctrl-C away from the child: it gets the forwarded one only.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", options.nuncio.display()))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines()).context("no pipe to nuncio")?;

    let mut hints = Hints::new(&options.manifests);
    let mut open = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if open => match line? {
                Some(line) => hints.pass(&line),
                None => open = false,
            },
            signal = signals.next() => {
                if let Some(pid) = pid {
                    // It may have ended this very moment; then there is nobody to tell.
                    let _ = kill(pid, signal);
                }
            },
            status = child.wait() => {
                // What it wrote last is still in the pipe. A process that inherited the pipe must not hold this one up.
                while let Ok(Ok(Some(line))) = tokio::time::timeout(LAST_WORDS, lines.next_line()).await {
                    hints.pass(&line);
                }
                return Ok(status?);
            },
        }
    }
}

/// The listeners of the sample application, and (wanted, chosen) for each port that was taken.
async fn bind_backends() -> Result<(Vec<(Backend, TcpListener)>, Vec<(u16, u16)>)> {
    let mut bound = Vec::new();
    let mut moved = Vec::new();
    for (name, version, port) in BACKENDS {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut backend = Backend { name: name.to_owned(), version: version.to_owned(), address: at(port) };
        let listener = match sample::bind(&backend).await {
            Ok(listener) => listener,
            Err(_) => {
                backend.address = at(0);
                let listener = sample::bind(&backend).await?;
                moved.push((port, listener.local_addr()?.port()));
                listener
            }
        };
        bound.push((backend, listener));
    }
    Ok((bound, moved))
}

/// A replacement for the overlay when ports of the sample application are taken.
struct Overlay {
    /// The manifests without the overlay, and the folder of the replacement.
    paths: Vec<PathBuf>,
    _folder: tempfile::TempDir,
}

impl Overlay {
    fn write(manifests: &Path, moved: &[(u16, u16)]) -> Result<Self> {
        let path = manifests.join(ENDPOINTS);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = tempfile::Builder::new().prefix("nuncio-quickstart-").tempdir()?;
        std::fs::write(folder.path().join("endpoints.yaml"), with_ports(&text, moved))?;
        let mut paths = vec![folder.path().to_owned()];
        for entry in std::fs::read_dir(manifests)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(Self { paths, _folder: folder })
    }
}

fn with_ports(endpoints: &str, moved: &[(u16, u16)]) -> String {
    let replace = |text: String, (wanted, chosen): &(u16, u16)| {
        text.replace(&format!("port: {wanted}\n"), &format!("port: {chosen}\n"))
    };
    moved.iter().fold(endpoints.to_owned(), replace)
}

/// The signals that are handed on.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal; of a hang-up the child hears as a request to end.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGTERM,
        }
    }
}

/// Passes the output of `nuncio serve` on, and says once what to try with the address it names.
struct Hints {
    manifests: PathBuf,
    url: Option<String>,
    said: bool,
}

impl Hints {
    fn new(manifests: &Path) -> Self {
        Self { manifests: manifests.to_owned(), url: None, said: false }
    }

    fn pass(&mut self, line: &str) {
        let mut out = std::io::stdout().lock();
        // A closed terminal is no reason to stop serving.
        let _ = writeln!(out, "{line}");
        if self.url.is_none() {
            self.url = address_in(line);
        }
        if !self.said
            && line.contains("live")
            && let Some(url) = &self.url
        {
            let _ = write!(out, "{}", what_to_try(url, &self.manifests));
            self.said = true;
        }
        let _ = out.flush();
    }
}

/// The first clear-text URL of a line about a Listener.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let address = rest.split(|c: char| c.is_whitespace() || matches!(c, '/' | ',' | ')' | ';')).next()?;
    (!address.is_empty() && !line.contains("/ambassador/")).then(|| format!("http://{address}"))
}

fn what_to_try(url: &str, manifests: &Path) -> String {
    let mappings = manifests.join("mappings.yaml");
    let mappings = mappings.display();
    format!(
        "\nTry:\n  \
         curl {url}/hello/                          # a tenth of the answers comes from hello-canary\n  \
         curl -H 'x-version: beta' {url}/hello/     # always hello-canary\n  \
         curl {url}/echo/some/path?q=1              # the prefix is cut off\n  \
         curl -i {url}/docs/                        # a redirect\n  \
         open {url}/ in a browser\n\
         Then edit {mappings}, save it, and watch the line that tells how soon it was live.\n\
         Ctrl-C ends everything.\n\n"
    )
}

/// The path of another binary of this workspace: it lies beside the running one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the running executable")?;
    Ok(own.with_file_name(name))
}

/// Asks the kernel for SIGTERM when the process that started this one ends.
pub fn end_with_parent() -> Result<()> {
    process::end_with_parent(nix::unistd::getppid(), Signal::SIGTERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_port_is_replaced_and_no_other() {
        let text = "- name: http\n  port: 18081\n---\n  port: 180810\n  port: 18082\n";
        let expected = "- name: http\n  port: 4000\n---\n  port: 180810\n  port: 18082\n";
        assert_eq!(with_ports(text, &[(18081, 4000)]), expected);
    }

    #[test]
    fn the_overlay_names_the_ports_of_the_sample_application() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/quickstart").join(ENDPOINTS);
        let text = std::fs::read_to_string(path).unwrap();
        for (name, _, port) in BACKENDS {
            assert!(text.contains(&format!("kubernetes.io/service-name: {name}\n")), "{name}");
            assert!(text.contains(&format!("port: {port}\n")), "{name} {port}");
        }
    }

    #[test]
    fn the_address_is_taken_from_the_line() {
        let found = |line| address_in(line);
        assert_eq!(found("listening on http://127.0.0.1:8080/ (http)").as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(found("diagnostics http://127.0.0.1:8877/ambassador/v0/diag/"), None);
        assert_eq!(found("Mapping default/hello accepted"), None);
    }
}
