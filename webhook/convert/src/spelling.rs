//! What v3alpha1 cannot express of an old object.
//!
//! A v1 or v2 object can say one thing in several ways, and things that v3alpha1 does not know at all. On the way to
//! v3alpha1 the result is converted back at once, and each place where it differs from the original is written into
//! `spec.v2Spelling`: a map from JSON pointers (RFC 6901, below `spec`) to `{value: …}`, or to `{}` where there was nothing.
//!
//! On the way back an entry counts only if it makes no difference in v3alpha1: the old object with it and the one without
//! it must mean the same. So an entry can never undo what somebody has edited in the v3alpha1 object meanwhile.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Kind, Note, Object, spec};

/// The field of a v3alpha1 `spec`.
pub const FIELD: &str = "v2Spelling";

/// Up to this number of entries for fields that belong together, those that still fit are found one by one when not all
/// of them do. It bounds the work that an object written by hand can cause.
const MOST_TRIED: usize = 32;

/// Writes into `new` where `back`, which is `new` converted back, differs from the original `old`. Both only have the
/// fields that some rule is about.
pub(crate) fn remember(new: &mut Object, back: &Object, old: Object) {
    let mut entries = Map::new();
    compare(back, old, &mut String::new(), &mut entries);
    if !entries.is_empty() {
        new.insert(FIELD.to_owned(), Value::Object(entries));
    }
}

/// Objects are compared field by field, anything else as a whole.
fn compare(back: &Object, old: Object, path: &mut String, entries: &mut Object) {
    let length = path.len();
    for name in back.keys().filter(|name| !old.contains_key(*name)) {
        push(path, name);
        entries.insert(path.clone(), Value::Object(Object::new()));
        path.truncate(length);
    }
    for (name, value) in old {
        let found = back.get(&name);
        if found == Some(&value) {
            continue;
        }
        push(path, &name);
        match (found, value) {
            (Some(Value::Object(found)), Value::Object(value)) => compare(found, value, path, entries),
            (_, value) => {
                let entry = Object::from_iter([("value".to_owned(), value)]);
                entries.insert(path.clone(), Value::Object(entry));
            }
        }
        path.truncate(length);
    }
}

fn push(path: &mut String, name: &str) {
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// What a v3alpha1 `spec` remembers, while the `spec` becomes an old one.
pub(crate) struct Memory {
    /// The entries, by the group of fields they are about.
    groups: BTreeMap<&'static str, Vec<(String, Value)>>,
    /// The fields of these groups before the conversion.
    new: Object,
}

impl Memory {
    /// Takes apart what was `found` in [`FIELD`] of `new`. None if it is nothing that could be used.
    pub(crate) fn read(kind: Kind, new: &Object, found: Value, notes: &mut Vec<Note>) -> Option<Self> {
        let Value::Object(entries) = found else {
            notes.push(Note { at: format!("spec.{FIELD}"), detail: "is not a map and was ignored" });
            return None;
        };
        let mut groups: BTreeMap<&'static str, Vec<(String, Value)>> = BTreeMap::new();
        for (path, entry) in entries {
            let group = path.split('/').nth(1).and_then(|field| spec::group(kind, &unescape(field)));
            // What is about a field without rules cannot be ours.
            if let Some(group) = group {
                groups.entry(group).or_default().push((path, entry));
            }
        }
        let new = spec::part(kind, new, |group| groups.contains_key(group));
        Some(Self { groups, new })
    }

    /// Applies it to the converted `spec`, as far as that means the same.
    pub(crate) fn restore(self, kind: Kind, old: &mut Object, notes: &mut Vec<Note>) {
        let Self { groups, new } = self;
        // Mostly nobody has edited the object, and all of it fits.
        let touched = |group| groups.contains_key(group);
        let mut candidate = spec::part(kind, old, touched);
        groups.values().flatten().for_each(|(path, entry)| apply(&mut candidate, path, entry.get("value").cloned()));
        let mut meaning = meaning(kind, candidate);
        meaning.retain(|field, _| spec::group(kind, field).is_some_and(touched));
        if meaning == new {
            groups.into_values().flatten().for_each(|(path, entry)| apply(old, &path, take(entry)));
            return;
        }
        let mut stale = false;
        for (group, mut entries) in groups {
            stale |= keep_fitting(kind, &spec::part(kind, old, |one| one == group), &mut entries);
            entries.into_iter().for_each(|(path, entry)| apply(old, &path, take(entry)));
        }
        if stale {
            let detail = "does not fit the object any more and was ignored in part";
            notes.push(Note { at: format!("spec.{FIELD}"), detail });
        }
    }
}

/// Removes the entries that would change what a group of fields means. Says whether there were any.
fn keep_fitting(kind: Kind, plain: &Object, entries: &mut Vec<(String, Value)>) -> bool {
    let meaning = meaning(kind, plain.clone());
    let fits = |entries: &[(String, Value)]| {
        let mut candidate = plain.clone();
        entries.iter().for_each(|(path, entry)| apply(&mut candidate, path, entry.get("value").cloned()));
        self::meaning(kind, candidate) == meaning
    };
    if fits(entries) {
        return false;
    }
    let all = std::mem::take(entries);
    if all.len() <= MOST_TRIED {
        for entry in all {
            entries.push(entry);
            if !fits(entries) {
                entries.pop();
            }
        }
    }
    true
}

/// What an old `spec` says in v3alpha1.
fn meaning(kind: Kind, mut old: Object) -> Object {
    spec::upgrade(kind, &mut old, &mut Vec::new());
    old
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// The value in an entry; none where there was nothing.
fn take(mut entry: Value) -> Option<Value> {
    entry.get_mut("value").map(Value::take)
}

fn apply(spec: &mut Object, path: &str, value: Option<Value>) {
    let Some(path) = path.strip_prefix('/') else { return };
    let mut names = path.split('/').map(unescape);
    let Some(mut name) = names.next() else { return };
    let mut object = spec;
    for next in names {
        let Some(Value::Object(inner)) = object.get_mut(&name) else { return };
        object = inner;
        name = next;
    }
    match value {
        Some(value) => {
            object.insert(name, value);
        }
        None => {
            object.remove(&name);
        }
    }
}
