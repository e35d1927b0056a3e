//! Random scripts: whatever happens, the rules hold on every message and the client ends with what the store has.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{Edit, Model, Op};
use crate::script::*;

fn edit() -> impl Strategy<Value = Edit> {
    let number = 0..3u64;
    prop_oneof![
        3 => (0..4usize, number.clone()).prop_map(|(i, v)| Edit::Put(CDS, i, v)),
        2 => (0..4usize).prop_map(|i| Edit::Drop(CDS, i)),
        2 => (0..4usize, number.clone()).prop_map(|(i, v)| Edit::Put(EDS, i, v)),
        1 => (0..4usize).prop_map(|i| Edit::Drop(EDS, i)),
        2 => (0..2usize, number.clone()).prop_map(|(i, v)| Edit::Put(SDS, i, v)),
        1 => (0..2usize).prop_map(|i| Edit::Drop(SDS, i)),
        2 => (0..3usize, number.clone()).prop_map(|(i, v)| Edit::Put(LDS, i, v)),
        1 => (0..3usize).prop_map(|i| Edit::Drop(LDS, i)),
        5 => (0..3usize, 0..16u64).prop_map(|(i, clusters)| Edit::Put(RDS, i, clusters)),
        1 => (0..3usize).prop_map(|i| Edit::Drop(RDS, i)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let kind = || prop::sample::select(vec![CDS, EDS, SDS, LDS, RDS]);
    let named = || prop::sample::select(vec![(SDS, 0), (SDS, 1), (RDS, 0), (RDS, 1), (RDS, 2)]);
    prop_oneof![
        8 => vec(edit(), 1..5).prop_map(Op::Change),
        6 => Just(Op::Poll),
        10 => kind().prop_map(Op::Answer),
        2 => (kind(), any::<prop::sample::Index>()).prop_map(|(kind, who)| Op::RefuseNext(kind, who)),
        4 => named().prop_map(|(kind, i)| Op::Ask(kind, i)),
        1 => named().prop_map(|(kind, i)| Op::Unask(kind, i)),
        1 => Just(Op::Reconnect),
        1 => Just(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The rules themselves are asserted by the model, on every response and event.
    #[test]
    fn any_script_keeps_the_rules_and_converges(ops in vec(op(), 1..80)) {
        let mut model = Model::new();
        for op in ops {
            model.step(op);
        }
        model.settle();
    }
}
