//! Envoy's format strings, which added headers and access logs are made of.
//!
//! A `%` begins a command, `%COMMAND%`, `%COMMAND(parameters)%` or `%COMMAND(parameters):length%`, and `%%` stands for
//! one `%`. The commands and what each takes are those of Envoy 1.40 (its documentation, "Command operators"), tried
//! one by one with the program itself. One broken string makes Envoy refuse the whole resource.

use super::limits;
use super::text::{control_character_but_tab, quote};
use commands::{Takes, takes};
use std::num::ParseIntError;

/// Whether the text can be the value of an added header.
pub fn header_value(text: &str) -> Result<(), String> {
    if text.len() > limits::HEADER_VALUE {
        return Err(format!("header value {} is longer than {} bytes", quote(text), limits::HEADER_VALUE));
    }
    if let Some(character) = control_character_but_tab(text) {
        let character = quote(&character.to_string());
        return Err(format!("header value {} contains the control character {character}", quote(text)));
    }
    format_string(text)
}

/// Whether the text is a format string, be it for headers or for logs.
pub fn format_string(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let from = rest.get(at..).unwrap_or_default();
        rest = match from.strip_prefix("%%") {
            Some(rest) => rest,
            None => {
                let Some((command, rest)) = Command::read(from) else {
                    return Err(format!("{} in format {} begins no command; write %% for %", quote(from), quote(text)));
                };
                command.judge().map_err(|reason| format!("format {}: {reason}", quote(text)))?;
                rest
            }
        };
    }
    Ok(())
}

/// One command as written.
struct Command<'a> {
    name: &'a str,
    parameters: &'a str,
    length: bool,
}

impl<'a> Command<'a> {
    /// Reads a command from a text that begins with `%`. The parameters end at the first `)` after which the command
    /// can end, so they may contain `)` and `%`.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let after = text.strip_prefix('%')?;
        let end = after.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (name, rest) = after.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
        let Some(inside) = rest.strip_prefix('(') else {
            let (length, rest) = Self::ending(rest)?;
            return Some((Self { name, parameters: "", length: length.ok()? }, rest));
        };
        let (parameters, length, rest) = inside.match_indices(')').find_map(|(at, _)| {
            let (parameters, rest) = inside.split_at_checked(at)?;
            let (length, rest) = Self::ending(rest.strip_prefix(')')?)?;
            Some((parameters, length, rest))
        })?;
        // Envoy finds commands with a regular expression whose dot is not a line break, and reads the length later.
        if parameters.contains('\n') { None } else { Some((Self { name, parameters, length: length.ok()? }, rest)) }
    }

    /// Reads `%` or `:length%`: whether there was a length, or an error if it is no 64-bit number, and what follows.
    fn ending(text: &'a str) -> Option<(Result<bool, ParseIntError>, &'a str)> {
        if let Some(rest) = text.strip_prefix('%') {
            return Some((Ok(false), rest));
        }
        let (digits, rest) = text.strip_prefix(':')?.split_once('%')?;
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| (digits.parse::<u64>().map(|_| true), rest))
    }

    fn judge(&self) -> Result<(), String> {
        let Self { name, parameters, length } = self;
        let Some(takes) = takes(name) else { return Err(format!("{} is not a command of Envoy", quote(name))) };
        let (needs_parameters, takes_length) = match takes {
            Takes::Nothing | Takes::Anything | Takes::Time | Takes::Words(_) => (false, false),
            Takes::WordsAndLength(_) | Takes::Path => (false, true),
            Takes::Something | Takes::Key | Takes::Duration => (true, false),
            Takes::SomethingAndLength | Takes::Headers | Takes::FilterState | Takes::Metadata => (true, true),
            Takes::Program => return Err(format!("{name} is not available")),
        };
        if needs_parameters && parameters.is_empty() {
            return Err(format!("{name} needs parameters"));
        }
        if *length && !takes_length {
            return Err(format!("{name} does not take a length"));
        }
        let right = match takes {
            Takes::Nothing => parameters.is_empty(),
            Takes::Time => !writes_line_break(parameters),
            Takes::Key => !parameters.contains(':'),
            Takes::Headers => are_headers(parameters),
            Takes::Words(words) | Takes::WordsAndLength(words) => parameters.is_empty() || words.contains(parameters),
            Takes::Path => is_path(parameters),
            Takes::FilterState => is_filter_state(parameters),
            Takes::Metadata => is_metadata(parameters),
            Takes::Duration => is_duration(parameters),
            Takes::Anything | Takes::Something | Takes::SomethingAndLength | Takes::Program => true,
        };
        if right { Ok(()) } else { Err(format!("{} is not what {name} takes", quote(parameters))) }
    }
}

/// Envoy refuses time formats that would write a line break: `%n` with flags, width or modifier.
fn writes_line_break(format: &str) -> bool {
    format.match_indices('%').any(|(at, _)| {
        let rest = format.get(at + 1..).unwrap_or_default();
        let rest = rest.trim_start_matches(['-', '_', '0', '^', '#']).trim_start_matches(|c| ('1'..='9').contains(&c));
        rest.strip_prefix(['E', 'O']).unwrap_or(rest).starts_with('n')
    })
}

fn are_headers(parameters: &str) -> bool {
    let mut names = parameters.split('?');
    let known = |name: &str| name.is_empty() || super::header::matchable(name).is_ok();
    names.by_ref().take(2).all(known) && names.next().is_none()
}

fn is_path(parameters: &str) -> bool {
    let (query, source) = parameters.split_once(':').unwrap_or((parameters, ""));
    parameters.is_empty() || (["WQ", "NQ"].contains(&query) && ["", "ORIG", "PATH", "ORIG_OR_PATH"].contains(&source))
}

fn is_filter_state(parameters: &str) -> bool {
    let mut parts = parameters.splitn(3, ':');
    let (key, form, field) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let form_is_known = match form {
        None => true,
        Some("PLAIN" | "TYPED") => field.is_none_or(str::is_empty),
        Some("FIELD") => field.is_some_and(|field| !field.is_empty()),
        Some(_) => false,
    };
    !key.is_empty() && form_is_known
}

fn is_metadata(parameters: &str) -> bool {
    const SOURCES: [&str; 7] =
        ["DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "VIRTUAL_HOST", "LISTENER_FILTER_CHAIN"];
    SOURCES.contains(&parameters.split(':').next().unwrap_or_default())
}

fn is_duration(parameters: &str) -> bool {
    let parts: Vec<&str> = parameters.split(':').collect();
    match parts.as_slice() {
        [_, _] => true,
        [_, _, unit] => ["ms", "us", "ns"].contains(unit),
        _ => false,
    }
}

mod commands;
#[cfg(test)]
mod tests;
