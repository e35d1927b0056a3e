//! Runs one case.

use super::Tools;
use super::case::Case;
use super::verdict::{Judged, Observed};
use crate::process;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A case with 1000 queries, each with a delay, takes less.
const LONGEST: Duration = Duration::from_secs(240);

/// Compares answers that depend on chance; prints what the rest of this module reads.
const COMPARE: &str = include_str!("compare.py");

/// Runs the case, or with `reference` upstream's own configuration of it, and says what it means.
pub fn case(case: &Case, tools: &Tools, reference: bool) -> Judged {
    let observed = observe(case, tools, reference);
    super::verdict::judge(case, observed)
}

fn observe(case: &Case, tools: &Tools, reference: bool) -> Observed {
    let folder = tools.scratch.join(&case.name);
    let mut observed = Observed::default();
    let outcome = std::fs::create_dir_all(&folder).map_err(anyhow::Error::from).and_then(|()| {
        if reference {
            return answers(case, tools, None, &folder, &mut observed);
        }
        observed.status = check(case, tools, "status")?;
        let candidate = check(case, tools, "bootstrap")?;
        let path = folder.join("candidate.json");
        std::fs::write(&path, serde_json::to_vec(&candidate)?)?;
        if case.has_answers {
            answers(case, tools, Some(&path), &folder, &mut observed)
        } else {
            validate(tools, &path, &mut observed)
        }
    });
    if let Err(error) = outcome {
        observed.failure = Some(format!("{error:#}"));
    }
    observed
}

/// What `nuncio check` prints about the case.
pub(super) fn check(case: &Case, tools: &Tools, output: &str) -> Result<Value> {
    let mut command = clean(&tools.nuncio);
    command.envs(case.environment.iter().map(|(name, value)| (name, value)));
    command.args(["check", "--output", output]);
    for file in &case.assumed {
        command.args(["--assume-file", file]);
    }
    let done = command.arg(case.folder.join("manifests.yaml")).output().context("cannot start nuncio")?;
    if !matches!(done.status.code(), Some(0 | 1)) {
        bail!("nuncio check: {}", last_line(&done.stderr));
    }
    serde_json::from_slice(&done.stdout).context("nuncio check printed no JSON")
}

/// A command with nothing of the caller's environment but the search path.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).stdin(Stdio::null());
    command
}

fn validate(tools: &Tools, candidate: &Path, observed: &mut Observed) -> Result<()> {
    let mut command = clean(&tools.envoy);
    command.args(["--mode", "validate", "-l", "error", "--use-dynamic-base-id", "-c"]).arg(candidate);
    let done = command.output().context("cannot start Envoy")?;
    let said = String::from_utf8_lossy(&done.stderr);
    // A log file in a folder that this machine lacks says nothing about the configuration.
    if !done.status.success() && !said.contains("unable to open file") {
        observed.envoy_refuses = Some(last_line(&done.stderr));
    }
    Ok(())
}

/// Runs the queries. The runner, Envoy and the backends live in namespaces of their own and end together.
fn answers(case: &Case, tools: &Tools, candidate: Option<&Path>, folder: &Path, observed: &mut Observed) -> Result<()> {
    let mut command = process::guarded(Path::new("unshare"))?;
    if !is_root() {
        command.args(["-U", "-r"]);
    }
    // The first process of a process namespace takes all others with it.
    command.args(["-m", "-n", "-p", "-f", "--kill-child", "--mount-proc"]);
    command.arg(&tools.python).arg(&tools.runner).arg(&case.folder);
    command.arg("--envoy").arg(&tools.envoy).arg("--kat-bin").arg(&tools.kat).arg("--out-dir").arg(folder);
    match candidate {
        Some(candidate) => command.arg("--config").arg(candidate),
        None => command.arg("--new-envoy"),
    };
    command.env("PATH", &tools.search).env("TMPDIR", folder).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let log = std::fs::File::create(folder.join("runner.log"))?;
    command.stdout(log.try_clone()?).stderr(log);
    let mut child = process::Guard::start("the corpus runner", &mut command)?;
    let status = child.wait(LONGEST)?;
    let said = std::fs::read(folder.join("runner.log")).unwrap_or_default();
    match status.code() {
        Some(0) => {
            observed.answers_differ = Some(0);
            Ok(())
        }
        Some(1) => compare(case, tools, folder, observed),
        _ => bail!("{}", last_line(&said)),
    }
}

pub(super) fn compare(case: &Case, tools: &Tools, folder: &Path, observed: &mut Observed) -> Result<()> {
    let result = folder.join(case.folder.file_name().unwrap_or_default()).with_extension("json");
    let library = tools.runner.parent().unwrap_or(Path::new("."));
    let mut command = clean(&tools.python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["-c", COMPARE]).arg(library).arg(&case.folder).arg(result);
    let Output { status, stdout, stderr } = command.output().context("cannot start Python")?;
    if !status.success() {
        bail!("comparing: {}", last_line(&stderr));
    }
    let compared: Value = serde_json::from_slice(&stdout).context("the comparison printed no JSON")?;
    observed.answers_differ = compared.get("differ").and_then(Value::as_u64);
    observed.distribution = compared.get("distribution").and_then(Value::as_bool).unwrap_or_default();
    observed.first_difference = compared.get("first").and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of a process's folder in /proc is its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said").chars().take(400).collect()
}
