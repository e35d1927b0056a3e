//! `soak`: a gateway that is edited at random under load, and must not lose a request.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use e2e::process;
use e2e::soak::gateway::Programs;
use e2e::soak::scale::{Layout, Target};
use e2e::soak::walk::Variants;
use e2e::soak::{self, Options};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Everything runs on this machine: `nuncio serve` over files, a real Envoy, backends and clients. Exit status 1 when
/// anything was lost.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The program to test. Default: `nuncio` beside this one
    #[arg(long, global = true)]
    nuncio: Option<PathBuf>,
    /// Worker threads of Envoy
    #[arg(long, global = true, default_value_t = 2)]
    workers: u32,
    /// A further argument of `nuncio serve`; may be given several times
    #[arg(long, global = true, allow_hyphen_values = true)]
    argument: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// A random walk over Mappings, Hosts, TLSContexts, Secrets, Services, EndpointSlices and the Module
    Edits(Edits),
    /// Switches of one Mapping among many to Services that nobody used before, under 200 requests a second
    Switches(Scale),
    /// How soon a change is live among many Mappings, and what it costs
    Live(Scale),
    /// Memory of the control plane while Mappings and Services come and go
    Churn(Scale),
}

#[derive(Args)]
struct Scale {
    /// Mappings; one run for each
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    mappings: Vec<usize>,
    /// Switches, or changes of each sort
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Of the switches, only those to names that Envoy resolves
    #[arg(long)]
    only_names: bool,
}

#[derive(Args)]
struct Edits {
    /// Edits
    #[arg(long, default_value_t = 1000)]
    edits: usize,
    /// Where the walk begins. Default: another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Clients of each sort at each entry
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Milliseconds between two requests of a client
    #[arg(long, default_value_t = 10)]
    pause: u64,
    /// Endpoints of new Services come late
    #[arg(long)]
    late: bool,
    /// A Mapping to a name that does not resolve comes and goes
    #[arg(long)]
    stuck: bool,
    /// The control plane is killed or stopped from time to time
    #[arg(long)]
    kill: bool,
}

fn main() -> Result<ExitCode> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    let own = std::env::current_exe()?;
    let programs = Programs {
        nuncio: arguments.nuncio.unwrap_or_else(|| own.with_file_name("nuncio")),
        envoy: e2e::envoy::binary().context("there is no Envoy; `make envoy` installs it")?,
        workers: arguments.workers,
        arguments: arguments.argument,
        guarded: true,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.command {
        Command::Edits(edits) => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let seed = edits.seed.unwrap_or(since.subsec_nanos().into());
            let variants = Variants { late: edits.late, stuck: edits.stuck, kill: edits.kill };
            let pause = Duration::from_millis(edits.pause);
            say(&format!("seed {seed}: {} edits, {variants:?}\n", edits.edits))?;
            let options = Options { edits: edits.edits, seed, clients: edits.clients, pause, variants };
            let outcome = runtime.block_on(soak::run(&programs, &options))?;
            say(&outcome.text)?;
            Ok(if outcome.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Switches(scale) => {
            let mut lost = 0;
            for mappings in scale.mappings {
                for target in [Target::Slices, Target::ClusterIp, Target::Name] {
                    if scale.only_names && target != Target::Name {
                        continue;
                    }
                    let work = soak::scale::switches(&programs, mappings, target, scale.rounds);
                    let (line, failures) = runtime.block_on(work)?;
                    say(&line)?;
                    lost += failures;
                }
            }
            Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Churn(scale) => {
            for mappings in scale.mappings {
                say(&runtime.block_on(soak::scale::churn(&programs, mappings, scale.rounds))?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Live(scale) => {
            for layout in [Layout::Star, Layout::Hosts] {
                for mappings in &scale.mappings {
                    runtime.block_on(soak::scale::live(&programs, *mappings, layout, scale.rounds, say))?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
