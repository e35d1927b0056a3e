//! What is said to the owner of an object.

use crate::{ObjectKey, Problem};
use std::sync::Arc;

/// The compiler's judgement of one object; acknowledgement by Envoy comes on top of it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The object.
    pub about: ObjectKey,
    /// `metadata.generation` of the version that was judged; 0 when it has none.
    pub generation: i64,
    /// Whether this version is in force.
    pub accepted: bool,
    /// Whether all it names exists and may be used.
    pub resolved: bool,
    /// Whether something in Envoy comes of it. A Mapping that no Host takes is accepted but not attached.
    pub attached: bool,
    /// Whether an earlier version serves in its place.
    pub retained: bool,
    /// Findings, most severe first, then by field.
    pub problems: Vec<Problem>,
    /// The endpoints that its traffic goes to, under the name that they have or would have in EDS.
    pub backend: Option<Arc<str>>,
    /// Whether it serves with a certificate; for Hosts.
    pub certificate: bool,
}

impl Verdict {
    /// The finding that decides the reason of a condition, if there is one that is more than a notice.
    pub fn leading(&self) -> Option<&Problem> {
        self.problems
            .iter()
            .max_by_key(|problem| problem.effect)
            .filter(|problem| problem.effect > crate::Effect::Notice)
    }
}
