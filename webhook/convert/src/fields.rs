//! Which fields a v3alpha1 `spec` has, as far as a conversion has to know.
//!
//! v3alpha1 is closed: an API server drops each field that its schema does not have. v1 and v2 are open in places, as
//! upstream published them, so an old object may have fields there that nobody knows, and they must come back with it.
//! What v3alpha1 would lose moves into [`crate::spelling`].
//!
//! The tables repeat what `manifests/crds` says; a test compares them.

use serde_json::Value;

use crate::{Kind, Object, ids};

/// Whether the `spec` of a kind has a field in v3alpha1.
pub fn knows(kind: Kind, field: &str) -> bool {
    names(kind).binary_search(&field).is_ok()
}

/// Takes the fields out of a v3alpha1 `spec` that it does not have.
pub(crate) fn take_unknown(kind: Kind, spec: &mut Object) -> Object {
    if spec.keys().all(|field| knows(kind, field)) {
        return Object::new();
    }
    let (known, unknown) = std::mem::take(spec).into_iter().partition(|(field, _)| knows(kind, field));
    *spec = known;
    unknown
}

/// Takes out of a v3alpha1 `spec` what an API server would not keep: fields that it does not have and, inside of those that
/// v1 and v2 leave open, what has no place there. Says whether there was anything.
///
/// Inside of all other fields the versions have the same schema, so that nothing can get lost.
pub(crate) fn prune(kind: Kind, spec: &mut Object) -> bool {
    let before = spec.len();
    let mut changed = false;
    spec.retain(|field, value| {
        let Some(shape) = shape(kind, field) else { return knows(kind, field) };
        changed |= shape.prune(value);
        !value.is_null()
    });
    changed || spec.len() != before
}

/// What a schema says about the structure of a value; types are of no interest here.
enum Shape {
    Scalar,
    List(&'static Self),
    Map(&'static Self),
    /// Whose values may be null, because v1 and v2 do not let a null in either.
    NullableMap(&'static Self),
    Object(&'static [(&'static str, Self)]),
}

/// The shape of a field that v1 and v2 leave open, at its top or further down.
fn shape(kind: Kind, field: &str) -> Option<&'static Shape> {
    const TEXT: &Shape = &Shape::Scalar;
    const TEXTS: &Shape = &Shape::List(TEXT);
    const TEXT_MAP: &Shape = &Shape::Map(TEXT);
    const ADDED: &Shape = &Shape::Map(&Shape::Object(&[
        ("append", Shape::Scalar),
        ("v2Representation", Shape::Scalar),
        ("value", Shape::Scalar),
    ]));
    const CORS: &Shape = &Shape::Object(&[
        ("credentials", Shape::Scalar),
        ("exposed_headers", Shape::List(TEXT)),
        ("headers", Shape::List(TEXT)),
        ("max_age", Shape::Scalar),
        ("methods", Shape::List(TEXT)),
        ("origins", Shape::List(TEXT)),
        ("v2CommaSeparatedOrigins", Shape::Scalar),
    ]);
    const LABEL: &Shape = &Shape::Object(&[
        ("destination_cluster", Shape::Object(&[("key", Shape::Scalar)])),
        (
            "generic_key",
            Shape::Object(&[("key", Shape::Scalar), ("v2Shorthand", Shape::Scalar), ("value", Shape::Scalar)]),
        ),
        ("remote_address", Shape::Object(&[("key", Shape::Scalar)])),
        (
            "request_headers",
            Shape::Object(&[
                ("header_name", Shape::Scalar),
                ("key", Shape::Scalar),
                ("omit_if_not_present", Shape::Scalar),
            ]),
        ),
        ("source_cluster", Shape::Object(&[("key", Shape::Scalar)])),
    ]);
    const LABELS: &Shape = &Shape::NullableMap(&Shape::List(&Shape::Map(&Shape::List(LABEL))));
    match (kind, field) {
        (_, ids::FIELD) => Some(TEXTS),
        (Kind::AuthService | Kind::Mapping | Kind::RateLimitService | Kind::TCPMapping, "tls") => Some(TEXT),
        (Kind::Mapping, "add_request_headers" | "add_response_headers") => Some(ADDED),
        (Kind::Mapping, "cors") => Some(CORS),
        (Kind::Mapping, "headers" | "query_parameters") => Some(TEXT_MAP),
        (Kind::Mapping, "labels") => Some(LABELS),
        (Kind::Mapping, "remove_request_headers" | "remove_response_headers") => Some(TEXTS),
        _ => None,
    }
}

impl Shape {
    /// Does to a value what an API server does. Says whether that changed anything.
    fn prune(&self, value: &mut Value) -> bool {
        prune_by(Some(self), value)
    }

    /// The shape of a field, if there is such a field.
    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Scalar | Self::List(_) => None,
            Self::Map(below) | Self::NullableMap(below) => Some(below),
            Self::Object(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, below)| below),
        }
    }
}

fn prune_by(shape: Option<&Shape>, value: &mut Value) -> bool {
    let mut changed = false;
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            let nullable = matches!(shape, Some(Shape::NullableMap(_)));
            fields.retain(|name, value| {
                let Some(below) = shape.and_then(|shape| shape.field(name)) else { return false };
                changed |= prune_by(Some(below), value);
                nullable || !value.is_null()
            });
            changed |= fields.len() != before;
        }
        Value::Array(values) => {
            let items = match shape {
                Some(Shape::List(items)) => Some(*items),
                _ => None,
            };
            for value in values {
                changed |= prune_by(items, value);
            }
        }
        _ => {}
    }
    changed
}

/// The fields of a v3alpha1 `spec`, sorted.
pub fn names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::AuthService => &[
            "add_auth_headers",
            "add_linkerd_headers",
            "allow_request_body",
            "allowed_authorization_headers",
            "allowed_request_headers",
            "ambassador_id",
            "auth_service",
            "circuit_breakers",
            "failure_mode_allow",
            "include_body",
            "path_prefix",
            "proto",
            "protocol_version",
            "stats_name",
            "status_on_error",
            "timeout_ms",
            "tls",
            "v2ExplicitTLS",
            "v2Spelling",
        ],
        Kind::ConsulResolver => &["address", "ambassador_id", "datacenter", "v2Spelling"],
        Kind::DevPortal => &[
            "ambassador_id",
            "content",
            "default",
            "docs",
            "naming_scheme",
            "preserve_servers",
            "search",
            "selector",
            "v2Spelling",
        ],
        Kind::Host => &[
            "acmeProvider",
            "ambassador_id",
            "hostname",
            "mappingSelector",
            "previewUrl",
            "requestPolicy",
            "selector",
            "tls",
            "tlsContext",
            "tlsSecret",
            "v2Spelling",
        ],
        Kind::KubernetesEndpointResolver => &["ambassador_id", "v2Spelling"],
        Kind::KubernetesServiceResolver => &["ambassador_id", "v2Spelling"],
        Kind::Listener => &[
            "ambassador_id",
            "hostBinding",
            "http2MaxConcurrentStreams",
            "l7Depth",
            "port",
            "protocol",
            "protocolStack",
            "securityModel",
            "statsPrefix",
        ],
        Kind::LogService => &[
            "ambassador_id",
            "driver",
            "driver_config",
            "flush_interval_byte_size",
            "flush_interval_time",
            "grpc",
            "protocol_version",
            "service",
            "stats_name",
            "v2Spelling",
        ],
        Kind::Mapping => &[
            "add_linkerd_headers",
            "add_request_headers",
            "add_response_headers",
            "allow_upgrade",
            "ambassador_id",
            "auth_context_extensions",
            "auto_host_rewrite",
            "bypass_auth",
            "bypass_error_response_overrides",
            "case_sensitive",
            "circuit_breakers",
            "cluster_idle_timeout_ms",
            "cluster_max_connection_lifetime_ms",
            "cluster_tag",
            "connect_timeout_ms",
            "cors",
            "dns_type",
            "docs",
            "enable_ipv4",
            "enable_ipv6",
            "envoy_override",
            "error_response_overrides",
            "grpc",
            "headers",
            "health_checks",
            "host",
            "host_redirect",
            "host_regex",
            "host_rewrite",
            "hostname",
            "idle_timeout_ms",
            "keepalive",
            "labels",
            "load_balancer",
            "method",
            "method_regex",
            "modules",
            "outlier_detection",
            "path_redirect",
            "precedence",
            "prefix",
            "prefix_exact",
            "prefix_redirect",
            "prefix_regex",
            "priority",
            "query_parameters",
            "redirect_response_code",
            "regex_headers",
            "regex_query_parameters",
            "regex_redirect",
            "regex_rewrite",
            "remove_request_headers",
            "remove_response_headers",
            "resolver",
            "respect_dns_ttl",
            "retry_policy",
            "rewrite",
            "service",
            "shadow",
            "stats_name",
            "timeout_ms",
            "tls",
            "use_websocket",
            "v2BoolHeaders",
            "v2BoolQueryParameters",
            "v2ExplicitTLS",
            "v2Spelling",
            "weight",
        ],
        Kind::Module => &["ambassador_id", "config", "v2Spelling"],
        Kind::RateLimitService => &[
            "ambassador_id",
            "domain",
            "failure_mode_deny",
            "grpc",
            "protocol_version",
            "service",
            "stats_name",
            "timeout_ms",
            "tls",
            "v2ExplicitTLS",
            "v2Spelling",
        ],
        Kind::TCPMapping => &[
            "address",
            "ambassador_id",
            "circuit_breakers",
            "cluster_tag",
            "enable_ipv4",
            "enable_ipv6",
            "host",
            "idle_timeout_ms",
            "port",
            "resolver",
            "service",
            "stats_name",
            "tls",
            "v2ExplicitTLS",
            "v2Spelling",
            "weight",
        ],
        Kind::TLSContext => &[
            "alpn_protocols",
            "ambassador_id",
            "ca_secret",
            "cacert_chain_file",
            "cert_chain_file",
            "cert_required",
            "cipher_suites",
            "crl_secret",
            "ecdh_curves",
            "hosts",
            "max_tls_version",
            "min_tls_version",
            "private_key_file",
            "redirect_cleartext_from",
            "secret",
            "secret_namespacing",
            "sni",
            "v2Spelling",
        ],
        Kind::TracingService => &[
            "ambassador_id",
            "config",
            "custom_tags",
            "driver",
            "sampling",
            "service",
            "stats_name",
            "tag_headers",
            "v2Spelling",
        ],
    }
}
