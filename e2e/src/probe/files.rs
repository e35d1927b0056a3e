//! What changes cost among many Mappings, from manifest files, as one table: no cluster is needed, and nothing but the gateway
//! and its Envoy is measured.

use super::TIME_TO_LIVE;
use super::histogram::Histogram;
use crate::soak::client::request;
use crate::soak::delta::Delta;
use crate::soak::gateway::Programs;
use crate::soak::scale::{Layout, Scene, cpu, cpu_of_main, mapping, share};
use crate::soak::world::file;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{interval, sleep};

/// Changes a second in a storm, and how many.
const STORM: (u32, usize) = (50, 250);
/// Mappings that come at once.
const BURST: usize = 500;
/// Further clients of the stream.
const CLIENTS: usize = 100;
/// Requests of which Envoy's CPU time is the mean.
const REQUESTS: u32 = 4_000;
/// Moves of an endpoint, at least.
const ENDPOINTS: usize = 100;
const REQUEST: &str = "Envoy's CPU for a request";
/// Between two changes, so that all that came of one is over before the next begins.
const REST: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Mappings; a column for each.
    pub mappings: Vec<usize>,
    /// Changes of each sort.
    pub rounds: usize,
    /// Nothing is killed. A program that counts what it runs writes that down only when it ends in good order.
    pub in_order: bool,
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
    for layout in [Layout::Star, Layout::Hosts, Layout::Regex] {
        // One alone is no table of expressions.
        for mappings in plan.mappings.iter().filter(|mappings| layout != Layout::Regex || **mappings > 1) {
            let name = match layout {
                Layout::Star => format!("{mappings} in `*`"),
                Layout::Hosts => format!("{mappings} in 100 TLS Hosts"),
                Layout::Regex => format!("{mappings} regular expressions in `*`"),
            };
            say(&format!("{name}\n"))?;
            table.column(name);
            column(&mut table, programs, *mappings, layout, plan, &say).await?;
        }
    }
    Ok(table.text())
}

async fn column(
    table: &mut Table,
    programs: &Programs,
    mappings: usize,
    layout: Layout,
    plan: &Plan,
    say: &impl Fn(&str) -> Result<()>,
) -> Result<()> {
    let rounds = plan.rounds;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("ads.sock");
    let mut programs = programs.clone();
    programs.arguments.extend(["--ads".to_owned(), format!("unix:{}", socket.display())]);
    let begun = Instant::now();
    let mut scene = Scene::start(&programs, mappings, layout).await?;
    table.put("from the start to readiness", milliseconds(begun.elapsed()));
    let control = scene.gateway.control_plane().context("no control plane")?;
    let envoy = scene.gateway.envoy().context("no Envoy")?;
    table.put("CPU of the control plane until then", format!("{:.0} ms", cpu(control)? * 1e3));

    for what in ["Mapping", "endpoint", "certificate", "Host"] {
        if what == "certificate" && layout != Layout::Hosts || what == "Host" && layout == Layout::Regex {
            continue;
        }
        say(&format!("  {what}\n"))?;
        scene.reset().await?;
        let used = || Ok::<_, anyhow::Error>([cpu(control)?, cpu(envoy)?, cpu_of_main(envoy)?]);
        let times = || Histogram::read(&scene.gateway.page("/metrics").context("no metrics")?, TIME_TO_LIVE);
        // They cost little, and the slowest of a few would stand for one in a hundred.
        let rounds = if what == "endpoint" { rounds.max(ENDPOINTS) } else { rounds };
        let (told, before) = (times()?, used()?);
        let mut live = Vec::new();
        for round in 0..rounds {
            live.push(scene.change(what, round).await?.as_secs_f64() * 1e3);
            sleep(REST).await;
        }
        let after = used()?;
        let [own, envoys, main] = std::array::from_fn(|of| {
            let [after, before] = [&after, &before].map(|used| used.get(of).copied().unwrap_or(0.0));
            (after - before) * 1e3 / rounds as f64
        });
        let (median, slow) = (share(&mut live, 50), share(&mut live, 99));
        table.put(&format!("{what} → live, median (99 %)"), format!("{median:.1} ({slow:.1}) ms"));
        if what == "endpoint" {
            table.put("endpoint: heard of → accepted by Envoy, mean (99 %)", times()?.since(&told));
        }
        // What the main thread needs to take it in is the floor; the workers answer whoever asks whether it is live.
        let cell = format!("{own:.1} / {main:.1} / {:.1} ms", envoys - main);
        table.put(&format!("{what}: CPU of control plane / Envoy's main thread / its workers"), cell);
    }
    scene.reset().await?;
    if layout == Layout::Regex {
        // Envoy tries one expression after the other: to ask whether something is live would outweigh what is measured.
        say("  requests\n")?;
        let time = requests(&scene, mappings, REQUESTS / 20).await?;
        table.put(REQUEST, format!("{:.0} µs", time * 1e6));
    } else {
        crowds(table, &scene, &socket, mappings, rounds, say).await?;
        if !plan.in_order {
            say("  restart\n")?;
            let (time, again) = restart(&scene).await?;
            table.put("control plane killed → Envoy has everything", milliseconds(time));
            table.put("resources sent again", again);
        }
    }
    if plan.in_order {
        scene.gateway.end()?;
    }
    Ok(())
}

/// What many changes, requests and clients cost.
async fn crowds(
    table: &mut Table,
    scene: &Scene,
    socket: &Path,
    mappings: usize,
    rounds: usize,
    say: &impl Fn(&str) -> Result<()>,
) -> Result<()> {
    say("  storm, burst\n")?;
    let mut times = storm(scene).await?;
    table.put(
        &format!("storm of {} changes/s → live, median (99 %)", STORM.0),
        format!("{:.0} ({:.0}) ms", share(&mut times, 50), share(&mut times, 99)),
    );
    table.put(&format!("burst of {BURST} Mappings, last write → all live"), milliseconds(burst(scene).await?));
    scene.settle(1).await?;
    say("  requests\n")?;
    table.put(REQUEST, format!("{:.0} µs", requests(scene, mappings, REQUESTS).await? * 1e6));
    say("  clients\n")?;
    let mut times = clients(scene, socket, rounds.min(10)).await?;
    table.put(
        &format!("Mapping → accepted by {CLIENTS} more clients, median"),
        format!("{:.1} ms", share(&mut times, 50)),
    );
    Ok(())
}

/// Changes at a steady pace, each of a Mapping of its own; the milliseconds from each to its first answer. One connection asks
/// for one after the other, as they become live in that order: many that ask at once would keep Envoy from its work.
async fn storm(scene: &Scene) -> Result<Vec<f64>> {
    let (written, mut waiting) = unbounded_channel();
    let writer = async move {
        let mut ticks = interval(Duration::from_secs(1) / STORM.0);
        for index in 0..STORM.1 {
            ticks.tick().await;
            let path = format!("/storm-{index}/");
            let begun =
                scene.gateway.write(&format!("storm-{index}.yaml"), &one(scene, &format!("storm-{index}"), &path))?;
            written.send((path, begun))?;
        }
        anyhow::Ok(())
    };
    let reader = async move {
        let mut connection = scene.dialer.http1(scene.entry()).await?.0;
        let mut times = Vec::new();
        while let Some((path, begun)) = waiting.recv().await {
            times.push(scene.until(&mut connection, &path, "a", begun).await?.as_secs_f64() * 1e3);
        }
        anyhow::Ok(times)
    };
    let ((), times) = tokio::try_join!(writer, reader)?;
    Ok(times)
}

/// Many Mappings at once; the time from the last one's file until all of them answer, without that of asking for each.
async fn burst(scene: &Scene) -> Result<Duration> {
    let paths: Vec<String> = (0..BURST).map(|index| format!("/burst-{index}/")).collect();
    for (index, path) in paths.iter().enumerate() {
        scene.gateway.write(&format!("burst-{index}.yaml"), &one(scene, &format!("burst-{index}"), path))?;
    }
    let begun = Instant::now();
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    let mut time = Duration::ZERO;
    for path in paths.iter().rev() {
        let reply = connection.send(request(scene.entry(), false, path, 0)?).await?;
        if reply.answer() != "a" || time.is_zero() {
            time = scene.until(&mut connection, path, "a", begun).await?;
        }
    }
    Ok(time)
}

/// The mean of Envoy's CPU time for a request to the Mapping that it finds last.
async fn requests(scene: &Scene, mappings: usize, count: u32) -> Result<f64> {
    let envoy = scene.gateway.envoy().context("no Envoy")?;
    let path = scene.slowest(mappings);
    let mut connection = scene.dialer.http1(scene.entry()).await?.0;
    scene.until(&mut connection, &path, "a", Instant::now()).await?;
    let before = cpu(envoy)?;
    for _ in 0..count {
        connection.send(request(scene.entry(), false, &path, 0)?).await?;
    }
    Ok((cpu(envoy)? - before) / f64::from(count))
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
        let begun = scene.gateway.write("client.yaml", &one(scene, "client", &path))?;
        for client in &mut clients {
            client.until_route(&path).await?;
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        sleep(REST).await;
    }
    Ok(times)
}

/// The time from the end of the control plane until another one knows that Envoy has everything, and what resources it sent.
async fn restart(scene: &Scene) -> Result<(Duration, String)> {
    scene.settle(1).await?;
    let old = scene.gateway.control_plane().context("no control plane")?;
    kill(old, Signal::SIGKILL)?;
    let begun = Instant::now();
    loop {
        let is_new = scene.gateway.control_plane().is_some_and(|new| new != old);
        let clients = scene.gateway.clients().filter(|_| is_new);
        let mut clients = clients.as_ref().and_then(Value::as_array).into_iter().flatten();
        if clients.any(|client| number(client, "live_batch") > 0) {
            break;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            bail!("no control plane came back:\n{}", scene.gateway.output());
        }
        sleep(Duration::from_millis(2)).await;
    }
    let time = begun.elapsed();
    let clients = scene.settle(1).await?;
    let types = clients.pointer("/0/types").and_then(Value::as_array).into_iter().flatten();
    let name = |one: &Value| one.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sent = types.map(|one| (name(one), number(one, "resources"))).filter(|(_, count)| *count > 0);
    let sent: Vec<String> = sent.map(|(kind, count)| format!("{count} of {kind}")).collect();
    Ok((time, if sent.is_empty() { "0".to_owned() } else { sent.join(", ") }))
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
