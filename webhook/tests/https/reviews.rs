//! Requests and their answers, in both versions of HTTP.

use crate::client::{Client, assert_converted, connect, review};
use crate::server::{NAME, Server, in_time};
use hyper::{Method, StatusCode};
use webhook::server::{Limits, PATH};

#[tokio::test]
async fn reviews_of_any_size_are_answered_over_both_versions_of_http() {
    let server = Server::start(Limits::default()).await;
    for http2 in [false, true] {
        let mut client = Client::of(&server, http2).await;
        for mappings in [0, 1, 20, 3000] {
            let (status, answer) = in_time(client.post(review(mappings))).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_converted(&answer, mappings);
        }
    }
}

#[tokio::test]
async fn many_reviews_share_a_connection() {
    let server = Server::start(Limits::default()).await;
    let Client::Two(one) = Client::of(&server, true).await else { panic!("no HTTP/2") };
    let all = (1..200).map(|mappings| {
        let mut client = Client::Two(one.clone());
        tokio::spawn(async move {
            let (status, answer) = client.post(review(mappings)).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_converted(&answer, mappings);
        })
    });
    for task in all.collect::<Vec<_>>() {
        in_time(task).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_review_is_refused_and_the_connection_goes_on() {
    let server = Server::start(Limits { body: 1 << 20, ..Limits::default() }).await;
    for http2 in [false, true] {
        let mut client = Client::of(&server, http2).await;
        for (method, path, body, expected) in [
            (Method::POST, PATH, &b"{}"[..], StatusCode::BAD_REQUEST),
            (Method::POST, PATH, b"", StatusCode::BAD_REQUEST),
            (Method::GET, PATH, b"", StatusCode::METHOD_NOT_ALLOWED),
            (Method::POST, "/", b"{}", StatusCode::NOT_FOUND),
            (Method::GET, "/probes/ready", b"", StatusCode::NOT_FOUND),
        ] {
            let (status, _) = in_time(client.send(method, path, body.to_vec())).await.unwrap();
            assert_eq!(status, expected);
        }
        let (status, _) = in_time(client.post(review(1))).await.unwrap();
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test]
async fn every_name_gets_the_one_certificate_and_clients_judge_it() {
    let server = Server::start(Limits::default()).await;
    let bundle = server.bundle();
    let reach = |name| connect(server.address, &bundle, name, true, &server.clock);
    assert!(in_time(reach(NAME)).await.is_ok());
    let other = in_time(reach("evil.example.com")).await.unwrap_err();
    assert!(other.to_string().contains("not valid for name"), "{other}");
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_closes_connections() {
    let server = Server::start(Limits::default()).await;
    let mut client = Client::of(&server, true).await;
    in_time(client.post(review(1))).await.unwrap();
    let Client::Two(busy) = &client else { panic!("no HTTP/2") };
    let mut busy = Client::Two(busy.clone());
    let large = tokio::spawn(async move { busy.post(review(20_000)).await });
    // The review is on its way once the connection has taken it up.
    tokio::task::yield_now().await;
    in_time(client.post(review(1))).await.unwrap();
    server.stop.cancel();
    in_time(server.task).await.unwrap();
    let (status, answer) = in_time(large).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_converted(&answer, 20_000);
    assert!(in_time(client.post(review(1))).await.is_err());
}
