//! The dependency graph against `deny.toml` and against the layout.

use crate::licence::is_allowed;
use crate::{report, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

/// Crates without input, output, clock or threads. Every crate of the workspace may use them.
const VALUE_CRATES: &[&str] = &[
    "ahash",
    "base64",
    "bytes",
    "hashbrown",
    "http",
    "serde",
    "serde_json",
    "serde-saphyr",
    "sha1",
    "smallvec",
    "thiserror",
    "xxhash-rust",
];

/// What each crate of the workspace may use besides [`VALUE_CRATES`], tests excepted. A new line here is a decision:
/// say in the commit which code of our own the dependency replaces.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("api", &["k8s-openapi", "kube-core", "kube-derive", "schemars", "serde_ignored", "serde_path_to_error"]),
    ("compiler", &["api", "convert", "ir", "regex-syntax", "x509-parser"]),
    ("envoy", &["ir", "xds", "envoy-types", "prost", "prost-reflect", "prost-types"]),
    (
        "xds",
        &["envoy-types", "futures", "prost", "rustls", "tokio", "tokio-rustls", "tokio-stream", "tonic", "tracing"],
    ),
    ("diag", &["ir", "axum", "prometheus-client", "tokio"]),
    ("crd-gen", &["api", "anyhow", "clap", "k8s-openapi", "kube-core", "schemars"]),
    ("convert", &["api"]),
    (
        "webhook",
        &[
            "api",
            "convert",
            "anyhow",
            "arc-swap",
            "axum",
            "futures",
            "http-body-util",
            "hyper",
            "hyper-util",
            "k8s-openapi",
            "kube",
            "kube-runtime",
            "rcgen",
            "rustls",
            "tokio",
            "tokio-rustls",
            "tokio-util",
            "tracing",
            "x509-parser",
        ],
    ),
    (
        "operator",
        &[
            "api",
            "compiler",
            "convert",
            "crd-gen",
            "diag",
            "envoy",
            "ir",
            "webhook",
            "xds", // the workspace
            "anyhow",
            "arc-swap",
            "clap",
            "futures",
            "http-body-util",
            "hyper",
            "hyper-util",
            "k8s-openapi",
            "kube",
            "kube-core",
            "kube-runtime",
            "nix",
            "rustls",
            "tokio",
            "tokio-stream",
            "tokio-util",
            "tonic",
            "tower",
            "tracing",
            "tracing-subscriber",
        ],
    ),
    // The tools of the tests speak what users and upstreams speak, so they need a client or server for each of it.
    (
        "e2e",
        &[
            "anyhow",
            "clap",
            "envoy-types",
            "futures",
            "http-body-util",
            "hyper",
            "hyper-util",
            "k8s-openapi",
            "kube",
            "kube-runtime",
            "nix",
            "prost",
            "rcgen",
            "rustls",
            "tempfile",
            "tokio",
            "tokio-rustls",
            "tokio-stream",
            "tokio-tungstenite",
            "tokio-util",
            "tonic",
            "x509-parser",
        ],
    ),
];

/// Crates that do nothing but compute; not even a dependency of a dependency may reach outside.
const PURE: &[&str] = &["ir", "api", "compiler", "convert"];

/// What reaching outside looks like in the dependency graph.
const OUTSIDE: &[&str] = &["tokio", "mio", "hyper", "tonic", "kube-client", "nix", "reqwest", "rustls"];

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    member: bool,
    /// Names of direct dependencies in the manifest, with tests (`dev`) marked.
    declared: Vec<(String, bool)>,
    /// Ids of resolved direct dependencies that are not for tests only.
    used: Vec<String>,
    /// The same with those for tests.
    used_anywhere: Vec<String>,
}

/// Packages by id, as cargo resolves them.
static GRAPH: LazyLock<BTreeMap<String, Package>> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members: BTreeSet<String> = metadata["workspace_members"].as_array().unwrap().iter().map(text).collect();
    let mut graph: BTreeMap<String, Package> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let declared = package["dependencies"].as_array().unwrap().iter();
        let id = text(&package["id"]);
        let package = Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(ToOwned::to_owned),
            member: members.contains(&id),
            declared: declared.map(|one| (text(&one["name"]), one["kind"] == "dev")).collect(),
            used: Vec::new(),
            used_anywhere: Vec::new(),
        };
        graph.insert(id, package);
    }
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let package = graph.get_mut(node["id"].as_str().unwrap()).unwrap();
        for dependency in node["deps"].as_array().unwrap() {
            let id = text(&dependency["pkg"]);
            let shipped = dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
            if shipped {
                package.used.push(id.clone());
            }
            package.used_anywhere.push(id);
        }
    }
    graph
});

static RULES: LazyLock<toml::Table> = LazyLock::new(|| {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    text.parse().unwrap()
});

fn rules(section: &str, list: &str) -> &'static [toml::Value] {
    RULES[section][list].as_array().unwrap()
}

#[test]
fn a_crate_uses_only_what_its_layer_may() {
    let mut findings = Vec::new();
    for package in GRAPH.values().filter(|package| package.member) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{} has no line in MAY_USE", package.name));
            continue;
        };
        for (name, for_tests) in &package.declared {
            if !for_tests && !allowed.contains(&&**name) && !VALUE_CRATES.contains(&&**name) {
                findings.push(format!("{} may not use {name}", package.name));
            }
        }
    }
    report("who may use whom (docs/decisions/0002-layout.md)", &findings);
}

#[test]
fn pure_crates_cannot_reach_outside() {
    let mut findings = Vec::new();
    for (id, package) in GRAPH.iter().filter(|(_, package)| package.member && PURE.contains(&&*package.name)) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![id.as_str()];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(GRAPH[id].used.iter().map(String::as_str));
            }
        }
        let outside = seen.iter().map(|id| &GRAPH[*id].name).filter(|name| OUTSIDE.contains(&name.as_str()));
        findings.extend(outside.map(|name| format!("{} leads to {name}", package.name)));
    }
    report("crates without input and output", &findings);
}

#[test]
fn banned_crates_are_not_in_the_graph() {
    let mut findings = Vec::new();
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for rule in rules("bans", "deny") {
        let banned = rule["crate"].as_str().unwrap();
        let Some(wrappers) = rule.get("wrappers").and_then(toml::Value::as_array) else {
            // The lock file also has what only other platforms or features would build.
            if lock.contains(&format!("name = \"{banned}\"\n")) {
                findings.push(format!("{banned} is banned: {}", rule["reason"].as_str().unwrap()));
            }
            continue;
        };
        let wrappers: Vec<&str> = wrappers.iter().map(|name| name.as_str().unwrap()).collect();
        for user in GRAPH.values() {
            let uses = user.used_anywhere.iter().any(|id| GRAPH[id].name == banned);
            if uses && !wrappers.contains(&&*user.name) {
                findings.push(format!("{} uses {banned}, which only {} may", user.name, wrappers.join(", ")));
            }
        }
    }
    report("deny.toml, bans", &findings);
}

#[test]
fn no_crate_is_there_twice() {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in GRAPH.values() {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let skipped: BTreeSet<&str> = rules("bans", "skip").iter().map(|rule| rule["crate"].as_str().unwrap()).collect();
    let twice = versions.iter().filter(|(name, _)| !skipped.contains(**name));
    let mut findings: Vec<String> = twice.map(|(name, versions)| format!("{name}: {versions:?}")).collect();
    let once = skipped.iter().filter(|name| !versions.contains_key(**name));
    findings.extend(once.map(|name| format!("{name} is there once now; remove it from the exceptions")));
    report("deny.toml, multiple-versions and skip", &findings);
}

#[test]
fn every_licence_is_allowed() {
    let allowed: Vec<&str> = rules("licenses", "allow").iter().map(|one| one.as_str().unwrap()).collect();
    let refused = GRAPH
        .values()
        .filter(|package| package.licence.as_deref().is_none_or(|licence| !is_allowed(licence, &allowed)));
    let findings: Vec<String> =
        refused.map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence)).collect();
    report("deny.toml, licenses", &findings);
}
