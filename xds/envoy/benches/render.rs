//! Costs of the renderer in CPU time.

fn main() {}
