//! What the replicas of an installation tell each other: what their Envoys have, and what they refused.
//!
//! Batches of one replica mean nothing to another, and neither do versions of the API server, of which one replica may
//! skip some. What is the same everywhere are the objects: so a replica says of each kind which *state* is live in all of
//! its Envoys, as one number made of the generations of all objects. Two replicas that have seen the same objects have
//! the same number, whatever way they came, and a status that is written changes none.

use ir::{Kind, ObjectKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Refusals that one replica tells. What is beyond is told when these are mended.
const REFUSALS: usize = 32;
/// Bytes of what Envoy said that are passed on.
const TEXT_BYTES: usize = 200;

/// A state of all objects of a kind. The order in which they came does not matter, and one can be taken out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations(pub u64);

impl Generations {
    /// One object; equal in all processes (FNV-1a, then mixed, as sums are made of it).
    pub fn of(namespace: &str, name: &str, uid: &str, generation: i64) -> Self {
        let generation = generation.to_le_bytes();
        let parts = [namespace.as_bytes(), name.as_bytes(), uid.as_bytes(), generation.as_slice()];
        // No name holds the byte that ends a part.
        let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Self((mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53))
    }

    /// With these, too.
    pub fn add(&mut self, more: Self) {
        self.0 = self.0.wrapping_add(more.0);
    }

    /// Without these, which were part of it.
    pub fn remove(&mut self, part: Self) {
        self.0 = self.0.wrapping_sub(part.0);
    }
}

/// What a replica says about its Envoys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many are connected.
    pub envoys: usize,
    /// The newest state of each kind that all of them have.
    pub live: Arc<BTreeMap<Kind, Generations>>,
    /// Versions that one of them refused.
    pub refused: Arc<BTreeMap<ObjectKey, Refused>>,
}

/// A version of an object that an Envoy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `metadata.uid`
    pub uid: Arc<str>,
    /// `metadata.generation`
    pub generation: i64,
    /// Envoy's words.
    pub text: Arc<str>,
}

/// A report as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    /// Grows with each writing, so that a replica which is gone is told from one that has no news.
    beat: u64,
    /// Seconds after which it is written at the latest.
    every: u64,
    envoys: usize,
    #[serde(default)]
    live: BTreeMap<String, String>,
    #[serde(default)]
    refused: Vec<WrittenRefusal>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenRefusal {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    generation: i64,
    text: String,
}

impl Report {
    /// As text, for the others.
    pub fn write(&self, beat: u64, every: u64) -> String {
        let live = self.live.iter().map(|(kind, state)| (kind.name().to_owned(), format!("{:016x}", state.0)));
        let refused = self.refused.iter().take(REFUSALS).map(|(key, refused)| WrittenRefusal {
            kind: key.kind.name().into(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: refused.uid.to_string(),
            generation: refused.generation,
            text: cut(&refused.text),
        });
        let written = Written { beat, every, envoys: self.envoys, live: live.collect(), refused: refused.collect() };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// A report out of a text that anybody may have written, and the seconds after which the next one is due. What is not
    /// understood is not there.
    pub fn read(text: &str) -> Option<(Self, u64)> {
        let written: Written = serde_json::from_str(text).ok()?;
        let live = written.live.iter().filter_map(|(kind, state)| {
            Some((kind.parse::<Kind>().ok()?, Generations(u64::from_str_radix(state, 16).ok()?)))
        });
        let refused = written.refused.into_iter().take(REFUSALS).filter_map(|one| {
            let kind = one.kind.parse::<Kind>().ok().filter(|kind| kind.is_custom())?;
            let text = cut(&one.text).into();
            let refused = Refused { uid: one.uid.into(), generation: one.generation, text };
            Some((ObjectKey::new(kind, one.namespace, one.name), refused))
        });
        let report =
            Self { envoys: written.envoys, live: Arc::new(live.collect()), refused: Arc::new(refused.collect()) };
        Some((report, written.every.clamp(1, 600)))
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_made_of_what_there_is() {
        let [a, b] = [("a", 1), ("b", 7)].map(|(name, generation)| Generations::of("ns", name, "u", generation));
        let (mut one, mut other) = (Generations::default(), Generations::default());
        for part in [a, b] {
            one.add(part);
        }
        let old = Generations::of("ns", "b", "u", 6);
        for part in [old, b, a] {
            other.add(part);
        }
        other.remove(old);
        assert_eq!(one, other);
        assert_ne!(a, Generations::of("ns", "a", "u", 2));
        assert_ne!(a, Generations::of("n", "sa", "u", 1));
        // The same in every process, now and in the next release.
        assert_eq!(a.0, A);
    }

    const A: u64 = 14_890_955_771_589_219_893;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let key = ObjectKey::new(Kind::Mapping, "ns", "m");
        let refused = Refused { uid: "u".into(), generation: 3, text: "é".repeat(150).into() };
        let report = Report {
            envoys: 2,
            live: Arc::new([(Kind::Mapping, Generations(u64::MAX)), (Kind::Host, Generations(0))].into()),
            refused: Arc::new([(key.clone(), refused)].into()),
        };
        let (read, every) = Report::read(&report.write(5, 9)).unwrap();
        assert_eq!((read.envoys, every, &read.live), (2, 9, &report.live));
        let refused = &read.refused[&key];
        assert_eq!((&*refused.uid, refused.generation, refused.text.len()), ("u", 3, TEXT_BYTES));
        assert_ne!(report.write(5, 9), report.write(6, 9));
    }

    #[test]
    fn what_somebody_else_wrote_is_not_believed() {
        assert!(Report::read("").is_none() && Report::read("[]").is_none() && Report::read("{}").is_none());
        let odd = r#"{"beat":1,"every":0,"envoys":1,"live":{"Mapping":"x","Nothing":"1"},
            "refused":[{"kind":"Secret","namespace":"a","name":"b","uid":"","generation":1,"text":""}]}"#;
        let (report, every) = Report::read(odd).unwrap();
        assert!(report.live.is_empty() && report.refused.is_empty() && every == 1);
    }
}
