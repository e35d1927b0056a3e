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
