//! The renderer from outside: rows in, resources out, and what the real Envoy says to them.

mod cases;
mod golden;
mod real_envoy;
mod rows;
