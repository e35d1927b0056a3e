//! Derived tables with tracked reads.
//!
//! A [`Table`] maps keys to rows. A derived row is made by a pure function that gets its key and may look at rows of
//! earlier tables; every look, at a row or at its absence, is recorded in [`Reads`]. When a row changes, the rows that
//! looked at it become dirty, and a batch re-runs only dirty rows, table by table in stage order. An equal result stops
//! the wave. There is no other way to invalidate anything.
//!
//! An index is a table whose rows are ordered sets, filled from the changes of another table. Looking at a set is a
//! read like any other.
//!
//! A sparse table ([`Table::make_sparse`]) keeps nothing for what is absent: its absent rows share nodes.

mod graph;
mod set;
mod table;

pub use graph::{Graph, MOST_TABLES, Reads};
pub use set::Set;
pub use table::Table;
