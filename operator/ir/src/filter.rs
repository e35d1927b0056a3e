//! HTTP filters that guard nothing. They stand in the chain itself, and only while the Module asks for them (decision 4).

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
