//! `make kat`: upstream's recorded cases in a cluster, against Nuncio as it is installed.

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::cluster::{self, Cluster, Scope};
use e2e::corpus::record::{Record, Row};
use e2e::corpus::verdict::Judged;
use e2e::corpus::{self, Tools, case, live, table};
use e2e::{envoy, process, quickstart};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Applies recorded cases to a test cluster, asks their queries from a pod, and compares with what upstream answered.
///
/// Exit status: 0 nothing became worse, 1 a case that was equal no longer is, or too few are; 2 could not run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the cases and the program that compares answers are
    #[arg(long, default_value = "../shared")]
    shared: PathBuf,
    /// The record of names and verdicts
    #[arg(long, default_value = "e2e/kat.txt")]
    record: PathBuf,
    /// Where the table goes
    #[arg(long, default_value = "target/kat.txt")]
    output: PathBuf,
    /// Only cases whose name contains one of these
    #[arg(long)]
    only: Vec<String>,
    /// Gateways at the same time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Write what became equal into the record
    #[arg(long)]
    update: bool,
    /// Keep queries and answers in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Run inside of a cluster that has everything, and write the verdicts into this file
    #[arg(long, hide = true, requires = "keep")]
    inside: Option<PathBuf>,
}

const HEADING: &str = "# Recorded cases in a cluster and how they come out; `make kat` holds it. Equal ones have to stay equal.\n\
    # Written by `make kat KAT=--update`, reasons by hand.\n";

fn main() -> ExitCode {
    match compare() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kat: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn compare() -> Result<ExitCode> {
    process::become_guarded()?;
    let arguments = Arguments::parse();
    let corpus = arguments.shared.join("corpus");
    let runner = arguments.shared.join("tools/corpus_runner.py");
    if !corpus.is_dir() || !runner.is_file() {
        println!("kat: skipped, there are no recorded cases in {}", arguments.shared.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut cases = live::chosen(case::all(&corpus.canonicalize()?)?)?;
    let is_wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part));
    cases.retain(|live| is_wanted(&live.case.name));
    if let Some(file) = &arguments.inside {
        return inside(&arguments, cases, &runner, file);
    }
    if let Some(reason) = cluster::obstacle(Scope::Whole) {
        println!("kat: skipped, there can be no cluster: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    envoy::binary().context("there is no Envoy; `make envoy` installs it")?;

    let started = Instant::now();
    let judged = in_cluster(&arguments)?;
    let record = match std::fs::read_to_string(&arguments.record) {
        Ok(text) => Record::parse(&text)?,
        Err(_) => Record::default(),
    };
    let rows: Vec<Row> = judged.iter().map(|one| record.row(one)).collect();
    let text = table::render(&rows);
    print!("{text}");
    println!("{} s", started.elapsed().as_secs());
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.output, &text).with_context(|| format!("cannot write {}", arguments.output.display()))?;
    if arguments.update {
        std::fs::write(&arguments.record, record.updated(HEADING, &rows))?;
    }
    let regressions = record.regressions(&rows, arguments.only.is_empty());
    for regression in &regressions {
        eprintln!("kat: {regression}");
    }
    Ok(if regressions.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Starts a cluster, installs what the manifests install, and runs this program again inside.
fn in_cluster(arguments: &Arguments) -> Result<Vec<Judged>> {
    let scratch = tempfile::Builder::new().prefix("nuncio-kat-").tempdir()?;
    let folder = arguments.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let cluster = Cluster::up(&format!("kat-{}", std::process::id()))?;
    if *cluster.scope() != Scope::Whole {
        bail!("there can be no whole cluster here");
    }
    let kubectl = |words: &[&str]| {
        let done = cluster.command("kubectl").args(words).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if done.success() { Ok(()) } else { bail!("kubectl {}", words.join(" ")) }
    };
    let install = repository().join("manifests/install");
    kubectl(&["apply", "-k", install.to_str().context("the path of the manifests")?])?;
    // Each case has a gateway of its own.
    kubectl(&["scale", "-n", "emissary", "deployment/emissary-ingress", "--replicas=0"])?;
    kubectl(&["rollout", "status", "-n", "emissary-system", "deployment/emissary-apiext", "--timeout=120s"])?;
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;

    let verdicts = folder.join("verdicts.json");
    let mut command: Command = cluster.command(std::env::current_exe()?);
    command
        .arg("--inside")
        .arg(&verdicts)
        .arg("--keep")
        .arg(&folder)
        .arg("--shared")
        .arg(arguments.shared.canonicalize()?);
    command.args(["--jobs", &arguments.jobs.to_string()]);
    for part in &arguments.only {
        command.args(["--only", part]);
    }
    if !command.stdin(Stdio::null()).status()?.success() {
        bail!("the run in the cluster failed");
    }
    Ok(serde_json::from_str(&std::fs::read_to_string(verdicts)?)?)
}

/// The part that runs in the cluster.
fn inside(arguments: &Arguments, cases: Vec<live::LiveCase>, runner: &Path, file: &Path) -> Result<ExitCode> {
    let (python, _) = corpus::install_tools()?;
    let tools = Tools {
        nuncio: quickstart::sibling("nuncio")?,
        kat: PathBuf::new(),
        envoy: PathBuf::new(),
        python,
        runner: runner.canonicalize()?,
        scratch: arguments.keep.clone().context("a folder for queries and answers")?,
        search: std::env::var_os("PATH").unwrap_or_default(),
    };
    // The first that is there counts, and another library of the graph may have asked for another one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let gateway = repository().join("manifests/install/gateway.yaml");
    let say = |judged: &Judged| {
        let verdict = if judged.equal { "equal" } else { "different" };
        eprintln!("{}: {verdict} {}", judged.name, judged.detail);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let judged = runtime.block_on(live::run(cases, tools, &gateway, arguments.jobs, say))?;
    std::fs::write(file, serde_json::to_vec(&judged)?)?;
    Ok(ExitCode::SUCCESS)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
