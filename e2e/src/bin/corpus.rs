//! `make corpus`: upstream's recorded cases against Nuncio.

use anyhow::{Context, Result};
use clap::Parser;
use e2e::corpus::record::{Record, Row};
use e2e::corpus::{Tools, case, install_tools, run, table};
use e2e::{envoy, process, quickstart};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Runs recorded cases and compares with what upstream answered.
///
/// Exit status: 0 nothing became worse, 1 a case that was equal no longer is, or too few are; 2 could not run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the cases and the program that compares answers are
    #[arg(long, default_value = "../shared")]
    shared: PathBuf,
    /// The record of names and verdicts
    #[arg(long, default_value = "e2e/corpus.txt")]
    record: PathBuf,
    /// Where the table goes
    #[arg(long, default_value = "target/corpus.txt")]
    output: PathBuf,
    /// Only cases whose name contains one of these
    #[arg(long)]
    only: Vec<String>,
    /// Cases at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run upstream's own configurations, to see which recorded answers these tools and this Envoy give at all
    #[arg(long)]
    reference: bool,
    /// Write what became equal into the record
    #[arg(long)]
    update: bool,
    /// Keep the results of the cases in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
}

const HEADING: &str = "# Recorded cases and how they come out; `make corpus` holds it. Equal ones have to stay equal.\n\
    # Written by `make corpus CORPUS=--update`, reasons by hand.\n";

fn main() -> ExitCode {
    match compare() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corpus: {error:#}");
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
        println!("corpus: skipped, there are no recorded cases in {}", arguments.shared.display());
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = tempfile::tempdir()?;
    let (python, path) = install_tools()?;
    let search = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let search = [path].into_iter().chain(std::env::split_paths(&search)).chain(system);
    let tools = Tools {
        nuncio: quickstart::sibling("nuncio")?,
        kat: quickstart::sibling("kat-client")?.parent().unwrap_or(Path::new(".")).to_owned(),
        envoy: envoy::binary().context("there is no Envoy; `make envoy` installs it")?,
        python,
        runner: runner.canonicalize()?,
        scratch: arguments.keep.clone().unwrap_or_else(|| scratch.path().to_owned()),
        search: std::env::join_paths(search)?,
    };
    std::fs::create_dir_all(&tools.scratch)?;
    let tools = Tools { scratch: tools.scratch.canonicalize()?, ..tools };
    let record = match std::fs::read_to_string(&arguments.record) {
        Ok(text) => Record::parse(&text)?,
        Err(_) => Record::default(),
    };
    let complete = arguments.only.is_empty() && !arguments.reference;
    let mut cases = case::all(&corpus.canonicalize()?)?;
    cases.retain(|case| arguments.only.is_empty() || arguments.only.iter().any(|part| case.name.contains(part)));
    cases.retain(|case| case.has_answers || !arguments.reference);

    let started = Instant::now();
    let rows = in_parallel(&cases, arguments.jobs, |case| {
        let judged = run::case(case, &tools, arguments.reference);
        let row = record.row(&judged);
        eprintln!("{}: {} {}", row.name, row.column.heading(), judged.detail);
        row
    });
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
    if arguments.reference {
        return Ok(ExitCode::SUCCESS);
    }
    let regressions = record.regressions(&rows, complete);
    for regression in &regressions {
        eprintln!("corpus: {regression}");
    }
    Ok(if regressions.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The rows in the order of the cases.
fn in_parallel(cases: &[case::Case], jobs: usize, judge: impl Fn(&case::Case) -> Row + Sync) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::with_capacity(cases.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = judge(case);
                    if let Ok(mut rows) = rows.lock() {
                        rows.push(row);
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by(|a: &Row, b: &Row| a.name.cmp(&b.name));
    rows
}
