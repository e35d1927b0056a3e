//! Collects findings about one object while its fields are read.

use crate::check::regex::{self, Expression};
use crate::check::{header, limits, text::quote};
use ir::{Effect, HeaderValue, ObjectKey, Problem, ProblemKind};
use std::fmt::Display;
use std::sync::Arc;

/// Findings so far.
pub struct Report<'a> {
    about: &'a ObjectKey,
    /// In the order in which they were made.
    pub problems: Vec<Problem>,
    /// Of the largest expression so far, in instructions.
    pub program_size: u32,
}

impl<'a> Report<'a> {
    /// Nothing found yet.
    pub fn new(about: &'a ObjectKey) -> Self {
        Self { about, problems: Vec::new(), program_size: 0 }
    }

    /// Notes a finding about a field of the spec.
    pub fn add(&mut self, field: &str, kind: ProblemKind, effect: Effect, detail: impl Into<String>) {
        let at = if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") };
        self.problems.push(Problem::new(self.about, at, kind, effect, detail));
    }

    /// The object is out of force.
    pub fn refuse(&mut self, field: &str, kind: ProblemKind, detail: impl Into<String>) {
        self.add(field, kind, Effect::Refused, detail);
    }

    /// The option is out of force.
    pub fn degrade(&mut self, field: &str, kind: ProblemKind, detail: impl Into<String>) {
        self.add(field, kind, Effect::Degraded, detail);
    }

    /// A remark.
    pub fn note(&mut self, field: &str, kind: ProblemKind, detail: impl Into<String>) {
        self.add(field, kind, Effect::Notice, detail);
    }

    /// An option that is understood and has no effect yet.
    pub fn not_yet(&mut self, field: &str, present: bool) {
        if present {
            self.note(field, ProblemKind::NotSupported, format!("`{field}` is not supported yet and has no effect"));
        }
    }

    /// An option that never has an effect.
    pub fn no_effect(&mut self, field: &str, present: bool) {
        if present {
            self.note(field, ProblemKind::NoEffect, format!("`{field}` has no effect"));
        }
    }

    /// A duration in milliseconds that Envoy takes; a negative or too long one is left out.
    pub fn milliseconds(&mut self, field: &str, value: Option<i64>) -> Option<u64> {
        let value = value?;
        match u64::try_from(value).ok().filter(|ms| *ms <= limits::DURATION_MS) {
            Some(ms) => Some(ms),
            None => {
                self.degrade(
                    field,
                    ProblemKind::InvalidValue,
                    format!("{value} is no number of milliseconds between 0 and {}", limits::DURATION_MS),
                );
                None
            }
        }
    }

    /// A count that fits 32 bits; any other is left out. The name of the field is written only when something is wrong.
    pub fn count(&mut self, field: impl Display, value: Option<i64>) -> Option<u32> {
        let value = value?;
        match u32::try_from(value) {
            Ok(count) => Some(count),
            Err(_) => {
                let detail = format!("{value} is not between 0 and {}", u32::MAX);
                self.degrade(&field.to_string(), ProblemKind::InvalidValue, detail);
                None
            }
        }
    }

    /// A text of bounded length without control characters; an empty one counts as absent.
    pub fn text(&mut self, field: &str, value: Option<&String>, most: usize) -> Option<Arc<str>> {
        let value = value.filter(|value| !value.is_empty())?;
        self.text_or_empty(field, Some(value), most)
    }

    /// The same for a name that only people read: a bad one is left out, and the object stays in force.
    pub fn label(&mut self, field: &str, value: Option<&String>, most: usize) -> Option<Arc<str>> {
        let value = value.filter(|value| !value.is_empty())?;
        if value.len() > most || crate::check::text::control_character(value).is_some() {
            let detail = format!("{} is longer than {most} bytes or has control characters", quote(value));
            self.degrade(field, ProblemKind::InvalidValue, detail);
            return None;
        }
        Some(value.as_str().into())
    }

    /// The same where an empty text has a meaning.
    pub fn text_or_empty(&mut self, field: impl Display, value: Option<&String>, most: usize) -> Option<Arc<str>> {
        let value = value?;
        if value.len() > most {
            self.refuse(
                &field.to_string(),
                ProblemKind::TooLarge,
                format!("the text is {} bytes long, at most {most} are accepted", value.len()),
            );
            return None;
        }
        if let Some(character) = crate::check::text::control_character(value) {
            let detail = format!("{} contains the control character {}", quote(value), quote(&character.to_string()));
            self.refuse(&field.to_string(), ProblemKind::InvalidValue, detail);
            return None;
        }
        Some(value.as_str().into())
    }

    /// A regular expression that Envoy could be told to take; a bad one refuses the object.
    pub fn expression(&mut self, field: impl Display, text: &str) -> Option<Expression> {
        match regex::judge(text, regex::LARGEST_PROGRAM_SIZE) {
            Ok(expression) => {
                self.program_size = self.program_size.max(expression.size);
                Some(expression)
            }
            Err(reason) => {
                self.refuse(&field.to_string(), ProblemKind::InvalidRegex, reason);
                None
            }
        }
    }

    /// Headers to add; each bad one is left out.
    pub fn added_headers<'h>(
        &mut self,
        field: &str,
        headers: impl ExactSizeIterator<Item = (&'h String, Option<&'h str>, Option<bool>)>,
        unchecked: bool,
    ) -> Vec<HeaderValue> {
        if headers.len() > limits::HEADERS {
            self.refuse(
                field,
                ProblemKind::TooLarge,
                format!("{} headers, at most {} are accepted", headers.len(), limits::HEADERS),
            );
            return Vec::new();
        }
        let mut added = Vec::with_capacity(headers.len());
        for (name, value, append) in headers {
            let at = || format!("{field}.{}", quote(name).trim_matches('`'));
            let value = value.unwrap_or_default();
            if let Err(reason) = header::editable(name) {
                self.degrade(&at(), ProblemKind::InvalidValue, reason);
            } else if let (false, Err(reason)) = (unchecked, crate::check::format::header_value(value)) {
                self.degrade(&at(), ProblemKind::InvalidFormat, reason);
            } else {
                added.push(HeaderValue {
                    name: name.as_str().into(),
                    value: value.into(),
                    append: append.unwrap_or(true),
                });
            }
        }
        added
    }

    /// Headers to remove; each bad one is left out.
    pub fn removed_headers(&mut self, field: &str, names: &[String]) -> Vec<Arc<str>> {
        if names.len() > limits::HEADERS {
            self.refuse(
                field,
                ProblemKind::TooLarge,
                format!("{} headers, at most {} are accepted", names.len(), limits::HEADERS),
            );
            return Vec::new();
        }
        let mut removed = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            match header::editable(name) {
                Ok(()) => removed.push(name.as_str().into()),
                Err(reason) => self.degrade(&format!("{field}[{index}]"), ProblemKind::InvalidValue, reason),
            }
        }
        removed
    }
}
