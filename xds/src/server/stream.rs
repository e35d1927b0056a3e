//! The task of one stream: moves messages between the socket and the state machine.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::{Ads, Open};
use crate::wire::{Request, Response};

/// Responses handed to the transport ahead of the socket. The state machine is asked for more only when all before are
/// handed over, so that changes for a slow client merge instead of piling up.
const AHEAD: usize = 1;

type Outgoing = mpsc::Sender<Result<Response, Status>>;

/// Starts the task of a new stream; its responses come out of the receiver.
pub(super) fn open(
    ads: &Ads,
    requests: Streaming<DeltaDiscoveryRequest>,
    closing: watch::Receiver<bool>,
) -> Result<mpsc::Receiver<Result<Response, Status>>, Status> {
    let open = ads.open().ok_or_else(|| Status::resource_exhausted("too many discovery streams"))?;
    let (outgoing, responses) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let client = open.id;
        debug!(%client, "discovery stream opened");
        if let Err(status) = run(open, requests, &outgoing, closing).await {
            info!(%client, code = ?status.code(), "discovery stream ended: {}", status.message());
            // The client may be gone, or slow; then it learns of the end from the transport.
            let _ = outgoing.try_send(Err(status));
        }
    });
    Ok(responses)
}

async fn run(
    mut open: Open,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    outgoing: &Outgoing,
    mut closing: watch::Receiver<bool>,
) -> Result<(), Status> {
    let mut store = open.ads.shared.store.subscribe();
    let mut queue = VecDeque::new();
    let mut deadline = None;
    // Made once: what is made and dropped in each round enters and leaves lists of who waits.
    let mut gone = pin!(outgoing.closed());
    let mut ends = pin!(closing.wait_for(|closing| *closing));
    loop {
        if queue.is_empty() {
            store.mark_unchanged();
            deadline = poll(&mut open, &mut queue);
        }
        open.tell();
        let idle = queue.is_empty();
        let now = open.ads.now();
        tokio::select! {
            biased;
            _ = &mut ends => return Err(Status::unavailable("the control plane is shutting down")),
            () = &mut gone => return Ok(()),
            request = requests.message() => match request? {
                Some(request) => receive(&mut open, request)?,
                None => return Ok(()),
            },
            permit = outgoing.reserve(), if !idle => match permit {
                Ok(permit) => {
                    if let Some(response) = queue.pop_front() {
                        permit.send(Ok(response));
                    }
                }
                Err(_) => return Ok(()),
            },
            // The store lives as long as the server: this never fails.
            _ = store.changed(), if idle => {}
            () = wait(deadline, now), if idle => {}
        }
    }
}

async fn wait(deadline: Option<Duration>, now: Duration) {
    match deadline {
        Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
        None => std::future::pending().await,
    }
}

/// Asks the state machine what is to be sent, and until when it may be left alone.
fn poll(open: &mut Open, queue: &mut VecDeque<Response>) -> Option<Duration> {
    let (now, stream) = (open.ads.now(), open.stream.clone());
    let mut subscriber = stream.lock();
    let responses = subscriber.poll(&open.ads.shared.store.read(), now);
    open.events.append(&mut subscriber.take_events());
    let deadline = subscriber.deadline();
    drop(subscriber);
    for response in &responses {
        debug!(
            client = %open.id, kind = %response.kind, nonce = response.nonce, resources = response.resources.len(),
            removed = response.removed.len(), bytes = response.payload_len(), "discovery response"
        );
    }
    queue.extend(responses);
    deadline
}

fn receive(open: &mut Open, message: DeltaDiscoveryRequest) -> Result<(), Status> {
    let request = match Request::from_message(message) {
        Ok(request) => request,
        Err(type_url) => {
            let type_url = type_url.get(..type_url.floor_char_boundary(200)).unwrap_or_default();
            debug!(client = %open.id, type_url, "request for a type that is not offered");
            return Ok(());
        }
    };
    let (now, stream) = (open.ads.now(), open.stream.clone());
    let mut subscriber = stream.lock();
    let taken = subscriber.on_request(request, now);
    open.events.append(&mut subscriber.take_events());
    drop(subscriber);
    taken.map_err(|_| Status::resource_exhausted("too many resource names on one stream"))
}
