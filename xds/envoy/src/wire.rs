//! The protobuf wire format by hand, as far as splicing needs it.
//!
//! Leaves of a resource are built as messages and encoded by `prost`. What joins them — the map of a matcher tree,
//! the virtual hosts of a table, the chains of a listener — is written here, so that a change of one leaf neither
//! decodes nor copies its neighbours, and so that maps come out in a fixed order.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use bytes::Bytes;
use prost::Message;
use xds::{Part, Payload};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The wire type of strings, bytes and nested messages.
const LENGTH_DELIMITED: u64 = 2;

/// Appends a base-128 varint.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that a varint takes.
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends tag and length of a length-delimited field; its content has to follow.
pub(crate) fn put_header(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, (u64::from(field) << 3) | LENGTH_DELIMITED);
    put_varint(out, len as u64);
}

/// Bytes that tag and length of such a field take.
fn header_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field) << 3) + varint_len(len as u64)
}

/// Appends a length-delimited field.
pub(crate) fn put_field(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    put_header(out, field, content.len());
    out.extend_from_slice(content);
}

/// Appends a nested message.
pub(crate) fn put_message(out: &mut Vec<u8>, field: u32, message: &impl Message) {
    put_header(out, field, message.encoded_len());
    message.encode_raw(out);
}

/// One length-delimited field as bytes.
pub(crate) fn field(field: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(header_len(field, content.len()) + content.len());
    put_field(&mut out, field, content);
    out
}

/// One step into nested messages: a field, and what stands in it before the next step (or the innermost content).
pub(crate) struct Level<'a> {
    /// Field number.
    pub field: u32,
    /// Encoded fields that come first inside.
    pub before: &'a [u8],
}

/// Everything that precedes innermost content of that length, wrapped in these levels, outermost first.
/// The innermost content is the last field of each level.
pub(crate) fn nest(levels: &[Level<'_>], inner: usize) -> Vec<u8> {
    let mut lengths = Vec::with_capacity(levels.len());
    let mut len = inner;
    for level in levels.iter().rev() {
        len += level.before.len();
        lengths.push(len);
        len += header_len(level.field, len);
    }
    let mut out = Vec::with_capacity(len - inner);
    for (level, len) in levels.iter().zip(lengths.into_iter().rev()) {
        put_header(&mut out, level.field, len);
        out.extend_from_slice(level.before);
    }
    out
}

/// Rewrites a run of length-delimited fields `from`, both numbers below 16, into fields `to`. Encoded routes carry
/// the number they have in a `RouteList`; directly in a `VirtualHost` they need another.
pub(crate) fn retag(run: &[u8], from: u8, to: u8) -> Vec<u8> {
    let mut out = run.to_vec();
    let (from, to) = ((from << 3) | 2, (to << 3) | 2);
    let mut at = 0;
    while let Some(tag) = out.get_mut(at) {
        debug_assert_eq!(*tag, from, "a run of one field");
        if *tag == from {
            *tag = to;
        }
        at += 1;
        let (mut len, mut shift) = (0usize, 0u32);
        while let Some(byte) = out.get(at) {
            at += 1;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 || shift > 56 {
                break;
            }
        }
        at = at.saturating_add(len);
    }
    out
}

/// Encoded content in pieces that are shared and never copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rope {
    parts: Vec<Part>,
    len: usize,
}

impl Rope {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends a piece.
    pub fn push(&mut self, part: impl Into<Bytes>) {
        let part = part.into();
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push(part.into());
        }
    }

    /// Appends the pieces of another rope.
    pub fn append(&mut self, other: &Rope) {
        self.len += other.len;
        self.parts.extend_from_slice(&other.parts);
    }

    /// The same content as one piece, for what many others append: they share the list of its pieces, too.
    pub fn shared(self) -> Rope {
        let len = self.len;
        Rope { parts: vec![Part::Shared(self.into_payload())], len }
    }

    /// What is stored and sent.
    pub fn into_payload(self) -> Payload {
        Payload::from_parts(self.parts)
    }
}

impl<T: Into<Bytes>> From<T> for Rope {
    fn from(bytes: T) -> Self {
        let mut rope = Rope::default();
        rope.push(bytes);
        rope
    }
}

/// Content hash of bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Composes a content hash from the hashes of parts. Every part has a fixed width or a length in front, so equal
/// results mean equal parts in equal order; nothing in it depends on the process.
pub(crate) struct Composed(Xxh3);

impl Composed {
    /// Starts a hash for content of that form.
    pub fn new(form: &str) -> Self {
        let mut composed = Self(Xxh3::new());
        composed.text(form);
        composed
    }

    /// Adds a number or the hash of a part.
    pub fn add(&mut self, part: u64) {
        self.0.update(&part.to_le_bytes());
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) {
        self.add(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    /// The hash.
    pub fn done(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::route::v3::{Route, RouteList, VirtualHost};

    #[test]
    fn varints_are_as_long_as_said() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }

    #[test]
    fn nested_levels_decode_as_the_message_they_stand_for() {
        for size in [0, 1, 100, 127, 128, 20_000] {
            let route = Route { name: "r".repeat(size), ..Default::default() };
            let inner = route.encode_to_vec();
            let before = field(1, b"host");
            let mut bytes = before.clone();
            bytes.extend(nest(&[Level { field: 3, before: &[] }], inner.len()));
            bytes.extend(&inner);
            let want = VirtualHost { name: "host".into(), routes: vec![route], ..Default::default() };
            assert_eq!(bytes, want.encode_to_vec());
        }
    }

    #[test]
    fn retagged_routes_move_from_a_list_to_a_virtual_host() {
        let routes: Vec<Route> =
            [0, 5, 200, 17_000].iter().map(|n| Route { name: "x".repeat(*n), ..Default::default() }).collect();
        let list = RouteList { routes: routes.clone() }.encode_to_vec();
        assert_eq!(retag(&list, 1, 3), VirtualHost { routes, ..Default::default() }.encode_to_vec());
    }

    #[test]
    fn retag_ends_on_any_input() {
        for run in [&[0x0a][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x0a, 0x05, 1]]
        {
            assert_eq!(retag(run, 1, 3).len(), run.len());
        }
    }

    #[test]
    fn composed_hashes_tell_boundaries_apart() {
        let of = |parts: &[&str]| {
            let mut composed = Composed::new("test");
            parts.iter().for_each(|part| composed.text(part));
            composed.done()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
