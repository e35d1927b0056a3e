//! Whether a text matches an expression as a whole, byte for byte as Envoy's RE2 sees it.

use super::syntax::{Assertion, Node};
use std::collections::BTreeSet;

/// Places in a text: matching goes from a set of them to the set of those where a match can end. There is no
/// backtracking, so the work is bounded by the sizes of text and expression.
type Places = BTreeSet<usize>;

/// Whether the whole text matches.
pub(super) fn is_full_match(node: &Node, text: &[u8]) -> bool {
    after(node, text, &Places::from([0])).contains(&text.len())
}

fn after(node: &Node, text: &[u8], from: &Places) -> Places {
    match node {
        Node::Empty => from.clone(),
        Node::Literal(code, folded) => step(text, from, |byte| {
            let both = |code: u32| char::from_u32(code).map(|found| found.to_ascii_lowercase());
            u32::from(byte) == *code || (*folded && both(byte.into()) == both(*code))
        }),
        Node::Class(set) => step(text, from, |byte| {
            let byte = u32::from(byte);
            set.ranges().iter().any(|(low, high)| (*low..=*high).contains(&byte))
        }),
        Node::AnyByte => step(text, from, |_| true),
        Node::Assertion(assertion) => from.iter().copied().filter(|at| holds(*assertion, text, *at)).collect(),
        Node::Capture(inside) => after(inside, text, from),
        Node::Concat(parts) => parts.iter().fold(from.clone(), |at, part| after(part, text, &at)),
        Node::Alternate(parts) => parts.iter().flat_map(|part| after(part, text, from)).collect(),
        Node::Repeat { of, min, max, .. } => repeated(of, *min, *max, text, from),
    }
}

fn repeated(of: &Node, min: u32, max: Option<u32>, text: &[u8], from: &Places) -> Places {
    let mut at = from.clone();
    for _ in 0..min {
        let next = after(of, text, &at);
        if next == at {
            break;
        }
        at = next;
    }
    let mut reached = at.clone();
    let mut left = max.map(|max| max.saturating_sub(min));
    while left != Some(0) && !at.is_empty() {
        at = after(of, text, &at).difference(&reached).copied().collect();
        reached.extend(&at);
        left = left.map(|left| left - 1);
    }
    reached
}

fn step(text: &[u8], from: &Places, fits: impl Fn(u8) -> bool) -> Places {
    from.iter().filter(|at| text.get(**at).is_some_and(|byte| fits(*byte))).map(|at| at + 1).collect()
}

fn holds(assertion: Assertion, text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at)).copied();
    let behind = text.get(at).copied();
    let is_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match assertion {
        Assertion::TextStart => before.is_none(),
        Assertion::TextEnd => behind.is_none(),
        Assertion::LineStart => before.is_none_or(|byte| byte == b'\n'),
        Assertion::LineEnd => behind.is_none_or(|byte| byte == b'\n'),
        Assertion::WordBoundary => is_word(before) != is_word(behind),
        Assertion::NoWordBoundary => is_word(before) == is_word(behind),
    }
}

#[cfg(test)]
mod tests {
    use crate::check::regex::is_full_match;

    #[test]
    fn expressions_match_the_whole_text() {
        for (expression, text, expected) in [
            ("/foo/.*", "/foo/bar", true),
            ("/foo", "/foo/bar", false),
            ("(?i)/FoO", "/foo", true),
            ("/[a-c]+x?", "/abcx", true),
            ("/[^a-c]+", "/abc", false),
            ("(a|ab)(c|bcd)", "abcd", true),
            ("a{2,3}", "a", false),
            ("a{2,3}", "aaa", true),
            ("a{2,3}", "aaaa", false),
            ("(a*)*b", "aaab", true),
            ("(a*){5}", "", true),
            (r"^\d+$", "123", true),
            (r"\bfoo\b", "foo", true),
            (r"x\b.", "xy", false),
            (".*", "", true),
            ("é", "é", true),
            ("(", "(", false),
        ] {
            assert_eq!(is_full_match(expression, text), expected, "{expression} {text}");
        }
    }

    #[test]
    fn matching_takes_bounded_time() {
        assert!(!is_full_match("(a*)*(a*)*b", &"a".repeat(2000)));
    }
}
