//! What there is to show, as plain data. The JSON API is the serialised form of these types.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the diagnostics come from. Every method returns at once, from published snapshots.
pub trait Source: Send + Sync + 'static {
    /// Whether the gateway lives and may get traffic.
    fn health(&self) -> Health;
    /// Every object with what is said about it.
    fn status(&self) -> StatusReport;
    /// How many objects there are of each kind and state. For scrapes, which come often: no report is made of any object.
    fn counts(&self) -> ObjectCounts;
    /// Connected clients of the configuration stream.
    fn clients(&self) -> Vec<ClientReport>;
    /// All resources in Envoy's JSON form, without private keys. May take a while with large configurations.
    fn envoy(&self) -> serde_json::Value;
    /// What becomes of a request. Costs what exists, as every route may be looked at.
    fn why(&self, question: &WhyQuestion) -> WhyReport;
}

/// Objects by kind and state.
pub type ObjectCounts = BTreeMap<(String, String), i64>;

/// The answers of the two probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The pipeline is at work.
    pub alive: bool,
    /// A configuration is published, an Envoy has acknowledged it, and nobody asked to drain.
    pub ready: bool,
}

/// Everything about the objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The gateway itself.
    pub overview: Overview,
    /// Objects ordered by kind, namespace and name.
    pub objects: Vec<ObjectReport>,
    /// What could not be turned into objects.
    #[serde(default)]
    pub source_problems: Vec<SourceProblemReport>,
    /// What is served, by listener and host name.
    #[serde(default)]
    pub hosts: Vec<HostReport>,
}

/// The gateway in a few values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Version of the binary.
    pub version: String,
    /// `AMBASSADOR_ID`
    pub ambassador_id: String,
    /// `AMBASSADOR_NAMESPACE`
    pub namespace: String,
    /// Number of the newest batch.
    pub batch: u64,
    /// Newest batch that all connected Envoys have; 0 for none.
    pub live_batch: u64,
    /// Empty, or why nothing is published yet.
    pub waiting_for: Vec<String>,
    /// New traffic is to stay away.
    pub draining: bool,
}

/// One object and what is said about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// The Kubernetes kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One word: `Ready`, `Pending`, `Degraded`, `Refused`, `Unused`.
    pub state: String,
    /// Reason, field and text when there is something to say.
    pub summary: String,
    /// The conditions as they are written into the status.
    pub conditions: Vec<ConditionReport>,
    /// All findings.
    pub problems: Vec<ProblemReport>,
    /// Upstream's own status fields.
    #[serde(default)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionReport {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Ready`, `BackendsReady`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// CamelCase reason.
    pub reason: String,
    /// For people.
    pub message: String,
    /// `metadata.generation` of the version that was judged.
    #[serde(rename = "observedGeneration")]
    pub observed_generation: i64,
}

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemReport {
    /// Field path; empty for the object itself.
    pub field: String,
    /// CamelCase reason.
    pub reason: String,
    /// `Refused`, `Degraded`, `Notice`.
    pub effect: String,
    /// What failed and with which value.
    pub message: String,
}

/// Something in a source that is no object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProblemReport {
    /// The file.
    pub path: String,
    /// Line in it; 0 for the file as a whole.
    pub line: usize,
    /// CamelCase reason.
    pub reason: String,
    /// What failed.
    pub message: String,
}

/// One host name on one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The route table, `<listener>/<chain>`.
    pub table: String,
    /// Address and port.
    pub address: String,
    /// Host names.
    pub domains: Vec<String>,
    /// What happens there: `routes`, `redirect to https`, …
    pub answer: String,
    /// Number of routes.
    pub routes: usize,
}

/// A request to explain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhyQuestion {
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// It comes over TLS.
    pub tls: bool,
    /// Only the listener with this port.
    pub port: Option<u16>,
}

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    /// Whether anything answers it.
    pub answered: bool,
    /// What each listener does with it.
    pub listeners: Vec<WhyListener>,
    /// Mappings that are out of force and so in no route, with the reason; the first few.
    #[serde(default)]
    pub refused: Vec<WhyNot>,
    /// How many more of those there are.
    #[serde(default)]
    pub more_refused: usize,
}

/// What one listener does with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyListener {
    /// Its name.
    pub listener: String,
    /// Its port.
    pub port: u16,
    /// The filter chain that takes the connection.
    pub chain: Option<String>,
    /// The domain of the virtual host.
    pub domain: Option<String>,
    /// What happens, in words; several where weights decide.
    pub answers: Vec<String>,
    /// Mappings that do not answer for one reason only.
    pub near_misses: Vec<WhyNot>,
}

/// An object that does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyNot {
    /// Kind, namespace and name.
    pub object: String,
    /// Why not.
    pub reason: String,
}

/// One connected client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Number of its stream.
    pub id: u64,
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub cluster: String,
    /// Version of the proxy.
    pub version: String,
    /// Seconds since 1970.
    pub connected_since: u64,
    /// Newest batch it has completely.
    pub live_batch: u64,
    /// Refusals that no object can be blamed for.
    pub reports: Vec<String>,
    /// By resource type.
    pub types: Vec<TypeReport>,
}

/// How a client stands with one resource type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeReport {
    /// `CDS`, `EDS`, `SDS`, `LDS`, `RDS`, `ECDS`.
    pub kind: String,
    /// Names it subscribes to.
    pub subscribed: usize,
    /// Responses it was sent.
    pub sent: u64,
    /// Resources in them.
    pub resources: u64,
    /// Responses sent and not yet answered.
    pub pending: usize,
    /// Bytes of them.
    pub pending_bytes: usize,
    /// Names that wait to be sent or to be switched off.
    pub waiting: usize,
    /// Seconds since 1970 of the last ACK.
    pub last_ack: Option<u64>,
    /// The last NACK.
    pub last_nack: Option<RefusalReport>,
}

/// A NACK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// Seconds since 1970.
    pub at: u64,
    /// Envoy's words.
    pub detail: String,
}
