//! Where requests come in.

use crate::{ClusterName, ErrorRule, ModuleFilters, SecretName, TlsVersion};
use std::sync::Arc;

/// Address, port and transport: what can be bound once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bind {
    /// IP address text.
    pub address: Arc<str>,
    /// The port.
    pub port: u16,
    /// UDP (QUIC) instead of TCP.
    pub udp: bool,
}

/// Filters that look at a connection before its chain is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerFilter {
    /// PROXY protocol.
    ProxyProtocol,
    /// SNI and ALPN.
    TlsInspector,
}

/// TLS that a chain terminates. Certificates come by SDS only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Certificate; its absence is answered by an SDS removal, and handshakes fail.
    pub certificate: Option<SecretName>,
    /// CA and revocation list for client certificates.
    pub validation: Option<SecretName>,
    /// Whether a client must show a certificate.
    pub require_client_certificate: bool,
    /// Protocols to negotiate, in order.
    pub alpn: Vec<Arc<str>>,
    /// Lowest version.
    pub min_version: Option<TlsVersion>,
    /// Highest version.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites up to TLS 1.2.
    pub cipher_suites: Vec<Arc<str>>,
    /// Curves.
    pub ecdh_curves: Vec<Arc<str>>,
}

/// Settings of the HTTP connection manager. One value per listener, shared by its chains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Trusted proxies in front; 0: the connection decides.
    pub xff_num_trusted_hops: u32,
    /// Whether the peer's address counts as the client's.
    pub use_remote_address: bool,
    /// The `server` header.
    pub server_name: Arc<str>,
    /// HTTP/1.0 clients are served.
    pub accept_http_10: bool,
    /// Both content-length and chunked are let through.
    pub allow_chunked_length: bool,
    /// `x-request-id` of outside clients is kept.
    pub preserve_external_request_id: bool,
    /// The port is cut off the authority before routing when it is the listener's.
    pub strip_matching_host_port: bool,
    /// `//` becomes `/` before routing.
    pub merge_slashes: bool,
    /// Requests with escaped slashes are refused.
    pub reject_escaped_slashes: bool,
    /// `x-envoy-*` headers are not added.
    pub suppress_envoy_headers: bool,
    /// Largest request header block, KiB.
    pub max_request_headers_kb: Option<u32>,
    /// Milliseconds until an idle client connection is closed.
    pub idle_timeout_ms: Option<u64>,
    /// `ALLOW`, `REJECT_REQUEST`, `DROP_HEADER`.
    pub headers_with_underscores: Option<UnderscoreAction>,
    /// HTTP/2 streams per connection.
    pub max_concurrent_streams: Option<u32>,
    /// Names of response headers begin with capitals, for clients of HTTP/1 that want them so.
    pub proper_case: bool,
    /// What a request says about the client's certificate.
    pub client_certificate: ClientCertificateHeader,
    /// Where access logs go and in which form.
    pub access_log: AccessLog,
    /// Other bodies for answers with an error status, where a route has no say; the first rule for a status counts.
    pub errors: Arc<[ErrorRule]>,
    /// Filters that the Module asks for; `None` without any, as nearly everywhere.
    pub filters: Option<Arc<ModuleFilters>>,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCertificateHeader {
    /// What is done with it; `None`: Envoy's default, which takes it away.
    pub mode: Option<ForwardCertificate>,
    /// The subject of the certificate is put in.
    pub subject: bool,
    /// The certificate is.
    pub cert: bool,
    /// Its whole chain is.
    pub chain: bool,
    /// Its DNS names are.
    pub dns: bool,
    /// Its first URI is.
    pub uri: bool,
}

/// Envoy's ways with `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardCertificate {
    /// Taken away.
    Sanitize,
    /// Kept, when the client has shown a certificate.
    ForwardOnly,
    /// Appended to, when the client has shown a certificate.
    AppendForward,
    /// Replaced, when the client has shown a certificate.
    SanitizeSet,
    /// Kept.
    AlwaysForwardOnly,
}

/// What happens to a header with an underscore in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnderscoreAction {
    /// Kept.
    Allow,
    /// The request is refused.
    RejectRequest,
    /// The header is dropped.
    DropHeader,
}

/// The access log of a connection manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccessLog {
    /// File path.
    pub path: Arc<str>,
    /// Lines.
    pub format: AccessLogFormat,
}

/// The form of access log lines. JSON is kept as canonical text with sorted keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogFormat {
    /// Envoy format string.
    Text(Arc<str>),
    /// JSON object whose values are format strings; all values become strings.
    Json(Arc<str>),
    /// The same, with types kept.
    TypedJson(Arc<str>),
}

/// Which connections a chain takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChainMatch {
    /// TLS with one of these server names; empty: every TLS connection. Only exact names and `*.suffix`.
    Tls(Vec<Arc<str>>),
    /// What no other chain takes.
    Rest,
}

/// What a chain does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainBody {
    /// HTTP, routed by the table of that name.
    Http {
        /// Name of the [`crate::RouteTable`].
        table: Arc<str>,
    },
    /// Bytes, as they come.
    Tcp(Arc<TcpProxy>),
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Clusters with their weights, which are above 0; at least one.
    pub clusters: Vec<(ClusterName, u32)>,
    /// Milliseconds until an idle connection is closed; `None`: Envoy's hour.
    pub idle_timeout_ms: Option<u64>,
}

/// One filter chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name, from identity: `<host namespace>/<host name>` for TLS, `cleartext` for clear text, `tcp` and
    /// `tcp:<server name>` for TCP.
    pub name: Arc<str>,
    /// Which connections it takes.
    pub matches: ChainMatch,
    /// TLS, if it terminates it.
    pub tls: Option<ServerTls>,
    /// What happens then.
    pub body: ChainBody,
}

/// One Envoy listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerRow {
    /// `<namespace>/<name>` of the Listener, `listener-<address>-<port>` where TCPMappings have none.
    pub name: Arc<str>,
    /// What it binds.
    pub bind: Bind,
    /// Filters in the order of the protocol stack.
    pub filters: Vec<ListenerFilter>,
    /// Read and write buffer limit, bytes.
    pub buffer_limit_bytes: Option<u32>,
    /// Settings of all its HTTP chains.
    pub http: Arc<HttpSettings>,
    /// Chains ordered by name.
    pub chains: Vec<Arc<Chain>>,
}
