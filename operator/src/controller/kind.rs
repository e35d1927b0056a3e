//! The controller of one kind.

use super::decide::{Decision, Known, Shape, Wanted, decide};
use super::wake::Waited;
use super::writer::{StatusWriter, WriteError, Written};
use super::{Dirty, StatusView};
use crate::snapshot::Board;
use crate::status::Acknowledgement;
use ahash::AHashMap;
use diag::Metrics;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use ir::{Kind, ObjectKey};
use k8s_openapi::jiff::Timestamp;
use kube_runtime::controller::{Action, Config, Controller};
use kube_runtime::reflector::{ObjectRef, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// Reconciliations of one kind under way.
const CONCURRENT: u16 = 8;
/// How soon the echo of a write is expected; until then the same is not written again.
const ECHO: Duration = Duration::from_secs(5);
/// Echoes that may be missing until those that will not come any more are forgotten.
const ECHOES: usize = 4096;
/// How often it is tried whether a kind keeps more of a status than it did.
const PROBE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 20_000 });
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What all controllers of one leadership share.
pub(super) struct Shared {
    pub board: Arc<Board>,
    pub waited: Arc<Waited>,
    pub writer: StatusWriter,
    pub metrics: Arc<Metrics>,
}

/// A kind, without its type.
pub(super) trait Target: Send + Sync {
    fn kind(&self) -> Kind;

    /// Marks these objects of the kind.
    fn mark(&self, keys: &[ObjectKey]);

    /// Marks all that are there but these, and nothing that was marked before.
    fn mark_all_but(&self, these: &dyn Fn(&ObjectKey) -> bool);

    /// How many keys wait.
    fn pending(&self) -> usize;

    /// Writes statuses until the future is dropped.
    fn run(&self, shared: Arc<Shared>) -> BoxFuture<'static, ()>;
}

/// A kind with its objects.
pub(super) struct Typed<K: kube::Resource<DynamicType = ()> + 'static> {
    pub kind: Kind,
    pub store: Store<StatusView<K>>,
    pub dirty: Arc<Dirty<K>>,
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Target for Typed<K> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn mark(&self, keys: &[ObjectKey]) {
        self.dirty.mark(keys.iter().map(|key| ObjectRef::new(&key.name).within(&key.namespace)));
    }

    fn mark_all_but(&self, these: &dyn Fn(&ObjectKey) -> bool) {
        let left_out = |view: &StatusView<K>| these(&ObjectKey::new(self.kind, view.namespace(), view.name()));
        self.dirty.clear();
        let views = self.store.state();
        self.dirty.mark(views.iter().filter(|view| !left_out(view)).map(|view| ObjectRef::from_obj(&**view)));
    }

    fn pending(&self) -> usize {
        self.dirty.len()
    }

    fn run(&self, shared: Arc<Shared>) -> BoxFuture<'static, ()> {
        let reconciler = Arc::new(Reconciler {
            kind: self.kind,
            store: self.store.clone(),
            dirty: self.dirty.clone(),
            shared,
            memory: Mutex::default(),
        });
        let (probing, looking) = (reconciler.clone(), reconciler.clone());
        // To see that nothing has to be done costs less than to schedule a reconciliation.
        let gate = reconciler.clone();
        let guarded = self.dirty.clone().guard(Arc::new(move |view| gate.is_due(view)));
        let is_due =
            move |key: &ObjectRef<StatusView<K>>| looking.store.get(key).is_some_and(|view| looking.is_due(&view));
        let due = self.dirty.clone().stream().filter(move |key| std::future::ready(is_due(key)));
        // No objects come this way, only keys: errors of a watch would hold up every trigger.
        let controller = Controller::for_stream(stream::pending(), self.store.clone())
            .reconcile_on(due)
            .with_config(Config::default().concurrency(CONCURRENT));
        let running = controller.run(
            |view, reconciler: Arc<Reconciler<K>>| async move { reconciler.reconcile(view).await },
            |view, error, reconciler| reconciler.failed(&view, error),
            reconciler,
        );
        // An error here is that of a failed write, which is told where it happens, or an object that is gone.
        let running = running.for_each(|_| std::future::ready(()));
        Box::pin(async move {
            let _guarded = guarded;
            tokio::select! {
                () = running => {}
                () = probing.probe() => {}
            }
        })
    }
}

fn mark_all<K: kube::Resource<DynamicType = ()> + 'static>(store: &Store<StatusView<K>>, dirty: &Dirty<K>) {
    dirty.mark(store.state().iter().map(|view| ObjectRef::from_obj(&**view)));
}

struct Reconciler<K: kube::Resource<DynamicType = ()> + 'static> {
    kind: Kind,
    store: Store<StatusView<K>>,
    dirty: Arc<Dirty<K>>,
    shared: Arc<Shared>,
    memory: Mutex<Memory>,
}

/// What has to be done about an object.
enum Due {
    /// Its status is right, or it is too early to say anything.
    Nothing,
    /// This is to be its status, or nothing of ours.
    Write { wanted: Option<Wanted>, shape: Shape },
}

/// Stands for the statement of a status that is taken away.
const NO_STATEMENT: u64 = 0;

/// What one leadership remembers of a kind.
#[derive(Default)]
struct Memory {
    /// Statements that were written and whose echo has not come yet.
    written: AHashMap<(Box<str>, Box<str>), (u64, Instant)>,
    failures: AHashMap<(Box<str>, Box<str>), u32>,
    /// What the kind keeps, if that is not everything, and when that was last found.
    shape: Option<(Shape, Instant)>,
    told: Option<Instant>,
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Reconciler<K> {
    /// Whether the controller has to see the object. While a kind keeps less than everything, each object may be the one
    /// that finds out, so all of them have to be seen.
    fn is_due(&self, view: &StatusView<K>) -> bool {
        let is_due = self.memory().shape.is_some() || !matches!(self.look(view), Due::Nothing);
        if !is_due {
            self.shared.metrics.status_checked();
        }
        is_due
    }

    /// What has to be done about an object. One that is as it should be is forgotten.
    fn look(&self, view: &StatusView<K>) -> Due {
        let snapshot = self.shared.board.load();
        if !snapshot.published {
            return Due::Nothing;
        }
        let key = ObjectKey::new(self.kind, view.namespace(), view.name());
        let Some(entry) = snapshot.entries.get(&key) else {
            // An object that this installation does not judge: what it may have written there is taken away, once.
            if view.is_written_by(&self.shared.writer.manager) && !view.status().is_empty() {
                return Due::Write { wanted: None, shape: Shape::Full };
            }
            self.settled(view);
            return Due::Nothing;
        };
        let shape = self.shape(view);
        let acknowledged = snapshot.acknowledgement(entry);
        if acknowledged != Acknowledgement::Live {
            self.shared.waited.hand_back(key);
        }
        let known = Known {
            verdict: &entry.verdict,
            acknowledged,
            backing: snapshot.backing(entry),
            waited: self.shared.waited.is_over(entry.batch, acknowledged),
            manager: &self.shared.writer.manager,
            now: (Instant::now(), Timestamp::now()),
        };
        let Decision::Write(wanted) = decide(view, known, shape) else {
            self.settled(view);
            return Due::Nothing;
        };
        Due::Write { wanted: Some(wanted), shape }
    }

    async fn reconcile(self: Arc<Self>, view: Arc<StatusView<K>>) -> Result<Action, WriteError> {
        self.shared.metrics.status_checked();
        let Due::Write { wanted, shape } = self.look(&view) else { return Ok(Action::await_change()) };
        let statement = wanted.as_ref().map_or(NO_STATEMENT, Wanted::statement);
        if let Some(age) = self.age_of(&view, statement)
            && age < ECHO
        {
            return Ok(Action::requeue(ECHO - age));
        }
        // A task of its own: the controller polls all its reconciliations whenever one of them moves.
        let (shared, object) = (self.shared.clone(), view.clone());
        let writing = tokio::spawn(async move { shared.writer.write(&object, wanted.as_ref()).await });
        let written = AbortOnDropHandle::new(writing).await.map_err(|_| WriteError::Timeout)??;
        self.written(&view, shape, written, statement)
    }

    fn written(
        &self,
        view: &StatusView<K>,
        shape: Shape,
        written: Written,
        statement: u64,
    ) -> Result<Action, WriteError> {
        let mut memory = self.memory();
        memory.failures.remove(&name(view));
        let less = match written {
            Written::Done => {
                if memory.written.len() >= ECHOES {
                    memory.written.retain(|_, (_, at)| at.elapsed() < ECHO);
                }
                memory.written.insert(name(view), (statement, Instant::now()));
                let grown = shape == Shape::Full && statement != NO_STATEMENT && memory.shape.take().is_some();
                drop(memory);
                self.shared.metrics.status_written();
                if grown {
                    self.grown();
                }
                return Ok(Action::await_change());
            }
            // Its end, or its successor, will be heard of; if not, it is looked at again.
            Written::Gone => return Ok(Action::requeue(RETRY.1)),
            Written::NoConditions => Shape::Fields,
            Written::NoStatus => Shape::None,
        };
        let known = memory.shape.replace((less, Instant::now())).is_some();
        drop(memory);
        if !known {
            let keeps = if less == Shape::Fields { "no conditions" } else { "no status" };
            tracing::warn!(kind = %self.kind, "the installed definition of this kind keeps {keeps}");
        }
        // At once with what is kept.
        self.dirty.mark((less == Shape::Fields).then(|| ObjectRef::from_obj(view)));
        Ok(Action::await_change())
    }

    fn failed(&self, view: &StatusView<K>, error: &WriteError) -> Action {
        self.shared.metrics.status_failed(error.reason());
        let mut memory = self.memory();
        if memory.told.is_none_or(|told| told.elapsed() > RETRY.1) {
            memory.told = Some(Instant::now());
            let (namespace, name) = (view.namespace(), view.name());
            tracing::warn!(kind = %self.kind, namespace, name, %error, "a status could not be written; there may be more");
        }
        let failures = memory.failures.entry(name(view)).or_default();
        *failures = failures.saturating_add(1);
        let pause = RETRY.0.saturating_mul(1 << (*failures - 1).min(6));
        Action::requeue(pause.min(RETRY.1))
    }

    /// Lets one object try now and then whether the kind keeps more than it did: its definition may have been replaced.
    async fn probe(&self) {
        loop {
            tokio::time::sleep(PROBE).await;
            if self.memory().shape.is_none() {
                continue;
            }
            let snapshot = self.shared.board.load();
            let candidate = self.store.find(|view| {
                let key = ObjectKey::new(self.kind, view.namespace(), view.name());
                !view.status().has_conditions() && snapshot.entries.get(&key).is_some()
            });
            self.dirty.mark(candidate.map(|view| ObjectRef::from_obj(&*view)));
        }
    }

    /// The status is as it should be.
    fn settled(&self, view: &StatusView<K>) {
        let mut memory = self.memory();
        if !memory.written.is_empty() || !memory.failures.is_empty() {
            memory.written.remove(&name(view));
            memory.failures.remove(&name(view));
        }
    }

    /// How long ago exactly this was written.
    fn age_of(&self, view: &StatusView<K>, statement: u64) -> Option<Duration> {
        let (written, at) = *self.memory().written.get(&name(view))?;
        (written == statement).then(|| at.elapsed())
    }

    /// What to try with: everything, if that failed long ago, or if the object shows that it is kept.
    fn shape(&self, view: &StatusView<K>) -> Shape {
        let mut memory = self.memory();
        match &mut memory.shape {
            None => Shape::Full,
            Some(_) if view.status().has_conditions() => {
                memory.shape = None;
                drop(memory);
                self.grown();
                Shape::Full
            }
            Some((_, at)) if at.elapsed() >= PROBE / 2 => {
                *at = Instant::now();
                Shape::Full
            }
            Some((shape, _)) => *shape,
        }
    }

    fn grown(&self) {
        tracing::info!(kind = %self.kind, "the API server keeps conditions of this kind now");
        mark_all(&self.store, &self.dirty);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name<K>(view: &StatusView<K>) -> (Box<str>, Box<str>) {
    (view.namespace().into(), view.name().into())
}
