//! Route lists: the buckets of one list, spliced into what a virtual host or a matcher takes.

use crate::fragments::{Section, Sections};
use crate::route::{EncodedGroup, GroupCache, ROUTE_IN_HOST, ROUTE_IN_LIST};
use crate::wire::{Composed, Level, Rope, field, nest, retag};
use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::RouteList as RouteListMessage;
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use ir::{ACME_PREFIX, Bucket, RouteList};
use prost::{Message, Name};
use std::sync::{Arc, OnceLock};

/// Fields of the messages that are spliced here, by their numbers in the `.proto` files of `xds.type.matcher.v3`,
/// `xds.core.v3` and `envoy.config.route.v3`.
mod number {
    pub const VIRTUAL_HOST_MATCHER: u32 = 21;
    pub const MATCHER_TREE: u32 = 2;
    pub const MATCHER_ON_NO_MATCH: u32 = 3;
    pub const TREE_INPUT: u32 = 1;
    pub const TREE_EXACT_MAP: u32 = 2;
    pub const TREE_PREFIX_MAP: u32 = 3;
    pub const MAP_ENTRY: u32 = 1;
    pub const ENTRY_KEY: u32 = 1;
    pub const ENTRY_VALUE: u32 = 2;
    pub const ON_MATCH_MATCHER: u32 = 1;
    pub const ON_MATCH_ACTION: u32 = 2;
    pub const EXTENSION_NAME: u32 = 1;
    pub const EXTENSION_CONFIG: u32 = 2;
    pub const ANY_TYPE_URL: u32 = 1;
    pub const ANY_VALUE: u32 = 2;
}

/// What is left of a request to decide: a run of routes, or a matcher that leads to such runs.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Encoded fields of a `RouteList`.
    Routes(Bytes),
    /// An encoded `xds.type.matcher.v3.Matcher`.
    Matcher(Rope),
}

impl Answer {
    /// The fields of a `VirtualHost` that carry it.
    pub fn into_host_fields(self) -> Rope {
        match self {
            Answer::Routes(routes) => retag(&routes, ROUTE_IN_LIST, ROUTE_IN_HOST).into(),
            Answer::Matcher(matcher) => within(&[Level { field: number::VIRTUAL_HOST_MATCHER, before: &[] }], &matcher),
        }
    }

    /// The content of an `OnMatch` that leads to it.
    pub fn into_on_match(self) -> Rope {
        match self {
            Answer::Routes(routes) => {
                let mut rope = Rope::from(action_head(&[], routes.len()));
                rope.push(routes);
                rope
            }
            Answer::Matcher(matcher) => within(&[Level { field: number::ON_MATCH_MATCHER, before: &[] }], &matcher),
        }
    }
}

/// A matcher that asks whether a request header has one value: `hit` if so, `miss` if not or if it is not there.
///
/// An exact map needs one lookup. `hit` must always decide: Envoy goes on to `miss` where a nested matcher finds
/// nothing, and matchers made here end in a list for every path.
pub(crate) fn by_header(header: &str, value: &str, hit: Answer, miss: Answer) -> Rope {
    let hit = hit.into_on_match();
    let miss = miss.into_on_match();
    let input = header_input(header);
    let key = field(number::ENTRY_KEY, value.as_bytes());
    let mut rope = within(
        &[
            Level { field: number::MATCHER_TREE, before: &input },
            Level { field: number::TREE_EXACT_MAP, before: &[] },
            Level { field: number::MAP_ENTRY, before: &key },
            Level { field: number::ENTRY_VALUE, before: &[] },
        ],
        &hit,
    );
    rope.append(&within(&[Level { field: number::MATCHER_ON_NO_MATCH, before: &[] }], &miss));
    rope
}

/// One bucket and its encoded routes.
#[derive(Debug)]
struct RenderedBucket {
    source: Arc<Bucket>,
    section: Arc<Section>,
    /// The encoded routes as fields of a `RouteList`, in one piece.
    routes: Bytes,
    /// Head of the map entry in the matcher tree; the routes follow.
    entry_head: OnceLock<Bytes>,
}

/// A list with its encoded buckets. Immutable: a change makes a new one that shares what is equal.
#[derive(Debug)]
pub(crate) struct RenderedList {
    row: Arc<RouteList>,
    buckets: Vec<Arc<RenderedBucket>>,
    sections: Sections,
    acme: Arc<Section>,
    hash: u64,
    in_host: OnceLock<Rope>,
    answer: OnceLock<Answer>,
}

impl RenderedList {
    /// A list, with everything taken over from its former state that is the same.
    pub fn new(row: Arc<RouteList>, former: Option<&RenderedList>, groups: &mut GroupCache) -> Self {
        let former = former.filter(|former| former.row.implied == row.implied && former.row.id == row.id);
        let mut buckets = Vec::with_capacity(row.buckets.len());
        for bucket in &row.buckets {
            let old = former.and_then(|former| former.bucket(&bucket.prefix));
            buckets.push(match old {
                Some(old) if Arc::ptr_eq(&old.source, bucket) || old.source == *bucket => old.clone(),
                _ => Arc::new(RenderedBucket::new(&row, bucket.clone(), old.map(Arc::as_ref), groups)),
            });
        }
        let mut composed = Composed::new("list");
        composed.add(buckets.len() as u64);
        for bucket in &buckets {
            composed.text(&bucket.source.prefix);
            composed.add(bucket.section.hash());
        }
        let sections = buckets.iter().map(|bucket| bucket.section.clone()).collect();
        let acme = acme_section(&buckets);
        let acme = match former {
            Some(former) if former.acme.same_groups(&acme) => former.acme.clone(),
            _ => Arc::new(acme),
        };
        Self { row, buckets, sections, acme, hash: composed.done(), in_host: OnceLock::new(), answer: OnceLock::new() }
    }

    /// Content hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The row it was made from.
    pub fn row(&self) -> &Arc<RouteList> {
        &self.row
    }

    /// Which groups it is made of.
    pub fn sections(&self) -> &Sections {
        &self.sections
    }

    /// Its groups for the ACME challenge prefix.
    pub fn acme(&self) -> &Arc<Section> {
        &self.acme
    }

    /// The fields of a `VirtualHost` that answer with this list.
    pub fn in_host(&self) -> &Rope {
        self.in_host.get_or_init(|| self.answer().into_host_fields().shared())
    }

    /// What decides below this list.
    pub fn answer(&self) -> Answer {
        self.answer.get_or_init(|| self.splice()).clone()
    }

    fn splice(&self) -> Answer {
        let flat = match self.buckets.as_slice() {
            [] => Some(Bytes::new()),
            [only] if only.source.prefix.is_empty() => Some(only.routes.clone()),
            _ => None,
        };
        match flat {
            Some(routes) => Answer::Routes(routes),
            None => Answer::Matcher(self.tree().shared()),
        }
    }

    /// A prefix map over the raw path. The bucket without a prefix is what `on_no_match` leads to; it is always there,
    /// if need be without routes, so that the tree decides every request (with 404 where no route matches).
    fn tree(&self) -> Rope {
        let mut entries = Rope::default();
        let mut rest = Bytes::new();
        for bucket in &self.buckets {
            if bucket.source.prefix.is_empty() {
                rest = bucket.routes.clone();
            } else {
                entries.push(bucket.entry_head());
                entries.push(bucket.routes.clone());
            }
        }
        let input = header_input(":path");
        let tree = [
            Level { field: number::MATCHER_TREE, before: &input },
            Level { field: number::TREE_PREFIX_MAP, before: &[] },
        ];
        let mut rope = within(&tree, &entries);
        let head = action_head(&[Level { field: number::MATCHER_ON_NO_MATCH, before: &[] }], rest.len());
        rope.push(head);
        rope.push(rest);
        rope
    }

    /// The bucket with exactly that prefix.
    fn bucket(&self, prefix: &str) -> Option<&Arc<RenderedBucket>> {
        let at = self.buckets.binary_search_by(|bucket| (*bucket.source.prefix).cmp(prefix)).ok()?;
        self.buckets.get(at)
    }
}

impl RenderedBucket {
    fn new(list: &RouteList, source: Arc<Bucket>, former: Option<&RenderedBucket>, groups: &mut GroupCache) -> Self {
        let encoded: Vec<_> =
            source.groups.iter().map(|group| groups.get(group, &list.implied, list.id.variant)).collect();
        let section = Section::new(source.prefix.clone(), encoded);
        match former {
            // Only things that do not reach Envoy are different, such as which object a route comes from.
            Some(former) if former.section.hash() == section.hash() => Self {
                source,
                section: Arc::new(section),
                routes: former.routes.clone(),
                entry_head: former.entry_head.clone(),
            },
            _ => {
                let routes = concatenate(section.groups());
                Self { source, section: Arc::new(section), routes, entry_head: OnceLock::new() }
            }
        }
    }

    fn entry_head(&self) -> Bytes {
        let make = || {
            let key = field(number::ENTRY_KEY, self.source.prefix.as_bytes());
            let levels =
                [Level { field: number::MAP_ENTRY, before: &key }, Level { field: number::ENTRY_VALUE, before: &[] }];
            action_head(&levels, self.routes.len()).into()
        };
        self.entry_head.get_or_init(make).clone()
    }
}

/// The encoded routes of groups in one piece.
pub(crate) fn concatenate(groups: &[Arc<EncodedGroup>]) -> Bytes {
    let mut out = Vec::with_capacity(groups.iter().map(|group| group.bytes.len()).sum());
    groups.iter().for_each(|group| out.extend_from_slice(&group.bytes));
    out.into()
}

/// The groups for exactly the ACME prefix. All of them are in the bucket that decides for a request to that prefix.
fn acme_section(buckets: &[Arc<RenderedBucket>]) -> Section {
    let deciding = buckets
        .iter()
        .filter(|bucket| ACME_PREFIX.starts_with(&*bucket.source.prefix))
        .max_by_key(|bucket| bucket.source.prefix.len());
    let is_acme = |group: &&Arc<EncodedGroup>| group.group.matches.path.is_acme();
    let groups = deciding.map(|bucket| bucket.section.groups().iter().filter(is_acme).cloned().collect());
    Section::new(ACME_PREFIX.into(), groups.unwrap_or_default())
}

/// Content wrapped in levels.
fn within(levels: &[Level<'_>], content: &Rope) -> Rope {
    let mut rope = Rope::from(nest(levels, content.len()));
    rope.append(content);
    rope
}

/// What precedes the routes of a `RouteList` that is the action of an `OnMatch`, which is the last of these levels.
fn action_head(outer: &[Level<'_>], routes: usize) -> Vec<u8> {
    static NAME: OnceLock<Vec<u8>> = OnceLock::new();
    static URL: OnceLock<Vec<u8>> = OnceLock::new();
    let name = NAME.get_or_init(|| field(number::EXTENSION_NAME, b"routes"));
    let url = URL.get_or_init(|| field(number::ANY_TYPE_URL, RouteListMessage::type_url().as_bytes()));
    let inner = [
        Level { field: number::ON_MATCH_ACTION, before: name },
        Level { field: number::EXTENSION_CONFIG, before: url },
        Level { field: number::ANY_VALUE, before: &[] },
    ];
    let levels: Vec<_> =
        outer.iter().chain(&inner).map(|level| Level { field: level.field, before: level.before }).collect();
    nest(&levels, routes)
}

/// The input field of a matcher tree that looks at a request header (`:path` is one).
fn header_input(header: &str) -> Vec<u8> {
    let value = HttpRequestHeaderMatchInput { header_name: header.to_string() }.encode_to_vec();
    let name = field(number::EXTENSION_NAME, header.as_bytes());
    let url = field(number::ANY_TYPE_URL, HttpRequestHeaderMatchInput::type_url().as_bytes());
    let levels = [
        Level { field: number::TREE_INPUT, before: &name },
        Level { field: number::EXTENSION_CONFIG, before: &url },
        Level { field: number::ANY_VALUE, before: &[] },
    ];
    let mut out = nest(&levels, value.len());
    out.extend(value);
    out
}
