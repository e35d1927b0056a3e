//! The rules for `spec`, kind by kind.
//!
//! Both directions work in place on JSON and never fail. A name that only the target version knows is an unknown field in
//! the source and must not come to life there: it is taken out. [`crate::spelling`] keeps it for the way back.
//!
//! Converting up what was converted down from something converted up changes nothing any more; spelling relies on it.

use serde_json::{Value, json};

use crate::{Kind, Note, Object, ids};

mod headers;
mod host;
mod labels;
mod tls;

/// Fields with another name in v1 and v2: `(old, new)`.
const fn renamed(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::AuthService => &[("v3StatsName", "stats_name"), ("v3CircuitBreakers", "circuit_breakers")],
        Kind::LogService => &[("v3StatsName", "stats_name"), ("v3ProtocolVersion", "protocol_version")],
        Kind::Mapping => &[("v3StatsName", "stats_name"), ("v3health_checks", "health_checks")],
        Kind::RateLimitService => &[("v3StatsName", "stats_name"), ("v3GRPC", "grpc")],
        Kind::TCPMapping => &[("v3StatsName", "stats_name")],
        Kind::TracingService => &[("v3StatsName", "stats_name"), ("v3CustomTags", "custom_tags")],
        Kind::TLSContext => &[("v3CRLSecret", "crl_secret")],
        Kind::Host => &[("selector", "mappingSelector")],
        Kind::ConsulResolver
        | Kind::DevPortal
        | Kind::KubernetesEndpointResolver
        | Kind::KubernetesServiceResolver
        | Kind::Listener
        | Kind::Module => &[],
    }
}

/// The same one level down: the field it is in, `(old, new)`.
const fn renamed_inside(kind: Kind) -> Option<(&'static str, (&'static str, &'static str))> {
    match kind {
        Kind::Host => Some(("tls", ("v3CRLSecret", "crl_secret"))),
        Kind::TracingService => Some(("config", ("v3PropagationModes", "propagation_modes"))),
        _ => None,
    }
}

/// The field with the address of a service, where `tls` is about it.
const fn service_field(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::AuthService => Some("auth_service"),
        Kind::Mapping | Kind::RateLimitService | Kind::TCPMapping => Some("service"),
        _ => None,
    }
}

/// The name of the group of fields that the rules of a kind combine with this one, in any version; none if they never
/// look at the field. Fields of different groups do not influence each other.
pub(crate) fn group(kind: Kind, field: &str) -> Option<&'static str> {
    if let Some((_, new)) = renamed(kind).iter().find(|(old, new)| field == *old || field == *new) {
        return Some(new);
    }
    if [ids::FIELD, ids::OLD_FIELD].contains(&field) {
        return Some(ids::FIELD);
    }
    if field == crate::spelling::FIELD {
        return Some(crate::spelling::FIELD);
    }
    if service_field(kind).is_some_and(|service| [service, "tls", "v2ExplicitTLS"].contains(&field)) {
        return Some("tls");
    }
    match (kind, field) {
        (Kind::Mapping, "host" | "host_regex" | "hostname") => Some("host"),
        (Kind::Mapping, "labels") => Some("labels"),
        (Kind::Mapping, _) => headers::group(field),
        (Kind::Module, "config") => Some("config"),
        (Kind::TracingService, "tag_headers") => Some("custom_tags"),
        _ => renamed_inside(kind).map(|(inside, _)| inside).filter(|inside| *inside == field),
    }
}

/// A copy of the fields that belong to a group of which `wanted` says yes.
pub(crate) fn part(kind: Kind, spec: &Object, wanted: impl Fn(&'static str) -> bool) -> Object {
    let fields = spec.iter().filter(|(field, _)| group(kind, field).is_some_and(&wanted));
    fields.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// Turns a v1 or v2 `spec` into v3alpha1. Ids must have lost their prefix before.
pub(crate) fn upgrade(kind: Kind, spec: &mut Object, notes: &mut Vec<Note>) {
    if spec.remove(crate::spelling::FIELD).is_some() {
        notes.push(unknown(crate::spelling::FIELD));
    }
    for &(old, new) in renamed(kind) {
        rename(spec, old, new, notes);
    }
    if let Some((field, (old, new))) = renamed_inside(kind)
        && let Some(Value::Object(inner)) = spec.get_mut(field)
    {
        rename(inner, old, new, notes);
    }
    string_to_list(spec, ids::FIELD);
    if let Some(service) = service_field(kind) {
        tls::upgrade(kind, spec, service);
    }
    match kind {
        Kind::Host => host_ids(spec),
        Kind::Mapping => {
            host::upgrade(spec, notes);
            headers::upgrade(spec, notes);
            labels::upgrade(spec, notes);
        }
        // v3alpha1 requires a config.
        Kind::Module if spec.get("config").is_none_or(Value::is_null) => {
            spec.insert("config".to_owned(), json!({}));
        }
        Kind::TracingService => custom_tags(spec, "custom_tags", notes),
        _ => {}
    }
}

/// Turns a v3alpha1 `spec` into v1 or v2. Ids do not get their prefix here.
pub(crate) fn downgrade(kind: Kind, spec: &mut Object, notes: &mut Vec<Note>) {
    if kind == Kind::Host
        && let Some(selector) = spec.remove("selector")
    {
        // Deprecated in v3alpha1, where it has a new name.
        if spec.get("mappingSelector").is_none_or(Value::is_null) {
            spec.insert("mappingSelector".to_owned(), selector);
        } else {
            notes.push(Note { at: "spec.selector".to_owned(), detail: "mappingSelector wins; selector was left out" });
        }
    }
    for &(old, new) in renamed(kind) {
        rename(spec, new, old, notes);
    }
    if let Some((field, (old, new))) = renamed_inside(kind)
        && let Some(Value::Object(inner)) = spec.get_mut(field)
    {
        rename(inner, new, old, notes);
    }
    if let Some(service) = service_field(kind) {
        tls::downgrade(kind, spec, service);
    }
    match kind {
        Kind::Host if spec.remove(ids::OLD_FIELD).is_some() => notes.push(unknown(ids::OLD_FIELD)),
        Kind::Mapping => {
            host::downgrade(spec);
            headers::downgrade(spec);
            labels::downgrade(spec);
        }
        Kind::TracingService => custom_tags(spec, "v3CustomTags", notes),
        _ => {}
    }
}

/// Takes all memory out of a v3alpha1 `spec`, of whatever kind: the fields have the same meaning in each.
pub(crate) fn forget(spec: &mut Object) {
    for field in [crate::spelling::FIELD, tls::EXPLICIT] {
        spec.remove(field);
    }
    headers::forget(spec);
    labels::forget(spec);
}

fn rename(object: &mut Object, from: &str, to: &str, notes: &mut Vec<Note>) {
    if object.remove(to).is_some() {
        notes.push(unknown(to));
    }
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

fn unknown(field: &str) -> Note {
    Note {
        at: format!("spec.{field}"),
        detail: "means nothing in this version; left out, so that it does not come to life",
    }
}

/// v1 and v2 take a string for a list of one.
fn string_to_list(object: &mut Object, field: &str) {
    if let Some(value @ Value::String(_)) = object.get_mut(field) {
        let text = value.take();
        *value = Value::Array(vec![text]);
    }
}

/// An old Host has ids in two fields; v3alpha1 only has the first.
fn host_ids(spec: &mut Object) {
    string_to_list(spec, ids::OLD_FIELD);
    let Some(Value::Array(more)) = spec.remove(ids::OLD_FIELD) else { return };
    match spec.get_mut(ids::FIELD) {
        Some(Value::Array(ids)) => ids.extend(more),
        Some(Value::Null) | None => {
            spec.insert(ids::FIELD.to_owned(), Value::Array(more));
        }
        Some(_) => {}
    }
}

/// Turns `tag_headers`, which both versions have and the newer one deprecates, into tags. Explicit tags win.
fn custom_tags(spec: &mut Object, tags: &str, notes: &mut Vec<Note>) {
    let Some(Value::Array(headers)) = spec.get("tag_headers") else { return };
    if !headers.iter().all(Value::is_string) {
        return;
    }
    let from_headers: Vec<Value> =
        headers.iter().map(|header| json!({"tag": header, "request_header": {"name": header}})).collect();
    let given = match spec.get(tags) {
        None | Some(Value::Null) => false,
        Some(Value::Array(given)) => !given.is_empty(),
        Some(_) => true,
    };
    spec.remove("tag_headers");
    if from_headers.is_empty() {
        return;
    }
    if given {
        notes.push(Note { at: "spec.tag_headers".to_owned(), detail: "custom tags win; tag_headers was left out" });
    } else {
        spec.insert(tags.to_owned(), Value::Array(from_headers));
    }
}
