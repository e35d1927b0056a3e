use super::*;
use ir::Kind;
use proptest::prelude::*;

/// The parts of a table: which version of which object is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Table(BTreeMap<ObjectKey, u32>);

impl Content for Table {
    fn suspects(&self, since: Option<&Self>) -> BTreeSet<ObjectKey> {
        let differs = |(key, version): &(&ObjectKey, &u32)| since.and_then(|since| since.0.get(*key)) != Some(*version);
        self.0.iter().filter(differs).map(|(key, _)| key.clone()).collect()
    }

    fn quoted(&self, text: &str) -> BTreeSet<ObjectKey> {
        self.0.keys().filter(|key| text.contains(&*key.name)).cloned().collect()
    }
}

fn key(index: usize) -> ObjectKey {
    ObjectKey::new(Kind::Mapping, "default", format!("m{index:05}"))
}

fn scope() -> Scope {
    Scope { kind: ScopeKind::Routes, name: "default/http/cleartext".into() }
}

const ENVOY: Client = 7;

/// Objects, a compiler that obeys decisions, and one Envoy that refuses every table with a bad version in it.
#[derive(Default)]
struct World {
    quarantine: Quarantine<Table>,
    objects: BTreeMap<ObjectKey, u32>,
    /// Versions that Envoy refuses.
    bad: BTreeSet<(ObjectKey, u32)>,
    /// What serves while the present version is out.
    retained: BTreeMap<ObjectKey, u32>,
    out: BTreeSet<ObjectKey>,
    /// A part of the table that belongs to no object is broken.
    broken_base: bool,
    /// What Envoy says.
    text: String,
    store: Option<Table>,
    serving: Table,
    batch: u64,
    answers: usize,
    reports: Vec<Arc<str>>,
    /// Tables that Envoy refused; none may come twice in a row without something new in between.
    pushes: usize,
}

impl World {
    fn table(&self) -> Table {
        let version = |(key, version): (&ObjectKey, &u32)| {
            let version = if self.out.contains(key) { self.retained.get(key).copied()? } else { *version };
            Some((key.clone(), version))
        };
        Table(self.objects.iter().filter_map(version).collect())
    }

    fn version(table: &Table) -> u64 {
        ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(table)
    }

    fn edit(&mut self, index: usize, version: u32) -> Option<Decision> {
        self.objects.insert(key(index), version);
        self.quarantine.changed(&key(index))
    }

    fn obey(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Hold(key, _) | Decision::Refuse(key, _) => _ = self.out.insert(key),
                Decision::Release(key) => _ = self.out.remove(&key),
                Decision::Report(_, text) => self.reports.push(text),
            }
        }
    }

    /// Batches and answers until nothing moves. Panics when it never ends.
    fn run(&mut self, mut decisions: Vec<Decision>, limit: usize) {
        for _ in 0..limit {
            if !self.run_once(&mut decisions) {
                return;
            }
        }
        panic!("no end after {limit} batches: {:?}", self.quarantine.searches);
    }

    /// One batch and its answer. Whether anything may follow.
    fn run_once(&mut self, decisions: &mut Vec<Decision>) -> bool {
        self.batch += 1;
        self.obey(std::mem::take(decisions));
        let table = self.table();
        let fresh = self.store.as_ref() != Some(&table);
        if fresh {
            self.store = Some(table.clone());
            self.quarantine.published(self.batch, &scope(), Some((Self::version(&table), table.clone())));
        }
        *decisions = self.quarantine.settled(self.batch);
        if !fresh {
            return !decisions.is_empty();
        }
        self.pushes += 1;
        self.answers += 1;
        let refuse =
            self.broken_base || table.0.iter().any(|(key, version)| self.bad.contains(&(key.clone(), *version)));
        let version = Self::version(&table);
        if refuse {
            let text: Arc<str> = self.text.as_str().into();
            decisions.extend(self.quarantine.refused(ENVOY, &scope(), version, &text));
        } else {
            for (key, version) in &table.0 {
                self.retained.insert(key.clone(), *version);
            }
            self.serving = table;
            decisions.extend(self.quarantine.acked(ENVOY, &scope(), version));
        }
        true
    }

    fn with(count: usize) -> Self {
        let mut world = World { text: "bad".into(), ..World::default() };
        for index in 0..count {
            world.objects.insert(key(index), 1);
        }
        world
    }

    fn refused(&self) -> Vec<ObjectKey> {
        self.quarantine.refusals().keys().cloned().collect()
    }
}

#[test]
fn one_suspect_is_refused_at_once_and_its_old_version_serves() {
    let mut world = World::with(100);
    world.run(Vec::new(), 10);
    world.bad.insert((key(3), 2));
    let decisions = world.edit(3, 2).into_iter().collect();
    let before = world.answers;
    world.run(decisions, 10);
    assert_eq!(world.refused(), [key(3)]);
    assert_eq!(world.serving.0[&key(3)], 1);
    assert_eq!(world.answers - before, 2, "the bad table, and the good one again");
}

#[test]
fn a_refused_object_comes_back_when_it_changes() {
    let mut world = World::with(5);
    world.run(Vec::new(), 10);
    world.bad.insert((key(3), 2));
    let decisions = world.edit(3, 2).into_iter().collect();
    world.run(decisions, 10);
    let decisions: Vec<_> = world.edit(3, 3).into_iter().collect();
    assert_eq!(decisions, [Decision::Release(key(3))]);
    world.run(decisions, 10);
    assert!(world.refused().is_empty());
    assert_eq!(world.serving.0[&key(3)], 3);
}

#[test]
fn at_a_cold_start_one_guilty_among_ten_thousand_is_found_in_few_answers() {
    let mut world = World::with(10_000);
    world.bad.insert((key(6_543), 1));
    world.run(Vec::new(), 200);
    assert_eq!(world.refused(), [key(6_543)]);
    assert_eq!(world.serving.0.len(), 9_999);
    assert!(world.answers <= 2 + 2 * 14, "{} answers", world.answers);
}

#[test]
fn a_quoted_name_saves_the_search() {
    let mut world = World::with(10_000);
    world.bad.insert((key(6_543), 1));
    world.text = "m06543 is malformed".into();
    world.run(Vec::new(), 200);
    assert_eq!(world.refused(), [key(6_543)]);
    assert_eq!(world.answers, 2, "everything, and everything else");
}

#[test]
fn a_misleading_text_does_no_harm() {
    let mut world = World::with(64);
    world.bad.insert((key(9), 1));
    world.text = "m00003 and m00004 look bad".into();
    world.run(Vec::new(), 200);
    assert_eq!(world.refused(), [key(9)]);
    assert_eq!(world.serving.0.len(), 63);
    assert!(world.reports.is_empty());
}

/// After a restart of this process nothing is known of what a client has.
#[test]
fn nobody_else_goes_when_the_text_quotes_the_guilty_to_a_process_that_has_just_started() {
    let mut world = World::with(100);
    world.bad.insert((key(7), 1));
    world.bad.insert((key(8), 1));
    world.text = "m00007 and m00008 and m00009 look bad".into();
    let mut least = usize::MAX;
    let mut decisions = Vec::new();
    for _ in 0..50 {
        world.run_once(&mut decisions);
        if world.serving.0.len() < least && !world.serving.0.is_empty() {
            least = world.serving.0.len();
        }
    }
    assert_eq!((world.refused(), world.serving.0.len(), least), (vec![key(7), key(8)], 98, 97));
}

#[test]
fn when_the_acknowledged_table_is_refused_nothing_is_quarantined() {
    let mut world = World::with(8);
    world.run(Vec::new(), 10);
    world.broken_base = true;
    let mut decisions = Vec::new();
    for index in 0..4 {
        decisions.extend(world.edit(index, 2));
    }
    world.run(decisions, 20);
    assert!(world.refused().is_empty() && world.out.is_empty());
    assert_eq!(world.reports.len(), 1);
    let before = world.answers;
    let decisions = world.edit(5, 2).into_iter().collect();
    world.run(decisions, 20);
    assert_eq!((world.answers - before, world.refused().len()), (1, 0), "no new search while the client is hopeless");
    world.broken_base = false;
    world.bad.insert((key(6), 2));
    let decisions = world.edit(7, 2).into_iter().collect();
    world.run(decisions, 20);
    let decisions = world.edit(6, 2).into_iter().collect();
    world.run(decisions, 20);
    assert_eq!(world.refused(), [key(6)], "it accepted something, so blame works again");
}

#[test]
fn a_sole_suspect_is_not_blamed_for_a_broken_base() {
    let mut world = World::with(8);
    world.run(Vec::new(), 10);
    world.broken_base = true;
    let decisions = world.edit(2, 2).into_iter().collect();
    world.run(decisions, 20);
    assert!(world.refused().is_empty());
    assert_eq!(world.reports.len(), 1);
}

#[test]
fn the_next_client_goes_on_with_a_search() {
    let mut world = World::with(16);
    world.bad.insert((key(5), 1));
    let table = world.table();
    let version = World::version(&table);
    world.quarantine.published(1, &scope(), Some((version, table)));
    assert!(world.quarantine.settled(1).is_empty());
    let decisions = world.quarantine.refused(ENVOY + 1, &scope(), version, &"bad".into());
    assert_eq!(decisions.len(), 16, "all are held");
    world.quarantine.disconnected(ENVOY + 1);
    world.batch = 1;
    world.run(decisions, 60);
    assert_eq!(world.refused(), [key(5)]);
    assert_eq!(world.serving.0.len(), 15);
}

#[test]
fn a_refusal_in_a_second_table_waits_for_the_search_in_the_first() {
    let (first, second) = (scope(), Scope { kind: ScopeKind::Listener, name: "default/http".into() });
    let mut quarantine = Quarantine::<Table>::default();
    let table = Table([(key(0), 1), (key(1), 1)].into());
    quarantine.published(1, &first, Some((1, table.clone())));
    quarantine.published(1, &second, Some((1, table.clone())));
    quarantine.settled(1);
    assert_eq!(quarantine.refused(ENVOY, &first, 1, &"x".into()).len(), 2);
    assert!(quarantine.refused(ENVOY, &second, 1, &"y".into()).is_empty());
    assert_eq!(quarantine.searching(), 1);
}

#[test]
fn answers_for_unknown_tables_and_versions_are_ignored() {
    let mut quarantine = Quarantine::<Table>::default();
    assert!(quarantine.refused(ENVOY, &scope(), 3, &"x".into()).is_empty());
    assert!(quarantine.acked(ENVOY, &scope(), 3).is_empty());
    quarantine.published(1, &scope(), Some((1, Table::default())));
    assert!(quarantine.refused(ENVOY, &scope(), 3, &"x".into()).is_empty());
}

proptest! {


    /// Whatever is bad and however objects are edited: in the end exactly the bad versions are out, everything else
    /// serves, and the number of answers is bounded.
    #[test]
    fn exactly_the_guilty_stay_out(
        count in 1usize..60,
        bad in prop::collection::btree_set(0usize..60, 0..6),
        edits in prop::collection::vec((0usize..60, 2u32..5, any::<bool>()), 0..30),
        misleading in 0usize..60,
    ) {
        let mut world = World::with(count);
        world.text = format!("m{misleading:05}");
        world.bad.extend(bad.iter().map(|index| (key(*index), 1)));
        world.run(Vec::new(), 2_000);
        for chunk in edits.chunks(4) {
            let mut decisions = Vec::new();
            for (index, version, is_bad) in chunk {
                if world.objects.contains_key(&key(*index)) && world.objects[&key(*index)] != *version {
                    if *is_bad { world.bad.insert((key(*index), *version)); }
                    // A version never turns bad after it was accepted.
                    if world.retained.get(&key(*index)) == Some(version) { world.bad.remove(&(key(*index), *version)); }
                    decisions.extend(world.edit(*index, *version));
                }
            }
            world.run(decisions, 2_000);
        }
        let guilty: Vec<ObjectKey> = world.objects.iter()
            .filter(|(key, version)| world.bad.contains(&((*key).clone(), **version)))
            .map(|(key, _)| key.clone()).collect();
        prop_assert_eq!(world.refused(), guilty);
        prop_assert_eq!(&world.serving, &world.table());
        prop_assert_eq!(world.quarantine.searching(), 0);
        prop_assert!(world.reports.is_empty());
    }

    /// Edits that arrive in the middle of a search do not derail it.
    #[test]
    fn edits_during_a_search_do_not_derail_it(
        bad in prop::collection::btree_set(0usize..40, 1..4),
        edits in prop::collection::vec((1usize..30, 0usize..40, any::<bool>()), 1..6),
    ) {
        let mut world = World::with(40);
        world.bad.extend(bad.iter().map(|index| (key(*index), 1)));
        let mut decisions: Vec<Decision> = Vec::new();
        let mut next_version = 2;
        for step in 1usize..40 {
            for (_, index, is_bad) in edits.iter().filter(|(at, ..)| *at == step) {
                if *is_bad { world.bad.insert((key(*index), next_version)); }
                decisions.extend(world.edit(*index, next_version));
                next_version += 1;
            }
            // One batch and one answer at a time.
            world.batch += 1;
            world.obey(std::mem::take(&mut decisions));
            let table = world.table();
            let version = World::version(&table);
            if world.store.as_ref() != Some(&table) {
                world.store = Some(table.clone());
                world.quarantine.published(world.batch, &scope(), Some((version, table.clone())));
                decisions = world.quarantine.settled(world.batch);
                if table.0.iter().any(|(key, version)| world.bad.contains(&(key.clone(), *version))) {
                    decisions.extend(world.quarantine.refused(ENVOY, &scope(), version, &"bad".into()));
                } else {
                    world.retained.extend(table.0.clone());
                    world.serving = table;
                    decisions.extend(world.quarantine.acked(ENVOY, &scope(), version));
                }
            } else {
                decisions = world.quarantine.settled(world.batch);
            }
        }
        world.run(decisions, 2_000);
        let guilty: Vec<ObjectKey> = world.objects.iter()
            .filter(|(key, version)| world.bad.contains(&((*key).clone(), **version)))
            .map(|(key, _)| key.clone()).collect();
        prop_assert_eq!(world.refused(), guilty);
        prop_assert_eq!(&world.serving, &world.table());
        prop_assert!(world.reports.is_empty());
    }
}

#[test]
fn versions_that_nobody_is_compared_with_are_forgotten() {
    let mut quarantine = Quarantine::default();
    let kept = |quarantine: &Quarantine<Table>| {
        let history = quarantine.scopes.get(&scope());
        history.into_iter().flat_map(|history| &history.published).map(|one| one.version).collect::<Vec<_>>()
    };
    for version in 1..=4 {
        quarantine.published(version, &scope(), Some((version, Table::default())));
    }
    quarantine.refused(9, &scope(), 1, &"no".into());
    quarantine.acked(ENVOY, &scope(), 2);
    assert_eq!(kept(&quarantine), [1, 2, 3, 4], "the other client has accepted nothing");
    quarantine.acked(9, &scope(), 3);
    assert_eq!(kept(&quarantine), [2, 3, 4]);
    quarantine.acked(ENVOY, &scope(), 4);
    assert_eq!(kept(&quarantine), [3, 4]);
    quarantine.disconnected(9);
    quarantine.acked(ENVOY, &scope(), 4);
    assert_eq!(kept(&quarantine), [4]);
}
