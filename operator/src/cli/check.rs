//! `nuncio check`: the whole compiler, offline.

use super::args::{CheckArgs, CheckOutput};
use crate::feed::files::{Folder, Sources};
use crate::settings::Environment;
use crate::snapshot::Snapshot;
use crate::view;
use anyhow::Context;
use compiler::{Change, Compiler, WantedChanges};
use envoy::Renderer;
use envoy::bootstrap::BootstrapOptions;
use ir::{Effect, Verdict};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Rounds of naming, answering and compiling; each one follows what the one before brought up.
const ROUNDS: usize = 16;

/// Compiles the manifests and prints what is asked for.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let Compiled { compiler, folder, environment } = compiled(&args.paths, &args.assume_file)?;
    let options = environment.options();
    let verdicts = compiler.verdicts();
    let problems = folder.problems();
    let text = match args.output {
        CheckOutput::Problems => lines(&verdicts, &folder),
        CheckOutput::Envoy => {
            let delta = Renderer::new(envoy::Options::default()).apply(&compiler.rows(), 1);
            pretty(&envoy::dump::resources(delta.upserts.iter().map(|resource| &**resource))?)?
        }
        CheckOutput::Ir => format!("{:#?}\n", compiler.rows()),
        CheckOutput::Status => {
            let mut snapshot = Snapshot::default();
            snapshot.rows(&compiler.rows());
            let all: Vec<_> = verdicts.iter().map(|verdict| (verdict.about.clone(), Some(verdict.clone()))).collect();
            snapshot.verdicts(&all, 1);
            snapshot.problems = Arc::new(problems.clone());
            pretty(&serde_json::to_value(view::status_report(&snapshot, &options))?)?
        }
        CheckOutput::Bootstrap => {
            let mut bootstrap = BootstrapOptions::new(&options.ambassador_id, &options.namespace);
            bootstrap.node_cluster = environment.node_cluster();
            bootstrap.ready = None;
            pretty(&envoy::bootstrap::static_bootstrap(&compiler.rows(), &bootstrap)?)?
        }
    };
    super::print(&text)?;
    // Sources that do not parse are told with every output, or a script would miss them.
    for problem in &problems {
        eprintln!("{problem}");
    }
    let bad = verdicts.iter().any(|verdict| !verdict.accepted || verdict.leading().is_some());
    Ok(if bad || !problems.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Manifests and what comes of them.
pub(super) struct Compiled {
    pub compiler: Compiler,
    pub folder: Folder,
    pub environment: Environment,
}

/// Compiles manifests; those files count as existing.
pub(super) fn compiled(paths: &[PathBuf], assumed: &[String]) -> anyhow::Result<Compiled> {
    let environment = Environment::of_process();
    let mut folder = folder(&environment, paths, assumed)?;
    let mut compiler = Compiler::new(environment.options());
    let wanted = feed(&mut compiler, folder.rescan().take());
    answer(&mut compiler, &mut folder, wanted);
    Ok(Compiled { compiler, folder, environment })
}

/// Compiles manifests with others laid over them, object by object, as applying those to a cluster would.
pub(super) fn overlaid(path: &Path, over: &Path) -> anyhow::Result<Compiled> {
    let mut below = compiled(&[path.to_owned()], &[])?;
    let mut folder = folder(&below.environment, &[over.to_owned()], &[])?;
    let wanted = feed(&mut below.compiler, folder.rescan().take());
    answer(&mut below.compiler, &mut below.folder, wanted);
    Ok(Compiled { folder, ..below })
}

/// Files and folders that exist, to be read.
pub(super) fn folder(environment: &Environment, paths: &[PathBuf], assumed: &[String]) -> anyhow::Result<Folder> {
    for path in paths {
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(Folder::new(Sources {
        roots: paths.to_vec(),
        namespace: environment.options().namespace,
        expansion: environment.expansion(),
        ports: None,
        assumed: assumed.iter().map(|path| path.as_str().into()).collect(),
        elsewhere: false,
    }))
}

fn feed(compiler: &mut Compiler, changes: Vec<Change>) -> WantedChanges {
    compiler.apply(changes).wanted
}

fn answer(compiler: &mut Compiler, folder: &mut Folder, wanted: WantedChanges) {
    // Asking files does not fail.
    let _ = settle(compiler, wanted, |wanted| Ok(folder.want(wanted).take()));
}

/// Answers what the compiler wants to know until it wants nothing more.
pub(super) fn settle(
    compiler: &mut Compiler,
    mut wanted: WantedChanges,
    mut ask: impl FnMut(&WantedChanges) -> anyhow::Result<Vec<Change>>,
) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        if wanted == WantedChanges::default() {
            break;
        }
        wanted = feed(compiler, ask(&wanted)?);
    }
    Ok(())
}

/// `file:line: Kind namespace/name: refused: Reason field: text`, and a last line that counts.
fn lines(verdicts: &[Arc<Verdict>], folder: &Folder) -> String {
    let mut text = String::new();
    let (mut refused, mut degraded) = (0, 0);
    for verdict in verdicts {
        match (verdict.accepted, verdict.leading()) {
            (false, _) => refused += 1,
            (true, Some(_)) => degraded += 1,
            (true, None) => {}
        }
        for problem in &verdict.problems {
            let word = match problem.effect {
                Effect::Refused => "refused",
                Effect::Degraded => "degraded",
                Effect::Notice => "notice",
            };
            let place = folder.place(&problem.about).or_else(|| folder.place(&verdict.about));
            let place = place.map(|(path, line)| format!("{}:{line}: ", path.display())).unwrap_or_default();
            // Writing into a string does not fail.
            let detail: String = problem.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(text, "{place}{}: {word}: {} {detail}", verdict.about, problem.kind);
        }
    }
    let count = verdicts.len();
    let _ = writeln!(text, "{count} objects in {} files: {refused} refused, {degraded} degraded", folder.files());
    text
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
