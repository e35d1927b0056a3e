//! The `http` role: says what arrived, and does what the request's headers ask for. With two statuses it is
//! `health_check_server`.

use super::{Answer, Peer, header_value, respond, respond_unsized};
use crate::kat::go;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Larger request bodies get 413.
const LARGEST: usize = 64 << 20;

/// Nobody waits longer than this.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// A backend of the `http` role.
#[derive(Clone)]
pub struct Echo {
    backend: Arc<str>,
    with_extauth: bool,
    health: Option<Health>,
}

#[derive(Clone)]
struct Health {
    healthy: u16,
    unhealthy: u16,
    is_unhealthy: Arc<AtomicBool>,
}

impl Echo {
    /// A backend of that name. `health` has the statuses before and after a request to `/makeUnhealthy/`.
    pub fn new(backend: String, with_extauth: bool, health: Option<(u16, u16)>) -> Self {
        let health = health.map(|(healthy, unhealthy)| Health { healthy, unhealthy, is_unhealthy: Arc::default() });
        Self { backend: backend.into(), with_extauth, health }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Answer {
        let (head, body) = request.into_parts();
        let http2 = head.version == Version::HTTP_2;
        if head.uri.scheme().is_none() && !head.uri.path().starts_with(['/', '*']) && head.method != Method::CONNECT {
            return malformed();
        }
        if let Some(answer) = redirect(&head, http2) {
            return answer;
        }
        let Ok(body) = Limited::new(body, LARGEST).collect().await else {
            return respond(with_status(StatusCode::PAYLOAD_TOO_LARGE), Vec::new(), http2);
        };
        let body = body.to_bytes();
        let asked = |name: &str| head.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(asked(name)).into_owned();
        if let Ok(delay) = text("kat-req-http-requested-backend-delay").parse() {
            tokio::time::sleep(Duration::from_millis(delay).min(LONGEST_DELAY)).await;
        }
        let mut answer = with_status(self.status(&head, &text("kat-req-http-requested-status")));
        let headers = answer.headers_mut();
        for wanted in head.headers.get_all("kat-req-http-requested-header") {
            let Ok(name) = HeaderName::from_bytes(wanted.as_bytes()) else { continue };
            if let Some(value) = head.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let cookies = text("kat-req-http-requested-cookie");
        for cookie in cookies.split(',').map(str::trim).filter(|_| !cookies.is_empty()) {
            headers.append(header::SET_COOKIE, header_value(format!("{cookie}={cookie}").as_bytes()));
        }
        if !asked("kat-req-http-requested-location").is_empty() {
            headers.insert(header::LOCATION, header_value(asked("kat-req-http-requested-location")));
        }
        headers.insert("kat-resp-http-request-body", header_value(&body));
        let request = report(&head, peer);
        let lower = |map: &HeaderMap| go::headers(map, str::to_ascii_lowercase);
        let overridden = head.uri.query().is_some_and(|query| go::query(query).contains_key("override_extauth_header"));
        if self.with_extauth && !overridden {
            let extauth = json!({ "request": request, "resp_headers": lower(headers) });
            headers.insert("extauth", header_value(escaped(&extauth.to_string()).as_bytes()));
        }
        headers.insert(header::DATE, header_value(go::Moment::now().rfc1123().as_bytes()));
        let echo = json!({
            "backend": &*self.backend,
            "request": request,
            "response": { "headers": lower(headers) },
        });
        let bodiless = matches!(answer.status().as_u16(), 204 | 304);
        let body = if bodiless { Vec::new() } else { escaped(&format!("{echo:#}")).into_bytes() };
        respond(answer, body, http2)
    }

    fn status(&self, head: &http::request::Parts, asked: &str) -> StatusCode {
        let number = match &self.health {
            Some(health) => {
                // The request that flips the state still gets the old status.
                let flips = head.uri.path().starts_with("/makeUnhealthy/");
                let before = health.is_unhealthy.fetch_or(flips, Ordering::Relaxed);
                if before { health.unhealthy } else { health.healthy }
            }
            None if asked.is_empty() => 200,
            None => asked.parse().unwrap_or(500),
        };
        StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn with_status(status: StatusCode) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    answer
}

/// Go's server does not know what to do with a target like `foo`, and ends its answer with the connection.
fn malformed() -> Answer {
    let mut answer = with_status(StatusCode::BAD_REQUEST);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    respond_unsized(answer, b"400 Bad Request".to_vec())
}

/// Go's request multiplexer sends clients away from paths with empty or dotted segments.
fn redirect(head: &http::request::Parts, http2: bool) -> Option<Answer> {
    let path = go::unescape(head.uri.path(), false)?;
    let clean = go::clean_path(&path);
    if clean == path || head.method == Method::CONNECT || path == "*" {
        return None;
    }
    let mut place = go::escape_path(&clean.replace('%', "%25"));
    if let Some(query) = head.uri.query() {
        place = format!("{place}?{query}");
    }
    let mut answer = with_status(StatusCode::MOVED_PERMANENTLY);
    answer.headers_mut().insert(header::LOCATION, header_value(place.as_bytes()));
    let mut body = Vec::new();
    if matches!(head.method, Method::GET | Method::HEAD) {
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let place = place.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let place = place.replace('"', "&#34;").replace('\'', "&#39;");
        body = format!("<a href=\"{place}\">Moved Permanently</a>.\n\n").into_bytes();
    }
    Some(respond(answer, body, http2))
}

/// The request as it arrived.
fn report(head: &http::request::Parts, peer: &Peer) -> Value {
    let mut headers = go::headers(&head.headers, str::to_ascii_lowercase);
    let host = headers.remove("host").and_then(|all| all.into_iter().next());
    let host = head.uri.authority().map(|authority| authority.as_str().to_owned()).or(host).unwrap_or_default();
    headers.remove("transfer-encoding");
    headers.remove("trailer");
    // HTTP/2 clients may split cookies; they are one header for everyone behind.
    if head.version == Version::HTTP_2
        && let Some(cookies) = headers.get_mut("cookie")
    {
        *cookies = vec![cookies.join("; ")];
    }
    // An absolute form in HTTP/1.1 is for proxies and the only one with a scheme.
    let absolute = head.version != Version::HTTP_2 && head.uri.scheme().is_some();
    let query = head.uri.query().unwrap_or_default();
    let tls = match &peer.tls {
        None => json!({ "enabled": false }),
        Some(tls) => json!({
            "enabled": true,
            "negotiated-protocol": tls.protocol,
            "negotiated-protocol-version": tls.version,
            "server-name": tls.name,
        }),
    };
    json!({
        "url": {
            "fragment": "",
            "host": if absolute { host.as_str() } else { "" },
            "opaque": "",
            "path": go::unescape(head.uri.path(), false).unwrap_or_default(),
            "query": go::query(query),
            "rawQuery": query,
            "scheme": if absolute { head.uri.scheme_str().unwrap_or_default() } else { "" },
        },
        "method": head.method.as_str(),
        "headers": headers,
        "host": host,
        "tls": tls,
    })
}

/// Go's JSON has these characters escaped; outside of texts they do not occur.
fn escaped(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}
