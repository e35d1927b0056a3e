//! A gateway whose configuration never rests, to put any delta client or a real Envoy in front of.
//!
//! `churn SOCKET [LISTENER_PORT [CHANGES_PER_SECOND]]` serves discovery on the UNIX socket: two listeners (clear text on
//! the port, TLS on the next one), a route table each, clusters with endpoints that are made, switched to, changed and
//! removed, and a certificate that rotates. Every cluster leads to a small responder inside, so a request that does not
//! end in 200 was lost by a change. It ends with its standard input.

// An example, and not shipped: its indices are those of its own arrays.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use xds::{Ads, Delta, Event, Options, Payload, Resource, ResourceType, Store, Version};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().ok_or("usage: churn SOCKET [LISTENER_PORT [CHANGES_PER_SECOND]]")?;
    let port: u16 = arguments.next().map_or(Ok(10000), |text| text.parse())?;
    let rate: f64 = arguments.next().map_or(Ok(50.0), |text| text.parse())?;

    let responder = TcpListener::bind("127.0.0.1:0").await?;
    let backend = responder.local_addr()?.port();
    tokio::spawn(respond(responder));

    let store = Arc::new(Store::new());
    let mut gateway = Gateway::new(port, backend)?;
    store.apply(gateway.delta());
    let ads = Ads::new(store.clone(), report, Options::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(stop);
    });
    let changes = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        loop {
            ticks.tick().await;
            gateway.step()?;
            store.apply(gateway.delta());
        }
        #[allow(unreachable_code, reason = "gives the endless task its error type")]
        Ok::<(), Failure>(())
    });
    ads.serve_unix(&socket, async {
        let _ = stopped.await;
    })
    .await?;
    changes.abort();
    Ok(())
}

fn report(events: Vec<Event>) {
    for event in events {
        match event {
            Event::Acked { .. } | Event::Live { .. } => {}
            other => println!("{other:?}"),
        }
    }
}

/// Answers everything with 200.
async fn respond(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                seen.extend_from_slice(buffer.get(..read).unwrap_or_default());
                while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                    seen.drain(..end + 4);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// The state of the made-up gateway, and what of it is not yet in the store.
struct Gateway {
    port: u16,
    backend: u16,
    batch: u64,
    steps: u64,
    random: u64,
    next_cluster: u64,
    /// Clusters of the clear-text table and of the TLS table.
    tables: [BTreeSet<u64>; 2],
    delta: Delta,
}

impl Gateway {
    fn new(port: u16, backend: u16) -> Result<Self, Failure> {
        let mut gateway = Gateway {
            port,
            backend,
            batch: 0,
            steps: 0,
            random: 1,
            next_cluster: 0,
            tables: [BTreeSet::new(), BTreeSet::new()],
            delta: Delta::default(),
        };
        for table in [0, 1] {
            for _ in 0..5 {
                gateway.add_cluster(table);
            }
            gateway.put_table(table);
            gateway.put_listener(table);
        }
        gateway.put_secret()?;
        Ok(gateway)
    }

    fn delta(&mut self) -> Delta {
        self.batch += 1;
        Delta { batch: self.batch, ..std::mem::take(&mut self.delta) }
    }

    fn pick(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % below
    }

    /// One change, as an edit of a manifest makes it.
    fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        let table = usize::try_from(self.pick(2))?;
        let oldest = self.tables[table].first().copied();
        match (self.pick(8), oldest) {
            // A route switches to a new cluster, its old one goes.
            (0..=2, Some(oldest)) => {
                self.add_cluster(table);
                self.drop_cluster(table, oldest);
                self.put_table(table);
            }
            (3, _) => {
                self.add_cluster(table);
                self.put_table(table);
            }
            (4, Some(oldest)) if self.tables[table].len() > 3 => {
                self.drop_cluster(table, oldest);
                self.put_table(table);
            }
            // An option of a cluster changes, its endpoints do not.
            (5, Some(oldest)) => {
                let steps = self.steps;
                self.put_cluster(oldest, steps);
            }
            (6, Some(oldest)) => {
                let weight = 1 + self.pick(100);
                self.put_endpoints(oldest, u32::try_from(weight)?);
            }
            _ => self.put_secret()?,
        }
        Ok(())
    }

    fn add_cluster(&mut self, table: usize) {
        let id = self.next_cluster;
        self.next_cluster += 1;
        self.tables[table].insert(id);
        self.put_cluster(id, 0);
        self.put_endpoints(id, 1);
    }

    fn drop_cluster(&mut self, table: usize, id: u64) {
        self.tables[table].remove(&id);
        for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
            self.delta.removals.push((kind, cluster_name(id).into()));
        }
    }

    fn put_cluster(&mut self, id: u64, change: u64) {
        let name = cluster_name(id);
        let cluster = cluster::Cluster {
            name: name.clone(),
            cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
                cluster::cluster::DiscoveryType::Eds.into(),
            )),
            eds_cluster_config: Some(cluster::cluster::EdsClusterConfig { eds_config: ads(), ..Default::default() }),
            alt_stat_name: format!("{name}_{}", change % 10),
            ..Default::default()
        };
        self.put(ResourceType::Cluster, &name, &cluster, Arc::new([(ResourceType::Endpoint, name.as_str().into())]));
    }

    fn put_endpoints(&mut self, id: u64, weight: u32) {
        let name = cluster_name(id);
        let target = endpoint::Endpoint { address: Some(address(self.backend)), ..Default::default() };
        let target = endpoint::LbEndpoint {
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(target)),
            load_balancing_weight: Some(envoy_types::pb::google::protobuf::UInt32Value { value: weight }),
            ..Default::default()
        };
        let locality = endpoint::LocalityLbEndpoints { lb_endpoints: vec![target], ..Default::default() };
        let assignment = endpoint::ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![locality],
            ..Default::default()
        };
        self.put(ResourceType::Endpoint, &name, &assignment, Arc::new([]));
    }

    /// `/<n>` goes to the nth cluster, anything else to the newest.
    fn put_table(&mut self, table: usize) {
        let clusters: Vec<u64> = self.tables[table].iter().copied().collect();
        let prefixes = (0..3).map(|n| format!("/{n}")).chain(["/".to_owned()]);
        let routes = prefixes.enumerate().filter_map(|(n, prefix)| {
            let target = cluster_name(*clusters.get(n).or(clusters.last())?);
            let target = route::route_action::ClusterSpecifier::Cluster(target);
            let action = route::RouteAction { cluster_specifier: Some(target), ..Default::default() };
            Some(route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix(prefix)),
                    ..Default::default()
                }),
                action: Some(route::route::Action::Route(action)),
                ..Default::default()
            })
        });
        let host = route::VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: routes.collect(),
            ..Default::default()
        };
        let name = table_name(table);
        let config = route::RouteConfiguration { name: name.clone(), virtual_hosts: vec![host], ..Default::default() };
        self.put(ResourceType::Route, &name, &config, Arc::new([]));
    }

    fn put_listener(&mut self, table: usize) {
        let router = hcm::HttpFilter {
            name: "router".into(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(&Router::default()))),
            ..Default::default()
        };
        let routes = hcm::Rds { config_source: ads(), route_config_name: table_name(table) };
        let manager = hcm::HttpConnectionManager {
            stat_prefix: "churn".into(),
            http_filters: vec![router],
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(routes)),
            ..Default::default()
        };
        let filter = listener::Filter {
            name: "http".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(pack(&manager))),
        };
        let certificate = tls::SdsSecretConfig { name: "certificate".into(), sds_config: ads() };
        let common =
            tls::CommonTlsContext { tls_certificate_sds_secret_configs: vec![certificate], ..Default::default() };
        let context = tls::DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
        let transport = core::TransportSocket {
            name: "tls".into(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&context))),
        };
        let chain = listener::FilterChain {
            filters: vec![filter],
            transport_socket: (table == 1).then_some(transport),
            ..Default::default()
        };
        let name = format!("listener-{table}");
        let resource = listener::Listener {
            name: name.clone(),
            address: Some(address(self.port + u16::from(table == 1))),
            filter_chains: vec![chain],
            ..Default::default()
        };
        self.put(ResourceType::Listener, &name, &resource, Arc::new([]));
    }

    fn put_secret(&mut self) -> Result<(), Failure> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let text = |text: String| {
            Some(core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(text)),
                ..Default::default()
            })
        };
        let certificate = tls::TlsCertificate {
            certificate_chain: text(made.cert.pem()),
            private_key: text(made.signing_key.serialize_pem()),
            ..Default::default()
        };
        let secret =
            tls::Secret { name: "certificate".into(), r#type: Some(tls::secret::Type::TlsCertificate(certificate)) };
        self.put(ResourceType::Secret, "certificate", &secret, Arc::new([]));
        Ok(())
    }

    fn put(&mut self, kind: ResourceType, name: &str, message: &impl Message, companions: xds::Companions) {
        let bytes = message.encode_to_vec();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let version = Version::of_hash(hasher.finish());
        let payload = Payload::from(bytes);
        self.delta.upserts.push(Arc::new(Resource {
            kind,
            name: name.into(),
            version,
            payload,
            companions,
            warms: false,
        }));
    }
}

fn cluster_name(id: u64) -> String {
    format!("cluster-{id}")
}

fn table_name(table: usize) -> String {
    format!("listener-{table}/all")
}

fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn ads() -> Option<core::ConfigSource> {
    Some(core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(Default::default())),
        ..Default::default()
    })
}

fn address(port: u16) -> core::Address {
    let port = core::socket_address::PortSpecifier::PortValue(port.into());
    let socket = core::SocketAddress { address: "127.0.0.1".into(), port_specifier: Some(port), ..Default::default() };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}
