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

/// Keys of one kind whose status may have to be written, each at most once. Nobody has to drain it: a feed that marks
/// never waits for a controller, and what is in it is bounded by what exists.
pub struct Dirty<K: kube::Resource<DynamicType = ()> + 'static> {
    keys: Mutex<Keys<K>>,
    bell: Notify,
}

impl<K: kube::Resource<DynamicType = ()> + 'static> Default for Dirty<K> {
    fn default() -> Self {
        Self { keys: Mutex::default(), bell: Notify::new() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use api::v3alpha1::Mapping;

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
