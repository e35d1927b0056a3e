//! Which object stands for a key: the custom resource itself, or one declared in an annotation.

use crate::db::Db;
use crate::incr::Reads;
use crate::object::Object;
use ir::{Kind, ObjectKey, Problem, ProblemKind};
use std::sync::Arc;

/// The objects that one bearer declares in its annotation `getambassador.io/config`.
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
    /// The bearer, when it comes from an annotation; such an object has no status of its own.
    pub bearer: Option<ObjectKey>,
    /// About this key: namesakes that were passed over.
    pub problems: Vec<Problem>,
}

/// Row of `declared`.
pub fn declared(db: &Db, reads: &Reads, bearer: &ObjectKey) -> Option<Arc<Declared>> {
    let parent = db.objects.get(&db.graph, reads, bearer)?;
    let text = parent.config_annotation.as_ref()?;
    let mut row = Declared { objects: Vec::new(), problems: Vec::new() };
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
                row.objects.push(Arc::new(object));
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
            let place =
                other.map_or_else(|| "as a resource".to_owned(), |bearer| format!("in an annotation of {bearer}"));
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

/// Kinds that may bear the annotation.
pub fn may_bear(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::Ingress)
}
