//! The tracked files: sizes, names, traces of machines, and documents that are generated.

use crate::{report, root};
use ir::ProblemKind;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

/// Above this a source file has more than one subject.
const LONGEST: usize = 800;

/// Parts of paths and of host names that belong to one machine or one network. They are written in two halves, so that
/// this file does not contain them.
const TRACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tmp/br", "ief"),
    concat!("/tmp/ba", "sh_jobs"),
    concat!("file:/", "//"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("py", "pi.org"),
    concat!("files.python", "hosted.org"),
    concat!("proxy.go", "lang.org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.deb", "ian.org"),
];

/// Tracked files below the root, as git knows them.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let paths = names.split_terminator('\0').map(PathBuf::from);
    // A file that is deleted but not committed yet is still listed.
    paths.filter(|path| root().join(path).is_file()).collect()
}

/// The text of each tracked file that is text.
fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    tracked().into_iter().filter_map(|path| Some((path.clone(), std::fs::read_to_string(root().join(&path)).ok()?)))
}

fn is_source(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn no_source_file_is_too_long() {
    let long = texts().filter(|(path, text)| is_source(path) && text.lines().count() > LONGEST);
    let findings: Vec<String> =
        long.map(|(path, text)| format!("{}: {}", path.display(), text.lines().count())).collect();
    report("at most 800 lines; split by subject", &findings);
}

#[test]
fn no_file_tells_of_a_machine() {
    let mut findings = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            if let Some(trace) = TRACES.iter().find(|trace| line.contains(**trace)) {
                findings.push(format!("{}:{}: {trace}", path.display(), number + 1));
            }
        }
    }
    report("paths of a machine and names of registries stay outside", &findings);
}

#[test]
fn modules_and_tests_follow_the_style() {
    let ignored = concat!("#[ign", "ore");
    let mut findings = Vec::new();
    for (path, text) in texts().filter(|(path, _)| is_source(path)) {
        // What several test programs share has no other place: a file directly in tests/ is a program of its own.
        let shared_by_tests = path.components().any(|part| part.as_os_str() == "tests");
        if path.file_name().is_some_and(|name| name == "mod.rs") && !shared_by_tests {
            findings.push(format!("{}: put the module file next to its folder", path.display()));
        }
        if text.contains(ignored) {
            findings.push(format!("{}: assert what happens today instead of ignoring the test", path.display()));
        }
    }
    report("docs/style.md", &findings);
}

#[test]
fn every_crate_is_documented_and_linted() {
    let mut findings = Vec::new();
    let manifests = tracked().into_iter().filter(|path| path.ends_with("Cargo.toml") && path.parent().is_some());
    for path in manifests.filter(|path| path.components().count() > 1) {
        let manifest: toml::Table = std::fs::read_to_string(root().join(&path)).unwrap().parse().unwrap();
        let inherits = |table: &str| manifest.get(table).and_then(|table| table.get("workspace")) == Some(&true.into());
        if !inherits("lints") {
            findings.push(format!("{}: [lints] workspace = true", path.display()));
        }
        let folder = path.parent().unwrap();
        for file in ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file)) {
            let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
            let first = text.lines().next().unwrap_or_default();
            let sentence = first.strip_prefix("//! ").unwrap_or_default();
            if !sentence.contains(' ') {
                findings.push(format!("{}: begins with `//!` and a sentence about its purpose", file.display()));
            }
        }
    }
    report("crates", &findings);
}

#[test]
fn decisions_have_numbers_of_their_own() {
    let mut by_number: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in tracked().iter().filter(|path| path.starts_with("docs/decisions")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        by_number.entry(name.chars().take(4).collect()).or_default().push(name);
    }
    let findings: Vec<String> = by_number
        .into_iter()
        .filter(|(number, names)| names.len() > 1 || !number.chars().all(|digit| digit.is_ascii_digit()))
        .map(|(number, names)| format!("{number}: {names:?}"))
        .collect();
    report("docs/decisions/NNNN-title.md", &findings);
}

#[test]
fn the_tests_that_hold_the_invariants_exist() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, table) = page.split_once("| held by |").expect("a table of invariants");
    let (table, _) = table.split_once("\n\n").unwrap();
    let sources: Vec<String> = texts().filter(|(path, _)| is_source(path)).map(|(_, text)| text).collect();
    let mut named = 0;
    let mut findings = Vec::new();
    for line in table.lines() {
        let held_by = line.trim_end_matches(" |").rsplit_once("| ").map_or("", |(_, cell)| cell);
        // Every second part of a cell stands between backticks.
        for test in held_by.split('`').skip(1).step_by(2) {
            named += 1;
            if !sources.iter().any(|text| text.contains(&format!("fn {test}("))) {
                findings.push(test.to_owned());
            }
        }
    }
    assert!(named >= 8, "only {named} tests are named");
    report("tests named in docs/architecture.md that do not exist", &findings);
}

#[test]
fn the_list_of_problems_is_current() {
    let mut expected = String::from(
        "# Problems\n\nWhat can be wrong with an object. The names are the stable reasons of conditions; a message adds the \
         field and its\nvalue. What a problem does is said with it: it is a notice, it degrades the object (one option is \
         left out), or it\nrefuses it (it is not in force, though a version accepted earlier may still serve).\n\n\
         Generated from `ir::ProblemKind`; `UPDATE=1 cargo test -p e2e --test tidy` rewrites it.\n\n| reason | meaning |\n\
         | --- | --- |\n",
    );
    for (kind, text) in ProblemKind::ALL {
        writeln!(expected, "| `{kind}` | {} |", text.replace('|', "\\|")).unwrap();
    }
    let path = root().join("docs/problems.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "docs/problems.md is stale: UPDATE=1 cargo test -p e2e --test tidy");
}
