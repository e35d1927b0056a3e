//! The UNIX socket, and the life of streams.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use xds::ResourceType::{Cluster, Endpoint as Assignment, Route, Secret};
use xds::{Event, Options, ServeError};

use crate::client::{Client, Running, Server, ask, soon};

async fn dial(path: &Path) -> Channel {
    soon(Endpoint::from_shared(format!("unix://{}", path.display())).unwrap().connect()).await.unwrap()
}

fn serve(server: &Server) -> (TempDir, PathBuf, Running) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/ads.sock");
    let bound = server.ads.bind_unix(&path).unwrap();
    let running = Running::start(|stopped| {
        bound.serve(async {
            let _ = stopped.await;
        })
    });
    (folder, path, running)
}

#[tokio::test]
async fn a_client_is_served_and_reported() {
    let mut server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    server.put(Cluster, "a", 0xa, 5);
    let mut client = Client::connect(dial(&path).await).await.unwrap();
    client.ask(Cluster, &[]).await;
    let response = client.next().await.unwrap().unwrap();
    assert_eq!(response.type_url, Cluster.type_url());
    assert_eq!(response.resources[0].resource.as_ref().unwrap().value.len(), 5);
    client.ack(&response).await;
    let acked =
        server.event(|e| if let Event::Acked { resources, .. } = e { Some(resources.clone()) } else { None }).await;
    assert_eq!(acked.len(), 1);

    client.ask(Route, &["t"]).await;
    let empty = client.next().await.unwrap().unwrap();
    assert_eq!(empty.resources[0].name, "t");
    server.put(Route, "t", 0xb, 1);
    let status = server.ads.clients();
    assert_eq!((status.len(), status[0].node.id.as_str(), status[0].types.len()), (1, "node", 2));
    // The empty one is unanswered: its refusal opens the gate.
    let error_detail = Some(RpcStatus { message: "no".into(), ..Default::default() });
    client.send(DeltaDiscoveryRequest { response_nonce: empty.nonce, error_detail, ..ask(Route, &[]) }).await;
    assert_eq!(client.names().await, ["t@b"]);
    let detail =
        server.event(|e| if let Event::Refused { detail, .. } = e { Some(detail.clone()) } else { None }).await;
    assert_eq!(detail, "no");

    drop(client);
    server.event(|e| matches!(e, Event::Disconnected { .. }).then_some(())).await;
    assert!(server.ads.clients().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn state_of_the_world_is_refused_with_a_reason() {
    let server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut client = AggregatedDiscoveryServiceClient::new(dial(&path).await);
    let requests = tokio_stream::once(DiscoveryRequest::default());
    let status = soon(client.stream_aggregated_resources(requests)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("DELTA_GRPC"), "{status}");
    running.stop().await;
}

/// The gRPC C core names a UNIX socket by its percent-encoded path, which no Rust client can be made to do.
#[tokio::test]
async fn a_path_as_authority_is_no_protocol_error() {
    let server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let field = |name: &str, value: &str| {
        let lengths = [u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap()];
        [&[0x40, lengths[0]], name.as_bytes(), &[lengths[1]], value.as_bytes()].concat()
    };
    let method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchNothing";
    let fields = [
        field(":path", method),
        field(":authority", "%2Frun%2Fads.sock"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ];
    // `:method: POST` and `:scheme: http` are in the static table.
    let block = [vec![0x83, 0x86], fields.concat()].concat();
    let headers = [&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1], block.as_slice()].concat();
    let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
    soon(socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")).await.unwrap();
    soon(socket.write_all(&headers)).await.unwrap();
    let kind = loop {
        let mut header = [0; 9];
        soon(socket.read_exact(&mut header)).await.unwrap();
        let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        soon(socket.read_exact(&mut payload)).await.unwrap();
        if header[8] == 1 {
            break header[3];
        }
    };
    assert_eq!(kind, 1, "headers of an answer, and not a reset (3)");
    drop(socket);
    running.stop().await;
}

#[tokio::test]
async fn a_reconnect_with_very_many_names_is_taken() {
    let server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut client = Client::connect(dial(&path).await).await.unwrap();
    let name =
        |n: usize| (format!("a_name_of_realistic_length_as_clusters_have_it_{n:08}"), "0000000000000001".to_owned());
    let mut request = ask(Secret, &[]);
    request.initial_resource_versions = (0..100_000).map(name).collect();
    client.send(request).await;
    let response = client.next().await.unwrap().unwrap();
    assert_eq!(response.removed_resources.len(), 1000, "the first of a bulk change");
    running.stop().await;
}

#[tokio::test]
async fn types_that_are_not_offered_are_ignored() {
    let server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut client = Client::connect(dial(&path).await).await.unwrap();
    let mut request = ask(Cluster, &["x"]);
    request.type_url = "type.googleapis.com/envoy.service.runtime.v3.Runtime".into();
    client.send(request).await;
    client.ask(Assignment, &["a"]).await;
    assert_eq!(client.names().await, ["a@"]);
    running.stop().await;
}

/// One thread, so that the stream's task runs exactly when this test gives way.
#[tokio::test(flavor = "current_thread")]
async fn changes_for_a_client_that_does_not_read_are_merged() {
    let mut server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut client = Client::connect(dial(&path).await).await.unwrap();
    client.ask(Cluster, &[]).await;
    assert_eq!(client.names().await, [""; 0]);
    const CHANGES: u64 = 300;
    for version in 1..=CHANGES {
        server.put(Cluster, "a", version, 100_000);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let sent = server.ads.clients()[0].types[0].sent;
    assert!((2..CHANGES / 4).contains(&sent), "{sent} responses for {CHANGES} changes");
    let last = format!("a@{CHANGES:x}");
    while client.names().await != [last.as_str()] {}
    running.stop().await;
}

#[tokio::test]
async fn many_clients_get_a_change() {
    let mut server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(dial(&path).await).await.unwrap();
        client.ask(Assignment, &["a"]).await;
        assert_eq!(client.names().await, ["a@"]);
        clients.push(client);
    }
    server.put(Assignment, "a", 7, 10);
    for client in &mut clients {
        assert_eq!(client.names().await, ["a@7"]);
    }
    assert_eq!(server.ads.clients().len(), 50);
    drop(clients);
    for _ in 0..50 {
        server.event(|e| matches!(e, Event::Disconnected { .. }).then_some(())).await;
    }
    assert!(server.ads.clients().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn clients_and_names_are_limited() {
    let server = Server::new(Options { max_clients: 1, max_names: 2, ..Options::default() });
    let (_folder, path, running) = serve(&server);
    let mut first = Client::connect(dial(&path).await).await.unwrap();
    first.ask(Assignment, &["a"]).await;
    assert_eq!(first.names().await, ["a@"]);
    let refused = Client::connect(dial(&path).await).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    first.ask(Assignment, &["b", "c"]).await;
    assert_eq!(first.next().await.unwrap_err().code(), Code::ResourceExhausted);
    running.stop().await;
}

#[tokio::test]
async fn shutdown_ends_streams_and_removes_the_socket() {
    let server = Server::new(Options::default());
    let (_folder, path, running) = serve(&server);
    let mut client = Client::connect(dial(&path).await).await.unwrap();
    client.ask(Cluster, &[]).await;
    client.next().await.unwrap();
    let stopped = tokio::spawn(running.stop());
    assert_eq!(client.next().await.unwrap_err().code(), Code::Unavailable);
    soon(stopped).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_is_private_and_replaces_a_stale_one() {
    let server = Server::new(Options::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/ads");
    let first = server.ads.bind_unix(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(server.ads.bind_unix(&path), Err(ServeError::InUse(_))));
    // A process that is killed leaves its file behind.
    drop(first);
    assert!(path.exists());
    let _second = server.ads.bind_unix(&path).unwrap();
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(server.ads.bind_unix(&file), Err(ServeError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(matches!(server.ads.bind_unix(file.join("below")), Err(ServeError::Listen { .. })));
}
