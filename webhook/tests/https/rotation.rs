//! New authorities and certificates under load.

use crate::client::{Client, assert_converted, connect, review};
use crate::server::{NAME, Server, in_time};
use hyper::StatusCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use webhook::authority::Authority;
use webhook::server::Limits;

/// A `caBundle` as the API servers know it, some of them late.
type Bundle = Arc<Mutex<Vec<u8>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_rotations_under_load_fail_no_request() {
    let server = Server::start(Limits::default()).await;
    let names = [NAME.to_owned()];
    let [early, late]: [Bundle; 2] = std::array::from_fn(|_| Arc::new(Mutex::new(server.bundle())));
    let done = Arc::new(AtomicBool::new(false));
    let (mut load, mut answered) = (Vec::new(), Vec::new());
    for bundle in [&early, &late] {
        // One that connects anew for every request, and one that keeps its connection through all rotations.
        for keeps in [false, true] {
            let (bundle, done, count) = (bundle.clone(), done.clone(), Arc::new(AtomicUsize::new(0)));
            answered.push(count.clone());
            let (address, clock) = (server.address, server.clock.clone());
            load.push(tokio::spawn(async move {
                let mut kept = None;
                while !done.load(Ordering::Relaxed) {
                    let trusted = bundle.lock().unwrap().clone();
                    let mut client = match kept.take() {
                        Some(client) => client,
                        None => Client::new(connect(address, &trusted, NAME, true, &clock).await.unwrap()).await,
                    };
                    let (status, answer) = client.post(review(2)).await.unwrap();
                    assert_eq!(status, StatusCode::OK);
                    assert_converted(&answer, 2);
                    count.fetch_add(1, Ordering::Relaxed);
                    kept = keeps.then_some(client);
                }
            }));
        }
    }
    // Every client goes on before time does: a handshake must not begin in one fortnight and end in another.
    let more = async |requests: usize| {
        let goals: Vec<usize> = answered.iter().map(|count| count.load(Ordering::Relaxed) + requests).collect();
        while answered.iter().zip(&goals).any(|(count, goal)| count.load(Ordering::Relaxed) < *goal) {
            assert!(!load.iter().any(tokio::task::JoinHandle::is_finished), "a client failed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut authority = server.authority.clone();
    for rotation in 0..10 {
        in_time(more(4)).await;
        // The authority grows old; its certificate is renewed on the way.
        while !authority.is_due(server.clock.now()) {
            server.clock.advance(Duration::from_secs(6 * 24 * 3600));
            server.identity.replace(&authority.issue(&names, server.clock.now()).unwrap());
            in_time(more(2)).await;
        }
        let now = server.clock.now();
        let next = Authority::generate(now, Duration::from_secs(30 * 24 * 3600), Some(&authority)).unwrap();
        let next = Authority::read(&next.data(), now).unwrap();
        // Both orders happen: the CRDs may be patched before or after this replica has seen the Secret.
        if rotation % 2 == 0 {
            *early.lock().unwrap() = next.bundle(now);
            in_time(more(4)).await;
            server.identity.replace(&next.issue(&names, now).unwrap());
        } else {
            server.identity.replace(&next.issue(&names, now).unwrap());
            in_time(more(4)).await;
            *early.lock().unwrap() = next.bundle(now);
        }
        in_time(more(4)).await;
        *late.lock().unwrap() = next.bundle(now);
        authority = next;
    }
    in_time(more(4)).await;
    done.store(true, Ordering::Relaxed);
    for task in load {
        in_time(task).await.unwrap();
    }
}
