//! Where objects come from. A feed watches one source, decodes each object once and posts only what really changed to
//! the [`Mailbox`](crate::mailbox::Mailbox).

pub mod expand;
pub mod files;
pub mod kube;
pub mod ports;

use compiler::WantedChanges;
use ir::{ObjectKey, ProblemKind};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Number of a feed, given when it is registered with the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub usize);

/// A running source of objects.
///
/// It posts a change for every object that is new, different or gone, says once that it has listed everything, and
/// answers every wanted name of its domain, present or absent, through the mailbox.
pub trait Feed: Send {
    /// What it reads, in the plural.
    fn name(&self) -> String;

    /// Takes note of names that are wanted or no longer wanted. Must return at once; answers come by the mailbox.
    fn wanted(&self, changes: &Arc<WantedChanges>);

    /// Ends its threads and watches. Nothing is posted afterwards.
    fn stop(&mut self);
}

/// Something in a source that could not be turned into an object, or an object that is not in force because another
/// place defines it, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceProblem {
    /// The file; the resource (`mappings.getambassador.io`) where there is none.
    pub path: PathBuf,
    /// Line in it, counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The stable reason.
    pub kind: ProblemKind,
    /// The object in question, if that much is known.
    pub about: Option<ObjectKey>,
    /// What failed; lower case, without a final dot.
    pub detail: String,
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": ")?;
        if let Some(about) = &self.about {
            write!(f, "{about}: ")?;
        }
        write!(f, "{}", self.detail)
    }
}

impl Serialize for SourceProblem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path.to_string_lossy())?;
        map.serialize_entry("line", &self.line)?;
        map.serialize_entry("reason", self.kind.reason())?;
        map.serialize_entry("object", &self.about.as_ref().map(ToString::to_string))?;
        map.serialize_entry("message", &self.detail)?;
        map.end()
    }
}
