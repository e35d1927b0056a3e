//! The application behind the quickstart, as a program: one listener per argument.

use anyhow::Result;
use clap::Parser;
use e2e::sample::{self, Backend};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Answers every request with its own name, its version, and what reached it.
///
/// Example: sample-app hello=v1@127.0.0.1:18081 hello=v2@127.0.0.1:18082
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What to serve, and where
    #[arg(required = true, value_name = "NAME=VERSION@ADDRESS:PORT")]
    backends: Vec<Backend>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut serving = tokio::task::JoinSet::new();
    let (leave, leaving) = watch::channel(false);
    for backend in Arguments::parse().backends {
        let listener = sample::bind(&backend).await?;
        println!("{} {} listens on http://{}", backend.name, backend.version, listener.local_addr()?);
        serving.spawn(sample::serve(backend, listener, leaving.clone()));
    }
    // The first process of a container gets no signal that it does not ask for.
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {
            leave.send_replace(true);
            tokio::time::sleep(sample::LEAVING).await;
        }
    }
    Ok(())
}
