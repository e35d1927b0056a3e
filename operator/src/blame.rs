//! Which objects stand behind what Envoy refused.

use crate::quarantine::{Content, Scope, ScopeKind};
use envoy::Fragments;
use ir::{Action, Kind, ListenerRow, ObjectKey, PathRewrite, RouteGroup, TextMatch};
use std::collections::BTreeSet;
use std::sync::Arc;
use xds::{ResourceType, Version};

/// Shorter texts are quoted by accident.
const QUOTE: usize = 4;

/// What a version of a resource consists of.
#[derive(Clone, Debug)]
pub enum Parts {
    /// The route groups of a table.
    Routes(Fragments),
    /// The chains of a listener.
    Listener(Arc<ListenerRow>),
}

impl Content for Parts {
    fn suspects(&self, since: Option<&Self>) -> BTreeSet<ObjectKey> {
        match (self, since) {
            (Parts::Routes(new), Some(Parts::Routes(old))) => {
                new.changed_since(old).iter().flat_map(|group| sources(group)).cloned().collect()
            }
            (Parts::Routes(new), _) => new.iter().flat_map(|(_, group)| sources(group)).cloned().collect(),
            (Parts::Listener(new), since) => {
                let old = since.and_then(|since| if let Parts::Listener(old) = since { Some(old) } else { None });
                listener_suspects(new, old)
            }
        }
    }

    fn quoted(&self, text: &str) -> BTreeSet<ObjectKey> {
        match self {
            Parts::Routes(fragments) => {
                let words = words(text);
                let groups = fragments.iter().map(|(_, group)| group).filter(|group| quotes(text, &words, group));
                groups.flat_map(|group| sources(group)).cloned().collect()
            }
            Parts::Listener(row) => {
                let named = row
                    .chains
                    .iter()
                    .filter_map(|chain| host_of(&chain.name))
                    .filter(|host| text.contains(&*host.name));
                named.collect()
            }
        }
    }
}

/// The objects whose routes are in a group.
fn sources(group: &RouteGroup) -> impl Iterator<Item = &ObjectKey> {
    group.routes.iter().map(|route| &route.source)
}

/// Hosts whose chains differ; the Listener, when something else does.
fn listener_suspects(new: &ListenerRow, old: Option<&Arc<ListenerRow>>) -> BTreeSet<ObjectKey> {
    let known = |name: &str| old.into_iter().flat_map(|old| &old.chains).find(|chain| *chain.name == *name);
    let changed = new.chains.iter().filter(|chain| known(&chain.name) != Some(chain));
    let mut suspects: BTreeSet<ObjectKey> = changed.filter_map(|chain| host_of(&chain.name)).collect();
    let itself = |row: &ListenerRow| (row.bind.clone(), row.filters.clone(), row.buffer_limit_bytes, row.http.clone());
    if old.is_none_or(|old| itself(old) != itself(new)) {
        suspects.extend(key_of(Kind::Listener, &new.name));
    }
    suspects
}

/// TLS chains are named after their Host; the one for clear text belongs to nobody in particular.
fn host_of(chain: &str) -> Option<ObjectKey> {
    key_of(Kind::Host, chain)
}

fn key_of(kind: Kind, path: &str) -> Option<ObjectKey> {
    let (namespace, name) = path.split_once('/')?;
    Some(ObjectKey::new(kind, namespace, name))
}

/// Words of an error text that may come out of a configuration.
fn words(text: &str) -> Vec<&str> {
    let parts =
        text.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',' | ';' | '(' | ')' | '[' | ']'));
    parts
        .map(|word| word.trim_matches(|c| matches!(c, ':' | '.')))
        .filter(|word| word.len() >= QUOTE)
        .take(64)
        .collect()
}

/// Whether a text holds a value of the group, or a value of the group holds one of its words.
fn quotes(text: &str, words: &[&str], group: &RouteGroup) -> bool {
    let quoted =
        |value: &str| value.len() >= QUOTE && (text.contains(value) || words.iter().any(|word| value.contains(word)));
    let value = |value: &TextMatch| match value {
        TextMatch::Exact(text) | TextMatch::Prefix(text) | TextMatch::Suffix(text) | TextMatch::Regex(text) => {
            quoted(text)
        }
        TextMatch::Present => false,
    };
    let conditions = group.matches.headers.iter().chain(&group.matches.query);
    let added = group.headers.add_request.iter().chain(&group.headers.add_response);
    let rewrite = |rewrite: &PathRewrite| match rewrite {
        PathRewrite::Prefix(text) => quoted(text),
        PathRewrite::Regex(regex) => quoted(&regex.pattern) || quoted(&regex.substitution),
    };
    let actions = group.routes.iter().any(|route| match &route.action {
        Action::Forward(forward) => quoted(&forward.cluster) || forward.rewrite.as_ref().is_some_and(rewrite),
        Action::Redirect(redirect) => quoted(&redirect.host),
        Action::Direct { .. } => false,
    });
    quoted(group.matches.path.text())
        || group.matches.authority.as_ref().is_some_and(value)
        || conditions.into_iter().any(|condition| value(&condition.value))
        || added.into_iter().any(|header| quoted(&header.name) || quoted(&header.value))
        || actions
        || group.routes.iter().any(|route| quoted(&route.source.name))
}

/// A refused response, sorted by what can be done about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// Resources in which the guilty part has to be searched for.
    pub scopes: Vec<(Scope, u64)>,
    /// Clusters that Envoy names.
    pub clusters: Vec<Arc<str>>,
    /// Listeners that Envoy cannot open, with what it says about each.
    pub listeners: Vec<(Arc<str>, Arc<str>)>,
    /// Objects that are named without doubt.
    pub objects: Vec<ObjectKey>,
    /// Nothing of it leads to an object.
    pub unknown: bool,
    /// The stream sends the resources again, apart, and will be heard of.
    pub divided: bool,
}

/// Reads a NACK. CDS and LDS errors name the resources ("Error adding/updating cluster(s) a: …, b: …") and apply the
/// others; RDS, EDS and SDS errors do not, but route tables come one in a response.
pub fn charges(kind: ResourceType, resources: &[(Arc<str>, Version)], detail: &str) -> Charges {
    let named: Vec<&(Arc<str>, Version)> = resources.iter().filter(|(name, _)| names(detail, name)).collect();
    let meant: Vec<&(Arc<str>, Version)> = if named.is_empty() { resources.iter().collect() } else { named };
    let mut charges = Charges::default();
    match kind {
        ResourceType::Route => charges.scopes.extend(meant.iter().map(|(name, version)| routes(name, *version))),
        ResourceType::Listener => {
            for (name, version) in meant {
                let text = about(detail, name);
                if cannot_bind(text) {
                    charges.listeners.push((name.clone(), text.into()));
                } else {
                    charges.scopes.push((Scope { kind: ScopeKind::Listener, name: name.clone() }, version.0));
                }
            }
        }
        ResourceType::Cluster => match meant.as_slice() {
            [sole] => charges.clusters.push(sole.0.clone()),
            _ if meant.len() < resources.len() => charges.clusters.extend(meant.iter().map(|(name, _)| name.clone())),
            // The stream sends them again, apart, until the guilty one is alone.
            _ => charges.divided = true,
        },
        ResourceType::Endpoint if meant.len() > 1 => charges.divided = true,
        ResourceType::Endpoint | ResourceType::Secret => match meant.as_slice() {
            [(name, _)] => charges.objects.extend(source_of(kind, name)),
            _ => charges.unknown = true,
        },
        ResourceType::ExtensionConfig => charges.unknown = true,
    }
    let named = charges.clusters.len() + charges.listeners.len() + charges.objects.len();
    charges.unknown |= !charges.divided && charges.scopes.is_empty() && named == 0;
    charges
}

/// The scope of a route table and the version in question.
pub fn routes(name: &Arc<str>, version: Version) -> (Scope, u64) {
    (Scope { kind: ScopeKind::Routes, name: name.clone() }, version.0)
}

/// The Listener behind an Envoy listener; `None` for those that are there for TCPMappings alone.
pub fn listener_of(name: &str) -> Option<ObjectKey> {
    key_of(Kind::Listener, name)
}

/// The object that an EDS name (`k8s/<namespace>/<service>/<port>`) or SDS name (`<namespace>/<secret>…`) comes of.
fn source_of(kind: ResourceType, name: &str) -> Option<ObjectKey> {
    let mut parts = name.split('/');
    match kind {
        ResourceType::Endpoint => match (parts.next(), parts.next(), parts.next()) {
            (Some("k8s"), Some(namespace), Some(service)) => Some(ObjectKey::new(Kind::Service, namespace, service)),
            _ => None,
        },
        ResourceType::Secret => Some(ObjectKey::new(Kind::Secret, parts.next()?, parts.next()?)),
        _ => None,
    }
}

/// Whether `name: ` stands in the text as a word of its own.
fn names(detail: &str, name: &str) -> bool {
    after(detail, name).is_some()
}

/// What the text of a refused LDS response says about one listener, each of which has a line; all of it if that is not found.
fn about<'a>(detail: &'a str, name: &str) -> &'a str {
    after(detail, name).and_then(|text| text.lines().next()).unwrap_or(detail)
}

/// What stands behind `name: `, if that is a word of its own.
fn after<'a>(detail: &'a str, name: &str) -> Option<&'a str> {
    let mark = format!("{name}: ");
    detail.match_indices(&mark).find_map(|(at, _)| {
        let (before, rest) = detail.split_at_checked(at)?;
        before.chars().next_back().is_none_or(char::is_whitespace).then(|| rest.get(mark.len()..)).flatten()
    })
}

/// The socket, not the configuration, is in the way; the port is the Listener's.
pub fn cannot_bind(detail: &str) -> bool {
    ["cannot bind", "Address already in use", "Permission denied", "Cannot assign requested address"]
        .iter()
        .any(|text| detail.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_error_text_are_looked_for_in_values() {
        let text = "Not supported field in StreamInfo: NOT_A_COMMAND";
        assert_eq!(words(text), ["supported", "field", "StreamInfo", "NOT_A_COMMAND"]);
        assert_eq!(words("bad 'x-one': [a]."), Vec::<&str>::from(["x-one"]));
    }

    fn resources(names: &[&str]) -> Vec<(Arc<str>, Version)> {
        names.iter().map(|name| (Arc::from(*name), Version(1))).collect()
    }

    #[test]
    fn clusters_are_named_by_envoy() {
        let sent = resources(&["cluster_a", "cluster_a_b", "other_cluster_a", "cluster_c"]);
        let text = "Error adding/updating cluster(s) cluster_a: bad, cluster_c: worse";
        let found = charges(ResourceType::Cluster, &sent, text);
        assert_eq!(found.clusters, ["cluster_a".into(), Arc::<str>::from("cluster_c")]);
        assert!(!found.unknown);
        assert_eq!(
            charges(ResourceType::Cluster, &sent, "no names"),
            Charges { divided: true, ..Charges::default() },
            "the stream looks further"
        );
        assert_eq!(charges(ResourceType::Cluster, &resources(&["x"]), "no names").clusters, ["x".into()]);
    }

    #[test]
    fn a_port_that_cannot_be_bound_is_the_listeners_own_fault() {
        let text = "Error adding/updating listener(s) default/http: cannot bind '0.0.0.0:80': Address already in use\n\
                    default/tls: duplicate chain\nlistener-0.0.0.0-90: cannot bind '0.0.0.0:90': Permission denied\n";
        let sent = resources(&["default/http", "default/https", "default/tls", "listener-0.0.0.0-90"]);
        let found = charges(ResourceType::Listener, &sent, text);
        let taken = "cannot bind '0.0.0.0:80': Address already in use";
        let forbidden = "cannot bind '0.0.0.0:90': Permission denied";
        assert_eq!(
            found.listeners,
            [("default/http".into(), taken.into()), ("listener-0.0.0.0-90".into(), forbidden.into())]
        );
        assert_eq!(found.scopes.len(), 1, "that of default/tls is searched");
        assert_eq!(listener_of("default/http"), Some(ObjectKey::new(Kind::Listener, "default", "http")));
        assert_eq!(listener_of("listener-0.0.0.0-90"), None);
    }

    #[test]
    fn other_listener_errors_are_searched() {
        let text = "Error adding/updating listener(s) default/http: duplicate chain";
        let found = charges(ResourceType::Listener, &resources(&["default/http", "default/https"]), text);
        assert_eq!(found.scopes.len(), 1);
        assert_eq!(&*found.scopes[0].0.name, "default/http");
    }

    #[test]
    fn endpoints_and_secrets_are_known_by_name() {
        let object =
            |kind, name: &str| charges(kind, &resources(&[name]), "x").objects.first().map(ToString::to_string);
        assert_eq!(object(ResourceType::Endpoint, "k8s/web/shop/80").as_deref(), Some("Service web/shop"));
        assert_eq!(object(ResourceType::Endpoint, "consul/dc/shop"), None);
        assert_eq!(object(ResourceType::Secret, "web/cert/ca").as_deref(), Some("Secret web/cert"));
        assert!(charges(ResourceType::Secret, &resources(&["a/b", "c/d"]), "x").unknown);
    }
}
