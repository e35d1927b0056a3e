//! The prefix on `ambassador_id`.
//!
//! A control plane that only knows v1 and v2 must not act on an object that was written as v3alpha1, because it would see
//! less than the object says. So the ids of such an object carry a prefix in v1 and v2, which no old installation has.
//! v3alpha1 has no way to tell who wrote an object: an old one that is stored as v3alpha1 gets the prefix, too.

use serde_json::Value;

use crate::{Kind, Object};

/// What stands in front of an id in v1 and v2.
pub const PREFIX: &str = "--apiVersion-v3alpha1-only--";

/// The id of an object that names none.
const DEFAULT: &str = "default";

/// The fields with ids. The second is an old spelling that only Host has; elsewhere it is an unknown field.
pub(crate) const FIELD: &str = "ambassador_id";
pub(crate) const OLD_FIELD: &str = "ambassadorId";

/// The fields of a kind that have ids.
fn fields(kind: Kind) -> &'static [&'static str] {
    if kind == Kind::Host { &[FIELD, OLD_FIELD] } else { &[FIELD] }
}

/// Takes the prefix off the ids of a v1 or v2 `spec` of this kind, whether they are a string or a list.
pub fn strip(kind: Kind, spec: &mut Object) {
    for field in fields(kind) {
        each(spec, field, |id| {
            if let Some(rest) = id.strip_prefix(PREFIX) {
                *id = rest.to_owned();
            }
        });
    }
}

/// Puts the prefix in front of the ids of a v1 or v2 `spec` of this kind. No ids are the default one, an empty list
/// stays empty, and an id that has the prefix keeps its one.
pub fn prefix(kind: Kind, spec: &mut Object) {
    let unnamed = spec.get(FIELD).is_none_or(Value::is_null);
    let elsewhere = kind == Kind::Host && spec.contains_key(OLD_FIELD);
    if unnamed && !elsewhere {
        spec.insert(FIELD.to_owned(), Value::Array(vec![Value::String(format!("{PREFIX}{DEFAULT}"))]));
        return;
    }
    for field in fields(kind) {
        each(spec, field, |id| {
            if !id.starts_with(PREFIX) {
                id.insert_str(0, PREFIX);
            }
        });
    }
}

fn each(spec: &mut Object, field: &str, change: impl Fn(&mut String)) {
    match spec.get_mut(field) {
        Some(Value::String(id)) => change(id),
        Some(Value::Array(ids)) => {
            for id in ids {
                if let Value::String(id) = id {
                    change(id);
                }
            }
        }
        _ => {}
    }
}
