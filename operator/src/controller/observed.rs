//! The status that an object has, in a compact form.
//!
//! All statuses of all objects are in memory, so texts are not: a condition keeps hashes of its reason and message,
//! which is enough to tell whether what would be written differs.

use crate::status::Truth;
use ahash::RandomState;
use k8s_openapi::jiff::Timestamp;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::sync::LazyLock;

/// The conditions that are written, in the order in which they are written.
pub(super) const CONDITIONS: [&str; 5] = ["Accepted", "ResolvedRefs", "Programmed", "Ready", "BackendsReady"];
/// Upstream's own status fields that are written.
pub(super) const FIELDS: [&str; 4] = ["state", "reason", "tlsCertificateSource", "errorReason"];

/// Keys are fixed, so that equal texts have equal hashes wherever in the process they are compared.
static HASHER: LazyLock<RandomState> = LazyLock::new(|| RandomState::with_seeds(3, 1, 4, 1));

/// Hash of a text, for comparison within this process.
pub(super) fn hash(text: &str) -> u64 {
    HASHER.hash_one(text)
}

/// For hashes of more than a text.
pub(super) fn hasher() -> impl Hasher {
    HASHER.build_hasher()
}

/// Hash of a text that is the same in all processes (FNV-1a).
pub(super) fn stable_hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What was read of a status: conditions and upstream's own fields that are also written here, nothing else.
///
/// Reading it never fails on what a well-formed document says, since anybody may have written it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedStatus {
    /// At most one of each type.
    conditions: Box<[ObservedCondition]>,
    /// Place in [`FIELDS`] and hash of the value; empty values are left out.
    fields: Box<[(u8, u64)]>,
}

/// A condition of a type that is also written here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedCondition {
    /// Hash of the message.
    pub message: u64,
    /// Hash of the reason.
    pub reason: u64,
    /// `observedGeneration`; 0 when it has none.
    pub generation: i64,
    /// `lastTransitionTime` in seconds since 1970, if it can be read.
    pub transition: Option<i64>,
    /// `status`; `None` when it is none of the three.
    pub truth: Option<Truth>,
    /// Place in [`CONDITIONS`].
    kind: u8,
}

/// Which managers of Nuncio's have written the status, from `metadata.managedFields`. Every other entry is read over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldManagers {
    /// Hashes of their names, 0 for none. There is one unless several installations claimed the object one after another.
    names: [u32; 3],
}

impl ObservedStatus {
    /// The condition of that type.
    pub(super) fn condition(&self, kind: &str) -> Option<&ObservedCondition> {
        self.conditions.iter().find(|condition| CONDITIONS.get(usize::from(condition.kind)) == Some(&kind))
    }

    /// Hash of the value of one of upstream's own fields, unless that is empty.
    pub(super) fn field(&self, name: &str) -> Option<u64> {
        self.fields.iter().find(|(field, _)| FIELDS.get(usize::from(*field)) == Some(&name)).map(|(_, value)| *value)
    }

    /// Whether it has any condition that could have been written here.
    pub(super) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Whether there is nothing in it that could have been written here.
    pub(super) fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.fields.is_empty()
    }
}

impl FieldManagers {
    /// Whether this manager is among them.
    pub(super) fn contains(&self, manager: &str) -> bool {
        self.names.contains(&short_hash(manager))
    }

    fn add(&mut self, manager: &str) {
        let hash = short_hash(manager);
        if !self.names.contains(&hash)
            && let Some(free) = self.names.iter_mut().find(|name| **name == 0)
        {
            *free = hash;
        }
    }
}

/// Never 0.
fn short_hash(text: &str) -> u32 {
    (hash(text) >> 32) as u32 | 1
}

impl<'de> Deserialize<'de> for ObservedStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lenient(StatusForm).deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for FieldManagers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lenient(ManagersForm).deserialize(deserializer)
    }
}

/// How one part of a document is read. What has another form is read over and counts as absent.
trait Form<'de>: Sized {
    type Value: Default;

    fn text(self, _text: &str) -> Self::Value {
        Self::Value::default()
    }

    fn integer(self, _number: i64) -> Self::Value {
        Self::Value::default()
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }
}

struct StatusForm;

impl<'de> Form<'de> for StatusForm {
    type Value = ObservedStatus;

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObservedStatus, A::Error> {
        let mut status = ObservedStatus::default();
        let mut fields = Vec::new();
        while let Some(place) = map.next_key_seed(Lenient(PlaceForm(&["conditions"], &FIELDS)))? {
            match place {
                Some((0, 0)) => status.conditions = map.next_value_seed(Lenient(ConditionsForm))?,
                Some((_, field)) => {
                    if let Some(value) = map.next_value_seed(Lenient(HashForm))? {
                        fields.push((field, value));
                    }
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        status.fields = fields.into();
        Ok(status)
    }
}

struct ConditionsForm;

impl<'de> Form<'de> for ConditionsForm {
    type Value = Box<[ObservedCondition]>;

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut conditions: Vec<ObservedCondition> = Vec::with_capacity(CONDITIONS.len());
        while let Some(condition) = list.next_element_seed(Lenient(ConditionForm))? {
            if let Some(condition) = condition
                && !conditions.iter().any(|other| other.kind == condition.kind)
            {
                conditions.push(condition);
            }
        }
        Ok(conditions.into())
    }
}

struct ConditionForm;

impl<'de> Form<'de> for ConditionForm {
    /// `None` for types that are not written here.
    type Value = Option<ObservedCondition>;

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        const PARTS: [&str; 6] = ["type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"];
        let mut condition = ObservedCondition { message: hash(""), reason: hash(""), ..ObservedCondition::default() };
        let mut known = false;
        while let Some(place) = map.next_key_seed(Lenient(PlaceForm(&PARTS, &[])))? {
            match place.map(|(_, part)| part) {
                Some(0) => {
                    let kind = map.next_value_seed(Lenient(PlaceForm(&CONDITIONS, &[])))?;
                    known = kind.is_some();
                    condition.kind = kind.map_or(0, |(_, kind)| kind);
                }
                Some(1) => condition.truth = map.next_value_seed(Lenient(TextForm(truth)))?,
                Some(2) => condition.reason = map.next_value_seed(Lenient(HashForm))?.unwrap_or_else(|| hash("")),
                Some(3) => condition.message = map.next_value_seed(Lenient(HashForm))?.unwrap_or_else(|| hash("")),
                Some(4) => condition.generation = map.next_value_seed(Lenient(IntegerForm))?,
                Some(_) => condition.transition = map.next_value_seed(Lenient(TextForm(seconds)))?,
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(known.then_some(condition))
    }
}

struct ManagersForm;

impl<'de> Form<'de> for ManagersForm {
    type Value = FieldManagers;

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<FieldManagers, A::Error> {
        let mut managers = FieldManagers::default();
        while let Some(manager) = list.next_element_seed(Lenient(ManagerForm))? {
            if let Some(manager) = manager {
                managers.add(&manager);
            }
        }
        Ok(managers)
    }
}

struct ManagerForm;

impl<'de> Form<'de> for ManagerForm {
    /// The name, if it is one of Nuncio's and of the status subresource.
    type Value = Option<Box<str>>;

    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut name, mut of_status) = (None, false);
        while let Some(place) = map.next_key_seed(Lenient(PlaceForm(&["manager", "subresource"], &[])))? {
            match place.map(|(_, part)| part) {
                Some(0) => {
                    let ours = |text: &str| text.starts_with("nuncio").then(|| text.into());
                    name = map.next_value_seed(Lenient(TextForm(ours)))?;
                }
                Some(_) => {
                    of_status = map.next_value_seed(Lenient(TextForm(|text| Some(text == "status"))))? == Some(true)
                }
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(name.filter(|_| of_status))
    }
}

/// A text by its place in one of two lists.
struct PlaceForm(&'static [&'static str], &'static [&'static str]);

impl Form<'_> for PlaceForm {
    /// Number of the list, place in it.
    type Value = Option<(u8, u8)>;

    fn text(self, text: &str) -> Self::Value {
        let find = |list: &[&str]| list.iter().position(|one| *one == text).and_then(|place| u8::try_from(place).ok());
        find(self.0).map(|place| (0, place)).or_else(|| find(self.1).map(|place| (1, place)))
    }
}

/// The hash of a text that is not empty.
struct HashForm;

impl Form<'_> for HashForm {
    type Value = Option<u64>;

    fn text(self, text: &str) -> Self::Value {
        Some(text).filter(|text| !text.is_empty()).map(hash)
    }
}

struct TextForm<T>(fn(&str) -> Option<T>);

impl<T> Form<'_> for TextForm<T> {
    type Value = Option<T>;

    fn text(self, text: &str) -> Option<T> {
        (self.0)(text)
    }
}

struct IntegerForm;

impl Form<'_> for IntegerForm {
    type Value = i64;

    fn integer(self, number: i64) -> i64 {
        number
    }
}

fn truth(text: &str) -> Option<Truth> {
    match text {
        "True" => Some(Truth::True),
        "False" => Some(Truth::False),
        "Unknown" => Some(Truth::Unknown),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

struct Lenient<F>(F);

impl<'de, F: Form<'de>> DeserializeSeed<'de> for Lenient<F> {
    type Value = F::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<F::Value, D::Error> {
        deserializer.deserialize_any(Reading(self.0, PhantomData))
    }
}

struct Reading<'de, F>(F, PhantomData<&'de ()>);

impl<'de, F: Form<'de>> Visitor<'de> for Reading<'de, F> {
    type Value = F::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<F::Value, E> {
        Ok(self.0.text(text))
    }

    fn visit_i64<E>(self, number: i64) -> Result<F::Value, E> {
        Ok(self.0.integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<F::Value, E> {
        Ok(i64::try_from(number).map(|number| self.0.integer(number)).unwrap_or_default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<F::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<F::Value, A::Error> {
        self.0.map(map)
    }

    fn visit_bool<E>(self, _: bool) -> Result<F::Value, E> {
        Ok(F::Value::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<F::Value, E> {
        Ok(F::Value::default())
    }

    fn visit_unit<E>(self) -> Result<F::Value, E> {
        Ok(F::Value::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> ObservedStatus {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_status_is_read_in_short() {
        let status = read(
            r#"{"state":"Running","reason":"","extra":{"deep":[1,2]},"errorReason":7,"conditions":[
                {"type":"Accepted","status":"True","reason":"Accepted","message":"","observedGeneration":4,
                 "lastTransitionTime":"2026-11-21T17:00:00Z","unknown":null},
                {"type":"Accepted","status":"False"},
                {"type":"SomebodyElses","status":"True"},
                {"type":"Ready","status":"Perhaps","observedGeneration":"4","lastTransitionTime":"soon","message":"text"},
                "garbage", null, {"status":"True"}]}"#,
        );
        assert_eq!(status.conditions.len(), 2);
        let accepted = status.condition("Accepted").unwrap();
        assert_eq!(
            (accepted.truth, accepted.generation, accepted.transition),
            (Some(Truth::True), 4, Some(1_795_280_400))
        );
        assert_eq!((accepted.reason, accepted.message), (hash("Accepted"), hash("")));
        let ready = status.condition("Ready").unwrap();
        assert_eq!((ready.truth, ready.generation, ready.transition), (None, 0, None));
        assert_eq!((ready.reason, ready.message), (hash(""), hash("text")));
        assert_eq!((status.field("state"), status.field("reason")), (Some(hash("Running")), None));
        assert_eq!(status.field("errorReason"), None);
        assert!(status.condition("SomebodyElses").is_none());
    }

    #[test]
    fn what_is_no_status_is_an_empty_one() {
        for json in
            ["null", "[]", "7", "true", "\"x\"", "{}", r#"{"conditions":{}}"#, r#"{"conditions":null,"state":{}}"#]
        {
            assert!(read(json).is_empty(), "{json}");
        }
    }

    #[test]
    fn managers_of_other_programs_are_read_over() {
        let json = r#"[{"manager":"kubectl","subresource":"status"},{"manager":"nuncio","fieldsV1":{"f:spec":{}}},
            {"subresource":"status","fieldsV1":{},"manager":"nuncio-a"},7]"#;
        let managers: FieldManagers = serde_json::from_str(json).unwrap();
        assert!(managers.contains("nuncio-a"));
        assert!(!managers.contains("nuncio") && !managers.contains("kubectl"));
    }

    #[test]
    fn a_condition_takes_little() {
        assert!(size_of::<ObservedCondition>() <= 48, "{}", size_of::<ObservedCondition>());
    }
}
