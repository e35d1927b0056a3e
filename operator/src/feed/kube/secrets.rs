//! Secrets that something names, and no others.
//!
//! One watch of the metadata of all Secrets says when to look at one; its data is then fetched by a list that is
//! narrowed to its name, so that selectors hold and `list` and `watch` are all the rights that are needed. The other ways
//! are worse: a watch of all Secrets moves and decodes every Helm release in the cluster (up to 1 MiB each), and a watch
//! for each name holds a connection for each.

use super::failure::Failure;
use super::watch::Voice;
use super::wire::{Data, MetadataOnly, Wire};
use ahash::AHashMap;
use compiler::{Change, Object, WantedChanges, WantedName};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use ir::{Kind, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use kube_runtime::watcher::{self, Event};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

/// Secrets that are fetched at the same time.
const FETCHES: usize = 16;
/// Pause before a Secret that could not be fetched is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A list narrowed to one name that takes longer has failed.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Where Secrets are fetched.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) client: Client,
    /// Only Secrets of this namespace exist, if it is set.
    pub(super) namespace: Option<Arc<str>>,
    /// `AMBASSADOR_LABEL_SELECTOR`
    pub(super) labels: Option<String>,
    /// `AMBASSADOR_FIELD_SELECTOR`
    pub(super) fields: Option<String>,
}

type Fetched = Result<Option<Wire<Secret, Data>>, Failure>;
type Fetches = FuturesUnordered<Pin<Box<dyn Future<Output = (ObjectKey, Fetched)> + Send>>>;

/// A wanted Secret.
#[derive(Debug, Default)]
struct Wanted {
    /// Resource version of what was handed on; empty when absent or unknown.
    version: Arc<str>,
    /// Fingerprint of what was handed on; `None` for absent.
    print: Option<u64>,
    answered: bool,
    fetching: bool,
    /// Something happened while it was being fetched.
    again: bool,
    /// The listing under way has brought it.
    seen: bool,
    /// The last fetch failed.
    failing: bool,
}

/// The feed of Secrets.
pub(super) struct Secrets {
    voice: Voice,
    source: Source,
    wanted: AHashMap<ObjectKey, Wanted>,
    /// To be fetched as soon as there is room.
    queue: VecDeque<ObjectKey>,
    fetches: Fetches,
    /// To be fetched again after a failure.
    retries: VecDeque<(tokio::time::Instant, ObjectKey)>,
    complete: bool,
}

impl Secrets {
    pub(super) fn new(voice: Voice, source: Source) -> Self {
        Self {
            voice,
            source,
            wanted: AHashMap::new(),
            queue: VecDeque::new(),
            fetches: FuturesUnordered::new(),
            retries: VecDeque::new(),
            complete: false,
        }
    }

    /// Follows events, wishes and fetches until the wishes end with the feed.
    pub(super) async fn run(
        mut self,
        events: impl Stream<Item = watcher::Result<Event<Wire<Secret, MetadataOnly>>>>,
        mut wishes: UnboundedReceiver<Arc<WantedChanges>>,
    ) {
        let mut events = pin!(events);
        let mut resume = pin!(sleep(Duration::ZERO));
        let mut paused = false;
        loop {
            self.start_fetches();
            let retry = self.retries.front().map(|(at, _)| *at);
            tokio::select! {
                changes = wishes.recv() => match changes {
                    Some(changes) => self.wish(&changes),
                    None => return,
                },
                Some((key, fetched)) = self.fetches.next(), if !self.fetches.is_empty() => self.fetched(&key, fetched),
                () = &mut resume, if paused => paused = false,
                () = tokio::time::sleep_until(retry.unwrap_or_else(tokio::time::Instant::now)), if retry.is_some() => {
                    if let Some((_, key)) = self.retries.pop_front() {
                        self.look(&key);
                    }
                }
                event = events.next(), if !paused => {
                    // What is there at the same moment is taken at once: a listing may be long.
                    let mut next = event;
                    for _ in 0..256 {
                        match next {
                            None => return,
                            Some(Ok(event)) => self.event(&event),
                            Some(Err(error)) => {
                                let pause = self.voice.failed(&Failure::from(&error), self.complete);
                                resume.set(sleep(pause));
                                paused = true;
                                break;
                            }
                        }
                        match events.next().now_or_never() {
                            Some(more) => next = more,
                            None => break,
                        }
                    }
                }
            }
        }
    }

    fn event(&mut self, event: &Event<Wire<Secret, MetadataOnly>>) {
        if !matches!(event, Event::Init | Event::InitApply(_)) {
            self.voice.fine();
        }
        match event {
            Event::Init => self.wanted.values_mut().for_each(|wanted| wanted.seen = false),
            Event::InitApply(wire) | Event::Apply(wire) => {
                let key = key(&wire.metadata.namespace, &wire.metadata.name);
                let Some(wanted) = self.wanted.get_mut(&key) else { return };
                wanted.seen = true;
                if wanted.version != wire.metadata.resource_version {
                    self.look(&key);
                }
            }
            Event::Delete(wire) => self.look(&key(&wire.metadata.namespace, &wire.metadata.name)),
            Event::InitDone => {
                self.complete = true;
                let missed = self.wanted.iter().filter(|(_, wanted)| !wanted.seen && wanted.print.is_some());
                let missed: Vec<ObjectKey> = missed.map(|(key, _)| key.clone()).collect();
                missed.iter().for_each(|key| self.look(key));
                self.voice.listed();
            }
        }
    }

    fn wish(&mut self, changes: &WantedChanges) {
        let mut answers = Vec::new();
        for name in &changes.removed {
            let WantedName::Secret { namespace, name } = name else { continue };
            let key = key(namespace, name);
            if self.wanted.remove(&key).is_some_and(|wanted| wanted.print.is_some()) {
                answers.push(Change::Gone(key));
            }
        }
        for name in &changes.added {
            let WantedName::Secret { namespace, name } = name else { continue };
            let key = key(namespace, name);
            let outside = self.source.namespace.as_ref().is_some_and(|own| own != namespace);
            // Names come from what tenants write, and go into a selector.
            if outside || !is_name(namespace, 63) || !is_name(name, 253) {
                answers.push(Change::Gone(key));
                continue;
            }
            self.wanted.entry(key.clone()).or_default();
            self.look(&key);
        }
        if !answers.is_empty() {
            self.voice.mailbox.post(answers, Instant::now(), None);
        }
    }

    /// Fetches a wanted Secret, once more if it is being fetched.
    fn look(&mut self, key: &ObjectKey) {
        let Some(wanted) = self.wanted.get_mut(key) else { return };
        if wanted.fetching {
            wanted.again = true;
        } else {
            wanted.fetching = true;
            self.queue.push_back(key.clone());
        }
    }

    fn start_fetches(&mut self) {
        while self.fetches.len() < FETCHES
            && let Some(key) = self.queue.pop_front()
        {
            if self.wanted.contains_key(&key) {
                let source = self.source.clone();
                self.fetches.push(Box::pin(async move {
                    let fetched = source.fetch(&key).await;
                    (key, fetched)
                }));
            }
        }
    }

    fn fetched(&mut self, key: &ObjectKey, fetched: Fetched) {
        let received = Instant::now();
        let Some(wanted) = self.wanted.get_mut(key) else { return };
        wanted.fetching = false;
        let again = std::mem::take(&mut wanted.again);
        match fetched {
            Ok(found) => {
                wanted.failing = false;
                let object = found.map(|wire| {
                    wanted.version = wire.metadata.resource_version.clone();
                    Arc::new(Object::from_text(wire.head(key.clone()), &wire.parts.body))
                });
                if object.is_none() {
                    wanted.version = Arc::default();
                }
                let print = object.as_ref().map(|object| object.fingerprint);
                if !wanted.answered || wanted.print != print {
                    (wanted.answered, wanted.print) = (true, print);
                    let change = object.map_or_else(|| Change::Gone(key.clone()), Change::Put);
                    self.voice.mailbox.post([change], received, None);
                }
                if again {
                    self.look(key);
                }
            }
            Err(failure) => {
                // What was handed on stays in force.
                if !std::mem::replace(&mut wanted.failing, true) {
                    tracing::warn!(
                        secret = key.path(),
                        ?failure,
                        "cannot fetch a Secret; it is tried again every second"
                    );
                }
                self.retries.push_back((tokio::time::Instant::now() + RETRY, key.clone()));
            }
        }
    }
}

impl Source {
    /// The Secret with that name, if there is one that the selectors let through.
    async fn fetch(&self, key: &ObjectKey) -> Fetched {
        let mut fields = format!("metadata.name={}", key.name);
        if let Some(more) = &self.fields {
            fields.push(',');
            fields.push_str(more);
        }
        let mut parameters = ListParams::default().fields(&fields);
        if let Some(labels) = &self.labels {
            parameters = parameters.labels(labels);
        }
        let api: Api<Wire<Secret, Data>> = Api::namespaced(self.client.clone(), &key.namespace);
        let list = tokio::time::timeout(FETCH_LIMIT, api.list(&parameters)).await;
        let list = list.map_err(|_| Failure::Unreachable("no answer in time".into()))?;
        let list = list.map_err(|error| Failure::from(&error))?;
        Ok(list.items.into_iter().find(|wire| wire.metadata.name == key.name))
    }
}

fn key(namespace: &Arc<str>, name: &Arc<str>) -> ObjectKey {
    ObjectKey::new(Kind::Secret, namespace.clone(), name.clone())
}

/// Whether this can be the name of anything in Kubernetes (RFC 1123).
fn is_name(text: &str, most: usize) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    text.len() <= most && edge(text.chars().next()) && edge(text.chars().next_back()) && text.chars().all(inside)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn only_names_of_kubernetes_go_into_a_selector() {
        for good in ["a", "tls-cert", "example.com", "0x"] {
            assert!(is_name(good, 253), "{good}");
        }
        for bad in ["", "a,metadata.name!=b", "a=b", "A", "-a", "a.", "a/b", "a b", "ä"] {
            assert!(!is_name(bad, 253), "{bad}");
        }
        assert!(!is_name(&"a".repeat(64), 63));
    }
}
