//! Resource store, delta protocol state machine and ADS server.
//!
//! Configuration enters as a [`Delta`] into the [`Store`]; every connected Envoy has a [`Subscriber`] that decides what
//! it is sent and when; [`Ads`] carries the two over gRPC; what the clients answer leaves as [`Event`]s.
//!
//! The payloads are opaque bytes here. The crate builds no Envoy configuration of its own, with two exceptions that the
//! protocol demands: an empty assignment and an empty route table for a subscribed name that does not exist.
//!
//! [`Subscriber`] has no socket, no task and no clock: requests, a view of the store and the time go in, responses and
//! events come out. The protocol rules it keeps are Envoy's observed behaviour as a delta client (the incremental variant
//! of <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>), written down at the code they shape.

mod event;
mod resource;
mod server;
mod store;
mod subscriber;
mod wire;

pub use event::{ClientId, ClientStatus, Event, NodeInfo, Refusal, TypeStatus};
pub use resource::{Companions, Delta, Part, Payload, Resource, ResourceType, Version};
pub use server::{Ads, EventSink, Options, ServeError, TlsIdentity, TlsServer, UnixServer};
pub use store::{State, Store, View};
pub use subscriber::{Limits, Subscriber, TooManyNames};
pub use wire::{Request, Response};
