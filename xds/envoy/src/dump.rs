//! Any resource as protobuf JSON, in the form of Envoy's admin interface: field names as in the `.proto` files, `Any`
//! expanded. For people, golden tests and static configurations; far from the hot path.

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::OnceLock;
use xds::{Resource, ResourceType};

/// The descriptors of all Envoy messages; made by the build script.
static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));

/// What stands in the place of a private key.
pub const REDACTED: &str = "[redacted]";

/// Why bytes could not be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpError {
    message: String,
}

impl DumpError {
    fn new(what: &str, error: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {error}") }
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DumpError {}

/// An encoded message of that type (`envoy.config.route.v3.RouteConfiguration`, with or without a type URL's host) as
/// JSON. Secrets come as they are; [`resource`] redacts.
pub fn message(type_name: &str, bytes: &[u8]) -> Result<Value, DumpError> {
    let name = type_name.rsplit('/').next().unwrap_or(type_name);
    let descriptor =
        pool()?.get_message_by_name(name).ok_or_else(|| DumpError::new(name, "not a message of this build"))?;
    let message = DynamicMessage::decode(descriptor, bytes).map_err(|error| DumpError::new(name, error))?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map(ordered)
        .map_err(|error| DumpError::new(name, error))
}

/// A resource as JSON, without private keys.
pub fn resource(resource: &Resource) -> Result<Value, DumpError> {
    let mut json = unredacted(resource)?;
    if let Some(key) = json.get_mut("tls_certificate").and_then(|certificate| certificate.get_mut("private_key")) {
        *key = json!({ "inline_string": REDACTED });
    }
    Ok(json)
}

/// A resource as JSON, private keys and all.
pub(crate) fn unredacted(resource: &Resource) -> Result<Value, DumpError> {
    message(resource.kind.type_url(), &resource.payload.to_vec())
}

/// One document `{"listeners":[…],"routes":[…],"clusters":[…],"endpoints":[…],"secrets":[…]}`, each ordered by name,
/// without private keys.
pub fn resources<'a>(all: impl IntoIterator<Item = &'a Resource>) -> Result<Value, DumpError> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    let of = |kind: ResourceType| -> Result<Value, DumpError> {
        all.iter()
            .filter(|one| one.kind == kind)
            .map(|one| resource(one))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::from)
    };
    let mut out = Map::new();
    for (key, kind) in [
        ("listeners", ResourceType::Listener),
        ("routes", ResourceType::Route),
        ("clusters", ResourceType::Cluster),
        ("endpoints", ResourceType::Endpoint),
        ("secrets", ResourceType::Secret),
    ] {
        out.insert(key.to_string(), of(kind)?);
    }
    Ok(Value::Object(out))
}

fn pool() -> Result<&'static DescriptorPool, DumpError> {
    static POOL: OnceLock<Result<DescriptorPool, DumpError>> = OnceLock::new();
    let made =
        POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).map_err(|error| DumpError::new("descriptors", error)));
    made.as_ref().map_err(Clone::clone)
}

/// The same value with object keys in order, whatever order the JSON library keeps. The depth is that of the message.
fn ordered(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, ordered(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(ordered).collect(),
        leaf => leaf,
    }
}
