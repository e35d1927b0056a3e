//! Objects from the API server of Kubernetes: one watch for each kind.
//!
//! ```text
//! wire      an object as text, metadata picked
//! state     what is known of a kind, what an event changes (no clock, no network)
//! failure   why a kind cannot be read
//! watch     events -> state -> mailbox; failures -> problems and pauses
//! secrets   the Secrets that something names
//! follow    the store that controllers read
//! ```
//!
//! All watches live on the thread of the pipeline. Who hears of a change can act on it at once then; on a node whose cores are
//! busy, each thread that has to be woken on the way waits for a core like everybody else, and that is most of the time until
//! Envoy has the change. What it costs is that a page of a listing is decoded while no stream is served: a few milliseconds.

mod failure;
mod follow;
mod secrets;
mod state;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

pub use follow::Followed;
pub use state::Follow;
pub use wire::{Custom, Form, Metadata, Parts, Wire};

use super::expand::Expansion;
use super::{Feed, FeedId};
use crate::mailbox::Mailbox;
use anyhow::Context;
use api::v3alpha1 as crds;
use compiler::{Options, WantedChanges};
use futures::future::{BoxFuture, ready};
use ir::Kind;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Config, Resource};
use kube_runtime::watcher::{self, watcher};
use secrets::Secrets;
use state::{Rewrite, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use watch::{Voice, Watch};
use wire::{MetadataOnly, Slice, SpecOnly};

/// Objects of one answer of a listing. The API server and this process hold as many at a time.
const PAGE: u32 = 500;
/// A connection that is not there by then will not come.
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing at all on a connection for so long means that it is dead: a watch has bookmarks every minute.
const SILENCE: Duration = Duration::from_secs(150);

/// Which objects are read, with upstream's variables.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `AMBASSADOR_NAMESPACE`, when only its objects are read (`AMBASSADOR_SINGLE_NAMESPACE`).
    pub namespace: Option<Arc<str>>,
    /// The same for Secrets (`AMBASSADOR_CERTS_SINGLE_NAMESPACE`).
    pub secrets: Option<Arc<str>>,
    /// `AMBASSADOR_LABEL_SELECTOR`, for every kind but Namespaces, which upstream does not read.
    pub labels: Option<String>,
    /// `AMBASSADOR_FIELD_SELECTOR`, likewise.
    pub fields: Option<String>,
}

impl Scope {
    /// The scope that the environment asks for.
    pub fn new(options: &Options, labels: Option<&str>, fields: Option<&str>) -> Self {
        let own = |only: bool| only.then(|| options.namespace.clone());
        Self {
            namespace: own(options.single_namespace),
            secrets: own(options.certs_single_namespace || options.single_namespace),
            labels: labels.map(str::to_owned),
            fields: fields.map(str::to_owned),
        }
    }

    fn config(&self) -> watcher::Config {
        watcher::Config {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..watcher::Config::default().page_size(PAGE)
        }
    }
}

/// Who else follows the objects of each kind of `getambassador.io`.
pub trait Followers {
    /// The follower of the kind `K`.
    fn of<K: Resource<DynamicType = ()> + 'static>(&mut self) -> Box<dyn Follow<Wire<K, Custom>>>;
}

/// Nobody does.
impl Followers for () {
    fn of<K: Resource<DynamicType = ()> + 'static>(&mut self) -> Box<dyn Follow<Wire<K, Custom>>> {
        Box::new(())
    }
}

/// Where the API server is: `KUBECONFIG` or `~/.kube/config`, else the service account of the pod.
pub async fn config() -> anyhow::Result<Config> {
    let config = Config::infer().await.context("there is no access to a Kubernetes cluster")?;
    Ok(with_limits(config))
}

fn with_limits(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // A feed has its own idea of when to try again.
    config.default_retry = false;
    config
}

/// What becomes a task.
type Task = Box<dyn FnOnce(Client) -> BoxFuture<'static, ()>>;

/// Collects feeds before they are started together.
struct Builder {
    first: usize,
    scope: Scope,
    expansion: Expansion,
    mailbox: Arc<Mailbox>,
    tasks: Vec<Task>,
    names: Vec<String>,
}

/// Starts a feed for each kind; their numbers follow on `first`, in the order of the result. They live on `runtime`, which is
/// that of the pipeline, and so does what `client` makes.
pub fn start(
    first: FeedId,
    runtime: &Handle,
    client: impl FnOnce() -> anyhow::Result<Client>,
    scope: Scope,
    expansion: Expansion,
    mailbox: Arc<Mailbox>,
    mut followers: impl Followers,
) -> anyhow::Result<Vec<Box<dyn Feed>>> {
    let mut builder = Builder { first: first.0, scope, expansion, mailbox, tasks: Vec::new(), names: Vec::new() };
    // What other kinds are judged by comes first: their listings are short.
    builder.custom::<crds::Module>(&mut followers);
    builder.custom::<crds::Listener>(&mut followers);
    builder.custom::<crds::Host>(&mut followers);
    builder.custom::<crds::TlsContext>(&mut followers);
    builder.custom::<crds::AuthService>(&mut followers);
    builder.custom::<crds::RateLimitService>(&mut followers);
    builder.custom::<crds::LogService>(&mut followers);
    builder.custom::<crds::TracingService>(&mut followers);
    builder.custom::<crds::ConsulResolver>(&mut followers);
    builder.custom::<crds::KubernetesEndpointResolver>(&mut followers);
    builder.custom::<crds::KubernetesServiceResolver>(&mut followers);
    builder.custom::<crds::DevPortal>(&mut followers);
    builder.custom::<crds::TcpMapping>(&mut followers);
    builder.custom::<crds::Mapping>(&mut followers);
    builder.namespaces();
    builder.core::<Service, SpecOnly>(Kind::Service);
    builder.core::<EndpointSlice, Slice>(Kind::EndpointSlice);
    let wishes = builder.secrets();
    builder.start(runtime, client, wishes)
}

impl Builder {
    fn voice<K: Resource<DynamicType = ()>>(&mut self, kind: Kind) -> Voice {
        let id = FeedId(self.first + self.names.len());
        let voice = Voice::new::<K>(id, kind, self.mailbox.clone());
        self.names.push(voice.name.clone());
        voice
    }

    fn custom<K>(&mut self, followers: &mut impl Followers)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + 'static,
    {
        let Some(kind) = Wire::<K, Custom>::kind_of() else { return };
        let rewrite = self.expansion.of_kind(kind).map(|expand| Arc::new(expand) as Rewrite);
        let watch =
            Watch { voice: self.voice::<K>(kind), state: State::new(kind, rewrite), follow: followers.of::<K>() };
        let scope = self.scope.clone();
        let definition = format!("{}.{}", K::plural(&()), K::group(&()));
        self.tasks.push(Box::new(move |client| {
            Box::pin(async move {
                let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
                let uninstalled = move || {
                    let (definitions, definition) = (definitions.clone(), definition.clone());
                    // Without the right to ask, the objects stay.
                    async move {
                        matches!(definitions.get(&definition).await, Err(kube::Error::Api(told)) if told.code == 404)
                    }
                };
                let events = watcher(api::<K, Custom>(client, scope.namespace.as_deref()), scope.config());
                watch.run(events, uninstalled).await;
            })
        }));
    }

    fn core<K, F>(&mut self, kind: Kind)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + 'static,
        F: Form,
    {
        let watch: Watch<K, F> =
            Watch { voice: self.voice::<K>(kind), state: State::new(kind, None), follow: Box::new(()) };
        let scope = self.scope.clone();
        self.tasks.push(Box::new(move |client| {
            Box::pin(async move {
                let events = watcher(api::<K, F>(client, scope.namespace.as_deref()), scope.config());
                watch.run(events, || ready(false)).await;
            })
        }));
    }

    fn namespaces(&mut self) {
        let kind = Kind::Namespace;
        let watch: Watch<Namespace, MetadataOnly> =
            Watch { voice: self.voice::<Namespace>(kind), state: State::new(kind, None), follow: Box::new(()) };
        let fields = self.scope.namespace.as_ref().map(|name| format!("metadata.name={name}"));
        self.tasks.push(Box::new(move |client| {
            Box::pin(async move {
                let config = watcher::Config { field_selector: fields, ..watcher::Config::default().page_size(PAGE) };
                let events = watcher(Api::<Wire<Namespace, MetadataOnly>>::all(client), config);
                watch.run(events, || ready(false)).await;
            })
        }));
    }

    fn secrets(&mut self) -> UnboundedSender<Arc<WantedChanges>> {
        let voice = self.voice::<Secret>(Kind::Secret);
        let scope = self.scope.clone();
        let (wishes, wished): (_, UnboundedReceiver<Arc<WantedChanges>>) = unbounded_channel();
        self.tasks.push(Box::new(move |client| {
            Box::pin(async move {
                let events =
                    watcher(api::<Secret, MetadataOnly>(client.clone(), scope.secrets.as_deref()), scope.config());
                let source =
                    secrets::Source { client, namespace: scope.secrets, labels: scope.labels, fields: scope.fields };
                Secrets::new(voice, source).run(events, wished).await;
            })
        }));
        wishes
    }

    fn start(
        self,
        runtime: &Handle,
        client: impl FnOnce() -> anyhow::Result<Client>,
        wishes: UnboundedSender<Arc<WantedChanges>>,
    ) -> anyhow::Result<Vec<Box<dyn Feed>>> {
        let _inside = runtime.enter();
        let client = client()?;
        // Secrets come last, and only they are asked for by name.
        let last = self.names.len().saturating_sub(1);
        let feed = |(index, (name, task)): (usize, (String, Task))| {
            let wishes = (index == last).then(|| wishes.clone());
            Box::new(KubeFeed { name, wishes, task: runtime.spawn(task(client.clone())).abort_handle() })
                as Box<dyn Feed>
        };
        Ok(self.names.into_iter().zip(self.tasks).enumerate().map(feed).collect())
    }
}

/// Objects of one namespace, or of all.
fn api<K, F>(client: Client, namespace: Option<&str>) -> Api<Wire<K, F>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    F: Form,
{
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// One kind, as the pipeline sees it.
struct KubeFeed {
    name: String,
    wishes: Option<UnboundedSender<Arc<WantedChanges>>>,
    task: AbortHandle,
}

impl Feed for KubeFeed {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn wanted(&self, changes: &Arc<WantedChanges>) {
        if let Some(wishes) = &self.wishes {
            let _ = wishes.send(changes.clone());
        }
    }

    fn stop(&mut self) {
        self.task.abort();
    }
}
