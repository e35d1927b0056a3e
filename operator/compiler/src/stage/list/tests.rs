use super::{BUCKET, FLAT, ListState};
use crate::stage::placement::{HostClass, ListClass};
use ir::{Bucket, HeaderEdits, ListId, OrderKey, PathMatch, ProtoVariant, RouteGroup, RouteMatch};
use proptest::prelude::*;
use std::sync::Arc;

fn class() -> ListClass {
    ListClass::new(None, HostClass::Any)
}

fn group(path: PathMatch, rank: u8, case_sensitive: bool) -> Arc<RouteGroup> {
    let order = OrderKey(vec![rank].into());
    let id = format!("{path:?}{rank}{case_sensitive}").into();
    let matches = RouteMatch { path, case_sensitive, authority: None, headers: Vec::new(), query: Vec::new() };
    Arc::new(RouteGroup { id, order, matches, headers: HeaderEdits::default(), routes: Vec::new() })
}

/// What Envoy does with a path: the first group, in order, of those that can match.
fn matches(group: &RouteGroup, path: &str) -> bool {
    let (mut own, mut path) = (group.matches.path.text().to_string(), path.split('?').next().unwrap().to_owned());
    if !group.matches.case_sensitive {
        (own, path) = (own.to_ascii_lowercase(), path.to_ascii_lowercase());
    }
    match &group.matches.path {
        PathMatch::Prefix(_) => path.starts_with(&own),
        PathMatch::Exact(_) => path == own,
        PathMatch::Regex(_) => path.contains(&own),
    }
}

fn through_tree(buckets: &[Arc<Bucket>], path: &str) -> Option<Arc<str>> {
    let bucket =
        buckets.iter().filter(|bucket| path.starts_with(&*bucket.prefix)).max_by_key(|bucket| bucket.prefix.len())?;
    bucket.groups.iter().find(|group| matches(group, path)).map(|group| group.id.clone())
}

fn path() -> impl Strategy<Value = String> {
    // A small alphabet makes shared beginnings; the umlaut makes edges that are no byte boundaries.
    proptest::collection::vec(
        prop_oneof![Just("/"), Just("a"), Just("b"), Just("ä"), Just("ö"), Just("A"), Just("?")],
        1..7,
    )
    .prop_map(|parts| format!("/{}", parts.concat()))
}

fn any_group() -> impl Strategy<Value = Arc<RouteGroup>> {
    (path(), 0..4_u8, 0..255_u8, 0..40_u8).prop_map(|(path, rank, _, shape)| {
        let text: Arc<str> = path.as_str().into();
        match shape {
            0 => group(PathMatch::Regex(text), rank, true),
            1 => group(PathMatch::Prefix(text), rank, false),
            2..=12 => group(PathMatch::Exact(text), rank, true),
            _ => group(PathMatch::Prefix(text), rank, true),
        }
    })
}

proptest! {
    #[test]
    fn the_tree_decides_like_the_flat_order(
        groups in proptest::collection::vec(any_group(), 0..400),
        paths in proptest::collection::vec(path(), 1..40),
    ) {
        let mut list = ListState::new(&class());
        for group in &groups {
            list.insert(group);
        }
        let mut flat: Vec<_> = groups.clone();
        flat.sort_by(|left, right| (&left.order, &left.id).cmp(&(&right.order, &right.id)));
        let buckets = list.list(ProtoVariant::AsIs).buckets;
        for path in paths.iter().map(String::as_str).chain(groups.iter().map(|group| &**group.matches.path.text())) {
            let expected = flat.iter().find(|group| matches(group, path)).map(|group| group.id.clone());
            prop_assert_eq!(through_tree(&buckets, path), expected, "path {}", path);
        }
    }

    #[test]
    fn history_leaves_no_trace(
        groups in proptest::collection::vec(any_group(), 0..300),
        steps in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..200),
    ) {
        let mut list = ListState::new(&class());
        let mut present = std::collections::BTreeMap::new();
        for group in &groups {
            list.insert(group);
            present.insert(group.id.clone(), group.clone());
        }
        for (index, add, look) in steps {
            if groups.is_empty() { break; }
            let group = index.get(&groups);
            if add {
                // Equal by value, another allocation: as an edit that changes something else would bring it.
                let again = Arc::new((**group).clone());
                list.insert(&again);
                present.insert(again.id.clone(), again);
            } else {
                if let Some(found) = present.remove(&group.id) { list.remove(&found); }
            }
            if look { list.list(ProtoVariant::AsIs); }
        }
        let mut fresh = ListState::new(&class());
        for group in present.values().rev() {
            fresh.insert(group);
        }
        prop_assert_eq!(list.list(ProtoVariant::AsIs), fresh.list(ProtoVariant::AsIs));
    }
}

#[test]
fn a_small_list_is_flat_and_a_large_one_is_cut() {
    let mut list = ListState::new(&class());
    for index in 0..FLAT {
        list.insert(&group(PathMatch::Prefix(format!("/api/{index:05}/").into()), 1, true));
    }
    assert_eq!(list.list(ProtoVariant::AsIs).buckets.len(), 1);
    for index in FLAT..2000 {
        list.insert(&group(PathMatch::Prefix(format!("/api/{index:05}/").into()), 1, true));
    }
    let buckets = list.list(ProtoVariant::AsIs).buckets;
    assert!(buckets.len() > 20, "{} buckets", buckets.len());
    assert!(buckets.iter().all(|bucket| bucket.groups.len() <= BUCKET), "at most {BUCKET} groups each");
}

#[test]
fn an_edit_rebuilds_one_bucket() {
    let mut list = ListState::new(&class());
    for index in 0..2000 {
        list.insert(&group(PathMatch::Prefix(format!("/api/{index:05}/").into()), 1, true));
    }
    let before = list.list(ProtoVariant::AsIs).buckets;
    list.insert(&group(PathMatch::Prefix("/api/00042/".into()), 1, true));
    let after = list.list(ProtoVariant::AsIs).buckets;
    let rebuilt = before.iter().zip(&after).filter(|(old, new)| !Arc::ptr_eq(old, new)).count();
    assert_eq!((before.len(), rebuilt), (after.len(), 1));
}

#[test]
fn ids_name_class_and_variant() {
    let list = ListState::new(&class()).list(ProtoVariant::Secure);
    assert_eq!(list.id, ListId { class: "*".into(), variant: ProtoVariant::Secure });
}
