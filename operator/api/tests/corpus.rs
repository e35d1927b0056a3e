//! The objects that upstream tests itself with. They stand beside the repository and not in it; without them the test
//! is skipped, and says so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use api::annotation::AnnotationProblem;
use api::{Decoded, Spec, annotation, core, decode_kind, yaml};
use serde_json::Value;

const CORPUS: &str = "../../../shared/corpus";

/// What is refused, by upstream as well; everything else must decode.
const REFUSED: [&str; 1] = [
    // The document has no apiVersion.
    "kat/consul-test: annotation consultest-http-k8s: TLSContext consultest-client-context: apiVersion",
];

#[test]
fn objects_of_the_corpus_decode() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    if !corpus.exists() {
        // Past the capture of test output, which would hide it.
        writeln!(io::stderr(), "skipped: no corpus at {CORPUS}").unwrap();
        return;
    }
    let (mut decoded, mut documents, mut found) = (0, 0, Vec::new());
    for area in ["kat", "unit"] {
        for case in fs::read_dir(corpus.join(area)).unwrap() {
            let case = case.unwrap();
            let Ok(text) = fs::read_to_string(case.path().join("manifests.yaml")) else { continue };
            let case = format!("{area}/{}", case.file_name().to_string_lossy());
            for object in yaml::documents(&text, 100_000).unwrap() {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let mut report = |what: &str, problem: String| {
                    let problem = format!("{case}: {what} {name}: {problem}");
                    if !REFUSED.iter().any(|refused| problem.starts_with(refused)) {
                        found.push(problem);
                    }
                };
                match check(&object) {
                    Some(Ok(())) => decoded += 1,
                    Some(Err(problem)) => report(object["kind"].as_str().unwrap_or_default(), problem),
                    None => {}
                }
                let Some(value) = object["metadata"]["annotations"][annotation::NAME].as_str() else { continue };
                let parent = annotation::Parent { namespace: "default", labels: &BTreeMap::new() };
                for document in annotation::parse(value, parent) {
                    match document {
                        Ok(document) if document.api_version.ends_with("/v3alpha1") => {
                            match problem(&decode_kind(&document.kind, &document.spec)) {
                                Ok(()) => documents += 1,
                                Err(problem) => report(&document.kind, problem),
                            }
                        }
                        Ok(_) => documents += 1,
                        Err(AnnotationProblem { about, problem, .. }) => {
                            let (kind, name) = about.unwrap_or_default();
                            report("annotation", format!("{kind} {name}: {}: {}", problem.path, problem.message));
                        }
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(decoded > 1000 && documents > 200, "{decoded} objects and {documents} documents in annotations");
}

/// Decodes an object the crate knows; none for others.
fn check(object: &Value) -> Option<Result<(), String>> {
    Some(match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
        ("getambassador.io/v3alpha1", kind) => problem(&decode_kind(kind, object.get("spec"))),
        ("v1", "Service") => problem(&core::Service::decode(object)),
        ("v1", "Secret") => problem(&core::Secret::decode(object)),
        ("v1", "Namespace") => problem(&core::Namespace::decode(object)),
        _ => return None,
    })
}

fn problem<T>(decoded: &Decoded<T>) -> Result<(), String> {
    match &decoded.value {
        Ok(_) => Ok(()),
        Err(problem) => Err(format!("{}: {}", problem.path, problem.message)),
    }
}

/// A Spec is passed around by value; it must stay small.
#[test]
fn a_spec_is_two_words() {
    assert_eq!(size_of::<Spec>(), 2 * size_of::<usize>());
}
