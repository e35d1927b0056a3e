//! What is wrong with an object, as data.

use crate::ObjectKey;
use std::fmt;

/// What a problem does to the thing it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing is switched off; the owner should know.
    Notice,
    /// One option or feature of the object is left out or replaced; the object itself is in force.
    Degraded,
    /// The object is not in force. A version accepted earlier may still serve.
    Refused,
}

macro_rules! problem_kinds {
    ($($name:ident $text:literal,)*) => {
        /// The stable reasons of conditions, and the headings of `docs/problems.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemKind { $(#[doc = $text] $name,)* }

        impl ProblemKind {
            /// All kinds with the sentence that explains each.
            pub const ALL: &'static [(ProblemKind, &'static str)] = &[$((ProblemKind::$name, $text),)*];

            /// The CamelCase reason used in conditions.
            pub const fn reason(self) -> &'static str {
                match self { $(ProblemKind::$name => stringify!($name),)* }
            }
        }
    };
}

problem_kinds! {
    Malformed "The object does not decode: a field has the wrong type, or a required one is missing.",
    InvalidValue "A field has a value that is not allowed.",
    InvalidRegex "A regular expression is not valid RE2, or too large.",
    InvalidFormat "A header value is not a valid Envoy format string or contains control characters.",
    InvalidService "The service is not of the form `[scheme://]host[.namespace][:port]`.",
    InvalidCertificate "A Secret does not hold a usable certificate, key, or revocation list.",
    UnknownField "A field is not known and has no effect.",
    UnsupportedVersion "The API version is not read here.",
    NotSupported "The field or kind is understood but not available; traffic that it guards is refused.",
    Deprecated "The field works, but has a replacement.",
    Limited "The field works within limits, which the message names.",
    NoEffect "The field is accepted and has no effect.",
    ConflictingFields "Two fields of the object exclude each other.",
    Conflict "An older object already claims the same port, host name, or route.",
    Duplicate "Two objects have the same kind, namespace, and name.",
    MissingReference "A named object does not exist.",
    ReferenceNotAllowed "A named object exists but may not be used from here.",
    WeightOutOfRange "The weights of a route add up to more than 100.",
    NoMatchingHost "No Host accepts this Mapping.",
    NoMatchingListener "No Listener accepts this Host.",
    NotReferenced "Nothing uses this object.",
    DefaultHost "There is no Host, so clear text is served for every host name.",
    TooLarge "The object, or something it leads to, is larger than is accepted.",
    RefusedByEnvoy "Envoy refused the configuration that comes of this object. A port that it cannot open is tried again without an edit.",
    HeldBack "The newest version waits while it is found out which object Envoy refuses.",
    Retained "The newest version is not accepted; the last accepted one is still in force.",
    SourceUnreadable "A kind of objects cannot be read from the API server.",
    Internal "A defect of the gateway; the row was left out.",
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// One finding about one object. Texts are lower case, without a final dot, and quote the value in question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The object that has to be changed.
    pub about: ObjectKey,
    /// Path of the field below the object, for example `spec.retry_policy.retry_on`; empty for the object itself.
    pub at: String,
    /// The stable reason.
    pub kind: ProblemKind,
    /// What it does.
    pub effect: Effect,
    /// What failed and with which value.
    pub detail: String,
}

impl Problem {
    /// A problem with that effect; see the fields.
    pub fn new(
        about: &ObjectKey,
        at: impl Into<String>,
        kind: ProblemKind,
        effect: Effect,
        detail: impl Into<String>,
    ) -> Self {
        Self { about: about.clone(), at: at.into(), kind, effect, detail: detail.into() }
    }

    /// A problem that takes the object out of force.
    pub fn refused(about: &ObjectKey, at: impl Into<String>, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::new(about, at, kind, Effect::Refused, detail)
    }

    /// A problem that switches one option off.
    pub fn degraded(about: &ObjectKey, at: impl Into<String>, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::new(about, at, kind, Effect::Degraded, detail)
    }

    /// A remark without effect on traffic.
    pub fn notice(about: &ObjectKey, at: impl Into<String>, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::new(about, at, kind, Effect::Notice, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { write!(f, "{}", self.detail) } else { write!(f, "{}: {}", self.at, self.detail) }
    }
}

/// A value and everything that was found on the way to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked<T> {
    /// The value, as far as it could be made.
    pub value: T,
    /// Findings in the order in which they were made.
    pub problems: Vec<Problem>,
}

impl<T> Checked<T> {
    /// A value without findings.
    pub fn clean(value: T) -> Self {
        Self { value, problems: Vec::new() }
    }

    /// True when a finding takes the object out of force.
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.effect == Effect::Refused)
    }
}
