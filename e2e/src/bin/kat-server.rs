//! kat-server: the backends of upstream's tests.

use anyhow::Result;
use clap::Parser;
use e2e::kat::server::Server;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Plays backends, as its environment says.
///
/// KAT_BACKEND_TYPE: http (default), grpc_echo, grpc_auth, grpc_rls, grpc_als, health_check_server.
/// BACKEND: its name; BACKEND_<port>: names of several. KAT_PORT and KAT_SSL_PORT: the first ports (8080, 8443).
/// The certificate is server.crt with server.key in the working folder, or one that it makes itself.
#[derive(Parser)]
#[command(version)]
struct Arguments {}

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::parse();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let server = Server::start(&environment, Path::new(".")).await?;
    for (clear, secure) in &server.addresses {
        eprintln!("listening on {clear} in clear text and on {secure} with TLS");
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        () = server.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
