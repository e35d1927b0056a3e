//! Which replica writes: the election that the webhook has, too.

pub use webhook::lease::{Election, Leadership, Pace};

#[cfg(test)]
mod tests;
