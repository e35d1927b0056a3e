//! The rewrites that RE2 applies to a tree before it makes a program of it, as far as they change the program's size.

use super::class::CharSet;
use super::syntax::{Assertion, Node};

/// An alternation with what its branches have in common written once: RE2 factors out literal prefixes, then single
/// leading pieces, then joins branches of one character into a set.
pub(super) fn factor(branches: Vec<Node>) -> Node {
    let branches = by_prefix(branches, literal_prefix);
    let branches = by_prefix(branches, leading_piece);
    let mut rest: Vec<Node> = Vec::with_capacity(branches.len());
    for branch in branches {
        match (rest.last_mut(), &branch) {
            (Some(last), _) if one_character(last).is_some() && one_character(&branch).is_some() => {
                let mut joined = CharSet::default();
                for set in [one_character(last), one_character(&branch)].iter().flatten() {
                    joined.add_set(set, false);
                }
                *last = Node::Class(joined);
            }
            _ => rest.push(branch),
        }
    }
    if rest.len() == 1 { rest.remove(0) } else { Node::Alternate(rest) }
}

/// The tree that RE2 compiles: what stands in front as `^literal` is compared apart from the program.
pub(super) fn without_required_prefix(node: &Node) -> Node {
    let Node::Concat(parts) = node else { return node.clone() };
    let anchors = parts.iter().take_while(|part| **part == Node::Assertion(Assertion::TextStart)).count();
    let literals = match parts.get(anchors) {
        Some(Node::Literal(_, fold)) if anchors > 0 => parts
            .iter()
            .skip(anchors)
            .take_while(|part| matches!(part, Node::Literal(_, other) if other == fold))
            .count(),
        _ => return node.clone(),
    };
    sequence(parts.iter().skip(anchors + literals).cloned().collect())
}

/// Repetitions that are none, or that adjoin one of the same character, rewritten: `x{1}` is `x`, `x*x` is `x{1,}`.
pub(super) fn simplified(node: Node) -> Node {
    match node {
        Node::Capture(of) => Node::Capture(Box::new(simplified(*of))),
        Node::Alternate(branches) => Node::Alternate(branches.into_iter().map(simplified).collect()),
        Node::Concat(parts) => {
            let mut rest: Vec<Node> = Vec::with_capacity(parts.len());
            for part in parts.into_iter().map(simplified_last) {
                match rest.last().and_then(|last| coalesced(last, &part)) {
                    Some(joined) => {
                        rest.pop();
                        rest.push(joined);
                    }
                    None => rest.push(part),
                }
            }
            sequence(rest.into_iter().map(simplified).collect())
        }
        Node::Repeat { of, min, max, greedy, counted } => {
            let of = simplified(*of);
            let (min, max) = match &of {
                Node::Empty => return of,
                // More than one of a place in the text is the same place.
                Node::Assertion(_) if counted => (min.min(1), max.map(|max| max.min(1))),
                _ => (min, max),
            };
            match (min, max) {
                (1, Some(1)) => of,
                (0, Some(0)) => Node::Empty,
                _ => Node::Repeat { of: Box::new(of), min, max, greedy, counted },
            }
        }
        other => other,
    }
}

/// Groups are rewritten before their neighbours are looked at, repetitions after it, as they may still grow.
fn simplified_last(part: Node) -> Node {
    if matches!(part, Node::Repeat { .. }) { part } else { simplified(part) }
}

/// Two neighbours as one repetition, if the first is one of a single character and the second is about the same.
fn coalesced(first: &Node, second: &Node) -> Option<Node> {
    let Node::Repeat { of, min, max, greedy, .. } = first else { return None };
    if !matches!(**of, Node::Literal(..) | Node::Class(_) | Node::AnyByte) {
        return None;
    }
    let (more, upto) = match second {
        Node::Repeat { of: other, min, max, greedy: other_greedy, .. } if other == of && other_greedy == greedy => {
            (*min, *max)
        }
        other if other == of.as_ref() => (1, Some(1)),
        _ => return None,
    };
    let max = max.zip(upto).map(|(max, upto)| max + upto);
    Some(Node::Repeat { of: of.clone(), min: min + more, max, greedy: *greedy, counted: true })
}

/// Takes the anchor off an end of the tree; says whether there was one. The program knows it in another way.
pub(super) fn take_anchor(node: &mut Node, anchor: Assertion, depth: usize) -> bool {
    if depth >= 4 {
        return false;
    }
    match node {
        Node::Assertion(found) if *found == anchor => {
            *node = Node::Empty;
            true
        }
        Node::Capture(inside) => take_anchor(inside, anchor, depth + 1),
        Node::Concat(parts) => {
            let end = if anchor == Assertion::TextStart { parts.first_mut() } else { parts.last_mut() };
            end.is_some_and(|end| take_anchor(end, anchor, depth + 1))
        }
        _ => false,
    }
}

/// Parts one after the other.
pub(super) fn sequence(mut parts: Vec<Node>) -> Node {
    match parts.len() {
        0 => Node::Empty,
        1 => parts.remove(0),
        _ => Node::Concat(parts),
    }
}

/// Runs of branches that begin alike become one branch each. `leading` says how many parts of a branch may be shared.
fn by_prefix(branches: Vec<Node>, leading: fn(&[Node]) -> usize) -> Vec<Node> {
    let mut rest: Vec<Node> = Vec::with_capacity(branches.len());
    let mut run: Vec<Vec<Node>> = Vec::new();
    let mut shared = 0;
    for branch in branches {
        let parts = parts(branch);
        let common = run.first().map_or(0, |first| {
            let limit = shared.min(leading(&parts));
            first.iter().zip(&parts).take(limit).take_while(|(left, right)| left == right).count()
        });
        if common == 0 {
            rest.extend(joined(std::mem::take(&mut run), shared));
            shared = leading(&parts);
        } else {
            shared = common;
        }
        run.push(parts);
    }
    rest.extend(joined(run, shared));
    rest
}

/// A run as one branch: what is shared, then the alternation of what is left.
fn joined(mut run: Vec<Vec<Node>>, shared: usize) -> Option<Node> {
    if run.len() <= 1 {
        return run.pop().map(sequence);
    }
    let mut branch: Vec<Node> = run.first()?.iter().take(shared).cloned().collect();
    let suffixes = run.into_iter().map(|parts| sequence(parts.into_iter().skip(shared).collect())).collect();
    branch.push(factor(suffixes));
    Some(Node::Concat(branch))
}

fn parts(node: Node) -> Vec<Node> {
    match node {
        Node::Concat(parts) => parts,
        Node::Empty => Vec::new(),
        other => vec![other],
    }
}

fn literal_prefix(parts: &[Node]) -> usize {
    let Some(Node::Literal(_, fold)) = parts.first() else { return 0 };
    parts.iter().take_while(|part| matches!(part, Node::Literal(_, other) if other == fold)).count()
}

/// One piece in front that RE2 shares: it must be simple, or sharing could change what matches first.
fn leading_piece(parts: &[Node]) -> usize {
    let simple = |node: &Node| matches!(node, Node::Literal(..) | Node::Class(_) | Node::AnyByte);
    let shareable = match parts.first() {
        Some(Node::Assertion(_) | Node::Class(_) | Node::AnyByte) => true,
        Some(Node::Repeat { of, min, max, .. }) => *max == Some(*min) && simple(of),
        _ => false,
    };
    usize::from(shareable)
}

fn one_character(node: &Node) -> Option<CharSet> {
    match node {
        // RE2 keeps `.` with the flag `s` apart from sets.
        Node::Class(set) if *set == CharSet::all() => None,
        Node::Class(set) => Some(set.clone()),
        Node::Literal(code, fold) => {
            let mut set = CharSet::default();
            set.add(*code, *code, *fold);
            Some(set)
        }
        _ => None,
    }
}
