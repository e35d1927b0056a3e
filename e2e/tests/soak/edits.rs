//! Random edits lose nothing.

use crate::support::{programs, say};
use e2e::soak::walk::Variants;
use e2e::soak::{Options, run};
use std::time::{Duration, SystemTime};

fn walk(edits: usize, seed: u64, variants: Variants) {
    let Some(programs) = programs() else { return };
    say(&format!("seed {seed}: {edits} edits, {variants:?}\n"));
    let options = Options { edits, seed, clients: 1, pause: Duration::from_millis(15), variants };
    let outcome = tokio::runtime::Runtime::new().unwrap().block_on(run(&programs, &options)).unwrap();
    say(&outcome.text);
    assert_eq!(outcome.faults, 0, "{}", outcome.text);
}

#[test]
fn known_edits_lose_nothing() {
    walk(60, 7, Variants::default());
}

#[test]
fn fresh_edits_lose_nothing_with_everything_that_may_go_wrong() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    walk(60, now.subsec_nanos().into(), Variants { late: true, stuck: true, kill: true });
}
