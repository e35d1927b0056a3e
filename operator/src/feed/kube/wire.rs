//! Objects as the API server sends them: metadata without what nobody reads, the rest as text.
//!
//! A typed object would fail the whole list that holds one malformed neighbour, and a tree of values would cost several
//! times the text. So nothing here depends on what a `spec` says: that is decoded once, by the state of the feed.

use crate::controller::{FieldManagers, Identity, ObservedStatus, StatusView};
use compiler::Head;
use ir::{Kind, ObjectKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Metadata. Owners, finalizers, foreign annotations and most of the managed fields are passed over while reading.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: Arc<str>,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Differs between an object and a later one of the same name.
    pub uid: Arc<str>,
    /// Differs between any two versions.
    pub resource_version: Arc<str>,
    /// Counts versions of the `spec`; 0 for kinds that have none.
    pub generation: i64,
    /// RFC 3339.
    pub creation_timestamp: Option<String>,
    /// Set while the object waits for its finalizers.
    pub deletion_timestamp: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<Arc<str>, Arc<str>>>,
    /// Which of our own managers have written.
    pub managed_fields: FieldManagers,
    annotations: Annotations,
}

impl Metadata {
    /// The annotation `getambassador.io/config`.
    pub fn config_annotation(&self) -> Option<&Arc<str>> {
        self.annotations.0.as_ref()
    }
}

/// The one annotation that is kept: it holds further objects.
#[derive(Clone, Debug, Default)]
struct Annotations(Option<Arc<str>>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier)]
        enum Name {
            #[serde(rename = "getambassador.io/config")]
            Config,
            #[serde(other)]
            Other,
        }
        struct Pick;
        impl<'de> Visitor<'de> for Pick {
            type Value = Annotations;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }
            fn visit_unit<E>(self) -> Result<Annotations, E> {
                Ok(Annotations::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut kept = None;
                while let Some(name) = map.next_key::<Name>()? {
                    match name {
                        Name::Config => kept = Some(map.next_value()?),
                        Name::Other => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_any(Pick)
    }
}

/// The parts of an object that are kept as text.
#[derive(Clone, Default)]
pub struct Parts {
    /// What the kind's [`Form`] reads; empty when the object has nothing of it.
    pub body: Box<str>,
    /// What controllers need of the status, for kinds that have one.
    pub status: Option<ObservedStatus>,
}

/// Which parts of an object a kind needs.
pub trait Form: Clone + Send + Sync + 'static {
    /// The API server is asked for metadata only.
    const METADATA_ONLY: bool = false;
    /// Makes the text that [`compiler::Object::from_text`] takes.
    fn parts(fields: Fields, metadata: &Metadata) -> Parts;
}

/// The top level of all kinds that are read. A list is decoded page by page, so this lives only for a moment.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Fields {
    metadata: Metadata,
    spec: Option<Box<RawValue>>,
    status: Option<ObservedStatus>,
    r#type: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
    address_type: Option<Box<RawValue>>,
    ports: Option<Box<RawValue>>,
    endpoints: Option<Box<RawValue>>,
}

/// `spec` and `status`: the kinds of `getambassador.io`.
#[derive(Clone)]
pub struct Custom;

/// `spec` only, within its object: Services, whose status nobody reads.
#[derive(Clone)]
pub struct SpecOnly;

/// EndpointSlices.
#[derive(Clone)]
pub struct Slice;

/// Secrets with their data.
#[derive(Clone)]
pub struct Data;

/// Nothing but metadata.
#[derive(Clone)]
pub struct MetadataOnly;

impl Form for Custom {
    fn parts(fields: Fields, _: &Metadata) -> Parts {
        let body = fields.spec.map_or_else(|| "{}".into(), Into::into);
        Parts { body, status: fields.status }
    }
}

impl Form for SpecOnly {
    fn parts(fields: Fields, _: &Metadata) -> Parts {
        Parts { body: object(&[("spec", fields.spec.as_deref())]), status: None }
    }
}

impl Form for Slice {
    fn parts(fields: Fields, metadata: &Metadata) -> Parts {
        // The label says which Service the slice belongs to.
        let labels = serde_json::value::to_raw_value(&serde_json::json!({ "labels": metadata.labels })).ok();
        let body = object(&[
            ("metadata", labels.as_deref()),
            ("addressType", fields.address_type.as_deref()),
            ("ports", fields.ports.as_deref()),
            ("endpoints", fields.endpoints.as_deref()),
        ]);
        Parts { body, status: None }
    }
}

impl Form for Data {
    fn parts(fields: Fields, _: &Metadata) -> Parts {
        let body = object(&[("type", fields.r#type.as_deref()), ("data", fields.data.as_deref())]);
        Parts { body, status: None }
    }
}

impl Form for MetadataOnly {
    const METADATA_ONLY: bool = true;
    fn parts(_: Fields, _: &Metadata) -> Parts {
        Parts::default()
    }
}

/// JSON text of an object with these fields, absent ones left out.
fn object(fields: &[(&str, Option<&RawValue>)]) -> Box<str> {
    let mut text = String::from("{");
    for (name, value) in fields {
        let Some(value) = value else { continue };
        if text.len() > 1 {
            text.push(',');
        }
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
        text.push_str(value.get());
    }
    text.push('}');
    text.into()
}

/// An object of the Kubernetes type `K`, in the form `F`.
pub struct Wire<K, F> {
    /// Metadata.
    pub metadata: Metadata,
    /// The rest.
    pub parts: Parts,
    /// As far as the watcher asks for it.
    standard: ObjectMeta,
    of: PhantomData<fn() -> (K, F)>,
}

impl<K: Resource<DynamicType = ()>, F: Form> Wire<K, F> {
    /// The kind.
    ///
    /// `None` for types whose kind the gateway does not know, which no feed is made for.
    pub fn kind_of() -> Option<Kind> {
        K::kind(&()).parse().ok()
    }

    /// Everything but the body, as the compiler has it.
    pub fn head(&self, key: ObjectKey) -> Head {
        let metadata = &self.metadata;
        Head {
            key,
            generation: metadata.generation,
            created: metadata.creation_timestamp.as_deref().map_or(0, compiler::parse_time),
            uid: metadata.uid.clone(),
            labels: metadata.labels.clone().unwrap_or_default(),
            config_annotation: metadata.config_annotation().cloned(),
        }
    }
}

impl<K: Resource<DynamicType = ()>> Wire<K, Custom> {
    /// The object as controllers see it.
    pub fn view(&self) -> StatusView<K> {
        let Metadata { namespace, name, uid, generation, managed_fields, .. } = &self.metadata;
        let identity = Identity { namespace, name, uid, generation: *generation };
        StatusView::of(identity, self.parts.status.clone(), *managed_fields)
    }
}

impl<K, F> Clone for Wire<K, F> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            parts: self.parts.clone(),
            standard: self.standard.clone(),
            of: PhantomData,
        }
    }
}

impl<K, F> fmt::Debug for Wire<K, F> {
    /// Names only: the body may be a Secret's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.metadata.namespace, self.metadata.name)
    }
}

impl<'de, K, F: Form> Deserialize<'de> for Wire<K, F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        let metadata = std::mem::take(&mut fields.metadata);
        let standard = ObjectMeta {
            name: Some(metadata.name.to_string()),
            namespace: Some(metadata.namespace.to_string()).filter(|name| !name.is_empty()),
            uid: Some(metadata.uid.to_string()),
            resource_version: Some(metadata.resource_version.to_string()),
            ..ObjectMeta::default()
        };
        let parts = F::parts(fields, &metadata);
        Ok(Wire { metadata, parts, standard, of: PhantomData })
    }
}

impl<K: Resource<DynamicType = ()>, F: Form> Resource for Wire<K, F> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group(_: &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version(_: &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn plural(_: &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn metadata_api() -> bool {
        F::METADATA_ONLY
    }
    fn meta(&self) -> &ObjectMeta {
        &self.standard
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.standard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v3alpha1::Mapping;
    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::api::discovery::v1::EndpointSlice;

    const MAPPING: &str = r#"{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{
        "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"x\":1}","getambassador.io/config":"a: b"},
        "creationTimestamp":"2026-11-21T14:00:00Z","generation":3,"labels":{"app":"x"},
        "managedFields":[{"manager":"kubectl","fieldsV1":{"f:spec":{}}}],
        "name":"m","namespace":"ns","resourceVersion":"17","uid":"u-1"},
        "spec":{"prefix":"/m/","service":"s", "weights":[1]},"status":{"state":"Running"}}"#;

    #[test]
    fn metadata_is_picked_and_the_rest_stays_text() {
        let wire: Wire<Mapping, Custom> = serde_json::from_str(MAPPING).unwrap();
        let head = wire.head(ObjectKey::new(Kind::Mapping, "ns", "m"));
        assert_eq!((head.generation, head.created, &*head.uid), (3, 1_795_269_600, "u-1"));
        assert_eq!(head.config_annotation.as_deref(), Some("a: b"));
        assert_eq!(head.labels.len(), 1);
        assert_eq!(&*wire.parts.body, r#"{"prefix":"/m/","service":"s", "weights":[1]}"#);
        assert!(wire.parts.status.is_some());
        assert_eq!(wire.meta().resource_version.as_deref(), Some("17"));
    }

    #[test]
    fn a_list_and_a_watch_event_hold_the_same() {
        let list: kube::core::ObjectList<Wire<Mapping, Custom>> = serde_json::from_str(&format!(
            r#"{{"apiVersion":"getambassador.io/v3alpha1","items":[{MAPPING}],"kind":"MappingList",
                "metadata":{{"continue":"","resourceVersion":"20"}}}}"#
        ))
        .unwrap();
        assert_eq!(list.items[0].parts.body.len(), 45);
        let event: kube::core::WatchEvent<Wire<Mapping, Custom>> =
            serde_json::from_str(&format!(r#"{{"type":"MODIFIED","object":{MAPPING}}}"#)).unwrap();
        assert!(matches!(event, kube::core::WatchEvent::Modified(wire) if &*wire.metadata.name == "m"));
    }

    #[test]
    fn odd_objects_do_not_fail_their_list() {
        for text in [
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{"name":"a","annotations":null,"labels":null,"creationTimestamp":null},"spec":null}"#,
            r#"{"spec":7,"metadata":{"name":"a"},"status":"?"}"#,
            r#"{"metadata":{"name":"a"},"spec":[[["x"]]],"extra":{"deep":[{}]}}"#,
        ] {
            let wire: Wire<Mapping, Custom> = serde_json::from_str(text).unwrap();
            assert_eq!(&*wire.metadata.name, "a", "{text}");
        }
    }

    #[test]
    fn slices_have_their_label_and_no_status() {
        let wire: Wire<EndpointSlice, Slice> = serde_json::from_str(
            r#"{"metadata":{"name":"s-1","namespace":"ns","labels":{"kubernetes.io/service-name":"s"},"resourceVersion":"5"},
                "addressType":"IPv4","ports":[{"port":80}],"endpoints":[{"addresses":["10.0.0.1"]}]}"#,
        )
        .unwrap();
        let slice = api::core::EndpointSlice::decode(&*wire.parts.body).value.unwrap();
        assert_eq!((slice.service.as_str(), slice.endpoints.len()), ("s", 1));
        assert!(!wire.parts.body.contains("resourceVersion"));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let wire: Wire<Secret, Data> = serde_json::from_str(
            r#"{"metadata":{"name":"s","namespace":"ns"},"data":{"tls.key":"aHVudGVyMg=="},"type":"Opaque"}"#,
        )
        .unwrap();
        assert_eq!(format!("{wire:?}"), "ns/s");
        assert_eq!(api::core::Secret::decode(&*wire.parts.body).value.unwrap().data["tls.key"], b"hunter2");
        assert!(Wire::<Secret, MetadataOnly>::metadata_api() && !Wire::<Secret, Data>::metadata_api());
    }
}
