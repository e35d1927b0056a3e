//! What a feed tells the controller of its kind: the objects without their spec, and which of them changed.

use super::state::Follow;
use super::wire::{Custom, Wire};
use crate::controller::{Dirty, StatusView};
use kube::Resource;
use kube_runtime::reflector::ObjectRef;
use kube_runtime::reflector::store::Writer;
use kube_runtime::watcher::Event;
use std::sync::Arc;

/// Fills the store of one kind and marks what a controller has to look at.
pub struct Followed<K: Resource<DynamicType = ()> + 'static> {
    store: Writer<StatusView<K>>,
    dirty: Arc<Dirty<K>>,
}

impl<K: Resource<DynamicType = ()> + 'static> Followed<K> {
    /// A follower that fills this store and marks in that set.
    pub fn new(store: Writer<StatusView<K>>, dirty: Arc<Dirty<K>>) -> Self {
        Self { store, dirty }
    }

    fn mark_all(&self) {
        self.dirty.mark(self.store.as_reader().state().iter().map(|view| ObjectRef::from_obj(&**view)));
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Follow<Wire<K, Custom>> for Followed<K> {
    fn event(&mut self, event: &Event<Wire<K, Custom>>) {
        let event = match event {
            Event::Init => Event::Init,
            Event::InitApply(wire) => Event::InitApply(wire.view()),
            Event::InitDone => Event::InitDone,
            Event::Apply(wire) => Event::Apply(wire.view()),
            // A controller has nothing to do for what is gone.
            Event::Delete(wire) => Event::Delete(wire.view()),
        };
        self.store.apply_watcher_event(&event);
        match event {
            Event::Apply(view) => self.dirty.changed(&view),
            // A verdict that came while the listing was under way found the old store.
            Event::InitDone => self.mark_all(),
            _ => {}
        }
    }

    fn clear(&mut self) {
        self.store.apply_watcher_event(&Event::Init);
        self.store.apply_watcher_event(&Event::InitDone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v3alpha1::Mapping;

    fn wire(name: &str) -> Wire<Mapping, Custom> {
        serde_json::from_str(&format!(r#"{{"metadata":{{"name":"{name}","namespace":"ns","generation":2}}}}"#)).unwrap()
    }

    #[test]
    fn a_listing_marks_everything_once_it_is_complete() {
        let writer = Writer::default();
        let (store, dirty) = (writer.as_reader(), Arc::new(Dirty::<Mapping>::default()));
        let mut follower = Followed::new(writer, dirty.clone());
        follower.event(&Event::Init);
        follower.event(&Event::InitApply(wire("a")));
        follower.event(&Event::InitApply(wire("b")));
        assert!(dirty.is_empty());
        follower.event(&Event::InitDone);
        assert_eq!((dirty.len(), store.len()), (2, 2));
        follower.event(&Event::Delete(wire("a")));
        follower.event(&Event::Apply(wire("c")));
        assert_eq!((dirty.len(), store.len()), (3, 2));
        assert_eq!(store.get(&ObjectRef::new("c").within("ns")).unwrap().generation(), 2);
        follower.clear();
        assert!(store.is_empty());
    }
}
