//! Text to tree: the grammar of RE2 with the flags that Envoy uses (Perl classes, one line, no POSIX mode).

use super::class::{self, CharSet, MAX};
use crate::check::text::quote;

/// Groups inside of groups. RE2 goes deeper, no real expression does, and the recursion has to end somewhere.
const MAX_DEPTH: usize = 100;
/// The highest repeat count, and the highest product of nested ones.
const MAX_REPEAT: u32 = 1000;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Matches the empty text.
    Empty,
    /// One character. The flag says that case does not count; it matters for ASCII letters only, as others with a case
    /// become sets.
    Literal(u32, bool),
    /// One character of a set. The empty set matches nothing.
    Class(CharSet),
    /// One byte, whatever it is.
    AnyByte,
    /// A place in the text.
    Assertion(Assertion),
    /// A group that is remembered.
    Capture(Box<Node>),
    /// Repeated so many times; `None` is without an upper bound. Counted ones are written `{…}`.
    Repeat { of: Box<Node>, min: u32, max: Option<u32>, greedy: bool, counted: bool },
    /// One after the other.
    Concat(Vec<Node>),
    /// One of them.
    Alternate(Vec<Node>),
}

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assertion {
    /// `^` and `\A`.
    TextStart,
    /// `$` and `\z`.
    TextEnd,
    /// `^` with the flag `m`.
    LineStart,
    /// `$` with the flag `m`.
    LineEnd,
    /// `\b`
    WordBoundary,
    /// `\B`
    NoWordBoundary,
}

/// Reads an expression; also says how many groups it has.
///
/// Envoy has RE2 take it as Latin-1, so each byte is a character of its own, also one of several that make up a letter.
pub(super) fn parse(text: &str) -> Result<(Node, u32), String> {
    let bytes: String = text.bytes().map(char::from).collect();
    let mut parser = Parser { rest: Cursor(&bytes), flags: Flags::default(), groups: 0, classes: Vec::new(), depth: 0 };
    let node = parser.alternation()?;
    // The loop inside ends at `)` or at the end of the text.
    if parser.rest.peek().is_some() { Err("a `)` closes nothing".into()) } else { Ok((node, parser.groups)) }
}

#[derive(Clone, Copy, Default)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_all: bool,
    swap_greed: bool,
}

struct Parser<'a> {
    rest: Cursor<'a>,
    flags: Flags,
    groups: u32,
    classes: Vec<(&'a str, CharSet)>,
    depth: usize,
}

/// The text that is still to be read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.0.chars();
        let character = characters.next();
        self.0 = characters.as_str();
        character
    }

    /// Reads this text if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Reads up to this text and past it.
    fn take_until(&mut self, end: &str) -> Option<&'a str> {
        let (found, rest) = self.0.split_once(end)?;
        self.0 = rest;
        Some(found)
    }

    /// Reads the bounds `n}`, `n,}` or `n,m}` behind a `{`; nothing is read if it is none of these.
    fn take_counts(&mut self) -> Option<(u32, Option<u32>)> {
        let mut ahead = *self;
        let min = ahead.take_number()?;
        let max = if ahead.take("}") {
            Some(min)
        } else if ahead.take(",}") {
            None
        } else if ahead.take(",") {
            let max = ahead.take_number()?;
            if !ahead.take("}") {
                return None;
            }
            Some(max)
        } else {
            return None;
        };
        *self = ahead;
        Some((min, max))
    }

    /// A number without leading zeros, capped far above what is allowed.
    fn take_number(&mut self) -> Option<u32> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at_checked(end)?;
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        self.0 = rest;
        Some(digits.parse().unwrap_or(u32::MAX))
    }

    /// Whether a repetition comes next.
    fn at_repetition(&self) -> bool {
        match self.peek() {
            Some('*' | '+' | '?') => true,
            Some('{') => {
                let mut ahead = *self;
                ahead.next();
                ahead.take_counts().is_some()
            }
            _ => false,
        }
    }
}

impl<'a> Parser<'a> {
    /// Branches up to `)` or the end.
    fn alternation(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups are nested deeper than {MAX_DEPTH}"));
        }
        let mut branches = Vec::new();
        let mut branch = Vec::new();
        loop {
            match self.rest.peek() {
                None | Some(')') => break,
                Some('|') => {
                    self.rest.next();
                    branches.push(concat(std::mem::take(&mut branch)));
                }
                Some(_) => self.piece(&mut branch)?,
            }
        }
        branches.push(concat(branch));
        self.depth -= 1;
        Ok(alternate(branches))
    }

    /// One atom with its repetition, or a group of flags, added to the branch.
    fn piece(&mut self, branch: &mut Vec<Node>) -> Result<(), String> {
        let Some(character) = self.rest.next() else { return Ok(()) };
        let atom = match character {
            '(' => match self.group()? {
                Some(group) => group,
                // Flags alone: they hold to the end of the group, and cannot be repeated.
                None => return self.no_repetition(),
            },
            '[' => self.class()?,
            '^' if self.flags.lines => Node::Assertion(Assertion::LineStart),
            '^' => Node::Assertion(Assertion::TextStart),
            '$' if self.flags.lines => Node::Assertion(Assertion::LineEnd),
            '$' => Node::Assertion(Assertion::TextEnd),
            '.' if self.flags.dot_all => Node::Class(CharSet::all()),
            '.' => {
                let mut line_break = CharSet::default();
                line_break.add(u32::from('\n'), u32::from('\n'), false);
                Node::Class(line_break.negated())
            }
            '*' | '+' | '?' => return Err(format!("`{character}` repeats nothing")),
            '{' if self.rest.take_counts().is_some() => return Err("a repeat count repeats nothing".into()),
            '\\' if self.rest.take("Q") => return self.quoted(branch),
            '\\' => self.escape()?,
            literal => self.literal(literal),
        };
        branch.push(self.repeated(atom)?);
        Ok(())
    }

    /// A `*` behind flags repeats what stands before them in RE2, which nobody can mean; it is refused.
    fn no_repetition(&self) -> Result<(), String> {
        if self.rest.at_repetition() { Err("flags cannot be repeated".into()) } else { Ok(()) }
    }

    /// `\Q…\E`, or `\Q…` up to the end.
    fn quoted(&mut self, branch: &mut Vec<Node>) -> Result<(), String> {
        let mut last: Option<Node> = None;
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.take("E") {
                break;
            }
            let literal = self.literal(character);
            branch.extend(last.replace(literal));
        }
        // A repetition behind it is about the last character only.
        match last {
            Some(last) => {
                let last = self.repeated(last)?;
                branch.push(last);
                Ok(())
            }
            None => self.no_repetition(),
        }
    }

    /// The repetition behind an atom.
    fn repeated(&mut self, atom: Node) -> Result<Node, String> {
        if !self.rest.at_repetition() {
            return Ok(atom);
        }
        let (min, max, counted) = match self.rest.next() {
            Some('*') => (0, None, false),
            Some('+') => (1, None, false),
            Some('?') => (0, Some(1), false),
            _ => self.rest.take_counts().map_or((1, Some(1), true), |(min, max)| (min, max, true)),
        };
        let greedy = self.rest.take("?") == self.flags.swap_greed;
        if self.rest.at_repetition() {
            return Err("a repetition is repeated; put it into a group".into());
        }
        if min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min) {
            return Err(format!("a repeat count is above {MAX_REPEAT}, or its bounds are the wrong way round"));
        }
        let node = match atom {
            // RE2 reads `(?:x*)*` as `x*`, and any other mixture of `*`, `+` and `?` as `*`.
            Node::Repeat { of, min: inner_min, max: inner_max, greedy: inner_greedy, counted: false }
                if !counted && inner_greedy == greedy =>
            {
                let (min, max) = if (inner_min, inner_max) == (min, max) { (min, max) } else { (0, None) };
                Node::Repeat { of, min, max, greedy, counted }
            }
            atom => Node::Repeat { of: Box::new(atom), min, max, greedy, counted },
        };
        if counted && repeat_budget(&node, MAX_REPEAT) == 0 {
            return Err(format!("nested repeat counts multiply to more than {MAX_REPEAT}"));
        }
        Ok(node)
    }

    /// What stands behind `(`. `None` when it was only flags.
    fn group(&mut self) -> Result<Option<Node>, String> {
        let before = self.flags;
        let mut capturing = true;
        if self.rest.take("?") {
            match self.rest.peek() {
                Some('P' | '<') => self.group_name()?,
                _ => {
                    capturing = false;
                    if !self.group_flags()? {
                        return Ok(None);
                    }
                }
            }
        }
        if capturing {
            self.groups += 1;
        }
        let inside = self.alternation()?;
        if self.rest.next() != Some(')') {
            return Err("a `)` is missing".into());
        }
        self.flags = before;
        Ok(Some(if capturing { Node::Capture(Box::new(inside)) } else { inside }))
    }

    /// `P<name>` or `<name>`.
    fn group_name(&mut self) -> Result<(), String> {
        self.rest.take("P");
        if !self.rest.take("<") || matches!(self.rest.peek(), Some('=' | '!')) {
            return Err("RE2 knows neither looking around nor references".into());
        }
        let name = self.rest.take_until(">").unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("the name of a group is empty, or has characters other than letters, digits and `_`".into());
        }
        Ok(())
    }

    /// `imsU-imsU:` or `imsU-imsU)`. True when a group follows.
    fn group_flags(&mut self) -> Result<bool, String> {
        let (mut on, mut flag_after_minus) = (true, true);
        loop {
            let flag = match self.rest.next() {
                Some('i') => &mut self.flags.fold,
                Some('m') => &mut self.flags.lines,
                Some('s') => &mut self.flags.dot_all,
                Some('U') => &mut self.flags.swap_greed,
                Some('-') if on => {
                    (on, flag_after_minus) = (false, false);
                    continue;
                }
                Some(end @ (':' | ')')) if flag_after_minus => return Ok(end == ':'),
                Some(other) => return Err(format!("`(?{other}` is not RE2; it knows the flags i, m, s and U")),
                None => return Err("a `)` is missing".into()),
            };
            *flag = on;
            flag_after_minus = true;
        }
    }

    /// What stands behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<Node, String> {
        let assertion = match self.rest.peek() {
            Some('b') => Some(Assertion::WordBoundary),
            Some('B') => Some(Assertion::NoWordBoundary),
            Some('A') => Some(Assertion::TextStart),
            Some('z') => Some(Assertion::TextEnd),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.rest.next();
            return Ok(Node::Assertion(assertion));
        }
        if self.rest.take("C") {
            return Ok(Node::AnyByte);
        }
        if let Some(set) = self.class_escape()? {
            return Ok(single(set, self.flags.fold));
        }
        let character = self.character_escape()?;
        Ok(self.code_point(character))
    }

    /// `\d`, `\pL`, `\p{Greek}` and their negations, behind the backslash; nothing is read if it is none of these.
    fn class_escape(&mut self) -> Result<Option<CharSet>, String> {
        let Some(letter) = self.rest.peek() else { return Ok(None) };
        let mut negated = letter.is_ascii_uppercase();
        let set = if letter.eq_ignore_ascii_case(&'p') {
            self.rest.next();
            let behind = self.rest.0;
            let name = if self.rest.take("{") {
                negated ^= self.rest.take("^");
                self.rest.take_until("}").ok_or("a `}` is missing")?
            } else {
                self.rest.next();
                behind.strip_suffix(self.rest.0).unwrap_or_default()
            };
            self.unicode_class(name)?
        } else if let Some(set) = class::perl(letter.to_ascii_lowercase()) {
            self.rest.next();
            set
        } else {
            return Ok(None);
        };
        Ok(Some(self.folded(&set, negated)))
    }

    /// Large tables are cut once per expression.
    fn unicode_class(&mut self, name: &'a str) -> Result<CharSet, String> {
        if let Some((_, set)) = self.classes.iter().find(|(known, _)| *known == name) {
            return Ok(set.clone());
        }
        let set = class::unicode(name).ok_or_else(|| format!("RE2 knows no Unicode class {}", quote(name)))?;
        self.classes.push((name, set.clone()));
        Ok(set)
    }

    /// Folding comes before the negation: what a fold adds is not in the negation either.
    fn folded(&self, set: &CharSet, negated: bool) -> CharSet {
        let mut folded = CharSet::default();
        folded.add_set(set, self.flags.fold);
        if negated { folded.negated() } else { folded }
    }

    /// A character behind a backslash.
    fn character_escape(&mut self) -> Result<u32, String> {
        let Some(character) = self.rest.next() else { return Err("it ends with a backslash".into()) };
        let octal = |rest: &mut Cursor<'_>| {
            let digit = rest.peek().and_then(|c| c.to_digit(8))?;
            rest.next();
            Some(digit)
        };
        Ok(match character {
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'a' => 0x07,
            'f' => 0x0c,
            'v' => 0x0b,
            // A digit alone would be a reference to a group, which RE2 does not have.
            '0'..='7' => {
                let mut code = character.to_digit(8).unwrap_or_default();
                let second = octal(&mut self.rest);
                if character != '0' && second.is_none() {
                    return Err(format!("RE2 knows no references such as `\\{character}`"));
                }
                if let Some(second) = second {
                    code = code * 8 + second;
                    code = octal(&mut self.rest).map_or(code, |third| code * 8 + third);
                }
                if code > MAX {
                    return Err("an octal escape is above `\\377`".into());
                }
                code
            }
            'x' => self.hexadecimal()?,
            other if !other.is_ascii() => return Err("RE2 knows no escapes of letters outside of ASCII".into()),
            other if !other.is_ascii_alphanumeric() => u32::from(other),
            other => return Err(format!("RE2 knows no escape {}", quote(&format!("\\{other}")))),
        })
    }

    /// `7f` or `{7f}`.
    fn hexadecimal(&mut self) -> Result<u32, String> {
        let wrong = || "`\\x` is followed by two hexadecimal digits, or by some in braces up to ff".to_owned();
        let mut code = 0;
        if !self.rest.take("{") {
            for _ in 0..2 {
                code = code * 16 + self.rest.next().and_then(|c| c.to_digit(16)).ok_or_else(wrong)?;
            }
            return Ok(code);
        }
        let mut any = false;
        loop {
            match self.rest.next() {
                Some('}') if any => return Ok(code),
                Some(c) => code = code * 16 + c.to_digit(16).ok_or_else(wrong)?,
                None => return Err(wrong()),
            }
            any = true;
            if code > MAX {
                return Err(wrong());
            }
        }
    }

    /// What stands behind `[`.
    fn class(&mut self) -> Result<Node, String> {
        let negated = self.rest.take("^");
        let mut set = CharSet::default();
        let mut first = true;
        loop {
            // A bracket that comes first is a member.
            if !first && self.rest.take("]") {
                break;
            }
            first = false;
            if let Some(named) = self.posix_class()? {
                set.extend(&named);
                continue;
            }
            let before = self.rest;
            if self.rest.take("\\") {
                if let Some(escaped) = self.class_escape()? {
                    set.extend(&escaped);
                    continue;
                }
                self.rest = before;
            }
            let low = self.class_member()?;
            let ranged = self.rest.0.starts_with('-') && !self.rest.0.starts_with("-]") && self.rest.0.len() > 1;
            let high = if ranged {
                self.rest.next();
                self.class_member()?
            } else {
                low
            };
            if high < low {
                return Err("a range in `[]` goes down".into());
            }
            let mut range = CharSet::default();
            range.add(low, high, false);
            set.extend(&self.folded(&range, false));
        }
        set.normalize();
        Ok(single(if negated { set.negated() } else { set }, self.flags.fold))
    }

    /// `[:name:]` or `[:^name:]`; nothing is read if it is neither.
    fn posix_class(&mut self) -> Result<Option<CharSet>, String> {
        let mut ahead = self.rest;
        if !ahead.take("[:") {
            return Ok(None);
        }
        let Some(name) = ahead.take_until(":]") else { return Ok(None) };
        let (negated, word) = name.strip_prefix('^').map_or((false, name), |word| (true, word));
        let set = class::posix(word).ok_or_else(|| format!("RE2 knows no class {}", quote(&format!("[:{name}:]"))))?;
        self.rest = ahead;
        Ok(Some(self.folded(&set, negated)))
    }

    fn class_member(&mut self) -> Result<u32, String> {
        match self.rest.next() {
            Some('\\') => self.character_escape(),
            Some(character) => Ok(u32::from(character)),
            None => Err("a `]` is missing".into()),
        }
    }

    fn literal(&self, character: char) -> Node {
        self.code_point(u32::from(character))
    }

    /// Outside of sets only ASCII letters are folded on Latin-1.
    fn code_point(&self, code: u32) -> Node {
        let lower = u8::try_from(code).ok().filter(u8::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase());
        match lower {
            Some(lower) if self.flags.fold => Node::Literal(u32::from(lower), true),
            _ => Node::Literal(code, self.flags.fold),
        }
    }
}

/// What is left of the budget after dividing it by all nested repeat counts; 0 is too many.
fn repeat_budget(node: &Node, budget: u32) -> u32 {
    match node {
        Node::Repeat { of, min, max, .. } => {
            // Unbounded ones by `*` and `+` do not count, and neither does a bound of one.
            let count = max.unwrap_or(*min).max(1);
            repeat_budget(of, budget / count)
        }
        Node::Capture(of) => repeat_budget(of, budget),
        Node::Concat(parts) | Node::Alternate(parts) => {
            parts.iter().map(|part| repeat_budget(part, budget)).min().unwrap_or(budget).min(budget)
        }
        _ => budget,
    }
}

/// A set as a node. One member is a literal, and so is an ASCII letter in both cases, as in RE2.
fn single(set: CharSet, fold: bool) -> Node {
    let first = set.ranges().first().map_or(0, |range| range.0);
    let upper = u8::try_from(first).ok().filter(u8::is_ascii_uppercase);
    match (set.count(), upper) {
        (1, _) => Node::Literal(first, fold),
        (2, Some(upper)) if set.contains(u32::from(upper.to_ascii_lowercase())) => {
            Node::Literal(u32::from(upper.to_ascii_lowercase()), true)
        }
        _ => Node::Class(set),
    }
}

fn concat(mut parts: Vec<Node>) -> Node {
    match parts.len() {
        0 => Node::Empty,
        1 => parts.remove(0),
        _ => Node::Concat(
            parts
                .into_iter()
                .flat_map(|part| match part {
                    Node::Concat(inner) => inner,
                    other => vec![other],
                })
                .collect(),
        ),
    }
}

fn alternate(branches: Vec<Node>) -> Node {
    let branches: Vec<Node> = branches
        .into_iter()
        .flat_map(|branch| match branch {
            Node::Alternate(inner) => inner,
            other => vec![other],
        })
        .collect();
    super::simplify::factor(branches)
}
