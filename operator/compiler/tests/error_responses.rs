//! Bodies of error answers: from Mappings, the Module and files to rows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

mod support;

use compiler::{Change, Compiler, FileContent, Options, WantedName};
use ir::{Action, Effect, ErrorBody, ErrorRule, ForwardOptions, Kind, ProblemKind};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Mirror, custom, host, listener, mapping, put, service, verdict};

fn base() -> Vec<Value> {
    vec![
        listener("l", 8080, "HTTP", "XFP"),
        host("h", json!({ "hostname": "*", "requestPolicy": { "insecure": { "action": "Route" } } })),
        service("backend", Some("10.0.0.1")),
    ]
}

fn compiled(more: impl IntoIterator<Item = Value>) -> (Compiler, Mirror) {
    let mut compiler = Compiler::new(Options { error_body_folder: Some("/bodies/".into()), ..Options::default() });
    compiler.apply(base().iter().chain(&more.into_iter().collect::<Vec<_>>()).map(put).collect());
    let mirror = Mirror::of(&compiler);
    (compiler, mirror)
}

fn module(rules: Value) -> Value {
    custom("Module", "ambassador", json!({ "config": { "error_response_overrides": rules } }))
}

fn text(status: u16, body: &str) -> Value {
    json!({ "on_status_code": status, "body": { "text_format": body } })
}

fn file(status: u16, path: &str) -> Value {
    json!({ "on_status_code": status, "body": { "text_format_source": { "filename": path } } })
}

fn rule(status: u16, body: &str) -> ErrorRule {
    ErrorRule { status, body: ErrorBody::Text(body.into()), content_type: None }
}

fn options(mirror: &Mirror, name: &str) -> ForwardOptions {
    let groups = mirror.lists.values().flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
    let mut routes = groups.flat_map(|group| &group.routes);
    match &routes.find(|route| *route.source.name == *name).expect("a route").action {
        Action::Forward(forward) => forward.options.as_deref().cloned().unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

fn of_listener(mirror: &Mirror) -> Arc<[ErrorRule]> {
    mirror.listeners.values().next().unwrap().http.errors.clone()
}

#[test]
fn rules_of_a_mapping_replace_those_of_the_module() {
    let (_, mirror) = compiled([
        module(json!([text(404, "none"), text(503, "down"), text(404, "second")])),
        mapping("own", json!({ "prefix": "/own/", "error_response_overrides": [text(401, "own")] })),
        mapping("bypass", json!({ "prefix": "/bypass/", "bypass_error_response_overrides": true })),
        mapping(
            "both",
            json!({ "prefix": "/both/", "bypass_error_response_overrides": true, "error_response_overrides": [text(401, "x")] }),
        ),
        mapping("broken", json!({ "prefix": "/broken/", "error_response_overrides": [text(200, "x")] })),
        mapping("plain", json!({})),
    ]);
    assert_eq!(of_listener(&mirror).as_ref(), [rule(404, "none"), rule(503, "down")]);
    let of = |name| {
        let options = options(&mirror, name);
        (options.errors.map(|rules| rules.to_vec()), options.without_default_errors)
    };
    assert_eq!(of("own"), (Some(vec![rule(401, "own")]), true));
    assert_eq!(of("bypass"), (None, true));
    assert_eq!(of("both"), (None, true), "a bypass beats own rules");
    assert_eq!(of("broken"), (None, false), "without a usable rule the Module's apply");
    assert_eq!(of("plain"), (None, false));
}

#[test]
fn without_rules_of_the_module_there_is_nothing_to_put_aside() {
    let (_, mirror) = compiled([
        mapping("own", json!({ "prefix": "/own/", "error_response_overrides": [text(401, "own")] })),
        mapping("bypass", json!({ "bypass_error_response_overrides": true })),
    ]);
    assert!(of_listener(&mirror).is_empty());
    assert!(!options(&mirror, "own").without_default_errors);
    assert_eq!(options(&mirror, "bypass"), ForwardOptions::default());
}

#[test]
fn members_of_a_group_have_rules_of_their_own() {
    let (_, mirror) = compiled([
        mapping("a", json!({ "weight": 10, "error_response_overrides": [text(404, "a")] })),
        mapping("b", json!({ "retry_policy": { "retry_on": "5xx" } })),
    ]);
    assert_eq!(options(&mirror, "a").errors.as_deref(), Some([rule(404, "a")].as_slice()));
    assert!(options(&mirror, "a").retry.is_some(), "retries are shared");
    assert_eq!(options(&mirror, "b").errors, None);
}

/// Whoever may create a Mapping must not be able to publish any file that the gateway can read.
#[test]
fn files_are_read_from_one_folder_only() {
    let outside = ["/etc/passwd", "/bodies/../etc/passwd", "/bodiesx/a", "/bodies/", "/bodies/a/./b", "/bodies//a"];
    let mut rules: Vec<Value> = outside.iter().zip(401..).map(|(path, status)| file(status, path)).collect();
    rules.push(file(503, "/bodies/down"));
    let objects =
        [mapping("m", json!({ "error_response_overrides": rules })), module(json!([file(404, "/bodies/none")]))];
    let mut compiler = Compiler::new(Options { error_body_folder: Some("/bodies".into()), ..Options::default() });
    let outcome = compiler.apply(base().iter().chain(&objects).map(put).collect());
    let wanted = |path: &str| WantedName::File(path.into());
    assert_eq!(
        outcome.wanted.added.iter().filter(|name| matches!(name, WantedName::File(_))).collect::<Vec<_>>(),
        [&wanted("/bodies/down"), &wanted("/bodies/none")]
    );
    let problems = |compiler: &Compiler, kind, name| -> Vec<(ProblemKind, Effect)> {
        let verdict = verdict(compiler, kind, name);
        let problems = verdict.problems.iter().filter(|problem| problem.effect != Effect::Notice);
        problems.map(|problem| (problem.kind, problem.effect)).collect()
    };
    let refused = (ProblemKind::ReferenceNotAllowed, Effect::Degraded);
    let mut expected = vec![refused; outside.len()];
    expected.push((ProblemKind::MissingReference, Effect::Degraded));
    let mut found = problems(&compiler, Kind::Mapping, "m");
    found.sort_by_key(|(kind, _)| *kind != ProblemKind::ReferenceNotAllowed);
    assert_eq!(found, expected);

    let content = |text: &[u8]| Some(FileContent::Bytes(text.into()));
    compiler.apply(vec![
        Change::File("/bodies/down".into(), content(b"down since %START_TIME%")),
        Change::File("/bodies/none".into(), content(b"none")),
    ]);
    let mirror = Mirror::of(&compiler);
    assert_eq!(options(&mirror, "m").errors.as_deref(), Some([rule(503, "down since %START_TIME%")].as_slice()));
    assert_eq!(of_listener(&mirror).as_ref(), [rule(404, "none")]);
    assert_eq!(problems(&compiler, Kind::Module, "ambassador"), []);

    for bad in [b"50%".as_slice(), b"\xff", &[b'x'; 65 * 1024]] {
        compiler.apply(vec![Change::File("/bodies/none".into(), content(bad))]);
        assert!(of_listener(&Mirror::of(&compiler)).is_empty());
        assert_eq!(problems(&compiler, Kind::Module, "ambassador"), [(ProblemKind::InvalidFormat, Effect::Degraded)]);
    }
    let outcome = compiler.apply(vec![Change::Gone(support::object(&objects[0]).key.clone())]);
    assert_eq!(outcome.wanted.removed, [wanted("/bodies/down")]);
}

#[test]
fn without_a_folder_no_file_is_read() {
    let mut compiler = Compiler::new(Options::default());
    let objects = [mapping("m", json!({ "error_response_overrides": [file(404, "/a/b"), text(500, "x")] }))];
    let outcome = compiler.apply(base().iter().chain(&objects).map(put).collect());
    assert!(!outcome.wanted.added.iter().any(|name| matches!(name, WantedName::File(_))));
    assert_eq!(options(&Mirror::of(&compiler), "m").errors.as_deref(), Some([rule(500, "x")].as_slice()));
    let verdict = verdict(&compiler, Kind::Mapping, "m");
    assert!(verdict.accepted, "{verdict:?}");
    assert!(verdict.problems.iter().any(|problem| problem.detail.contains("NUNCIO_ERROR_BODY_FOLDER")), "{verdict:?}");
}

#[test]
fn an_edit_of_rules_touches_routes_only() {
    let before = mapping("m", json!({ "error_response_overrides": [text(404, "a")] }));
    let after = mapping("m", json!({ "error_response_overrides": [text(404, "b")] }));
    let (mut compiler, _) = compiled([before]);
    let rows = compiler.apply(vec![put(&after)]).rows;
    assert!(rows.listeners.is_empty() && rows.clusters.is_empty() && rows.tables.is_empty());
    assert!(!rows.lists.is_empty());
    let rows = compiler.apply(vec![put(&mapping("m", json!({})))]).rows;
    assert!(rows.listeners.is_empty() && rows.clusters.is_empty());
}
