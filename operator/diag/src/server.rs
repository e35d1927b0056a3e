//! Routes of the diagnostics port. The probe texts are upstream's (8877).

use crate::metrics::Metrics;
use crate::pages;
use crate::report::{Source, WhyQuestion};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, serve as serve_axum};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shared {
    source: Arc<dyn Source>,
    metrics: Arc<Metrics>,
}

/// All routes over a source.
pub fn router(source: Arc<dyn Source>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/ambassador/v0/check_alive", get(check_alive))
        .route("/ambassador/v0/check_ready", get(check_ready))
        .route("/ambassador/v0/diag/", get(overview))
        .route("/ambassador/v0/diag", get(overview))
        .route("/api/v1/status", get(status))
        .route("/api/v1/clients", get(clients))
        .route("/api/v1/envoy", get(envoy))
        .route("/api/v1/why", get(why))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { source, metrics })
}

/// Answers on that listener until `until` completes.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_axum(listener, router).with_graceful_shutdown(until).await
}

async fn check_alive(State(shared): State<Shared>) -> Response {
    match shared.source.health().alive {
        true => (StatusCode::OK, "Ambassador is alive and well\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Ambassador is not alive\n\n").into_response(),
    }
}

async fn check_ready(State(shared): State<Shared>) -> Response {
    match shared.source.health().ready {
        true => (StatusCode::OK, "Ambassador is ready and waiting\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "Ambassador is not ready\n\n").into_response(),
    }
}

async fn overview(State(shared): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    let json = query.get("json").is_some_and(|value| !value.is_empty());
    let found = read(move || (shared.source.status(), shared.source.clients())).await;
    match (found, json) {
        (None, _) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        (Some((status, clients)), true) => {
            Json(serde_json::json!({ "status": status, "clients": clients })).into_response()
        }
        (Some((status, clients)), false) => Html(pages::overview(&status, &clients)).into_response(),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    json(read(move || shared.source.status()).await)
}

async fn clients(State(shared): State<Shared>) -> Response {
    json(read(move || shared.source.clients()).await)
}

async fn envoy(State(shared): State<Shared>) -> Response {
    json(read(move || shared.source.envoy()).await)
}

/// `?host=H&path=P`, and if wanted `method`, `tls=true`, `port` and any number of `header=NAME:VALUE`.
async fn why(State(shared): State<Shared>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    match question(pairs) {
        Ok(question) => json(read(move || shared.source.why(&question)).await),
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

fn question(pairs: Vec<(String, String)>) -> Result<WhyQuestion, &'static str> {
    let mut question = WhyQuestion { method: "GET".into(), ..WhyQuestion::default() };
    for (name, value) in pairs {
        match &*name {
            "host" => question.host = value,
            "path" => question.path = value,
            "method" => question.method = value,
            "tls" => question.tls = value == "true",
            "port" => question.port = Some(value.parse().map_err(|_| "`port` is no port")?),
            "header" => {
                let (name, value) = value.split_once(':').ok_or("`header` is not NAME:VALUE")?;
                question.headers.push((name.trim().into(), value.trim().into()));
            }
            _ => return Err("known are host, path, method, header, tls and port"),
        }
    }
    match (question.host.is_empty(), question.path.starts_with('/')) {
        (true, _) => Err("`host` is missing"),
        (_, false) => Err("`path` does not begin with `/`"),
        _ => Ok(question),
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let text = read(move || shared.metrics.text(&shared.source.counts(), shared.source.clients().len())).await;
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match text {
        Some(text) => ([(header::CONTENT_TYPE, form)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Deriving a report costs what exists, so it stays away from the threads that serve streams.
async fn read<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(make).await.ok()
}

fn json(value: Option<impl serde::Serialize>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ClientReport, Health, ObjectCounts, ObjectReport, StatusReport, WhyNot, WhyReport};
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower_service::Service;

    struct Fixed(Health);

    impl Source for Fixed {
        fn health(&self) -> Health {
            self.0
        }
        fn status(&self) -> StatusReport {
            let object = ObjectReport {
                kind: "Mapping".into(),
                namespace: "default".into(),
                name: "<script>".into(),
                state: "Ready".into(),
                ..ObjectReport::default()
            };
            StatusReport { objects: vec![object], ..StatusReport::default() }
        }
        fn counts(&self) -> ObjectCounts {
            [(("Mapping".to_owned(), "Ready".to_owned()), 1)].into()
        }
        fn clients(&self) -> Vec<ClientReport> {
            vec![ClientReport { node: "\"><b>".into(), reports: vec!["a & b".into()], ..ClientReport::default() }]
        }
        fn envoy(&self) -> serde_json::Value {
            serde_json::json!({"listeners": []})
        }
        fn why(&self, question: &WhyQuestion) -> WhyReport {
            let not =
                question.headers.iter().map(|(name, value)| WhyNot { object: name.clone(), reason: value.clone() });
            WhyReport { answered: question.tls, refused: not.collect(), ..WhyReport::default() }
        }
    }

    async fn get_path(alive: bool, ready: bool, path: &str) -> (u16, String) {
        let mut router = router(Arc::new(Fixed(Health { alive, ready })), Arc::default());
        let answer = router.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn probes_answer_as_upstream() {
        let alive = "/ambassador/v0/check_alive";
        let ready = "/ambassador/v0/check_ready";
        assert_eq!(get_path(true, false, alive).await, (200, "Ambassador is alive and well\n".into()));
        assert_eq!(get_path(false, false, alive).await, (503, "Ambassador is not alive\n\n".into()));
        assert_eq!(get_path(true, true, ready).await, (200, "Ambassador is ready and waiting\n".into()));
        assert_eq!(get_path(true, false, ready).await, (503, "Ambassador is not ready\n\n".into()));
    }

    #[tokio::test]
    async fn the_page_escapes_everything() {
        let (status, page) = get_path(true, true, "/ambassador/v0/diag/").await;
        assert_eq!(status, 200);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert!(page.contains("&quot;&gt;&lt;b&gt;") && page.contains("a &amp; b"));
        assert!(!page.contains("http://") && !page.contains("https://"), "no outside assets");
    }

    #[tokio::test]
    async fn the_same_is_there_as_json() {
        let parse = |(status, body): (u16, String)| {
            assert_eq!(status, 200);
            serde_json::from_str::<serde_json::Value>(&body).unwrap()
        };
        let page = parse(get_path(true, true, "/ambassador/v0/diag/?json=true").await);
        assert_eq!(page["status"]["objects"][0]["kind"], "Mapping");
        assert_eq!(parse(get_path(true, true, "/api/v1/status").await)["objects"][0]["name"], "<script>");
        assert_eq!(parse(get_path(true, true, "/api/v1/clients").await)[0]["reports"][0], "a & b");
        assert_eq!(parse(get_path(true, true, "/api/v1/envoy").await)["listeners"], serde_json::json!([]));
        let question = "/api/v1/why?host=a.test&path=%2Fa%3Fb%3D1&tls=true&header=x-k:%201&header=x-k:2";
        let found = parse(get_path(true, true, question).await);
        assert_eq!((&found["answered"], &found["refused"][1]["reason"]), (&true.into(), &"2".into()));
        for bad in ["path=/", "host=a&path=a", "host=a&path=/&port=x", "host=a&path=/&header=x", "host=a&path=/&x=y"] {
            assert_eq!(get_path(true, true, &format!("/api/v1/why?{bad}")).await.0, 400, "{bad}");
        }
        let (status, text) = get_path(true, true, "/metrics").await;
        assert!(status == 200 && text.contains("nuncio_objects{kind=\"Mapping\",state=\"Ready\"} 1"));
    }
}
