//! Recorded configurations of upstream's own tests, where they are at hand (`../shared/corpus` beside the checkout):
//! what uses nothing but what is built is accepted by Envoy, and every accepted Mapping comes to a route or a cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests state what they expect"
)]

use compiler::{Change, Compiler, Object, Options};
use ir::{Kind, ObjectKey, ProblemKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// Fewest cases that have to be fully covered; only ever raised.
const AT_LEAST: usize = 164;

fn corpus() -> Option<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let mut cases = Vec::new();
    for family in ["kat", "unit"] {
        for entry in std::fs::read_dir(root.join(family)).ok()? {
            let path = entry.ok()?.path();
            if path.join("case.json").is_file() {
                cases.push(path);
            }
        }
    }
    cases.sort();
    Some(cases)
}

/// A line that shows even where the output of tests is captured.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The environment and arguments that a case gives.
struct Case {
    path: PathBuf,
    settings: Value,
}

impl Case {
    fn read(path: &Path) -> Self {
        let settings = serde_json::from_str(&std::fs::read_to_string(path.join("case.json")).unwrap()).unwrap();
        Self { path: path.to_owned(), settings }
    }

    fn text(&self, key: &str) -> &str {
        self.settings[key].as_str().unwrap_or("default")
    }

    fn check(&self, output: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AMBASSADOR_") {
                command.env_remove(name);
            }
        }
        for (name, value) in self.settings["env"].as_object().into_iter().flatten() {
            command.env(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        command.env("AMBASSADOR_ID", self.text("ambassador_id")).env("AMBASSADOR_NAMESPACE", self.text("namespace"));
        command.args(["check", "--output", output]).arg(self.path.join("manifests.yaml")).output().unwrap()
    }

    /// Compiles the case: whether it uses only what is built, and the accepted Mappings that come to nothing.
    fn compile(&self) -> (bool, Vec<ObjectKey>) {
        let namespace: Arc<str> = self.text("namespace").into();
        let single_namespace = self.settings["env"].get("AMBASSADOR_SINGLE_NAMESPACE").is_some();
        let options = Options {
            ambassador_id: self.text("ambassador_id").into(),
            namespace: namespace.clone(),
            single_namespace,
            ..Options::default()
        };
        let text = std::fs::read_to_string(self.path.join("manifests.yaml")).unwrap();
        let documents = api::yaml::documents(&text, 100_000).unwrap();
        let objects = documents.iter().filter_map(|value| Object::from_value(value, &namespace).ok().flatten());
        let mut compiler = Compiler::new(options);
        compiler.apply(objects.map(Arc::new).map(Change::Put).collect());
        let rows = compiler.rows();
        let lists = rows.lists.iter().filter_map(|(_, list)| list.as_ref());
        let groups = lists.flat_map(|list| &list.buckets).flat_map(|bucket| &bucket.groups);
        let mut used: BTreeSet<ObjectKey> =
            groups.flat_map(|group| &group.routes).map(|route| route.source.clone()).collect();
        for (name, _) in &rows.clusters {
            used.extend(compiler.users_of_cluster(name));
        }
        let verdicts = compiler.verdicts();
        let foreign = [ProblemKind::NotSupported, ProblemKind::UnsupportedVersion];
        let built = documents.iter().all(|value| !matches!(value["kind"].as_str(), Some("Ingress" | "IngressClass")));
        let built = built
            && !verdicts.iter().flat_map(|verdict| &verdict.problems).any(|problem| foreign.contains(&problem.kind));
        // A redirect needs no cluster, so where no Listener takes it, nothing can come of it.
        let mappings = verdicts
            .iter()
            .filter(|verdict| verdict.about.kind == Kind::Mapping && verdict.accepted && verdict.attached);
        let lost = mappings.filter(|verdict| !used.contains(&verdict.about)).map(|verdict| verdict.about.clone());
        (built, lost.collect())
    }
}

#[test]
fn recorded_configurations_are_accepted_by_envoy() {
    let Some(cases) = corpus() else {
        say("skipped: there is no ../shared/corpus beside this checkout");
        return;
    };
    let envoy = std::env::var_os("NUNCIO_ENVOY");
    if envoy.is_none() {
        say("skipped in part: NUNCIO_ENVOY is not set, so no configuration is shown to an Envoy");
    }
    let scratch = tempfile::tempdir().unwrap();
    let (mut covered, mut failures) = (0, Vec::new());
    for path in &cases {
        let case = Case::read(path);
        let name = path.strip_prefix(path.ancestors().nth(2).unwrap()).unwrap().display().to_string();
        let (built, lost) = case.compile();
        if !built {
            continue;
        }
        let output = case.check("bootstrap");
        if !matches!(output.status.code(), Some(0 | 1)) {
            failures.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        if !lost.is_empty() {
            failures.push(format!("{name}: accepted and without route or cluster: {lost:?}"));
            continue;
        }
        if let Some(envoy) = &envoy {
            let file = scratch.path().join("bootstrap.json");
            std::fs::write(&file, &output.stdout).unwrap();
            let mut validate = Command::new(envoy);
            validate.args(["--mode", "validate", "-l", "error", "--use-dynamic-base-id", "-c"]).arg(&file);
            let validated = validate.output().unwrap();
            let said = String::from_utf8_lossy(&validated.stderr);
            // A log file in a folder that this machine lacks says nothing about the configuration.
            if said.contains("unable to open file") {
                say(&format!("skipped: {name}: {}", said.trim()));
                continue;
            }
            if !validated.status.success() {
                failures.push(format!("{name}: {said}"));
                continue;
            }
        }
        covered += 1;
    }
    say(&format!("corpus: {covered} of {} cases use only what is built and are accepted by Envoy", cases.len()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(covered >= AT_LEAST, "{covered} cases, at least {AT_LEAST} before");
}
