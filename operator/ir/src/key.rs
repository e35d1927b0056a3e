//! Names of objects.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

macro_rules! kinds {
    ($($name:ident $plural:literal $text:literal,)*) => {
        /// Every kind of object the gateway reads or speaks about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $text] $name,)* }

        impl Kind {
            /// All kinds, in declaration order.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The Kubernetes kind, for example `Mapping`.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name),)* }
            }

            /// The plural of the Kubernetes resource, for example `mappings`.
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$name => $plural,)* }
            }
        }

        impl FromStr for Kind {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $(stringify!($name) => Ok(Kind::$name),)* _ => Err(()) }
            }
        }
    };
}

kinds! {
    AuthService "authservices" "External authorization.",
    ConsulResolver "consulresolvers" "Endpoints from Consul.",
    DevPortal "devportals" "Accepted and kept; no effect on traffic.",
    Host "hosts" "A host name with its certificate and clear-text policy.",
    KubernetesEndpointResolver "kubernetesendpointresolvers" "Endpoints from EndpointSlices.",
    KubernetesServiceResolver "kubernetesserviceresolvers" "Addresses of Services.",
    Listener "listeners" "A port and the protocols on it.",
    LogService "logservices" "Access logs over gRPC.",
    Mapping "mappings" "An HTTP route.",
    Module "modules" "Installation-wide settings.",
    RateLimitService "ratelimitservices" "External rate limiting.",
    TCPMapping "tcpmappings" "A TCP route.",
    TLSContext "tlscontexts" "TLS settings.",
    TracingService "tracingservices" "A trace collector.",
    Service "services" "A core Service.",
    EndpointSlice "endpointslices" "A discovery.k8s.io EndpointSlice.",
    Secret "secrets" "A core Secret.",
    Namespace "namespaces" "A core Namespace.",
    Ingress "ingresses" "A networking.k8s.io Ingress.",
    IngressClass "ingressclasses" "A networking.k8s.io IngressClass.",
}

impl Kind {
    /// True for the fourteen kinds of `getambassador.io`.
    pub const fn is_custom(self) -> bool {
        (self as u8) <= (Kind::TracingService as u8)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Kind, namespace and name: the identity of an object. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// `<namespace>/<name>`, the form in which names are kept inside and shown to people.
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
