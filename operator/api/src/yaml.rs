//! YAML as `kubectl` reads it, bounded.
//!
//! Values become what JSON has: `yes`, `no`, `on` and `off` are booleans, `012` is ten, of a key given twice the last
//! one counts. That is what the Go parsers of Kubernetes do, and manifests rely on it.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::decode::{MAX_MESSAGE, shorten};

/// Levels of nesting in a document. The parser recurses with up to 20 kB a level in a debug build, and a thread has 2 MB.
const MAX_DEPTH: usize = 50;

/// Reads all documents of a text; empty ones are left out.
///
/// At most `max_documents` are read: more are an error, as is text that is not YAML. The error is a message of one
/// line, without a final dot.
pub fn documents(text: &str, max_documents: usize) -> Result<Vec<Value>, String> {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_documents: max_documents,
        // What aliases copy; some sharing is common, a bomb needs far more.
        max_recorded_anchor_events: 100_000,
        // Bounded by the text itself, which the caller bounds; the defaults refuse big but honest manifest files.
        max_events: usize::MAX,
        max_nodes: usize::MAX,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        // A budget for comments would refuse well-commented manifests.
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        // A message is one line; it goes into a status.
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let mut message = error.to_string().replace('\n', " ");
        shorten(&mut message, MAX_MESSAGE);
        message
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
