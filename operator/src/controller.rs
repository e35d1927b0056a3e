//! Writes the status of objects. One controller per kind, alive as long as this replica is the leader; the feeds go on
//! without it.
//!
//! ```text
//! feed ── StatusView ─► store ──┐
//!   └── key ─► Dirty ─► Controller ─► compare with what is wanted ─► patch, or nothing
//! snapshot ── key ──┘
//! ```

mod dirty;
mod observed;
mod view;

pub use dirty::Dirty;
pub use observed::{FieldManagers, ObservedStatus};
pub use view::{Identity, StatusView};
