//! An API server that is a value in this process: lists with pages, watches, and failures on demand.

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Resource (`mappings`), namespace, name.
type Name = (String, String, String);

#[derive(Default)]
struct World {
    version: u64,
    objects: BTreeMap<Name, Value>,
    watches: Vec<(String, UnboundedSender<Bytes>)>,
    /// Code and text with which requests for a resource are answered; 0 breaks the connection.
    refusals: BTreeMap<String, (u16, String)>,
    /// Method-less log of requests: path and query.
    requests: Vec<String>,
}

/// A handle on it.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<World>>);

impl Server {
    pub fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Creates or replaces an object of the namespace `ns`; watches see it.
    pub fn put(&self, resource: &str, name: &str, rest: Value) {
        let world = &mut *self.0.lock().unwrap();
        world.version += 1;
        let key = (resource.to_owned(), "ns".to_owned(), name.to_owned());
        let mut object = json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"),
            "generation": 1, "resourceVersion": world.version.to_string()}});
        merge(&mut object, rest);
        let kind = if world.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        world.send(resource, kind, &object);
    }

    pub fn delete(&self, resource: &str, name: &str) {
        let world = &mut *self.0.lock().unwrap();
        world.version += 1;
        let version = world.version.to_string();
        if let Some(mut object) = world.objects.remove(&(resource.to_owned(), "ns".to_owned(), name.to_owned())) {
            object["metadata"]["resourceVersion"] = version.into();
            world.send(resource, "DELETED", &object);
        }
    }

    /// Takes an object away without a word, as while a watch was interrupted.
    pub fn lose(&self, resource: &str, name: &str) {
        let world = &mut *self.0.lock().unwrap();
        world.objects.remove(&(resource.to_owned(), "ns".to_owned(), name.to_owned()));
    }

    /// The watches of a resource are told that they fell too far behind.
    pub fn expire(&self, resource: &str) {
        let status =
            json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
        self.0.lock().unwrap().send(resource, "ERROR", &status);
    }

    /// From now on requests for the resource fail like this; its watches end.
    pub fn refuse(&self, resource: &str, code: u16, text: &str) {
        let world = &mut *self.0.lock().unwrap();
        world.refusals.insert(resource.into(), (code, text.into()));
        world.watches.retain(|(watched, _)| watched != resource);
    }

    pub fn allow(&self, resource: &str) {
        self.0.lock().unwrap().refusals.remove(resource);
    }

    /// Requests so far whose path and query contain all of these.
    pub fn asked(&self, parts: &[&str]) -> usize {
        let world = self.0.lock().unwrap();
        world.requests.iter().filter(|request| parts.iter().all(|part| request.contains(part))).count()
    }

    fn answer(&self, request: &Request<Body>) -> Option<Answer> {
        let world = &mut *self.0.lock().unwrap();
        let query = query(request.uri().query().unwrap_or_default());
        let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
        world.requests.push(format!("{} {query:?} {:?}", request.uri().path(), request.headers().get("accept")));
        let rest = if path.first() == Some(&"api") { &path[2..] } else { &path[3..] };
        let (namespace, resource) = match rest {
            ["namespaces", namespace, resource, ..] => (Some(*namespace), *resource),
            [resource, ..] => (None, *resource),
            [] => return Some(status(404, "no resource")),
        };
        match world.refusals.get(resource) {
            Some((0, _)) => return None,
            Some((code, text)) => return Some(status(*code, text)),
            None => {}
        }
        if query.contains_key("watch") {
            let (sender, receiver) = unbounded::<Bytes>();
            world.watches.push((resource.into(), sender));
            let frames = receiver.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
            return Some(Response::new(BodyExt::boxed(StreamBody::new(frames))));
        }
        if resource == "customresourcedefinitions" {
            return Some(status(404, "no definition"));
        }
        let named =
            query.get("fieldSelector").and_then(|fields| fields.split(',').next()?.strip_prefix("metadata.name="));
        let all: Vec<&Value> = world
            .objects
            .iter()
            .filter(|((kind, space, name), _)| {
                kind == resource && namespace.is_none_or(|only| only == space) && named.is_none_or(|only| only == name)
            })
            .map(|(_, object)| object)
            .collect();
        let from: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
        let limit = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let end = all.len().min(from.saturating_add(limit));
        let more = if end < all.len() { end.to_string() } else { String::new() };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": &all[from..end],
            "metadata": {"resourceVersion": world.version.to_string(), "continue": more}});
        Some(Response::new(full(serde_json::to_vec(&list).unwrap())))
    }
}

impl World {
    fn send(&mut self, resource: &str, kind: &str, object: &Value) {
        // The type comes before the object, as the API server writes it.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.watches.retain(|(watched, to)| watched != resource || to.unbounded_send(line.clone().into()).is_ok());
    }
}

impl tower_service::Service<Request<Body>> for Server {
    type Response = Answer;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Answer, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.answer(&request).ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into());
        async move { answer }.boxed()
    }
}

fn status(code: u16, text: &str) -> Answer {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": text, "reason": ""});
    // A group that does not exist is answered in plain text.
    let body = if text.starts_with("404") { text.as_bytes().to_vec() } else { serde_json::to_vec(&status).unwrap() };
    Response::builder().status(code).body(full(body)).unwrap()
}

fn full(bytes: Vec<u8>) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(bytes)).boxed()
}

fn query(text: &str) -> BTreeMap<String, String> {
    let plain = |part: &str| part.replace("%3D", "=").replace("%2C", ",").replace("%21", "!");
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), plain(value))).collect()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, from) => *into = from,
    }
}
