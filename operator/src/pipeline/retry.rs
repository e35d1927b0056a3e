//! A port that another process has may become free, and nobody edits a Listener for that: it is tried again by itself.

use crate::blame;
use ir::ObjectKey;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the first attempt waits, and the longest: each puts the Listener and its tables together again.
const WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(64));

/// Refusals that are about the machine and not about the object, and when to see whether they still hold.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<ObjectKey, Attempt>);

#[derive(Debug)]
struct Attempt {
    refused: Instant,
    wait: Duration,
    /// False while Envoy has not answered, and after it has accepted.
    due: bool,
}

impl Retries {
    /// Envoy refused an object with this text.
    pub(super) fn refused(&mut self, key: &ObjectKey, text: &str, now: Instant) {
        if !blame::cannot_bind(text) {
            return;
        }
        // The answer to an attempt comes at once. One that is long in coming is about a port that was free meanwhile.
        let again = self.0.get(key).filter(|last| now.duration_since(last.refused) < last.wait + WAITS.1);
        let wait = again.map_or(WAITS.0, |last| WAITS.1.min(last.wait * 2));
        self.0.insert(key.clone(), Attempt { refused: now, wait, due: true });
    }

    /// The object changed or is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// When [`Retries::take`] has to be asked again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().filter(|attempt| attempt.due).map(Attempt::at).min()
    }

    /// Those to be tried now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<ObjectKey> {
        let due = self.0.iter_mut().filter(|(_, attempt)| attempt.due && attempt.at() <= now);
        due.map(|(key, attempt)| {
            attempt.due = false;
            key.clone()
        })
        .collect()
    }
}

impl Attempt {
    fn at(&self) -> Instant {
        self.refused + self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Kind;

    const TAKEN: &str = "cannot bind '0.0.0.0:80': Address already in use";

    #[test]
    fn attempts_become_rare_and_start_over_when_one_succeeded() {
        let key = ObjectKey::new(Kind::Listener, "default", "http");
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            retries.refused(&key, TAKEN, now);
            let due = retries.due().unwrap();
            assert_eq!(retries.take(due - Duration::from_millis(1)), []);
            assert_eq!(retries.take(due).as_slice(), std::slice::from_ref(&key));
            assert_eq!((retries.take(due), retries.due()), (vec![], None), "it is tried once");
            waits.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64, 64]);
        now += Duration::from_secs(120);
        retries.refused(&key, TAKEN, now);
        assert_eq!(retries.due(), Some(now + WAITS.0));
        retries.forget(&key);
        assert_eq!(retries.due(), None);
    }

    #[test]
    fn what_is_wrong_with_an_object_is_not_tried_again() {
        let mut retries = Retries::default();
        retries.refused(&ObjectKey::new(Kind::Mapping, "default", "one"), "no such filter", Instant::now());
        assert_eq!(retries.due(), None);
    }
}
