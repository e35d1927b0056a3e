//! What changes cost among many Mappings, from manifest files, as one table: no cluster is needed, and nothing but the gateway
//! and its Envoy is measured.

use crate::soak::client::request;
use crate::soak::delta::Delta;
use crate::soak::gateway::Programs;
use crate::soak::scale::{Layout, Scene, cpu, mapping, share};
use crate::soak::world::file;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// Changes a second in a storm, and how many.
const STORM: (u32, usize) = (50, 250);
/// Mappings that come at once.
const BURST: usize = 500;
/// Further clients of the stream.
const CLIENTS: usize = 100;
/// Requests of which Envoy's CPU time is the mean.
const REQUESTS: u32 = 4_000;
/// Between two changes, so that all that came of one is over before the next begins.
const REST: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Mappings; a column for each.
    pub mappings: Vec<usize>,
    /// Changes of each sort.
    pub rounds: usize,
}

/// Rows in the order in which they came, with a cell for each column.
#[derive(Default)]
struct Table {
    columns: Vec<String>,
    rows: Vec<(String, BTreeMap<usize, String>)>,
}

impl Table {
    fn column(&mut self, name: String) {
        self.columns.push(name);
    }

    /// In the present column.
    fn put(&mut self, row: &str, cell: String) {
        let column = self.columns.len();
        match self.rows.iter_mut().find(|(name, _)| name == row) {
            Some((_, cells)) => _ = cells.insert(column, cell),
            None => self.rows.push((row.to_owned(), [(column, cell)].into())),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", [&["".to_owned()], &self.columns[..]].concat().join(" | "), {
            " --- |".repeat(self.columns.len() + 1)
        });
        for (name, cells) in &self.rows {
            let cells = (1..=self.columns.len()).map(|column| cells.get(&column).map_or("", String::as_str));
            let _ = writeln!(text, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        text
    }
}

/// Measures and gives the table. `say` is told how far it is.
pub async fn measure(programs: &Programs, plan: &Plan, say: impl Fn(&str) -> Result<()>) -> Result<String> {
    let mut table = Table::default();
    for layout in [Layout::Star, Layout::Hosts] {
        for mappings in &plan.mappings {
            let name = match layout {
                Layout::Star => format!("{mappings} in `*`"),
                Layout::Hosts => format!("{mappings} in 100 TLS Hosts"),
            };
            say(&format!("{name}\n"))?;
            table.column(name);
            column(&mut table, programs, *mappings, layout, plan.rounds, &say).await?;
        }
    }
    Ok(table.text())
}

async fn column(
    table: &mut Table,
    programs: &Programs,
    mappings: usize,
    layout: Layout,
    rounds: usize,
    say: &impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("ads.sock");
    let mut programs = programs.clone();
    programs.arguments.extend(["--ads".to_owned(), format!("unix:{}", socket.display())]);
    let begun = Instant::now();
    let scene = Scene::start(&programs, mappings, layout).await?;
    table.put("from the start to readiness", milliseconds(begun.elapsed()));
    let control = scene.gateway.control_plane().context("no control plane")?;
    let envoy = scene.gateway.envoy().context("no Envoy")?;
    table.put("CPU of the control plane until then", format!("{:.0} ms", cpu(control)? * 1e3));

    for what in ["Mapping", "endpoint", "certificate", "Host"] {
        if what == "certificate" && layout == Layout::Star {
            continue;
        }
        say(&format!("  {what}\n"))?;
        scene.reset().await?;
        let (before, envoy_before) = (cpu(control)?, cpu(envoy)?);
        let mut times = Vec::new();
        for round in 0..rounds {
            times.push(scene.change(what, round).await?.as_secs_f64() * 1e3);
            sleep(REST).await;
        }
        let per = |used: f64| used * 1e3 / rounds as f64;
        let (own, envoys) = (per(cpu(control)? - before), per(cpu(envoy)? - envoy_before));
        let (median, slow) = (share(&mut times, 50), share(&mut times, 99));
        table.put(&format!("{what} → live, median (99 %)"), format!("{median:.1} ({slow:.1}) ms"));
        table.put(&format!("{what}: CPU of control plane / Envoy"), format!("{own:.1} / {envoys:.1} ms"));
    }
    scene.reset().await?;
    say("  storm, burst\n")?;
    let mut times = storm(&scene).await?;
    table.put(
        &format!("storm of {} changes/s → live, median (99 %)", STORM.0),
        format!("{:.0} ({:.0}) ms", share(&mut times, 50), share(&mut times, 99)),
    );
    table.put(&format!("burst of {BURST} Mappings, last write → all live"), milliseconds(burst(&scene).await?));
    say("  requests\n")?;
    table.put("Envoy's CPU for a request", format!("{:.0} µs", requests(&scene, mappings).await? * 1e6));
    say("  clients\n")?;
    let mut times = clients(&scene, &socket, rounds.min(10)).await?;
    table.put(
        &format!("Mapping → accepted by {CLIENTS} more clients, median"),
        format!("{:.1} ms", share(&mut times, 50)),
    );
    say("  restart\n")?;
    let (time, again) = restart(&scene).await?;
    table.put("control plane killed → Envoy has everything", milliseconds(time));
    table.put("responses with resources sent again", again.to_string());
    Ok(())
}

/// Changes at a steady pace, each of a Mapping of its own; the milliseconds from each to its first answer.
async fn storm(scene: &Scene) -> Result<Vec<f64>> {
    let mut ticks = interval(Duration::from_secs(1) / STORM.0);
    let mut waiting: JoinSet<Result<f64>> = JoinSet::new();
    for index in 0..STORM.1 {
        ticks.tick().await;
        let path = format!("/storm-{index}/");
        let begun = Instant::now();
        scene.gateway.write(&format!("storm-{index}.yaml"), &one(scene, &format!("storm-{index}"), &path))?;
        let (dialer, entry) = (scene.dialer.clone(), scene.entry());
        waiting.spawn(async move {
            let mut connection = dialer.http1(entry).await?.0;
            while connection.send(request(entry, false, &path, 0)?).await?.head.status != 200 {
                sleep(Duration::from_millis(3)).await;
            }
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut times = Vec::new();
    while let Some(time) = waiting.join_next().await {
        times.push(time??);
    }
    Ok(times)
}

/// Many Mappings at once; the time from the last one's file until all of them answer.
async fn burst(scene: &Scene) -> Result<Duration> {
    let paths: Vec<String> = (0..BURST).map(|index| format!("/burst-{index}/")).collect();
    for (index, path) in paths.iter().enumerate() {
        scene.gateway.write(&format!("burst-{index}.yaml"), &one(scene, &format!("burst-{index}"), path))?;
    }
    let begun = Instant::now();
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    for path in paths.iter().rev() {
        scene.until(&mut connection, path, "a", begun).await?;
    }
    Ok(begun.elapsed())
}

/// The mean of Envoy's CPU time for a request that the last Mapping answers.
async fn requests(scene: &Scene, mappings: usize) -> Result<f64> {
    let envoy = scene.gateway.envoy().context("no Envoy")?;
    let last = scene.last(mappings);
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    scene.until(&mut connection, &last, "a", Instant::now()).await?;
    let before = cpu(envoy)?;
    for _ in 0..REQUESTS {
        connection.send(request(scene.entry(), false, &last, 0)?).await?;
    }
    Ok((cpu(envoy)? - before) / f64::from(REQUESTS))
}

/// Further clients of the stream; the milliseconds until all of them have accepted a change.
async fn clients(scene: &Scene, socket: &Path, rounds: usize) -> Result<Vec<f64>> {
    let table = scene.table();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Delta::connect(socket, &table, true).await?);
    }
    for client in &mut clients {
        client.until_route("/switched/").await?;
    }
    let mut times = Vec::new();
    for round in 0..rounds {
        let path = format!("/client-{round}/");
        let begun = Instant::now();
        scene.gateway.write("client.yaml", &one(scene, "client", &path))?;
        for client in &mut clients {
            client.until_route(&path).await?;
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        sleep(REST).await;
    }
    Ok(times)
}

/// The time from the end of the control plane until another one knows that Envoy has everything, and the responses with
/// resources that it sent.
async fn restart(scene: &Scene) -> Result<(Duration, u64)> {
    let old = scene.gateway.control_plane().context("no control plane")?;
    kill(old, Signal::SIGKILL)?;
    let begun = Instant::now();
    loop {
        let is_new = scene.gateway.control_plane().is_some_and(|new| new != old);
        let clients = scene.gateway.clients().filter(|_| is_new);
        let live = clients
            .as_ref()
            .and_then(|clients| clients.as_array()?.iter().find(|client| number(client, "live_batch") > 0));
        if let Some(client) = live {
            let of = |one: &Value| {
                let wildcard = matches!(one.get("kind").and_then(Value::as_str), Some("CDS" | "LDS"));
                // The two wildcards are answered in any case, with nothing in it.
                number(one, "sent").saturating_sub(u64::from(wildcard))
            };
            let again = client.get("types").and_then(Value::as_array).into_iter().flatten().map(of).sum();
            return Ok((begun.elapsed(), again));
        }
        if begun.elapsed() > Duration::from_secs(120) {
            bail!("no control plane came back:\n{}", scene.gateway.output());
        }
        sleep(Duration::from_millis(2)).await;
    }
}

fn number(of: &Value, field: &str) -> u64 {
    of.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn one(scene: &Scene, name: &str, path: &str) -> String {
    file(&[mapping(name, &scene.hostname(), path, "a")])
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_cell_for_each_column() {
        let mut table = Table::default();
        table.column("one".into());
        table.put("a", "1".into());
        table.column("two".into());
        table.put("b", "2".into());
        assert_eq!(table.text(), "|  | one | two |\n| --- | --- | --- |\n| a | 1 |  |\n| b |  | 2 |\n");
    }
}
