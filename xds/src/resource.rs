//! What is stored and sent: resource types, versions, payloads, resources and deltas of them.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

/// The discovery types this server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster` (CDS).
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment` (EDS).
    Endpoint,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret` (SDS).
    Secret,
    /// `envoy.config.listener.v3.Listener` (LDS).
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration` (RDS).
    Route,
    /// `envoy.config.core.v3.TypedExtensionConfig` (ECDS).
    ExtensionConfig,
}

impl ResourceType {
    /// All types, in the order in which one change is sent: what is named comes before what names it.
    pub const ALL: [ResourceType; 6] = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Secret,
        ResourceType::Listener,
        ResourceType::ExtensionConfig,
        ResourceType::Route,
    ];

    /// The type URL used in requests, responses and the `Any` around a resource.
    pub const fn type_url(self) -> &'static str {
        match self {
            ResourceType::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceType::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            ResourceType::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            ResourceType::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            ResourceType::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            ResourceType::ExtensionConfig => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        }
    }

    /// The type of a type URL, `None` for one that is not offered.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The usual abbreviation, for people: `CDS`, `EDS`, `SDS`, `LDS`, `RDS`, `ECDS`.
    pub const fn short(self) -> &'static str {
        match self {
            ResourceType::Cluster => "CDS",
            ResourceType::Endpoint => "EDS",
            ResourceType::Secret => "SDS",
            ResourceType::Listener => "LDS",
            ResourceType::Route => "RDS",
            ResourceType::ExtensionConfig => "ECDS",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// One value per resource type, so that a type always has its value and no lookup can fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerType<T> {
    cluster: T,
    endpoint: T,
    secret: T,
    listener: T,
    route: T,
    extension: T,
}

impl<T> PerType<T> {
    pub(crate) fn from_fn(make: impl Fn(ResourceType) -> T) -> Self {
        PerType {
            cluster: make(ResourceType::Cluster),
            endpoint: make(ResourceType::Endpoint),
            secret: make(ResourceType::Secret),
            listener: make(ResourceType::Listener),
            route: make(ResourceType::Route),
            extension: make(ResourceType::ExtensionConfig),
        }
    }

    pub(crate) fn get(&self, kind: ResourceType) -> &T {
        match kind {
            ResourceType::Cluster => &self.cluster,
            ResourceType::Endpoint => &self.endpoint,
            ResourceType::Secret => &self.secret,
            ResourceType::Listener => &self.listener,
            ResourceType::Route => &self.route,
            ResourceType::ExtensionConfig => &self.extension,
        }
    }

    pub(crate) fn get_mut(&mut self, kind: ResourceType) -> &mut T {
        match kind {
            ResourceType::Cluster => &mut self.cluster,
            ResourceType::Endpoint => &mut self.endpoint,
            ResourceType::Secret => &mut self.secret,
            ResourceType::Listener => &mut self.listener,
            ResourceType::Route => &mut self.route,
            ResourceType::ExtensionConfig => &mut self.extension,
        }
    }
}

/// Hash of a resource's canonical content: equal on all replicas and after restarts, so that a reconnecting client is
/// sent nothing it has. On the wire it is 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of the empty resource that answers for a name that is not in the store. A stored resource must not
    /// have it; [`Version::of_hash`] never returns it.
    pub const ABSENT: Version = Version(0);

    /// The version for a content hash.
    pub const fn of_hash(hash: u64) -> Self {
        if hash == 0 { Version(1) } else { Version(hash) }
    }

    /// Reads the wire form; `None` for anything this server cannot have sent.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { u64::from_str_radix(text, 16).ok().map(Version) } else { None }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An encoded message as a rope: a table of 10,000 routes is spliced from some 1000 cached buckets without copying, and
/// a clone shares them all. Ropes hold ropes, so that 300 tables with the same routes share one list of their pieces.
#[derive(Clone)]
pub struct Payload {
    parts: Arc<[Part]>,
    len: usize,
}

/// A piece of a [`Payload`].
#[derive(Clone)]
pub enum Part {
    /// Content.
    Bytes(Bytes),
    /// Pieces in common with other payloads.
    Shared(Payload),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Shared(payload) => payload.len,
        }
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Part::Bytes(bytes)
    }
}

impl Payload {
    /// A payload that is the concatenation of `parts`.
    pub fn from_parts<P: Into<Part>>(parts: impl IntoIterator<Item = P>) -> Self {
        let parts: Arc<[Part]> = parts.into_iter().map(Into::into).collect();
        Payload { len: parts.iter().map(Part::len).sum(), parts }
    }

    /// Length in bytes of the whole message.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no bytes, as the default message of every type has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces with the content, in order.
    pub fn pieces(&self) -> Vec<&Bytes> {
        let mut pieces = Vec::new();
        self.visit(&mut |bytes| pieces.push(bytes));
        pieces
    }

    /// The whole message in one piece; copies.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        self.put_into(&mut all);
        all
    }

    /// Appends the message to `buf`: the only copy on the way to the socket.
    pub(crate) fn put_into(&self, buf: &mut impl BufMut) {
        self.visit(&mut |bytes| buf.put_slice(bytes));
    }

    fn visit<'a>(&'a self, to: &mut dyn FnMut(&'a Bytes)) {
        for part in self.parts.iter() {
            match part {
                Part::Bytes(bytes) => to(bytes),
                Part::Shared(payload) => payload.visit(to),
            }
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload::from_parts([Bytes::from(bytes)])
    }
}

/// As with the whole, no content.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} bytes)", self.len())
    }
}

/// The length only: a payload may be a private key.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len)
    }
}

/// Names of other resources, shared.
pub type Companions = Arc<[(ResourceType, Arc<str>)]>;

/// One versioned resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The discovery type.
    pub kind: ResourceType,
    /// The name clients subscribe to.
    pub name: Arc<str>,
    /// Hash of the content.
    pub version: Version,
    /// The encoded message.
    pub payload: Payload,
    /// EDS and SDS names that must follow this resource on the stream, unasked (clusters only): Envoy keeps a cluster
    /// warming, and answers 503 for it, until they come, and does not ask for those it knows.
    pub companions: Companions,
    /// The client needs more than this stream to make it ready (clusters only): a name to resolve, the health of endpoints
    /// to check. Until then Envoy answers 503 for it and withholds the acknowledgement.
    pub warms: bool,
}

/// A change of the store. Several deltas may carry the same batch number; numbers never go back.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// Number of the change, at least 1; `Event::Live` refers to it.
    pub batch: u64,
    /// Resources added or changed.
    pub upserts: Vec<Arc<Resource>>,
    /// Names that are gone.
    pub removals: Vec<(ResourceType, Arc<str>)>,
    /// Names of resources that clients are sent even if they refused just that version: the reason may be gone.
    pub retries: Vec<(ResourceType, Arc<str>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_urls_are_read_back() {
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/envoy.service.runtime.v3.Runtime"), None);
    }

    #[test]
    fn versions_are_sixteen_hex_digits() {
        assert_eq!(Version(0xab).to_string(), "00000000000000ab");
        assert_eq!(Version::parse("00000000000000ab"), Some(Version(0xab)));
        for bad in ["", "ab", "00000000000000AB", "+0000000000000ab", "00000000000000ab0"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        assert_ne!(Version::of_hash(0), Version::ABSENT);
    }

    #[test]
    fn a_rope_is_its_concatenation_and_shows_no_content() {
        let rope = Payload::from_parts(vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")]);
        assert_eq!((rope.len(), rope.to_vec()), (3, b"abc".to_vec()));
        let outer = Payload::from_parts([
            Part::Shared(rope.clone()),
            Bytes::from_static(b"d").into(),
            Part::Shared(rope.clone()),
        ]);
        assert_eq!((outer.len(), outer.to_vec()), (7, b"abcdabc".to_vec()));
        assert_eq!(outer.pieces().len(), 7);
        assert_eq!(format!("{rope:?}"), "Payload(3 bytes)");
    }
}
