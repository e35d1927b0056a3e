//! Memory, measured for the whole process; so there is one test here and nothing beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    dead_code,
    reason = "a test ends at the first surprise, and shares its client with another one"
)]

#[path = "https/client.rs"]
mod client;
#[path = "https/server.rs"]
mod server;

use client::{Client, assert_converted, connect, review};
use hyper::StatusCode;
use server::{NAME, Server, in_time};
use tokio::io::AsyncWriteExt;
use webhook::server::{Limits, PATH};

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

async fn converts(client: &mut Client) {
    let (status, answer) = in_time(client.post(review(2))).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_converted(&answer, 2);
}

#[tokio::test]
async fn strangers_cost_no_memory() {
    let server = Server::start(Limits { body: 8 << 20, bodies: 16 << 20, ..Limits::default() }).await;
    let mut client = Client::of(&server, true).await;
    converts(&mut client).await;
    bodies_of_100_mb(&server).await;
    converts(&mut client).await;
    many_names(&server).await;
    converts(&mut client).await;
}

async fn bodies_of_100_mb(server: &Server) {
    let before = resident();
    for _ in 0..2 {
        let mut chunked = in_time(connect(server.address, &server.bundle(), NAME, false, &server.clock)).await.unwrap();
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        chunked.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"100000\r\n".to_vec(), vec![b'['; 1 << 20], b"\r\n".to_vec()].concat();
        let mut sent = 0;
        while sent < 100 && in_time(chunked.write_all(&chunk)).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 100, "it takes 100 MB");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 20, "{} MB more", grown >> 20);
}

async fn many_names(server: &Server) {
    let bundle = server.bundle();
    let reach = async |n: usize| {
        let name = format!("{n}.{}.example.com", "x".repeat(60));
        assert!(in_time(connect(server.address, &bundle, &name, true, &server.clock)).await.is_err());
    };
    for n in 0..50 {
        reach(n).await;
    }
    let before = resident();
    for n in 50..300 {
        reach(n).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{} kB more", grown >> 10);
}
