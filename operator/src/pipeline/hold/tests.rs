//! Routes that wait for a name, and what does not.

use super::*;
use crate::snapshot::Client;
use ir::{
    DnsFamily, Forward, HeaderEdits, ImpliedAuthority, Kind, LoadBalancing, OrderKey, PathMatch, ProtoVariant, Route,
    RouteMatch,
};

const CLIENT: u64 = 7;

fn cluster(name: &str, discovery: Discovery) -> Arc<Cluster> {
    Arc::new(Cluster {
        name: name.into(),
        alt_stat_name: name.into(),
        discovery,
        dns_family: DnsFamily::V4Only,
        tls: None,
        connect_timeout_ms: 3000,
        idle_timeout_ms: None,
        max_connection_ms: None,
        http2: false,
        circuit_breakers: Vec::new(),
        keepalive: None,
        load_balancing: LoadBalancing::default(),
        health_checks: Arc::default(),
    })
}

fn resolved(name: &str) -> Arc<Cluster> {
    cluster(name, Discovery::Dns { host: name.into(), port: 80, logical: false, respect_ttl: false })
}

fn streamed(name: &str) -> Arc<Cluster> {
    cluster(name, Discovery::Endpoints(format!("k8s/default/{name}/80").into()))
}

fn checked(name: &str) -> Arc<Cluster> {
    let check = ir::HealthCheck {
        healthy_threshold: 1,
        unhealthy_threshold: 2,
        interval_ms: 5_000,
        timeout_ms: 3_000,
        probe: ir::HealthProbe::Grpc { service: name.into(), authority: None },
    };
    let unchecked = streamed(name);
    Arc::new(Cluster { health_checks: [check].into(), ..(*unchecked).clone() })
}

fn group(id: &str, cluster: &str) -> Arc<RouteGroup> {
    let forward = Forward {
        cluster: cluster.into(),
        timeout_ms: 3000,
        idle_timeout_ms: None,
        rewrite: None,
        host_rewrite: None,
        options: None,
    };
    let route = Route {
        source: ObjectKey::new(Kind::Mapping, "default", id),
        case_sensitive: true,
        fraction: 100,
        action: Action::Forward(forward),
    };
    Arc::new(RouteGroup {
        id: id.into(),
        order: OrderKey(Arc::default()),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            case_sensitive: true,
            authority: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        headers: HeaderEdits::default(),
        routes: vec![route],
    })
}

fn id() -> ListId {
    ListId { class: "all".into(), variant: ProtoVariant::AsIs }
}

fn list(groups: &[(&str, &str)]) -> Arc<RouteList> {
    let groups = groups.iter().map(|(id, cluster)| group(id, cluster)).collect();
    let bucket = Arc::new(Bucket { prefix: "".into(), groups });
    Arc::new(RouteList { id: id(), implied: ImpliedAuthority::Nothing, buckets: vec![bucket] })
}

struct Scene {
    hold: Hold,
    snapshot: Snapshot,
    now: Instant,
}

impl Scene {
    /// One client, and two routes to a streamed cluster each.
    fn new() -> Self {
        let mut scene = Self { hold: Hold::default(), snapshot: Snapshot::default(), now: Instant::now() };
        scene.batch(RowChanges {
            lists: vec![(id(), Some(list(&[("one", "a"), ("two", "b")])))],
            clusters: vec![("a".into(), Some(streamed("a"))), ("b".into(), Some(streamed("b")))],
            ..RowChanges::default()
        });
        Arc::make_mut(&mut scene.snapshot.clients).insert(CLIENT, Client::default());
        scene
    }

    /// A batch, and what is rendered of it.
    fn batch(&mut self, rows: RowChanges) -> RowChanges {
        let adjusted = self.hold.adjust(&rows, &self.snapshot, self.now);
        self.snapshot.rows(&rows);
        adjusted.unwrap_or(rows)
    }

    /// `one` switches to a name, and `two` to another cluster.
    fn switch(&mut self) -> RowChanges {
        self.batch(RowChanges {
            lists: vec![(id(), Some(list(&[("one", "name"), ("two", "c")])))],
            clusters: vec![
                ("a".into(), None),
                ("b".into(), None),
                ("c".into(), Some(streamed("c"))),
                ("name".into(), Some(resolved("name"))),
            ],
            endpoints: vec![("k8s/default/a/80".into(), None), ("k8s/default/b/80".into(), None)],
            ..RowChanges::default()
        })
    }

    fn release(&mut self) -> Option<RowChanges> {
        self.hold.release(&self.snapshot, self.now).map(|(rows, _)| rows)
    }
}

/// Where routes lead, and what is removed.
fn told(rows: &RowChanges) -> (Vec<String>, Vec<String>) {
    let groups = rows.lists.iter().filter_map(|(_, list)| list.as_ref()).flat_map(|list| &list.buckets);
    let lead = |group: &Arc<RouteGroup>| format!("{}→{}", group.id, targets(group).next().unwrap());
    let routes = groups.flat_map(|bucket| &bucket.groups).map(lead).collect();
    let clusters = rows.clusters.iter().filter(|(_, row)| row.is_none()).map(|(name, _)| name.to_string());
    let endpoints = rows.endpoints.iter().filter(|(_, row)| row.is_none()).map(|(name, _)| name.to_string());
    (routes, clusters.chain(endpoints).collect())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_route_to_a_new_name_waits_for_the_acknowledgement_and_nothing_else_does() {
    let mut scene = Scene::new();
    let rows = scene.switch();
    assert_eq!(told(&rows), (texts(&["one→a", "two→c"]), texts(&["b", "k8s/default/b/80"])));
    assert!(
        rows.clusters.iter().any(|(name, row)| **name == *"name" && row.is_some()),
        "the name is resolved meanwhile"
    );
    assert_eq!(scene.hold.objects(&scene.snapshot), [ObjectKey::new(Kind::Mapping, "default", "one")]);
    assert!(scene.release().is_none());
    scene.hold.acknowledged(CLIENT, ["name".into()].iter());
    let rows = scene.release().unwrap();
    assert_eq!(told(&rows), (texts(&["one→name", "two→c"]), texts(&["a", "k8s/default/a/80"])));
    assert!(scene.release().is_none() && scene.hold.due().is_none());
}

#[test]
fn a_list_of_which_everything_that_changed_waits_is_not_made_anew() {
    let mut scene = Scene::new();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "name"), ("two", "b")])))],
        clusters: vec![("a".into(), None), ("name".into(), Some(resolved("name")))],
        ..RowChanges::default()
    });
    assert!(rows.lists.is_empty() && rows.clusters.len() == 1);
    // Something else does change it.
    let more = || list(&[("one", "name"), ("three", "b"), ("two", "b")]);
    let rows = scene.batch(RowChanges { lists: vec![(id(), Some(more()))], ..RowChanges::default() });
    assert_eq!(told(&rows).0, ["one→a", "three→b", "two→b"]);
    // And back, while it is held: what was sent is not what it was.
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "name"), ("two", "b")])))],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows).0, ["one→a", "two→b"]);
    scene.now += PATIENCE;
    assert_eq!(told(&scene.release().unwrap()).0, ["one→name", "two→b"]);
}

#[test]
fn a_cluster_whose_endpoints_are_checked_first_is_waited_for() {
    let mut scene = Scene::new();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "checked"), ("two", "c")])))],
        clusters: vec![("c".into(), Some(streamed("c"))), ("checked".into(), Some(checked("checked")))],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows).0, ["one→a", "two→c"]);
    scene.hold.acknowledged(CLIENT, ["checked".into()].iter());
    assert_eq!(told(&scene.release().unwrap()).0, ["one→checked", "two→c"]);
}

#[test]
fn a_name_that_is_not_resolved_in_time_is_switched_to_all_the_same() {
    let mut scene = Scene::new();
    scene.switch();
    assert_eq!(scene.hold.due(), Some(scene.now + PATIENCE));
    scene.now += PATIENCE;
    assert_eq!(told(&scene.release().unwrap()).0, ["one→name", "two→c"]);
}

#[test]
fn other_changes_of_the_list_go_through_meanwhile() {
    let mut scene = Scene::new();
    scene.switch();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "name"), ("three", "c"), ("two", "c")])))],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows).0, ["one→a", "three→c", "two→c"]);
}

#[test]
fn a_route_that_goes_back_is_not_held_and_keeps_its_cluster() {
    let mut scene = Scene::new();
    scene.switch();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "a"), ("two", "c")])))],
        clusters: vec![("a".into(), Some(streamed("a"))), ("name".into(), None)],
        endpoints: vec![(
            "k8s/default/a/80".into(),
            Some(Arc::new(ir::EndpointSet { name: "k8s/default/a/80".into(), endpoints: Vec::new() })),
        )],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows), (texts(&["one→a", "two→c"]), texts(&["name"])));
    scene.now += PATIENCE;
    assert!(scene.release().is_none(), "nothing is left to remove");
}

#[test]
fn what_was_kept_goes_when_the_route_moves_on() {
    let mut scene = Scene::new();
    scene.switch();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("one", "c"), ("two", "c")])))],
        clusters: vec![("name".into(), None)],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows), (texts(&["one→c", "two→c"]), texts(&["a", "name", "k8s/default/a/80"])));
}

#[test]
fn new_routes_and_gateways_without_clients_do_not_wait() {
    let mut scene = Scene::new();
    let rows = scene.batch(RowChanges {
        lists: vec![(id(), Some(list(&[("new", "name"), ("one", "a"), ("two", "b")])))],
        clusters: vec![("name".into(), Some(resolved("name")))],
        ..RowChanges::default()
    });
    assert_eq!(told(&rows).0, ["new→name", "one→a", "two→b"]);
    let mut scene = Scene::new();
    scene.snapshot.clients = Arc::default();
    assert_eq!(told(&scene.switch()).0, ["one→name", "two→c"]);
}

#[test]
fn a_client_that_goes_away_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.switch();
    scene.hold.disconnected(CLIENT);
    assert_eq!(told(&scene.release().unwrap()).0, ["one→name", "two→c"]);
}
