//! Edits under load: a gateway over files, clients that never rest, and a random walk over everything that can be edited.
//!
//! ```text
//! backend   instances that say who they are, and end as pods end
//! gateway   `nuncio serve` with a real Envoy
//! world     the objects, their manifests, and which answers are right
//! ledger    which answer is right at which moment; what was wrong, with the edits that may have caused it
//! client    connections
//! delta     a client of the configuration stream
//! load      clients: HTTP/1.1, HTTP/2, WebSockets
//! walk      the edits
//! witness   whether they are live
//! scale     gateways with many Mappings: switches under load, and how soon a change is live
//! ```

pub mod backend;
pub mod client;
pub mod delta;
pub mod gateway;
pub mod ledger;
pub mod load;
pub mod scale;
pub mod walk;
mod witness;
pub mod world;

use anyhow::{Result, bail};
use backend::Instance;
use client::Dialer;
use gateway::{Gateway, Programs};
use ledger::Ledger;
use load::Shared;
use serde_json::json;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use walk::{Variants, Walk};
use world::{By, Member, Service, Slot, World};

/// Paths that are asked for.
const SLOTS: usize = 12;
/// Services in the beginning.
const SERVICES: usize = 8;
/// For the first configuration.
const START: Duration = Duration::from_secs(120);

/// What a run does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Edits.
    pub edits: usize,
    /// Where the walk begins; the same seed makes the same edits, though not at the same moments.
    pub seed: u64,
    /// Clients of each sort at each entry.
    pub clients: usize,
    /// Between two requests of a client.
    pub pause: Duration,
    /// Further trouble.
    pub variants: Variants,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Wrong answers, lost requests and closed connections.
    pub faults: u64,
    /// All about it, for people.
    pub text: String,
}

/// Walks under load. Call it on a thread that lives as long as the process.
pub async fn run(programs: &Programs, options: &Options) -> Result<Outcome> {
    let begun = Instant::now();
    let ports = crate::net::free_ports::<2>()?;
    let world = world((ports[0], ports[1])).await?;
    let certificates = walk::certificates()?;
    let gateway = Gateway::start(programs, &walk::files(&world, &certificates))?;
    gateway.wait_ready(START)?;

    let ledger = Arc::new(Ledger::default());
    let dialer = Dialer::new(world.ports)?;
    let (end, ended) = watch::channel(false);
    let slots = world.slots.len();
    let mut walk =
        Walk::new(&gateway, ledger.clone(), dialer.clone(), world, certificates, options.seed, options.variants);
    walk.settle().await?;
    if ledger.counts().3 > 0 {
        bail!("the gateway does not serve what it was given:\n{}", gateway.output());
    }
    let shared = Shared { dialer, ledger: ledger.clone(), slots, pause: options.pause, end: ended };
    let mut clients = load::start(&shared, options.clients, options.seed);
    let walked = walk.run(options.edits).await;
    // What is asked last is answered, too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    end.send_replace(true);
    while clients.join_next().await.is_some() {}
    walked?;

    if let Some(found) = gateway.page("/metrics").as_deref().and_then(paranoid_differences) {
        ledger.fault(format!("compiling from scratch came to something else: {found}"));
    }
    let (answers, connections, edits, faults) = ledger.counts();
    let mut times = std::mem::take(&mut walk.times);
    times.sort_by(f64::total_cmp);
    let at =
        |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).unwrap_or(&0.0) * 1e3;
    let mut text = format!(
        "seed {}: {edits} edits in {:.0} s, {answers} answers over {connections} connections, {faults} faults; live on all \
         connections after {:.0} ms (median), {:.0} ms (99 %), {:.0} ms (longest)\n",
        options.seed,
        begun.elapsed().as_secs_f64(),
        at(50),
        at(99),
        at(100),
    );
    for fault in ledger.faults() {
        let _ = write!(text, "{fault}");
    }
    if faults > 0 {
        let _ = writeln!(text, "\nthe end of what the gateway printed:\n{}", gateway.output());
    }
    Ok(Outcome { faults, text })
}

/// The line of the metrics that counts what `--paranoid` found, unless it is nothing.
fn paranoid_differences(metrics: &str) -> Option<&str> {
    let line = metrics.lines().find(|line| line.starts_with("nuncio_paranoid_differences_total "))?;
    (!line.ends_with(" 0")).then_some(line)
}

async fn world(ports: (u16, u16)) -> Result<World> {
    let mut services = Vec::new();
    for index in 0..SERVICES {
        let instance = Arc::new(Instance::start(&format!("b{}", index + 1)).await?);
        let by = if index % 2 == 0 { By::ClusterIp } else { By::Slices };
        services.push(Service { name: format!("svc-{index}"), by, instances: vec![instance], gone: false });
    }
    let slot = |index: usize| Slot {
        hostname: if index % 4 == 3 { "h0.example" } else { "*" },
        members: vec![Member { service: index % (SERVICES - 2), weight: None, options: json!({}) }],
        first: None,
    };
    let slots = (0..SLOTS).map(slot).collect();
    Ok(World { ports, services, slots, clear_second: false, min_tls: "v1.2", module: json!({}) })
}
