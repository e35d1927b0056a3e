//! Conversion of the `getambassador.io` resources between v1, v2 and v3alpha1.
//!
//! v3alpha1 is the hub: v1 and v2 have the same fields and differ in their label only, and both convert to and from
//! v3alpha1 by the rules in [`mod@spec`]. The rules are those of Emissary-ingress 3.10 and 4.1 (`pkg/api/getambassador.io`).
//!
//! Objects stay JSON throughout. What a rule does not understand (unknown fields, values of an unexpected type) is kept, so
//! conversion cannot fail on the content of a `spec`. `metadata` and `status` are never touched.
//!
//! An old object that goes to v3alpha1 and back is the same again. Where v3alpha1 has no way to say what the old version
//! said (`ambassador_id: x` for `[x]`, `headers: {x: false}`, a null among labels, fields that nobody knows),
//! `spec.v2Spelling` remembers it; see [`mod@spelling`] and [`mod@fields`]. The one intended exception is the prefix on
//! `ambassador_id`; see [`mod@ids`].

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

pub mod fields;
pub mod ids;
pub mod spec;
pub mod spelling;

/// A JSON object.
pub type Object = Map<String, Value>;

/// The API group of all kinds.
pub const GROUP: &str = "getambassador.io";

/// Converts an object to another version of its kind, as a conversion webhook does: ids are prefixed, spelling is
/// remembered. See [`convert_with`].
pub fn convert(object: Value, to: Version) -> Result<Converted, Problem> {
    convert_with(object, to, Options::default())
}

/// Converts an object to another version of its kind.
///
/// In goes a whole object: `apiVersion` and `kind` decide what happens, `spec` is rewritten, everything else is kept. An
/// object that has the wanted version already, and one without a `spec` that is an object, only get the label.
///
/// # Errors
///
/// Only for an object whose group, version or kind is not one of ours. What `spec` says never leads to an error.
pub fn convert_with(mut object: Value, to: Version, options: Options) -> Result<Converted, Problem> {
    let fields = object.as_object_mut().ok_or(Problem::NotAnObject)?;
    let api_version = fields.get("apiVersion").and_then(Value::as_str).ok_or(Problem::Unlabelled("apiVersion"))?;
    let from = Version::of_api_version(api_version).ok_or_else(|| Problem::UnknownVersion(shorten(api_version)))?;
    let kind = fields.get("kind").and_then(Value::as_str).ok_or(Problem::Unlabelled("kind"))?;
    let kind = Kind::from_str(kind)?;
    for version in [from, to] {
        // An old manifest may say v1 where only v2 was ever published; reading it does no harm.
        if !kind.has(version) && (version == to || !kind.has(Version::V2)) {
            return Err(Problem::NoSuchVersion { kind, version });
        }
    }

    let mut notes = Vec::new();
    if let Some(Value::Object(spec)) = fields.get_mut("spec") {
        match (from == Version::V3Alpha1, to == Version::V3Alpha1) {
            (false, true) => upgrade(kind, spec, options, &mut notes),
            (true, false) => downgrade(kind, spec, options, &mut notes),
            (true, true) | (false, false) => {}
        }
    }
    fields.insert("apiVersion".to_owned(), Value::String(to.api_version().to_owned()));
    Ok(Converted { object, notes })
}

/// Takes out of a v3alpha1 object what only says how v1 or v2 spelled it. It means the same without.
pub fn forget_spelling(object: &mut Value) {
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec::forget(spec);
    }
}

fn upgrade(kind: Kind, spec: &mut Object, options: Options, notes: &mut Vec<Note>) {
    if options.prefix_ids {
        ids::strip(kind, spec);
    }
    let old = options.remember_spelling.then(|| spec::part(kind, spec, |_| true));
    spec::upgrade(kind, spec, notes);
    if let Some(mut old) = old {
        for (field, value) in fields::take_unknown(kind, spec) {
            if spec::group(kind, &field).is_none() {
                let detail = "is no field of v3alpha1; kept in v2Spelling";
                notes.push(Note { at: format!("spec.{field}"), detail });
                old.insert(field, value);
            }
        }
        fields::prune(kind, spec);
        let mut back = spec::part(kind, spec, |_| true);
        spec::downgrade(kind, &mut back, &mut Vec::new());
        spelling::remember(spec, &back, old);
    }
}

fn downgrade(kind: Kind, spec: &mut Object, options: Options, notes: &mut Vec<Note>) {
    let memory = spec.remove(spelling::FIELD).and_then(|found| spelling::Memory::read(kind, spec, found, notes));
    spec::downgrade(kind, spec, notes);
    if let Some(memory) = memory {
        memory.restore(kind, spec, notes);
    }
    if options.prefix_ids {
        ids::prefix(kind, spec);
    }
}

/// What a conversion does besides translating. The default is what the webhook does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// Whether `ambassador_id` gets its prefix in the old versions and loses it in v3alpha1.
    pub prefix_ids: bool,
    /// Whether v3alpha1 objects get `spec.v2Spelling` where they need it to come back the same. Where it is
    /// present, it is honoured in any case. Off for manifests that move to v3alpha1 for good; fields that v3alpha1 does not
    /// have then stay where they are.
    pub remember_spelling: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix_ids: true, remember_spelling: true }
    }
}

/// A converted object and what there is to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The object in the wanted version.
    pub object: Value,
    /// What the new version does not show, for people. Empty in most cases.
    pub notes: Vec<Note>,
}

/// Something that a conversion leaves out of its result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The field, from `spec` on, separated by dots.
    pub at: String,
    /// What happened to it, and why.
    pub detail: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.detail)
    }
}

/// Why an object cannot be converted at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The value is a string, a list, …
    #[error("not an object")]
    NotAnObject,
    /// `apiVersion` or `kind` is missing or no string.
    #[error("{0} is missing or not a string")]
    Unlabelled(&'static str),
    /// `apiVersion` is none of ours.
    #[error("apiVersion {0:?} is not {GROUP}/v1, {GROUP}/v2 or {GROUP}/v3alpha1")]
    UnknownVersion(String),
    /// `kind` is none of ours.
    #[error("kind {0:?} is not one of {GROUP}")]
    UnknownKind(String),
    /// The kind does not exist in this version: Listener is new in v3alpha1, Host in v2.
    #[error("there is no {kind} in {}", version.api_version())]
    NoSuchVersion {
        /// The kind of the object.
        kind: Kind,
        /// The version it has or should get.
        version: Version,
    },
}

/// Cuts text from outside to a length that fits into a message.
fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A version of the API group.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// `v1`: the fields of v2 under an older label.
    V1,
    /// `v2`: Ambassador 1.x.
    V2,
    /// `v3alpha1`: Emissary-ingress 2.x and later.
    V3Alpha1,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3Alpha1];

    /// Group and version, as in `apiVersion`.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "getambassador.io/v1",
            Self::V2 => "getambassador.io/v2",
            Self::V3Alpha1 => "getambassador.io/v3alpha1",
        }
    }

    /// The version in an `apiVersion` of our group; none if it is another group's, or unknown.
    pub fn of_api_version(api_version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.api_version() == api_version)
    }
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "the names are all there is to say")]
pub enum Kind {
    AuthService,
    ConsulResolver,
    DevPortal,
    Host,
    KubernetesEndpointResolver,
    KubernetesServiceResolver,
    Listener,
    LogService,
    Mapping,
    Module,
    RateLimitService,
    TCPMapping,
    TLSContext,
    TracingService,
}

impl Kind {
    /// All kinds, by name.
    pub const ALL: [Self; 14] = [
        Self::AuthService,
        Self::ConsulResolver,
        Self::DevPortal,
        Self::Host,
        Self::KubernetesEndpointResolver,
        Self::KubernetesServiceResolver,
        Self::Listener,
        Self::LogService,
        Self::Mapping,
        Self::Module,
        Self::RateLimitService,
        Self::TCPMapping,
        Self::TLSContext,
        Self::TracingService,
    ];

    /// The name, as in `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthService => "AuthService",
            Self::ConsulResolver => "ConsulResolver",
            Self::DevPortal => "DevPortal",
            Self::Host => "Host",
            Self::KubernetesEndpointResolver => "KubernetesEndpointResolver",
            Self::KubernetesServiceResolver => "KubernetesServiceResolver",
            Self::Listener => "Listener",
            Self::LogService => "LogService",
            Self::Mapping => "Mapping",
            Self::Module => "Module",
            Self::RateLimitService => "RateLimitService",
            Self::TCPMapping => "TCPMapping",
            Self::TLSContext => "TLSContext",
            Self::TracingService => "TracingService",
        }
    }

    /// Whether upstream has published the kind in a version.
    pub const fn has(self, version: Version) -> bool {
        match (self, version) {
            (Self::Listener, Version::V1 | Version::V2) | (Self::Host, Version::V1) => false,
            (_, Version::V1 | Version::V2 | Version::V3Alpha1) => true,
        }
    }
}

impl FromStr for Kind {
    type Err = Problem;

    fn from_str(name: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| Problem::UnknownKind(shorten(name)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
