//! Between protocol messages and what the state machine reads and writes.

use std::sync::Arc;

use bytes::BufMut;
use envoy_types::pb::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::event::NodeInfo;
use crate::resource::{Payload, Resource, ResourceType, Version};

/// Bytes kept of an error text: what a status condition and a diagnostics page can show.
const DETAIL_BYTES: usize = 4096;

/// A delta discovery request, reduced to what the protocol needs.
#[derive(Clone, Debug)]
pub struct Request {
    /// The type asked for.
    pub kind: ResourceType,
    /// Who asks; only the first request of a stream must say it.
    pub node: Option<NodeInfo>,
    /// Names from now on wanted; `*` stands for all.
    pub subscribe: Vec<Arc<str>>,
    /// Names no longer wanted.
    pub unsubscribe: Vec<Arc<str>>,
    /// What the client has from an earlier stream; a version of another server is `None`.
    pub initial_versions: Vec<(Arc<str>, Option<Version>)>,
    /// The response this one answers; `Some(0)` for a nonce this server cannot have sent.
    pub nonce: Option<u64>,
    /// Set when the answer is a refusal: the client's words.
    pub error: Option<String>,
}

impl Request {
    /// Reduces a message. `Err` holds the type URL when it is not one that is offered.
    pub fn from_message(message: DeltaDiscoveryRequest) -> Result<Self, String> {
        let Some(kind) = ResourceType::from_type_url(&message.type_url) else { return Err(message.type_url) };
        let names = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
        let versions = message.initial_resource_versions.into_iter();
        let nonce = (!message.response_nonce.is_empty())
            .then(|| u64::from_str_radix(&message.response_nonce, 16).unwrap_or_default());
        Ok(Request {
            kind,
            node: message.node.map(node_info),
            subscribe: names(message.resource_names_subscribe),
            unsubscribe: names(message.resource_names_unsubscribe),
            initial_versions: versions.map(|(name, version)| (name.into(), Version::parse(&version))).collect(),
            nonce,
            error: message.error_detail.map(|status| shorten(without_dumps(&status.message))),
        })
    }
}

fn node_info(node: Node) -> NodeInfo {
    let version = match node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(text)) => text,
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)).unwrap_or_default()
        }
        None => String::new(),
    };
    NodeInfo { id: shorten(node.id), cluster: shorten(node.cluster), version: shorten(version) }
}

/// What Envoy says without the messages that it prints in front of a violated constraint: they are whole route tables,
/// and what is said about one object must not tell its owner what its neighbours do.
fn without_dumps(text: &str) -> String {
    const DUMP: &str = "goo.gle/debug";
    const REASON: &str = "Proto constraint validation failed";
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, dump)) = rest.split_once(DUMP) {
        kept.push_str(before);
        // A dump without an end is cut off: nothing in it is a reason.
        rest = dump.find(REASON).and_then(|at| dump.get(at..)).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(DETAIL_BYTES));
    text
}

/// A delta discovery response that still shares its payloads with the store.
#[derive(Clone, Debug)]
pub struct Response {
    /// The type of everything in it.
    pub kind: ResourceType,
    /// Identifies the response on its stream.
    pub nonce: u64,
    /// The batch of the store that it was made from.
    pub batch: u64,
    /// Resources added or changed.
    pub resources: Vec<Arc<Resource>>,
    /// Names that are gone.
    pub removed: Vec<Arc<str>>,
}

// Field numbers of envoy/service/discovery/v3/discovery.proto and google/protobuf/any.proto. The frame is written by
// hand because the generated types own their bytes: every client would copy every table twice.
const RESPONSE_SYSTEM_VERSION: u32 = 1;
const RESPONSE_RESOURCES: u32 = 2;
const RESPONSE_TYPE_URL: u32 = 4;
const RESPONSE_NONCE: u32 = 5;
const RESPONSE_REMOVED: u32 = 6;
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
const ANY_TYPE_URL: u32 = 1;
const ANY_VALUE: u32 = 2;
/// Length of a version on the wire.
const VERSION_LEN: usize = 16;

impl Response {
    /// The nonce as it stands on the wire.
    pub fn nonce_text(&self) -> String {
        format!("{:x}", self.nonce)
    }

    /// Bytes of the resources, without names and framing.
    pub fn payload_len(&self) -> usize {
        self.resources.iter().map(|resource| resource.payload.len()).sum()
    }

    /// Length of the encoded message.
    pub fn encoded_len(&self) -> usize {
        let resources: usize = self.resources.iter().map(|r| field_len(RESPONSE_RESOURCES, resource_len(r))).sum();
        let removed: usize = self.removed.iter().map(|name| field_len(RESPONSE_REMOVED, name.len())).sum();
        field_len(RESPONSE_SYSTEM_VERSION, self.batch.to_string().len())
            + resources
            + field_len(RESPONSE_TYPE_URL, self.kind.type_url().len())
            + field_len(RESPONSE_NONCE, self.nonce_text().len())
            + removed
    }

    /// Appends the encoded message; payloads are copied once, straight into `buf`.
    pub fn encode(&self, buf: &mut impl BufMut) {
        put_str(RESPONSE_SYSTEM_VERSION, &self.batch.to_string(), buf);
        for resource in &self.resources {
            put_header(RESPONSE_RESOURCES, resource_len(resource), buf);
            put_str(RESOURCE_VERSION, &resource.version.to_string(), buf);
            put_header(RESOURCE_ANY, any_len(resource), buf);
            put_str(ANY_TYPE_URL, resource.kind.type_url(), buf);
            put_header(ANY_VALUE, resource.payload.len(), buf);
            resource.payload.put_into(buf);
            put_str(RESOURCE_NAME, &resource.name, buf);
        }
        put_str(RESPONSE_TYPE_URL, self.kind.type_url(), buf);
        put_str(RESPONSE_NONCE, &self.nonce_text(), buf);
        self.removed.iter().for_each(|name| put_str(RESPONSE_REMOVED, name, buf));
    }
}

fn resource_len(resource: &Resource) -> usize {
    field_len(RESOURCE_VERSION, VERSION_LEN)
        + field_len(RESOURCE_ANY, any_len(resource))
        + field_len(RESOURCE_NAME, resource.name.len())
}

fn any_len(resource: &Resource) -> usize {
    field_len(ANY_TYPE_URL, resource.kind.type_url().len()) + field_len(ANY_VALUE, resource.payload.len())
}

fn field_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

fn put_header(field: u32, len: usize, buf: &mut impl BufMut) {
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(len as u64, buf);
}

fn put_str(field: u32, text: &str, buf: &mut impl BufMut) {
    put_header(field, text.len(), buf);
    buf.put_slice(text.as_bytes());
}

/// The empty resource that answers for a subscribed name that does not exist, `None` where only a removal can say it.
///
/// Envoy ignores removals of assignments and route tables: a cluster would keep its last endpoints, a new listener
/// would wait 15 seconds for its routes.
pub(crate) fn empty_resource(kind: ResourceType, name: &Arc<str>) -> Option<Arc<Resource>> {
    let bytes = match kind {
        ResourceType::Endpoint => {
            ClusterLoadAssignment { cluster_name: name.to_string(), ..Default::default() }.encode_to_vec()
        }
        ResourceType::Route => RouteConfiguration { name: name.to_string(), ..Default::default() }.encode_to_vec(),
        ResourceType::Cluster | ResourceType::Secret | ResourceType::Listener | ResourceType::ExtensionConfig => {
            return None;
        }
    };
    Some(Arc::new(Resource {
        kind,
        name: name.clone(),
        version: Version::ABSENT,
        payload: Payload::from(bytes),
        companions: Arc::new([]),
        warms: false,
    }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
    use envoy_types::pb::google::rpc::Status;

    use super::*;

    #[test]
    fn a_response_reads_as_the_generated_message() {
        let rope = Payload::from_parts(vec![Bytes::from_static(b"\x0a\x01"), Bytes::from_static(b"r")]);
        let table = Resource {
            kind: ResourceType::Route,
            name: "web/a".into(),
            version: Version(0xbeef),
            payload: rope,
            companions: Arc::new([]),
            warms: false,
        };
        let big = Resource { payload: Payload::from(vec![7; 70_000]), name: "big".into(), ..table.clone() };
        let response = Response {
            kind: ResourceType::Route,
            nonce: 0x1_0000_0002,
            batch: 12,
            resources: vec![Arc::new(table), Arc::new(big)],
            removed: vec!["gone".into()],
        };
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        assert_eq!(bytes.len(), response.encoded_len());

        let message = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(message.type_url, ResourceType::Route.type_url());
        assert_eq!((message.nonce.as_str(), message.system_version_info.as_str()), ("100000002", "12"));
        assert_eq!(message.removed_resources, ["gone"]);
        let first = &message.resources[0];
        assert_eq!((first.name.as_str(), first.version.as_str()), ("web/a", "000000000000beef"));
        let any = first.resource.as_ref().unwrap();
        assert_eq!((any.type_url.as_str(), any.value.as_slice()), (ResourceType::Route.type_url(), &b"\x0a\x01r"[..]));
        assert_eq!(message.resources[1].resource.as_ref().unwrap().value.len(), 70_000);
    }

    #[test]
    fn requests_are_reduced() {
        let message = DeltaDiscoveryRequest {
            type_url: ResourceType::Cluster.type_url().into(),
            resource_names_subscribe: vec!["a".into()],
            initial_resource_versions: [("b".to_owned(), "elsewhere".to_owned())].into(),
            response_nonce: "1f".into(),
            error_detail: Some(Status { code: 13, message: "é".repeat(DETAIL_BYTES), details: vec![] }),
            ..Default::default()
        };
        let request = Request::from_message(message.clone()).unwrap();
        assert_eq!((request.kind, request.nonce), (ResourceType::Cluster, Some(0x1f)));
        assert_eq!(request.initial_versions, [("b".into(), None)]);
        assert_eq!(request.error.unwrap().len(), DETAIL_BYTES);

        let foreign = DeltaDiscoveryRequest { response_nonce: "not ours".into(), ..message.clone() };
        assert_eq!(Request::from_message(foreign).unwrap().nonce, Some(0));
        let none = DeltaDiscoveryRequest { response_nonce: String::new(), ..message.clone() };
        assert_eq!(Request::from_message(none).unwrap().nonce, None);
        assert_eq!(Request::from_message(DeltaDiscoveryRequest { type_url: "x".into(), ..message }).unwrap_err(), "x");
    }

    #[test]
    fn what_envoy_says_has_no_configuration_in_it() {
        let dump = "goo.gle/debugproto    \nname: \"a\"\nroutes {\n  key: \"secret\"\n}\n: ";
        let reason = "Proto constraint validation failed (Route.PrefixRewrite: value does not match)";
        assert_eq!(without_dumps(&format!("{dump}{reason}")), reason);
        let two = format!("Error adding/updating cluster(s) a: {dump}{reason}, b: {dump}{reason}");
        assert_eq!(without_dumps(&two), format!("Error adding/updating cluster(s) a: {reason}, b: {reason}"));
        assert_eq!(without_dumps(&format!("Error: {dump}")), "Error: ");
        assert_eq!(without_dumps("duplicate route"), "duplicate route");
    }
}
