//! Clients that never rest: HTTP/1.1 over kept connections, HTTP/2 streams, WebSockets.

use super::backend::{INSTANCE, SLOW};
use super::client::{Dialer, Reply, request};
use super::ledger::{Entry, Ledger, Probe};
use super::world::{Random, path};
use futures::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Requests on one connection before the client opens another one: handshakes are tested, too.
const PER_CONNECTION: usize = 300;
/// Streams at the same time on one HTTP/2 connection.
const STREAMS: usize = 3;
/// Messages on one WebSocket before it is closed.
const MESSAGES: usize = 200;

/// What every client knows.
#[derive(Clone)]
pub struct Shared {
    /// How to connect.
    pub dialer: Dialer,
    /// Who judges.
    pub ledger: Arc<Ledger>,
    /// Paths that are asked for.
    pub slots: usize,
    /// Between two requests of one client.
    pub pause: Duration,
    /// True at the end of the run.
    pub end: watch::Receiver<bool>,
}

/// Starts `clients` of each sort at each entry.
pub fn start(shared: &Shared, clients: usize, seed: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut random = Random(seed);
    for _ in 0..clients {
        for entry in Entry::ALL {
            let mut seed = || Random(u64::try_from(random.below(usize::MAX)).unwrap_or(0));
            tasks.spawn(http1(shared.clone(), entry, seed()));
            tasks.spawn(http2(shared.clone(), entry, seed()));
            if entry != Entry::ClearSecond {
                tasks.spawn(websocket(shared.clone(), entry, seed()));
            }
        }
    }
    tasks
}

impl Shared {
    fn ended(&self) -> bool {
        *self.end.borrow()
    }

    fn judge(&self, probe: Probe, began: Instant, reply: &Reply, how: &str) {
        let detail = || format!("{how}, took {:?}: {}", began.elapsed(), reply.text());
        self.ledger.answered(probe, began, &reply.answer(), detail);
    }

    fn certificate(&self, entry: Entry, began: Instant, certificate: Option<Vec<u8>>) {
        self.ledger.connected();
        if let Some(der) = certificate {
            self.ledger.answered(Probe::Certificate(entry), began, &fingerprint(&der), || "handshake".into());
        }
    }

    /// A new connection must always be possible, so that a failure is a fault.
    async fn refused(&self, entry: Entry, how: &str, error: &anyhow::Error) {
        self.ledger.fault(format!("{entry:?}: no {how} connection: {error:#}"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Names a certificate.
pub fn fingerprint(der: &[u8]) -> String {
    use sha1::{Digest, Sha1};
    Sha1::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn http1(shared: Shared, entry: Entry, mut random: Random) {
    while !shared.ended() {
        let began = Instant::now();
        let mut connection = match shared.dialer.http1(entry).await {
            Ok((connection, certificate)) => {
                shared.certificate(entry, began, certificate);
                connection
            }
            Err(error) => {
                shared.refused(entry, "HTTP/1.1", &error).await;
                continue;
            }
        };
        for _ in 0..PER_CONNECTION {
            tokio::time::sleep(shared.pause).await;
            if shared.ended() {
                return;
            }
            if connection.is_closed() {
                if !shared.ledger.is_disturbed(entry, began) {
                    shared.ledger.fault(format!("{entry:?}: an idle HTTP/1.1 connection was closed"));
                }
                break;
            }
            let slot = random.below(shared.slots);
            let (text, body) = ask(&mut random, slot);
            let Ok(request) = request(entry, false, &text, body) else { return };
            let asked = Instant::now();
            match connection.send(request).await {
                Ok(reply) => {
                    shared.judge(Probe::Slot(entry, slot), asked, &reply, "HTTP/1.1");
                    let closes = reply.head.headers.get("connection").is_some_and(|value| value == "close");
                    if closes {
                        // Envoy does not read on when it answers by itself before the body came.
                        let unread = body > 0 && !reply.head.headers.contains_key(INSTANCE);
                        if !unread && !shared.ledger.is_disturbed(entry, asked) {
                            shared
                                .ledger
                                .fault(format!("{entry:?}: an answer closes the connection: {:?}", reply.head));
                        }
                        break;
                    }
                }
                // The end of a drain and a request may cross.
                Err(_) if shared.ledger.is_disturbed(entry, asked) => break,
                Err(error) => {
                    let took = asked.elapsed();
                    shared
                        .ledger
                        .fault(format!("{entry:?} slot {slot}: HTTP/1.1 request lost after {took:?}: {error:#}"));
                    break;
                }
            }
        }
    }
}

async fn http2(shared: Shared, entry: Entry, mut random: Random) {
    while !shared.ended() {
        let began = Instant::now();
        let (connection, task, certificate) = match shared.dialer.http2(entry).await {
            Ok(opened) => opened,
            Err(error) => {
                shared.refused(entry, "HTTP/2", &error).await;
                continue;
            }
        };
        shared.certificate(entry, began, certificate);
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let (shared, connection) = (shared.clone(), connection.clone());
            let mut random = Random(u64::try_from(random.below(usize::MAX)).unwrap_or(0));
            streams.spawn(async move {
                for _ in 0..PER_CONNECTION {
                    tokio::time::sleep(shared.pause * 2).await;
                    if shared.ended() {
                        return;
                    }
                    let slot = random.below(shared.slots);
                    let (text, body) = ask(&mut random, slot);
                    let Ok(request) = request(entry, true, &text, body) else { return };
                    let asked = Instant::now();
                    match connection.send(request).await {
                        Ok(reply) => shared.judge(Probe::Slot(entry, slot), asked, &reply, "HTTP/2"),
                        Err(_) if shared.ledger.is_disturbed(entry, asked) => return,
                        Err(error) => {
                            let took = asked.elapsed();
                            shared
                                .ledger
                                .fault(format!("{entry:?} slot {slot}: HTTP/2 stream lost after {took:?}: {error:#}"));
                            return;
                        }
                    }
                }
            });
        }
        while streams.join_next().await.is_some() {}
        // A GOAWAY ends the connection as soon as its streams are done; nobody else has.
        if task.is_finished() && !shared.ended() && !shared.ledger.is_disturbed(entry, began) {
            shared.ledger.fault(format!("{entry:?}: the HTTP/2 connection was closed"));
        }
        drop(connection);
        task.abort();
    }
}

/// A path of the slot, and the length of a body.
fn ask(random: &mut Random, slot: usize) -> (String, usize) {
    match random.below(20) {
        0 => (format!("{}?{SLOW}", path(slot)), 0),
        1 | 2 => (format!("{}below", path(slot)), 1 + random.below(20_000)),
        _ => (path(slot), 0),
    }
}

/// A WebSocket belongs to the instance that it was opened to, whatever becomes of the route.
async fn websocket(shared: Shared, entry: Entry, mut random: Random) {
    while !shared.ended() {
        let slot = random.below(shared.slots);
        let began = Instant::now();
        let stream = match shared.dialer.open(entry.authority(), entry.is_tls(), false).await {
            Ok((stream, certificate)) => {
                shared.certificate(entry, began, certificate);
                stream
            }
            Err(error) => {
                shared.refused(entry, "WebSocket", &error).await;
                continue;
            }
        };
        let url = format!("ws://{}{}ws", entry.authority(), path(slot));
        let opened = tokio::time::timeout(super::client::LIMIT, tokio_tungstenite::client_async(url, stream)).await;
        let mut socket = match opened {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tokio_tungstenite::tungstenite::Error::Http(response))) => {
                let answer = response.status().as_str().to_owned();
                shared.ledger.answered(Probe::Slot(entry, slot), began, &answer, || "WebSocket".into());
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Ok(Err(error)) => {
                if !shared.ledger.is_disturbed(entry, began) {
                    shared.ledger.fault(format!("{entry:?} slot {slot}: WebSocket not opened: {error}"));
                }
                continue;
            }
            Err(_) => {
                shared.ledger.fault(format!("{entry:?} slot {slot}: WebSocket not opened in time"));
                continue;
            }
        };
        let mut home: Option<String> = None;
        for number in 0..MESSAGES {
            tokio::time::sleep(shared.pause * 4).await;
            if shared.ended() {
                return;
            }
            let reply = exchange(&mut socket, number).await;
            match (reply, &home) {
                (Ok(instance), None) => {
                    shared.ledger.answered(Probe::Slot(entry, slot), began, &instance, || "WebSocket".into());
                    home = Some(instance);
                }
                (Ok(instance), Some(known)) if instance == *known => {}
                (Ok(instance), Some(known)) => {
                    shared
                        .ledger
                        .fault(format!("{entry:?} slot {slot}: a WebSocket to {known} is answered by {instance}"));
                }
                (Err(error), known) => {
                    let retired = known.as_ref().is_some_and(|known| shared.ledger.is_retired(known));
                    if !retired && !shared.ledger.is_disturbed(entry, began) {
                        let home = known.as_deref().unwrap_or("nobody yet");
                        let what =
                            format!("{entry:?} slot {slot}: WebSocket to {home} lost at message {number}: {error}");
                        shared.ledger.fault(what);
                    }
                    break;
                }
            }
        }
    }
}

/// Sends a message and returns the name of the instance in front of the echo.
async fn exchange(
    socket: &mut WebSocketStream<Box<dyn super::client::Stream>>,
    number: usize,
) -> Result<String, String> {
    let sent = number.to_string();
    let work = async {
        socket.send(Message::text(sent.clone())).await.map_err(|error| error.to_string())?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let (instance, rest) = text.split_once(' ').ok_or("no name")?;
                    return if rest == sent { Ok(instance.to_owned()) } else { Err(format!("{text} for {sent}")) };
                }
                Some(Ok(Message::Close(frame))) => return Err(format!("closed: {frame:?}")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the end".into()),
            }
        }
    };
    tokio::time::timeout(super::client::LIMIT, work).await.unwrap_or_else(|_| Err("no echo in time".into()))
}
