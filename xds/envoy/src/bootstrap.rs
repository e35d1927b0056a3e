//! The configuration file Envoy starts with: one that fetches everything from the control plane, and one that holds
//! everything itself.

mod inline;

pub use inline::static_bootstrap;

use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The name of the cluster that stands for the control plane, as upstream has it.
pub const CONTROL_PLANE_CLUSTER: &str = "xds_cluster";

/// How long Envoy waits between attempts to reach its control plane, the first time and at most; by default it is half a
/// second and half a minute. The socket is on the same machine, and what is not there costs nothing to ask for.
const RECONNECT: (&str, &str) = ("0.05s", "1s");

/// How large an RE2 program may be as far as Envoy is concerned. Its own limit is 100; the compiler judges by the
/// Module's `regex_max_size` (200 by default), which this must not undercut.
const REGEX_PROGRAM_SIZE: u32 = 10_000;

/// Where Envoy's admin interface listens: only where the machine's own users come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// A UNIX socket, for this user only.
    Unix(PathBuf),
    /// An address, of the loopback interface.
    Tcp(SocketAddr),
}

/// The listener that answers `/ready` for as long as Envoy is live and not draining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl Default for Ready {
    /// Upstream's: 127.0.0.1:8006.
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 8006 }
    }
}

/// What a bootstrap depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapOptions {
    /// `node.id`
    pub node_id: String,
    /// `node.cluster`
    pub node_cluster: String,
    /// The admin interface; `None` for none.
    pub admin: Option<Admin>,
    /// The ready listener; `None` for none.
    pub ready: Option<Ready>,
}

impl BootstrapOptions {
    /// Upstream's node names for an installation (its `AMBASSADOR_ID` and namespace), with the ready listener and
    /// without an admin interface.
    pub fn new(ambassador_id: &str, namespace: &str) -> Self {
        Self {
            node_id: "test-id".to_string(),
            node_cluster: format!("{ambassador_id}-{namespace}"),
            admin: None,
            ready: Some(Ready::default()),
        }
    }
}

/// The bootstrap of an Envoy that takes everything from a control plane on that UNIX socket, by delta ADS. Sources:
/// Envoy's bootstrap reference; the node is sent once a stream, as it takes 61 kB.
pub fn dynamic_bootstrap(options: &BootstrapOptions, control_plane: &std::path::Path) -> Value {
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let mut out = common(options);
    set(
        &mut out,
        "dynamic_resources",
        json!({
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": CONTROL_PLANE_CLUSTER,
                    "retry_policy": {"retry_back_off": {"base_interval": RECONNECT.0, "max_interval": RECONNECT.1}},
                }}],
            },
            "cds_config": ads,
            "lds_config": ads,
        }),
    );
    set(
        &mut out,
        "static_resources",
        json!({
            "clusters": [control_plane_cluster(json!({"pipe": {"path": control_plane.to_string_lossy()}}))],
            "listeners": options.ready.iter().map(ready_listener).collect::<Vec<_>>(),
        }),
    );
    out
}

/// Arguments for Envoy that go with these bootstraps: how long closing connections are drained, immediately from the
/// start rather than with growing probability, and how much is logged. Envoy would warn about every use of messages whose
/// form may still change, once a route and update; which of them are used is decision 50.
pub fn arguments(drain: Duration) -> Vec<String> {
    let drain = drain.as_secs().to_string();
    [
        "--drain-time-s",
        &drain,
        "--drain-strategy",
        "immediate",
        "--disable-hot-restart",
        "--component-log-level",
        "misc:error",
    ]
    .map(str::to_string)
    .to_vec()
}

/// What all bootstraps have. Statistics are merged when the admin interface is asked for them and not every five seconds:
/// with 10,000 clusters that holds Envoy's main thread up for 70 ms, and an endpoint that moves then waits that long. So
/// histograms, and what `server` says of itself, are those of the question before; all other statistics are current.
fn common(options: &BootstrapOptions) -> Value {
    let mut out = json!({
        "node": {"id": options.node_id, "cluster": options.node_cluster},
        "layered_runtime": {"layers": [{
            "name": "static_layer",
            "static_layer": {"re2.max_program_size.error_level": REGEX_PROGRAM_SIZE},
        }]},
        "stats_config": {},
        "stats_flush_on_admin": true,
        "deferred_stat_options": {"enable_deferred_creation_stats": true},
    });
    match &options.admin {
        Some(Admin::Unix(path)) => {
            set(&mut out, "admin", json!({"address": {"pipe": {"path": path.to_string_lossy(), "mode": 0o600}}}));
        }
        Some(Admin::Tcp(address)) => {
            set(&mut out, "admin", json!({"address": socket_address(address.ip(), address.port())}));
        }
        None => {}
    }
    out
}

/// A control plane reached by HTTP/2, with keepalive so that a dead one is noticed.
fn control_plane_cluster(address: Value) -> Value {
    json!({
        "name": CONTROL_PLANE_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CONTROL_PLANE_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {
                    "connection_keepalive": {"interval": "30s", "timeout": "5s"},
                }},
            },
        },
    })
}

fn ready_listener(ready: &Ready) -> Value {
    let filter = |name: &str, mut config: Value, kind: &str| {
        set(&mut config, "@type", json!(format!("type.googleapis.com/{kind}")));
        json!({"name": name, "typed_config": config})
    };
    let health = json!({
        "pass_through_mode": false,
        "headers": [{"name": ":path", "string_match": {"exact": "/ready"}}],
    });
    let manager = json!({
        "stat_prefix": "ready_http",
        "route_config": {"name": "local_route"},
        "http_filters": [
            filter(
                "envoy.filters.http.health_check",
                health,
                "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            ),
            filter("envoy.filters.http.router", json!({}), "envoy.extensions.filters.http.router.v3.Router"),
        ],
    });
    let manager = filter(
        "envoy.filters.network.http_connection_manager",
        manager,
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    );
    json!({
        "name": format!("ambassador-listener-ready-{}-{}", ready.address, ready.port),
        "address": socket_address(ready.address, ready.port),
        "filter_chains": [{"filters": [manager]}],
        "bypass_overload_manager": true,
    })
}

fn socket_address(address: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": address.to_string(), "port_value": port}})
}

/// Sets a key of an object.
fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_string(), value);
    }
}
