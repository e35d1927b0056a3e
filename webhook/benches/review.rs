//! What reviews cost: CPU time and memory of a large one, latency of small ones over HTTPS. Part of `make bench`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    dead_code,
    reason = "a measurement stops at the first surprise, and shares its client with the tests"
)]

#[path = "../tests/https/client.rs"]
mod client;
#[path = "../tests/https/server.rs"]
mod server;

use client::{Client, review};
use server::Server;
use std::time::{Duration, Instant};
use webhook::review::{Answer, answer};
use webhook::server::Limits;

const MAPPINGS: usize = 5000;
const CLIENTS: usize = 16;
const REQUESTS: usize = 1000;

fn main() {
    let small = review(MAPPINGS);
    let rich = rich_review();
    println!("a review of {MAPPINGS} Mappings, v2 to v3alpha1: CPU (median of 9), memory above the body itself");
    for (name, body) in [("small", &small), ("as kubectl leaves them", &rich)] {
        let before = peak();
        let mut times: Vec<Duration> = (0..9).map(|_| timed(body)).collect();
        times.sort();
        let each = times[4].as_nanos() as f64 / MAPPINGS as f64 / 1000.0;
        println!(
            "  {name:<24} {:>6.1} MB  {:>7.1} ms  {each:>5.2} µs each  {:>4} MB",
            body.len() as f64 / 1e6,
            times[4].as_secs_f64() * 1e3,
            (peak() - before) >> 20
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut times = runtime.block_on(load());
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "single Mappings over HTTPS, {CLIENTS} at a time on one connection, client included: p50 {:.2} ms, p99 {:.2} ms",
        at(0.5),
        at(0.99)
    );
}

fn timed(body: &[u8]) -> Duration {
    let start = cpu();
    let Answer::Review { failure: None, .. } = std::hint::black_box(answer(body)) else { panic!("refused") };
    cpu() - start
}

async fn load() -> Vec<Duration> {
    let server = Server::start(Limits::default()).await;
    let Client::Two(one) = Client::of(&server, true).await else { panic!("no HTTP/2") };
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::Two(one.clone());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(REQUESTS);
                for _ in 0..REQUESTS {
                    let start = Instant::now();
                    client.post(review(1)).await.unwrap();
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times
}

/// Mappings with managed fields and what `kubectl apply` notes, as most are.
fn rich_review() -> Vec<u8> {
    let mut review: serde_json::Value = serde_json::from_slice(&review(MAPPINGS)).unwrap();
    for object in review["request"]["objects"].as_array_mut().unwrap() {
        let text = object.to_string();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert(
            "annotations".into(),
            serde_json::json!({"kubectl.kubernetes.io/last-applied-configuration": text}),
        );
        let fields = serde_json::json!({"f:metadata": {"f:annotations": {".": {}}}, "f:spec": {".": {}, "f:ambassador_id": {}, "f:prefix": {}, "f:service": {}}});
        let entry = |manager: &str| serde_json::json!({"manager": manager, "operation": "Update", "apiVersion": "getambassador.io/v2", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields});
        metadata.insert("managedFields".into(), serde_json::json!([entry("kubectl"), entry("nuncio")]));
    }
    serde_json::to_vec(&review).unwrap()
}

/// Time that this thread has run, where the system tells; else the time.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.map_or_else(
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap(),
        Duration::from_nanos,
    )
}

/// The most memory that this process had so far.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
