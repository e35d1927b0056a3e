//! Migration of stored objects against an API server that does as it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

use http_body_util::BodyExt;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;
use webhook::migrate::{ANNOTATION, Options, Outcome, Progress, migrate};

const CRD: &str = "mappings.getambassador.io";

/// What somebody else does to the definition meanwhile.
type Edit = fn(&mut Value);

/// The store: one CRD, some Mappings, and what is wrong.
struct Store {
    crd: Value,
    /// Names of Mappings in order, with how often each was written.
    mappings: Vec<(String, usize)>,
    /// Statuses of the next writes of a Mapping.
    answers: BTreeMap<String, Vec<u16>>,
    /// A page that is refused once, by the index of its first object, and how.
    broken: Option<(usize, u16)>,
    /// Run after this many writes.
    at: Option<(usize, Edit)>,
}

#[derive(Clone)]
struct Api(Arc<Mutex<Store>>);

impl Api {
    fn new(mappings: usize) -> Self {
        let version =
            |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": {}});
        Self(Arc::new(Mutex::new(Store {
            crd: json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": CRD, "generation": 3, "resourceVersion": "7", "annotations": {}},
                "spec": {
                    "group": "getambassador.io", "names": {"kind": "Mapping", "plural": "mappings"},
                    "versions": [version("v2", false), version("v3alpha1", true)],
                },
                "status": {"storedVersions": ["v2", "v3alpha1"]},
            }),
            mappings: (0..mappings).map(|n| (format!("m{n}"), 0)).collect(),
            answers: BTreeMap::new(),
            broken: None,
            at: None,
        })))
    }

    fn store<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }

    async fn migrate(&self) -> (Result<Outcome, String>, Vec<Progress>) {
        let client = Client::new(self.clone(), "default");
        let options = Options { page: 2, concurrency: 1, settle: Duration::ZERO };
        let mut progress = Vec::new();
        let outcome = migrate(&client, CRD, options, |step| progress.push(step)).await;
        (outcome.map_err(|error| error.to_string()), progress)
    }

    fn written(&self) -> Vec<usize> {
        self.store(|store| store.mappings.iter().map(|(_, count)| *count).collect())
    }

    fn stored(&self) -> Value {
        self.store(|store| store.crd["status"]["storedVersions"].clone())
    }

    fn mark(&self) -> Option<String> {
        self.store(|store| store.crd["metadata"]["annotations"].get(ANNOTATION)?.as_str().map(Into::into))
    }
}

impl Store {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/mappings.getambassador.io";
        if let Some(rest) = path.strip_prefix(crd) {
            if *method == Method::PATCH {
                assert!(rest == "/status" || rest.is_empty());
                if rest == "/status" {
                    assert_eq!(body["metadata"]["resourceVersion"], self.crd["metadata"]["resourceVersion"]);
                }
                merge(&mut self.crd, body);
            }
            return (200, self.crd.clone());
        }
        if path == "/apis/getambassador.io/v3alpha1/mappings" {
            return self.list(query);
        }
        let name = path.strip_prefix("/apis/getambassador.io/v3alpha1/namespaces/default/mappings/").expect(path);
        assert_eq!((method, &body["metadata"]["uid"]), (&Method::PATCH, &json!(format!("uid-{name}"))));
        let status = self.answers.get_mut(name).and_then(Vec::pop).unwrap_or(200);
        if status != 200 {
            return failure(status, "as told", None);
        }
        self.mappings.iter_mut().find(|(known, _)| known == name).unwrap().1 += 1;
        if let Some((count, change)) = self.at
            && self.mappings.iter().map(|(_, count)| count).sum::<usize>() == count
        {
            change(&mut self.crd);
        }
        (200, object(name))
    }

    fn list(&mut self, query: &str) -> (u16, Value) {
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        assert_eq!(value("limit"), Some("2"));
        let token = value("continue").map(|token| token.trim_start_matches("again-").to_owned());
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        if let Some((page, status)) = self.broken
            && page == from
        {
            self.broken = None;
            return failure(status, "not now", Some(format!("again-{from}")));
        }
        let to = (from + 2).min(self.mappings.len());
        let items: Vec<Value> = self.mappings[from..to].iter().map(|(name, _)| object(name)).collect();
        let mut metadata = json!({"resourceVersion": "9"});
        if to < self.mappings.len() {
            metadata["continue"] = json!(to.to_string());
            metadata["remainingItemCount"] = json!(self.mappings.len() - to);
        }
        (
            200,
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items}),
        )
    }
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
    })
}

fn failure(code: u16, message: &str, again: Option<String>) -> (u16, Value) {
    (
        code,
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "message": message, "code": code, "metadata": {"continue": again}}),
    )
}

/// A JSON merge patch (RFC 7396).
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *into = patch.clone() };
    for (name, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merge(into.as_object_mut().unwrap().entry(name).or_insert(json!({})), value);
        }
    }
}

impl Service<Request<Body>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let query = head.uri.query().unwrap_or_default();
            let (status, answer) = api.store(|store| store.answer(&head.method, head.uri.path(), query, &body));
            let response = Response::builder().status(status).header("content-type", "application/json");
            Ok(response.body(Body::from(answer.to_string().into_bytes())).unwrap())
        })
    }
}

fn migrated(objects: u64) -> Result<Outcome, String> {
    Ok(Outcome::Migrated { storage: "v3alpha1".into(), objects })
}

#[tokio::test]
async fn every_object_is_written_once_and_the_definition_says_so() {
    let api = Api::new(5);
    let (outcome, progress) = api.migrate().await;
    assert_eq!(outcome, migrated(5));
    assert_eq!(api.written(), [1; 5]);
    assert_eq!((api.stored(), api.mark()), (json!(["v3alpha1"]), None));
    let page = |done, left| Progress::Page { done, left };
    assert_eq!(progress[1..], [page(2, Some(3)), page(4, Some(1)), page(5, None)]);
    assert_eq!(api.migrate().await.0, Ok(Outcome::Already("v3alpha1".into())));
    assert_eq!(api.written(), [1; 5]);
}

#[tokio::test]
async fn an_interrupted_migration_goes_on_where_it_was() {
    let api = Api::new(7);
    api.store(|store| store.broken = Some((4, 500)));
    assert_eq!(api.migrate().await.0, Err("not now".into()));
    assert_eq!(api.written(), [1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(api.stored(), json!(["v2", "v3alpha1"]));
    assert!(api.mark().unwrap().contains(r#""token":"4""#));
    let (outcome, progress) = api.migrate().await;
    assert_eq!(outcome, migrated(3));
    assert!(matches!(&progress[0], Progress::Begins { resumed: true, .. }));
    assert_eq!(api.written(), [1; 7]);
    assert_eq!((api.stored(), api.mark()), (json!(["v3alpha1"]), None));
}

#[tokio::test]
async fn a_mark_of_another_definition_does_not_count() {
    let api = Api::new(4);
    api.store(|store| store.broken = Some((2, 500)));
    assert!(api.migrate().await.0.is_err());
    api.store(|store| store.crd["metadata"]["generation"] = json!(4));
    assert_eq!(api.migrate().await.0, migrated(4));
    assert_eq!(api.written(), [2, 2, 1, 1]);
}

#[tokio::test]
async fn an_expired_token_is_exchanged() {
    let api = Api::new(6);
    api.store(|store| store.broken = Some((2, 410)));
    assert_eq!(api.migrate().await.0, migrated(6));
    assert_eq!(api.written(), [1; 6]);
}

#[tokio::test]
async fn busy_servers_are_asked_again_and_lost_races_are_fine() {
    let api = Api::new(4);
    api.store(|store| {
        store.answers.insert("m0".into(), vec![503, 429]);
        store.answers.insert("m1".into(), vec![404]);
        store.answers.insert("m2".into(), vec![409]);
    });
    assert_eq!(api.migrate().await.0, migrated(4));
    assert_eq!(api.written(), [1, 0, 0, 1]);
}

#[tokio::test]
async fn an_object_that_cannot_be_written_keeps_its_version_listed() {
    let api = Api::new(5);
    api.store(|store| drop(store.answers.insert("m1".into(), vec![422])));
    let (outcome, progress) = api.migrate().await;
    assert_eq!(outcome, Ok(Outcome::Incomplete { failed: 1 }));
    assert!(progress.contains(&Progress::Failed { object: "default/m1".into(), why: "as told".into() }));
    assert_eq!(api.written(), [1, 0, 1, 1, 1]);
    assert_eq!((api.stored(), api.mark()), (json!(["v2", "v3alpha1"]), None));
    assert_eq!(api.migrate().await.0, migrated(5));
}

#[tokio::test]
async fn a_storage_version_that_changes_meanwhile_is_not_declared() {
    let api = Api::new(3);
    api.store(|store| {
        store.at = Some((3, |crd| {
            crd["spec"]["versions"][0]["storage"] = json!(true);
            crd["spec"]["versions"][1]["storage"] = json!(false);
        }));
    });
    assert!(api.migrate().await.0.unwrap_err().contains("the storage version has changed"));
    assert_eq!(api.stored(), json!(["v2", "v3alpha1"]));
}
