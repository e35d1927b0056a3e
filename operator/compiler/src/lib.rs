//! Objects to IR rows and verdicts: pure and incremental.
//!
//! No I/O, no clock, no randomness, no environment. [`Compiler::apply`] takes a batch of [`Change`]s and re-runs what
//! depends on them; compiling from scratch is the same code on an empty compiler.
//!
//! ```text
//! object, change, options   what comes in and goes out
//! check                     is this text a regex, a header format, a service, a certificate?
//! parse                     one spec to one judged value
//! incr                      tables with tracked reads
//! db, index                 the tables, and what a changed row moves
//! stage                     the rows
//! compiler                  one batch
//! explain                   which Mapping answers a request, and why the others do not
//! ```

mod change;
pub mod check;
mod compiler;
mod db;
pub mod explain;
mod incr;
mod index;
mod object;
mod options;
pub mod parse;
mod stage;

pub use change::{Change, FileContent, Outcome, Refusal, WantedChanges, WantedName};
pub use compiler::Compiler;
pub use object::{Body, Head, Object, parse_time};
pub use options::Options;
