//! What a request must look like, and what happens to it.

use crate::{ClusterName, ForwardOptions, ObjectKey};
use std::cmp::Ordering;
use std::sync::Arc;

/// How a text (header, query parameter, authority) has to match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextMatch {
    /// The whole text.
    Exact(Arc<str>),
    /// Begins with it.
    Prefix(Arc<str>),
    /// Ends with it.
    Suffix(Arc<str>),
    /// RE2 expression over the whole text; already judged valid.
    Regex(Arc<str>),
    /// There, with whatever value.
    Present,
}

/// How the path has to match, query string aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatch {
    /// Plain text prefix, not aware of path segments.
    Prefix(Arc<str>),
    /// The whole path.
    Exact(Arc<str>),
    /// RE2 expression over the whole path; already judged valid.
    Regex(Arc<str>),
}

impl PathMatch {
    /// Whether it is exactly the prefix of ACME challenges.
    pub fn is_acme(&self) -> bool {
        matches!(self, PathMatch::Prefix(prefix) if **prefix == *ACME_PREFIX)
    }

    /// The text as the user wrote it.
    pub fn text(&self) -> &Arc<str> {
        match self {
            PathMatch::Prefix(text) | PathMatch::Exact(text) | PathMatch::Regex(text) => text,
        }
    }
}

/// A named condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedMatch {
    /// Header or query parameter name; `:method` for the method.
    pub name: Arc<str>,
    /// What its value has to be.
    pub value: TextMatch,
}

/// All conditions of a route. The authority is apart because a virtual host may have answered it already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteMatch {
    /// The path condition.
    pub path: PathMatch,
    /// Whether the path compares with case.
    pub case_sensitive: bool,
    /// The condition on `:authority` that comes of the host glob or host regex; `None` matches every host.
    pub authority: Option<TextMatch>,
    /// Conditions on headers, `:method` included, in upstream's order.
    pub headers: Vec<NamedMatch>,
    /// Conditions on query parameters.
    pub query: Vec<NamedMatch>,
}

/// One header to add.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderValue {
    /// Header name.
    pub name: Arc<str>,
    /// Envoy format string; already judged valid.
    pub value: Arc<str>,
    /// Whether an existing value stays beside it.
    pub append: bool,
}

/// Header edits of a route. Lists are in emission order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeaderEdits {
    /// `request_headers_to_add`
    pub add_request: Vec<HeaderValue>,
    /// `response_headers_to_add`
    pub add_response: Vec<HeaderValue>,
    /// `request_headers_to_remove`
    pub remove_request: Vec<Arc<str>>,
    /// `response_headers_to_remove`
    pub remove_response: Vec<Arc<str>>,
}

/// A regular expression and what replaces what it matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegexRewrite {
    /// RE2 expression.
    pub pattern: Arc<str>,
    /// Replacement with `\1` style references.
    pub substitution: Arc<str>,
}

/// How the path changes on its way upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathRewrite {
    /// The matched prefix (or, for exact and regex paths, the whole path) is replaced by this text.
    Prefix(Arc<str>),
    /// A regular expression rewrites the path.
    Regex(RegexRewrite),
}

/// How the host changes on its way upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostRewrite {
    /// This host.
    Literal(Arc<str>),
    /// The DNS name of the upstream host.
    Auto,
}

/// Where a request goes and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The cluster.
    pub cluster: ClusterName,
    /// Upper bound for the whole answer, milliseconds; 0 switches it off.
    pub timeout_ms: u64,
    /// Bound for silence on the stream, milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// Path rewriting.
    pub rewrite: Option<PathRewrite>,
    /// Host rewriting.
    pub host_rewrite: Option<HostRewrite>,
    /// What few routes have.
    pub options: Option<Box<ForwardOptions>>,
}

/// The path of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedirectPath {
    /// This path.
    Path(Arc<str>),
    /// The matched prefix is replaced.
    Prefix(Arc<str>),
    /// A regular expression rewrites the path.
    Regex(RegexRewrite),
}

/// A redirect to another host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// Target host.
    pub host: Arc<str>,
    /// Target path; `None` keeps it.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// What happens to a matching request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It goes to a cluster.
    Forward(Forward),
    /// It is redirected.
    Redirect(Redirect),
    /// It is answered here, with this status and text. Used where a guard is missing: closed, not open.
    Direct {
        /// HTTP status.
        status: u16,
        /// Body, plain text.
        body: Arc<str>,
    },
}

/// One Envoy route: one Mapping in one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The Mapping (or the object that stands for it).
    pub source: ObjectKey,
    /// Path case of this member; the other conditions are the group's.
    pub case_sensitive: bool,
    /// Cumulative share in percent: the route is taken when the request's random number is below it.
    /// 100 means always and is not emitted.
    pub fraction: u32,
    /// What happens.
    pub action: Action,
}

/// Position of a group in the global route order: smaller sorts first, and first match wins.
///
/// Upstream orders by descending (precedence, length of the prefix, weight of the header conditions, weight of
/// the query conditions, texts). The bytes are made so that plain comparison gives that order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderKey(pub Arc<[u8]>);

impl Ord for OrderKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for OrderKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Mappings that want the same requests: one set of conditions, one route per member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGroup {
    /// Upstream's group id, 40 hex digits; unique and stable.
    pub id: Arc<str>,
    /// Where it stands among all groups.
    pub order: OrderKey,
    /// The conditions.
    pub matches: RouteMatch,
    /// Header edits, shared by all members (upstream merges them over the group).
    pub headers: HeaderEdits,
    /// Members in emission order.
    pub routes: Vec<Route>,
}

/// Which of a list's conditions the table around it has already decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtoVariant {
    /// Conditions on `x-forwarded-proto` stay as written (security models SECURE and INSECURE).
    AsIs,
    /// Security model XFP, secure side: a condition of the user's on `x-forwarded-proto` is dropped, as it is decided.
    Secure,
    /// Security model XFP, insecure side: such a condition is dropped unless it is the only header condition.
    Insecure,
    /// As [`ProtoVariant::AsIs`], and every route but those of ACME challenges redirects to https instead.
    RedirectAsIs,
    /// As [`ProtoVariant::Insecure`], and every route but those of ACME challenges redirects to https instead.
    RedirectInsecure,
}

impl ProtoVariant {
    /// All of them.
    pub const ALL: [ProtoVariant; 5] = [
        ProtoVariant::AsIs,
        ProtoVariant::Secure,
        ProtoVariant::Insecure,
        ProtoVariant::RedirectAsIs,
        ProtoVariant::RedirectInsecure,
    ];

    /// Whether routes redirect to https, whatever they say.
    pub fn redirects(self) -> bool {
        matches!(self, ProtoVariant::RedirectAsIs | ProtoVariant::RedirectInsecure)
    }

    /// The same with redirects.
    pub fn redirecting(self) -> Self {
        match self {
            ProtoVariant::Insecure | ProtoVariant::RedirectInsecure => ProtoVariant::RedirectInsecure,
            ProtoVariant::AsIs | ProtoVariant::Secure | ProtoVariant::RedirectAsIs => ProtoVariant::RedirectAsIs,
        }
    }
}

/// The path prefix whose routes stay reachable over clear text whatever a Host does with it, so that certificates can be
/// renewed.
pub const ACME_PREFIX: &str = "/.well-known/acme-challenge/";

/// Identity of a route list: equal ids mean equal contents, whoever uses them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId {
    /// Selector and host class in canonical text.
    pub class: Arc<str>,
    /// What the table around the list has decided.
    pub variant: ProtoVariant,
}

/// When a route's own condition on `:authority` is left out, as the domains of the virtual host imply it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImpliedAuthority {
    /// All glob conditions (the Host is an exact name). Regexes always stay.
    AllGlobs,
    /// Only this glob's (the Host has that glob).
    Glob(Arc<str>),
    /// None.
    Nothing,
}

/// Routes that decide for paths below one prefix, in global order. Envoy takes the bucket with the longest matching
/// prefix and never looks into another, so a bucket holds all routes that can match there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Raw `:path` prefix; empty for the bucket that decides when no other does.
    pub prefix: Arc<str>,
    /// Groups in global order.
    pub groups: Vec<Arc<RouteGroup>>,
}

/// An ordered list of routes as Envoy will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteList {
    /// Who it is.
    pub id: ListId,
    /// Which authority conditions are implied.
    pub implied: ImpliedAuthority,
    /// One bucket with an empty prefix: a flat list. Several: a matcher tree; ordered by prefix, the empty one first.
    pub buckets: Vec<Arc<Bucket>>,
}

/// What one virtual host answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VirtualHostBody {
    /// The routes of a list.
    Routes(ListId),
    /// Everything is redirected to https, but for the ACME challenge routes of the list.
    RedirectToHttps {
        /// Where the routes with the prefix `/.well-known/acme-challenge/` come from.
        acme: ListId,
    },
    /// Only the ACME challenge routes of the list; all else is 404 (insecure action Reject).
    AcmeOnly(ListId),
    /// `x-forwarded-proto: https` decides: `secure`, and for everything else `insecure`.
    ByForwardedProto {
        /// For secure requests.
        secure: ListId,
        /// For all others.
        insecure: Box<VirtualHostBody>,
    },
    /// Every request gets this status: the Host is there but may not serve.
    Closed {
        /// HTTP status.
        status: u16,
    },
}

/// Hosts of a chain that answer alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Its first domain.
    pub name: Arc<str>,
    /// All its domains, sorted.
    pub domains: Vec<Arc<str>>,
    /// The answer.
    pub body: VirtualHostBody,
}

/// The route table of one HTTP chain, one RouteConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// `<listener>/<chain>`
    pub name: Arc<str>,
    /// Virtual hosts, ordered by name.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Answers say that HTTP/3 is spoken as well.
    pub advertises_http3: bool,
}
