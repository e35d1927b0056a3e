//! What v3alpha1 cannot express of an old object.
//!
//! A v1 or v2 object can say one thing in several ways, and things that v3alpha1 does not know at all. On the way to
//! v3alpha1 the result is converted back at once, and each place where it differs from the original is written into
//! `spec.v2Spelling`: a map from JSON pointers (RFC 6901, below `spec`) to `{value: …}`, or to `{}` where there was nothing.
//!
//! On the way back an entry counts only if it makes no difference in v3alpha1: the old object with it and the one without
//! it must mean the same. So an entry can never undo what somebody has edited in the v3alpha1 object meanwhile.
//!
//! Fields that v3alpha1 does not have (see [`mod@fields`]) move here as a whole, and come back unless the object has
//! got a field of that name. All entries together are not much larger than the object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Kind, Note, Object, fields, spec};

/// The field of a v3alpha1 `spec`.
pub const FIELD: &str = "v2Spelling";

/// Up to this number of entries for fields that belong together, those that still fit are found one by one when not all
/// of them do. It bounds the work that an object written by hand can cause.
const MOST_TRIED: usize = 32;

/// How deep entries are about single fields. Deeper ones would repeat a name of any length above them.
const LEVELS: usize = 2;

/// Writes into `new` where `back`, which is `new` converted back, differs from the original `old`. Both only have the
/// fields that some rule is about, and `old` those that v3alpha1 does not have.
pub(crate) fn remember(new: &mut Object, back: &Object, old: Object) {
    let mut entries = Map::new();
    compare(back, old, LEVELS, &mut String::new(), &mut entries);
    if !entries.is_empty() {
        new.insert(FIELD.to_owned(), Value::Object(entries));
    }
}

/// Objects are compared field by field down to some levels, anything else as a whole.
fn compare(back: &Object, old: Object, levels: usize, path: &mut String, entries: &mut Object) {
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
            (Some(Value::Object(found)), Value::Object(value)) if levels > 1 => {
                compare(found, value, levels - 1, path, entries);
            }
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
    /// Fields that v3alpha1 does not have, and that nothing else depends on.
    unknown: Vec<(String, Value)>,
    /// The fields of the groups before the conversion.
    new: Object,
    /// Whether they are such as an API server would keep.
    closed: bool,
}

impl Memory {
    /// Takes apart what was `found` in [`FIELD`] of `new`. None if it is nothing that could be used.
    pub(crate) fn read(kind: Kind, new: &Object, found: Value, notes: &mut Vec<Note>) -> Option<Self> {
        let Value::Object(entries) = found else {
            notes.push(Note { at: format!("spec.{FIELD}"), detail: "is not a map and was ignored" });
            return None;
        };
        let mut groups: BTreeMap<&'static str, Vec<(String, Value)>> = BTreeMap::new();
        let mut unknown = Vec::new();
        for (path, entry) in entries {
            let mut names = path.split('/').skip(1).map(unescape);
            let Some(field) = names.next() else { continue };
            if let Some(group) = spec::group(kind, &field) {
                groups.entry(group).or_default().push((path, entry));
            } else if names.next().is_none() && !fields::knows(kind, &field) {
                match take(entry) {
                    Some(_) if new.contains_key(&field) => {
                        let detail = "is what the object has; another one that was remembered is left out";
                        notes.push(Note { at: format!("spec.{field}"), detail });
                    }
                    Some(value) => unknown.push((field, value)),
                    None => {}
                }
            }
            // What is about a field that v3alpha1 has, and that has no rules, cannot be ours.
        }
        let new = spec::part(kind, new, |group| groups.contains_key(group));
        let closed = !fields::prune(kind, &mut new.clone());
        Some(Self { groups, unknown, new, closed })
    }

    /// Applies it to the converted `spec`, as far as that means the same.
    pub(crate) fn restore(self, kind: Kind, old: &mut Object, notes: &mut Vec<Note>) {
        let Self { groups, unknown, new, closed } = self;
        old.extend(unknown);
        // Mostly nobody has edited the object, and all of it fits.
        let touched = |group| groups.contains_key(group);
        let mut candidate = spec::part(kind, old, touched);
        groups.values().flatten().for_each(|(path, entry)| apply(&mut candidate, path, entry.get("value").cloned()));
        let mut meaning = meaning(kind, candidate, closed);
        meaning.retain(|field, _| spec::group(kind, field).is_some_and(touched));
        if meaning == new {
            groups.into_values().flatten().for_each(|(path, entry)| apply(old, &path, take(entry)));
            return;
        }
        let mut stale = false;
        for (group, mut entries) in groups {
            stale |= keep_fitting(kind, &spec::part(kind, old, |one| one == group), closed, &mut entries);
            entries.into_iter().for_each(|(path, entry)| apply(old, &path, take(entry)));
        }
        if stale {
            let detail = "does not fit the object any more and was ignored in part";
            notes.push(Note { at: format!("spec.{FIELD}"), detail });
        }
    }
}

/// Removes the entries that would change what a group of fields means. Says whether there were any.
fn keep_fitting(kind: Kind, plain: &Object, closed: bool, entries: &mut Vec<(String, Value)>) -> bool {
    let meaning = meaning(kind, plain.clone(), closed);
    let fits = |entries: &[(String, Value)]| {
        let mut candidate = plain.clone();
        entries.iter().for_each(|(path, entry)| apply(&mut candidate, path, entry.get("value").cloned()));
        self::meaning(kind, candidate, closed) == meaning
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

/// What an old `spec` says in v3alpha1. If the v3alpha1 object is a closed one, what v3alpha1 cannot hold says nothing;
/// otherwise it might be what somebody has edited.
fn meaning(kind: Kind, mut old: Object, closed: bool) -> Object {
    spec::upgrade(kind, &mut old, &mut Vec::new());
    if closed {
        fields::prune(kind, &mut old);
    }
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
