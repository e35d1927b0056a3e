//! A client as Go's: verifies the chain against a `caBundle`, speaks HTTP/2 or HTTP/1.1.

use crate::server::{NAME, Server, certificates};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use webhook::clock::Clock;

pub type Stream = TlsStream<TcpStream>;

#[derive(Debug)]
struct Watch(Clock);

impl TimeProvider for Watch {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().0.try_into().unwrap())))
    }
}

pub async fn connect(to: SocketAddr, bundle: &[u8], name: &str, http2: bool, clock: &Clock) -> std::io::Result<Stream> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle) {
        roots.add(certificate).unwrap();
    }
    let mut config =
        ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Watch(clock.clone())))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

/// A connection that requests can be sent over.
pub enum Client {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub async fn new(stream: Stream) -> Self {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (client, work) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(work);
            Self::Two(client)
        } else {
            let (client, work) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(work);
            Self::One(client)
        }
    }

    pub async fn of(server: &Server, http2: bool) -> Self {
        let stream = connect(server.address, &server.bundle(), NAME, http2, &server.clock).await.unwrap();
        Self::new(stream).await
    }

    pub async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> hyper::Result<(StatusCode, Bytes)> {
        let request = Request::builder().method(method).header("content-type", "application/json");
        let response = match self {
            Self::One(client) => {
                client.ready().await?;
                let request = request.uri(path).header("host", NAME).body(Full::new(body.into())).unwrap();
                client.send_request(request).await?
            }
            Self::Two(client) => {
                client.ready().await?;
                let request = request.uri(format!("https://{NAME}{path}")).body(Full::new(body.into())).unwrap();
                client.send_request(request).await?
            }
        };
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    pub async fn post(&mut self, body: Vec<u8>) -> hyper::Result<(StatusCode, Bytes)> {
        self.send(Method::POST, webhook::server::PATH, body).await
    }
}

/// A review of so many v2 Mappings, to be read in v3alpha1.
pub fn review(mappings: usize) -> Vec<u8> {
    let objects: Vec<Value> = (0..mappings).map(mapping).collect();
    serde_json::to_vec(&json!({
        "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "request": {"uid": format!("uid-{mappings}"), "desiredAPIVersion": "getambassador.io/v3alpha1", "objects": objects},
    }))
    .unwrap()
}

fn mapping(n: usize) -> Value {
    json!({
        "apiVersion": "getambassador.io/v2", "kind": "Mapping",
        "metadata": {"name": format!("m-{n}"), "namespace": "shop", "uid": format!("{n}")},
        "spec": {"ambassador_id": "x", "prefix": format!("/{n}/"), "service": "shop"},
    })
}

/// Asserts that an answer has so many converted Mappings.
pub fn assert_converted(answer: &[u8], mappings: usize) {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let response = &answer["response"];
    assert_eq!(response["uid"], format!("uid-{mappings}"));
    assert_eq!(response["result"]["status"], "Success");
    let objects = response["convertedObjects"].as_array().unwrap();
    assert_eq!(objects.len(), mappings);
    for (n, object) in objects.iter().enumerate() {
        assert_eq!(object["apiVersion"], "getambassador.io/v3alpha1");
        assert_eq!(object["metadata"]["name"], format!("m-{n}"));
        assert_eq!(object["spec"]["ambassador_id"], json!(["x"]));
    }
}
