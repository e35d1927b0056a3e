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

/// Applies what was remembered to an old `spec`, as far as it means the same.
pub(crate) fn restore(kind: Kind, old: &mut Object, remembered: &Value, notes: &mut Vec<Note>) {
    let Value::Object(entries) = remembered else {
        notes.push(Note { at: format!("spec.{FIELD}"), detail: "is not a map and was ignored" });
        return;
    };
    let mut groups: BTreeMap<&'static str, Vec<(&String, &Value)>> = BTreeMap::new();
    let mut stale = false;
    for (path, entry) in entries {
        let field = path.split('/').nth(1).map(unescape);
        match field.and_then(|field| spec::group(kind, &field)) {
            Some(group) => groups.entry(group).or_default().push((path, entry)),
            None => stale = true,
        }
    }
    for (group, entries) in groups {
        let plain = spec::part(kind, old, |one| one == group);
        let meaning = meaning(kind, plain.clone());
        let fits = |entries: &[(&String, &Value)]| {
            let mut candidate = plain.clone();
            entries.iter().for_each(|(path, entry)| apply(&mut candidate, path, entry));
            self::meaning(kind, candidate) == meaning
        };
        let mut fitting = entries;
        if !fits(&fitting) {
            stale = true;
            let few = fitting.len() <= MOST_TRIED;
            let mut tried = Vec::new();
            for entry in fitting.into_iter().filter(|_| few) {
                tried.push(entry);
                if !fits(&tried) {
                    tried.pop();
                }
            }
            fitting = tried;
        }
        fitting.iter().for_each(|(path, entry)| apply(old, path, entry));
    }
    if stale {
        notes.push(Note {
            at: format!("spec.{FIELD}"),
            detail: "does not fit the object any more and was ignored in part",
        });
    }
}

/// What an old `spec` says in v3alpha1.
fn meaning(kind: Kind, mut old: Object) -> Object {
    spec::upgrade(kind, &mut old, &mut Vec::new());
    old
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

fn apply(spec: &mut Object, path: &str, entry: &Value) {
    let Some(path) = path.strip_prefix('/') else { return };
    let mut names = path.split('/').map(unescape);
    let Some(mut name) = names.next() else { return };
    let mut object = spec;
    for next in names {
        let Some(Value::Object(inner)) = object.get_mut(&name) else { return };
        object = inner;
        name = next;
    }
    match entry.get("value") {
        Some(value) => {
            object.insert(name, value.clone());
        }
        None => {
            object.remove(&name);
        }
    }
}
