//! How large anything may be. One place, so that the sum of all fields of an object stays bounded.
//!
//! Most numbers are far above what real configurations use. Where Envoy has a limit of its own, ours is not above it;
//! those were read from its API definitions and tried with Envoy 1.40.

/// Switches of the parsers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A test hook: header values and rewrites are passed on unjudged, so that Envoy has something to refuse.
    pub unchecked: bool,
}

/// Bytes of a path prefix, an exact path, a rewrite or a redirect path. Clients rarely get longer ones through.
pub const PATH: usize = 8 * 1024;
/// Bytes of a regular expression. The program size refuses most long ones earlier.
pub const REGEX: usize = 8 * 1024;
/// Bytes of a header or cookie name. Envoy takes 16384.
pub const HEADER_NAME: usize = 1024;
/// Bytes of a header value. Envoy takes 16384.
pub const HEADER_VALUE: usize = 16 * 1024;
/// Bytes of the name of a query parameter, Envoy's limit.
pub const QUERY_NAME: usize = 1024;
/// Entries of one map or list of headers. Envoy takes 1000 in a route, where lists of several sources are joined.
pub const HEADERS: usize = 256;
/// Entries of any other list or map.
pub const ITEMS: usize = 1024;
/// Bytes of a DNS name.
pub const HOSTNAME: usize = 253;
/// Bytes of a DNS name or glob with a colon and a port.
pub const HOSTNAME_AND_PORT: usize = HOSTNAME + 6;
/// Bytes of the name of an object, a resolver, a label domain, a statistics name, a tag.
pub const NAME: usize = 512;
/// Bytes of a service, all included.
pub const SERVICE: usize = 1024;
/// Bytes of a path in the file system.
pub const FILE: usize = 4096;
/// Bytes of an access log format.
pub const LOG_FORMAT: usize = 64 * 1024;
/// Bytes of the body of an error answer. It stands in every route table that has it.
pub const ERROR_BODY: usize = 64 * 1024;
/// Rules for bodies of error answers: one for each status.
pub const ERROR_RULES: usize = 200;
/// Bytes of one protocol name in ALPN, from RFC 7301.
pub const ALPN: usize = 255;
/// The longest duration, in milliseconds: Envoy keeps them as nanoseconds in 64 bits and refuses longer ones.
pub const DURATION_MS: u64 = 9_223_372_035_999;
/// Bytes of one PEM document (a chain, a bundle or a revocation list).
pub const PEM: usize = 1024 * 1024;
/// Certificates or revocation lists in one PEM document.
pub const PEM_BLOCKS: usize = 2048;
/// Bytes of a private key in PEM.
pub const PEM_KEY: usize = 64 * 1024;
/// Kibibytes of a request's headers, Envoy's limit.
pub const REQUEST_HEADERS_KB: u32 = 8192;
/// Unknown keys of a Module that are named; the rest would only make the status longer.
pub const LISTED: usize = 20;
