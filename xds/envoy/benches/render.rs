//! Costs of the renderer in CPU time: `cargo bench -p envoy [ROUTES]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a measurement may stop")]

use envoy::{Fragments, Options, Renderer};
use ir::*;
use nix::time::ClockId;
use std::sync::Arc;
use std::time::Duration;
use xds::{Delta, ResourceType};

/// Routes of a bucket, besides the one that is in all of them.
const PER_BUCKET: usize = 64;
/// Repetitions of an edit; the median counts.
const REPEAT: usize = 31;

fn main() {
    let routes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    println!("{routes} routes; CPU time");
    one_host(routes);
    hosts(100, routes / 100);
    shared(300, 300);
    clusters(routes);
}

/// All routes in one matcher tree of one table.
fn one_host(routes: usize) {
    let id = list_id("*");
    let mut list = list(&id, routes, "one");
    let mut rows = RowChanges::default();
    rows.lists.push((id.clone(), Some(Arc::new(list.clone()))));
    rows.tables.push(table("t", &id));
    let before = memory();
    let mut renderer = Renderer::new(Options::default());
    let (first, delta) = timed(|| renderer.apply(&rows, 1));
    report("one host: from scratch", first, &delta);
    println!("    memory of the renderer {:.1} MB", (memory() - before) as f64 / 1e6);

    let acknowledged = renderer.fragments(ResourceType::Route, "t").unwrap();
    let middle = list.buckets.len() / 2;
    let edit = median(|number| {
        edit_bucket(&mut list, middle, number);
        let rows = RowChanges { lists: vec![(id.clone(), Some(Arc::new(list.clone())))], ..Default::default() };
        timed(|| renderer.apply(&rows, 2))
    });
    report("one host: edit of one route", edit.0, &edit.1);
    let now = renderer.fragments(ResourceType::Route, "t").unwrap();
    let (cost, suspects) = timed(|| now.changed_since(&acknowledged).len());
    println!("    suspects of a refusal: {suspects}, found in {cost:?}");
    let (cost, all) = timed(|| now.changed_since(&Fragments::default()).len());
    println!("    without an acknowledged version: {all}, found in {cost:?}");

    let everywhere = median(|number| {
        let root = Arc::new(group("/", number));
        for bucket in &mut list.buckets {
            *Arc::make_mut(bucket).groups.last_mut().unwrap() = root.clone();
        }
        let rows = RowChanges { lists: vec![(id.clone(), Some(Arc::new(list.clone())))], ..Default::default() };
        timed(|| renderer.apply(&rows, 2))
    });
    report("one host: edit of a route that is everywhere", everywhere.0, &everywhere.1);
}

/// One TLS host with its own table and list, many times.
fn hosts(hosts: usize, routes: usize) {
    let ids: Vec<_> = (0..hosts).map(|number| list_id(&format!("h{number:03}"))).collect();
    let mut rows = RowChanges::default();
    for (number, id) in ids.iter().enumerate() {
        rows.lists.push((id.clone(), Some(Arc::new(list(id, routes, &number.to_string())))));
        rows.tables.push(table(&id.class, id));
    }
    let mut renderer = Renderer::new(Options::default());
    let (first, delta) = timed(|| renderer.apply(&rows, 1));
    report(&format!("{hosts} hosts of {routes}: from scratch"), first, &delta);
    let mut list = list(&ids[0], routes, "0");
    let edit = median(|number| {
        edit_bucket(&mut list, 0, number);
        let rows = RowChanges { lists: vec![(ids[0].clone(), Some(Arc::new(list.clone())))], ..Default::default() };
        timed(|| renderer.apply(&rows, 2))
    });
    report(&format!("{hosts} hosts of {routes}: edit of one route"), edit.0, &edit.1);
}

/// One list that the tables of many hosts share.
fn shared(hosts: usize, routes: usize) {
    let id = list_id("shared");
    let mut list = list(&id, routes, "shared");
    let mut rows = RowChanges { lists: vec![(id.clone(), Some(Arc::new(list.clone())))], ..Default::default() };
    rows.tables = (0..hosts).map(|number| table(&format!("t{number:03}"), &id)).collect();
    let mut renderer = Renderer::new(Options::default());
    let (first, delta) = timed(|| renderer.apply(&rows, 1));
    report(&format!("{routes} routes shared by {hosts} tables: from scratch"), first, &delta);
    let edit = median(|number| {
        edit_bucket(&mut list, 0, number);
        let rows = RowChanges { lists: vec![(id.clone(), Some(Arc::new(list.clone())))], ..Default::default() };
        timed(|| renderer.apply(&rows, 2))
    });
    report(&format!("{routes} routes shared by {hosts} tables: edit of one route"), edit.0, &edit.1);
}

fn clusters(count: usize) {
    let mut rows = RowChanges::default();
    for number in 0..count {
        let name: Arc<str> = format!("cluster_service_{number:05}_default_default").into();
        let endpoints: Arc<str> = format!("k8s/default/service-{number:05}/80").into();
        let address = |last: u8| Endpoint {
            address: std::net::Ipv4Addr::new(10, 0, 0, last).into(),
            port: 8080,
            health: EndpointHealth::Healthy,
            zone: "zone-a".into(),
        };
        let set = EndpointSet { name: endpoints.clone(), endpoints: (1..4).map(address).collect() };
        rows.endpoints.push((endpoints.clone(), Some(Arc::new(set))));
        let row = Cluster {
            name: name.clone(),
            alt_stat_name: name.clone(),
            discovery: Discovery::Endpoints(endpoints),
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
        };
        rows.clusters.push((name, Some(Arc::new(row))));
    }
    let mut renderer = Renderer::new(Options::default());
    let (first, delta) = timed(|| renderer.apply(&rows, 1));
    report(&format!("{count} clusters with three endpoints: from scratch"), first, &delta);
    let (name, row) = rows.endpoints[count / 2].clone();
    let edit = median(|number| {
        let mut set = EndpointSet::clone(row.as_ref().unwrap());
        set.endpoints[0].port = 9000 + number as u16;
        let rows = RowChanges { endpoints: vec![(name.clone(), Some(Arc::new(set)))], ..Default::default() };
        timed(|| renderer.apply(&rows, 2))
    });
    report("endpoint change", edit.0, &edit.1);
}

fn list_id(class: &str) -> ListId {
    ListId { class: class.into(), variant: ProtoVariant::AsIs }
}

/// Routes `/<list>/<bucket>/<route>/` in buckets, and one for `/` in all of them.
fn list(id: &ListId, routes: usize, name: &str) -> RouteList {
    let root = Arc::new(group("/", 0));
    let mut buckets = vec![Arc::new(Bucket { prefix: "".into(), groups: vec![root.clone()] })];
    for (number, first) in (0..routes).step_by(PER_BUCKET).enumerate() {
        let prefix = format!("/{name}/{number:04}/");
        let paths = (first..routes.min(first + PER_BUCKET)).map(|route| format!("{prefix}{route:05}/"));
        let groups = paths.map(|path| Arc::new(group(&path, 0))).chain([root.clone()]).collect();
        buckets.push(Arc::new(Bucket { prefix: prefix.into(), groups }));
    }
    RouteList { id: id.clone(), implied: ImpliedAuthority::AllGlobs, buckets }
}

fn group(path: &str, number: usize) -> RouteGroup {
    let action = Action::Forward(Forward {
        cluster: format!("cluster_service{}_default_default", path.replace('/', "_")).into(),
        timeout_ms: 3000 + number as u64,
        idle_timeout_ms: None,
        rewrite: Some(PathRewrite::Prefix("/".into())),
        host_rewrite: None,
        options: None,
    });
    RouteGroup {
        id: format!("{path:0>40}").into(),
        order: OrderKey(path.as_bytes().into()),
        matches: RouteMatch {
            path: PathMatch::Prefix(path.into()),
            case_sensitive: true,
            authority: Some(TextMatch::Exact("www.example.com".into())),
            headers: vec![],
            query: vec![],
        },
        headers: HeaderEdits::default(),
        routes: vec![Route {
            source: ObjectKey::new(Kind::Mapping, "default", path),
            case_sensitive: true,
            fraction: 100,
            action,
        }],
    }
}

fn edit_bucket(list: &mut RouteList, at: usize, number: usize) {
    let bucket = Arc::make_mut(&mut list.buckets[at]);
    let path = bucket.groups[0].matches.path.text().to_string();
    bucket.groups[0] = Arc::new(group(&path, number + 1));
}

fn table(name: &str, list: &ListId) -> (Arc<str>, Row<RouteTable>) {
    let body = VirtualHostBody::Routes(list.clone());
    let host = VirtualHost { name: "*".into(), domains: vec!["*".into()], body };
    (name.into(), Some(Arc::new(RouteTable { name: name.into(), virtual_hosts: vec![host], advertises_http3: false })))
}

fn report(what: &str, cost: Duration, delta: &Delta) {
    let bytes: usize = delta.upserts.iter().map(|resource| resource.payload.len()).sum();
    println!("{what}: {cost:.1?}, {} resources, {:.1} kB", delta.upserts.len(), bytes as f64 / 1e3);
}

fn median<T>(mut run: impl FnMut(usize) -> (Duration, T)) -> (Duration, T) {
    let mut all: Vec<_> = (0..REPEAT).map(&mut run).collect();
    all.sort_by_key(|(cost, _)| *cost);
    all.swap_remove(REPEAT / 2)
}

/// CPU time of this thread while something runs.
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let cpu = || Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("a clock"));
    let before = cpu();
    let result = run();
    (cpu() - before, result)
}

/// Resident memory in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
