//! Which route groups come into question when Envoy refuses a table.

use crate::cases::tree;
use crate::rows::*;
use envoy::{Fragments, Options, Renderer};
use ir::*;
use std::sync::Arc;
use xds::ResourceType;

const TABLE: &str = "default/l80/cleartext";

fn names(groups: &[Arc<RouteGroup>]) -> Vec<&str> {
    groups.iter().map(|group| &*group.routes[0].source.name).collect()
}

fn at(path: &str, body: &str) -> Arc<RouteGroup> {
    Arc::new(group(path, on(prefix(path)), direct(200, body)))
}

/// Applies a list and returns what the table is made of then.
fn with_list(renderer: &mut Renderer, buckets: Vec<Arc<Bucket>>) -> Fragments {
    let id = list_id("*");
    let rows = Rows::default().serve(80, vec![host("*", VirtualHostBody::Routes(id.clone()))]).list(list(
        &id,
        ImpliedAuthority::Nothing,
        buckets,
    ));
    renderer.apply(&rows.0, 1);
    renderer.fragments(ResourceType::Route, TABLE).unwrap()
}

#[test]
fn only_the_edited_group_is_suspect() {
    let mut renderer = Renderer::new(Options::default());
    let buckets = |a: &str| vec![bucket("", &[at("/", "root")]), bucket("/a/", &[at("/a/", a), at("/", "root")])];
    let first = with_list(&mut renderer, buckets("one"));
    let second = with_list(&mut renderer, buckets("two"));
    assert_eq!(names(&second.changed_since(&first)), ["/a/"]);
    assert_eq!(names(&first.changed_since(&second)), ["/a/"]);
    assert!(second.changed_since(&second).is_empty());
    assert!(with_list(&mut renderer, buckets("one")).changed_since(&first).is_empty());
}

#[test]
fn a_group_that_only_moves_between_buckets_is_not_suspect() {
    let mut renderer = Renderer::new(Options::default());
    let first = with_list(&mut renderer, vec![bucket("", &[at("/a/", "a"), at("/b/", "b"), at("/", "root")])]);
    let split = vec![
        bucket("", &[at("/", "root")]),
        bucket("/a/", &[at("/a/", "a"), at("/", "root")]),
        bucket("/b/", &[at("/b/", "b"), at("/b/new/", "new"), at("/", "root")]),
    ];
    let second = with_list(&mut renderer, split);
    assert_eq!(names(&second.changed_since(&first)), ["/b/new/"]);
    assert!(first.changed_since(&second).is_empty());
}

#[test]
fn everything_is_suspect_without_an_earlier_version() {
    let mut renderer = Renderer::new(Options::default());
    let now = with_list(
        &mut renderer,
        vec![bucket("", &[at("/", "root")]), bucket("/a/", &[at("/a/", "a"), at("/", "root")])],
    );
    assert_eq!(names(&now.changed_since(&Fragments::default())), ["/", "/a/"]);
    assert_eq!(now.iter().count(), 3);
}

#[test]
fn regex_and_case_insensitive_groups_are_found_in_every_bucket() {
    let mut renderer = Renderer::new(Options::default());
    let regex = Arc::new(group("regex", on(PathMatch::Regex("/a/.*".into())), direct(200, "r")));
    let mut any_case = group("any-case", on(prefix("/A/")), direct(200, "c"));
    any_case.routes[0].case_sensitive = false;
    let any_case = Arc::new(any_case);
    let everywhere = |a: &str| {
        let rest = [regex.clone(), any_case.clone(), at("/", "root")];
        let mut own = vec![at("/a/", a)];
        own.extend(rest.clone());
        vec![bucket("", &rest), bucket("/a/", &own)]
    };
    let first = with_list(&mut renderer, everywhere("one"));
    let second = with_list(&mut renderer, everywhere("two"));
    assert_eq!(names(&second.changed_since(&first)), ["/a/"]);
}

#[test]
fn a_redirecting_host_is_made_of_challenge_routes_only() {
    let id = list_id("*");
    let rows = Rows::default()
        .serve(80, vec![host("*", VirtualHostBody::RedirectToHttps { acme: id.clone() })])
        .list(tree(&id, "tree"));
    let mut renderer = Renderer::new(Options::default());
    renderer.apply(&rows.0, 1);
    let fragments = renderer.fragments(ResourceType::Route, TABLE).unwrap();
    let all: Vec<_> = fragments.iter().map(|(_, group)| group.clone()).collect();
    assert_eq!(names(&all), ["/.well-known/acme-challenge/"]);
    assert!(renderer.fragments(ResourceType::Listener, "default/l80").is_none());
    assert!(renderer.fragments(ResourceType::Route, "default/absent").is_none());
}

#[test]
fn the_object_named_is_the_current_one_even_if_the_content_is_equal() {
    let mut renderer = Renderer::new(Options::default());
    let root = |name: &str| {
        let mut made = group("root", on(prefix("/")), direct(200, "root"));
        made.routes[0].source = ObjectKey::new(Kind::Mapping, "default", name);
        vec![bucket("", &[Arc::new(made)])]
    };
    with_list(&mut renderer, root("old"));
    let now = with_list(&mut renderer, root("new"));
    assert_eq!(now.iter().map(|(_, group)| &*group.routes[0].source.name).collect::<Vec<_>>(), ["new"]);
}
