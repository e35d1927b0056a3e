//! What a controller knows about an object: who it is, and what its status says. About 700 bytes with five conditions.

use super::observed::{FieldManagers, ObservedStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Who an object is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// `metadata.namespace`
    pub namespace: &'a str,
    /// `metadata.name`
    pub name: &'a str,
    /// `metadata.uid`
    pub uid: &'a str,
    /// `metadata.generation`
    pub generation: i64,
}

/// An object without its spec, as controllers and their store keep it. It stands for a `K` in every request.
pub struct StatusView<K> {
    metadata: ObjectMeta,
    uid: Uid,
    status: ObservedStatus,
    managers: FieldManagers,
    kind: PhantomData<fn() -> K>,
}

/// A uid in binary form, as the API server gives them; any other text as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Uid {
    Binary([u8; 16]),
    Text(Box<str>),
}

impl<K> StatusView<K> {
    /// The view of an object. A status that is absent, or that is none, is an empty one.
    pub fn of(identity: Identity<'_>, status: Option<ObservedStatus>, managers: FieldManagers) -> Self {
        // Labels and all the rest stay out; the uid is not repeated in the keys that are made of the metadata.
        let metadata = ObjectMeta {
            name: Some(identity.name.to_owned()),
            namespace: Some(identity.namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
            generation: Some(identity.generation),
            ..ObjectMeta::default()
        };
        let status = status.unwrap_or_default();
        Self { metadata, uid: Uid::of(identity.uid), status, managers, kind: PhantomData }
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `metadata.generation`
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// `metadata.uid`
    pub fn uid(&self) -> String {
        self.uid.to_string()
    }

    /// Its status.
    pub fn status(&self) -> &ObservedStatus {
        &self.status
    }

    /// Path of the objects of the kind in a namespace.
    pub(super) fn collection_path(namespace: &str) -> String
    where
        K: kube::Resource<DynamicType = ()>,
    {
        <Self as kube::Resource>::url_path(&(), Some(namespace).filter(|namespace| !namespace.is_empty()))
    }

    /// Whether a part of the status was written by this manager of Nuncio's.
    pub fn is_written_by(&self, manager: &str) -> bool {
        self.managers.contains(manager)
    }
}

impl<K> Clone for StatusView<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            uid: self.uid.clone(),
            status: self.status.clone(),
            managers: self.managers,
            kind: PhantomData,
        }
    }
}

impl<K> fmt::Debug for StatusView<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusView({}/{}, {:?})", self.namespace(), self.name(), self.status)
    }
}

impl<K: kube::Resource<DynamicType = ()>> kube::Resource for StatusView<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de, K> Deserialize<'de> for StatusView<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Whole {
            metadata: Metadata,
            #[serde(default)]
            status: Option<ObservedStatus>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default)]
            name: String,
            #[serde(default)]
            namespace: String,
            #[serde(default)]
            uid: String,
            #[serde(default)]
            generation: i64,
            #[serde(default)]
            managed_fields: FieldManagers,
        }
        let Whole { metadata, status } = Whole::deserialize(deserializer)?;
        let Metadata { name, namespace, uid, generation, managed_fields } = metadata;
        let identity = Identity { namespace: &namespace, name: &name, uid: &uid, generation };
        Ok(Self::of(identity, status, managed_fields))
    }
}

impl Uid {
    fn of(text: &str) -> Self {
        let mut bytes = [0; 16];
        let digits = text.bytes().filter(|byte| *byte != b'-');
        let mut filled = 0;
        for (at, byte) in digits.enumerate() {
            let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(slot), Some(digit)) = (bytes.get_mut(at / 2), digit) else { return Self::Text(text.into()) };
            *slot = *slot << 4 | digit;
            filled = at + 1;
        }
        let binary = Self::Binary(bytes);
        // Only what reads back the same may be kept in binary.
        if filled == 32 && binary.to_string() == text { binary } else { Self::Text(text.into()) }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Binary(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v3alpha1::Mapping;
    use kube::Resource as _;

    #[test]
    fn a_view_stands_for_its_kind() {
        let json = r#"{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"a","namespace":"n",
            "uid":"6f2c8a1e-0b1d-4a6e-9a55-0123456789ab","generation":3,"labels":{"x":"y"},
            "managedFields":[{"manager":"nuncio","operation":"Apply","subresource":"status","fieldsV1":{"f:status":{}}},
                             {"manager":"nuncio-b","operation":"Apply"}]},
            "spec":{"prefix":"/"},"status":{"state":"Running"}}"#;
        let view: StatusView<Mapping> = serde_json::from_str(json).unwrap();
        assert_eq!((view.namespace(), view.name(), view.generation()), ("n", "a", 3));
        assert_eq!(view.uid(), "6f2c8a1e-0b1d-4a6e-9a55-0123456789ab");
        assert!(view.is_written_by("nuncio") && !view.is_written_by("nuncio-b"));
        assert!(view.status().field("state").is_some());
        assert_eq!(
            StatusView::<Mapping>::url_path(&(), Some("n")),
            "/apis/getambassador.io/v3alpha1/namespaces/n/mappings"
        );
    }

    #[test]
    fn a_uid_reads_back_as_it_was() {
        for (text, binary) in [
            ("6f2c8a1e-0b1d-4a6e-9a55-0123456789ab", true),
            ("6F2C8A1E-0b1d-4a6e-9a55-0123456789ab", false),
            ("6f2c8a1e0b1d4a6e9a550123456789ab", false),
            ("6f2c8a1e-0b1d-4a6e-9a55-0123456789abc", false),
            ("", false),
            ("mine", false),
        ] {
            let uid = Uid::of(text);
            assert_eq!(uid.to_string(), text);
            assert_eq!(matches!(uid, Uid::Binary(_)), binary, "{text}");
        }
    }
}
