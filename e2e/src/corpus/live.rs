//! Recorded cases as objects of a real cluster: Nuncio as Deployment, `kat-server` pods as backends, the queries from a
//! `kat-client` pod. The comparison is that of the other runner.
//!
//! ```text
//! objects   what a case is in a cluster: its manifests, its backends, its gateway
//! access    the API server, and what is in the cluster
//! ask       the queries of a case, and its answers
//! ```
//!
//! The objects of all cases are there at the same time, as with upstream's own harness. Cases with the same
//! `AMBASSADOR_ID`, namespace and environment share a gateway; what keeps the others apart is their id and namespace.

mod access;
mod ask;
mod objects;

use super::Tools;
use super::case::Case;
use super::verdict::{Judged, Observed, judge};
use access::Access;
use anyhow::{Context, Result};
use objects::Backend;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Role of `kat-server` that nobody can play.
const UNKNOWN_ROLES: [&str; 1] = ["grpc_agent"];

/// A case that can be a part of a cluster.
#[derive(Clone, Debug)]
pub struct LiveCase {
    /// The case.
    pub case: Case,
    /// A number that names its objects.
    number: usize,
    backends: Vec<Backend>,
}

/// Cases that share a gateway.
struct Group {
    number: usize,
    /// Variables of the gateway.
    environment: Vec<(String, String)>,
    cases: Vec<Arc<LiveCase>>,
}

/// The cases that are tried, by the rule of `docs/corpus.md`: recorded answers, backends that are all played by
/// `kat-server`, and some question that is not one for the diagnostics.
pub fn chosen(cases: Vec<Case>) -> Result<Vec<LiveCase>> {
    let mut chosen = Vec::new();
    for (number, case) in cases.into_iter().enumerate() {
        if !case.has_answers || !case.name.starts_with("kat/") {
            continue;
        }
        let backends = objects::backends(&case)?;
        let playable = |one: &Backend| one.image == "kat-server" && !UNKNOWN_ROLES.contains(&one.role());
        if backends.iter().all(playable) && ask::is_comparable(&case)? {
            chosen.push(LiveCase { case, number, backends });
        }
    }
    Ok(chosen)
}

/// Runs the cases; called inside of a cluster in which the definitions and the webhook are installed. `gateway` is the
/// manifest of the gateway, and `say` is told about every case.
pub async fn run(
    cases: Vec<LiveCase>,
    tools: Tools,
    gateway: &Path,
    jobs: usize,
    say: impl Fn(&Judged) + Send + Sync + 'static,
) -> Result<Vec<Judged>> {
    let access = Arc::new(Access::new(gateway).await?);
    let cases: Vec<Arc<LiveCase>> = cases.into_iter().map(Arc::new).collect();
    let refused = Arc::new(apply(&access, &cases).await?);
    let groups = Arc::new(Mutex::new(groups(&cases)));
    let judged = Arc::new(Mutex::new(Vec::new()));
    let say = Arc::new(say);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..jobs.max(1) {
        let (access, refused, groups) = (Arc::clone(&access), Arc::clone(&refused), Arc::clone(&groups));
        let (judged, say, tools) = (Arc::clone(&judged), Arc::clone(&say), tools.clone());
        workers.spawn(async move {
            loop {
                let next = groups.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(group) = next else { return };
                for one in work(&access, &group, &tools, &refused).await {
                    say(&one);
                    judged.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker ended")?;
    }
    let mut judged = std::mem::take(&mut *judged.lock().unwrap_or_else(PoisonError::into_inner));
    judged.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(judged)
}

/// Applies the manifests of all cases. What the API server does not take is a finding about its case.
async fn apply(access: &Access, cases: &[Arc<LiveCase>]) -> Result<BTreeMap<usize, String>> {
    let mut refused = BTreeMap::new();
    let mut rest = Vec::new();
    for live in cases {
        let (namespaces, objects): (Vec<Value>, Vec<Value>) =
            objects::manifests(&live.case, live.number, &live.backends)?
                .into_iter()
                .partition(|object| object.get("kind").and_then(Value::as_str) == Some("Namespace"));
        let namespace = live.case.environment.iter().find(|(name, _)| name == "AMBASSADOR_NAMESPACE");
        for object in namespaces.into_iter().chain(namespace.map(|(_, name)| objects::namespace(name))) {
            access.apply(&object, &format!("kat-{}", live.number)).await?;
        }
        rest.push((live.number, objects));
    }
    for (number, objects) in rest {
        for object in objects {
            if let Err(error) = access.apply(&object, &format!("kat-{number}")).await {
                refused.entry(number).or_insert_with(|| format!("the API server refuses an object: {error:#}"));
            }
        }
    }
    Ok(refused)
}

fn groups(cases: &[Arc<LiveCase>]) -> VecDeque<Group> {
    let mut groups: BTreeMap<Vec<(String, String)>, Vec<Arc<LiveCase>>> = BTreeMap::new();
    for live in cases {
        groups.entry(live.case.environment.clone()).or_default().push(Arc::clone(live));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    // The longest first, so that it is not what all others wait for in the end.
    groups.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    let group = |(number, (environment, cases))| Group { number, environment, cases };
    groups.into_iter().enumerate().map(group).collect()
}

/// One gateway and its cases, from the first pod to the last.
async fn work(access: &Access, group: &Group, tools: &Tools, refused: &BTreeMap<usize, String>) -> Vec<Judged> {
    let numbers: Vec<usize> = group.cases.iter().map(|live| live.number).collect();
    let mut started = start(access, group).await;
    if let Err(error) = &started {
        // Said aloud, since it is trouble of the cluster or of the gateway and not of an answer.
        eprintln!("{error:#}; the gateway and its backends are started once more");
        access.remove(group.number, &numbers).await;
        started = start(access, group).await;
    }
    let mut all = Vec::new();
    for live in &group.cases {
        let mut observed = Observed::default();
        let failure = refused.get(&live.number).cloned();
        let failure = failure.or_else(|| started.as_ref().err().map(|error| format!("{error:#}")));
        let outcome = match failure {
            Some(failure) => Err(anyhow::anyhow!(failure)),
            None => compare(access, live, tools, &mut observed).await,
        };
        if let Err(error) = outcome {
            observed.failure = Some(format!("{error:#}"));
        }
        all.push(judge(&live.case, observed));
    }
    access.remove(group.number, &numbers).await;
    all
}

/// Starts gateway and backends, and waits until everything can be reached.
async fn start(access: &Access, group: &Group) -> Result<()> {
    for object in access.gateway(group.number, &group.environment)? {
        access.apply(&object, "kat").await?;
    }
    for live in &group.cases {
        for object in objects::pods(live.number, &live.backends) {
            access.apply(&object, "kat").await?;
        }
    }
    access.wait_until_ready(group.number, &group.cases.iter().map(|live| live.number).collect::<Vec<_>>()).await
}

/// Asks and compares.
async fn compare(access: &Access, live: &LiveCase, tools: &Tools, observed: &mut Observed) -> Result<()> {
    let folder: PathBuf = tools.scratch.join(&live.case.name);
    std::fs::create_dir_all(&folder)?;
    let answers = ask::ask(access, &live.case, live.number, &folder).await?;
    let name = live.case.folder.file_name().unwrap_or_default();
    std::fs::write(folder.join(name).with_extension("json"), serde_json::to_vec(&answers)?)?;
    // The configuration of the case, and the recording without what is not compared.
    let (case, recorded) = (live.case.clone(), ask::recording(&live.case, &folder.join("recorded"))?);
    let tools = tools.clone();
    *observed = tokio::task::spawn_blocking(move || {
        let mut observed = Observed { status: super::run::check(&case, &tools, "status")?, ..Observed::default() };
        super::run::compare(&recorded, &tools, &folder, &mut observed)?;
        Ok::<_, anyhow::Error>(observed)
    })
    .await??;
    Ok(())
}
