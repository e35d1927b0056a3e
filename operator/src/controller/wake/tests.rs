use super::*;
use crate::snapshot::{Backing, Client};
use crate::status::tests::accepted;
use ir::{Effect, Kind, Problem};

struct Scene {
    board: Arc<Board>,
    waited: Arc<Waited>,
    wake: Wake,
    snapshot: Snapshot,
    journal: Journal,
    start: Instant,
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::Mapping, "default", name)
}

impl Scene {
    fn new() -> Self {
        let (board, waited) = (Arc::new(Board::default()), Arc::new(Waited::default()));
        board.follow(true);
        let wake = Wake::new(board.clone(), waited.clone());
        let snapshot = Snapshot { published: true, ..Snapshot::default() };
        Self { board, waited, wake, snapshot, journal: Journal::default(), start: Instant::now() }
    }

    fn verdict(name: &str) -> Verdict {
        Verdict { backend: Some("k8s/default/web/80".into()), ..accepted(key(name), 1) }
    }

    fn put(&mut self, verdict: Verdict, batch: u64) {
        let about = verdict.about.clone();
        self.snapshot.batch = batch;
        self.snapshot.verdicts(&[(about.clone(), Some(Arc::new(verdict)))], batch);
        self.journal.objects.insert(about);
    }

    fn live(&mut self, batch: Option<u64>) {
        let clients = batch.map(|live| (1, Client { live, ..Client::default() }));
        self.snapshot.clients = Arc::new(clients.into_iter().collect());
    }

    fn backing(&mut self, ready: bool, at: f64) {
        let since = self.start + Duration::from_secs_f64(at);
        self.snapshot.backings.set("k8s/default/web/80".into(), Some(Backing { ready, since, initial: false }));
        self.journal.backends.insert("k8s/default/web/80".into());
    }

    /// What is due at that second, as names; `*` for everything.
    fn due(&mut self, at: f64) -> Vec<String> {
        self.board.publish(self.snapshot.clone(), &mut self.journal);
        let due = self.wake.step(self.start + Duration::from_secs_f64(at));
        let mut names: Vec<String> = due.objects.iter().map(|key| key.name.to_string()).collect();
        names.extend(due.all.then(|| "*".to_owned()));
        names.sort();
        names
    }

    /// The second at which the next step is due without anything new.
    fn next(&self, at: f64) -> Option<f64> {
        let next = self.wake.next(self.start + Duration::from_secs_f64(at))?;
        Some((next - self.start).as_secs_f64())
    }
}

#[test]
fn nothing_is_said_before_the_first_publication() {
    let mut scene = Scene::new();
    scene.snapshot.published = false;
    scene.put(Scene::verdict("a"), 1);
    assert!(scene.due(0.0).is_empty());
    scene.snapshot.published = true;
    scene.live(Some(1));
    assert_eq!(scene.due(1.0), ["*"]);
    assert_eq!(scene.due(2.0), [] as [&str; 0]);
}

#[test]
fn an_edit_waits_for_its_acknowledgement() {
    let mut scene = Scene::new();
    scene.live(Some(0));
    scene.due(0.0);
    scene.put(Scene::verdict("a"), 1);
    scene.put(Scene::verdict("b"), 2);
    assert!(scene.due(0.1).is_empty());
    scene.live(Some(1));
    assert_eq!(scene.due(0.2), ["a"]);
    scene.live(Some(2));
    assert_eq!(scene.due(0.3), ["b"]);
    // Already acknowledged when it is first seen.
    scene.put(Scene::verdict("c"), 2);
    assert_eq!(scene.due(0.4), ["c"]);
}

#[test]
fn what_a_controller_finds_unacknowledged_waits_again() {
    let mut scene = Scene::new();
    scene.live(Some(0));
    scene.due(0.0);
    scene.put(Scene::verdict("a"), 1);
    scene.put(Verdict { attached: false, ..Scene::verdict("b") }, 1);
    assert_eq!(scene.due(0.1), ["b"]);
    scene.live(Some(1));
    assert_eq!(scene.due(0.2), ["a"]);
    // Before the controller looks, another replica becomes known, which is not that far.
    scene.snapshot.elsewhere = Some(0);
    assert!(scene.due(0.3).is_empty());
    for name in ["a", "b", "gone"] {
        scene.waited.hand_back(key(name));
    }
    assert!(scene.due(0.4).is_empty());
    assert_eq!(scene.wake.awaited(), Some(1));
    scene.snapshot.elsewhere = Some(1);
    assert_eq!(scene.due(0.5), ["a"]);
    // It had become so before this was taken in.
    scene.waited.hand_back(key("a"));
    assert_eq!(scene.due(0.6), ["a"]);
    assert!(scene.due(0.7).is_empty() && scene.wake.awaited().is_none());
}

#[test]
fn waiting_ends_with_and_without_a_proxy() {
    let mut scene = Scene::new();
    scene.due(0.0);
    scene.put(Scene::verdict("a"), 1);
    assert!(scene.due(1.0).is_empty());
    assert_eq!(scene.next(1.0), Some(3.0));
    assert!(!scene.waited.is_over(1, Acknowledgement::NoProxy));
    assert_eq!(scene.due(3.0), ["a"]);
    assert!(scene.waited.is_over(1, Acknowledgement::NoProxy) && !scene.waited.is_over(1, Acknowledgement::Pending));
    assert_eq!(scene.due(11.0), ["a"]);
    assert!(scene.waited.is_over(1, Acknowledgement::Pending) && !scene.waited.is_over(2, Acknowledgement::Pending));
    // An Envoy that comes at last.
    scene.live(Some(1));
    assert_eq!(scene.due(60.0), ["a"]);
    assert_eq!(scene.next(60.0), None);
}

#[test]
fn many_edits_of_one_object_are_one_that_waits() {
    let mut scene = Scene::new();
    scene.due(0.0);
    for batch in 1..1_000 {
        scene.put(Scene::verdict("a"), batch);
        assert!(scene.due(0.1).is_empty());
    }
    assert_eq!((scene.wake.waiting.len(), scene.wake.batches.len()), (1, 1));
    assert_eq!(scene.due(2.2), ["a"]);
}

#[test]
fn what_no_answer_can_change_is_due_at_once() {
    let mut scene = Scene::new();
    scene.live(Some(0));
    scene.due(0.0);
    let mut bad = Scene::verdict("bad");
    bad.accepted = false;
    let mut refused = Scene::verdict("refused");
    refused.problems.push(Problem::new(&refused.about, "", ProblemKind::RefusedByEnvoy, Effect::Degraded, "no"));
    let mut unused = Scene::verdict("unused");
    unused.attached = false;
    for verdict in [bad, refused, unused, Scene::verdict("fine")] {
        scene.put(verdict, 1);
    }
    assert_eq!(scene.due(0.1), ["bad", "refused", "unused"]);
    // An object that nothing is said about any more.
    scene.snapshot.verdicts(&[(key("fine"), None)], 2);
    scene.journal.objects.insert(key("fine"));
    assert_eq!(scene.due(0.2), ["fine"]);
    assert!(scene.wake.waiting.is_empty());
}

#[test]
fn a_search_is_waited_for() {
    let mut scene = Scene::new();
    scene.live(Some(0));
    scene.due(0.0);
    let mut held = Scene::verdict("a");
    held.problems.push(Problem::new(&held.about, "", ProblemKind::HeldBack, Effect::Notice, "wait"));
    scene.put(held, 1);
    scene.live(Some(1));
    assert!(scene.due(0.0).is_empty());
    assert_eq!(scene.due(10.0), ["a"]);
}

#[test]
fn endpoints_are_told_late_and_in_turns() {
    let mut scene = Scene::new();
    scene.live(Some(1));
    for index in 0..1_000 {
        scene.put(Scene::verdict(&format!("m{index}")), 1);
    }
    scene.backing(true, 0.0);
    assert_eq!(scene.due(0.0), ["*"]);
    scene.backing(false, 1.0);
    assert!(scene.due(1.0).is_empty());
    assert_eq!(scene.next(1.0), Some(11.0));
    // Back before anybody was told: nothing but a look at those that are concerned, in turns.
    assert_eq!(scene.due(11.0).len(), 100);
    assert_eq!(scene.due(11.1).len(), 10);
    assert_eq!(scene.next(11.1), Some(11.2));
    assert_eq!(scene.due(13.0).len(), 100);
    let mut rest = 0;
    let mut second = 13.0;
    while scene.next(second).is_some() {
        second += 0.1;
        rest += scene.due(second).len();
    }
    assert_eq!(rest, 1_000 - 210);
    assert!((20.0..22.0).contains(&second), "{second}");
}

#[test]
fn a_start_looks_at_endpoints_that_are_missing() {
    let mut scene = Scene::new();
    scene.live(Some(1));
    scene.put(Scene::verdict("a"), 1);
    scene.backing(false, 0.0);
    assert_eq!(scene.due(0.0), ["*"]);
    assert_eq!(scene.due(10.0), ["a"]);
}
