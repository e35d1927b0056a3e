//! `load`: steady requests until the standard input ends; then a line of JSON says what became of them.

use anyhow::Result;
use clap::Parser;
use e2e::load::{Load, Style};
use e2e::process;
use http::Uri;
use std::io::{Read, Write};
use std::time::Duration;

/// Sends requests over HTTP/1.1 with and without keep-alive, and over HTTP/2, and counts what is not answered with 200.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to, as http://HOST[:PORT]/PATH
    url: Uri,
    /// The name asked for, if it is another one
    #[arg(long)]
    host: Option<String>,
    /// Clients of each kind
    #[arg(long, default_value_t = 2)]
    clients: usize,
    /// Milliseconds between two requests of one client
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    let load = Load::new(&arguments.url, arguments.host.as_deref(), Duration::from_millis(arguments.pause))?;
    for style in Style::ALL {
        for _ in 0..arguments.clients {
            let load = load.clone();
            tokio::spawn(async move { load.client(style).await });
        }
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&load.tally())?)?;
    Ok(())
}
