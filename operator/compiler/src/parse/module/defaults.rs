//! `defaults`: what Mappings that say nothing get. A key below `httpmapping` goes before one beside it.

use crate::check::{limits::Limits, text::quote};
use crate::parse::config::Config;
use ir::{HeaderValue, ProblemKind};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The defaults of Mappings, and that of secret names.
#[derive(Default)]
pub(super) struct Defaults {
    pub add_request_headers: Option<Vec<HeaderValue>>,
    pub add_response_headers: Option<Vec<HeaderValue>>,
    pub remove_request_headers: Option<Vec<Arc<str>>>,
    pub remove_response_headers: Option<Vec<Arc<str>>>,
    pub stats_name: Option<Arc<str>>,
    pub secret_namespacing: Option<bool>,
}

/// Reads them.
pub(super) fn defaults(config: &mut Config, limits: &Limits) -> Defaults {
    let mut found = Defaults::default();
    let mut outer = config.inner("defaults");
    found.secret_namespacing = outer.boolean("tls_secret_namespacing");
    mapping(&mut outer, limits, &mut found);
    if outer.peek("httpmapping") {
        let mut inner = outer.inner("httpmapping");
        mapping(&mut inner, limits, &mut found);
        inner.leftovers();
    }
    outer.leftovers();
    found
}

fn mapping(config: &mut Config, limits: &Limits, found: &mut Defaults) {
    found.add_request_headers = added("add_request_headers", config, limits).or(found.add_request_headers.take());
    found.add_response_headers = added("add_response_headers", config, limits).or(found.add_response_headers.take());
    found.remove_request_headers = removed("remove_request_headers", config).or(found.remove_request_headers.take());
    found.remove_response_headers = removed("remove_response_headers", config).or(found.remove_response_headers.take());
    found.stats_name = config.name("stats_name").or(found.stats_name.take());
}

/// Values are texts or `{value, append}`.
fn added(key: &str, config: &mut Config, limits: &Limits) -> Option<Vec<HeaderValue>> {
    let field = config.field(key);
    let map = config.map(key)?;
    let mut headers: Vec<(&String, Option<&str>, Option<bool>)> = Vec::with_capacity(map.len());
    for (name, header) in map {
        match read(header) {
            Some((value, append)) => headers.push((name, Some(value), append)),
            None => {
                let shown = quote(&header.to_string());
                let detail =
                    format!("{shown} is neither a text nor a map of `value` and `append`; the header is left out");
                let at = format!("{field}.{}", quote(name).trim_matches('`'));
                config.report.degrade(&at, ProblemKind::InvalidValue, detail);
            }
        }
    }
    Some(config.report.added_headers(&field, headers.into_iter(), limits.unchecked))
}

fn read(header: &Value) -> Option<(&str, Option<bool>)> {
    let map: &Map<String, Value> = match header {
        Value::String(text) => return Some((text, None)),
        other => other.as_object()?,
    };
    let append = match map.get("append") {
        None | Some(Value::Null) => None,
        Some(append) => Some(append.as_bool()?),
    };
    // A map without a value stands for an empty one, as in a Mapping.
    match map.get("value") {
        None | Some(Value::Null) => Some(("", append)),
        Some(value) => Some((value.as_str()?, append)),
    }
}

fn removed(key: &str, config: &mut Config) -> Option<Vec<Arc<str>>> {
    let field = config.field(key);
    let names: Vec<String> = match config.get(key) {
        Some(Value::String(name)) => {
            config.take(key);
            vec![name.clone()]
        }
        _ => config.decoded(key)?,
    };
    Some(config.report.removed_headers(&field, &names))
}
