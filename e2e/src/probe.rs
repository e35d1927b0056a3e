//! A cold start with many Mappings in a real cluster, measured; and what changes cost, from files.

mod endpoints;
pub mod files;
mod histogram;

use crate::process::{Guard, descendants};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NAMESPACE: &str = "default";
/// Requests to the API server under way while objects are created.
const CREATING: usize = 16;
/// The same while the bare client writes statuses; more gains nothing, as the API server is what limits.
const WRITING: usize = 8;
/// The gateway's own histogram of what it heard of until Envoy had accepted it.
const TIME_TO_LIVE: &str = "nuncio_time_to_live_seconds";
/// For anything; a cold machine under load is slow, but not this slow.
const LIMIT: Duration = Duration::from_secs(900);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Mappings.
    pub mappings: usize,
    /// Services that they lead to.
    pub services: usize,
    /// Edits, each time.
    pub edits: usize,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    cpu: f64,
    resident: u64,
    peak: u64,
}

/// Measures `nuncio` in the cluster around this process; returns a table, or the gateway's last words with the error.
pub async fn measure(size: &Size, nuncio: &Path, envoy: &Path) -> Result<String> {
    let mut words = tempfile::tempfile()?;
    let outcome = measure_with(size, nuncio, envoy, &words).await;
    if outcome.is_err() {
        let mut text = String::new();
        words.rewind()?;
        words.read_to_string(&mut text)?;
        let last: Vec<&str> = text.lines().rev().filter(|line| !line.contains("ACCESS")).take(20).collect();
        last.iter().rev().for_each(|line| eprintln!("{line}"));
    }
    outcome
}

async fn measure_with(size: &Size, nuncio: &Path, envoy: &Path, words: &File) -> Result<String> {
    let mut config = Config::infer().await?;
    config.default_retry = true;
    let client = Client::try_from(config)?;
    let http: Http<HttpConnector, Empty<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    install_definitions()?;
    create(&client, size).await?;

    let mut command = Command::new(nuncio);
    command.args(["entrypoint", "--diag", "127.0.0.1:8877"]).env("NUNCIO_ENVOY", envoy);
    // Envoy's access log would bury the table.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words.try_clone()?);
    let started = Instant::now();
    let mut gateway = Guard::start("nuncio", &mut command)?;
    let control = until("the control plane", async || process(gateway.pid(), "control-plane")).await?;
    until("Envoy", async || (get(&http, 8006, "/ready").await == 200).then_some(())).await?;
    let envoy_up = started.elapsed();
    let proxy = until("Envoy's process", async || running(gateway.pid(), envoy)).await?;
    let last = format!("/m{}/", size.mappings - 1);
    until("the last Mapping", async || answers(&http, &last).await.then_some(())).await?;
    let serving = started.elapsed();
    let cold = used(control)?;

    let all_written = async {
        until("all statuses", async || (ready(&client, size.mappings).await.ok()? >= size.mappings).then_some(()))
            .await?;
        Ok(started.elapsed())
    };
    let (writing, written) = tokio::try_join!(edits(&client, &http, size.edits, "busy"), all_written)?;
    let after = used(control)?;
    let idle = edits(&client, &http, size.edits, "idle").await?;
    let endpoints = endpoints::moves(&client, &http, control, proxy).await?;
    gateway.end(Duration::from_secs(60))?;
    let bare = bare_patches(&client, size.mappings).await?;

    let mut table = String::new();
    let mut row = |name: &str, value: String| _ = writeln!(table, "| {name:<58} | {value:>12} |");
    row(&format!("{} Mappings, {} Services", size.mappings, size.services), String::new());
    row("CPU of the control plane until the last one answers", format!("{:.2} s", cold.cpu));
    row("its memory then (peak)", format!("{} ({}) MiB", cold.resident, cold.peak));
    row("from the start until the last one answers", format!("{:.2} s", serving.as_secs_f64()));
    row("the same, from the moment Envoy is up", format!("{:.2} s", (serving - envoy_up.min(serving)).as_secs_f64()));
    let writing_time = written - serving.min(written);
    row("from there until all statuses are true", format!("{:.1} s", writing_time.as_secs_f64()));
    row("a bare client's status patches, one for each Mapping", format!("{:.1} s", bare.as_secs_f64()));
    row("CPU of the control plane for statuses and edits", format!("{:.2} s", after.cpu - cold.cpu));
    row("its memory with all statuses (peak)", format!("{} ({}) MiB", after.resident, after.peak));
    row(&format!("median time to live of {} edits meanwhile", size.edits), format!("{:.0} ms", median(writing)));
    row(&format!("median time to live of {} edits when idle", size.edits), format!("{:.0} ms", median(idle)));
    endpoints.rows(&mut row);
    Ok(table)
}

fn install_definitions() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    let kubectl = |arguments: &[&str]| -> Result<()> {
        let output = Command::new("kubectl").args(arguments).output().context("kubectl")?;
        if !output.status.success() {
            bail!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    };
    kubectl(&["apply", "--server-side", "-f", &folder.to_string_lossy()])?;
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])
}

async fn create(client: &Client, size: &Size) -> Result<()> {
    let base = [
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Listener", "metadata": {"name": "http"},
            "spec": {"port": 8080, "protocol": "HTTP", "securityModel": "INSECURE",
                     "hostBinding": {"namespace": {"from": "SELF"}}}}),
        json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Host", "metadata": {"name": "all"},
            "spec": {"hostname": "*", "acmeProvider": {"authority": "none"},
                     "requestPolicy": {"insecure": {"action": "Route"}}}}),
        mapping("edited", "/edited-0/", 0),
    ];
    let services = (0..size.services).map(|index| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{index}")},
            "spec": {"ports": [{"name": "http", "port": 80}]}})
    });
    let mappings =
        (0..size.mappings).map(|index| mapping(&format!("m{index}"), &format!("/m{index}/"), index % size.services));
    stream::iter(base.into_iter().chain(services).chain(mappings))
        .map(|object| async {
            let api = api(client, &object)?;
            let object: DynamicObject = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await.map(|_| ()).map_err(anyhow::Error::from)
        })
        .buffer_unordered(CREATING)
        .try_collect()
        .await
}

fn mapping(name: &str, prefix: &str, service: usize) -> Value {
    json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": name, "labels": {"app": "probe"}},
        "spec": {"hostname": "*", "prefix": prefix, "service": format!("s{service}"), "timeout_ms": 5000}})
}

fn api(client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).context("no kind");
    let (group, version) = text("apiVersion")?.rsplit_once('/').unwrap_or(("", "v1"));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")?));
    Ok(Api::namespaced_with(client.clone(), NAMESPACE, &resource))
}

fn mappings(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("getambassador.io", "v3alpha1", "Mapping"));
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// Edits one Mapping again and again; the milliseconds from each edit until Envoy routes by it.
async fn edits(
    client: &Client,
    http: &Http<HttpConnector, Empty<Bytes>>,
    count: usize,
    word: &str,
) -> Result<Vec<f64>> {
    let api = mappings(client);
    let mut times = Vec::new();
    for index in 0..count {
        let prefix = format!("/{word}-{index}/");
        let begun = Instant::now();
        let patch = json!({"spec": {"prefix": prefix}});
        api.patch("edited", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        until("an edit", async || answers(http, &prefix).await.then_some(())).await?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        // Apart from each other, so that they meet different moments of the writing.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(times)
}

/// How many Mappings say that they are ready, once `least` statuses are written: the answer costs the API server as much as
/// many writes.
async fn ready(client: &Client, least: usize) -> Result<usize> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = text(8877, "/metrics").await?;
    let number = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let written = number("nuncio_status_writes_total").unwrap_or(0.0);
    if (written as usize) < least {
        return Ok(0);
    }
    let is_ready = |object: &DynamicObject| {
        let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
        conditions
            .into_iter()
            .flatten()
            .any(|one| one.get("type") == Some(&json!("Ready")) && one.get("status") == Some(&json!("True")))
    };
    let (mut count, mut from) = (0, ListParams::default().limit(500));
    loop {
        let page = mappings(client).list(&from).await?;
        count += page.items.iter().filter(|object| is_ready(object)).count();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => from = from.continue_token(&token),
            None => return Ok(count),
        }
    }
}

/// The floor: the same number of status patches of the same size by a client that does nothing else.
async fn bare_patches(client: &Client, count: usize) -> Result<Duration> {
    let api = mappings(client);
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": kind, "message": "written by the probe",
               "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1})
    };
    let kinds = ["Accepted", "ResolvedRefs", "Programmed", "Ready", "BackendsReady"];
    let status = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "status": {"state": "Running", "conditions": kinds.map(condition)}});
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|index| {
            let (api, status) = (&api, &status);
            async move {
                let params = PatchParams::apply("probe").force();
                api.patch_status(&format!("m{index}"), &params, &Patch::Apply(status)).await.map(|_| ())
            }
        })
        .buffer_unordered(WRITING)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

/// A route answers when Envoy knows it: the Services have no endpoints, so that nothing but Envoy is measured.
async fn answers(http: &Http<HttpConnector, Empty<Bytes>>, path: &str) -> bool {
    !matches!(get(http, 8080, path).await, 0 | 404)
}

async fn get(http: &Http<HttpConnector, Empty<Bytes>>, port: u16, path: &str) -> u16 {
    let Ok(uri) = format!("http://127.0.0.1:{port}{path}").parse() else { return 0 };
    let answer = tokio::time::timeout(Duration::from_secs(5), http.get(uri)).await;
    answer.ok().and_then(Result::ok).map_or(0, |answer| answer.status().as_u16())
}

async fn text(port: u16, path: &str) -> Result<String> {
    let http: Http<HttpConnector, Empty<Bytes>> = Http::builder(TokioExecutor::new()).build_http();
    let answer = http.get(format!("http://127.0.0.1:{port}{path}").parse()?).await?;
    Ok(String::from_utf8_lossy(&answer.into_body().collect().await?.to_bytes()).into_owned())
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if begun.elapsed() > LIMIT {
            bail!("{what} did not come");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The descendant with that word among its first arguments.
fn process(root: Pid, word: &str) -> Option<Pid> {
    descendants(root).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).take(3).any(|argument| argument == word.as_bytes())
    })
}

/// The descendant that runs that program.
fn running(root: Pid, program: &Path) -> Option<Pid> {
    let program = program.canonicalize().ok()?;
    descendants(root)
        .into_iter()
        .find(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program))
}

/// From `/proc`: CPU time of all threads, resident memory, and its peak, in MiB.
fn used(pid: Pid) -> Result<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // Fields 14 and 15 of proc_pid_stat(5), of which the first two are cut off; a tick is 10 ms on every Linux.
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    Ok(Used { cpu: (ticks(11) + ticks(12)) / 100.0, resident: memory("VmRSS:"), peak: memory("VmHWM:") })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something() {
        let own = used(Pid::this()).unwrap();
        assert!(own.resident > 0 && own.peak >= own.resident, "{own:?}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
