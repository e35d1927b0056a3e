//! Steady requests from clients that behave well, and a count of those that got no proper answer.
//!
//! A request is sent once. A connection that the server has announced to close, or has closed, is not used any more; every
//! other error is one that a user would have seen.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long a connection or an answer may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Errors that are told; all are counted.
const TOLD: usize = 20;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// HTTP/1.1, a connection for each request.
    Fresh,
    /// HTTP/1.1, one request after the other on the same connection.
    KeepAlive,
    /// HTTP/2 without TLS, likewise.
    Http2,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::KeepAlive, Self::Http2];
}

/// What became of the requests so far.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Tally {
    /// Answered with status 200.
    pub good: u64,
    /// Not so.
    pub bad: u64,
    /// The first errors.
    pub errors: Vec<String>,
}

/// Clients of one address.
#[derive(Clone)]
pub struct Load {
    url: Uri,
    authority: String,
    address: (String, u16),
    pause: Duration,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Requests of that URL, with `host` as the name asked for if it is another one. A client rests for `pause` between two.
    pub fn new(url: &Uri, host: Option<&str>, pause: Duration) -> Result<Self> {
        let name = url.host().context("the URL has no host")?;
        if url.scheme_str() != Some("http") {
            bail!("{url} is not of the form http://HOST/PATH");
        }
        let authority = host.or(url.authority().map(http::uri::Authority::as_str)).unwrap_or(name);
        Ok(Self {
            url: url.clone(),
            authority: authority.to_owned(),
            address: (name.to_owned(), url.port_u16().unwrap_or(80)),
            pause,
            tally: Arc::default(),
        })
    }

    /// What became of the requests so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One client, until the future is dropped.
    pub async fn client(&self, style: Style) {
        loop {
            // A connection that ended in good order is no error; the next one is opened at once.
            let ended = match style {
                Style::Http2 => self.http2().await,
                Style::Fresh | Style::KeepAlive => self.http1(style == Style::KeepAlive).await,
            };
            if let Err(error) = ended {
                self.note(format!("{style:?}: {error:#}"));
                sleep(self.pause).await;
            }
        }
    }

    fn note(&self, error: String) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.bad += 1;
        if tally.errors.len() < TOLD {
            tally.errors.push(error);
        }
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>> {
        let (host, port) = &self.address;
        let stream =
            timeout(LIMIT, TcpStream::connect((host.as_str(), *port))).await.context("no connection in time")?;
        Ok(TokioIo::new(stream.context("cannot connect")?))
    }

    async fn http1(&self, keep: bool) -> Result<()> {
        let (mut sender, connection) = http1::handshake(self.connect().await?).await?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        while sender.ready().await.is_ok() {
            let mut request = Request::get(path).header(header::HOST, &self.authority);
            if !keep {
                request = request.header(header::CONNECTION, "close");
            }
            let answer = sender.send_request(request.body(Empty::<Bytes>::new())?);
            let closes = self.judge(answer).await?;
            sleep(self.pause).await;
            if closes || !keep {
                break;
            }
        }
        drop(driver);
        Ok(())
    }

    async fn http2(&self) -> Result<()> {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), self.connect().await?).await?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("http://{}{path}", self.authority);
        while sender.ready().await.is_ok() && !sender.is_closed() {
            self.judge(sender.send_request(Request::get(&url).body(Empty::<Bytes>::new())?)).await?;
            sleep(self.pause).await;
        }
        drop(driver);
        Ok(())
    }

    /// Waits for an answer and counts it if it is good; whether it announces the end of its connection.
    async fn judge(&self, answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<bool> {
        let whole = async {
            let (head, body) = answer.await?.into_parts();
            let body: Bytes = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>((head, body))
        };
        let (head, body) = timeout(LIMIT, whole).await.context("no answer in time")??;
        if head.status != http::StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            bail!("{}: {}", head.status, text.chars().take(200).collect::<String>());
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).good += 1;
        Ok(head.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close")))
    }
}

/// The binary `load` at work in a process of its own.
pub struct Requests(Option<Child>);

impl Requests {
    /// Starts it by that command, which names the program and its arguments.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the load")?;
        Ok(Self(Some(child)))
    }

    /// Ends it, and says what became of the requests.
    pub fn end(mut self) -> Result<Tally> {
        let mut child = self.0.take().context("it has ended")?;
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        serde_json::from_slice(&output.stdout).context("no tally")
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Both fail only when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The task that moves the bytes of a connection; it ends with its client.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What a client makes of a server that gives these answers, one for each connection, and then hangs up.
    async fn tally(style: Style, answers: &[&'static str]) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
        let load = Load::new(&url, None, Duration::from_millis(1)).unwrap();
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                assert!(request.starts_with(b"GET /x HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            // The client has read the last answer when it comes again.
            drop(listener.accept().await);
        };
        tokio::select! {
            () = serve => {}
            () = load.client(style) => {}
        }
        load.tally()
    }

    #[tokio::test]
    async fn only_whole_answers_count() {
        let good = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        let bad =
            ["HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nx", ""];
        for style in [Style::Fresh, Style::KeepAlive] {
            let seen = tally(style, &[good, bad[0], good, bad[1], bad[2], good]).await;
            assert_eq!((seen.good, seen.bad), (3, 3), "{seen:?}");
            assert!(seen.errors[0].contains("503") && seen.errors[0].contains(": no"), "{seen:?}");
        }
    }

    #[test]
    fn only_plain_urls_will_do() {
        for bad in ["https://a/", "/a"] {
            assert!(Load::new(&bad.parse().unwrap(), None, Duration::ZERO).is_err(), "{bad}");
        }
    }
}
