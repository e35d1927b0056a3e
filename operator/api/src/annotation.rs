//! Resources in the annotation `getambassador.io/config` of a Service or an Ingress.
//!
//! The value is YAML with any number of documents, each a resource, either nested like a manifest or flat, with the
//! fields of its spec beside `kind` and `name`; both may be mixed. Emissary-ingress reads the same forms.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::decode::{DecodeProblem, decode, shorten};
use crate::spec::{GROUP, KINDS};
use crate::yaml;

/// Name of the annotation.
pub const NAME: &str = "getambassador.io/config";
/// Bytes of a value that is read; Kubernetes allows 256 KiB for all annotations together, files are not bound by that.
pub const MAX_BYTES: usize = 1 << 20;
/// Documents in one annotation.
pub const MAX_DOCUMENTS: usize = 1000;

/// What a document inherits from the object that carries the annotation.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Labels of the object.
    pub labels: &'a BTreeMap<String, String>,
}

/// A resource found in an annotation.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Group and version: `getambassador.io/` and `v1`, `v2` or `v3alpha1`. The spec is that of the version given.
    pub api_version: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// Its namespace; by default the parent's.
    pub namespace: String,
    /// Its labels; by default the parent's.
    pub labels: BTreeMap<String, String>,
    /// Its generation, which hardly anyone writes.
    pub generation: Option<i64>,
    /// Its spec, an object, not decoded yet.
    pub spec: Value,
}

/// Why an annotation, or one document of it, is not used. The other documents are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnnotationProblem {
    /// Position of the document, from 0, empty ones not counted; none when the whole annotation could not be read.
    pub document: Option<usize>,
    /// Kind and name of the resource, as far as they could be read.
    pub about: Option<(String, String)>,
    /// Field and message; the path is relative to the document.
    pub problem: DecodeProblem,
}

/// Reads the value of the annotation: its documents in order, each a resource or the reason why it is none.
#[must_use]
pub fn parse(value: &str, parent: Parent<'_>) -> Vec<Result<Document, AnnotationProblem>> {
    let whole = |message: String| {
        let problem = DecodeProblem::new("", message);
        vec![Err(AnnotationProblem { document: None, about: None, problem })]
    };
    if value.len() > MAX_BYTES {
        return whole(format!("{} bytes long, at most {MAX_BYTES} are read", value.len()));
    }
    let documents = match yaml::documents(value, MAX_DOCUMENTS) {
        Ok(documents) => documents,
        Err(message) => return whole(format!("not readable as YAML: {message}")),
    };
    let numbered = documents.into_iter().enumerate();
    numbered
        .map(|(index, document)| {
            let about = about(&document);
            resource(document, parent).map_err(|problem| AnnotationProblem { document: Some(index), about, problem })
        })
        .collect()
}

fn about(document: &Value) -> Option<(String, String)> {
    let text = |value: Option<&Value>| {
        let mut text = value.and_then(Value::as_str)?.to_owned();
        shorten(&mut text, 253);
        Some(text)
    };
    let nested = document.get("metadata").and_then(|metadata| metadata.get("name"));
    Some((text(document.get("kind"))?, text(document.get("name").or(nested))?))
}

fn resource(document: Value, parent: Parent<'_>) -> Result<Document, DecodeProblem> {
    let Value::Object(fields) = document else {
        return Err(DecodeProblem::new("", "expected an object"));
    };
    let Sorted { api_version, kind, metadata, spec } = sort(fields)?;
    let api_version = check_api_version(api_version)?;
    let kind = check_kind(kind, &api_version)?;
    let name = match take_string(&metadata, "name")? {
        Some(name) if !name.is_empty() => name,
        _ => return Err(DecodeProblem::new("metadata.name", "missing field `name`")),
    };
    let namespace = take_string(&metadata, "namespace")?.filter(|namespace| !namespace.is_empty());
    let labels = match metadata.get("labels") {
        None | Some(Value::Null) => parent.labels.clone(),
        Some(labels) => decode(labels).value.map_err(|problem: DecodeProblem| {
            let path = if problem.path.is_empty() { String::new() } else { format!(".{}", problem.path) };
            DecodeProblem::new(format!("metadata.labels{path}"), problem.message)
        })?,
    };
    Ok(Document {
        api_version,
        kind,
        name,
        namespace: namespace.unwrap_or_else(|| parent.namespace.to_owned()),
        labels,
        generation: metadata.get("generation").and_then(Value::as_i64),
        spec: Value::Object(spec),
    })
}

struct Sorted {
    api_version: Option<Value>,
    kind: Option<Value>,
    metadata: Map<String, Value>,
    spec: Map<String, Value>,
}

/// Brings a document into nested form. A flat field wins over the nested one of the same name.
fn sort(mut fields: Map<String, Value>) -> Result<Sorted, DecodeProblem> {
    let mut object = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(inner)) => Ok(inner),
        Some(_) => Err(DecodeProblem::new(name, "expected an object")),
    };
    let (mut metadata, mut spec) = (object("metadata")?, object("spec")?);
    let (api_version, kind) = (fields.remove("apiVersion"), fields.remove("kind"));
    for (name, value) in fields {
        match name.as_str() {
            // Status is for the API server; nobody reads it here.
            "status" => {}
            "name" | "namespace" | "generation" => {
                metadata.insert(name, value);
            }
            "metadata_labels" => {
                metadata.insert("labels".to_owned(), value);
            }
            _ => {
                spec.insert(name, value);
            }
        }
    }
    Ok(Sorted { api_version, kind, metadata, spec })
}

fn check_api_version(given: Option<Value>) -> Result<String, DecodeProblem> {
    let given = match given {
        None | Some(Value::Null) => return Err(DecodeProblem::new("apiVersion", "missing field `apiVersion`")),
        Some(Value::String(given)) => given,
        Some(_) => return Err(DecodeProblem::new("apiVersion", "expected a string")),
    };
    // The spelling of releases before the resources were custom resources.
    let spelled = given.strip_prefix("ambassador/").map(|version| format!("{GROUP}/{version}")).unwrap_or(given);
    match spelled.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/')) {
        Some("v1" | "v2" | "v3alpha1") => Ok(spelled),
        _ => Err(DecodeProblem::new("apiVersion", format!("`{}` is not supported", shortened(spelled)))),
    }
}

fn check_kind(given: Option<Value>, api_version: &str) -> Result<String, DecodeProblem> {
    let kind = match given {
        None | Some(Value::Null) => return Err(DecodeProblem::new("kind", "missing field `kind`")),
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(DecodeProblem::new("kind", "expected a string")),
    };
    let exists = KINDS.contains(&kind.as_str())
        && match kind.as_str() {
            "Host" => !api_version.ends_with("/v1"),
            "Listener" => api_version.ends_with("/v3alpha1"),
            _ => true,
        };
    if exists {
        Ok(kind)
    } else {
        Err(DecodeProblem::new("kind", format!("`{}` is no kind of {api_version}", shortened(kind))))
    }
}

fn take_string(metadata: &Map<String, Value>, name: &str) -> Result<Option<String>, DecodeProblem> {
    match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(DecodeProblem::new(format!("metadata.{name}"), "expected a string")),
    }
}

fn shortened(mut text: String) -> String {
    shorten(&mut text, 80);
    text
}
