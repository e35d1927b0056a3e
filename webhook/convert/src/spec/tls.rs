//! `tls` and the scheme of a service: AuthService, Mapping, RateLimitService, TCPMapping.
//!
//! In v1 and v2 `tls` is a boolean or the name of a TLSContext; `true`, a name, or an `https://` service originate TLS. In
//! v3alpha1 `tls` is a name only, and without one the scheme decides. `v2ExplicitTLS` remembers how the old version put it.

use serde_json::{Value, json};

use crate::{Kind, Object};

pub(super) const EXPLICIT: &str = "v2ExplicitTLS";

/// A spelling of `tls` that v3alpha1 has no value for.
fn recorded(tls: Option<&Value>) -> Option<&'static str> {
    match tls? {
        Value::Null => Some("null"),
        Value::Bool(false) => Some("bool:false"),
        Value::Bool(true) => Some("bool:true"),
        Value::String(name) if name.is_empty() => Some("string"),
        _ => None,
    }
}

pub(super) fn upgrade(kind: Kind, spec: &mut Object, service: &str) {
    spec.remove(EXPLICIT);
    let Some(Value::String(address)) = spec.get(service) else { return };
    let tls = spec.get("tls");
    if let Some(Value::String(name)) = tls
        && !name.is_empty()
    {
        if kind != Kind::TCPMapping {
            spec.insert(EXPLICIT.to_owned(), json!({}));
        }
        return;
    }
    let Some(spelling) = recorded(tls) else { return };
    let mut explicit = Object::new();
    explicit.insert("tls".to_owned(), json!(spelling));
    let (scheme, rest) = split_scheme(address);
    if spelling == "bool:true" {
        // Upstream forgets the scheme of a TCPMapping, and with it the difference that http:// makes.
        let wanted = if kind == Kind::TCPMapping { !scheme.is_empty() } else { !is_https(scheme) };
        if wanted {
            explicit.insert("serviceScheme".to_owned(), json!(scheme));
        }
        if !is_https(scheme) {
            let address = format!("https://{rest}");
            spec.insert(service.to_owned(), Value::String(address));
        }
    }
    spec.remove("tls");
    spec.insert(EXPLICIT.to_owned(), Value::Object(explicit));
}

pub(super) fn downgrade(kind: Kind, spec: &mut Object, service: &str) {
    let explicit = spec.remove(EXPLICIT).unwrap_or_default();
    let Some(Value::String(address)) = spec.get(service) else { return };
    let (current, rest) = split_scheme(address);
    let (named, tls) = match spec.get("tls") {
        Some(Value::String(name)) if !name.is_empty() => (true, None),
        None | Some(Value::String(_) | Value::Null) => match explicit.get("tls").and_then(Value::as_str) {
            Some("null") => (false, Some(Value::Null)),
            Some("bool:false") => (false, Some(Value::Bool(false))),
            Some("string") => (false, Some(Value::String(String::new()))),
            // Otherwise somebody has taken TLS out of the v3alpha1 object.
            Some("bool:true") if is_https(current) => (false, Some(Value::Bool(true))),
            _ => (false, None),
        },
        Some(_) => return,
    };
    let by_flag = tls == Some(Value::Bool(true));
    let scheme = match explicit.get("serviceScheme").and_then(Value::as_str) {
        Some(scheme) if split_scheme(scheme).1.is_empty() => {
            (named || by_flag || is_https(scheme) == is_https(current)).then_some(scheme)
        }
        // v2 has no schemes in TCPMappings, as far as upstream is concerned.
        None if kind == Kind::TCPMapping && by_flag => Some(""),
        _ => None,
    };
    let address = scheme.filter(|scheme| *scheme != current).map(|scheme| format!("{scheme}{rest}"));
    if !named {
        spec.remove("tls");
    }
    if let Some(tls) = tls {
        spec.insert("tls".to_owned(), tls);
    }
    if let Some(address) = address {
        spec.insert(service.to_owned(), Value::String(address));
    }
}

fn is_https(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https://")
}

/// Splits after `http://` or `https://` in any case of letters. Anything else is no scheme.
fn split_scheme(address: &str) -> (&str, &str) {
    for scheme in ["https://", "http://"] {
        if let Some((start, rest)) = address.split_at_checked(scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return (start, rest);
        }
    }
    ("", address)
}
