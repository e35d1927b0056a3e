//! Version v1 of the `getambassador.io` resources: the types of v2 under an older label.
//!
//! Listener and Host do not exist in v1.

pub use crate::v2::{
    AuthServiceSpec, ConsulResolverSpec, DevPortalSpec, KubernetesEndpointResolverSpec, KubernetesServiceResolverSpec,
    LogServiceSpec, MappingSpec, ModuleSpec, RateLimitServiceSpec, TcpMappingSpec, TlsContextSpec, TracingServiceSpec,
};
