//! HTTP filters that guard nothing. They stand in the chain itself, and only while the Module asks for them (decision 4).

use std::num::NonZeroU32;
use std::sync::Arc;

/// What the Module puts into every HTTP filter chain, in the order in which requests pass it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModuleFilters {
    /// gRPC over HTTP/1.1, with the status of the call as the status of the answer.
    pub grpc_http1_bridge: bool,
    /// gRPC-Web becomes gRPC.
    pub grpc_web: bool,
    /// Statistics of gRPC calls.
    pub grpc_stats: Option<GrpcStats>,
    /// Answers are compressed for clients that take gzip.
    pub gzip: Option<Gzip>,
    /// Requests are read to their end before they go on, up to so many bytes; longer ones are refused.
    pub buffer_bytes: Option<NonZeroU32>,
}

/// Statistics of gRPC calls, by cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcStats {
    /// Which calls are counted under their name.
    pub methods: GrpcMethods,
    /// Times of the upstream are measured as well.
    pub upstream: bool,
}

/// gRPC methods. Calls of others are counted without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum GrpcMethods {
    /// None.
    #[default]
    Unnamed,
    /// All, whatever clients make up.
    All,
    /// Those of some services; at least one.
    Of(Vec<GrpcService>),
}

/// Some methods of a gRPC service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcService {
    /// `package.Service`, not empty.
    pub name: Arc<str>,
    /// Names of methods, at least one, none of them empty.
    pub methods: Vec<Arc<str>>,
}

/// How answers are compressed. What is absent is left to Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gzip {
    /// zlib's memory level, 1 to 9.
    pub memory_level: Option<u32>,
    /// zlib's compression level, 1 to 9.
    pub level: Option<u32>,
    /// zlib's strategy.
    pub strategy: Option<GzipStrategy>,
    /// The base two logarithm of zlib's window, 9 to 15.
    pub window_bits: Option<u32>,
    /// Shorter bodies are left as they are.
    pub min_content_length: Option<u32>,
    /// Media types, which have no case; empty: Envoy's list.
    pub content_types: Vec<Arc<str>>,
    /// Answers with an entity tag are left as they are.
    pub not_with_etag: bool,
    /// Services are not told that the client takes compressed answers.
    pub remove_accept_encoding: bool,
}

/// zlib's strategies besides its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GzipStrategy {
    /// For data that a filter has made.
    Filtered,
    /// No matches of strings.
    HuffmanOnly,
    /// Runs only.
    Rle,
    /// No codes of its own.
    Fixed,
}
