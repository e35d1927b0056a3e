//! An untyped map of settings, read with checks.

use super::report::Report;
use crate::check::text::{is_true, quote};
use crate::check::{limits, text};
use ir::ProblemKind;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// The map, where findings go, and which keys were looked at. A null counts as absent.
pub struct Config<'m, 'r, 'a> {
    map: &'m Map<String, Value>,
    path: String,
    /// Where findings go.
    pub report: &'r mut Report<'a>,
    seen: BTreeSet<String>,
}

impl<'m, 'r, 'a> Config<'m, 'r, 'a> {
    /// The map `spec.config`.
    pub fn new(map: &'m Map<String, Value>, report: &'r mut Report<'a>) -> Self {
        Self { map, path: "config".into(), report, seen: BTreeSet::new() }
    }

    /// Whether the key is there.
    pub fn peek(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'m Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key, which counts as looked at.
    pub fn take(&mut self, key: &str) -> Option<&'m Value> {
        self.seen.insert(key.to_owned());
        self.get(key)
    }

    fn wrong(&mut self, key: &str, value: &Value, expected: &str) {
        let shown = quote(&value.to_string());
        self.report.degrade(
            &format!("{}.{key}", self.path),
            ProblemKind::InvalidValue,
            format!("{shown} is no {expected}; the default is used"),
        );
    }

    /// A boolean; upstream takes some texts for one, too.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.take(key)?;
        match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => Some(is_true(text)),
            other => {
                self.wrong(key, other, "boolean");
                None
            }
        }
    }

    /// A text without control characters.
    pub fn text(&mut self, key: &str) -> Option<Arc<str>> {
        let value = self.take(key)?;
        match value.as_str() {
            Some(found) if found.len() <= limits::PATH && text::control_character(found).is_none() => {
                Some(found.into())
            }
            _ => {
                self.wrong(key, value, "text without control characters");
                None
            }
        }
    }

    /// A text that is not empty; an empty one counts as absent.
    pub fn name(&mut self, key: &str) -> Option<Arc<str>> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// A number in a range.
    pub fn ranged(&mut self, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(key)?;
        let found = integer(value).and_then(|number| u32::try_from(number).ok()).filter(|found| range.contains(found));
        if found.is_none() {
            self.wrong(key, value, &format!("number from {} to {}", range.start(), range.end()));
        }
        found
    }

    /// A number from 0 on that fits 32 bits.
    pub fn count(&mut self, key: &str) -> Option<u32> {
        let value = self.take(key)?;
        let count = integer(value).and_then(|number| u32::try_from(number).ok());
        if count.is_none() {
            self.wrong(key, value, "number from 0 to 4294967295");
        }
        count
    }

    /// Milliseconds that Envoy takes.
    pub fn milliseconds(&mut self, key: &str) -> Option<u64> {
        let value = self.take(key)?;
        let found =
            integer(value).and_then(|number| u64::try_from(number).ok()).filter(|ms| *ms <= limits::DURATION_MS);
        if found.is_none() {
            self.wrong(key, value, "number of milliseconds");
        }
        found
    }

    /// A value of a typed form.
    pub fn decoded<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        match api::decode::<T>(value).value {
            Ok(found) => Some(found),
            Err(problem) => {
                let dot = if problem.path.is_empty() || problem.path.starts_with('[') { "" } else { "." };
                let place = format!("{}{dot}{}", self.field(key), problem.path);
                self.report.degrade(
                    &place,
                    ProblemKind::Malformed,
                    format!("{}; the default is used", problem.message),
                );
                None
            }
        }
    }

    /// The path of a key, as findings name it.
    pub fn field(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Says that a key has no effect yet, if it is there.
    pub fn not_yet(&mut self, key: &str) {
        if self.take(key).is_some() {
            let detail = format!("`{key}` is not supported yet and has no effect");
            self.report.degrade(&self.field(key), ProblemKind::NotSupported, detail);
        }
    }

    /// Says that a key never has an effect, if it is there.
    pub fn no_effect(&mut self, key: &str) {
        let present = self.take(key).is_some();
        self.report.no_effect(&self.field(key), present);
    }

    /// A map as it is written.
    pub fn map(&mut self, key: &str) -> Option<&'m Map<String, Value>> {
        let value = self.take(key)?;
        if value.as_object().is_none() {
            self.wrong(key, value, "map");
        }
        value.as_object()
    }

    /// A list, cut where it is longer than `most`.
    pub fn list(&mut self, key: &str, most: usize) -> Option<&'m [Value]> {
        let value = self.take(key)?;
        let Some(list) = value.as_array() else {
            self.wrong(key, value, "list");
            return None;
        };
        if list.len() > most {
            let detail = format!("{} entries, the first {most} are read", list.len());
            self.report.degrade(&self.field(key), ProblemKind::TooLarge, detail);
        }
        list.get(..most.min(list.len()))
    }

    /// The texts of a list, cut where it is longer than `most`; an entry that is none, or an empty one, is left out.
    pub fn texts(&mut self, key: &str, most: usize) -> Vec<Arc<str>> {
        let mut found = Vec::new();
        for (index, value) in self.list(key, most).into_iter().flatten().enumerate() {
            let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= limits::NAME);
            match text.filter(|text| text::control_character(text).is_none()) {
                Some(text) => found.push(text.into()),
                None => {
                    let shown = quote(&value.to_string());
                    let detail = format!(
                        "{shown} is no text of 1 to {} bytes without control characters; it is left out",
                        limits::NAME
                    );
                    self.report.degrade(&format!("{}[{index}]", self.field(key)), ProblemKind::InvalidValue, detail);
                }
            }
        }
        found
    }

    /// A map below a key; empty when it is absent or no map.
    pub fn inner(&mut self, key: &str) -> Config<'m, '_, 'a> {
        let map = self.map(key).unwrap_or(&EMPTY);
        self.below(self.field(key), map)
    }

    /// A map below a key; `None` when it is absent or no map.
    pub fn section(&mut self, key: &str) -> Option<Config<'m, '_, 'a>> {
        let map = self.map(key)?;
        Some(self.below(self.field(key), map))
    }

    /// A map in the list below a key; `None` when it is none.
    pub fn entry(&mut self, key: &str, index: usize, value: &'m Value) -> Option<Config<'m, '_, 'a>> {
        let place = format!("{key}[{index}]");
        match value.as_object() {
            Some(map) => Some(self.below(self.field(&place), map)),
            None => {
                let detail = format!("{} is no map; it is left out", quote(&value.to_string()));
                self.report.degrade(&self.field(&place), ProblemKind::InvalidValue, detail);
                None
            }
        }
    }

    fn below(&mut self, path: String, map: &'m Map<String, Value>) -> Config<'m, '_, 'a> {
        Config { map, path, report: self.report, seen: BTreeSet::new() }
    }

    /// Says which keys nobody looked at.
    pub fn leftovers(&mut self) {
        let unknown: Vec<&String> =
            self.map.keys().filter(|key| !self.seen.contains(*key)).take(limits::LISTED).collect();
        for key in unknown {
            let detail = format!("{} is not known and has no effect", quote(key));
            self.report.note(
                &format!("{}.{}", self.path, quote(key).trim_matches('`')),
                ProblemKind::UnknownField,
                detail,
            );
        }
    }
}

/// YAML to JSON turns some integers into floats.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64)
    })
}
