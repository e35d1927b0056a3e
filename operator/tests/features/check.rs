//! `nuncio check` and the other commands that run nothing.

use crate::fixture::{BASE, mapping};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

pub fn nuncio(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AMBASSADOR_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().unwrap()
}

fn check(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    std::fs::write(&file, text).unwrap();
    let path = folder.path().to_str().unwrap().to_string();
    let output = nuncio(&[&["check"], arguments, &[path.as_str()]].concat());
    let show = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&format!("{path}/"), "");
    (output.status.code().unwrap(), show(output.stdout), show(output.stderr))
}

fn fine() -> String {
    format!("{BASE}{}", mapping("one", "/one/"))
}

#[test]
fn fine_manifests_end_with_status_0() {
    let (status, out, err) = check(&fine(), &[]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("3 objects in 1 files: 0 refused, 0 degraded\n"), "{out}");
}

#[test]
fn a_refused_object_ends_with_status_1_and_names_place_and_field() {
    let bad = mapping("bad", "/bad/").replace("service: 127.0.0.1:9", "service: 127.0.0.1:9\n  timeout_ms: soon");
    let (status, out, _) = check(&format!("{}{bad}", fine()), &[]);
    assert_eq!(status, 1);
    let line = out.lines().find(|line| line.contains("default/bad")).unwrap();
    assert!(line.starts_with("m.yaml:") && line.contains("refused") && line.contains("spec.timeout_ms"), "{out}");
}

#[test]
fn a_file_that_does_not_parse_ends_with_status_1_and_the_rest_is_printed() {
    let (status, out, err) = check(&format!("{}---\nkind: [\n", fine()), &["--output", "envoy"]);
    assert_eq!(status, 1);
    assert!(err.starts_with("m.yaml:") && err.contains("not YAML"), "{err}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert!(value["routes"].to_string().contains("/one/"));
}

#[test]
fn what_cannot_run_ends_with_status_2() {
    for arguments in [
        &["check"][..],
        &["check", "/nonexistent/folder"],
        &["check", "--output", "nothing", "."],
        &["serve", "/nonexistent/folder"],
        &["serve", "--envoy", "/nonexistent/envoy", "."],
        &["serve", "--ads", "127.0.0.1:0", "--envoy", "none", "."],
        &["dump", "status", "--from", "http://127.0.0.1:1"],
        &["entrypoint"],
    ] {
        let output = nuncio(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_output_is_what_it_says() {
    let json = |what: &str| -> Value {
        let (status, out, err) = check(&fine(), &["--output", what]);
        assert_eq!(status, 0, "{what}: {err}");
        serde_json::from_str(&out).unwrap()
    };
    let envoy = json("envoy");
    for key in ["listeners", "routes", "clusters", "endpoints", "secrets"] {
        assert!(envoy[key].is_array(), "{key}");
    }
    assert_eq!(envoy["listeners"][0]["name"], "default/http");
    let bootstrap = json("bootstrap");
    assert!(
        bootstrap["static_resources"]["listeners"].is_array() && bootstrap["node"]["cluster"] == "ambassador-default"
    );
    let status = json("status");
    let mapping = status["objects"].as_array().unwrap().iter().find(|object| object["kind"] == "Mapping").unwrap();
    let programmed = mapping["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Programmed").unwrap();
    assert_eq!((&programmed["status"], &programmed["reason"]), (&"Unknown".into(), &"NoProxy".into()));
    assert_eq!(mapping["fields"]["state"], "Running");
    assert!(check(&fine(), &["--output", "ir"]).1.contains("RowChanges"));
}

#[test]
fn scope_comes_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.yaml"), fine()).unwrap();
    let run = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
        let output = command.env(name, value).arg("check").arg(folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("AMBASSADOR_ID", "other").contains("0 objects"));
    assert!(!run("AMBASSADOR_ID", "default").contains("0 objects"));
}

#[test]
fn an_assumed_file_counts_as_existing() {
    let context = "---\napiVersion: getambassador.io/v3alpha1\nkind: TLSContext\nmetadata: {name: files}\n\
        spec: {hosts: [a.example], cert_chain_file: /certs/tls.crt, private_key_file: /certs/tls.key}\n";
    let text = format!("{}{context}", fine());
    let missing = check(&text, &[]).1;
    let assumed = check(&text, &["--assume-file", "/certs/tls.crt", "--assume-file", "/certs/tls.key"]).1;
    assert!(missing.contains("/certs/tls.crt"), "{missing}");
    assert!(!assumed.contains("MissingReference"), "{assumed}");
}

#[test]
fn the_other_commands_print() {
    let crds = String::from_utf8(nuncio(&["crds"]).stdout).unwrap();
    assert_eq!(crds.matches("kind: CustomResourceDefinition").count(), 14);
    assert_eq!(
        String::from_utf8(nuncio(&["version"]).stdout).unwrap(),
        format!("Version {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = nuncio(&["--help"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("Examples:"));
}

#[test]
fn a_link_is_the_command_it_is_named_after() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("version");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_BIN_EXE_nuncio")), &link).unwrap();
    let output = Command::new(link).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("Version "));
}
