//! Writes custom resource definitions from the types in `api`: one for each kind, with all of its versions or with
//! v3alpha1 alone.
//!
//! Labels, names and schema are brought into the form that the Go tools give the definitions of Emissary-ingress, so
//! that a comparison shows only real differences.

mod schema;

use anyhow::{Context, Result, bail};
use api::{v2, v3alpha1};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// First line of every file.
const HEADER: &str = "# Generated from operator/api by `make crds`. Do not edit.\n";
/// `kubectl apply` keeps a copy of an object in an annotation, which may have 256 KiB.
pub const MAX_BYTES: usize = 200_000;
/// Where the API server sends objects to be converted.
pub const CONVERSION_PATH: &str = "/webhooks/crd-convert";
/// Value of the labels that the definitions of Emissary-ingress carry, by which its conversion webhook finds those
/// that it may change.
pub const PART_OF: &str = "emissary-apiext";

/// What the definitions are for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The versions and who converts between them.
    pub versions: Versions,
    /// Value of the labels `app.kubernetes.io/name`, `instance` and `part-of`.
    pub part_of: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { versions: Versions::Newest, part_of: PART_OF.to_owned() }
    }
}

/// Versions that are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Versions {
    /// v3alpha1 alone. Nothing has to be converted, so no webhook is needed.
    Newest,
    /// All that Emissary-ingress 3.10 and 4.1 have. A webhook converts between them: left to itself, the API server only
    /// changes the label of an object, and v3alpha1 would lose most of what a v2 object says.
    All {
        /// The version that objects are stored in.
        storage: Storage,
        /// The webhook.
        webhook: Webhook,
    },
}

/// The version that objects are stored in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Storage {
    /// `v2`, as in Emissary-ingress up to 3.10 and in 4.1 with legacy versions.
    V2,
    /// `v3alpha1`, which the gateway reads; a Listener has no other.
    #[default]
    V3Alpha1,
}

/// The Service of the conversion webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its port.
    pub port: u16,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { name: "emissary-apiext".to_owned(), namespace: "emissary-system".to_owned(), port: 443 }
    }
}

/// A definition as a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// Its name: `getambassador.io_<plural>.yaml`, or [`KUSTOMIZATION`].
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Makes all files, in the order of their names.
pub fn files(options: &Options) -> Result<Vec<File>> {
    let mut files =
        definitions().into_iter().map(|definition| file(definition, options)).collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The name of the file that lists the others for `kubectl apply -k`. It has no ending, so that `kubectl apply -f` of the
/// directory, which takes it for an object, leaves it out.
pub const KUSTOMIZATION: &str = "Kustomization";

/// Makes the file that lists those.
pub fn kustomization(files: &[File]) -> File {
    let mut text = format!("{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for file in files {
        text.push_str(&format!("  - {}\n", file.name));
    }
    File { name: KUSTOMIZATION.to_owned(), text }
}

/// The definitions, each with the schemas it gets in place of the derived one.
fn definitions() -> [Definition; 14] {
    [
        definition::<v3alpha1::AuthService>().older::<v2::AuthServiceSpec>(&["v1", "v2"]),
        definition::<v3alpha1::ConsulResolver>().older::<v2::ConsulResolverSpec>(&["v1", "v2"]),
        definition::<v3alpha1::DevPortal>().older::<v2::DevPortalSpec>(&["v1", "v2"]),
        definition::<v3alpha1::Host>().older::<v2::HostSpec>(&["v2"]),
        definition::<v3alpha1::KubernetesEndpointResolver>().older::<v2::KubernetesEndpointResolverSpec>(&["v1", "v2"]),
        definition::<v3alpha1::KubernetesServiceResolver>().older::<v2::KubernetesServiceResolverSpec>(&["v1", "v2"]),
        definition::<v3alpha1::Listener>(),
        definition::<v3alpha1::LogService>().older::<v2::LogServiceSpec>(&["v1", "v2"]),
        definition::<v3alpha1::Mapping>().older::<v2::MappingSpec>(&["v1", "v2"]),
        definition::<v3alpha1::Module>().older::<v2::ModuleSpec>(&["v1", "v2"]),
        definition::<v3alpha1::RateLimitService>().older::<v2::RateLimitServiceSpec>(&["v1", "v2"]),
        definition::<v3alpha1::TcpMapping>().older::<v2::TcpMappingSpec>(&["v1", "v2"]),
        definition::<v3alpha1::TlsContext>().older::<v2::TlsContextSpec>(&["v1", "v2"]),
        definition::<v3alpha1::TracingService>().older::<v2::TracingServiceSpec>(&["v1", "v2"]),
    ]
}

struct Definition {
    /// Names, columns and subresources, as the derive gives them.
    derived: CustomResourceDefinition,
    /// Schema of a v3alpha1 object.
    schema: Value,
    /// Older versions, oldest first, and the schema of their spec; everything else is the same in all versions.
    older: Option<(&'static [&'static str], Value)>,
}

impl Definition {
    fn older<S: JsonSchema>(mut self, versions: &'static [&'static str]) -> Self {
        self.older = Some((versions, schema::of_spec::<S>()));
        self
    }
}

fn definition<K: CustomResourceExt + JsonSchema>() -> Definition {
    Definition { derived: K::crd(), schema: schema::of::<K>(), older: None }
}

fn file(definition: Definition, options: &Options) -> Result<File> {
    let plural = definition.derived.spec.names.plural.clone();
    let document = publish(definition, options).with_context(|| format!("definition of {plural}"))?;
    let yaml_options = serde_saphyr::ser_options! { prefer_block_scalars: false, compact_list_indent: true };
    let yaml = serde_saphyr::to_string_with_options(&document, yaml_options)?;
    let text = format!("{HEADER}{yaml}");
    if text.len() > MAX_BYTES {
        bail!("the definition of {plural} has {} bytes, at most {MAX_BYTES} can be applied with kubectl", text.len());
    }
    Ok(File { name: format!("{}_{plural}.yaml", api::GROUP), text })
}

/// Brings a definition into the form that is published.
fn publish(Definition { derived, schema, older }: Definition, options: &Options) -> Result<Value> {
    let list_kind = format!("{}List", derived.spec.names.kind);
    let mut document = serde_json::to_value(derived)?;
    let part_of = &options.part_of;
    object(&mut document, "/metadata")?.insert(
        "labels".to_owned(),
        json!({
            "app.kubernetes.io/instance": part_of,
            "app.kubernetes.io/name": part_of,
            "app.kubernetes.io/part-of": part_of,
        }),
    );
    let names = object(&mut document, "/spec/names")?;
    names.insert("listKind".to_owned(), list_kind.into());
    names.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));

    object(&mut document, "/spec/versions/0/schema")?.insert("openAPIV3Schema".to_owned(), schema);
    let newest = document.pointer("/spec/versions/0").context("no version")?.clone();
    let spec = object(&mut document, "/spec")?;
    // Said explicitly, because a definition that an old version of the API once created keeps `true` otherwise.
    spec.insert("preserveUnknownFields".to_owned(), false.into());
    if let (Versions::All { storage, webhook }, Some((older, spec_schema))) = (&options.versions, older) {
        let stored = if *storage == Storage::V2 { "v2" } else { "v3alpha1" };
        let mut versions = Vec::new();
        for name in older {
            versions.push(version(&newest, name, Some(&spec_schema), stored)?);
        }
        versions.push(version(&newest, "v3alpha1", None, stored)?);
        spec.insert("versions".to_owned(), versions.into());
        spec.insert("conversion".to_owned(), conversion(webhook));
    }
    Ok(document)
}

/// A version with the columns, subresources and status of another.
fn version(like: &Value, name: &str, spec: Option<&Value>, stored: &str) -> Result<Value> {
    let mut version = like.clone();
    let fields = object(&mut version, "")?;
    fields.insert("name".to_owned(), name.into());
    fields.insert("storage".to_owned(), (name == stored).into());
    if let Some(spec) = spec {
        object(&mut version, "/schema/openAPIV3Schema/properties")?.insert("spec".to_owned(), spec.clone());
    }
    Ok(version)
}

/// How objects are converted. The authority that the webhook's certificate comes from is put in where it runs.
fn conversion(webhook: &Webhook) -> Value {
    json!({
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": {
                "service": {
                    "name": webhook.name, "namespace": webhook.namespace,
                    "path": CONVERSION_PATH, "port": webhook.port,
                },
            },
            "conversionReviewVersions": ["v1"],
        },
    })
}

fn object<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Map<String, Value>> {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).with_context(|| format!("no object at {pointer:?}"))
}
