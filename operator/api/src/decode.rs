//! Decoding with a field path for the error and a list of the fields nobody knows.
//!
//! Bad input is a value: a spec that does not decode gives a [`DecodeProblem`], which becomes the verdict of its object
//! and touches no other. Messages are bounded, the same for JSON text and parsed JSON, and safe to publish in a status.

mod strict;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use strict::Strict;

/// Levels of nesting that decode: what `serde_json` allows in text.
///
/// Deeper input is refused before anything recurses into it, so that no input exhausts the stack.
pub const MAX_DEPTH: usize = 128;
/// Unknown fields that are listed; more are left out.
pub const MAX_UNKNOWN: usize = 20;
/// Bytes of a message.
pub const MAX_MESSAGE: usize = 300;
/// Bytes of a field path.
pub const MAX_PATH: usize = 200;
/// Bytes of a value that a message repeats.
const MAX_QUOTED: usize = 80;

/// What came of decoding: the value or why there is none, and in any case the fields that are not known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded<S> {
    /// The value, or the first problem that was met.
    pub value: Result<S, DecodeProblem>,
    /// Paths of fields that the type does not have, at most [`MAX_UNKNOWN`], in the order they were met. After a
    /// problem, those met before it.
    pub unknown: Vec<String>,
}

impl<S> Decoded<S> {
    /// Replaces the value, keeping the problem and the unknown fields.
    pub fn map<T>(self, with: impl FnOnce(S) -> T) -> Decoded<T> {
        Decoded { value: self.value.map(with), unknown: self.unknown }
    }

    pub(crate) fn problem(problem: DecodeProblem) -> Self {
        Decoded { value: Err(problem), unknown: Vec::new() }
    }
}

/// Why an object did not decode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecodeProblem {
    /// Path of the field below what was decoded, such as `weights[1].weight`; empty for the whole.
    pub path: String,
    /// What is wrong with it, without a final dot.
    pub message: String,
}

impl DecodeProblem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (mut path, mut message) = (path.into(), message.into());
        shorten(&mut path, MAX_PATH);
        shorten(&mut message, MAX_MESSAGE);
        Self { path, message }
    }
}

/// What is decoded: JSON text, as a watch delivers it, or parsed JSON, as files and annotations give it.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// JSON text.
    Text(&'a str),
    /// Parsed JSON.
    Value(&'a Value),
}

impl Raw<'_> {
    /// Nothing at all, which reads as an empty object.
    pub const MISSING: Raw<'static> = Raw::Text("{}");

    /// A null reads as nothing.
    #[must_use]
    pub(crate) fn or_missing(self) -> Self {
        match self {
            Raw::Text(text) if text.trim_ascii() == "null" => Raw::MISSING,
            Raw::Value(Value::Null) => Raw::MISSING,
            given => given,
        }
    }

    fn too_deep(self) -> bool {
        match self {
            Raw::Text(text) => text_too_deep(text),
            Raw::Value(value) => value_too_deep(value),
        }
    }
}

impl<'a> From<&'a str> for Raw<'a> {
    fn from(text: &'a str) -> Self {
        Raw::Text(text)
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Raw::Text(raw.get())
    }
}

impl<'a> From<&'a Value> for Raw<'a> {
    fn from(value: &'a Value) -> Self {
        Raw::Value(value)
    }
}

impl<'a, T> From<Option<T>> for Raw<'a>
where
    T: Into<Raw<'a>>,
{
    fn from(raw: Option<T>) -> Self {
        raw.map_or(Raw::MISSING, Into::into)
    }
}

/// Decodes a spec and lists the fields it has but `S` does not.
pub fn decode<'a, S: DeserializeOwned>(raw: impl Into<Raw<'a>>) -> Decoded<S> {
    let raw = raw.into();
    if raw.too_deep() {
        return Decoded::problem(DecodeProblem::new("", format!("nested more than {MAX_DEPTH} levels deep")));
    }
    match raw {
        Raw::Value(value) => track(value),
        Raw::Text(text) => {
            // Most objects have nothing wrong with them, and then no path is needed.
            if let Some(value) = plain::<S, true>(text) {
                return Decoded { value: Ok(value), unknown: Vec::new() };
            }
            let mut json = serde_json::Deserializer::from_str(text);
            let decoded = track(&mut json);
            if decoded.value.is_ok() && json.end().is_ok() {
                return decoded;
            }
            // Text and value report some mistakes in different words. A status would flap between the two, so the
            // value decides, in the rare case that something is wrong.
            match serde_json::from_str::<Value>(text) {
                Ok(value) => track(&value),
                Err(error) => Decoded::problem(DecodeProblem::new("", format!("not readable as JSON: {error}"))),
            }
        }
    }
}

/// Decodes a view of an object of which most fields are of no interest, so none are listed.
pub(crate) fn decode_view<'a, S: DeserializeOwned>(raw: impl Into<Raw<'a>>) -> Decoded<S> {
    let raw = raw.into();
    // Every slice of a cluster has fields that the view lacks: to look for their paths would be most of the work.
    let viewed = match raw {
        raw if raw.too_deep() => None,
        Raw::Value(value) => S::deserialize(Strict::<_, false>(value)).ok(),
        Raw::Text(text) => plain::<S, false>(text),
    };
    match viewed {
        Some(value) => Decoded { value: Ok(value), unknown: Vec::new() },
        None => Decoded { unknown: Vec::new(), ..decode(raw) },
    }
}

/// Without paths; `None` where something is wrong. For `KNOWN` see [`Strict`].
fn plain<S: DeserializeOwned, const KNOWN: bool>(text: &str) -> Option<S> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = S::deserialize(Strict::<_, KNOWN>(&mut json)).ok()?;
    json.end().is_ok().then_some(value)
}

fn track<'de, S, D>(deserializer: D) -> Decoded<S>
where
    S: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    let mut unknown = Vec::new();
    let mut at = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(Strict::<_, false>(deserializer), &mut at);
    let value = serde_ignored::deserialize(tracked, |field| {
        if unknown.len() < MAX_UNKNOWN {
            let mut path = String::new();
            write_path(&field, &mut path);
            shorten(&mut path, MAX_PATH);
            unknown.push(path);
        }
    });
    Decoded { value: value.map_err(|error| locate(&error, &at.path())), unknown }
}

fn locate(error: &serde_json::Error, at: &serde_path_to_error::Path) -> DecodeProblem {
    let message = in_plain_words(shorten_quoted(error.to_string()));
    // The root is written as a dot.
    let mut path = if at.iter().len() == 0 { String::new() } else { at.to_string() };
    // The tracker stops at the object that lacks a field; people look for the field.
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field);
    }
    DecodeProblem::new(path, message)
}

/// Writes an unknown field's path in the spelling that error paths have: `a.b[0].c`.
fn write_path(path: &serde_ignored::Path<'_>, out: &mut String) {
    use serde_ignored::Path;
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            write_path(parent, out);
            out.push_str(&format!("[{index}]"));
        }
        Path::Map { parent, key } => {
            write_path(parent, out);
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(key);
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            write_path(parent, out);
        }
    }
}

/// Cuts the value that serde repeats in `invalid type: string "…", expected` or ``unknown variant `…`, expected``.
fn shorten_quoted(text: String) -> String {
    for (open, close) in [('"', "\", expected "), ('`', "`, expected ")] {
        let (Some(start), Some(end)) = (text.find(open), text.rfind(close)) else { continue };
        let start = start + open.len_utf8();
        if let Some(quoted) = text.get(start..end)
            && quoted.len() > MAX_QUOTED
        {
            let mut kept = quoted.to_owned();
            shorten(&mut kept, MAX_QUOTED);
            return [text.get(..start), Some(&kept), text.get(end..)].into_iter().flatten().collect();
        }
    }
    text
}

/// Says what was expected without the names that types have in this program.
fn in_plain_words(mut message: String) -> String {
    const EXPECTED: &str = ", expected ";
    // The last one, since the value before it may contain the same words.
    let Some(start) = message.rfind(EXPECTED).map(|start| start + EXPECTED.len()) else { return message };
    let plain = match message.get(start..) {
        Some("a map") => "an object",
        Some("string or map") => "a string",
        Some(expected) if expected.starts_with("struct ") => "an object",
        _ => return message,
    };
    message.truncate(start);
    message.push_str(plain);
    message
}

/// Cuts a text to at most `max` bytes, at a character, with an ellipsis for what is gone.
pub(crate) fn shorten(text: &mut String, max: usize) {
    const ELLIPSIS: &str = "…";
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
}

fn value_too_deep(value: &Value) -> bool {
    // A stack of our own, because the point is not to recurse.
    let mut open = vec![(value, 0_usize)];
    while let Some((value, depth)) = open.pop() {
        let inner = depth + 1;
        match value {
            Value::Array(_) | Value::Object(_) if inner > MAX_DEPTH => return true,
            Value::Array(items) => open.extend(items.iter().filter(|item| is_nested(item)).map(|item| (item, inner))),
            Value::Object(fields) => {
                open.extend(fields.values().filter(|item| is_nested(item)).map(|item| (item, inner)));
            }
            _ => {}
        }
    }
    false
}

fn is_nested(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

fn text_too_deep(text: &str) -> bool {
    // Nearly every spec has too few brackets to be deep, and counting them is far cheaper than the scan below.
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}
