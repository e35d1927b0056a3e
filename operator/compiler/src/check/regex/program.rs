//! The size of the program that RE2 makes of an expression.
//!
//! RE2 compiles a tree to a graph of instructions and then flattens it: branches and no-operations vanish, and the
//! instructions reachable through them from one entry become a list. The size is the length of all lists. Both steps are
//! done here as RE2 does them, because an estimate that is never too low would refuse ordinary expressions.

use super::class::CharSet;
use super::simplify::{simplified, take_anchor, without_required_prefix};
use super::syntax::{Assertion, Node};

/// The number of instructions; `None` when it is above the limit.
pub(super) fn size(node: &Node, limit: u32) -> Option<usize> {
    let limit = usize::try_from(limit).ok()?;
    let mut node = simplified(without_required_prefix(node));
    let anchored = take_anchor(&mut node, Assertion::TextStart, 0);
    take_anchor(&mut node, Assertion::TextEnd, 0);
    // Before flattening there are a few times as many instructions; a program far above the limit is not finished.
    let mut program = Program { code: vec![Instruction::Fail], most: limit.saturating_mul(8).saturating_add(4096) };
    let size = program.whole(&node, anchored)?;
    // Where repetitions are nested, or `.` with the flag `s` is a branch, RE2 rewrites more than is done here, and the
    // count has been seen to be up to three percent too low.
    let size = if is_intricate(&node, false) { size + size / 32 + 1 } else { size };
    (size <= limit).then_some(size)
}

fn is_intricate(node: &Node, repeated: bool) -> bool {
    match node {
        Node::Capture(of) => is_intricate(of, repeated),
        Node::Repeat { of, .. } => repeated || is_intricate(of, true),
        Node::Concat(parts) => parts.iter().any(|part| is_intricate(part, repeated)),
        Node::Alternate(parts) => {
            parts.iter().any(|part| *part == Node::Class(CharSet::all()) || is_intricate(part, repeated))
        }
        Node::Empty | Node::Literal(..) | Node::Class(_) | Node::AnyByte | Node::Assertion(_) => false,
    }
}

/// Index of an instruction; 0 is `Fail`.
type Id = usize;

#[derive(Clone, Copy, Debug)]
enum Instruction {
    Fail,
    Match,
    Nop(Id),
    Alternative(Id, Id),
    /// A group's border or an assertion.
    Step(Id),
    /// One byte of a range.
    Byte {
        low: u8,
        high: u8,
        then: Id,
    },
}

/// A place that is still to be told where to go on: the instruction, and which of its two ways out.
type Hole = (Id, bool);

/// A piece of program. One that begins at 0 cannot match.
#[derive(Clone, Debug, Default)]
struct Piece {
    begin: Id,
    holes: Vec<Hole>,
    nullable: bool,
}

struct Program {
    code: Vec<Instruction>,
    most: usize,
}

impl Program {
    /// The size of the program for the whole expression.
    fn whole(&mut self, node: &Node, anchored: bool) -> Option<usize> {
        let body = self.piece(node)?;
        let end = self.add(Instruction::Match)?;
        let start = if body.begin == 0 { 0 } else { self.chain(body, Piece { begin: end, ..Piece::default() }).begin };
        if start == 0 {
            return Some(1);
        }
        if anchored {
            return Some(self.flattened(start, None));
        }
        // Without an anchor a lazy loop over any bytes comes first.
        let any = self.byte(0x00, 0xff)?;
        let looped = self.star(any)?;
        let unanchored = self.chain(looped, Piece { begin: start, ..Piece::default() }).begin;
        Some(self.flattened(start, Some(unanchored)))
    }

    fn piece(&mut self, node: &Node) -> Option<Piece> {
        match node {
            Node::Empty => self.nop(),
            Node::Literal(code, _) => self.literal(*code),
            Node::Class(set) => self.class(set),
            Node::AnyByte => self.byte(0x00, 0xff),
            Node::Assertion(_) => {
                let begin = self.add(Instruction::Step(0))?;
                Some(Piece { begin, holes: vec![(begin, false)], nullable: true })
            }
            Node::Capture(inside) => {
                let inside = self.piece(inside)?;
                if inside.begin == 0 {
                    return Some(Piece::default());
                }
                let begin = self.add(Instruction::Step(inside.begin))?;
                let end = self.add(Instruction::Step(0))?;
                self.fill(&inside.holes, end);
                Some(Piece { begin, holes: vec![(end, false)], nullable: inside.nullable })
            }
            Node::Concat(parts) => {
                let (first, rest) = parts.split_first()?;
                let mut all = self.piece(first)?;
                for part in rest {
                    let next = self.piece(part)?;
                    all = self.chain(all, next);
                }
                Some(all)
            }
            Node::Alternate(branches) => {
                let (first, rest) = branches.split_first()?;
                let mut all = self.piece(first)?;
                for branch in rest {
                    let next = self.piece(branch)?;
                    all = self.either(all, next)?;
                }
                Some(all)
            }
            Node::Repeat { of, min, max, greedy, counted } => self.repeat(of, (*min, *max), *greedy, *counted),
        }
    }

    /// Repetition by copies: `x{2,5}` is `xx(x(x(x)?)?)?`, `x{3,}` is `xxx+`.
    fn repeat(&mut self, of: &Node, counts: Counts, greedy: bool, counted: bool) -> Option<Piece> {
        let (of, (min, max)) = joined_repetition(of, counts, greedy, counted);
        match max {
            None if min == 0 => {
                let inside = self.piece(of)?;
                self.star(inside)
            }
            None if min == 1 => {
                let inside = self.piece(of)?;
                self.plus(inside)
            }
            None => {
                let front = self.copies(of, min - 1)?;
                let looped = self.repeat(of, (1, None), greedy, true)?;
                Some(self.chain(front, looped))
            }
            Some(0) => self.nop(),
            Some(1) if min == 0 => {
                let inside = self.piece(of)?;
                self.quest(inside)
            }
            Some(max) if min == max => self.copies(of, max),
            Some(max) => {
                let front = if min > 0 { Some(self.copies(of, min)?) } else { None };
                let mut optional = Vec::new();
                for _ in min..max - 1 {
                    optional.push(self.piece(of)?);
                }
                let mut back = self.repeat(of, (0, Some(1)), greedy, true)?;
                while let Some(copy) = optional.pop() {
                    let longer = self.chain(copy, back);
                    back = self.quest(longer)?;
                }
                Some(match front {
                    Some(front) => self.chain(front, back),
                    None => back,
                })
            }
        }
    }

    /// The same several times; at least once.
    fn copies(&mut self, of: &Node, times: u32) -> Option<Piece> {
        let mut all = self.piece(of)?;
        for _ in 1..times {
            let copy = self.piece(of)?;
            all = self.chain(all, copy);
        }
        Some(all)
    }

    fn literal(&mut self, code: u32) -> Option<Piece> {
        let byte = u8::try_from(code).ok()?;
        self.byte(byte, byte)
    }

    fn class(&mut self, set: &CharSet) -> Option<Piece> {
        let folds = set.folds_ascii();
        let mut all = Piece::default();
        for (low, high) in set.ranges() {
            // Where A-Z is a member just as a-z is, the lower case stands for both.
            if folds && *low >= u32::from('A') && *high <= u32::from('Z') {
                continue;
            }
            let next = self.byte(u8::try_from(*low).ok()?, u8::try_from(*high).ok()?)?;
            all = self.either(all, next)?;
        }
        Some(all)
    }

    fn nop(&mut self) -> Option<Piece> {
        let begin = self.add(Instruction::Nop(0))?;
        Some(Piece { begin, holes: vec![(begin, false)], nullable: true })
    }

    fn byte(&mut self, low: u8, high: u8) -> Option<Piece> {
        let begin = self.add(Instruction::Byte { low, high, then: 0 })?;
        Some(Piece { begin, holes: vec![(begin, false)], nullable: false })
    }

    fn chain(&mut self, first: Piece, second: Piece) -> Piece {
        if first.begin == 0 || second.begin == 0 {
            return Piece::default();
        }
        self.fill(&first.holes, second.begin);
        // A no-operation in front is left out, unless something else leads to it.
        if matches!(self.code.get(first.begin), Some(Instruction::Nop(_))) && first.holes == [(first.begin, false)] {
            return second;
        }
        Piece { begin: first.begin, holes: second.holes, nullable: first.nullable && second.nullable }
    }

    fn either(&mut self, first: Piece, second: Piece) -> Option<Piece> {
        if first.begin == 0 {
            return Some(second);
        }
        if second.begin == 0 {
            return Some(first);
        }
        let begin = self.add(Instruction::Alternative(first.begin, second.begin))?;
        let mut holes = first.holes;
        holes.extend(second.holes);
        Some(Piece { begin, holes, nullable: first.nullable || second.nullable })
    }

    fn plus(&mut self, inside: Piece) -> Option<Piece> {
        let branch = self.add(Instruction::Alternative(inside.begin, 0))?;
        self.fill(&inside.holes, branch);
        Some(Piece { begin: inside.begin, holes: vec![(branch, true)], nullable: inside.nullable })
    }

    fn star(&mut self, inside: Piece) -> Option<Piece> {
        if inside.nullable {
            let looped = self.plus(inside)?;
            return self.quest(looped);
        }
        let looped = self.plus(inside)?;
        let begin = looped.holes.first().map_or(0, |hole| hole.0);
        Some(Piece { begin, holes: looped.holes, nullable: true })
    }

    fn quest(&mut self, inside: Piece) -> Option<Piece> {
        if inside.begin == 0 {
            return self.nop();
        }
        let begin = self.add(Instruction::Alternative(inside.begin, 0))?;
        let mut holes = inside.holes;
        holes.push((begin, true));
        Some(Piece { begin, holes, nullable: true })
    }

    fn fill(&mut self, holes: &[Hole], target: Id) {
        for (id, second) in holes {
            match (self.code.get_mut(*id), second) {
                (Some(Instruction::Alternative(_, out)), true) => *out = target,
                (Some(Instruction::Alternative(out, _) | Instruction::Nop(out) | Instruction::Step(out)), false) => {
                    *out = target;
                }
                (Some(Instruction::Byte { then, .. }), false) => *then = target,
                _ => {}
            }
        }
    }

    fn add(&mut self, instruction: Instruction) -> Option<Id> {
        let id = self.code.len();
        self.code.push(instruction);
        (id < self.most).then_some(id)
    }

    fn at(&self, id: Id) -> Instruction {
        self.code.get(id).copied().unwrap_or(Instruction::Fail)
    }

    /// The length of all lists. A list begins where an instruction that is not a branch leads to, and where two lists
    /// would share instructions; a list that reaches another one holds a jump to it.
    fn flattened(&self, start: Id, unanchored: Option<Id>) -> usize {
        self.without_nops().lists(self.behind_nops(start), unanchored)
    }

    /// A program in which nothing leads to a no-operation.
    fn without_nops(&self) -> Self {
        let code = self.code.iter().map(|instruction| match *instruction {
            Instruction::Alternative(first, second) => {
                Instruction::Alternative(self.behind_nops(first), self.behind_nops(second))
            }
            Instruction::Step(out) => Instruction::Step(self.behind_nops(out)),
            Instruction::Byte { low, high, then } => Instruction::Byte { low, high, then: self.behind_nops(then) },
            other => other,
        });
        Self { code: code.collect(), most: self.most }
    }

    fn behind_nops(&self, mut id: Id) -> Id {
        while let Instruction::Nop(out) = self.at(id) {
            id = out;
        }
        id
    }

    /// Whether the branch is between any byte, over and over, and the end; RE2 adds an instruction that says so.
    fn is_any_to_the_end(&self, id: Id) -> bool {
        let Instruction::Alternative(first, second) = self.at(id) else { return false };
        [(first, second), (second, first)].into_iter().any(|(byte, end)| {
            matches!(self.at(byte), Instruction::Byte { low: 0, high: 0xff, then, .. } if then == id) && self.ends(end)
        })
    }

    /// Whether only borders of groups come before the end. Assertions pass for borders, which errs on the safe side.
    fn ends(&self, mut id: Id) -> bool {
        for _ in 0..self.code.len() {
            match self.at(id) {
                Instruction::Step(out) => id = out,
                other => return matches!(other, Instruction::Match),
            }
        }
        false
    }

    fn lists(&self, start: Id, search: Option<Id>) -> usize {
        let unanchored = search.unwrap_or(start);
        let mut roots = Marks::of(self.code.len());
        for id in [0, unanchored, start] {
            roots.insert(id);
        }
        // Which branches lead to an instruction, as pairs of it and the branch.
        let mut branches: Vec<(Id, Id)> = Vec::new();
        let mut seen = Marks::of(self.code.len());
        let mut stack = vec![unanchored];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.at(id) {
                Instruction::Alternative(first, second) => {
                    branches.extend([(first, id), (second, id)]);
                    stack.extend([second, first]);
                }
                Instruction::Nop(out) => stack.push(out),
                Instruction::Step(out) | Instruction::Byte { then: out, .. } => {
                    roots.insert(out);
                    stack.push(out);
                }
                Instruction::Match | Instruction::Fail => {}
            }
        }
        branches.sort_unstable();
        // The list of any other root is the root alone, and neither shares nor hides anything.
        let is_branch = |id: Id| matches!(self.at(id), Instruction::Alternative(..) | Instruction::Nop(_));
        let mut shared = roots.clone();
        let mut tree = Tree { seen: Marks::of(self.code.len()), reached: Vec::new(), stack };
        for root in (1..self.code.len()).rev() {
            if !roots.has(root) || !is_branch(root) || root == start || root == unanchored {
                continue;
            }
            self.list(root, &shared, &mut tree);
            for id in &tree.reached {
                let first = branches.partition_point(|(out, _)| out < id);
                let mut sources = branches.iter().skip(first).take_while(|(out, _)| out == id);
                if sources.any(|(_, source)| !tree.seen.has(*source)) {
                    shared.insert(*id);
                }
            }
        }
        let mut size = 0;
        for root in (0..self.code.len()).filter(|id| shared.has(*id)) {
            if !is_branch(root) {
                size += 1;
                continue;
            }
            self.list(root, &shared, &mut tree);
            let emitted = |id: &&Id| {
                let jump = **id != root && shared.has(**id);
                jump || !is_branch(**id) || (Some(**id) != search && self.is_any_to_the_end(**id))
            };
            size += tree.reached.iter().filter(emitted).count();
        }
        size
    }

    /// What is reached from a root without a step, up to other roots, which are included.
    fn list(&self, root: Id, roots: &Marks, tree: &mut Tree) {
        for id in tree.reached.drain(..) {
            tree.seen.remove(id);
        }
        tree.stack.push(root);
        while let Some(id) = tree.stack.pop() {
            if !tree.seen.insert(id) {
                continue;
            }
            tree.reached.push(id);
            if id != root && roots.has(id) {
                continue;
            }
            match self.at(id) {
                Instruction::Alternative(first, second) => tree.stack.extend([second, first]),
                Instruction::Nop(out) => tree.stack.push(out),
                _ => {}
            }
        }
    }
}

/// A set of instructions of one program.
#[derive(Clone)]
struct Marks(Vec<bool>);

impl Marks {
    /// An empty one, for that many instructions.
    fn of(instructions: usize) -> Self {
        Self(vec![false; instructions])
    }

    /// Whether it is new. What is no instruction of the program is not taken.
    fn insert(&mut self, id: Id) -> bool {
        self.0.get_mut(id).is_some_and(|mark| !std::mem::replace(mark, true))
    }

    fn remove(&mut self, id: Id) {
        if let Some(mark) = self.0.get_mut(id) {
            *mark = false;
        }
    }

    fn has(&self, id: Id) -> bool {
        self.0.get(id).copied().unwrap_or_default()
    }
}

/// Room for one list after the other: what it holds, in order and as a set, and what is left to follow.
struct Tree {
    seen: Marks,
    reached: Vec<Id>,
    stack: Vec<Id>,
}

/// Lower and upper bound of a repetition.
type Counts = (u32, Option<u32>);

/// A repetition of a repetition as one, where RE2 has it so when it resolves counts: of the same kind always, of
/// different kinds if the outer one was counted.
fn joined_repetition(of: &Node, outer: Counts, greedy: bool, counted: bool) -> (&Node, Counts) {
    let is_unary = |counts: Counts| matches!(counts, (0 | 1, None) | (0, Some(1)));
    match of {
        Node::Repeat { of: inside, min, max, greedy: inner_greedy, .. }
            if is_unary(outer) && is_unary((*min, *max)) && *inner_greedy == greedy =>
        {
            if (*min, *max) == outer {
                (inside, outer)
            } else if counted {
                (inside, (0, None))
            } else {
                (of, outer)
            }
        }
        _ => (of, outer),
    }
}
