//! Keys that a controller has to look at.

use super::StatusView;
use futures::Stream;
use futures::stream::{self, StreamExt};
use kube_runtime::reflector::ObjectRef;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

type Keys<K> = HashSet<ObjectRef<StatusView<K>>, ahash::RandomState>;
/// Whether a controller has anything to do about an object.
pub(super) type Gate<K> = Arc<dyn Fn(&StatusView<K>) -> bool + Send + Sync>;

/// Keys of one kind whose status may have to be written, each at most once. Nobody has to drain it: a feed that marks
/// never waits for a controller, and what is in it is bounded by what exists.
pub struct Dirty<K: kube::Resource<DynamicType = ()> + 'static> {
    keys: Mutex<Keys<K>>,
    bell: Notify,
    gate: Mutex<Option<Gate<K>>>,
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Default for Dirty<K> {
    fn default() -> Self {
        Self { keys: Mutex::default(), bell: Notify::new(), gate: Mutex::default() }
    }
}

impl<K: kube::Resource<DynamicType = ()> + 'static> fmt::Debug for Dirty<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dirty({})", self.len())
    }
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Dirty<K> {
    /// Adds keys and wakes whoever drains them.
    pub fn mark(&self, keys: impl IntoIterator<Item = ObjectRef<StatusView<K>>>) {
        self.lock().extend(keys);
        self.bell.notify_one();
    }

    /// Takes in that an object changed, after its store has it. Most of what a feed brings while statuses are written are
    /// echoes of them; to see that here costs less than to wake the thread of the controllers for each.
    pub fn changed(&self, view: &StatusView<K>) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if gate.is_none_or(|gate| gate(view)) {
            self.mark([ObjectRef::from_obj(view)]);
        }
    }

    /// Lets only those objects through [`Dirty::changed`] that the gate lets through, until what comes back is dropped.
    pub(super) fn guard(self: Arc<Self>, gate: Gate<K>) -> Guarded<K> {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
        Guarded { dirty: self, gate }
    }

    /// Forgets all keys.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys as they come in. Only one such stream should be polled at a time; keys that it has given out are its own.
    pub fn stream(self: Arc<Self>) -> impl Stream<Item = ObjectRef<StatusView<K>>> + Send + 'static {
        stream::unfold(self, |dirty| async move {
            loop {
                let keys = std::mem::take(&mut *dirty.lock());
                if !keys.is_empty() {
                    return Some((stream::iter(keys), dirty));
                }
                dirty.bell.notified().await;
            }
        })
        .flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gate in its place.
pub(super) struct Guarded<K: kube::Resource<DynamicType = ()> + 'static> {
    dirty: Arc<Dirty<K>>,
    gate: Gate<K>,
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Drop for Guarded<K> {
    fn drop(&mut self) {
        let mut gate = self.dirty.gate.lock().unwrap_or_else(PoisonError::into_inner);
        // The next leadership may have begun already.
        if gate.as_ref().is_some_and(|gate| Arc::ptr_eq(gate, &self.gate)) {
            *gate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v3alpha1::Mapping;

    #[test]
    fn a_gate_holds_for_what_changes_until_it_is_dropped() {
        let view = |name: &str| {
            let identity = super::super::Identity { namespace: "default", name, ..Default::default() };
            StatusView::<Mapping>::of(identity, None, super::super::FieldManagers::default())
        };
        let dirty = Arc::new(Dirty::<Mapping>::default());
        let first = dirty.clone().guard(Arc::new(|view| view.name() == "due"));
        dirty.changed(&view("echo"));
        assert!(dirty.is_empty());
        dirty.changed(&view("due"));
        assert_eq!(dirty.len(), 1);
        let second = dirty.clone().guard(Arc::new(|_| false));
        drop(first);
        dirty.changed(&view("other"));
        assert_eq!(dirty.len(), 1, "the end of one leadership opened the gate of the next");
        drop(second);
        dirty.changed(&view("other"));
        assert_eq!(dirty.len(), 2, "without a leader everything is kept for the next one");
    }

    #[tokio::test]
    async fn a_key_comes_once_however_often_it_is_marked() {
        let dirty = Arc::new(Dirty::<Mapping>::default());
        let key = |name: &str| ObjectRef::<StatusView<Mapping>>::new(name).within("default");
        dirty.mark([key("a"), key("b"), key("a")]);
        dirty.mark([key("a")]);
        assert_eq!(dirty.len(), 2);
        let mut stream = std::pin::pin!(dirty.clone().stream());
        let mut names = vec![stream.next().await.unwrap().name, stream.next().await.unwrap().name];
        names.sort();
        assert_eq!(names, ["a", "b"]);
        let later = dirty.clone();
        let task = tokio::spawn(async move { later.mark([key("c")]) });
        assert_eq!(stream.next().await.unwrap().name, "c");
        task.await.unwrap();
    }
}
