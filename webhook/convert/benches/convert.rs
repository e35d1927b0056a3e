//! CPU time of converting a Mapping, in each direction: `cargo bench -p convert`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement stops where it cannot go on")]

use std::hint::black_box;
use std::time::Instant;

use convert::{Version, convert};
use serde_json::{Value, json};

/// As many as a review may have, so that the caches see what they see in the webhook.
const REVIEW: u32 = 1_000;
const REVIEWS: u32 = 20;

/// A Mapping that uses most rules at once.
fn rich() -> Value {
    json!({
        "apiVersion": "getambassador.io/v2", "kind": "Mapping",
        "metadata": {"name": "orders", "namespace": "shop", "labels": {"team": "orders"}, "generation": 4},
        "spec": {
            "ambassador_id": "internal", "prefix": "/orders/", "service": "http://orders.shop:8080", "tls": true,
            "host": "shop.example.com", "timeout_ms": 0, "rewrite": "", "v3StatsName": "orders",
            "headers": {"x-version": "2", "x-debug": true, "x-old": false},
            "query_parameters": {"q": "1", "r": true},
            "add_request_headers": {"x-a": "1", "x-b": {"value": "2", "append": false}, "x-c": null},
            "remove_response_headers": "server",
            "cors": {"origins": "https://a.example.com,https://b.example.com", "methods": "GET, POST", "credentials": true},
            "retry_policy": {"retry_on": "5xx", "num_retries": 0},
            "circuit_breakers": [{"max_connections": 0}],
            "labels": {"ambassador": [{"group": ["a", "remote_address", {"user": {"header": "x-user"}}, null]}]},
        },
        "status": {"state": "Running"},
    })
}

fn plain() -> Value {
    json!({
        "apiVersion": "getambassador.io/v2", "kind": "Mapping",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"prefix": "/orders/", "service": "orders", "host": "shop.example.com"},
    })
}

/// Nanoseconds on a CPU where the system tells, else of the clock.
fn cpu(start: Instant) -> u128 {
    let told = std::fs::read_to_string("/proc/self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| start.elapsed().as_nanos())
}

fn main() {
    let start = Instant::now();
    for (name, old) in [("plain", plain()), ("rich", rich())] {
        let new = convert(old.clone(), Version::V3Alpha1).unwrap().object;
        for (direction, object, to) in
            [("v2 -> v3alpha1", &old, Version::V3Alpha1), ("v3alpha1 -> v2", &new, Version::V2)]
        {
            let mut spent = 0;
            for _ in 0..REVIEWS {
                let objects: Vec<Value> = (0..REVIEW).map(|_| object.clone()).collect();
                let before = cpu(start);
                for object in objects {
                    black_box(convert(object, to).unwrap());
                }
                spent += cpu(start) - before;
            }
            println!(
                "{name:5} Mapping, {direction}: {:6.2} µs of CPU",
                spent as f64 / f64::from(REVIEW * REVIEWS) / 1000.0
            );
        }
    }
}
