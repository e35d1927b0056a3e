//! Resources in annotations.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeMap;

use api::annotation::{AnnotationProblem, Document, MAX_BYTES, MAX_DOCUMENTS, Parent, parse};
use api::yaml;
use serde_json::{Value, json};

fn read(value: &str) -> Vec<Result<Document, AnnotationProblem>> {
    let labels = BTreeMap::from([("app".to_owned(), "parent".to_owned())]);
    parse(value, Parent { namespace: "parents", labels: &labels })
}

fn only(value: &str) -> Document {
    let mut read = read(value);
    assert_eq!(read.len(), 1, "{read:?}");
    read.remove(0).unwrap()
}

fn problem(value: &str) -> AnnotationProblem {
    let mut read = read(value);
    assert_eq!(read.len(), 1, "{read:?}");
    read.remove(0).unwrap_err()
}

const HEAD: &str = "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\n";

#[test]
fn flat_form_is_sorted_into_metadata_and_spec() {
    let document = only(
        "---\napiVersion: ambassador/v1\nkind: Mapping\nname: quote\nprefix: /quote/\nservice: quote:80\n\
         generation: 3\nmetadata_labels: {team: red}\nlabels: {gateway: []}\nstatus: {state: Running}\n",
    );
    let expected = Document {
        api_version: "getambassador.io/v1".to_owned(),
        kind: "Mapping".to_owned(),
        name: "quote".to_owned(),
        namespace: "parents".to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
        generation: Some(3),
        spec: json!({"prefix": "/quote/", "service": "quote:80", "labels": {"gateway": []}}),
    };
    assert_eq!(document, expected);
}

#[test]
fn nested_form_and_a_mixture_work() {
    let nested = only(&format!("{HEAD}metadata: {{name: a, namespace: b, labels: {{}}}}\nspec: {{prefix: /a/}}\n"));
    assert_eq!((nested.name.as_str(), nested.namespace.as_str()), ("a", "b"));
    assert_eq!((nested.labels, nested.spec), (BTreeMap::new(), json!({"prefix": "/a/"})));

    let mixed =
        only(&format!("{HEAD}name: flat\nmetadata: {{name: nested}}\nprefix: /b/\nspec: {{prefix: /a/, host: c}}\n"));
    assert_eq!(mixed.name, "flat");
    assert_eq!(mixed.spec, json!({"prefix": "/b/", "host": "c"}));
    assert_eq!(mixed.labels, BTreeMap::from([("app".to_owned(), "parent".to_owned())]));
}

#[test]
fn several_documents_fail_one_by_one() {
    let read = read(&format!(
        "# only a comment\n---\n{HEAD}name: a\n---\n---\nkind: Mapping\nname: b\n---\n- a\n---\ntext\n---\n{HEAD}name: c\n"
    ));
    let outcome: Vec<_> = read
        .iter()
        .map(|read| match read {
            Ok(document) => document.name.clone(),
            Err(problem) => format!("{:?} {:?} {}", problem.document, problem.about, problem.problem.path),
        })
        .collect();
    let about_b = format!("{:?} {:?} apiVersion", Some(1), Some(("Mapping", "b")));
    assert_eq!(outcome, ["a", &about_b, "Some(2) None ", "Some(3) None ", "c"]);
}

#[test]
fn what_cannot_be_a_resource_is_named() {
    let cases = [
        ("kind: Mapping\nname: a\n", "apiVersion", "missing"),
        ("apiVersion: 3\nkind: Mapping\nname: a\n", "apiVersion", "expected a string"),
        ("apiVersion: ambassador/v0\nkind: Mapping\nname: a\n", "apiVersion", "`getambassador.io/v0` is not supported"),
        ("apiVersion: apps/v1\nkind: Deployment\nname: a\n", "apiVersion", "`apps/v1` is not supported"),
        ("apiVersion: getambassador.io/v2\nname: a\n", "kind", "missing"),
        (
            "apiVersion: getambassador.io/v2\nkind: Maping\nname: a\n",
            "kind",
            "`Maping` is no kind of getambassador.io/v2",
        ),
        ("apiVersion: getambassador.io/v2\nkind: Listener\nname: a\n", "kind", "`Listener` is no kind"),
        ("apiVersion: ambassador/v1\nkind: Host\nname: a\n", "kind", "`Host` is no kind"),
        ("apiVersion: ambassador/v2\nkind: Host\n", "metadata.name", "missing"),
        ("apiVersion: ambassador/v2\nkind: Host\nname: ''\n", "metadata.name", "missing"),
        ("apiVersion: ambassador/v2\nkind: Host\nname: 12\n", "metadata.name", "expected a string"),
        ("apiVersion: ambassador/v2\nkind: Host\nname: a\nnamespace: []\n", "metadata.namespace", "expected a string"),
        ("apiVersion: ambassador/v2\nkind: Host\nname: a\nspec: []\n", "spec", "expected an object"),
        ("apiVersion: ambassador/v2\nkind: Host\nname: a\nmetadata: x\n", "metadata", "expected an object"),
        (
            "apiVersion: ambassador/v2\nkind: Host\nname: a\nmetadata_labels: {a: 1}\n",
            "metadata.labels.a",
            "invalid type",
        ),
        ("apiVersion: ambassador/v2\nkind: Host\nname: a\nmetadata_labels: x\n", "metadata.labels", "invalid type"),
    ];
    for (value, path, message) in cases {
        let found = problem(value).problem;
        assert_eq!(found.path, path, "{value}: {found:?}");
        assert!(found.message.contains(message), "{value}: {found:?}");
    }
}

#[test]
fn unreadable_text_is_one_problem_of_the_whole() {
    for value in ["a: [", "a: b: c", "{", "a: *nowhere", "%", "a\u{0}b: \"", "x: !!float abc"] {
        let found = problem(value);
        assert_eq!(found.document, None, "{value}: {found:?}");
        assert!(!found.problem.message.contains('\n') && found.problem.message.len() <= 300, "{found:?}");
    }
    for value in ["", "---\n---\n", "# nothing\n", "\n\n"] {
        assert_eq!(read(value), [], "{value:?}");
    }
}

#[test]
fn size_and_number_of_documents_are_bounded() {
    let padding = "#".repeat(MAX_BYTES + 1);
    assert!(problem(&padding).problem.message.contains("bytes long"));
    let documents = |count: usize| format!("---\n{HEAD}name: a\n").repeat(count);
    assert_eq!(read(&documents(MAX_DOCUMENTS)).len(), MAX_DOCUMENTS);
    assert_eq!(problem(&documents(MAX_DOCUMENTS + 1)).document, None);
    // Nesting that would exhaust the stack, and aliases that would exhaust the memory.
    assert_eq!(problem(&"[".repeat(100_000)).document, None);
    assert_eq!(problem(&format!("{}{}", "[".repeat(51), "]".repeat(51))).document, None);
    assert_eq!(problem(&format!("{}{}", "[".repeat(50), "]".repeat(50))).document, Some(0));
    assert_eq!(problem(&"a: {".repeat(100_000)).document, None);
    assert_eq!(problem(&(0..500).map(|level| format!("{}- \n", " ".repeat(level))).collect::<String>()).document, None);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(problem(&bomb).document, None);
}

#[test]
fn scalars_are_read_as_kubectl_reads_them() {
    let read = |text: &str| yaml::documents(text, 10).unwrap();
    let scalars = "{a: yes, b: off, c: 'yes', d: 012, e: 0x10, f: 1.0, g: 4320000000, h: ~, i: 2026-01-02, j: 1e3, k: '012', 8: x}";
    let expected = json!({
        "a": true, "b": false, "c": "yes", "d": 10, "e": 16, "f": 1.0, "g": 4_320_000_000_i64, "h": null,
        "i": "2026-01-02", "j": 1000.0, "k": "012", "8": "x",
    });
    assert_eq!(read(scalars), [expected]);
    assert_eq!(read("a: 1\na: 2\n"), [json!({"a": 2})]);
    assert_eq!(read("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n")[0]["more"], json!({"x": 1, "y": 3}));
    assert_eq!(read("a: |\n  one\n  two\nb: >\n  one\n  two\n"), [json!({"a": "one\ntwo\n", "b": "one two\n"})]);
    assert_eq!(read("{\"json\": [\"too\", {\"a\": null}]}"), [json!({"json": ["too", {"a": null}]})]);
    // Comments and long texts are what manifests consist of.
    let comments = format!("{}a:\n{}- b\n", "# text\n".repeat(500), "# text\n".repeat(500));
    assert_eq!(read(&comments), [json!({"a": ["b"]})]);
    let long = "x".repeat(100_000);
    assert_eq!(
        read(&format!("a: {long}\nb: [\"{long}\", {{c: '{long}'}}]\n")),
        [json!({"a": long, "b": [long, {"c": long}]})]
    );
    assert_eq!(read("--- \n...\n---\n~\n---\na: 1\n...\n"), [json!({"a": 1})]);
}

#[test]
fn a_big_list_of_manifests_is_read() {
    let manifest = format!("---\n{HEAD}metadata:\n  name: a\nspec:\n  prefix: /\n  service: a\n");
    let read: Vec<Value> = yaml::documents(&manifest.repeat(5000), 100_000).unwrap();
    assert_eq!(read.len(), 5000);
}
