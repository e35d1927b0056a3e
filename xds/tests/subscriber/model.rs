//! A client that behaves like Envoy and checks every message it gets.
//!
//! The versions of route tables tell which clusters they name: bit `i` of `version - 1` stands for cluster `i`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use proptest::sample::Index;
use xds::{ClientId, Delta, Event, Limits, Request, Resource, ResourceType, Response, Store, Subscriber, Version};

use crate::script::*;

#[derive(Clone, Debug)]
pub enum Edit {
    Put(ResourceType, usize, u64),
    Drop(ResourceType, usize),
}

#[derive(Clone, Debug)]
pub enum Op {
    Change(Vec<Edit>),
    Poll,
    /// The client answers the oldest response of a type.
    Answer(ResourceType),
    /// The client will refuse one resource of the next response of a type.
    RefuseNext(ResourceType, Index),
    Ask(ResourceType, usize),
    Unask(ResourceType, usize),
    Reconnect,
    Pass,
}

type Key = (ResourceType, String);
type World = BTreeMap<Key, u64>;

/// What the client has under a name: a version (0 for nothing) and whether it and the server agree on it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Has {
    version: u64,
    sure: bool,
}

struct Answer {
    kind: ResourceType,
    nonce: u64,
    resources: Vec<(String, u64)>,
    /// The error text and the resources it refuses.
    error: Option<(String, Vec<(String, u64)>)>,
}

pub struct Model {
    store: Store,
    world: World,
    /// The world after each batch; the first is that of batch 0.
    history: Vec<World>,
    subscriber: Subscriber,
    streams: u64,
    now: Duration,
    has: HashMap<Key, Has>,
    /// What the server knows to be applied: versions of acknowledged route tables.
    acked: HashMap<Key, u64>,
    subscribed: BTreeSet<Key>,
    asked_again: HashSet<Key>,
    answers: VecDeque<Answer>,
    refuse_next: HashMap<ResourceType, Index>,
    /// Refused by an answer that the server has.
    refused: HashSet<(ResourceType, String, u64)>,
    /// Clusters refused and not replaced since: exempt from the rules about names in use.
    broken: HashSet<String>,
    /// Applied from a refused response and then lost sight of by a reconnect.
    forgotten: HashSet<Key>,
    live: u64,
}

impl Model {
    pub fn new() -> Self {
        let store = Store::new();
        store.apply(Delta { batch: 1, ..Delta::default() });
        let mut model = Model {
            store,
            world: World::new(),
            history: vec![World::new(), World::new()],
            subscriber: Subscriber::new(ClientId(1), Limits::default()),
            streams: 1,
            now: Duration::ZERO,
            has: HashMap::new(),
            acked: HashMap::new(),
            subscribed: BTreeSet::new(),
            asked_again: HashSet::new(),
            answers: VecDeque::new(),
            refuse_next: HashMap::new(),
            refused: HashSet::new(),
            broken: HashSet::new(),
            forgotten: HashSet::new(),
            live: 0,
        };
        model.connect();
        model
    }

    pub fn step(&mut self, op: Op) {
        match op {
            Op::Change(edits) => self.change(edits),
            Op::Poll => self.poll(),
            Op::Answer(kind) => self.answer(kind),
            Op::RefuseNext(kind, who) => {
                self.refuse_next.insert(kind, who);
            }
            Op::Ask(kind, i) => self.ask_for((kind, i.to_string())),
            Op::Unask(kind, i) => self.unask((kind, i.to_string())),
            Op::Reconnect => self.reconnect(),
            Op::Pass => self.now += Duration::from_secs(3),
        }
    }

    // The store.

    fn change(&mut self, edits: Vec<Edit>) {
        for edit in edits {
            match edit {
                Edit::Put(kind, i, number) => self.world.insert((kind, i.to_string()), 1 + number),
                Edit::Drop(kind, i) => self.world.remove(&(kind, i.to_string())),
            };
        }
        // As a compiler does: no table names a cluster that does not exist.
        let clusters =
            (0..4).filter(|i| self.world.contains_key(&(CDS, i.to_string()))).map(|i| 1u64 << i).sum::<u64>();
        for ((kind, _), version) in &mut self.world {
            if *kind == RDS {
                *version = 1 + ((*version - 1) & clusters);
            }
        }
        let before = self.history.last().unwrap();
        let changed = self.world.iter().filter(|(key, version)| before.get(*key) != Some(*version));
        let upserts = changed.map(|((kind, name), version)| make(*kind, name, *version).into()).collect();
        let gone = before.keys().filter(|key| !self.world.contains_key(*key));
        let removals = gone.map(|(kind, name)| (*kind, name.as_str().into())).collect();
        self.store.apply(Delta { batch: self.history.len() as u64, upserts, removals, ..Delta::default() });
        self.history.push(self.world.clone());
    }

    // What the client says.

    fn request(&mut self, request: Request) {
        self.subscriber.on_request(request, self.now).unwrap();
        self.take_events();
    }

    fn connect(&mut self) {
        self.claim(CDS, false);
        self.claim(LDS, false);
        for kind in [EDS, RDS, SDS] {
            if self.subscribed.iter().any(|(k, _)| *k == kind) {
                self.claim(kind, true);
            }
        }
    }

    fn claim(&mut self, kind: ResourceType, named: bool) {
        let names: Vec<&str> = self.subscribed.iter().filter(|(k, _)| *k == kind && named).map(|(_, n)| &**n).collect();
        let sure = self.has.iter().filter(|((k, _), has)| *k == kind && has.sure && has.version != 0);
        let initial_versions =
            sure.map(|((_, name), has)| (name.as_str().into(), Some(Version(has.version)))).collect();
        let request = Request { initial_versions, ..ask(kind, &names) };
        self.request(request);
    }

    fn reconnect(&mut self) {
        self.streams += 1;
        self.subscriber = Subscriber::new(ClientId(self.streams), Limits::default());
        self.live = 0;
        self.answers.clear();
        self.refused.clear();
        self.asked_again.clear();
        let lost = self.has.iter().filter(|(_, has)| !has.sure).map(|(key, _)| key.clone());
        self.forgotten.extend(lost.collect::<Vec<_>>());
        self.acked =
            self.has.iter().filter(|((k, _), _)| *k == RDS).map(|(key, has)| (key.clone(), has.version)).collect();
        self.connect();
    }

    fn ask_for(&mut self, key: Key) {
        if !self.subscribed.insert(key.clone()) {
            self.asked_again.insert(key.clone());
        }
        self.request(ask(key.0, &[&key.1]));
    }

    fn unask(&mut self, key: Key) {
        if self.subscribed.remove(&key) {
            self.has.remove(&key);
            self.acked.remove(&key);
            self.asked_again.remove(&key);
            let unsubscribe = ask(key.0, &[&key.1]).subscribe;
            self.request(Request { unsubscribe, ..ask(key.0, &[]) });
        }
    }

    fn answer(&mut self, kind: ResourceType) {
        let Some(at) = self.answers.iter().position(|answer| answer.kind == kind) else { return };
        let answer = self.answers.remove(at).unwrap();
        if let Some((_, blamed)) = &answer.error {
            self.refused.extend(blamed.iter().map(|(name, version)| (kind, name.clone(), *version)));
        } else {
            for (name, version) in answer.resources {
                let key = (kind, name);
                if kind == RDS && self.subscribed.contains(&key) {
                    self.acked.insert(key, version);
                }
            }
        }
        let error = answer.error.map(|(text, _)| text);
        self.request(Request { nonce: Some(answer.nonce), error, ..ask(kind, &[]) });
    }

    // What the client gets.

    fn poll(&mut self) {
        let responses = self.subscriber.poll(&self.store.read(), self.now);
        let mut companions = HashSet::new();
        for response in responses {
            self.receive(&response, &mut companions);
        }
        self.take_events();
    }

    fn receive(&mut self, response: &Response, companions: &mut HashSet<String>) {
        let (kind, shown) = (response.kind, show(response));
        let resources: Vec<(String, u64)> =
            response.resources.iter().map(|r| (r.name.to_string(), r.version.0)).collect();
        let removed: Vec<String> = response.removed.iter().map(|name| name.to_string()).collect();
        self.check(kind, &resources, &removed, companions, &shown);
        if kind == CDS {
            companions.extend(resources.iter().map(|(name, _)| name.clone()));
        }

        let culprit = if resources.is_empty() { None } else { self.refuse_next.remove(&kind) };
        let culprit = culprit.map(|who| who.index(resources.len()));
        let named = matches!(kind, ResourceType::Cluster | ResourceType::Listener);
        for (at, (name, version)) in resources.iter().enumerate() {
            let key = (kind, name.clone());
            self.asked_again.remove(&key);
            let applied = culprit.is_none_or(|bad| if named { at != bad } else { at < bad });
            if applied {
                self.forgotten.remove(&key);
                self.has.insert(key, Has { version: *version, sure: culprit.is_none() });
            } else if let Some(has) = self.has.get_mut(&key) {
                has.sure = false;
            }
            if kind == CDS {
                if culprit == Some(at) {
                    self.broken.insert(name.clone())
                } else {
                    self.broken.remove(name)
                };
            }
        }
        for name in &removed {
            self.asked_again.remove(&(kind, name.clone()));
            let gone = Has { version: 0, sure: true };
            // Envoy ignores these removals, but has its answer.
            self.has.insert((kind, name.clone()), gone);
        }
        let error = culprit.map(|bad| {
            let name = &resources[bad].0;
            if named {
                let what = if kind == CDS { "cluster" } else { "listener" };
                (format!("Error adding/updating {what}(s) {name}: refused"), vec![resources[bad].clone()])
            } else {
                // Of several nobody is blamed: they come again, apart.
                ("refused".to_owned(), if resources.len() == 1 { resources.clone() } else { Vec::new() })
            }
        });
        self.answers.push_back(Answer { kind, nonce: response.nonce, resources, error });
        if kind == CDS {
            self.follow_clusters();
        }
    }

    /// As Envoy does: it subscribes to the endpoints of the clusters it has.
    fn follow_clusters(&mut self) {
        for i in 0..4 {
            let key = (EDS, i.to_string());
            let wanted = self.has.get(&(CDS, i.to_string())).is_some_and(|has| has.version != 0);
            match (wanted, self.subscribed.contains(&key)) {
                (true, false) => self.ask_for(key),
                (false, true) => self.unask(key),
                _ => {}
            }
        }
    }

    // The rules.

    fn check(
        &self,
        kind: ResourceType,
        resources: &[(String, u64)],
        removed: &[String],
        companions: &HashSet<String>,
        shown: &str,
    ) {
        assert!(kind != CDS || removed.is_empty() || resources.is_empty(), "additions and removals together: {shown}");
        for (name, version) in resources {
            let key = (kind, name.clone());
            let has = self.has.get(&key);
            let wanted = self.asked_again.contains(&key) || kind == EDS && companions.contains(name);
            let same = has.is_some_and(|has| has.sure && has.version == *version && *version != 0);
            assert!(!same || wanted, "unchanged and sent again: {shown}");
            assert!(!self.refused.contains(&(kind, name.clone(), *version)), "refused and sent again: {shown}");
            // A name without a version is answered at once, even when an earlier stream left something there.
            let emptied = has.is_some_and(|has| has.sure && has.version != 0) && *version == 0;
            if kind == EDS && emptied && !companions.contains(name) {
                let in_use = self.tables_that_name(name);
                // Since they vanished, a cluster without endpoints was once what was wanted.
                let without = self.history.iter().rev().take_while(|world| !world.contains_key(&key));
                let wanted = without.into_iter().any(|world| world.contains_key(&(CDS, name.clone())));
                assert!(wanted || in_use.is_none(), "{shown} empties a cluster that table {in_use:?} names");
            }
            if kind == RDS {
                let outstanding = self.answers.iter().filter(|answer| answer.kind == RDS);
                let twice = outstanding.flat_map(|answer| &answer.resources).any(|(other, _)| other == name);
                assert!(!twice, "two unanswered for one table: {shown}");
                for cluster in clusters_of(*version) {
                    let there = self.has.get(&(CDS, cluster.clone())).is_some_and(|has| has.version != 0);
                    assert!(there || self.broken.contains(&cluster), "{shown} names the missing cluster {cluster}");
                }
            }
        }
        if kind == CDS {
            for name in removed.iter().filter(|name| !self.broken.contains(*name)) {
                let in_use = self.tables_that_name(name);
                assert!(in_use.is_none(), "{shown} removes a cluster that table {in_use:?} names");
            }
        }
    }

    /// A table that names the cluster, as the client has it or as the server knows it.
    fn tables_that_name(&self, cluster: &String) -> Option<String> {
        let applied = self.has.iter().filter(|((kind, _), _)| *kind == RDS).map(|(key, has)| (key, has.version));
        let mut tables = applied.chain(self.acked.iter().map(|(key, version)| (key, *version)));
        tables.find(|(_, version)| clusters_of(*version).contains(cluster)).map(|((_, name), _)| name.clone())
    }

    fn take_events(&mut self) {
        for event in self.subscriber.take_events() {
            if let Event::Live { batch, .. } = event {
                assert!(batch > self.live, "live batches grow");
                self.live = batch;
                self.check_live(batch);
            }
        }
    }

    /// What the client has of every name is what some batch from the live one on has.
    fn check_live(&self, batch: u64) {
        let late = &self.history[batch as usize..];
        let listeners = self.has.keys().chain(self.world.keys()).filter(|(kind, _)| *kind == LDS);
        for key in self.subscribed.iter().chain(listeners) {
            if self.forgotten.contains(key) {
                continue;
            }
            let version = self.has.get(key).map_or(0, |has| has.version);
            // What was refused is what there is to be had of these.
            let refused = |world: &World| {
                let version = world.get(key).copied().unwrap_or(0);
                matches!(key.0, EDS | SDS) && self.refused.contains(&(key.0, key.1.clone(), version))
            };
            if late.iter().any(refused) {
                continue;
            }
            let some = late.iter().any(|world| world.get(key).copied().unwrap_or(0) == version);
            assert!(some, "batch {batch} is called live, but the client has {key:?} at {version}");
        }
    }

    /// Everything is answered until nothing more comes; then the client has what the store has.
    pub fn settle(&mut self) {
        self.refuse_next.clear();
        for _ in 0..2 {
            let mut rounds = 0;
            self.poll();
            while let Some(kind) = self.answers.front().map(|answer| answer.kind) {
                rounds += 1;
                assert!(rounds < 1000, "it never ends");
                self.answer(kind);
                self.poll();
            }
            self.now += Duration::from_secs(10);
        }
        let world = |key: &Key| self.world.get(key).copied().unwrap_or(0);
        let refused = |key: &Key| self.refused.contains(&(key.0, key.1.clone(), world(key)));
        let wildcards = self.has.keys().chain(self.world.keys()).filter(|(k, _)| matches!(*k, CDS | LDS)).cloned();
        let keys: BTreeSet<Key> = wildcards.chain(self.subscribed.iter().cloned()).collect();
        let in_use = keys.iter().any(|key| matches!(key.0, LDS | RDS) && refused(key));
        let listener_in_use = keys.iter().any(|key| key.0 == LDS && refused(key));
        for key in keys.iter().filter(|key| !refused(key)) {
            let (version, has) = (world(key), self.has.get(key));
            if version == 0 && matches!(key.0, CDS | LDS) {
                // Where a listener or table is refused, what it names is kept.
                let kept = self.forgotten.contains(key) || key.0 == CDS && in_use;
                assert!(kept || has.is_none_or(|has| has.version == 0), "{key:?} is gone, and the client has it");
            } else {
                let kept = version == 0 && (key.0 == EDS && in_use || key.0 == RDS && listener_in_use);
                let same = has == Some(&Has { version, sure: true });
                assert!(kept || same, "{key:?}: the client has {has:?}, the store has {version}");
            }
        }
        if !keys.iter().any(|key| !matches!(key.0, CDS | EDS | SDS) && refused(key)) {
            assert_eq!(self.live, self.history.len() as u64 - 1, "the last batch is live");
        }
    }
}

fn make(kind: ResourceType, name: &str, version: u64) -> Resource {
    // The last one has to be resolved as well.
    let warms = name == "3";
    if kind == CDS { Resource { warms, ..cluster(name, version) } } else { resource(kind, name, version) }
}

fn clusters_of(table: u64) -> Vec<String> {
    let bits = table.saturating_sub(1);
    (0..4).filter(|i| bits & (1 << i) != 0).map(|i| i.to_string()).collect()
}
