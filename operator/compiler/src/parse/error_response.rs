//! `error_response_overrides` of Mappings and of the Module: other bodies for answers with an error status.
//!
//! A rule that cannot be honoured is left out alone, as upstream has it.

use super::config::Config;
use super::report::Report;
use crate::check::{format, limits, text, text::quote};
use api::v3alpha1::ErrorResponseOverride;
use ir::{ErrorBody, ProblemKind};
use serde_json::Value;
use std::sync::Arc;

/// The Module's key, and the Mapping's field.
const FIELD: &str = "error_response_overrides";

/// A rule for one status.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedErrorRule {
    /// 400 to 599
    pub status: u16,
    /// The body.
    pub body: ParsedErrorBody,
    /// `content_type`
    pub content_type: Option<Arc<str>>,
    /// Where it stands in the list, for what is found out later.
    pub index: usize,
}

/// A body as written.
#[derive(Clone, Debug, PartialEq)]
pub enum ParsedErrorBody {
    /// `text_format` or `json_format`.
    Inline(ErrorBody),
    /// `text_format_source.filename`. Whether it may be read depends on the installation.
    File(Arc<str>),
}

/// The rules of a Mapping.
pub fn of_mapping(list: &[ErrorResponseOverride], report: &mut Report) -> Arc<[ParsedErrorRule]> {
    let mut found = Vec::new();
    too_many(FIELD, list.len(), report);
    for (index, spec) in list.iter().enumerate().take(limits::ERROR_RULES) {
        rule(&format!("{FIELD}[{index}]"), index, spec, &mut found, report);
    }
    limited(FIELD, &found, report);
    found.into()
}

/// The rules of the Module, where numbers and booleans count as texts.
pub fn of_module(config: &mut Config) -> Arc<[ParsedErrorRule]> {
    let mut found = Vec::new();
    let Some(value) = config.take(FIELD) else { return found.into() };
    let field = config.field(FIELD);
    let Some(list) = value.as_array() else {
        let detail = format!("{} is no list", quote(&value.to_string()));
        config.report.degrade(&field, ProblemKind::InvalidValue, detail);
        return found.into();
    };
    too_many(&field, list.len(), config.report);
    for (index, entry) in list.iter().enumerate().take(limits::ERROR_RULES) {
        let at = format!("{field}[{index}]");
        match api::decode::<ErrorResponseOverride>(&as_texts(entry)).value {
            Ok(spec) => rule(&at, index, &spec, &mut found, config.report),
            Err(problem) => {
                let dot = if problem.path.is_empty() || problem.path.starts_with('[') { "" } else { "." };
                let detail = format!("{}; the rule is left out", problem.message);
                config.report.degrade(&format!("{at}{dot}{}", problem.path), ProblemKind::Malformed, detail);
            }
        }
    }
    limited(&field, &found, config.report);
    found.into()
}

/// Who comes from upstream's 3.10 hears what is different; who comes from 4 hears that the field is not ignored any more.
fn limited(field: &str, found: &[ParsedErrorRule], report: &mut Report) {
    if !found.is_empty() {
        let detail = "an answer with another body keeps only the headers that clients act upon; Emissary-ingress 4 \
                      ignores this field";
        report.note(field, ProblemKind::Limited, detail);
    }
}

fn too_many(field: &str, count: usize, report: &mut Report) {
    if count > limits::ERROR_RULES {
        let detail = format!("{count} rules, the first {} are read", limits::ERROR_RULES);
        report.degrade(field, ProblemKind::TooLarge, detail);
    }
}

/// An entry of the Module, which nobody has typed, in the form that a Mapping's has.
fn as_texts(entry: &Value) -> Value {
    let mut entry = entry.clone();
    if let Some(status) = entry.get_mut("on_status_code")
        && let Some(number) = status.as_str().and_then(|text| text.trim().parse::<i64>().ok())
    {
        *status = number.into();
    }
    if let Some(format) = entry.get_mut("body").and_then(|body| body.get_mut("json_format"))
        && let Some(format) = format.as_object_mut()
    {
        for value in format.values_mut().filter(|value| value.is_boolean() || value.is_number()) {
            *value = value.to_string().into();
        }
    }
    entry
}

fn rule(at: &str, index: usize, spec: &ErrorResponseOverride, found: &mut Vec<ParsedErrorRule>, report: &mut Report) {
    let status = u16::try_from(spec.on_status_code).ok().filter(|status| (400..=599).contains(status));
    if status.is_none() {
        let detail = format!("status {} is not between 400 and 599; the rule is left out", spec.on_status_code);
        report.degrade(&format!("{at}.on_status_code"), ProblemKind::InvalidValue, detail);
    }
    let body = body(at, spec, report);
    let content_type = content_type(at, spec, report);
    let (Some(status), Some(body)) = (status, body) else { return };
    if found.iter().any(|earlier| earlier.status == status) {
        let detail = format!("an earlier rule is for {status} as well, and that one counts");
        report.note(&format!("{at}.on_status_code"), ProblemKind::NoEffect, detail);
        return;
    }
    found.push(ParsedErrorRule { status, body, content_type, index });
}

fn body(at: &str, spec: &ErrorResponseOverride, report: &mut Report) -> Option<ParsedErrorBody> {
    let body = &spec.body;
    let mut left_out = |field: &str, kind: ProblemKind, reason: String| {
        report.degrade(&format!("{at}.body{field}"), kind, format!("{reason}; the rule is left out"));
        None
    };
    match (&body.text_format, &body.json_format, &body.text_format_source) {
        (Some(text), None, None) => match judge(text) {
            Ok(()) => Some(ParsedErrorBody::Inline(ErrorBody::Text(text.as_str().into()))),
            Err(reason) => left_out(".text_format", ProblemKind::InvalidFormat, reason),
        },
        (None, Some(object), None) => {
            let size = object.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if size > limits::ERROR_BODY {
                let reason = format!("it is longer than {} bytes", limits::ERROR_BODY);
                return left_out(".json_format", ProblemKind::TooLarge, reason);
            }
            for (name, value) in object {
                if let Err(reason) = judge(value) {
                    let field = format!(".json_format.{}", quote(name).trim_matches('`'));
                    return left_out(&field, ProblemKind::InvalidFormat, reason);
                }
            }
            let values = object.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into()));
            Some(ParsedErrorBody::Inline(ErrorBody::Json(values.collect())))
        }
        (None, None, Some(source)) => match source.filename.as_deref() {
            Some(path)
                if path.starts_with('/') && path.len() <= limits::FILE && text::control_character(path).is_none() =>
            {
                Some(ParsedErrorBody::File(path.into()))
            }
            path => {
                let reason = format!("{} is no absolute path", quote(path.unwrap_or_default()));
                left_out(".text_format_source.filename", ProblemKind::InvalidValue, reason)
            }
        },
        (text, json, source) => {
            let forms = usize::from(text.is_some()) + usize::from(json.is_some()) + usize::from(source.is_some());
            let reason =
                format!("exactly one of text_format, json_format and text_format_source is needed, not {forms}");
            left_out("", ProblemKind::ConflictingFields, reason)
        }
    }
}

/// Whether a text can be the body of an answer.
pub fn judge(text: &str) -> Result<(), String> {
    if text.len() > limits::ERROR_BODY {
        return Err(format!("the text is longer than {} bytes", limits::ERROR_BODY));
    }
    format::format_string(text)
}

fn content_type(at: &str, spec: &ErrorResponseOverride, report: &mut Report) -> Option<Arc<str>> {
    let written = spec.body.content_type.as_deref().filter(|written| !written.is_empty())?;
    if written.len() > limits::NAME || text::control_character(written).is_some() {
        let detail = format!("{} is too long or has control characters; the default is used", quote(written));
        report.degrade(&format!("{at}.body.content_type"), ProblemKind::InvalidValue, detail);
        return None;
    }
    Some(written.into())
}
