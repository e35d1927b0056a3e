//! Variables of the environment and the page about them.

use crate::{report, root};
use std::path::{Path, PathBuf};

/// What every program of a system has.
const OF_THE_SYSTEM: &[&str] = &["HOME", "PATH", "XDG_CACHE_HOME"];

#[test]
fn every_variable_that_is_read_is_on_the_page() {
    let page = std::fs::read_to_string(root().join("docs/environment.md")).unwrap();
    let mut sources = Vec::new();
    for folder in ["operator/src", "webhook/src", "xds/src"] {
        collect(&root().join(folder), &mut sources);
    }
    let mut read = std::collections::BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(source).unwrap();
        for before in [".get(\"", "is_true(\"", "is_false(\"", "text(\"", "env = \""] {
            let found = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
            read.extend(found.filter(|name| is_variable(name)).map(str::to_owned));
        }
    }
    assert!(read.len() > 25, "the search finds what is read: {read:?}");
    // Three of one beginning share a row.
    let named = |name: &str| {
        let short = name.strip_prefix("AMBASSADOR_HEALTHCHECK");
        page.contains(&format!("`{name}`")) || short.is_some_and(|short| page.contains(&format!("`…{short}`")))
    };
    let missing: Vec<String> =
        read.into_iter().filter(|name| !OF_THE_SYSTEM.contains(&name.as_str()) && !named(name)).collect();
    report("docs/environment.md does not tell of", &missing);
}

/// Upper case with an underscore or more, or the few words that are variables without one.
fn is_variable(name: &str) -> bool {
    let upper = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    (upper && (name.contains('_') || ["HOME", "PATH", "HOSTNAME"].contains(&name))) || name == "ambassador_root"
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
