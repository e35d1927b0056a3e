//! Objects as they come in.

use crate::parse::Labels;
use api::{Decoded, Raw, Spec};
use convert::{Note, Version};
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use serde_json::Value;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What an object says. A body that does not decode is a value with a problem.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The `spec` of one of the fourteen kinds, as JSON text; [`Object::spec`] decodes it.
    ///
    /// Only judging an object looks at it, and a decoded Mapping takes ten times the memory of its text.
    Custom(Box<str>),
    /// A kind of the group in an API version that it does not have; nothing is read from it.
    OtherVersion(Arc<str>),
    /// A core Service.
    Service(Decoded<api::core::Service>),
    /// An EndpointSlice.
    EndpointSlice(Decoded<api::core::EndpointSlice>),
    /// A core Secret.
    Secret(Decoded<api::core::Secret>),
    /// A Namespace; only its labels count.
    Namespace,
    /// A kind that is known only as the bearer of annotations (Ingress).
    Bearer,
}

/// More notes about a conversion are not kept.
pub const MAX_NOTES: usize = 20;

/// An object without status, resource version and managed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its identity.
    pub key: ObjectKey,
    /// `metadata.generation`; 0 when it has none.
    pub generation: i64,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 when it has none. Older objects win conflicts.
    pub created: i64,
    /// `metadata.uid`; empty when it has none.
    pub uid: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// The annotation `getambassador.io/config`, which holds further objects.
    pub config_annotation: Option<Arc<str>>,
    /// `spec.ambassador_id`, readable even where the rest does not decode; `None` when absent.
    pub ambassador_id: Option<Vec<Arc<str>>>,
    /// What v3alpha1 has no place for, if it was written in an older version; at most [`MAX_NOTES`].
    pub left_out: Box<[Note]>,
    /// The rest.
    pub body: Body,
    /// Hash of everything above but generation: tells versions apart where there are no generations.
    pub fingerprint: u64,
}

/// What an object says about itself beside its body, as a watch delivers it.
#[derive(Clone, Debug)]
pub struct Head {
    /// See [`Object::key`].
    pub key: ObjectKey,
    /// See [`Object::generation`].
    pub generation: i64,
    /// See [`Object::created`].
    pub created: i64,
    /// See [`Object::uid`].
    pub uid: Arc<str>,
    /// See [`Object::labels`].
    pub labels: Labels,
    /// See [`Object::config_annotation`].
    pub config_annotation: Option<Arc<str>>,
}

impl Head {
    /// The fingerprint of an object with this head and that body.
    ///
    /// Two texts of equal meaning may differ in it, but the API server writes one object in one way.
    pub fn fingerprint(&self, body: &str) -> u64 {
        let mut hash = Xxh3::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(body);
        part(self.config_annotation.as_deref().unwrap_or_default());
        for (name, value) in &self.labels {
            part(name);
            part(value);
        }
        hash.digest()
    }
}

impl Object {
    /// An object from JSON text: the `spec` for the kinds of `getambassador.io`, the whole object for core kinds.
    pub fn from_text(head: Head, body: &str) -> Object {
        let fingerprint = head.fingerprint(body);
        let kind = head.key.kind;
        let text = Raw::from(body);
        // Few objects name an installation, and reading it apart from the rest costs a second look at the text.
        let named = kind.is_custom() && (body.contains("ambassador_id") || body.contains("ambassadorId"));
        let ambassador_id =
            named.then(|| serde_json::from_str::<Value>(body).ok()).flatten().and_then(|spec| ambassador_id(&spec));
        let body = match kind {
            Kind::Service => Body::Service(api::core::Service::decode(text)),
            Kind::EndpointSlice => Body::EndpointSlice(api::core::EndpointSlice::decode(text)),
            Kind::Secret => Body::Secret(api::core::Secret::decode(text)),
            Kind::Namespace => Body::Namespace,
            Kind::Ingress | Kind::IngressClass => Body::Bearer,
            _ => Body::Custom(body.into()),
        };
        let Head { key, generation, created, uid, labels, config_annotation } = head;
        Object {
            key,
            generation,
            created,
            uid,
            labels: Arc::new(labels),
            config_annotation,
            ambassador_id,
            left_out: Box::default(),
            body,
            fingerprint,
        }
    }

    /// An object from its JSON form, as read from a file or annotation.
    ///
    /// `None` for kinds that are not read. A kind that is read but whose metadata is unusable is a problem about the
    /// name that it seems to have. Objects without namespace get `default_namespace`.
    pub fn from_value(value: &Value, default_namespace: &str) -> Result<Option<Object>, Box<Problem>> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let metadata = value.get("metadata").unwrap_or(&Value::Null);
        let about = |field: &str| metadata.get(field).and_then(Value::as_str);
        let Some(kind) = text("kind").and_then(|kind| kind.parse::<Kind>().ok()) else { return Ok(None) };
        let api_version = text("apiVersion").unwrap_or_default();
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        if group != kind_group(kind) {
            return Ok(None);
        }
        let namespace = match kind {
            Kind::Namespace | Kind::IngressClass => "",
            _ => about("namespace").filter(|namespace| !namespace.is_empty()).unwrap_or(default_namespace),
        };
        let name = about("name").unwrap_or_default();
        let key = ObjectKey::new(kind, namespace, name);
        if name.is_empty() || name.len() > 253 || namespace.len() > 63 {
            return Err(Box::new(Problem::refused(
                &key,
                "metadata.name",
                ProblemKind::Malformed,
                "the object has no usable name",
            )));
        }
        let labels = metadata.get("labels").and_then(Value::as_object).map(labels_of).unwrap_or_default();
        let config_annotation = metadata
            .get("annotations")
            .and_then(|annotations| annotations.get("getambassador.io/config"))
            .and_then(Value::as_str)
            .map(Arc::from);
        let older = if kind.is_custom() { upgrade(value) } else { None };
        let (older, left_out) = older.map_or((None, Vec::new()), |(object, notes)| (Some(object), notes));
        let spec = older.as_ref().unwrap_or(value).get("spec").unwrap_or(&Value::Null);
        let body = match kind {
            Kind::Service => Body::Service(api::core::Service::decode(value)),
            Kind::EndpointSlice => Body::EndpointSlice(api::core::EndpointSlice::decode(value)),
            Kind::Secret => Body::Secret(api::core::Secret::decode(value)),
            Kind::Namespace => Body::Namespace,
            Kind::Ingress | Kind::IngressClass => Body::Bearer,
            _ if version != "v3alpha1" && older.is_none() => Body::OtherVersion(version.into()),
            _ => Body::Custom(spec.to_string().into()),
        };
        let fingerprint = fingerprint(value);
        Ok(Some(Object {
            key,
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or(0),
            created: about("creationTimestamp").map(parse_time).unwrap_or(0),
            uid: about("uid").unwrap_or_default().into(),
            labels: Arc::new(labels),
            config_annotation,
            ambassador_id: ambassador_id(spec),
            left_out: left_out.into(),
            body,
            fingerprint,
        }))
    }
}

impl Object {
    /// The decoded `spec` of one of the fourteen kinds; `None` for all others.
    pub fn spec(&self) -> Option<Decoded<Spec>> {
        match &self.body {
            Body::Custom(text) => Some(api::decode_kind(self.key.kind.name(), &**text)),
            _ => None,
        }
    }
}

/// What an object of version v1 or v2 is in v3alpha1, by the rules of the conversion webhook; `None` for any other version
/// and for a kind that does not have it. Only `apiVersion`, `kind` and `spec` are in the result.
fn upgrade(value: &Value) -> Option<(Value, Vec<Note>)> {
    let version = Version::of_api_version(value.get("apiVersion")?.as_str()?)?;
    if version == Version::V3Alpha1 {
        return None;
    }
    let part = |name: &str| Some((name.to_owned(), value.get(name)?.clone()));
    let object = ["apiVersion", "kind", "spec"].into_iter().filter_map(part).collect();
    // Nobody will want the old version back.
    let options = convert::Options { remember_spelling: false, ..convert::Options::default() };
    let mut converted = convert::convert_with(Value::Object(object), Version::V3Alpha1, options).ok()?;
    converted.notes.truncate(MAX_NOTES);
    // A header's name may be of any length.
    converted.notes.iter_mut().for_each(|note| note.at = note.at.chars().take(api::decode::MAX_PATH).collect());
    Some((converted.object, converted.notes))
}

fn kind_group(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Secret | Kind::Namespace => "",
        Kind::EndpointSlice => "discovery.k8s.io",
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io",
        _ => "getambassador.io",
    }
}

/// A list, or a single text as older versions allow; both spellings of the name.
fn ambassador_id(spec: &Value) -> Option<Vec<Arc<str>>> {
    match spec.get("ambassador_id").or_else(|| spec.get("ambassadorId"))? {
        Value::String(id) => Some(vec![id.as_str().into()]),
        Value::Array(ids) => Some(ids.iter().filter_map(Value::as_str).map(Arc::from).collect()),
        _ => None,
    }
}

/// Only what the gateway reads counts: status, resource version, managed fields and foreign annotations do not.
fn fingerprint(value: &Value) -> u64 {
    const PARTS: [&str; 8] = ["apiVersion", "spec", "data", "stringData", "type", "ports", "endpoints", "addressType"];
    let metadata = value.get("metadata");
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let parts = PARTS.into_iter().map(|name| (name, value.get(name)));
    let labels = ("labels", metadata.and_then(|metadata| metadata.get("labels")));
    let config = ("config", annotations.and_then(|annotations| annotations.get("getambassador.io/config")));
    let mut text = Vec::new();
    for (name, part) in parts.chain([labels, config]) {
        text.extend_from_slice(name.as_bytes());
        // Writing JSON into memory does not fail.
        let _ = part.map(|part| serde_json::to_writer(&mut text, part));
    }
    xxh3_64(&text)
}

pub(crate) fn labels_of(map: &serde_json::Map<String, Value>) -> Labels {
    map.iter().filter_map(|(name, value)| Some((Arc::from(name.as_str()), Arc::from(value.as_str()?)))).collect()
}

/// Seconds since 1970 of an RFC 3339 time in UTC, the only form that the API server writes; 0 when it is anything else.
pub fn parse_time(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return 0 };
    let (Some(hour), Some(minute), Some(second)) = (number(11..13), number(14..16), number(17..19)) else { return 0 };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !text.ends_with('Z') {
        return 0;
    }
    // Days from the civil date, with March as the first month of the year, so that leap days come last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1;
    (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), 0);
        assert_eq!(parse_time("2026-11-21T14:00:00Z"), 1_795_269_600);
        assert_eq!(parse_time("2000-02-29T23:59:59Z"), 951_868_799);
        assert_eq!(parse_time("yesterday"), 0);
    }
}
