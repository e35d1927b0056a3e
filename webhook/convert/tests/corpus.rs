//! The objects that upstream tests its conversion with. They stand beside the repository and not in it; without them the
//! test is skipped, and says so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test states what it expects")]

use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use convert::{Kind, Options, Version, convert_with};
use serde_json::Value;

const CORPUS: &str = "../../../shared/corpus/conversion";

#[test]
fn every_object_comes_back_from_every_version() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS);
    if !corpus.exists() {
        // Past the capture of test output, which would hide it.
        writeln!(io::stderr(), "skipped: no corpus at {CORPUS}").unwrap();
        return;
    }
    let mut conversions = 0;
    for from in Version::ALL {
        let folder = from.api_version().strip_prefix("getambassador.io/").unwrap();
        for file in fs::read_dir(corpus.join(folder)).unwrap() {
            let file = file.unwrap().path();
            let objects: Vec<Value> = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            assert!(!objects.is_empty(), "{}", file.display());
            for object in objects {
                let kind: Kind = object["kind"].as_str().unwrap().parse().unwrap();
                for to in Version::ALL.into_iter().filter(|to| kind.has(*to)) {
                    // Upstream compares without the prefixes, too; with them an object without ids gets some.
                    for remember_spelling in [true, false] {
                        let options = Options { prefix_ids: false, remember_spelling };
                        let there = convert_with(object.clone(), to, options).unwrap();
                        assert_eq!(there.object["apiVersion"], to.api_version());
                        // They say nothing that needs a memory beyond upstream's own.
                        assert_eq!(there.object["spec"].get("v2Spelling"), None, "{there:?}");
                        let back = convert_with(there.object, from, options).unwrap();
                        assert_eq!(back.object, object, "{} to {}", file.display(), to.api_version());
                        conversions += 1;
                    }
                }
            }
        }
    }
    assert!(conversions > 200, "only {conversions} conversions");
}
