//! Which batches a client does not have completely.

use std::collections::BTreeMap;

/// Counts resources by the oldest batch whose content of them the client has not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Horizon(BTreeMap<u64, usize>);

impl Horizon {
    /// Moves one resource from one batch to another; `None` is for a resource that is acknowledged.
    pub(super) fn shift(&mut self, from: Option<u64>, to: Option<u64>) {
        if from == to {
            return;
        }
        if let Some(batch) = from
            && let Some(count) = self.0.get_mut(&batch)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&batch);
            }
        }
        if let Some(batch) = to {
            *self.0.entry(batch).or_default() += 1;
        }
    }

    /// The oldest batch that is not completely acknowledged.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}
