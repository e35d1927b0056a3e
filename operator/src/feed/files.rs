//! Manifests from files and folders, watched.
//!
//! ```text
//! parse    text -> documents -> JSON objects
//! walk     folders -> which files there are, and what tells whether they changed
//! folder   what is in which file, who wins, what changed (no threads, no clock)
//! watches  folders -> file events
//! watch    file events -> folder -> mailbox
//! ```

mod folder;
mod json;
pub(crate) mod parse;
mod walk;
mod watch;
mod watches;

pub use folder::{Folder, Sources, Update};
pub use watch::FileFeed;
