//! Which state of the objects is live: in the Envoys of this replica, as the others are told, and in those of the others,
//! as batches of this one.

use crate::replicas::{Generations, Refused, Report};
use ir::{Kind, ObjectKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// States of a kind that are remembered. A replica that is further behind than that is believed to have nothing since.
const STATES: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// States that feeds have reached and that nothing is published of yet.
    fresh: Vec<(Kind, Generations)>,
    /// States on their way to the Envoys of this replica, with the batch that completes them.
    pending: VecDeque<(u64, Kind, Generations)>,
    /// What is told.
    report: Report,
    /// Kinds of which an object is refused for a reason of this machine, which are not told as live.
    withheld: BTreeMap<Kind, Option<Generations>>,
    history: BTreeMap<Kind, History>,
    others: BTreeMap<Arc<str>, BTreeMap<Kind, Seen>>,
    refused_elsewhere: BTreeMap<ObjectKey, Refused>,
}

/// States of a kind, oldest first.
#[derive(Debug, Default)]
struct History {
    /// Of the next one.
    position: u64,
    states: VecDeque<State>,
}

#[derive(Debug)]
struct State {
    position: u64,
    /// The batch that completes it, or one of those before it that are forgotten.
    batch: u64,
    state: Generations,
}

/// How far another replica is.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    told: Generations,
    /// Position of the newest state that it is known to have had.
    at: Option<u64>,
    /// Up to here what it told was looked for.
    searched: u64,
}

impl Progress {
    /// Feeds have reached these states, one after the other.
    pub(super) fn reached(&mut self, states: Vec<(Kind, Generations)>) {
        self.fresh.extend(states);
    }

    /// Everything that feeds have handed on is in this batch or in an earlier one.
    pub(super) fn settled(&mut self, batch: u64) {
        for (kind, state) in std::mem::take(&mut self.fresh) {
            self.pending.push_back((batch, kind, state));
            self.history.entry(kind).or_default().push(batch, state);
        }
        if self.pending.len() > STATES {
            // What is told skips some; the newest of each kind comes when everything is live.
            let newest: BTreeMap<Kind, Generations> =
                self.pending.drain(..).map(|(_, kind, state)| (kind, state)).collect();
            self.pending.extend(newest.into_iter().map(|(kind, state)| (batch, kind, state)));
        }
    }

    /// What the Envoys of this replica have, with what they refused.
    pub(super) fn live(&mut self, envoys: usize, live: Option<u64>) -> &Report {
        self.report.envoys = envoys;
        while let Some((_, kind, state)) = self.pending.pop_front_if(|(batch, _, _)| live >= Some(*batch)) {
            match self.withheld.get_mut(&kind) {
                Some(withheld) => *withheld = Some(state),
                None => _ = Arc::make_mut(&mut self.report.live).insert(kind, state),
            }
        }
        &self.report
    }

    /// One of them refused a version of an object. `local` says that it did so for a reason of this machine.
    pub(super) fn refused(&mut self, key: ObjectKey, refused: Refused, local: bool) {
        if local {
            self.withheld.entry(key.kind).or_default();
        } else {
            Arc::make_mut(&mut self.report.refused).insert(key, refused);
        }
    }

    /// What was said about an object is void. `local` are the kinds of those that still are refused for a reason of this
    /// machine.
    pub(super) fn released(&mut self, key: &ObjectKey, local: &BTreeSet<Kind>) {
        if self.report.refused.contains_key(key) {
            Arc::make_mut(&mut self.report.refused).remove(key);
        }
        for (kind, state) in self.withheld.extract_if(.., |kind, _| !local.contains(kind)) {
            if let Some(state) = state {
                Arc::make_mut(&mut self.report.live).insert(kind, state);
            }
        }
    }

    /// What the other replicas say now. Those without an Envoy have nothing to wait for.
    pub(super) fn heard(&mut self, reports: &BTreeMap<Arc<str>, Arc<Report>>) {
        let refused = reports.values().flat_map(|report| report.refused.iter());
        self.refused_elsewhere = refused.map(|(key, refused)| (key.clone(), refused.clone())).collect();
        self.others.retain(|id, _| reports.get(id).is_some_and(|report| report.envoys > 0));
        for (id, report) in reports.iter().filter(|(_, report)| report.envoys > 0) {
            let kinds = self.others.entry(id.clone()).or_default();
            for (kind, told) in report.live.iter() {
                let seen = kinds.entry(*kind).or_insert(Seen { told: *told, ..Seen::default() });
                if seen.told != *told {
                    *seen = Seen { told: *told, at: seen.at, searched: 0 };
                }
            }
        }
    }

    /// Versions that Envoys of other replicas refused.
    pub(super) fn refused_elsewhere(&self) -> impl Iterator<Item = (&ObjectKey, &Refused)> {
        self.refused_elsewhere.iter()
    }

    /// The newest batch of which every other replica's Envoys have everything; `None` when there are no others.
    pub(super) fn elsewhere(&mut self) -> Option<u64> {
        let history = &self.history;
        let replicas = self.others.values_mut().map(|kinds| {
            let batches = history.iter().map(|(kind, history)| {
                let at = kinds.get_mut(kind).and_then(|seen| history.look(seen));
                history.complete_at(at)
            });
            batches.min().unwrap_or(u64::MAX)
        });
        replicas.min()
    }
}

impl History {
    fn push(&mut self, batch: u64, state: Generations) {
        self.states.push_back(State { position: self.position, batch, state });
        self.position += 1;
        // The oldest stays, as somebody may be there still: whoever lacks the second one lacks the third since then.
        if self.states.len() > STATES
            && let Some(forgotten) = self.states.remove(1)
            && let Some(next) = self.states.get_mut(1)
        {
            next.batch = forgotten.batch;
        }
    }

    /// Looks for what a replica told among the states that were not looked at yet.
    fn look(&self, seen: &mut Seen) -> Option<u64> {
        let unseen = self.states.iter().rev().take_while(|state| state.position >= seen.searched);
        let found = unseen.filter(|state| state.state == seen.told).map(|state| state.position).next();
        seen.at = seen.at.max(found);
        seen.searched = self.position;
        seen.at
    }

    /// The newest batch that is complete for whoever has had everything up to that position.
    fn complete_at(&self, at: Option<u64>) -> u64 {
        let lacks = self.states.partition_point(|state| Some(state.position) <= at);
        self.states.get(lacks).map_or(u64::MAX, |state| state.batch.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: Kind = Kind::Mapping;

    fn reports(live: &[(Kind, u64)], envoys: usize) -> BTreeMap<Arc<str>, Arc<Report>> {
        let live = live.iter().map(|(kind, state)| (*kind, Generations(*state))).collect();
        [("b".into(), Arc::new(Report { envoys, live: Arc::new(live), ..Report::default() }))].into()
    }

    fn reach(progress: &mut Progress, batch: u64, states: &[(Kind, u64)]) {
        progress.reached(states.iter().map(|(kind, state)| (*kind, Generations(*state))).collect());
        progress.settled(batch);
    }

    #[test]
    fn a_state_is_told_once_its_batch_is_live_everywhere_here() {
        let mut progress = Progress::default();
        reach(&mut progress, 1, &[(M, 10), (Kind::Host, 5)]);
        reach(&mut progress, 3, &[(M, 11)]);
        assert!(progress.live(1, None).live.is_empty());
        assert_eq!(progress.live(1, Some(2)).live[&M], Generations(10));
        assert_eq!(progress.live(2, Some(3)).live[&M], Generations(11));
        assert_eq!(progress.live(2, Some(3)).envoys, 2);
    }

    #[test]
    fn another_replica_holds_a_batch_back_until_it_tells_its_state() {
        let mut progress = Progress::default();
        reach(&mut progress, 1, &[(M, 10), (Kind::Host, 5)]);
        assert_eq!(progress.elsewhere(), None, "there is nobody");
        progress.heard(&reports(&[], 0));
        assert_eq!(progress.elsewhere(), None, "it has no Envoy");
        progress.heard(&reports(&[(M, 10)], 1));
        assert_eq!(progress.elsewhere(), Some(0), "nothing is known of its Hosts");
        progress.heard(&reports(&[(M, 10), (Kind::Host, 5)], 1));
        assert_eq!(progress.elsewhere(), Some(u64::MAX));
        reach(&mut progress, 4, &[(M, 11), (M, 12)]);
        assert_eq!(progress.elsewhere(), Some(3));
        // A state in between was never the end of a batch here; the other is not there yet.
        progress.heard(&reports(&[(M, 11), (Kind::Host, 5)], 1));
        assert_eq!(progress.elsewhere(), Some(3));
        // Ahead of this replica, which cannot know that.
        progress.heard(&reports(&[(M, 13), (Kind::Host, 5)], 1));
        assert_eq!(progress.elsewhere(), Some(3));
        reach(&mut progress, 5, &[(M, 13)]);
        assert_eq!(progress.elsewhere(), Some(u64::MAX));
        progress.heard(&BTreeMap::new());
        assert_eq!(progress.elsewhere(), None);
    }

    #[test]
    fn memory_is_bounded_and_errs_on_the_safe_side() {
        let mut progress = Progress::default();
        reach(&mut progress, 1, &[(M, 0)]);
        progress.heard(&reports(&[(M, 0)], 1));
        for batch in 2..5_000 {
            reach(&mut progress, batch, &[(M, batch)]);
            assert_eq!(progress.elsewhere(), Some(1));
        }
        assert!(progress.pending.len() <= STATES && progress.history[&M].states.len() <= STATES);
        assert_eq!(progress.live(1, Some(5_000)).live[&M], Generations(4_999));
        progress.heard(&reports(&[(M, 4_998)], 1));
        assert_eq!(progress.elsewhere(), Some(4_998));
    }

    #[test]
    fn a_reason_of_this_machine_withholds_the_kind_and_accuses_nobody() {
        let mut progress = Progress::default();
        let key = ObjectKey::new(Kind::Listener, "ns", "l");
        let refused = Refused { uid: "u".into(), generation: 1, text: "cannot bind".into() };
        progress.refused(key.clone(), refused.clone(), true);
        reach(&mut progress, 1, &[(M, 1), (Kind::Listener, 2)]);
        let report = progress.live(1, Some(1)).clone();
        assert!(report.refused.is_empty() && report.live.contains_key(&M));
        assert!(!report.live.contains_key(&Kind::Listener));
        progress.released(&key, &BTreeSet::new());
        assert_eq!(progress.live(1, Some(1)).live[&Kind::Listener], Generations(2));
        progress.refused(key.clone(), refused, false);
        assert!(progress.live(1, Some(1)).refused.contains_key(&key));
    }
}
