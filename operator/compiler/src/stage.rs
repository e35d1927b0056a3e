//! The stages, in the order in which they run. Each file holds the rows of a few tables; what a row reads is in tables
//! of earlier stages.

pub mod attach;
pub mod endpoint;
pub mod error_response;
pub mod group;
pub mod host;
pub mod list;
pub mod listener;
pub mod parsed;
pub mod placement;
pub mod policy;
pub mod rule;
pub mod settings;
pub mod source;
pub mod tcp;
pub mod tls;
pub mod tls_module;
pub mod upstream;
pub mod verdict;
