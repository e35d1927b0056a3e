//! Compiler and renderer start over when little is left of what they once held.
//!
//! Their tables, indexes and caches keep the room of their largest day, and what is left lies all over it: 100,000 objects
//! that came and went would cost their memory for ever. Compiling from scratch is the same code on empty tables, so that
//! no table has to know how to become small.

use super::{Pipeline, paranoid};
use crate::room;
use envoy::Renderer;
use std::time::{Duration, Instant};

/// Rows (objects, what is derived of them, indexes) below which nothing is worth while: those of two thousand Mappings.
const WORTHWHILE: usize = 20_000;
/// With `--paranoid` it is done after so many batches in any case, so that it is tried.
const TRIED_AFTER: u64 = 200;
/// How much of the most has to be gone. What is left is compiled again, which costs less than what went has cost.
const SHARE: usize = 4;
/// When free memory is first given back after that, and last: others hold on to something of the same objects for a while
/// (clusters linger for six seconds, and an Envoy may take long to let go of them). Each time waits twice as long.
const PAGES_AFTER: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(64));

/// What to remember for it.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// The most rows since the last time.
    most: usize,
    /// The batch of the last time.
    batch: u64,
    /// When free memory is to be given back to the system, and how long that was waited for.
    pages: Option<(Instant, Duration)>,
}

impl Renewal {
    /// When [`Pipeline::renew`] has to be asked again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pages.map(|(at, _)| at)
    }

    /// Whether so many rows are few.
    fn is_worthwhile(&mut self, rows: usize) -> bool {
        self.most = self.most.max(rows);
        self.most >= WORTHWHILE && rows < self.most / SHARE
    }
}

impl Pipeline {
    /// Starts over if that is worth while and nothing is under way.
    pub(super) fn renew(&mut self) {
        let now = Instant::now();
        if let Some((_, waited)) = self.renewal.pages.take_if(|(at, _)| *at <= now) {
            room::give_back_pages();
            let next = waited * 2;
            self.renewal.pages = (next <= PAGES_AFTER.1).then(|| (now + next, next));
        }
        // What is held back is not what the compiler says, and a search goes on from what is out.
        let waits = !self.decided.is_empty() || self.hold.due().is_some() || self.quarantine.searching() > 0;
        let tried = self.paranoid.is_some() && self.snapshot.batch >= self.renewal.batch + TRIED_AFTER;
        let worthwhile = self.renewal.is_worthwhile(self.compiler.nodes());
        if !(worthwhile || tried) || waits || !self.snapshot.published {
            return;
        }
        self.renewal.batch = self.snapshot.batch;
        let compiler = self.compiler.renewed();
        let rows = compiler.rows();
        let mut renderer = Renderer::new(envoy::Options::default());
        let delta = renderer.apply(&rows, self.snapshot.batch);
        // Otherwise Envoys would be sent something that nobody changed.
        let differences = paranoid::resources(&self.store, &delta);
        if !differences.is_empty() {
            let names: Vec<String> = differences.into_iter().take(paranoid::NAMES).collect();
            let names = names.join("; ");
            tracing::error!(names, "compiling from scratch comes to something else: this is a defect");
            self.renewal.most = 0;
            return;
        }
        self.metrics.renewed();
        self.renewal.most = compiler.nodes();
        self.renewal.pages = Some((now + PAGES_AFTER.0, PAGES_AFTER.0));
        self.snapshot.rows(&rows);
        (self.compiler, self.renderer) = (compiler, renderer);
        // The same versions, so that nobody is told; the encoded resources are those that the renderer shares.
        self.store.apply(delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_worth_while_when_most_of_much_is_gone() {
        let mut renewal = Renewal::default();
        assert!(!renewal.is_worthwhile(WORTHWHILE - 1) && !renewal.is_worthwhile(0), "it never was much");
        assert!(!renewal.is_worthwhile(WORTHWHILE * 2));
        assert!(!renewal.is_worthwhile(WORTHWHILE / 2));
        assert!(renewal.is_worthwhile(WORTHWHILE / 2 - 1));
    }
}
