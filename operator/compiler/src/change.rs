//! What goes into the compiler and what comes out of it.

use crate::object::Object;
use ir::{ObjectKey, RowChanges, Verdict};
use std::sync::Arc;

/// One input that is new or different. The compiler remembers nothing else.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is there, like this.
    Put(Arc<Object>),
    /// The object is not there.
    Gone(ObjectKey),
    /// The last version of the object that was accepted and acknowledged. It serves while the present one is not accepted.
    Retained(ObjectKey, Option<Arc<Object>>),
    /// What Envoy said about one version of the object.
    Refusal(ObjectKey, Option<Refusal>),
    /// The answer for a wanted file; `None` when it is not readable.
    File(Arc<str>, Option<FileContent>),
}

/// A version of an object that must not go to Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// [`Object::fingerprint`] of that version; another version is not concerned.
    pub fingerprint: u64,
    /// True while it is not yet known which object is guilty.
    pub held: bool,
    /// Envoy's words.
    pub text: Arc<str>,
}

/// What is known of a file on disk.
#[derive(Clone, PartialEq, Eq)]
pub enum FileContent {
    /// It is assumed to exist; nothing is read from it (`check --assume-file`).
    Assumed,
    /// Its bytes, at most 1 MiB.
    Bytes(Arc<[u8]>),
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileContent::Assumed => f.write_str("Assumed"),
            FileContent::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
        }
    }
}

/// Something outside the objects that a present object names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WantedName {
    /// A Secret; feeds hand on no others.
    Secret {
        /// Namespace.
        namespace: Arc<str>,
        /// Name.
        name: Arc<str>,
    },
    /// A certificate file.
    File(Arc<str>),
}

/// Changes of what is wanted, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedChanges {
    /// Wanted from now on; each must be answered, present or absent, before the first publication.
    pub added: Vec<WantedName>,
    /// Not wanted any more.
    pub removed: Vec<WantedName>,
}

/// What one batch did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows for the renderer.
    pub rows: RowChanges,
    /// Judgements that changed, by object; `None`: nothing is said about it any more. Sorted.
    pub verdicts: Vec<(ObjectKey, Option<Arc<Verdict>>)>,
    /// Endpoints that some object's traffic goes to, by [`Verdict::backend`]: whether any can take it; `None` when that is
    /// not known, or of no interest any more. Sorted. No configuration comes of it.
    pub readiness: Vec<(Arc<str>, Option<bool>)>,
    /// What has to be fetched or may be dropped.
    pub wanted: WantedChanges,
    /// Versions that are now accepted (to be handed back as [`Change::Retained`] once Envoy acknowledged them), and
    /// objects that are gone. Sorted.
    pub retain: Vec<(ObjectKey, Option<Arc<Object>>)>,
    /// Row functions that panicked; their rows are left out.
    pub panics: u32,
    /// Row functions that ran; what a batch costs.
    pub rows_run: u32,
}
