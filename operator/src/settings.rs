//! What the environment says, with upstream's names and meanings.

use crate::feed::expand::Expansion;
use compiler::Options;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Variables of one process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process; names and values that are not UTF-8 do not count.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// Just these variables.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Everything the compiler takes from the environment.
    pub fn options(&self) -> Options {
        let defaults = Options::default();
        let text = |name: &str, default: Arc<str>| self.get(name).map_or(default, Arc::from);
        let single_namespace = self.get("AMBASSADOR_SINGLE_NAMESPACE").is_some();
        Options {
            ambassador_id: text("AMBASSADOR_ID", defaults.ambassador_id),
            namespace: text("AMBASSADOR_NAMESPACE", defaults.namespace),
            single_namespace,
            certs_single_namespace: self.get("AMBASSADOR_CERTS_SINGLE_NAMESPACE").is_some() || single_namespace,
            bind_address: text("AMBASSADOR_ENVOY_BIND_ADDRESS", defaults.bind_address),
            loose_selectors: self.is_true("DISABLE_STRICT_LABEL_SELECTORS"),
            unchecked: self.is_true("NUNCIO_TEST_UNCHECKED"),
        }
    }

    /// Which variables are put into manifests.
    pub fn expansion(&self) -> Expansion {
        Expansion::new(self.0.clone())
    }

    /// `AMBASSADOR_ENVOY_BIND_ADDRESS` as an address, for looking whether ports are free.
    pub fn bind_address(&self) -> IpAddr {
        let default = IpAddr::from([0, 0, 0, 0]);
        self.get("AMBASSADOR_ENVOY_BIND_ADDRESS").and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// `AMBASSADOR_READY_PORT`, valid from 1 to 32766; `None` when it is not set, 8006 when it is anything else.
    pub fn ready_port(&self) -> Option<u16> {
        let text = self.get("AMBASSADOR_READY_PORT")?;
        Some(text.parse().ok().filter(|port| (1..=32_766).contains(port)).unwrap_or(8006))
    }

    /// `node.cluster` of Envoy: upstream says `ambassador` only where `AMBASSADOR_ID` is not set at all.
    pub fn node_cluster(&self) -> String {
        let id = self.0.get("AMBASSADOR_ID").map_or("ambassador", String::as_str);
        format!("{id}-{}", self.get("AMBASSADOR_NAMESPACE").unwrap_or("default"))
    }

    /// Whether a variable says `true` in one of upstream's ways.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes" | "on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_variables_there_are_upstreams_defaults() {
        let environment = Environment::default();
        let options = environment.options();
        assert_eq!(
            (&*options.ambassador_id, &*options.namespace, &*options.bind_address),
            ("default", "default", "0.0.0.0")
        );
        assert!(!options.single_namespace && !options.certs_single_namespace && !options.loose_selectors);
        assert_eq!((environment.ready_port(), environment.node_cluster()), (None, "ambassador-default".into()));
    }

    #[test]
    fn any_text_switches_to_a_single_namespace_but_an_empty_one() {
        let options = |value| Environment::from_pairs([("AMBASSADOR_SINGLE_NAMESPACE", value)]).options();
        assert!(options("false").single_namespace && options("false").certs_single_namespace);
        assert!(!options("").single_namespace);
        assert!(Environment::from_pairs([("AMBASSADOR_CERTS_SINGLE_NAMESPACE", "1")]).options().certs_single_namespace);
    }

    #[test]
    fn a_ready_port_out_of_range_is_the_default() {
        let port = |value| Environment::from_pairs([("AMBASSADOR_READY_PORT", value)]).ready_port();
        assert_eq!(
            [port("8106"), port("0"), port("40000"), port("x")],
            [Some(8106), Some(8006), Some(8006), Some(8006)]
        );
    }

    #[test]
    fn the_node_cluster_has_an_explicit_id() {
        let name = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs.iter().copied()).node_cluster();
        assert_eq!(name(&[("AMBASSADOR_ID", "default"), ("AMBASSADOR_NAMESPACE", "gw")]), "default-gw");
    }
}
