//! Who is to blame for a refused response, and what is not sent again.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use crate::resource::Version;

/// Versions remembered for a name, and names remembered for a type: enough for any search by the sender, bounded
/// against a client that refuses everything for ever.
const VERSIONS: usize = 16;
const NAMES: usize = 16_384;

/// What one client refused of one type.
#[derive(Debug, Default)]
pub(super) struct Refusals(AHashMap<Arc<str>, Vec<Version>>);

impl Refusals {
    pub(super) fn insert(&mut self, name: &Arc<str>, version: Version) {
        if self.0.len() >= NAMES && !self.0.contains_key(name) {
            let Some(victim) = self.0.keys().next().cloned() else { return };
            self.0.remove(&victim);
        }
        let versions = self.0.entry(name.clone()).or_default();
        if !versions.contains(&version) {
            if versions.len() >= VERSIONS {
                versions.remove(0);
            }
            versions.push(version);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn contains(&self, name: &str, version: Version) -> bool {
        self.0.get(name).is_some_and(|versions| versions.contains(&version))
    }
}

/// The resources of a refused CDS or LDS response that the client's text names.
///
/// Envoy writes `Error adding/updating cluster(s) a: reason, b: reason`, for listeners with line breaks between them
/// (`source/common/upstream/cds_api_helper.cc`, `source/common/listener_manager/lds_api.cc`). A reason may contain the
/// separators too, so a piece only counts when a name of the response stands at its beginning.
pub(super) fn guilty<'a>(detail: &str, names: impl Iterator<Item = &'a Arc<str>>) -> AHashSet<Arc<str>> {
    let Some(list) = ["cluster(s) ", "listener(s) "].into_iter().find_map(|mark| Some(detail.split_once(mark)?.1))
    else {
        return AHashSet::new();
    };
    let names: AHashSet<&str> = names.map(|name| &**name).collect();
    let starts = std::iter::once(0).chain(list.match_indices([',', '\n']).map(|(at, _)| at + 1));
    starts
        .filter_map(|at| list.get(at..).map(str::trim_start))
        .filter_map(|piece| {
            // A name may itself contain ": ".
            let ends = piece.match_indices(": ").map(|(end, _)| end).take(4);
            ends.filter_map(|end| piece.get(..end)).find_map(|name| names.get(name).copied().map(Arc::from))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(detail: &str, names: &[&str]) -> Vec<String> {
        let names: Vec<Arc<str>> = names.iter().map(|n| Arc::from(*n)).collect();
        let mut found: Vec<String> = guilty(detail, names.iter()).iter().map(|n| n.to_string()).collect();
        found.sort();
        found
    }

    #[test]
    fn named_resources_are_found() {
        let names = ["a", "b", "c", "odd: name", "text"];
        for (detail, expected) in [
            ("Error adding/updating cluster(s) a: bad ring, b: 5 > 3", vec!["a", "b"]),
            ("Error adding/updating listener(s) a: no port\nc: text: in use\n", vec!["a", "c"]),
            ("Error adding/updating cluster(s) odd: name: bad", vec!["odd: name"]),
            ("Error adding/updating cluster(s) z: not in the response", vec![]),
            ("Proto constraint validation failed (a: bad, b: bad)", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(blamed(detail, &names), expected, "{detail}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut refusals = Refusals::default();
        for n in 0..(NAMES as u64 + 10) {
            refusals.insert(&n.to_string().into(), Version(n));
        }
        assert_eq!(refusals.0.len(), NAMES);
        let name: Arc<str> = "x".into();
        (1..=VERSIONS as u64 + 1).for_each(|v| refusals.insert(&name, Version(v)));
        assert!(!refusals.contains("x", Version(1)) && refusals.contains("x", Version(2)));
    }
}
