//! `nuncio why` and `nuncio diff`.

use crate::check::nuncio;
use crate::fixture::{BASE, mapping};
use crate::running::{Running, listener};
use std::path::PathBuf;

struct Files(tempfile::TempDir);

impl Files {
    fn with(name: &str, text: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.path(name), text).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn run(arguments: &[&str]) -> (i32, String) {
    let output = nuncio(arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn why_names_the_winner_and_the_one_condition_that_others_lack() {
    let post = mapping("post", "/one/").replace("service: ", "method: POST\n  service: ");
    let broken = mapping("broken", "/one/").replace("service: ", "weight: 1000\n  service: ");
    let files = Files::with("m.yaml", &format!("{BASE}{}{post}{broken}", mapping("one", "/one/")));
    let path = files.path("m.yaml");
    let path = path.to_str().unwrap();
    let (status, out) = run(&["why", "a.example.com", "/one/x?q=1", path]);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("Mapping default/one answers: to cluster_"), "{out}");
    assert!(out.contains("not Mapping default/post: header `:method` is `GET`, not `POST`"), "{out}");
    assert!(out.contains("refused Mapping default/broken: spec.weight"), "{out}");

    let (status, out) = run(&["why", "a.example.com", "/one/", "--method", "POST", path]);
    assert!(status == 0 && out.contains("Mapping default/post answers"), "{out}");
    assert!(out.contains("not Mapping default/one: it matches as well, and default/post comes first"), "{out}");

    let (status, out) = run(&["why", "a.example.com", "/two/", path]);
    assert!(status == 1 && out.contains("404: no Mapping fits"), "{out}");
    assert!(out.contains("not Mapping default/one: the path `/two/` does not begin with `/one/`"), "{out}");
    assert_eq!(run(&["why", "a.example.com", "two", path]).0, 2);
    assert_eq!(run(&["why", "a.example.com", "/", "--port", "1", path]).0, 2);
}

#[test]
fn a_running_gateway_is_asked_in_the_same_words() {
    let manifest = |port| format!("{}{}", listener(port), mapping("one", "/one/"));
    let Some(running) = Running::start(manifest) else { return };
    let from = format!("http://{}", running.diagnostics);
    let post = mapping("post", "/one/").replace("service: ", "method: POST\n  service: ");
    let files = Files::with("m.yaml", &format!("{}{post}", manifest(running.port)));
    running.write("post.yaml", &post);
    running.line("Mapping default/post: ready");
    let question = ["a.example.com:1", "/one/x y?q=1&r=%2F", "--header", "x: 1", "--method", "PUT"];
    let ask = |more: &[&str]| run(&[&["why"], &question[..], more].concat());
    let (status, out) = ask(&["--from", &from]);
    assert!(status == 0 && out.contains("Mapping default/one answers"), "{out}");
    assert!(out.contains("not Mapping default/post: header `:method` is `PUT`, not `POST`"), "{out}");
    assert_eq!((status, out), ask(&[files.path("m.yaml").to_str().unwrap()]));
    assert_eq!(ask(&["--from", &from, "--port", "1"]).0, 2);
    assert_eq!(ask(&["--from", "http://127.0.0.1:1"]).0, 2);
    assert_eq!(ask(&[]).0, 2, "neither manifests nor a gateway");
    assert_eq!(run(&["diff", "one.yaml"]).0, 2, "one side only");
}

#[test]
fn diff_tells_what_is_new_gone_and_different() {
    let old = Files::with("m.yaml", &format!("{BASE}{}{}", mapping("one", "/one/"), mapping("two", "/two/")));
    let edited = mapping("two", "/two/").replace("service: ", "timeout_ms: 7\n  service: ");
    let new = Files::with("m.yaml", &format!("{BASE}{edited}{}", mapping("three", "/three/")));
    let (old_path, new_path) = (old.path("m.yaml"), new.path("m.yaml"));
    let (old_path, new_path) = (old_path.to_str().unwrap(), new_path.to_str().unwrap());
    let (status, out) = run(&["diff", old_path, new_path]);
    assert_eq!(status, 1, "{out}");
    let has = |out: &str, mark: &str, text: &str| out.lines().any(|line| line.starts_with(mark) && line.contains(text));
    assert!(has(&out, "object - Mapping default/one", "accepted"), "{out}");
    assert!(has(&out, "object + Mapping default/three", "accepted"), "{out}");
    assert!(!out.contains("object ~"), "what is said about the edited one is the same: {out}");
    assert!(
        has(&out, "route - ", "/one/") && has(&out, "route + ", "/three/") && has(&out, "route ~ ", "/two/"),
        "{out}"
    );
    assert!(has(&out, "envoy ~ route ", "cleartext") && !has(&out, "envoy", "listener"), "{out}");
    assert_eq!(run(&["diff", old_path, old_path]), (0, String::new()));

    // Laid over the old ones, nothing is gone.
    let (status, out) = run(&["diff", "--overlay", old_path, new_path]);
    assert!(status == 1 && !out.contains("object -") && has(&out, "route + ", "/three/"), "{out}");
}
