//! Everything again from scratch beside every batch, to find out whether the incremental way came to anything else.
//!
//! Costs a full compilation for each batch: a tool for tests and for a suspicion, not for every day. What is found is
//! told by name; a script says which changes lead there, with fingerprints and no contents, as there may be keys in them.

use ahash::AHashMap;
use compiler::{Change, Compiler, Options};
use envoy::Renderer;
use ir::{ObjectKey, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xds::{Delta, ResourceType, Store, Version};

/// Batches of which a script can consist; those before are one batch with everything that was there.
const BATCHES: usize = 200;
/// How long a script is made smaller.
const SHRINKING: Duration = Duration::from_secs(5);
/// Names that are told of one difference.
pub(super) const NAMES: usize = 20;

/// The second opinion.
#[derive(Debug)]
pub(super) struct Paranoid {
    options: Options,
    /// Everything that there is, as of the last batch.
    inputs: Inputs,
    /// The same before the first batch of the script.
    base: Inputs,
    script: Vec<Vec<Change>>,
    /// Something came since the last check.
    due: bool,
    /// What was told last.
    told: BTreeSet<String>,
}

/// What is different.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Rows, verdicts and resources by name.
    pub(super) names: BTreeSet<String>,
    /// One line for each batch that leads there; empty when the batches that are remembered do not lead there.
    pub(super) script: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    Object(ObjectKey),
    Retained(ObjectKey),
    Refusal(ObjectKey),
    File(Arc<str>),
}

type Inputs = BTreeMap<Input, Change>;

impl Paranoid {
    pub(super) fn new(options: Options) -> Self {
        let (inputs, base) = (Inputs::new(), Inputs::new());
        Self { options, inputs, base, script: Vec::new(), due: false, told: BTreeSet::new() }
    }

    /// Takes note of a batch that the compiler gets.
    pub(super) fn take(&mut self, changes: &[Change]) {
        self.due = true;
        if self.script.len() >= BATCHES {
            self.base = self.inputs.clone();
            self.script.clear();
        }
        self.script.push(changes.to_vec());
        changes.iter().for_each(|change| apply(&mut self.inputs, change));
    }

    /// Whether anything came since the last check.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Compares; with the store only when it is to hold what the compiler says. A difference is given once.
    pub(super) fn check(&mut self, compiler: &Compiler, store: Option<&Store>) -> Option<Difference> {
        self.due = false;
        let fresh = compile(&self.options, &self.inputs);
        let mut names = differences(compiler, &fresh);
        if let Some(store) = store {
            let delta = Renderer::new(envoy::Options::default()).apply(&fresh.rows(), 1);
            names.extend(resources(store, &delta));
        }
        let names: BTreeSet<String> = names.into_iter().take(NAMES).collect();
        let known = names == self.told;
        self.told.clone_from(&names);
        if names.is_empty() || known {
            return None;
        }
        let script = self.smallest();
        Some(Difference { names, script })
    }

    /// As few changes as can be found that make an incremental compiler differ from a fresh one.
    fn smallest(&self) -> Vec<String> {
        let until = Instant::now() + SHRINKING;
        let mut script = vec![self.base.values().cloned().collect::<Vec<_>>()];
        script.extend(self.script.iter().cloned());
        if !self.leads_to_difference(&script) {
            return Vec::new();
        }
        let script = shrink(script, |script| self.leads_to_difference(script), until);
        script.iter().enumerate().map(|(number, batch)| line(number + 1, batch)).collect()
    }

    fn leads_to_difference(&self, script: &[Vec<Change>]) -> bool {
        let mut compiler = Compiler::new(self.options.clone());
        let mut inputs = Inputs::new();
        for batch in script {
            batch.iter().for_each(|change| apply(&mut inputs, change));
            compiler.apply(batch.clone());
        }
        !differences(&compiler, &compile(&self.options, &inputs)).is_empty()
    }
}

/// Leaves out batches and then changes as long as the rest still leads there.
fn shrink(
    mut script: Vec<Vec<Change>>,
    leads_there: impl Fn(&[Vec<Change>]) -> bool,
    until: Instant,
) -> Vec<Vec<Change>> {
    for at in (0..script.len()).rev() {
        if Instant::now() >= until {
            return script;
        }
        let mut shorter = script.clone();
        shorter.remove(at);
        if leads_there(&shorter) {
            script = shorter;
        }
    }
    for batch in (0..script.len()).rev() {
        for at in (0..script.get(batch).map_or(0, Vec::len)).rev() {
            if Instant::now() >= until {
                return script;
            }
            let mut shorter = script.clone();
            if let Some(changes) = shorter.get_mut(batch) {
                changes.remove(at);
            }
            if leads_there(&shorter) {
                script = shorter;
            }
        }
    }
    script
}

fn apply(inputs: &mut Inputs, change: &Change) {
    let (input, stays) = match change {
        Change::Put(object) => (Input::Object(object.key.clone()), true),
        Change::Gone(key) => (Input::Object(key.clone()), false),
        Change::Retained(key, version) => (Input::Retained(key.clone()), version.is_some()),
        Change::Refusal(key, refusal) => (Input::Refusal(key.clone()), refusal.is_some()),
        // That a file is absent is an answer, too.
        Change::File(path, _) => (Input::File(path.clone()), true),
    };
    if stays {
        inputs.insert(input, change.clone());
    } else {
        inputs.remove(&input);
    }
}

fn compile(options: &Options, inputs: &Inputs) -> Compiler {
    let mut compiler = Compiler::new(options.clone());
    compiler.apply(inputs.values().cloned().collect());
    compiler
}

fn differences(old: &Compiler, new: &Compiler) -> BTreeSet<String> {
    let (left, right) = (old.rows(), new.rows());
    let mut names = BTreeSet::new();
    if left != right {
        compare("Listener", &left.listeners, &right.listeners, &mut names);
        compare("route table", &left.tables, &right.tables, &mut names);
        compare("route list", &left.lists, &right.lists, &mut names);
        compare("cluster", &left.clusters, &right.clusters, &mut names);
        compare("endpoints", &left.endpoints, &right.endpoints, &mut names);
        compare("secret", &left.secrets, &right.secrets, &mut names);
    }
    let by_object = |verdicts: Vec<Arc<Verdict>>| -> Vec<(String, Option<Arc<Verdict>>)> {
        verdicts.into_iter().map(|verdict| (verdict.about.to_string(), Some(verdict))).collect()
    };
    compare("verdict", &by_object(old.verdicts()), &by_object(new.verdicts()), &mut names);
    names
}

fn compare<K: Ord + std::fmt::Debug, V: PartialEq>(
    what: &str,
    left: &[(K, V)],
    right: &[(K, V)],
    names: &mut BTreeSet<String>,
) {
    let (left, right): (BTreeMap<&K, &V>, BTreeMap<&K, &V>) = (by_key(left), by_key(right));
    let keys: BTreeSet<&&K> = left.keys().chain(right.keys()).collect();
    for key in keys {
        if left.get(*key) != right.get(*key) {
            names.insert(format!("{what} {key:?}"));
        }
    }
}

fn by_key<K: Ord, V>(rows: &[(K, V)]) -> BTreeMap<&K, &V> {
    rows.iter().map(|(key, row)| (key, row)).collect()
}

/// What the store has differently from everything that a fresh renderer gives.
pub(super) fn resources(store: &Store, delta: &Delta) -> BTreeSet<String> {
    let mut wanted: AHashMap<(ResourceType, Arc<str>), Version> =
        delta.upserts.iter().map(|one| ((one.kind, one.name.clone()), one.version)).collect();
    let mut names = BTreeSet::new();
    let state = store.read();
    for kind in ResourceType::ALL {
        for resource in state.of(kind) {
            if wanted.remove(&(kind, resource.name.clone())) != Some(resource.version) {
                names.insert(format!("{kind} {}", resource.name));
            }
        }
    }
    names.extend(wanted.keys().map(|(kind, name)| format!("{kind} {name}")));
    names
}

fn line(number: usize, batch: &[Change]) -> String {
    let changes: Vec<String> = batch
        .iter()
        .map(|change| match change {
            Change::Put(object) => format!("put {} ({:016x})", object.key, object.fingerprint),
            Change::Gone(key) => format!("remove {key}"),
            Change::Retained(key, Some(object)) => format!("retain {key} ({:016x})", object.fingerprint),
            Change::Retained(key, None) => format!("retain nothing of {key}"),
            Change::Refusal(key, Some(refusal)) => {
                format!("{} {key} ({:016x})", if refusal.held { "hold" } else { "refuse" }, refusal.fingerprint)
            }
            Change::Refusal(key, None) => format!("release {key}"),
            Change::File(path, content) => {
                format!("file {path} {}", if content.is_some() { "present" } else { "absent" })
            }
        })
        .collect();
    format!("batch {number}: {}", changes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::Object;
    use ir::Kind;
    use serde_json::json;

    fn put(kind: &str, name: &str, spec: serde_json::Value) -> Change {
        let object = json!({ "apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                             "metadata": { "name": name, "namespace": "default" }, "spec": spec });
        Change::Put(Arc::new(Object::from_value(&object, "default").unwrap().unwrap()))
    }

    fn mapping(name: &str) -> Change {
        put("Mapping", name, json!({ "hostname": "*", "prefix": format!("/{name}/"), "service": "127.0.0.1:9" }))
    }

    fn listener() -> Change {
        let binding = json!({ "namespace": { "from": "ALL" } });
        let spec = json!({ "port": 8080, "protocol": "HTTP", "securityModel": "INSECURE", "hostBinding": binding });
        put("Listener", "http", spec)
    }

    fn gone(name: &str) -> Change {
        Change::Gone(ObjectKey::new(Kind::Mapping, "default", name))
    }

    #[test]
    fn nothing_is_found_while_everything_arrives() {
        let mut paranoid = Paranoid::new(Options::default());
        let (mut compiler, store) = (Compiler::new(Options::default()), Store::new());
        let mut renderer = Renderer::new(envoy::Options::default());
        let script =
            [vec![listener(), mapping("a")], vec![mapping("b")], vec![gone("a")], vec![mapping("a"), gone("b")]];
        for (number, batch) in script.into_iter().enumerate() {
            paranoid.take(&batch);
            let outcome = compiler.apply(batch);
            let rows = if number == 0 { compiler.rows() } else { outcome.rows };
            store.apply(renderer.apply(&rows, number as u64 + 1));
            assert_eq!(paranoid.check(&compiler, Some(&store)), None, "batch {number}");
        }
    }

    #[test]
    fn a_lost_change_is_told_once() {
        let mut paranoid = Paranoid::new(Options::default());
        let mut compiler = Compiler::new(Options::default());
        paranoid.take(&[listener(), mapping("a"), mapping("lost")]);
        compiler.apply(vec![listener(), mapping("a")]);
        let found = paranoid.check(&compiler, None).unwrap();
        assert!(found.names.iter().any(|name| name.starts_with("verdict ") && name.contains("lost")), "{found:?}");
        assert!(found.names.iter().any(|name| name.starts_with("route list ")), "{found:?}");
        assert!(found.script.is_empty(), "the compiler is not to blame");
        assert_eq!(paranoid.check(&compiler, None), None);
        paranoid.take(&[]);
        assert_eq!(paranoid.check(&compiler, None), None);
    }

    #[test]
    fn a_store_that_was_not_told_is_found() {
        let mut paranoid = Paranoid::new(Options::default());
        let mut compiler = Compiler::new(Options::default());
        paranoid.take(&[listener(), mapping("a")]);
        compiler.apply(vec![listener(), mapping("a")]);
        let found = paranoid.check(&compiler, Some(&Store::new())).unwrap();
        assert!(found.names.iter().any(|name| name.starts_with("RDS ")), "{found:?}");
    }

    #[test]
    fn a_script_is_as_small_as_its_cause() {
        let noise = |number: usize| mapping(&format!("noise{number}"));
        let mut script: Vec<Vec<Change>> = (0..20).map(|number| vec![noise(number), noise(number + 100)]).collect();
        script.insert(5, vec![noise(300), mapping("a"), noise(301)]);
        script.insert(15, vec![gone("a"), noise(302)]);
        let lines = |script: &[Vec<Change>]| -> Vec<String> {
            script.iter().enumerate().map(|(number, batch)| line(number + 1, batch)).collect()
        };
        let leads_there = |script: &[Vec<Change>]| {
            let all = lines(script).join("\n");
            all.find("put Mapping default/a ").is_some_and(|at| all.split_at(at).1.contains("remove Mapping default/a"))
        };
        let found = lines(&shrink(script, leads_there, Instant::now() + SHRINKING));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("batch 1: put Mapping default/a (") && !found[0].contains("noise"), "{found:?}");
        assert_eq!(found[1], "batch 2: remove Mapping default/a");
    }
}
