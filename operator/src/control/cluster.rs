//! What a control plane does in a Kubernetes cluster beside its pipeline: reads objects, writes statuses.

use crate::controller::{self, Election, Memory, Pace, Replicas, Statuses};
use crate::feed::kube::{self as objects, Custom, Follow, Followed, Followers, Scope, Wire};
use crate::feed::{Feed, FeedId};
use crate::mailbox::Mailbox;
use crate::settings::Environment;
use crate::snapshot::Board;
use anyhow::Context;
use compiler::Options;
use diag::Metrics;
use futures::future::BoxFuture;
use kube::{Client, Config, Resource};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How long the end of status writing, and giving back the Lease, may hold up the end of the process.
const ENDING: Duration = Duration::from_secs(2);

/// Writes statuses for as long as it is not told to end.
pub(super) struct StatusWriting {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl StatusWriting {
    /// Ends what is under way and gives back the Lease, so that another replica can go on at once.
    pub(super) async fn end(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(ENDING, self.ended).await;
    }
}

/// What the rest of the control plane gives to it.
pub(super) struct Parts<'a> {
    pub(super) environment: &'a Environment,
    pub(super) options: &'a Options,
    pub(super) mailbox: &'a Arc<Mailbox>,
    pub(super) board: &'a Arc<Board>,
    pub(super) metrics: &'a Arc<Metrics>,
    /// Of the thread of the pipeline.
    pub(super) runtime: &'a Handle,
    /// The supervisor, which outlives this process.
    pub(super) parent: i32,
}

/// Starts the feeds, numbered from `first`, and the writing of statuses. Fails when there is no access to a cluster; an
/// API server that does not answer is waited for.
pub(super) async fn start(first: FeedId, parts: Parts<'_>) -> anyhow::Result<(Vec<Box<dyn Feed>>, StatusWriting)> {
    let Parts { environment, options, mailbox, board, metrics, runtime, parent } = parts;
    let config = objects::config().await?;
    let manager = controller::manager_name(&options.ambassador_id);
    let (client, work) = status_thread(config.clone()).await?;
    let memory = Memory::new(client.clone(), &options.namespace, &manager);
    let mut statuses = Statuses::new(board.clone(), metrics.clone(), client.clone(), manager.clone());
    statuses.remember(memory.clone(), mailbox.clone());

    let scope = Scope::new(options, environment.label_selector(), environment.field_selector());
    let reading = move || Ok(Client::try_from(config)?);
    let kinds = Kinds(&mut statuses);
    let mut feeds = objects::start(first, runtime, reading, scope, environment.expansion(), mailbox.clone(), kinds)?;
    feeds.push(memory.feed(FeedId(first.0 + feeds.len()), mailbox.clone()));

    let identity = identity(environment, parent);
    let replicas = Replicas::new(client.clone(), &options.namespace, &manager, &identity, mailbox.clone());
    statuses.agree(replicas.clone());
    let election = Election::new(client, &options.namespace, &manager, &identity, Pace::default());
    let stop = CancellationToken::new();
    let (done, quiet) = oneshot::channel::<()>();
    let (leadership, standing) = election.start(stop.clone(), async { _ = quiet.await });
    let (ending, ended) = oneshot::channel();
    let until = stop.clone();
    let writing = async move {
        until.run_until_cancelled(statuses.run(leadership)).await;
        drop(done);
    };
    let (told, until) = (board.clone(), stop.clone());
    let telling = async move {
        if until.run_until_cancelled(replicas.tell(&told)).await.is_none() {
            replicas.leave().await;
        }
    };
    let all = Box::pin(async move {
        tokio::join!(writing, standing, telling);
        drop(ending);
    });
    work.send(all).map_err(|_| anyhow::anyhow!("the thread that writes statuses has ended"))?;
    Ok((feeds, StatusWriting { stop, ended }))
}

/// Starts a thread for the writing of statuses. Gives the client that lives on it, and takes what it is to do.
///
/// Ten thousand statuses are ten thousand short requests, one after another: among the workers of the whole process each
/// would wake another thread several times, which costs more than the request.
async fn status_thread(config: Config) -> anyhow::Result<(Client, oneshot::Sender<BoxFuture<'static, ()>>)> {
    let (work, wanted) = oneshot::channel::<BoxFuture<'static, ()>>();
    let (ready, client) = oneshot::channel();
    std::thread::Builder::new().name("status".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        runtime.block_on(async move {
            let client = controller::client(&config).context("cannot make a client of the API server");
            if ready.send(client).is_ok()
                && let Ok(work) = wanted.await
            {
                work.await;
            }
        });
    })?;
    Ok((client.await??, work))
}

/// Gives each feed the store of its controller.
struct Kinds<'a>(&'a mut Statuses);

impl Followers for Kinds<'_> {
    fn of<K: Resource<DynamicType = ()> + 'static>(&mut self) -> Box<dyn Follow<Wire<K, Custom>>> {
        match self.0.kind::<K>() {
            Some((store, dirty)) => Box::new(Followed::new(store, dirty)),
            None => Box::new(()),
        }
    }
}

/// Who holds the Lease: the pod, and within it the gateway, so that a restarted control plane goes on at once.
fn identity(environment: &Environment, parent: i32) -> String {
    let host = environment.get("POD_NAME").or(environment.get("HOSTNAME")).map(str::to_owned);
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(kernel).unwrap_or_default();
    let host: String = host.trim().chars().take(200).collect();
    format!("{host}_{parent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gateways_on_one_host_are_two() {
        let environment = Environment::from_pairs([("HOSTNAME", "node"), ("POD_NAME", "gw-0")]);
        assert_eq!(identity(&environment, 7), "gw-0_7");
        assert_ne!(identity(&environment, 7), identity(&environment, 8));
        assert!(identity(&Environment::default(), 7).ends_with("_7"));
    }
}
