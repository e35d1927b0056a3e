//! Types that several kinds share: identities, references, selectors, circuit breakers, status.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::integer;

/// Names the installations that read a resource (`AMBASSADOR_ID`).
///
/// The v3alpha1 schema asks for a list of strings. Objects from before, and from files and annotations, may hold
/// a plain string, which reads as a list of one; it is always written as a list.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct AmbassadorId(pub Vec<String>);

impl AmbassadorId {
    /// The names, in the order given.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AmbassadorId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrList;

        impl<'de> Visitor<'de> for StringOrList {
            type Value = AmbassadorId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<AmbassadorId, E> {
                Ok(AmbassadorId(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AmbassadorId, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(AmbassadorId(names))
            }
        }

        deserializer.deserialize_any(StringOrList)
    }
}

impl JsonSchema for AmbassadorId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AmbassadorId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

/// An object whose content the resource definition leaves open. It is kept value for value.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OpaqueObject(pub Map<String, Value>);

impl Deref for OpaqueObject {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl JsonSchema for OpaqueObject {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OpaqueObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Without this mark the API server would prune every key.
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// Headers to add, by name.
pub type AddedHeaders = BTreeMap<String, AddedHeader>;

/// Status of the kinds for which Emissary-ingress defines none.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ResourceStatus {
    /// Whether the resource is accepted, its references resolved, and whether it is live; `Ready` sums it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
}

/// One aspect of an object's state: the `metav1.Condition` of Kubernetes.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Condition {
    /// What the condition is about, such as `Accepted` or `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the object that the condition was found for.
    #[serde(
        rename = "observedGeneration",
        default,
        deserialize_with = "integer::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub observed_generation: Option<i64>,
    /// When `status` last changed, in RFC 3339.
    #[serde(rename = "lastTransitionTime")]
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, as one word in CamelCase that programs can rely on.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

/// Names an object in the namespace of the object that holds the reference.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LocalObjectReference {
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Names a Secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretReference {
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Secret. Default: the namespace of the object that holds the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Selects objects by their labels. Only `matchLabels` is evaluated, as in every release of Emissary-ingress.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels the object must carry, all of them, with exactly these values.
    #[serde(rename = "matchLabels", skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Accepted for compatibility; it has no effect, and a condition says so.
    #[serde(rename = "matchExpressions", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One expression of a Kubernetes label selector.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LabelSelectorRequirement {
    /// Label key the expression is about.
    pub key: String,
    /// Relation of the key to the values: `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values that `In` and `NotIn` compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Option<Vec<String>>,
}

/// Limits on what may be open towards one upstream cluster, for one routing priority.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct CircuitBreaker {
    /// Routing priority the limits apply to. Default: `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<CircuitBreakerPriority>,
    /// Most connections to the cluster. Default: Envoy's, 1024.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Most requests that wait for a connection. Default: Envoy's, 1024.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i64>,
    /// Most requests in flight. Default: Envoy's, 1024.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<i64>,
    /// Most retries in flight. Default: Envoy's, 3.
    #[serde(default, deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i64>,
}

/// Envoy routing priority a circuit breaker belongs to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum CircuitBreakerPriority {
    /// Requests of ordinary priority.
    #[serde(rename = "default")]
    Default,
    /// Requests of Mappings with `priority: high`.
    #[serde(rename = "high")]
    High,
}

/// Remembers how a v1 or v2 object spelled TLS, so that conversion back restores it. It has no effect on traffic.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct V2ExplicitTls {
    /// How the v2 object spelled `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<V2TlsSpelling>,
    /// Scheme that the v2 object had in front of its service; the empty string says that it had none.
    #[serde(rename = "serviceScheme", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^([hH][tT][tT][pP][sS]?://)?$"))]
    pub service_scheme: Option<String>,
}

/// The ways a v1 or v2 object can spell a `tls` that is no context name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum V2TlsSpelling {
    /// Nothing is recorded.
    #[serde(rename = "")]
    Unset,
    /// An explicit null.
    #[serde(rename = "null")]
    Null,
    /// The boolean true.
    #[serde(rename = "bool:true")]
    True,
    /// The boolean false.
    #[serde(rename = "bool:false")]
    False,
    /// An empty string.
    #[serde(rename = "string")]
    String,
}

/// Remembers what a v1 or v2 object said and v3alpha1 cannot say: JSON pointers below `spec`, each with the `value` that
/// stood there, or without one where there was nothing. Conversion writes and reads it (crate `convert`).
pub type V2Spelling = OpaqueObject;

/// A header to add to a request or a response.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AddedHeader {
    /// Value of the header; Envoy's `%…%` variables are substituted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// True adds the value to those already present, false replaces them. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
    /// How a v1 or v2 object spelled this header, for conversion back. It has no effect on traffic.
    #[serde(rename = "v2Representation", skip_serializing_if = "Option::is_none")]
    pub v2_representation: Option<V2HeaderSpelling>,
}

/// The ways a v1 or v2 object can spell an added header that is no object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum V2HeaderSpelling {
    /// An object with `value` and `append`.
    #[serde(rename = "")]
    Object,
    /// A plain string.
    #[serde(rename = "string")]
    String,
    /// A null.
    #[serde(rename = "null")]
    Null,
}

/// Version of Envoy's gRPC service interface that an external service speaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ProtocolVersion {
    /// The retired version 2 interface, which Envoy no longer speaks.
    #[serde(rename = "v2")]
    V2,
    /// The version 3 interface.
    #[serde(rename = "v3")]
    V3,
}

/// The only value that is given, or how many are.
pub(super) fn exactly_one<T, const N: usize>(given: [Option<T>; N]) -> Result<T, usize> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.count()) {
        (Some(only), 0) => Ok(only),
        (first, others) => Err(usize::from(first.is_some()) + others),
    }
}
