//! The stages, in the order in which they run. Each file holds the rows of a few tables; what a row reads is in tables
//! of earlier stages.

pub mod source;
pub mod parsed;
pub mod settings;
pub mod tls;
pub mod host;
pub mod attach;
pub mod upstream;
pub mod rule;
pub mod group;
pub mod placement;
pub mod list;
pub mod listener;
pub mod endpoint;
pub mod verdict;
