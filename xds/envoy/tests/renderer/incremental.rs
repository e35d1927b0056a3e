//! Incremental rendering equals rendering from nothing, changes only what changed, and gives the same versions in
//! every process.

use crate::cases;
use crate::rows::*;
use envoy::{Options, Renderer};
use ir::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use xds::{Delta, ResourceType, Version};

/// What a store holds after deltas.
type Content = BTreeMap<(ResourceType, Arc<str>), (Version, Vec<u8>)>;

fn store(content: &mut Content, delta: &Delta) {
    for resource in &delta.upserts {
        let key = (resource.kind, resource.name.clone());
        let value = (resource.version, resource.payload.to_vec());
        let before = content.insert(key, value.clone());
        assert_ne!(before.map(|before| before.0), Some(value.0), "{} is sent again unchanged", resource.name);
    }
    for (kind, name) in &delta.removals {
        assert!(content.remove(&(*kind, name.clone())).is_some(), "{name} is removed and was not there");
    }
}

/// Whether authorities are implied, and the buckets: prefix and groups by number.
type Shape = (bool, Vec<(String, Vec<usize>)>);

/// A small world that renders to rows: groups by number, lists of groups in buckets, tables of lists.
#[derive(Clone, Debug, Default)]
struct World {
    /// What the group with that number answers.
    groups: [u8; 6],
    lists: BTreeMap<ListId, Shape>,
    tables: BTreeMap<u8, Vec<(u8, u8)>>,
    listeners: BTreeMap<u8, (u32, Vec<u8>)>,
    endpoints: BTreeMap<u8, u8>,
}

#[derive(Clone, Debug)]
enum Edit {
    Group(usize, u8),
    List(u8, bool, Vec<(u8, Vec<usize>)>),
    Table(u8, Option<Vec<(u8, u8)>>),
    Listener(u8, Option<(u32, Vec<u8>)>),
    Endpoints(u8, Option<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    let bucket = (0u8..4, prop::collection::vec(0usize..6, 0..4));
    let hosts = prop::collection::vec((0u8..5, 0u8..8), 0..5);
    let chains = prop::collection::vec(0u8..5, 0..4);
    let edit = prop_oneof![
        4 => (0usize..6, 0u8..4).prop_map(|(group, answer)| Edit::Group(group, answer)),
        3 => (0u8..3, any::<bool>(), prop::collection::vec(bucket, 0..4)).prop_map(|(id, implied, all)| Edit::List(id, implied, all)),
        3 => (0u8..3, prop::option::weighted(0.8, hosts)).prop_map(|(id, hosts)| Edit::Table(id, hosts)),
        2 => (0u8..2, prop::option::weighted(0.8, (0u32..2, chains))).prop_map(|(id, row)| Edit::Listener(id, row)),
        1 => (0u8..2, prop::option::of(0u8..3)).prop_map(|(id, count)| Edit::Endpoints(id, count)),
    ];
    prop::collection::vec(prop::collection::vec(edit, 1..4), 1..8)
}

const PREFIXES: [&str; 4] = ["", "/.well-known/", "/a/", "/b/"];

fn variants(class: u8) -> [ListId; 2] {
    [ProtoVariant::Secure, ProtoVariant::Insecure].map(|variant| ListId { class: class.to_string().into(), variant })
}

impl World {
    fn edit(&mut self, edit: &Edit) {
        match edit.clone() {
            Edit::Group(group, answer) => self.groups[group] = answer,
            Edit::List(id, implied, buckets) => {
                let buckets: BTreeMap<_, _> = buckets.into_iter().collect();
                let buckets: Vec<_> =
                    buckets.into_iter().map(|(at, groups)| (PREFIXES[at as usize].to_string(), groups)).collect();
                for id in variants(id) {
                    self.lists.insert(id, (implied, buckets.clone()));
                }
            }
            Edit::Table(id, Some(hosts)) => drop(self.tables.insert(id, hosts)),
            Edit::Table(id, None) => drop(self.tables.remove(&id)),
            Edit::Listener(id, Some(row)) => drop(self.listeners.insert(id, row)),
            Edit::Listener(id, None) => drop(self.listeners.remove(&id)),
            Edit::Endpoints(id, Some(count)) => drop(self.endpoints.insert(id, count)),
            Edit::Endpoints(id, None) => drop(self.endpoints.remove(&id)),
        }
    }

    fn group(&self, number: usize) -> Arc<RouteGroup> {
        let paths = ["/", "/a/", "/a/b", "/b/", "/.well-known/acme-challenge/", "/A"];
        let mut matches = on(prefix(paths[number]));
        if number == 2 {
            matches.headers = vec![named("x-forwarded-proto", exact("https"))];
            matches.authority = Some(exact("h1.test"));
        }
        let mut made = group(&number.to_string(), matches, direct(200 + u16::from(self.groups[number]), "body"));
        if self.groups[number] == 3 {
            // Another object with the same effect as answer 2.
            made.routes[0] = Route { fraction: 0, ..member("other", direct(202, "body")) };
            made.routes.push(member("other", direct(202, "body")));
        }
        Arc::new(made)
    }

    fn body(&self, body: u8) -> VirtualHostBody {
        let [secure, insecure] = variants(body % 3);
        match body {
            0..=2 => VirtualHostBody::Routes(secure),
            3 => VirtualHostBody::RedirectToHttps { acme: insecure },
            4 => VirtualHostBody::AcmeOnly(insecure),
            5 => VirtualHostBody::Closed { status: 503 },
            6 => VirtualHostBody::ByForwardedProto { secure, insecure: Box::new(VirtualHostBody::Routes(insecure)) },
            _ => VirtualHostBody::ByForwardedProto {
                secure,
                insecure: Box::new(VirtualHostBody::RedirectToHttps { acme: insecure }),
            },
        }
    }

    /// All rows, made anew: nothing in them is shared with rows made earlier.
    fn rows(&self) -> RowChanges {
        let mut out = Rows::default();
        for (id, addresses) in &self.endpoints {
            let address = |last: u8| format!("10.0.0.{last}").parse().unwrap();
            let health = EndpointHealth::Healthy;
            let all = (0..*addresses)
                .map(|last| Endpoint { address: address(last), port: 80, health, zone: "".into() })
                .collect();
            out = out.endpoints(EndpointSet { name: format!("e{id}").into(), endpoints: all });
        }
        for (id, (limit, chains)) in &self.listeners {
            let chains: std::collections::BTreeSet<_> = chains.iter().collect();
            let chains = chains.into_iter().map(|at| tls_chain(&format!("c{at}"), "a.test", "s", "t")).collect();
            let mut row = listener(&format!("l{id}"), 80, chains);
            row.buffer_limit_bytes = Some(*limit);
            out = out.listener(row);
        }
        for (id, hosts) in &self.tables {
            let hosts: BTreeMap<_, _> = hosts.iter().copied().collect();
            let hosts = hosts.into_iter().map(|(at, body)| host(&format!("h{at}.test"), self.body(body))).collect();
            out = out.table(table(&format!("t{id}"), hosts));
        }
        for (id, (implied, buckets)) in &self.lists {
            let implied = if *implied { ImpliedAuthority::AllGlobs } else { ImpliedAuthority::Nothing };
            let buckets = buckets
                .iter()
                .map(|(prefix, groups)| bucket(prefix, &groups.iter().map(|at| self.group(*at)).collect::<Vec<_>>()))
                .collect();
            out = out.list(list(id, implied, buckets));
        }
        out.0
    }
}

/// The rows of `new` that `old` has not, and those that are gone.
fn changes(old: &RowChanges, new: &RowChanges) -> RowChanges {
    fn of<K: Ord + Clone, T: PartialEq>(old: &[(K, Row<T>)], new: &[(K, Row<T>)]) -> Vec<(K, Row<T>)> {
        let before: BTreeMap<_, _> = old.iter().map(|(key, row)| (key, row)).collect();
        let after: BTreeMap<_, _> = new.iter().map(|(key, row)| (key, row)).collect();
        let changed = after.iter().filter(|(key, row)| before.get(*key) != Some(*row));
        let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| ((*key).clone(), None));
        let mut all: Vec<_> = changed.map(|(key, row)| ((*key).clone(), (*row).clone())).chain(gone).collect();
        all.sort_by(|left, right| left.0.cmp(&right.0));
        all
    }
    RowChanges {
        listeners: of(&old.listeners, &new.listeners),
        tables: of(&old.tables, &new.tables),
        lists: of(&old.lists, &new.lists),
        clusters: of(&old.clusters, &new.clusters),
        endpoints: of(&old.endpoints, &new.endpoints),
        secrets: of(&old.secrets, &new.secrets),
    }
}

fn from_scratch(rows: &RowChanges) -> Content {
    let mut content = Content::new();
    store(&mut content, &Renderer::new(Options::default()).apply(rows, 1));
    content
}

proptest! {
    #[test]
    fn any_edits_end_where_a_fresh_renderer_begins(batches in edits()) {
        let (mut world, mut rows) = (World::default(), RowChanges::default());
        let (mut renderer, mut content) = (Renderer::new(Options::default()), Content::new());
        let mut seen: BTreeMap<(ResourceType, Arc<str>, Version), Vec<u8>> = BTreeMap::new();
        for (number, batch) in batches.iter().enumerate() {
            batch.iter().for_each(|edit| world.edit(edit));
            let now = world.rows();
            let delta = renderer.apply(&changes(&rows, &now), number as u64 + 1);
            prop_assert_eq!(delta.batch, number as u64 + 1);
            store(&mut content, &delta);
            prop_assert_eq!(&content, &from_scratch(&now));
            for ((kind, name), (version, bytes)) in &content {
                let before = seen.entry((*kind, name.clone(), *version)).or_insert_with(|| bytes.clone());
                prop_assert_eq!(&*before, bytes, "one version, two contents");
            }
            rows = now;
        }
        prop_assert!(renderer.apply(&RowChanges::default(), 99).upserts.is_empty());
        let gone = renderer.apply(&changes(&rows, &RowChanges::default()), 100);
        store(&mut content, &gone);
        prop_assert!(content.is_empty() && gone.upserts.is_empty());
    }
}

#[test]
fn rows_that_come_again_unchanged_send_nothing() {
    for (name, rows) in cases::all() {
        let mut renderer = Renderer::new(Options::default());
        assert!(!renderer.apply(&rows, 1).upserts.is_empty(), "{name}");
        let again = renderer.apply(&rows, 2);
        assert!(again.upserts.is_empty() && again.removals.is_empty(), "{name}");
    }
}

#[test]
fn an_edit_of_one_route_shares_the_bytes_of_all_other_buckets() {
    let id = list_id("*");
    let make = |body: &str| {
        let at = |path: &str, body: &str| Arc::new(group(path, on(prefix(path)), direct(200, body)));
        let buckets = (0..50).map(|number| {
            let path = format!("/{number:02}/");
            bucket(&path, &[at(&path, if number == 7 { body } else { "same" })])
        });
        Rows::default()
            .serve(80, vec![host("*", VirtualHostBody::Routes(id.clone()))])
            .list(list(&id, ImpliedAuthority::Nothing, buckets.collect()))
            .0
    };
    let mut renderer = Renderer::new(Options::default());
    let first = renderer.apply(&make("before"), 1);
    let second = renderer.apply(&changes(&make("before"), &make("after")), 2);
    assert_eq!(second.upserts.len(), 1);
    let large = |delta: &Delta| -> Vec<_> {
        let table = delta.upserts.iter().find(|resource| resource.kind == ResourceType::Route).unwrap();
        table.payload.pieces().into_iter().map(|part| (part.as_ptr(), part.to_vec())).collect()
    };
    let (before, after) = (large(&first), large(&second));
    let shared = after.iter().filter(|part| before.contains(part)).count();
    // Head and routes of a bucket each, but those around the tree and of the edited bucket.
    assert!(shared >= 2 * 49, "{shared} of {} parts are shared", after.len());
}

/// Prints the versions of all cases, for the parent process below.
#[test]
fn versions_of_this_process() {
    if std::env::var_os("RENDERER_VERSIONS").is_some() {
        println!("{}", versions());
    }
}

fn versions() -> String {
    let mut out = String::new();
    for (name, rows) in cases::all() {
        for resource in Renderer::new(Options::default()).apply(&rows, 1).upserts {
            let bytes = fnv1a(&resource.payload.to_vec());
            out += &format!("version {name} {} {} {} {bytes:x}\n", resource.kind, resource.name, resource.version);
        }
    }
    out
}

/// A hash that shares nothing with the code under test.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn two_processes_give_equal_bytes_and_versions() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "incremental::versions_of_this_process", "--nocapture"])
        .env("RENDERER_VERSIONS", "1")
        .output()
        .unwrap();
    let other = String::from_utf8(child.stdout).unwrap();
    let other: String =
        other.lines().filter(|line| line.starts_with("version ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(other, versions());
    assert!(!other.is_empty());
}
