//! From the published snapshot to what the diagnostics show.

pub mod why;

use crate::feed::SourceProblem;
use crate::snapshot::{Board, Entry, Snapshot};
use crate::status::{self, State};
use compiler::Options;
use diag::{
    ClientReport, ConditionReport, Health, HostReport, ObjectCounts, ObjectReport, Overview, ProblemReport,
    RefusalReport, SourceProblemReport, StatusReport, TypeReport, WhyQuestion, WhyReport,
};
use ir::{ChainBody, Kind, RowChanges, VirtualHostBody};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xds::{Ads, ClientStatus, ResourceType, Store};

/// Answers the diagnostics from what the pipeline published.
pub struct View {
    /// What the pipeline published last.
    pub board: Arc<Board>,
    /// The resources.
    pub store: Arc<Store>,
    /// The connected clients.
    pub ads: Ads,
    /// What the environment fixed.
    pub options: Options,
    /// Whether an Envoy has to acknowledge before the gateway is ready; not with `--envoy none`.
    pub needs_proxy: bool,
    /// Judges whether the gateway lives.
    pub probe: Probe,
    /// What was counted last.
    pub counted: Counted,
}

/// The objects of one snapshot, counted: whoever collects metrics asks over and over, and few snapshots are new.
#[derive(Default)]
pub struct Counted(Mutex<(Weak<Snapshot>, ObjectCounts)>);

impl Counted {
    fn of(&self, snapshot: &Arc<Snapshot>) -> ObjectCounts {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, counts) = &mut *last;
        // A weak reference keeps the place of the old one taken, so that no new one can be mistaken for it.
        if of.as_ptr() != Arc::as_ptr(snapshot) {
            (*of, *counts) = (Arc::downgrade(snapshot), count(snapshot));
        }
        counts.clone()
    }
}

/// How long the first configuration may take, as upstream has it.
const BOOT: Duration = Duration::from_secs(600);
/// How long an Envoy may take to come, or to come back; it is started again when it ends.
const PROXY: Duration = Duration::from_secs(30);

/// Whether the gateway lives: a dead one is restarted as a whole, which costs every connection.
#[derive(Debug)]
pub struct Probe {
    /// Beside an Envoy that has been serving; it goes on while the control plane finds its feet.
    restarted: bool,
    started: Instant,
    /// Since when there should be an Envoy and is none.
    missing: Mutex<Option<Instant>>,
}

impl Probe {
    /// A probe of a process that starts now.
    pub fn new(restarted: bool) -> Self {
        Self { restarted, started: Instant::now(), missing: Mutex::new(None) }
    }

    /// Alive until the first configuration takes more than ten minutes, or Envoy is away for more than 30 s. Draining is
    /// no death.
    fn alive(&self, snapshot: &Snapshot, served: bool, now: Instant) -> bool {
        if !snapshot.published {
            return self.restarted || now.duration_since(self.started) < BOOT;
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if served || snapshot.draining {
            *missing = None;
            return true;
        }
        now.duration_since(*missing.get_or_insert(now)) < PROXY
    }
}

impl diag::Source for View {
    fn health(&self) -> Health {
        let snapshot = self.board.load();
        let served = !self.needs_proxy || snapshot.live_here().is_some_and(|live| live > 0);
        let alive = self.probe.alive(&snapshot, served, Instant::now());
        Health { alive, ready: snapshot.published && served && !snapshot.draining }
    }

    fn status(&self) -> StatusReport {
        status_report(&self.board.load(), &self.options)
    }

    fn counts(&self) -> ObjectCounts {
        self.counted.of(&self.board.load())
    }

    fn clients(&self) -> Vec<ClientReport> {
        let snapshot = self.board.load();
        self.ads.clients().iter().map(|client| client_report(client, &snapshot)).collect()
    }

    fn envoy(&self) -> serde_json::Value {
        let all: Vec<_> = {
            let view = self.store.read();
            ResourceType::ALL.into_iter().flat_map(|kind| view.of(kind).cloned().collect::<Vec<_>>()).collect()
        };
        match envoy::dump::resources(all.iter().map(|resource| &**resource)) {
            Ok(value) => value,
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        }
    }

    fn why(&self, question: &WhyQuestion) -> WhyReport {
        let snapshot = self.board.load();
        let rows = RowChanges {
            listeners: snapshot.listeners.iter().map(|(name, row)| (name.clone(), Some(row.clone()))).collect(),
            tables: snapshot.tables.iter().map(|(name, row)| (name.clone(), Some(row.clone()))).collect(),
            lists: snapshot.lists.iter().map(|(id, row)| (id.clone(), Some(row.clone()))).collect(),
            ..RowChanges::default()
        };
        let mut verdicts: Vec<_> = snapshot.entries.iter().map(|(_, entry)| entry.verdict.clone()).collect();
        verdicts.sort_by(|left, right| left.about.cmp(&right.about));
        why::report(question, rows, &verdicts)
    }
}

fn count(snapshot: &Snapshot) -> ObjectCounts {
    let mut counts: BTreeMap<(Kind, State), i64> = BTreeMap::new();
    for (_, entry) in snapshot.entries.iter() {
        let state = status::state(&entry.verdict, snapshot.acknowledgement(entry));
        *counts.entry((entry.verdict.about.kind, state)).or_default() += 1;
    }
    counts.into_iter().map(|((kind, state), count)| ((kind.name().to_owned(), state.to_string()), count)).collect()
}

/// Everything about the objects of a snapshot.
pub fn status_report(snapshot: &Snapshot, options: &Options) -> StatusReport {
    let mut entries: Vec<&Entry> = snapshot.entries.iter().map(|(_, entry)| entry).collect();
    entries.sort_by(|left, right| left.verdict.about.cmp(&right.verdict.about));
    let objects = entries.into_iter().map(|entry| object_report(entry, snapshot));
    StatusReport {
        overview: Overview {
            version: env!("CARGO_PKG_VERSION").into(),
            ambassador_id: options.ambassador_id.to_string(),
            namespace: options.namespace.to_string(),
            batch: snapshot.batch,
            live_batch: snapshot.live_here().unwrap_or(0),
            waiting_for: snapshot.waiting_for.to_vec(),
            draining: snapshot.draining,
        },
        objects: objects.collect(),
        source_problems: snapshot.problems.iter().map(source_problem).collect(),
        hosts: hosts(snapshot),
    }
}

fn object_report(entry: &Entry, snapshot: &Snapshot) -> ObjectReport {
    let verdict = &*entry.verdict;
    let acknowledged = snapshot.acknowledgement(entry);
    let conditions = status::conditions(verdict, acknowledged, snapshot.backends(entry));
    let problems = verdict.problems.iter().map(|problem| ProblemReport {
        field: problem.at.clone(),
        reason: problem.kind.reason().into(),
        effect: format!("{:?}", problem.effect),
        message: problem.detail.clone(),
    });
    ObjectReport {
        kind: verdict.about.kind.name().into(),
        namespace: verdict.about.namespace.to_string(),
        name: verdict.about.name.to_string(),
        state: status::state(verdict, acknowledged).to_string(),
        summary: status::summary(verdict),
        conditions: conditions
            .into_iter()
            .map(|condition| ConditionReport {
                kind: condition.kind.into(),
                status: condition.status.to_string(),
                reason: condition.reason.into(),
                message: condition.message,
                observed_generation: condition.observed_generation,
            })
            .collect(),
        problems: problems.collect(),
        fields: status::upstream_fields(verdict, acknowledged),
    }
}

fn hosts(snapshot: &Snapshot) -> Vec<HostReport> {
    let mut hosts = Vec::new();
    for (_, listener) in snapshot.listeners.iter() {
        for chain in &listener.chains {
            let ChainBody::Http { table } = &chain.body else { continue };
            let Some(row) = snapshot.tables.get(table) else { continue };
            for host in &row.virtual_hosts {
                let (answer, routes) = answer(&host.body, snapshot);
                hosts.push(HostReport {
                    table: row.name.to_string(),
                    address: format!(
                        "{}:{}{}",
                        listener.bind.address,
                        listener.bind.port,
                        if chain.tls.is_some() { " TLS" } else { "" }
                    ),
                    domains: host.domains.iter().map(ToString::to_string).collect(),
                    answer,
                    routes,
                });
            }
        }
    }
    hosts.sort_by(|left, right| (&left.table, &left.domains).cmp(&(&right.table, &right.domains)));
    hosts
}

fn answer(body: &VirtualHostBody, snapshot: &Snapshot) -> (String, usize) {
    let count = |id: &ir::ListId| {
        let list = snapshot.lists.get(id);
        let mut groups: Vec<_> = list
            .into_iter()
            .flat_map(|list| &list.buckets)
            .flat_map(|bucket| &bucket.groups)
            .map(|group| &group.id)
            .collect();
        groups.sort();
        groups.dedup();
        groups.len()
    };
    match body {
        VirtualHostBody::Routes(list) if list.variant.redirects() => {
            ("redirects what has a route to https".into(), count(list))
        }
        VirtualHostBody::Routes(list) => ("routes".into(), count(list)),
        VirtualHostBody::RedirectToHttps { .. } => ("redirects to https".into(), 0),
        VirtualHostBody::AcmeOnly(_) => ("rejects, but for ACME challenges".into(), 0),
        VirtualHostBody::ByForwardedProto { secure, insecure } => {
            let (other, _) = answer(insecure, snapshot);
            (format!("routes when forwarded from https, else {other}"), count(secure))
        }
        VirtualHostBody::Closed { status } => (format!("closed with {status}"), 0),
    }
}

fn source_problem(problem: &SourceProblem) -> SourceProblemReport {
    let about = problem.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
    SourceProblemReport {
        path: problem.path.to_string_lossy().into_owned(),
        line: problem.line,
        reason: problem.kind.reason().into(),
        message: format!("{about}{}", problem.detail),
    }
}

fn client_report(client: &ClientStatus, snapshot: &Snapshot) -> ClientReport {
    let known = snapshot.clients.get(&client.id.0);
    ClientReport {
        id: client.id.0,
        node: client.node.id.clone(),
        cluster: client.node.cluster.clone(),
        version: client.node.version.clone(),
        connected_since: seconds(client.connected_since),
        live_batch: client.live_batch,
        reports: known.into_iter().flat_map(|known| &known.reports).map(ToString::to_string).collect(),
        types: client
            .types
            .iter()
            .map(|kind| TypeReport {
                kind: kind.kind.short().into(),
                subscribed: kind.subscribed,
                sent: kind.sent,
                resources: kind.resources,
                pending: kind.pending,
                pending_bytes: kind.pending_bytes,
                waiting: kind.waiting,
                last_ack: kind.last_ack.as_ref().map(|(at, _)| seconds(*at)),
                last_nack: kind
                    .last_nack
                    .as_ref()
                    .map(|nack| RefusalReport { at: seconds(nack.at), detail: nack.detail.clone() }),
            })
            .collect(),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_configuration_or_envoy_dies_late() {
        let probe = Probe::new(false);
        let after = |seconds| probe.started + Duration::from_secs(seconds);
        let mut snapshot = Snapshot::default();
        assert!(probe.alive(&snapshot, false, after(599)) && !probe.alive(&snapshot, false, after(601)));
        assert!(Probe::new(true).alive(&snapshot, false, after(10_000)), "an Envoy may be serving");
        snapshot.published = true;
        assert!(probe.alive(&snapshot, false, after(700)) && probe.alive(&snapshot, false, after(729)));
        assert!(!probe.alive(&snapshot, false, after(731)));
        assert!(probe.alive(&snapshot, true, after(732)) && probe.alive(&snapshot, false, after(740)));
        snapshot.draining = true;
        assert!(probe.alive(&snapshot, false, after(10_000)));
    }

    #[test]
    fn the_objects_of_a_new_snapshot_are_counted_anew() {
        let counted = Counted::default();
        let number = |snapshot: &Arc<Snapshot>| counted.of(snapshot).values().sum::<i64>();
        let mut snapshot = Arc::new(Snapshot::default());
        assert_eq!(number(&snapshot), 0);
        for objects in 1..4 {
            let verdict = Arc::new(crate::status::tests::accepted(
                ir::ObjectKey::new(Kind::Mapping, "default", format!("m{objects}")),
                1,
            ));
            let mut next = Snapshot::clone(&snapshot);
            next.entries.set(verdict.about.clone(), Some(Entry { verdict, batch: 0 }));
            // The old one goes before the new one comes, so that the allocator may use its place again.
            drop(snapshot);
            snapshot = Arc::new(next);
            assert_eq!((number(&snapshot), number(&snapshot)), (objects, objects));
        }
    }
}
