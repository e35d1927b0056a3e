//! `probe`: what a cold start with many Mappings costs in a real cluster, and what changes cost from files, as a table.

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::cluster::{self, Cluster, Scope};
use e2e::probe::files::{self, Plan};
use e2e::probe::{self, Size};
use e2e::process;
use e2e::soak::gateway::Programs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

/// Measures `nuncio entrypoint` over many Mappings in a cluster of its own: CPU time, memory, time to serve, status
/// writing beside that of a bare client, edits meanwhile, and endpoints that move. Everything runs on this machine, the API server too.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// From manifest files and without a cluster: what changes, storms, requests and restarts cost among so many Mappings
    #[arg(long)]
    files: bool,
    /// Mappings to create; with --files a column of the table for each
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    mappings: Vec<usize>,
    /// With --files: changes of each sort; an endpoint moves a hundred times at least
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// With --files: do not kill the control plane to measure its restart. A program that is built to count what it runs
    /// keeps its counts then
    #[arg(long)]
    in_order: bool,
    /// With --files: worker threads of Envoy
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Services that they lead to; measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,10000")]
    services: Vec<usize>,
    /// Edits of one Mapping while statuses are written, and again when all is idle
    #[arg(long, default_value_t = 20)]
    edits: usize,
    /// The program to measure. Default: `nuncio` beside this one
    #[arg(long)]
    nuncio: Option<PathBuf>,
    /// This process is inside the cluster already.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> Result<ExitCode> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    let own = std::env::current_exe()?;
    let nuncio = arguments.nuncio.clone().unwrap_or_else(|| own.with_file_name("nuncio"));
    let envoy = e2e::envoy::binary().context("there is no Envoy; `make envoy` installs it")?;
    if arguments.files {
        let programs = Programs { nuncio, envoy, workers: arguments.workers, arguments: Vec::new(), guarded: true };
        let Arguments { mappings, rounds, in_order, .. } = arguments;
        let plan = Plan { mappings, rounds, in_order };
        let progress = |text: &str| Ok(std::io::stderr().write_all(text.as_bytes())?);
        let table = tokio::runtime::Runtime::new()?.block_on(files::measure(&programs, &plan, progress))?;
        std::io::stdout().write_all(table.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mappings = arguments.mappings.first().copied().unwrap_or(1);
    if arguments.inside {
        let services = arguments.services.first().copied().unwrap_or(1);
        let size = Size { mappings, services, edits: arguments.edits };
        let table = tokio::runtime::Runtime::new()?.block_on(probe::measure(&size, &nuncio, &envoy))?;
        std::io::stdout().write_all(table.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(reason) = cluster::obstacle(Scope::Whole) {
        bail!("{reason}");
    }
    for services in &arguments.services {
        // A cluster for each: what the API server keeps of one run would slow down the next.
        let cluster = Cluster::up_as_usual(&format!("probe-{}", std::process::id()))?;
        let mut command = cluster.command(&own);
        command.arg("--inside").arg("--services").arg(services.to_string());
        command.arg("--mappings").arg(mappings.to_string()).arg("--edits").arg(arguments.edits.to_string());
        command.arg("--nuncio").arg(std::path::absolute(&nuncio)?).env("NUNCIO_ENVOY", &envoy);
        let status = command.stdin(Stdio::null()).status()?;
        if !status.success() {
            bail!("the measurement failed: {status}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
