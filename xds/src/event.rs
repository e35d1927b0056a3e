//! What the server tells upward: answers of clients, and how each client stands.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::resource::{ResourceType, Version};

/// Identifies one stream of one client for the lifetime of the process; a reconnect is a new client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a client says about itself in its first request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// The version of the proxy, as `1.40.0`; empty when it did not say.
    pub version: String,
}

/// What a client did, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stream's first request arrived.
    Connected {
        /// The new stream.
        client: ClientId,
        /// Who it is.
        node: NodeInfo,
    },
    /// The stream ended; nothing more comes from this client. Only after `Connected`.
    Disconnected {
        /// The stream that ended.
        client: ClientId,
    },
    /// A response was accepted.
    Acked {
        /// Who accepted.
        client: ClientId,
        /// The type of the response.
        kind: ResourceType,
        /// Names and versions it carried; [`Version::ABSENT`] for an empty resource that answered for an unknown name.
        resources: Vec<(Arc<str>, Version)>,
    },
    /// A response was refused (NACK); names everything that was in it.
    Refused {
        /// Who refused.
        client: ClientId,
        /// The type of the response.
        kind: ResourceType,
        /// Names and versions it carried.
        resources: Vec<(Arc<str>, Version)>,
        /// Names it removed.
        removed: Vec<Arc<str>>,
        /// The client's words, cut to a few kilobytes.
        detail: String,
    },
    /// Everything of all batches up to this one that the client subscribes to is acknowledged: listeners, routes,
    /// endpoints, secrets and extension configurations. Clusters are not awaited: Envoy withholds their ACK while any
    /// of them warms.
    Live {
        /// Who has it.
        client: ClientId,
        /// The newest batch it has completely; grows from event to event.
        batch: u64,
    },
}

/// How one connected client stands.
#[derive(Clone, Debug)]
pub struct ClientStatus {
    /// The stream.
    pub id: ClientId,
    /// Who it is; empty before its first request.
    pub node: NodeInfo,
    /// When the stream began.
    pub connected_since: SystemTime,
    /// The newest batch the client has completely, 0 for none yet.
    pub live_batch: u64,
    /// One entry for each type the client was sent or asked for.
    pub types: Vec<TypeStatus>,
}

/// How a client stands with one resource type.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    /// The type.
    pub kind: ResourceType,
    /// Whether it wants every resource of the type.
    pub wildcard: bool,
    /// How many names it subscribes to, those of a wildcard and companions of clusters included.
    pub subscribed: usize,
    /// How many responses it was sent.
    pub sent: u64,
    /// How many resources were in them. A client that reconnects and has everything is sent none.
    pub resources: u64,
    /// Bytes of resources sent and not yet answered.
    pub pending_bytes: usize,
    /// How many responses are sent and not yet answered.
    pub pending: usize,
    /// Names that wait to be sent.
    pub waiting: usize,
    /// Time and nonce of the last ACK.
    pub last_ack: Option<(SystemTime, String)>,
    /// The last NACK.
    pub last_nack: Option<Refusal>,
}

/// A refused response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When the refusal came.
    pub at: SystemTime,
    /// The nonce of the response.
    pub nonce: String,
    /// The client's words, cut to a few kilobytes.
    pub detail: String,
}
