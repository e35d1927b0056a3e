//! One search: which of these objects are guilty, when only groups can be asked about.

use super::Client;
use ir::ObjectKey;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the search wants next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This object is guilty.
    Refuse(ObjectKey),
    /// Let these out and see what Envoy says.
    Test(Vec<ObjectKey>),
    /// Everything is decided.
    Done,
}

/// Objects of which at least one is guilty, or of which nothing is known.
#[derive(Debug)]
struct Group {
    members: Vec<ObjectKey>,
    guilty: bool,
}

#[derive(Debug)]
enum Phase {
    /// The acknowledged content is to be accepted again before anything is tried.
    Base,
    /// `members` are out. If they pass, one of `rest` is guilty, as long as `sure` holds.
    Testing { members: Vec<ObjectKey>, rest: Vec<ObjectKey>, sure: bool },
    /// Between two answers.
    Deciding,
}

/// Adaptive group testing with a stack of groups: a group known to be guilty is split, and one half is let out. If
/// that half passes, the other one is guilty; if it fails, the other one is unknown again. Needs about
/// `2 · log2(n)` answers for each guilty object among `n`.
#[derive(Debug)]
pub(super) struct Search {
    /// The client whose answers count; `None` while it is away.
    pub(super) owner: Option<Client>,
    /// Envoy's words that began it.
    pub(super) text: Arc<str>,
    /// Objects that the text seems to speak of. They are tried last.
    pub(super) likely: BTreeSet<ObjectKey>,
    /// Refused in the course of this search, to be undone when it turns out that no object is to blame.
    pub(super) refused: Vec<ObjectKey>,
    /// Decisions were made that are not published yet.
    pub(super) unpublished: bool,
    /// Answers about content published before this batch do not count.
    pub(super) since: u64,
    /// How often the base was refused.
    pub(super) base_attempts: u32,
    /// The base is everything but what Envoy's text seems to speak of. Only if it passes, that is guilty.
    pub(super) guesses: bool,
    phase: Phase,
    stack: Vec<Group>,
}

impl Search {
    pub(super) fn new(owner: Client, text: Arc<str>) -> Self {
        Self {
            owner: Some(owner),
            text,
            likely: BTreeSet::new(),
            refused: Vec::new(),
            unpublished: true,
            since: u64::MAX,
            base_attempts: 0,
            guesses: false,
            phase: Phase::Base,
            stack: Vec::new(),
        }
    }

    pub(super) fn in_base(&self) -> bool {
        matches!(self.phase, Phase::Base)
    }

    pub(super) fn add_guilty(&mut self, members: Vec<ObjectKey>) {
        self.stack.push(Group { members, guilty: true });
    }

    /// What was out last is accepted.
    pub(super) fn passed(&mut self) {
        if let Phase::Testing { rest, sure, .. } = std::mem::replace(&mut self.phase, Phase::Deciding) {
            self.stack.push(Group { members: rest, guilty: sure });
        }
    }

    /// What was out last is refused; `suspects` are the objects in which it differs from what is accepted, among them
    /// such that changed in the meantime. They are held again.
    pub(super) fn failed(&mut self, suspects: Vec<ObjectKey>) {
        // Objects that changed meanwhile may be in a group already. Groups stay disjoint, or the guilt of one object
        // would be looked for in two of them.
        let fresh: BTreeSet<&ObjectKey> = suspects.iter().collect();
        for group in &mut self.stack {
            let before = group.members.len();
            group.members.retain(|key| !fresh.contains(key));
            group.guilty &= group.members.len() == before;
        }
        if self.in_base() {
            if std::mem::take(&mut self.guesses) {
                self.stack.iter_mut().for_each(|group| group.guilty = false);
            }
            // What is on the stack is held and was not part of this answer: it is as guilty or not as it was before.
            self.add_guilty(suspects);
            return;
        }
        if let Phase::Testing { mut rest, .. } = std::mem::replace(&mut self.phase, Phase::Deciding) {
            rest.retain(|key| !fresh.contains(key));
            self.add_guilty(suspects);
            // On top: the unknown half may well be free of guilt, and then it is live with the next answer.
            self.stack.push(Group { members: rest, guilty: false });
        }
    }

    /// The object changed: if it was the guilty one, nothing follows for the others.
    pub(super) fn changed(&mut self, key: &ObjectKey) {
        if let Phase::Testing { members, rest, sure } = &mut self.phase
            && (members.contains(key) || rest.contains(key))
        {
            *sure = false;
        }
        for group in &mut self.stack {
            if group.guilty && group.members.contains(key) {
                group.guilty = false;
            }
        }
    }

    /// The next step. Objects for which `held` is false are no longer part of the search.
    pub(super) fn next(&mut self, held: impl Fn(&ObjectKey) -> bool) -> Step {
        while let Some(mut group) = self.stack.pop() {
            group.members.retain(&held);
            let guilty = group.guilty;
            match group.members.as_slice() {
                [] => continue,
                [sole] if guilty => {
                    self.refused.push(sole.clone());
                    return Step::Refuse(sole.clone());
                }
                _ if guilty => {
                    let (test, rest) = self.split(group.members);
                    self.phase = Phase::Testing { members: test.clone(), rest, sure: true };
                    return Step::Test(test);
                }
                _ => {
                    self.phase = Phase::Testing { members: group.members.clone(), rest: Vec::new(), sure: false };
                    return Step::Test(group.members);
                }
            }
        }
        Step::Done
    }

    /// The part to be let out, and the rest. What Envoy's text speaks of stays behind; otherwise halves.
    fn split(&self, members: Vec<ObjectKey>) -> (Vec<ObjectKey>, Vec<ObjectKey>) {
        let (likely, mut test): (Vec<_>, Vec<_>) = members.into_iter().partition(|key| self.likely.contains(key));
        if likely.is_empty() || test.is_empty() {
            test.extend(likely);
            let rest = test.split_off(test.len().div_ceil(2));
            return (test, rest);
        }
        (test, likely)
    }
}
