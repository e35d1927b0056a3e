//! Custom resource types of every version, and slim views of the core objects that are read.

mod integer;
pub mod v3alpha1;
