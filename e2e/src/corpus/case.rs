//! A recorded case.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A folder of the corpus.
#[derive(Clone, Debug)]
pub struct Case {
    /// `kat/…` or `unit/…`.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// The environment that Nuncio gets.
    pub environment: Vec<(String, String)>,
    /// Files that count as existing.
    pub assumed: Vec<String>,
    /// Whether there are queries with recorded answers.
    pub has_answers: bool,
    /// What upstream complained about: objects by name and namespace, and whether about something that is no object.
    pub complaints: Complaints,
    /// Kinds in the manifests that are not of `getambassador.io` and would change the result.
    pub foreign: BTreeSet<&'static str>,
}

/// What upstream complained about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    /// Name and namespace.
    pub objects: BTreeSet<(String, String)>,
    /// About the configuration as a whole.
    pub general: bool,
}

/// All cases below that folder, in order.
pub fn all(corpus: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for family in ["kat", "unit"] {
        let folder = corpus.join(family);
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let folder = entry?.path();
            if folder.join("case.json").is_file() {
                cases.push(Case::read(family, &folder)?);
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    /// Reads what is needed of a case.
    pub fn read(family: &str, folder: &Path) -> Result<Self> {
        let settings = json(&folder.join("case.json"))?;
        let text = |key: &str| settings.get(key).and_then(Value::as_str).unwrap_or("default").to_owned();
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in settings.get("env").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            environment.insert(name.clone(), value);
        }
        environment.insert("AMBASSADOR_ID".to_owned(), text("ambassador_id"));
        environment.insert("AMBASSADOR_NAMESPACE".to_owned(), text("namespace"));
        let assumed = settings.get("assume_files").and_then(Value::as_array).into_iter().flatten();
        let manifests = std::fs::read_to_string(folder.join("manifests.yaml"))
            .with_context(|| format!("{} has no manifests", folder.display()))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: format!("{family}/{name}"),
            folder: folder.to_owned(),
            environment: environment.into_iter().collect(),
            assumed: assumed.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            has_answers: ["queries.json", "expected.results.json"].iter().all(|file| folder.join(file).is_file()),
            complaints: complaints(&json(&folder.join("expected.errors.json")).unwrap_or_default()),
            foreign: foreign(&manifests),
        })
    }
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Keys are `<name>.<namespace>.<number>`; others name a part of upstream's program.
fn complaints(recorded: &Value) -> Complaints {
    let mut complaints = Complaints::default();
    for (key, texts) in recorded.get("errors").and_then(Value::as_object).into_iter().flatten() {
        if texts.as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let mut parts = key.rsplitn(3, '.');
        match (parts.next().map(str::parse::<u32>), parts.next(), parts.next()) {
            (Some(Ok(_)), Some(namespace), Some(name)) => {
                complaints.objects.insert((name.to_owned(), namespace.to_owned()));
            }
            _ => complaints.general = true,
        }
    }
    complaints
}

fn foreign(manifests: &str) -> BTreeSet<&'static str> {
    let kinds = ["Ingress", "IngressClass"];
    let of = |line: &str| kinds.into_iter().find(|kind| line.trim_end() == format!("kind: {kind}"));
    manifests.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn complaints_are_about_objects_or_not() {
        let recorded = json!({"errors": {"a.b.ns.1": ["x"], "-global-": ["y"], "c.ns.2": []}});
        let expected = Complaints { objects: [("a.b".to_owned(), "ns".to_owned())].into(), general: true };
        assert_eq!(complaints(&recorded), expected);
        assert_eq!(complaints(&Value::Null), Complaints::default());
    }
}
