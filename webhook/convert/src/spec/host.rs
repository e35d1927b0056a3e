//! Which hosts a Mapping is for: `host` with `host_regex` in v1 and v2; a glob, `hostname`, in v3alpha1.
//!
//! A v2 Mapping without a host is for all of them; a v3alpha1 Mapping without `hostname` is for those Hosts that select it,
//! of which an old control plane knows nothing. In v1 and v2 it gets a host that nobody asks for.

use serde_json::Value;

use crate::{Note, Object};

/// The host of a Mapping that an old control plane must not serve.
const SKIP: &str = "_skip_mapping_with_empty_host_";

const TRUE: Option<&Value> = Some(&Value::Bool(true));

pub(super) fn upgrade(spec: &mut Object, notes: &mut Vec<Note>) {
    if spec.remove("hostname").is_some_and(|hostname| !hostname.is_null()) {
        notes.push(super::unknown("hostname"));
    }
    if spec.get("host_regex") == TRUE {
        return;
    }
    let hostname = match spec.remove("host") {
        None | Some(Value::Null) => Value::String("*".to_owned()),
        Some(Value::String(host)) if host.is_empty() => Value::String("*".to_owned()),
        Some(Value::String(host)) if host == SKIP => return,
        Some(host) => host,
    };
    spec.insert("hostname".to_owned(), hostname);
}

pub(super) fn downgrade(spec: &mut Object) {
    if let Some(hostname) = spec.remove("hostname").filter(|hostname| !is_empty(Some(hostname))) {
        spec.insert("host".to_owned(), hostname);
        if spec.get("host_regex") == TRUE {
            spec.insert("host_regex".to_owned(), Value::Bool(false));
        }
    } else if is_empty(spec.get("host")) && spec.get("host_regex") != TRUE {
        spec.insert("host".to_owned(), Value::String(SKIP.to_owned()));
    }
    if spec.get("host").and_then(Value::as_str) == Some("*") && spec.get("host_regex") != TRUE {
        spec.remove("host");
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(value) => value.as_str() == Some(""),
    }
}
