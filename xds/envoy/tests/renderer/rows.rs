//! Short constructors for IR rows.

use ir::*;
use std::sync::Arc;

pub fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

/// Conditions on the path only.
pub fn on(path: PathMatch) -> RouteMatch {
    RouteMatch { path, case_sensitive: true, authority: None, headers: vec![], query: vec![] }
}

pub fn named(name: &str, value: TextMatch) -> NamedMatch {
    NamedMatch { name: name.into(), value }
}

pub fn exact(text: &str) -> TextMatch {
    TextMatch::Exact(text.into())
}

pub fn forward_to(cluster: &str) -> Forward {
    Forward {
        cluster: cluster.into(),
        timeout_ms: 3000,
        idle_timeout_ms: None,
        rewrite: None,
        host_rewrite: None,
        options: None,
    }
}

pub fn direct(status: u16, body: &str) -> Action {
    Action::Direct { status, body: body.into() }
}

/// One member that takes every request.
pub fn member(name: &str, action: Action) -> Route {
    Route { source: ObjectKey::new(Kind::Mapping, "default", name), case_sensitive: true, fraction: 100, action }
}

/// A group of one member; its id and place come of the name.
pub fn group(name: &str, matches: RouteMatch, action: Action) -> RouteGroup {
    RouteGroup {
        id: format!("{name:0>40}").into(),
        order: OrderKey(name.as_bytes().into()),
        matches,
        headers: HeaderEdits::default(),
        routes: vec![member(name, action)],
    }
}

pub fn list_id(class: &str) -> ListId {
    ListId { class: class.into(), variant: ProtoVariant::AsIs }
}

pub fn bucket(prefix: &str, groups: &[Arc<RouteGroup>]) -> Arc<Bucket> {
    Arc::new(Bucket { prefix: prefix.into(), groups: groups.to_vec() })
}

pub fn list(id: &ListId, implied: ImpliedAuthority, buckets: Vec<Arc<Bucket>>) -> RouteList {
    RouteList { id: id.clone(), implied, buckets }
}

/// A list of one bucket.
pub fn flat(id: &ListId, groups: Vec<RouteGroup>) -> RouteList {
    let groups: Vec<_> = groups.into_iter().map(Arc::new).collect();
    list(id, ImpliedAuthority::Nothing, vec![bucket("", &groups)])
}

pub fn host(domain: &str, body: VirtualHostBody) -> VirtualHost {
    VirtualHost { name: domain.into(), domains: vec![domain.into()], body }
}

pub fn table(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable { name: name.into(), virtual_hosts, advertises_http3: false }
}

pub fn http() -> HttpSettings {
    HttpSettings {
        stat_prefix: "ingress_http".into(),
        xff_num_trusted_hops: 0,
        use_remote_address: true,
        server_name: "envoy".into(),
        accept_http_10: false,
        allow_chunked_length: false,
        preserve_external_request_id: false,
        strip_matching_host_port: false,
        merge_slashes: false,
        reject_escaped_slashes: false,
        suppress_envoy_headers: false,
        max_request_headers_kb: None,
        idle_timeout_ms: None,
        headers_with_underscores: None,
        max_concurrent_streams: None,
        proper_case: false,
        client_certificate: ClientCertificateHeader::default(),
        access_log: AccessLog {
            path: "/dev/null".into(),
            format: AccessLogFormat::Text("ACCESS [%START_TIME%] %RESPONSE_CODE%\n".into()),
        },
        errors: Arc::default(),
        filters: None,
    }
}

pub fn clear_text(table: &str) -> Chain {
    Chain {
        name: "cleartext".into(),
        matches: ChainMatch::Rest,
        tls: None,
        body: ChainBody::Http { table: table.into() },
    }
}

pub fn tls_chain(name: &str, server_name: &str, secret: &str, table: &str) -> Chain {
    Chain {
        name: name.into(),
        matches: ChainMatch::Tls(vec![server_name.into()]),
        tls: Some(ServerTls { certificate: Some(secret.into()), ..Default::default() }),
        body: ChainBody::Http { table: table.into() },
    }
}

pub fn listener(name: &str, port: u16, chains: Vec<Chain>) -> ListenerRow {
    ListenerRow {
        name: name.into(),
        bind: Bind { address: "127.0.0.1".into(), port, udp: false },
        filters: vec![],
        buffer_limit_bytes: None,
        http: Arc::new(http()),
        chains: chains.into_iter().map(Arc::new).collect(),
    }
}

pub fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        alt_stat_name: name.into(),
        discovery: Discovery::Static { address: "10.0.0.1".parse().unwrap(), port: 80, hostname: None },
        dns_family: DnsFamily::V4Only,
        tls: None,
        connect_timeout_ms: 3000,
        idle_timeout_ms: None,
        max_connection_ms: None,
        http2: false,
        circuit_breakers: vec![],
        keepalive: None,
        load_balancing: LoadBalancing::RoundRobin,
        health_checks: [].into(),
    }
}

pub fn certificate() -> TlsSecret {
    TlsSecret::Certificate {
        chain: Sensitive(include_bytes!("pem/cert.pem").as_slice().into()),
        key: Sensitive(include_bytes!("pem/key.pem").as_slice().into()),
    }
}

pub fn authority_certificate() -> TlsSecret {
    TlsSecret::Validation { ca: Sensitive(include_bytes!("pem/cert.pem").as_slice().into()), crl: None }
}

/// Rows as a first batch would bring them.
#[derive(Default)]
pub struct Rows(pub RowChanges);

impl Rows {
    pub fn listener(mut self, row: ListenerRow) -> Self {
        self.0.listeners.push((row.name.clone(), Some(Arc::new(row))));
        self
    }
    pub fn table(mut self, row: RouteTable) -> Self {
        self.0.tables.push((row.name.clone(), Some(Arc::new(row))));
        self
    }
    pub fn list(mut self, row: RouteList) -> Self {
        self.0.lists.push((row.id.clone(), Some(Arc::new(row))));
        self
    }
    pub fn cluster(mut self, row: Cluster) -> Self {
        self.0.clusters.push((row.name.clone(), Some(Arc::new(row))));
        self
    }
    pub fn endpoints(mut self, row: EndpointSet) -> Self {
        self.0.endpoints.push((row.name.clone(), Some(Arc::new(row))));
        self
    }
    pub fn secret(mut self, name: &str, row: TlsSecret) -> Self {
        self.0.secrets.push((name.into(), Some(Arc::new(row))));
        self
    }
    /// A clear-text listener on that port that serves these virtual hosts.
    pub fn serve(self, port: u16, hosts: Vec<VirtualHost>) -> Self {
        let name = format!("default/l{port}");
        let routes = format!("{name}/cleartext");
        self.listener(listener(&name, port, vec![clear_text(&routes)])).table(table(&routes, hosts))
    }
}
