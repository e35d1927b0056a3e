//! Regular expressions: RE2's syntax, and the size of the program RE2 makes of them.
//!
//! Envoy refuses a whole resource when RE2 does not take one expression in it, or makes a larger program of it than
//! `max_program_size` allows. RE2's language is close to that of Rust's regex crate but not the same (escapes, Unicode
//! classes, flags, repeat counts differ), and only RE2 has a program size, so the grammar is read here. What is accepted
//! must be accepted by RE2; what RE2 accepts is refused only where an expression is nested deeper than any real one.
//!
//! ```text
//! class      sets of characters: ranges, case folding, Unicode and POSIX classes
//! syntax     text -> tree, with RE2's rules and errors
//! simplify   the rewrites of the tree that change the program's size
//! program    tree -> instructions, as far as needed to count them
//! matching   whether a text matches, to explain what Envoy does
//! ```
//!
//! Envoy 1.40 has RE2 work on Latin-1, not on UTF-8: `.` is a byte, `\x{3bb}` is refused, `é+` repeats the last byte of
//! the letter, `\pL` knows the letters below 256 only, and programs are small. That is not documented; the sizes that
//! Envoy names when it refuses an expression show it.
//!
//! Source: RE2's syntax page (google/re2, doc/syntax.txt) and trials with RE2 itself.

mod class;
mod matching;
mod program;
mod simplify;
mod syntax;

use super::limits;
use super::text::quote;
use ahash::AHashMap;
use std::cell::RefCell;

/// The program size Envoy is told to allow when the Module says nothing, upstream's `regex_max_size`.
pub const DEFAULT_MAX_PROGRAM_SIZE: u32 = 200;

/// The largest program size that a Module can allow; Envoy is told to take no more.
pub const LARGEST_PROGRAM_SIZE: u32 = 10_000;

/// How many expressions are remembered, and how long ones.
const KNOWN_MOST: usize = 1024;
const KNOWN_BYTES: usize = 256;

thread_local! {
    /// Good expressions and what they come to: thousands of Mappings have the same few, in `regex_headers` above all. What
    /// an expression comes to depends on its text alone, so that forgetting and remembering change nothing but the time.
    static KNOWN: RefCell<AHashMap<Box<str>, Expression>> = RefCell::default();
}

/// An expression that Envoy will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expression {
    /// Instructions of the program that RE2 makes of it.
    pub size: u32,
    groups: u32,
}

/// Whether Envoy will take the expression, given the largest program size it is told to allow.
pub fn judge(text: &str, max_program_size: u32) -> Result<Expression, String> {
    if text.is_empty() {
        return Err("the regular expression is empty".into());
    }
    if text.len() > limits::REGEX {
        return Err(format!("regular expression {} is longer than {} bytes", quote(text), limits::REGEX));
    }
    if let Some(known) =
        KNOWN.with_borrow(|known| known.get(text).copied()).filter(|known| known.size <= max_program_size)
    {
        return Ok(known);
    }
    let (node, groups) = syntax::parse(text)
        .map_err(|reason| format!("regular expression {} is not valid RE2: {reason}", quote(text)))?;
    match program::size(&node, max_program_size).and_then(|size| u32::try_from(size).ok()) {
        Some(size) => {
            let expression = Expression { size, groups };
            if text.len() <= KNOWN_BYTES {
                KNOWN.with_borrow_mut(|known| {
                    if known.len() >= KNOWN_MOST {
                        known.clear();
                    }
                    known.insert(text.into(), expression);
                });
            }
            Ok(expression)
        }
        None => Err(format!(
            "regular expression {} compiles to more than {max_program_size} instructions (regex_max_size)",
            quote(text)
        )),
    }
}

impl Expression {
    /// What is odd about a substitution for what this expression finds.
    ///
    /// Envoy takes any substitution. One that refers to a group the expression lacks, or has a stray backslash, leaves
    /// the path as it is.
    pub fn remark(&self, substitution: &str) -> Option<String> {
        let mut escapes = substitution.split('\\').skip(1).peekable();
        while let Some(after) = escapes.next() {
            match after.chars().next() {
                Some(digit @ '0'..='9') if digit.to_digit(10).is_some_and(|digit| digit <= self.groups) => {}
                Some(digit @ '0'..='9') => {
                    let count = format!("the expression has {}", self.groups);
                    return Some(format!("substitution {} refers to group {digit}, {count}", quote(substitution)));
                }
                // Two backslashes stand for one; the text between them is empty.
                None if escapes.next().is_some() => {}
                _ => return Some(format!("substitution {} has a stray backslash", quote(substitution))),
            }
        }
        None
    }
}

/// Whether Envoy takes the whole text for a match of the expression; false for one that it does not take at all.
pub fn is_full_match(expression: &str, text: &str) -> bool {
    expression.len() <= limits::REGEX
        && syntax::parse(expression).is_ok_and(|(node, _)| matching::is_full_match(&node, text.as_bytes()))
}

#[cfg(test)]
mod tests;
