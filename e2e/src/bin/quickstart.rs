//! `make run`: the sample application and `nuncio serve` over the quickstart manifests.

use anyhow::Result;
use clap::Parser;
use e2e::{process, quickstart};
use std::path::PathBuf;
use std::process::ExitCode;

/// Serves the quickstart manifests with a sample application behind them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder of the quickstart manifests
    #[arg(long, default_value = "manifests/quickstart")]
    manifests: PathBuf,
    /// The nuncio binary [default: the one beside this program]
    #[arg(long)]
    nuncio: Option<PathBuf>,
    /// End as on Ctrl-C when the process that started this one ends
    #[arg(long)]
    end_with_parent: bool,
    /// Further arguments of `nuncio serve`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    if arguments.end_with_parent {
        quickstart::end_with_parent()?;
    }
    let nuncio = match arguments.nuncio {
        Some(path) => path,
        None => quickstart::sibling("nuncio")?,
    };
    let options = quickstart::Options { manifests: arguments.manifests, nuncio, arguments: arguments.arguments };
    let status = quickstart::run(&options).await?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
