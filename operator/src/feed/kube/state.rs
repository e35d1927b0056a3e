//! What is known of one kind, and what an event changes about it. No threads, no clock, no network.

use super::wire::{Form, Wire};
use crate::replicas::Generations;
use crate::room;
use ahash::{AHashMap, AHashSet};
use compiler::{Change, Object};
use ir::{Kind, ObjectKey};
use kube::Resource;
use kube_runtime::watcher::Event;
use std::sync::Arc;

/// Who else follows the objects of a kind: the store that controllers read. It sees every event, echoes included.
pub trait Follow<W>: Send {
    /// An event, in the order of the watch.
    fn event(&mut self, event: &Event<W>);
    /// The kind is not served any more, and its objects are gone with it.
    fn clear(&mut self);
}

impl<W> Follow<W> for () {
    fn event(&mut self, _: &Event<W>) {}
    fn clear(&mut self) {}
}

/// Changes a text for kinds in which variables are put in; `None` leaves it as it is.
pub type Rewrite = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The objects of one kind, by fingerprint. What they say is not kept.
pub struct State {
    kind: Kind,
    rewrite: Option<Rewrite>,
    /// Fingerprint of each object as it was handed on, and its part of the state.
    prints: AHashMap<ObjectKey, (u64, Generations)>,
    /// What replicas compare, of the kinds that have statuses.
    state: Generations,
    /// Names of namespaces, of which many objects share few.
    namespaces: AHashSet<Arc<str>>,
    /// Keys that a listing under way has brought so far.
    fresh: Option<AHashSet<ObjectKey>>,
    hasher: ahash::RandomState,
}

/// What an event came to.
#[derive(Debug, Default)]
pub struct Step {
    /// For the mailbox.
    pub changes: Vec<Change>,
    /// A listing is complete.
    pub listed: bool,
    /// The states that were reached, one after the other. Within a listing, whose order is nobody's, only its end is one.
    pub reached: Vec<Generations>,
}

impl State {
    /// Nothing is known yet.
    pub fn new(kind: Kind, rewrite: Option<Rewrite>) -> Self {
        Self {
            kind,
            rewrite,
            prints: AHashMap::new(),
            state: Generations::default(),
            namespaces: AHashSet::new(),
            fresh: None,
            hasher: ahash::RandomState::new(),
        }
    }

    /// Takes in an event. An object that is the same as before but for its status, managed fields or resource version
    /// changes nothing; an object that a complete listing lacks is gone.
    pub fn event<K, F>(&mut self, event: &Event<Wire<K, F>>, step: &mut Step)
    where
        K: Resource<DynamicType = ()>,
        F: Form,
    {
        match event {
            // It may come again without a listing having been completed.
            Event::Init => self.fresh = Some(AHashSet::with_capacity(self.prints.len())),
            Event::InitApply(wire) => {
                let key = self.put(wire, step);
                self.fresh.get_or_insert_default().insert(key);
            }
            Event::InitDone => {
                let fresh = self.fresh.take().unwrap_or_default();
                let gone: Vec<ObjectKey> = self.prints.keys().filter(|key| !fresh.contains(key)).cloned().collect();
                for key in gone {
                    self.gone(key, step);
                }
                step.listed = true;
                self.reached(step);
            }
            Event::Apply(wire) => {
                let before = self.state;
                self.put(wire, step);
                if self.state != before {
                    self.reached(step);
                }
            }
            Event::Delete(wire) => {
                let key = self.key(&wire.metadata.namespace, &wire.metadata.name);
                self.gone(key, step);
                self.reached(step);
            }
        }
    }

    fn reached(&self, step: &mut Step) {
        // A listing under way replaces what was known, piece by piece.
        if self.kind.is_custom() && self.fresh.is_none() {
            step.reached.push(self.state);
        }
    }

    /// The kind is gone as a whole.
    pub fn clear(&mut self) -> Vec<Change> {
        self.fresh = None;
        self.state = Generations::default();
        let mut gone: Vec<ObjectKey> = std::mem::take(&mut self.prints).into_keys().collect();
        gone.sort();
        gone.into_iter().map(Change::Gone).collect()
    }

    fn put<K, F>(&mut self, wire: &Wire<K, F>, step: &mut Step) -> ObjectKey
    where
        K: Resource<DynamicType = ()>,
        F: Form,
    {
        let metadata = &wire.metadata;
        let key = self.key(&metadata.namespace, &metadata.name);
        let head = wire.head(key.clone());
        let body = self.rewrite.as_ref().and_then(|rewrite| rewrite(&wire.parts.body));
        let body = body.as_deref().unwrap_or(&wire.parts.body);
        // An object that was made anew counts as different, since its age decides conflicts.
        let print = self.hasher.hash_one((&metadata.uid, metadata.generation, head.fingerprint(body)));
        let part = Generations::of(&metadata.namespace, &metadata.name, &metadata.uid, metadata.generation);
        let old = self.prints.insert(key.clone(), (print, part));
        if let Some((_, old)) = old {
            self.state.remove(old);
        }
        self.state.add(part);
        if old.map(|(print, _)| print) != Some(print) {
            step.changes.push(Change::Put(Arc::new(Object::from_text(head, body))));
        }
        key
    }

    fn gone(&mut self, key: ObjectKey, step: &mut Step) {
        if let Some((_, part)) = self.prints.remove(&key) {
            room::shrink(&mut self.prints);
            self.state.remove(part);
            step.changes.push(Change::Gone(key));
        }
    }

    /// The key, with texts that are shared wherever it is known already.
    fn key(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> ObjectKey {
        let namespace = match self.namespaces.get(namespace) {
            Some(known) => known.clone(),
            None => {
                self.namespaces.insert(namespace.clone());
                namespace.clone()
            }
        };
        let key = ObjectKey { kind: self.kind, namespace, name: name.clone() };
        match self.prints.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Custom;
    use super::*;
    use api::v3alpha1::Mapping;
    use serde_json::json;

    type Item = Wire<Mapping, Custom>;

    fn item(name: &str, version: u32, generation: i64, spec: serde_json::Value) -> Item {
        serde_json::from_value::<serde_json::Value>(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": generation,
                         "resourceVersion": version.to_string()},
            "spec": spec, "status": {"seen": version},
        }))
        .map(|value| serde_json::from_str(&value.to_string()).unwrap())
        .unwrap()
    }

    fn good(name: &str, version: u32, generation: i64) -> Item {
        item(name, version, generation, json!({"prefix": "/x/", "service": format!("s{generation}")}))
    }

    fn play(state: &mut State, events: Vec<Event<Item>>) -> (Vec<String>, bool) {
        let mut step = Step::default();
        events.iter().for_each(|event| state.event(event, &mut step));
        let told = step.changes.iter().map(|change| match change {
            Change::Put(object) => format!("+{}@{}", object.key.name, object.generation),
            Change::Gone(key) => format!("-{}", key.name),
            other => format!("{other:?}"),
        });
        (told.collect(), step.listed)
    }

    fn listed(state: &mut State, items: Vec<Item>) -> (Vec<String>, bool) {
        let events = std::iter::once(Event::Init).chain(items.into_iter().map(Event::InitApply));
        play(state, events.chain([Event::InitDone]).collect())
    }

    #[test]
    fn a_status_write_is_no_change() {
        let mut state = State::new(Kind::Mapping, None);
        assert_eq!(listed(&mut state, vec![good("a", 1, 1)]), (vec!["+a@1".into()], true));
        assert_eq!(play(&mut state, vec![Event::Apply(good("a", 2, 1))]), (vec![], false));
        assert_eq!(play(&mut state, vec![Event::Apply(good("a", 3, 2))]).0, ["+a@2"]);
    }

    #[test]
    fn an_object_made_anew_is_a_change() {
        let mut state = State::new(Kind::Mapping, None);
        listed(&mut state, vec![good("a", 1, 1)]);
        let mut again = good("a", 9, 1);
        again.metadata.uid = "another".into();
        assert_eq!(play(&mut state, vec![Event::Apply(again)]).0, ["+a@1"]);
    }

    #[test]
    fn a_relist_tells_only_differences() {
        let mut state = State::new(Kind::Mapping, None);
        listed(&mut state, vec![good("a", 1, 1), good("b", 2, 1), good("c", 3, 1)]);
        let (told, done) = listed(&mut state, vec![good("a", 8, 1), good("c", 9, 2), good("d", 7, 1)]);
        assert_eq!(told, ["+c@2", "+d@1", "-b"]);
        assert!(done);
    }

    #[test]
    fn a_listing_that_breaks_off_takes_nothing_away() {
        let mut state = State::new(Kind::Mapping, None);
        listed(&mut state, vec![good("a", 1, 1), good("b", 2, 1)]);
        let broken = play(&mut state, vec![Event::Init, Event::InitApply(good("a", 1, 1)), Event::Init]);
        assert_eq!(broken, (vec![], false));
        assert_eq!(listed(&mut state, vec![good("b", 2, 1)]).0, ["-a"]);
    }

    #[test]
    fn a_delete_of_the_unknown_is_silent() {
        let mut state = State::new(Kind::Mapping, None);
        assert_eq!(play(&mut state, vec![Event::Delete(good("a", 1, 1))]), (vec![], false));
        listed(&mut state, vec![good("a", 1, 1)]);
        assert_eq!(play(&mut state, vec![Event::Delete(good("a", 2, 1))]).0, ["-a"]);
        assert!(state.prints.is_empty());
    }

    #[test]
    fn a_spec_that_does_not_decode_is_handed_on_with_its_problem() {
        let mut state = State::new(Kind::Mapping, None);
        let mut step = Step::default();
        state.event(&Event::Apply(item("a", 1, 1, json!({"prefix": 7, "service": "s", "prefx": 1}))), &mut step);
        let [Change::Put(object)] = &step.changes[..] else { panic!("{:?}", step.changes) };
        assert_eq!(object.spec().unwrap().value.unwrap_err().path, "prefix");
    }

    #[test]
    fn text_and_parsed_json_give_the_same_object() {
        let spec = json!({"prefix": "/x/", "service": "s", "ambassador_id": ["one"], "prefx": 1});
        let mut state = State::new(Kind::Mapping, None);
        let mut step = Step::default();
        state.event(&Event::Apply(item("a", 1, 4, spec.clone())), &mut step);
        let [Change::Put(object)] = &step.changes[..] else { panic!("{:?}", step.changes) };
        let value = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "spec": spec,
                           "metadata": {"name": "a", "namespace": "ns", "uid": "uid-a", "generation": 4}});
        let parsed = Object::from_value(&value, "default").unwrap().unwrap();
        assert_eq!(**object, Object { fingerprint: object.fingerprint, ..parsed });
    }

    #[test]
    fn two_replicas_reach_the_same_states_on_different_ways() {
        let step = |state: &mut State, events: Vec<Event<Item>>| {
            let mut step = Step::default();
            events.iter().for_each(|event| state.event(event, &mut step));
            step.reached
        };
        let init = |items: Vec<Item>| {
            let events = std::iter::once(Event::Init).chain(items.into_iter().map(Event::InitApply));
            events.chain([Event::InitDone]).collect::<Vec<_>>()
        };
        let (mut one, mut other) = (State::new(Kind::Mapping, None), State::new(Kind::Mapping, None));
        let first = step(&mut one, init(vec![good("a", 1, 1), good("b", 2, 1)]));
        assert_eq!(first.len(), 1, "the pieces of a listing are no states");
        let after = step(
            &mut one,
            vec![
                Event::Apply(good("a", 3, 2)),
                Event::Apply(good("a", 4, 2)),
                Event::Apply(good("c", 5, 1)),
                Event::Delete(good("b", 6, 1)),
            ],
        );
        assert_eq!(after.len(), 3, "a status that is written is none");
        let late = step(&mut other, init(vec![good("c", 5, 1), good("a", 4, 2)]));
        assert_eq!(late, [after[2]]);
        assert_ne!(late, first);
        // A relist that found something else.
        assert_eq!(step(&mut one, init(vec![good("b", 9, 1), good("a", 9, 1)])), first);
    }

    #[test]
    fn everything_can_be_gone_at_once() {
        let mut state = State::new(Kind::Mapping, None);
        listed(&mut state, vec![good("b", 1, 1), good("a", 2, 1)]);
        assert_eq!(state.clear().len(), 2);
        assert!(state.prints.is_empty());
    }
}
