//! A small API server in memory: what statuses, Leases and ConfigMaps need of one.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::codegen::Service;

/// One write that was answered.
#[derive(Clone, Debug)]
pub struct Write {
    pub path: String,
    pub query: String,
    pub body: Value,
    pub status: u16,
}

/// Answers instead of the server: status and text.
type Fault = Box<dyn Fn(&Method, &str, &Value) -> Option<(u16, String)> + Send>;
/// Is told about each object that was written.
type Echo = Box<dyn FnMut(&str, &Value) + Send>;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// What each field manager applied to an object that several share.
    shared: BTreeMap<String, BTreeMap<String, Value>>,
    version: u64,
    writes: Vec<Write>,
    fault: Option<Fault>,
    echo: Option<Echo>,
}

/// The server; clones are the same one.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    count: Arc<watch::Sender<usize>>,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self { state: Arc::default(), count: Arc::new(watch::Sender::new(0)) }
    }
}

impl ApiServer {
    pub fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Puts an object without anybody noticing.
    pub fn put(&self, path: &str, object: Value) {
        self.lock().objects.insert(path.into(), object);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    pub fn set_echo(&self, echo: Echo) {
        self.lock().echo = Some(echo);
    }

    pub fn writes(&self) -> Vec<Write> {
        self.lock().writes.clone()
    }

    /// Waits until so many writes were answered.
    pub async fn wait_for_writes(&self, count: usize) -> Vec<Write> {
        let mut counted = self.count.subscribe();
        let waiting = counted.wait_for(|now| *now >= count);
        if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
            panic!("{count} writes were expected: {:#?}", self.writes());
        }
        self.writes()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let mut state = self.lock();
        if let Some((code, text)) = state.fault.as_ref().and_then(|fault| fault(method, path, body)) {
            return (code, failure(code, &text));
        }
        let (code, answer) = match *method {
            Method::GET => match state.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => missing(path),
            },
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                match state.objects.contains_key(&path) {
                    true => (409, failure(409, "it exists")),
                    false => (201, state.store(&path, body.clone())),
                }
            }
            Method::PUT => match state.objects.get(path) {
                None => missing(path),
                Some(present) if present["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    (409, failure(409, "the object has been modified"))
                }
                Some(_) => (200, state.store(path, body.clone())),
            },
            Method::PATCH => state.apply(path, query, body),
            Method::DELETE => match state.objects.remove(path) {
                Some(object) => (200, object),
                None => missing(path),
            },
            _ => (405, failure(405, "not here")),
        };
        if *method != Method::GET && code < 300 {
            let object_path = path.trim_end_matches("/status").to_owned();
            if let Some(mut echo) = state.echo.take() {
                echo(&object_path, &answer);
                state.echo = Some(echo);
            }
        }
        (code, answer)
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.into(), object.clone());
        object
    }

    /// The `data` of all managers together. Without a manager it is a merge patch, in which null takes away.
    fn share(&mut self, path: &str, manager: &str, body: &Value) -> Value {
        let parts = self.shared.entry(path.into()).or_default();
        let mut object = body.clone();
        if manager.is_empty() {
            let gone: Vec<&String> = body["data"].as_object().unwrap().keys().collect();
            parts.values_mut().for_each(|part| part.as_object_mut().unwrap().retain(|key, _| !gone.contains(&key)));
            object = self.objects.get(path).cloned().unwrap();
        } else {
            parts.insert(manager.into(), body["data"].clone());
        }
        let all = parts.values().filter_map(Value::as_object).flatten();
        object["data"] = all.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>().into();
        object
    }

    /// Server-side apply, for one manager and maps: what it left out is gone.
    fn apply(&mut self, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let manager = query.split('&').find_map(|part| part.strip_prefix("fieldManager=")).unwrap_or_default();
        let Some(object_path) = path.strip_suffix("/status") else {
            let object = self.share(path, manager, body);
            return (200, self.store(path, object));
        };
        let Some(mut object) = self.objects.get(object_path).cloned() else { return missing(path) };
        if object["metadata"]["uid"] != body["metadata"]["uid"] {
            return (409, failure(409, "Precondition failed: UID in precondition"));
        }
        object["status"] = body.get("status").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let entry = json!({"manager": manager, "operation": "Apply", "subresource": "status"});
        object["metadata"]["managedFields"] = if body.get("status").is_some() { json!([entry]) } else { json!([]) };
        (200, self.store(object_path, object))
    }
}

fn missing(path: &str) -> (u16, Value) {
    let name = path.trim_end_matches("/status").rsplit('/').next().unwrap();
    (404, failure(404, &format!("\"{name}\" not found")))
}

fn failure(code: u16, text: &str) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "reason": reason, "code": code})
}

impl Service<Request<Body>> for ApiServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
            let (code, answer) = server.answer(&parts.method, path, query, &body);
            if parts.method != Method::GET {
                let write = Write { path: path.into(), query: query.into(), body, status: code };
                server.lock().writes.push(write);
                server.count.send_modify(|count| *count += 1);
            }
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok(Response::builder().status(StatusCode::from_u16(code).unwrap()).body(answer).unwrap())
        })
    }
}
