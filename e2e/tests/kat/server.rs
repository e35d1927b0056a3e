//! What kat-server answers.

use crate::{Backend, ask, fields};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use serde_json::{Value, json};

fn get(backend: &Backend, path: &str, headers: Value) -> serde_json::Map<String, Value> {
    ask(json!({"url": backend.clear(path), "headers": headers}))
}

#[test]
fn requests_say_what_comes_back() {
    let backend = Backend::start(&[("BACKEND", "mine"), ("INCLUDE_EXTAUTH_HEADER", "yes")]);
    let asked = json!({"kat-req-http-requested-status": "418", "kat-req-http-requested-header": "X-Mine", "x-mine": "1",
        "kat-req-http-requested-cookie": "a, b", "kat-req-http-requested-location": "there"});
    let result = get(&backend, "/", asked);
    let headers = &result["headers"];
    assert_eq!((&result["status"], &headers["X-Mine"]), (&json!(418), &json!(["1"])));
    assert_eq!((&headers["Set-Cookie"], &headers["Location"]), (&json!(["a=a", "b=b"]), &json!(["there"])));
    let extauth: Value = serde_json::from_str(headers["Extauth"][0].as_str().unwrap()).unwrap();
    assert_eq!(extauth["request"], result["json"]["request"]);
    assert_eq!(
        fields(extauth["resp_headers"].as_object().unwrap()),
        ["kat-resp-http-request-body", "location", "set-cookie", "x-mine"]
    );
    let answer = result["json"].as_object().unwrap();
    assert_eq!((fields(answer), &answer["backend"]), (vec!["backend", "request", "response"], &json!("mine")));
    assert_eq!(
        fields(answer["response"]["headers"].as_object().unwrap()),
        ["date", "extauth", "kat-resp-http-request-body", "location", "set-cookie", "x-mine"]
    );
    let result = get(&backend, "/?override_extauth_header=1", json!({"kat-req-http-requested-status": "x"}));
    assert_eq!((&result["status"], result["headers"].get("Extauth")), (&json!(500), None));
}

#[test]
fn paths_are_cleaned_by_redirects() {
    let backend = Backend::start(&[("BACKEND", "mine")]);
    let result = get(&backend, "/a//b/../?q", json!({}));
    assert_eq!((&result["status"], &result["headers"]["Location"]), (&json!(301), &json!(["/a/?q"])));
    assert_eq!(result["text"], "<a href=\"/a/?q\">Moved Permanently</a>.\n\n");
}

#[test]
fn health_turns_bad_after_the_request_that_asks_for_it() {
    let backend = Backend::start(&[("KAT_BACKEND_TYPE", "health_check_server"), ("UNHEALTHY_STATUS_CODE", "503")]);
    let status = |path| get(&backend, path, json!({}))["status"].clone();
    assert_eq!([status("/"), status("/makeUnhealthy/"), status("/")], [json!(200), json!(200), json!(503)]);
}

#[test]
fn echoes_over_grpc() {
    let backend = Backend::start(&[("KAT_BACKEND_TYPE", "grpc_echo"), ("BACKEND", "mine")]);
    let path = "/echo.EchoService/Echo";
    let headers = json!({"x-mine": "1", "x-forwarded-proto": "https"});
    let result = ask(json!({"url": backend.clear(path), "grpc_type": "real", "headers": headers}));
    assert_eq!(fields(&result), ["body", "headers", "status", "text"]);
    assert_eq!((&result["status"], &result["body"]), (&json!(200), &json!("")));
    assert_eq!(result["headers"], json!({"Grpc-Status": ["0"], "Grpc-Message": [""]}));
    let echo = &result["text"];
    assert_eq!((&echo["backend"], &echo["request"]["tls"]), (&json!("mine"), &json!({"enabled": true})));
    let expected = json!({":authority": backend.clear.to_string(), "content-type": "application/grpc",
        "user-agent": "grpc-go/1.44.1-dev", "x-forwarded-proto": "https", "x-mine": "1"});
    assert_eq!(echo["request"]["headers"], expected);
    assert!(echo["response"]["headers"]["date"].is_string());

    let headers = json!({"kat-req-echo-requested-status": "7"});
    let result = ask(json!({"url": backend.clear(path), "grpc_type": "real", "headers": headers}));
    assert_eq!(result["headers"]["Grpc-Status"], json!(["7"]));
    assert_eq!(result["headers"]["Grpc-Message"], json!(["kat-req-echo-requested-status"]));
    assert_eq!(result.get("text"), None);
    let headers = json!({"kat-req-echo-requested-status": "14"});
    let result = ask(json!({"url": backend.clear(path), "grpc_type": "real", "headers": headers}));
    assert_eq!(fields(&result), ["error"]);

    // Without Envoy's bridge in between the answer is the same frame.
    let headers = json!({"content-type": "application/grpc"});
    let result = ask(json!({"url": backend.clear(path), "grpc_type": "bridge", "headers": headers}));
    assert_eq!((&result["status"], &result["text"]["backend"]), (&json!(200), &json!("mine")));

    let secure = ask(json!({"url": backend.secure(path), "grpc_type": "real", "insecure": true}));
    assert_eq!(secure["text"]["backend"], "mine");
    assert!(secure["tls"][0]["Raw"].is_string());
}

#[test]
fn authorization_is_judged_over_grpc() {
    let backend =
        Backend::start(&[("KAT_BACKEND_TYPE", "grpc_auth"), ("BACKEND", "mine"), ("GRPC_AUTH_PROTOCOL_VERSION", "v3")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = AuthorizationClient::connect(backend.clear("")).await.unwrap();
        let mut check = async |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let http = HttpRequest { method: "GET".into(), path: "/x".into(), headers, ..Default::default() };
            let request = Request { http: Some(http), ..Default::default() };
            let extensions = [("a".to_owned(), "b".to_owned())].into();
            let attributes =
                AttributeContext { request: Some(request), context_extensions: extensions, ..Default::default() };
            let check = CheckRequest { attributes: Some(attributes) };
            client.check(check).await.unwrap().into_inner()
        };
        let allowed = check(&[("kat-req-extauth-append", "foo=bar;baz=1")]).await;
        assert_eq!(allowed.status.unwrap().code, 0);
        let Some(HttpResponse::OkResponse(allowed)) = allowed.http_response else { panic!("not allowed") };
        let names: Vec<String> =
            allowed.headers.iter().filter_map(|option| option.header.as_ref()).map(|one| one.key.clone()).collect();
        assert_eq!(
            names,
            [
                "Status",
                "Foo",
                "Baz",
                "Set-Cookie",
                "Kat-Resp-Extauth-Protocol-Version",
                "Kat-Resp-Extauth-Context-Extensions"
            ]
        );

        let asked = [
            ("kat-req-extauth-requested-status", "401"),
            ("kat-req-extauth-requested-header", "X-Foo"),
            ("x-foo", "a,b"),
            ("kat-req-extauth-requested-location", "there"),
        ];
        let denied = check(&asked).await;
        assert_eq!(denied.status.unwrap().code, 16);
        let Some(HttpResponse::DeniedResponse(denied)) = denied.http_response else { panic!("not denied") };
        assert_eq!(denied.status.unwrap().code, 401);
        let body: Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!((&body["backend"], &body["status"]), (&json!("mine"), &json!(401)));
        assert_eq!((&body["headers"]["X-Foo"], &body["headers"]["Location"]), (&json!(["a,b"]), &json!(["there"])));
        assert_eq!(body["request"]["headers"]["x-foo"], json!(["a", "b"]));
        assert_eq!(
            fields(body["request"]["url"].as_object().unwrap()),
            ["fragment", "host", "path", "query", "scheme"]
        );
    });
}

#[test]
fn rates_are_limited_over_grpc() {
    use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
        RateLimitDescriptor, rate_limit_descriptor::Entry,
    };
    let backend =
        Backend::start(&[("KAT_BACKEND_TYPE", "grpc_rls"), ("BACKEND", "mine"), ("GRPC_RLS_PROTOCOL_VERSION", "v3")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = RateLimitServiceClient::connect(backend.clear("")).await.unwrap();
        let mut limit = async |entries: &[(&str, &str)]| {
            let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
            let entries = entries.iter().map(entry).collect();
            let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
            let request = RateLimitRequest { domain: "d".into(), descriptors, hits_addend: 0 };
            client.should_rate_limit(request).await.unwrap().into_inner()
        };
        let allowed = limit(&[("kat-req-rls-allow", "true"), ("kat-req-rls-headers-append", "A=B")]).await;
        assert_eq!((allowed.overall_code, allowed.response_headers_to_add.len()), (1, 0));
        let denied = limit(&[("kat-req-rls-headers-append", "hello=Foo; hi=Baz")]).await;
        assert_eq!(denied.overall_code, 2);
        let body: Value = serde_json::from_slice(&denied.raw_body).unwrap();
        let headers = json!({"Content-Type": ["application/json"], "Hello": ["Foo"], "Hi": ["Baz"],
            "Kat-Resp-Rls-Protocol-Version": ["v3"]});
        assert_eq!(body, json!({"backend": "mine", "descriptors": "", "headers": headers, "status": 2}));
    });
}

#[test]
fn access_logs_are_collected_and_shown() {
    use envoy_types::pb::envoy::data::accesslog::v3::{HttpAccessLogEntry, HttpRequestProperties};
    use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
    use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
    use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
        HttpAccessLogEntries, LogEntries,
    };
    let backend = Backend::start(&[("KAT_BACKEND_TYPE", "grpc_als")]);
    let empty = json!({"alsv2-http": null, "alsv2-tcp": null, "alsv3-http": null, "alsv3-tcp": null});
    assert_eq!(get(&backend, "/logs", json!({}))["json"], empty);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = AccessLogServiceClient::connect(backend.clear("")).await.unwrap();
        let request = HttpRequestProperties { path: "/x".into(), request_method: 1, ..Default::default() };
        let log_entry = vec![HttpAccessLogEntry { request: Some(request), ..Default::default() }];
        let log_entries = Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry }));
        let message = StreamAccessLogsMessage { log_entries, ..Default::default() };
        client.stream_access_logs(tokio_stream::iter([message])).await.unwrap();
    });
    let shown = get(&backend, "/logs", json!({}));
    assert_eq!(shown["json"]["alsv3-http"], json!([{"request": {"path": "/x", "request_method": 1}}]));
    assert_eq!(ask(json!({"url": backend.clear("/logs"), "method": "PUT"}))["status"], 405);
    assert_eq!(ask(json!({"url": backend.clear("/logs"), "method": "DELETE"}))["status"], 200);
    assert_eq!(get(&backend, "/logs", json!({}))["json"], empty);
}
