//! Which object stands for a key: the custom resource itself, or one declared in another: in an annotation, or in the
//! Module `tls`.

use crate::db::Db;
use crate::incr::Reads;
use crate::object::Object;
use crate::stage::tls_module;
use api::Spec;
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use std::sync::Arc;

/// The objects that one bearer declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// In the order of the documents.
    pub objects: Vec<Arc<Object>>,
    /// About the bearer.
    pub problems: Vec<Problem>,
}

/// The object that stands for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The object.
    pub object: Arc<Object>,
    /// The bearer, when it is declared in another object; such an object has no status of its own.
    pub bearer: Option<ObjectKey>,
    /// About this key: namesakes that were passed over.
    pub problems: Vec<Problem>,
}

/// Row of `declared`.
pub fn declared(db: &Db, reads: &Reads, bearer: &ObjectKey) -> Option<Arc<Declared>> {
    let parent = db.objects.get(&db.graph, reads, bearer)?;
    let mut row = Declared { objects: Vec::new(), problems: Vec::new() };
    if bearer.kind == Kind::Module {
        tls_contexts(parent, &mut row);
        return Some(Arc::new(row));
    }
    let text = parent.config_annotation.as_ref()?;
    let at = "metadata.annotations[getambassador.io/config]";
    let labels = parent.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let defaults = api::annotation::Parent { namespace: &bearer.namespace, labels: &labels };
    for (index, document) in api::annotation::parse(text, defaults).into_iter().enumerate() {
        let document = match document {
            Ok(document) => document,
            Err(found) => {
                let what = found.about.map(|(kind, name)| format!("{kind} `{name}`: ")).unwrap_or_default();
                let place = found.document.map(|index| format!("{at}[{index}]")).unwrap_or_else(|| at.to_owned());
                let place =
                    if found.problem.path.is_empty() { place } else { format!("{place}.{}", found.problem.path) };
                let detail = format!("{what}{}", found.problem.message);
                row.problems.push(Problem::degraded(bearer, place, ProblemKind::Malformed, detail));
                continue;
            }
        };
        let value = serde_json::json!({
            "apiVersion": document.api_version, "kind": document.kind, "spec": document.spec,
            "metadata": {
                "name": document.name, "namespace": document.namespace, "labels": document.labels,
                "generation": document.generation,
            },
        });
        match Object::from_value(&value, &bearer.namespace) {
            Ok(Some(mut object)) if object.key.kind.is_custom() => {
                object.created = parent.created;
                let object = Arc::new(object);
                row.objects.push(object.clone());
                if is_tls_module(&object.key) {
                    tls_contexts(&object, &mut row);
                }
            }
            Ok(_) => row.problems.push(Problem::degraded(
                bearer,
                format!("{at}[{index}].kind"),
                ProblemKind::Malformed,
                format!("`{}` of `{}` is not a kind that can be declared here", document.kind, document.api_version),
            )),
            Err(problem) => row.problems.push(Problem::degraded(
                bearer,
                format!("{at}[{index}].{}", problem.at),
                problem.kind,
                problem.detail,
            )),
        }
    }
    Some(Arc::new(row))
}

/// The TLSContexts of a Module `tls`. They are the Module's in age and id.
fn tls_contexts(module: &Object, row: &mut Declared) {
    let Some(api::Decoded { value: Ok(Spec::Module(spec)), .. }) = module.spec() else { return };
    for (name, spec) in tls_module::contexts(&spec.config) {
        let value = serde_json::json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "TLSContext", "spec": spec,
            "metadata": { "name": name, "generation": module.generation },
        });
        match Object::from_value(&value, &module.key.namespace) {
            Ok(Some(mut object)) => {
                object.created = module.created;
                object.ambassador_id.clone_from(&module.ambassador_id);
                row.objects.push(Arc::new(object));
            }
            // Only a name that no object can have comes to this.
            Ok(None) => {}
            Err(problem) => {
                row.problems.push(Problem::degraded(&module.key, "spec.config", problem.kind, problem.detail))
            }
        }
    }
}

/// Row of `source`: the older object wins, then the resource before an annotation, then the bearer's key.
pub fn source(db: &Db, reads: &Reads, key: &ObjectKey) -> Option<Arc<Source>> {
    let mut candidates: Vec<(Arc<Object>, Option<ObjectKey>)> = Vec::new();
    if let Some(object) = db.objects.get(&db.graph, reads, key) {
        candidates.push((object.clone(), None));
    }
    if let Some(bearers) = db.declared_by.get(&db.graph, reads, key) {
        for bearer in bearers {
            let declared = db.declared.get(&db.graph, reads, bearer);
            let found = declared.into_iter().flat_map(|row| row.objects.iter()).filter(|object| object.key == *key);
            candidates.extend(found.map(|object| (object.clone(), Some(bearer.clone()))));
        }
    }
    // Installations with other ids may use the same names in annotations: all of them have a Module `ambassador`.
    candidates.sort_by_cached_key(|(object, bearer)| (!in_scope(db, object), object.created, bearer.clone()));
    let own = candidates.iter().take_while(|(object, _)| in_scope(db, object)).count();
    candidates.truncate(own.max(1));
    let mut candidates = candidates.into_iter();
    let (object, bearer) = candidates.next()?;
    let problems = candidates
        .map(|(_, other)| {
            let place = other.map_or_else(|| "as a resource".to_owned(), |bearer| format!("in {bearer}"));
            Problem::degraded(
                key,
                "",
                ProblemKind::Duplicate,
                format!("it is declared again {place}; that one is ignored"),
            )
        })
        .collect();
    Some(Arc::new(Source { object, bearer, problems }))
}

/// Whether an object belongs to this installation: its namespace, and its `ambassador_id`.
pub fn in_scope(db: &Db, object: &Object) -> bool {
    if db.options.single_namespace && object.key.namespace != db.options.namespace {
        return false;
    }
    match &object.ambassador_id {
        None => *db.options.ambassador_id == *"default",
        // An empty list counts as no list, as in the part of upstream that chooses what is read at all.
        Some(ids) if ids.is_empty() => *db.options.ambassador_id == *"default",
        Some(ids) => ids.iter().any(|id| *id == db.options.ambassador_id || **id == *"_automatic_"),
    }
}

/// Whether other objects are declared in this one: in its annotation, or as blocks of the Module `tls`.
pub fn bears(object: &Object) -> bool {
    match object.key.kind {
        Kind::Service | Kind::Ingress => object.config_annotation.is_some(),
        Kind::Module => is_tls_module(&object.key),
        _ => false,
    }
}

fn is_tls_module(key: &ObjectKey) -> bool {
    key.kind == Kind::Module && *key.name == *"tls"
}
