//! The specs of all kinds as one type.

use serde::de::DeserializeOwned;

use crate::decode::{DecodeProblem, Decoded, Raw, decode};
use crate::v3alpha1::{
    AuthServiceSpec, ConsulResolverSpec, DevPortalSpec, HostSpec, KubernetesEndpointResolverSpec,
    KubernetesServiceResolverSpec, ListenerSpec, LogServiceSpec, MappingSpec, ModuleSpec, RateLimitServiceSpec,
    TcpMappingSpec, TlsContextSpec, TracingServiceSpec,
};

/// API group of the custom resources.
pub const GROUP: &str = "getambassador.io";

/// Names of the fourteen kinds, in alphabetical order.
pub const KINDS: [&str; 14] = [
    "AuthService",
    "ConsulResolver",
    "DevPortal",
    "Host",
    "KubernetesEndpointResolver",
    "KubernetesServiceResolver",
    "Listener",
    "LogService",
    "Mapping",
    "Module",
    "RateLimitService",
    "TCPMapping",
    "TLSContext",
    "TracingService",
];

/// A spec of any kind, in version v3alpha1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Spec {
    /// Of an AuthService.
    AuthService(Box<AuthServiceSpec>),
    /// Of a ConsulResolver.
    ConsulResolver(Box<ConsulResolverSpec>),
    /// Of a DevPortal.
    DevPortal(Box<DevPortalSpec>),
    /// Of a Host.
    Host(Box<HostSpec>),
    /// Of a KubernetesEndpointResolver.
    KubernetesEndpointResolver(Box<KubernetesEndpointResolverSpec>),
    /// Of a KubernetesServiceResolver.
    KubernetesServiceResolver(Box<KubernetesServiceResolverSpec>),
    /// Of a Listener.
    Listener(Box<ListenerSpec>),
    /// Of a LogService.
    LogService(Box<LogServiceSpec>),
    /// Of a Mapping.
    Mapping(Box<MappingSpec>),
    /// Of a Module.
    Module(Box<ModuleSpec>),
    /// Of a RateLimitService.
    RateLimitService(Box<RateLimitServiceSpec>),
    /// Of a TCPMapping.
    TcpMapping(Box<TcpMappingSpec>),
    /// Of a TLSContext.
    TlsContext(Box<TlsContextSpec>),
    /// Of a TracingService.
    TracingService(Box<TracingServiceSpec>),
}

impl Spec {
    /// Name of the kind, as in `kind:` of a manifest.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Spec::AuthService(_) => "AuthService",
            Spec::ConsulResolver(_) => "ConsulResolver",
            Spec::DevPortal(_) => "DevPortal",
            Spec::Host(_) => "Host",
            Spec::KubernetesEndpointResolver(_) => "KubernetesEndpointResolver",
            Spec::KubernetesServiceResolver(_) => "KubernetesServiceResolver",
            Spec::Listener(_) => "Listener",
            Spec::LogService(_) => "LogService",
            Spec::Mapping(_) => "Mapping",
            Spec::Module(_) => "Module",
            Spec::RateLimitService(_) => "RateLimitService",
            Spec::TcpMapping(_) => "TCPMapping",
            Spec::TlsContext(_) => "TLSContext",
            Spec::TracingService(_) => "TracingService",
        }
    }
}

/// Decodes the `spec` of an object of the given kind. A missing or null spec reads as `{}`; a kind that is none of
/// [`KINDS`] is a problem at `kind`.
pub fn decode_kind<'a>(kind: &str, spec: impl Into<Raw<'a>>) -> Decoded<Spec> {
    let spec = spec.into().or_missing();
    match kind {
        "AuthService" => boxed(spec, Spec::AuthService),
        "ConsulResolver" => boxed(spec, Spec::ConsulResolver),
        "DevPortal" => boxed(spec, Spec::DevPortal),
        "Host" => boxed(spec, Spec::Host),
        "KubernetesEndpointResolver" => boxed(spec, Spec::KubernetesEndpointResolver),
        "KubernetesServiceResolver" => boxed(spec, Spec::KubernetesServiceResolver),
        "Listener" => boxed(spec, Spec::Listener),
        "LogService" => boxed(spec, Spec::LogService),
        "Mapping" => boxed(spec, Spec::Mapping),
        "Module" => boxed(spec, Spec::Module),
        "RateLimitService" => boxed(spec, Spec::RateLimitService),
        "TCPMapping" => boxed(spec, Spec::TcpMapping),
        "TLSContext" => boxed(spec, Spec::TlsContext),
        "TracingService" => boxed(spec, Spec::TracingService),
        other => {
            let mut name = other.to_owned();
            crate::decode::shorten(&mut name, 80);
            Decoded::problem(DecodeProblem::new("kind", format!("`{name}` is no kind of {GROUP}/v3alpha1")))
        }
    }
}

fn boxed<S: DeserializeOwned>(spec: Raw<'_>, kind: fn(Box<S>) -> Spec) -> Decoded<Spec> {
    decode(spec).map(|spec| kind(Box::new(spec)))
}
