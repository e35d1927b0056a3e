//! What a route does beyond finding its cluster. Few routes have any of it, so they keep it in one box.

use crate::ClusterName;
use std::sync::Arc;

/// Rare settings of a route that forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ForwardOptions {
    /// When and how often a request is tried again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Cross-origin resource sharing.
    pub cors: Option<Arc<CorsPolicy>>,
    /// What a hashing load balancer hashes.
    pub hash_on: Option<HashOn>,
    /// Routing priority `high`.
    pub high_priority: bool,
    /// Protocols that a client may upgrade to, without duplicates.
    pub upgrades: Arc<[Arc<str>]>,
    /// Where copies of requests go.
    pub mirror: Option<Mirror>,
    /// Other bodies for answers with an error status; the first rule for a status counts.
    pub errors: Option<Arc<[ErrorRule]>>,
    /// The rules of the connection manager, [`crate::HttpSettings::errors`], do not apply.
    pub without_default_errors: bool,
}

impl ForwardOptions {
    /// Itself, unless it says nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Retries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// Envoy's name of what counts as a failure (`x-envoy-retry-on`).
    pub retry_on: &'static str,
    /// Most further attempts; `None`: Envoy's 1.
    pub num_retries: Option<u32>,
    /// Bound for each attempt, milliseconds.
    pub per_try_timeout_ms: Option<u64>,
}

/// Cross-origin resource sharing (the Fetch standard); lists as they stand in headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CorsPolicy {
    /// Origins that may ask; a `*` is any.
    pub origins: Vec<Arc<str>>,
    /// `access-control-allow-methods`
    pub methods: Option<Arc<str>>,
    /// `access-control-allow-headers`
    pub headers: Option<Arc<str>>,
    /// `access-control-expose-headers`
    pub exposed_headers: Option<Arc<str>>,
    /// `access-control-allow-credentials: true`
    pub credentials: bool,
    /// `access-control-max-age`, seconds.
    pub max_age: Option<u32>,
}

/// What picks the host of a hashing load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its path.
        path: Option<Arc<str>>,
        /// Milliseconds it lives; `None`: Envoy does not create it.
        ttl_ms: Option<u64>,
    },
    /// A request header.
    Header(Arc<str>),
    /// The client's address.
    SourceIp,
}

/// Copies of requests, whose answers nobody sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// Where they go.
    pub cluster: ClusterName,
    /// Share of the requests in percent.
    pub percent: u32,
}

/// Another body for answers with one status, whoever gave them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorRule {
    /// The HTTP status, 400 to 599, which stays.
    pub status: u16,
    /// The body.
    pub body: ErrorBody,
    /// `content-type`; `None`: that of the form of the body.
    pub content_type: Option<Arc<str>>,
}

/// The body of an error answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ErrorBody {
    /// Envoy format string, already judged valid; an empty one is an empty body.
    Text(Arc<str>),
    /// A JSON object: names, sorted, with the Envoy format strings of their values, already judged valid.
    Json(Arc<[(Arc<str>, Arc<str>)]>),
}
