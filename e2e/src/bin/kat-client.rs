//! kat-client: queries in, answers out.

use anyhow::{Context, Result};
use clap::Parser;
use e2e::kat::batch;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Sends every query of a JSON array and writes the array back with a `result` in each.
///
/// KAT_QUERY_LIMIT says how many queries run at the same time (25).
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Example:
  echo '[{\"url\": \"http://127.0.0.1:8080/\"}]' | kat-client"
)]
struct Arguments {
    /// Where the queries are; standard input when it is not given
    #[arg(long)]
    input: Option<PathBuf>,
    /// Where the answers go; standard output when it is not given
    #[arg(long)]
    output: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse_from(e2e::kat::go::flags(std::env::args_os()));
    let mut input = Vec::new();
    match &arguments.input {
        Some(path) => input = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => {
            std::io::stdin().read_to_end(&mut input)?;
        }
    }
    raise_file_limit();
    let limit = std::env::var("KAT_QUERY_LIMIT").ok().and_then(|text| text.parse().ok()).unwrap_or(batch::LIMIT);
    let output = batch::run(&input, limit).await?;
    match &arguments.output {
        Some(path) => {
            let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path);
            let written = file.and_then(|mut file| file.write_all(output.as_bytes()));
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => std::io::stdout().write_all(output.as_bytes())?,
    }
    Ok(())
}

/// Asks for as many open files as upstream's client does. What is not granted is not needed by most batches.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WANTED: u64 = 999_999;
    if setrlimit(Resource::RLIMIT_NOFILE, WANTED, WANTED).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard.min(WANTED), hard)
    {
        eprintln!("the limit of open files stays: {error}");
    }
}
