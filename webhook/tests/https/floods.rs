//! Strangers: slow, large and many. The API server must not notice them.

use crate::client::{Client, Stream, assert_converted, connect, review};
use crate::server::{NAME, Server, in_time};
use hyper::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use webhook::server::{Limits, PATH};

async fn converts(client: &mut Client) {
    let (status, answer) = in_time(client.post(review(2))).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_converted(&answer, 2);
}

async fn raw(server: &Server, head: &str) -> Stream {
    let mut stream = in_time(connect(server.address, &server.bundle(), NAME, false, &server.clock)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// What the server says until it closes, or nothing.
async fn rest(mut stream: Stream) -> String {
    let mut text = Vec::new();
    let _ = in_time(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn slow_strangers_make_room_for_who_comes_after_them() {
    let server = Server::start(Limits { connections: 40, newcomers: 20, ..Limits::default() }).await;
    let mut old = Client::of(&server, true).await;
    converts(&mut old).await;
    let mut strangers = Vec::new();
    for n in 0..60 {
        // Some say nothing at all, some stop in the handshake, some in the head, some in the body.
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        match n % 4 {
            0 => {}
            1 => tcp.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap(),
            2 => drop(raw(&server, &format!("POST {PATH} HT")).await),
            _ => drop(raw(&server, &format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{{")).await),
        }
        strangers.push(tcp);
        if n % 10 == 9 {
            converts(&mut old).await;
            converts(&mut Client::of(&server, n % 20 == 9).await).await;
        }
    }
    converts(&mut old).await;
}

#[tokio::test]
async fn strangers_that_hold_memory_give_it_back() {
    // Eight strangers stop one byte before the end of a review that fills an eighth of what all may have.
    let server = Server::start(Limits { bodies: 8 << 20, ..Limits::default() }).await;
    let mut strangers = Vec::new();
    for _ in 0..8 {
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n");
        let mut stream = raw(&server, &head).await;
        stream.write_all(&vec![b' '; 1 << 20]).await.unwrap();
        strangers.push(stream);
    }
    for _ in 0..3 {
        let (status, answer) = in_time(Client::of(&server, true).await.post(review(5000))).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_converted(&answer, 5000);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_with_its_time() {
    let limits = Limits { transfer: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(limits).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{{");
    assert!(rest(raw(&server, &head).await).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn handshakes_and_first_reviews_have_a_time() {
    let limits = Limits { patience: Duration::from_secs(2), transfer: Duration::from_secs(1), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(in_time(silent.read(&mut [0; 9])).await.unwrap(), 0);
    let mut proved = Client::of(&server, true).await;
    converts(&mut proved).await;
    // A connection that asks nothing goes, one whose review was answered stays.
    assert_eq!(rest(raw(&server, "").await).await, "");
    converts(&mut proved).await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_let_go() {
    let limits = Limits { transfer: Duration::from_millis(500), bodies: 4 << 20, ..Limits::default() };
    let server = Server::start(limits).await;
    let review = review(3000);
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", review.len());
    let mut lazy = Vec::new();
    for _ in 0..12 {
        let mut stream = raw(&server, &head).await;
        // Twelve times the size would not fit.
        if stream.write_all(&review).await.is_ok() {
            lazy.push(stream);
        }
    }
    converts(&mut Client::of(&server, true).await).await;
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_unread() {
    let server = Server::start(Limits::default()).await;
    let announced =
        raw(&server, &format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n")).await;
    assert!(rest(announced).await.starts_with("HTTP/1.1 413 "));
}
