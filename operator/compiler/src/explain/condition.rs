//! The conditions of a route, one by one, against a request.

use super::Request;
use super::path::parameter;
use crate::check::regex;
use ir::{ImpliedAuthority, NamedMatch, PathMatch, ProtoVariant, RouteGroup, TextMatch};

/// A request as routes see it.
pub struct Seen<'r> {
    /// As it was sent.
    pub request: &'r Request,
    /// `:authority`
    pub authority: &'r str,
    /// Normalized, without query.
    pub path: &'r str,
    /// The query.
    pub query: Option<&'r str>,
    /// `x-forwarded-proto`
    pub proto: &'r str,
}

/// What of a group's conditions the request does not meet, in words; at most one for each part.
pub fn failures(group: &RouteGroup, seen: &Seen, variant: ProtoVariant) -> Vec<String> {
    let matches = &group.matches;
    let mut failed = Vec::new();
    // Members may differ in this, and one is enough for the group.
    let case_sensitive = group.routes.iter().all(|route| route.case_sensitive);
    if !path_fits(&matches.path, seen.path, case_sensitive) {
        let verb = match &matches.path {
            PathMatch::Prefix(_) => "does not begin with",
            PathMatch::Exact(_) => "is not",
            PathMatch::Regex(_) => "does not match",
        };
        failed.push(format!("the path `{}` {verb} `{}`", seen.path, matches.path.text()));
    }
    if let Some(authority) = &matches.authority
        && !fits(authority, Some(seen.authority))
    {
        failed.push(format!("the host `{}` is not {}", seen.authority, words(authority)));
    }
    for header in &matches.headers {
        if header.name.eq_ignore_ascii_case("x-forwarded-proto") && proto_is_decided(group, variant) {
            continue;
        }
        // Of several headers of one name any may fit, each for itself.
        let values = header_values(seen, &header.name);
        if !values.iter().any(|value| fits(&header.value, Some(value))) {
            let shown = (!values.is_empty()).then(|| values.join(", "));
            failed.push(unmet("header", header, shown.as_deref()));
        }
    }
    for condition in &matches.query {
        let value = parameter(seen.query, &condition.name);
        if !fits(&condition.value, value) {
            failed.push(unmet("query parameter", condition, value));
        }
    }
    failed
}

/// Whether a member's path condition holds, case included: members of a group may differ in that.
pub fn path_fits(condition: &PathMatch, path: &str, case_sensitive: bool) -> bool {
    let begins = |path: &str, prefix: &str| path.starts_with(prefix);
    match condition {
        PathMatch::Prefix(prefix) if case_sensitive => begins(path, prefix),
        PathMatch::Prefix(prefix) => begins(&path.to_ascii_lowercase(), &prefix.to_ascii_lowercase()),
        PathMatch::Exact(exact) if case_sensitive => path == &**exact,
        PathMatch::Exact(exact) => path.eq_ignore_ascii_case(exact),
        PathMatch::Regex(expression) => regex::is_full_match(expression, path),
    }
}

/// The user's own condition on the header is gone where the listener has decided it; see [`ProtoVariant`].
fn proto_is_decided(group: &RouteGroup, variant: ProtoVariant) -> bool {
    let matches = &group.matches;
    let is_proto = |header: &NamedMatch| header.name.eq_ignore_ascii_case("x-forwarded-proto");
    match variant {
        ProtoVariant::AsIs | ProtoVariant::RedirectAsIs => false,
        ProtoVariant::Secure => true,
        ProtoVariant::Insecure | ProtoVariant::RedirectInsecure => {
            matches.authority.is_some() || matches.headers.iter().any(|header| !is_proto(header))
        }
    }
}

/// Whether the virtual host implies a group's host condition. It holds then for every request that gets there.
pub fn is_implied(group: &RouteGroup, implied: &ImpliedAuthority) -> bool {
    match (&group.matches.authority, implied) {
        (None, _) => true,
        (Some(TextMatch::Regex(_) | TextMatch::Present), _) => false,
        (Some(_), ImpliedAuthority::AllGlobs) => true,
        (Some(_), ImpliedAuthority::Nothing) => false,
        (Some(TextMatch::Exact(text)), ImpliedAuthority::Glob(glob)) => glob == text,
        (Some(TextMatch::Suffix(text)), ImpliedAuthority::Glob(glob)) => glob.strip_prefix('*') == Some(text),
        (Some(TextMatch::Prefix(text)), ImpliedAuthority::Glob(glob)) => glob.strip_suffix('*') == Some(text),
    }
}

fn header_values(seen: &Seen, name: &str) -> Vec<String> {
    match name.to_ascii_lowercase().as_str() {
        ":method" => vec![seen.request.method.clone()],
        ":authority" | "host" => vec![seen.authority.to_owned()],
        ":path" => vec![seen.query.map_or_else(|| seen.path.to_owned(), |query| format!("{}?{query}", seen.path))],
        ":scheme" => vec![if seen.request.tls { "https" } else { "http" }.to_owned()],
        "x-forwarded-proto" => vec![seen.proto.to_owned()],
        name => {
            let headers = seen.request.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
            headers.map(|(_, value)| value.clone()).collect()
        }
    }
}

fn fits(condition: &TextMatch, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    match condition {
        TextMatch::Exact(text) => value == &**text,
        TextMatch::Prefix(text) => value.starts_with(&**text),
        TextMatch::Suffix(text) => value.ends_with(&**text),
        TextMatch::Regex(expression) => regex::is_full_match(expression, value),
        TextMatch::Present => true,
    }
}

fn unmet(what: &str, condition: &NamedMatch, value: Option<&str>) -> String {
    let wanted = words(&condition.value);
    match value {
        Some(value) => format!("{what} `{}` is `{value}`, not {wanted}", condition.name),
        None => format!("{what} `{}` is missing; it has to be {wanted}", condition.name),
    }
}

fn words(condition: &TextMatch) -> String {
    match condition {
        TextMatch::Exact(text) => format!("`{text}`"),
        TextMatch::Prefix(text) => format!("`{text}*`"),
        TextMatch::Suffix(text) => format!("`*{text}`"),
        TextMatch::Regex(expression) => format!("a match of `{expression}`"),
        TextMatch::Present => "there".to_owned(),
    }
}
