//! Writes `manifests/crds` from the types in `api`: one file for each kind.
//!
//! Labels, names and schema are brought into the form that the Go tools give the definitions of Emissary-ingress, so
//! that a comparison shows only real differences.

mod schema;

use anyhow::{Context, Result, bail};
use api::v3alpha1;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// First line of every file.
const HEADER: &str = "# Generated from operator/api by `make crds`. Do not edit.\n";
/// `kubectl apply` keeps a copy of an object in an annotation, which may have 256 KiB.
pub const MAX_BYTES: usize = 200_000;

/// A file of `manifests/crds`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// Its name, `getambassador.io_<plural>.yaml`.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Makes all files, in the order of their names.
pub fn files() -> Result<Vec<File>> {
    let mut files = definitions().into_iter().map(file).collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The definitions, each with the schema it gets in place of the derived one.
fn definitions() -> [Definition; 14] {
    [
        definition::<v3alpha1::AuthService>(),
        definition::<v3alpha1::ConsulResolver>(),
        definition::<v3alpha1::DevPortal>(),
        definition::<v3alpha1::Host>(),
        definition::<v3alpha1::KubernetesEndpointResolver>(),
        definition::<v3alpha1::KubernetesServiceResolver>(),
        definition::<v3alpha1::Listener>(),
        definition::<v3alpha1::LogService>(),
        definition::<v3alpha1::Mapping>(),
        definition::<v3alpha1::Module>(),
        definition::<v3alpha1::RateLimitService>(),
        definition::<v3alpha1::TcpMapping>(),
        definition::<v3alpha1::TlsContext>(),
        definition::<v3alpha1::TracingService>(),
    ]
}

struct Definition {
    /// Names, columns and subresources, as the derive gives them.
    derived: CustomResourceDefinition,
    schema: Value,
}

fn definition<K: CustomResourceExt + JsonSchema>() -> Definition {
    Definition { derived: K::crd(), schema: schema::of::<K>() }
}

fn file(definition: Definition) -> Result<File> {
    let plural = definition.derived.spec.names.plural.clone();
    let document = publish(definition).with_context(|| format!("definition of {plural}"))?;
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, compact_list_indent: true };
    let yaml = serde_saphyr::to_string_with_options(&document, options)?;
    let text = format!("{HEADER}{yaml}");
    if text.len() > MAX_BYTES {
        bail!("the definition of {plural} has {} bytes, at most {MAX_BYTES} can be applied with kubectl", text.len());
    }
    Ok(File { name: format!("{}_{plural}.yaml", api::GROUP), text })
}

/// Brings a definition into the form that is published.
fn publish(Definition { derived, schema }: Definition) -> Result<Value> {
    let list_kind = format!("{}List", derived.spec.names.kind);
    let mut document = serde_json::to_value(derived)?;
    object(&mut document, "/metadata")?.insert(
        "labels".to_owned(),
        json!({ "app.kubernetes.io/name": "nuncio", "app.kubernetes.io/part-of": "nuncio" }),
    );
    let spec = object(&mut document, "/spec")?;
    // Said explicitly, because a definition that an old version of the API once created keeps `true` otherwise.
    spec.insert("preserveUnknownFields".to_owned(), false.into());
    let names = object(&mut document, "/spec/names")?;
    names.insert("listKind".to_owned(), list_kind.into());
    names.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    object(&mut document, "/spec/versions/0/schema")?.insert("openAPIV3Schema".to_owned(), schema);
    Ok(document)
}

fn object<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Map<String, Value>> {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).with_context(|| format!("no object at {pointer}"))
}
