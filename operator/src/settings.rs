//! What the environment says, with upstream's names and meanings.

mod upstream;

use crate::feed::expand::Expansion;
use compiler::Options;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
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

    /// Gives a variable a value where it has none.
    pub fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.insert(name.into(), value.into());
        }
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
            redirect_every_path: !self.is_false("NUNCIO_REDIRECT_EVERY_PATH"),
            error_body_folder: self.get("NUNCIO_ERROR_BODY_FOLDER").map(Arc::from),
            endpoint_slices: false,
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

    /// `AMBASSADOR_LABEL_SELECTOR`
    pub fn label_selector(&self) -> Option<&str> {
        self.get("AMBASSADOR_LABEL_SELECTOR")
    }

    /// `AMBASSADOR_FIELD_SELECTOR`
    pub fn field_selector(&self) -> Option<&str> {
        self.get("AMBASSADOR_FIELD_SELECTOR")
    }

    /// Where probes are answered in a cluster: `AMBASSADOR_HEALTHCHECK_BIND_ADDRESS` (every address),
    /// `AMBASSADOR_HEALTHCHECK_BIND_PORT` (8877), `AMBASSADOR_HEALTHCHECK_IP_FAMILY` (`ANY`; `IPV6_ONLY` turns the
    /// address into one of that family). What does not parse is the default.
    pub fn health_address(&self) -> SocketAddr {
        let any = match self.get("AMBASSADOR_HEALTHCHECK_IP_FAMILY") {
            Some("IPV6_ONLY") => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let given = self.get("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS").and_then(|text| text.parse::<IpAddr>().ok());
        let address = given.filter(|given| any.is_ipv4() || given.is_ipv6()).unwrap_or(any);
        let port = self.get("AMBASSADOR_HEALTHCHECK_BIND_PORT").and_then(|text| text.parse().ok());
        SocketAddr::new(address, port.unwrap_or(8877))
    }

    /// Folders of manifests that are read beside the cluster, as far as they exist: `init-config` of the installation
    /// and `AMBASSADOR_CONFIG_DIR`.
    pub fn manifest_folders(&self) -> Vec<PathBuf> {
        let root = self.get("ambassador_root").unwrap_or("/ambassador");
        let base = PathBuf::from(self.get("AMBASSADOR_CONFIG_BASE_DIR").unwrap_or(root));
        let own = self.get("AMBASSADOR_CONFIG_DIR").map_or_else(|| base.join("ambassador-config"), PathBuf::from);
        // Upstream's path of the first does not follow the base folder.
        [PathBuf::from("/ambassador/init-config"), own].into_iter().filter(|path| path.is_dir()).collect()
    }

    /// `node.cluster` of Envoy: upstream says `ambassador` only where `AMBASSADOR_ID` is not set at all.
    pub fn node_cluster(&self) -> String {
        let id = self.0.get("AMBASSADOR_ID").map_or("ambassador", String::as_str);
        format!("{id}-{}", self.get("AMBASSADOR_NAMESPACE").unwrap_or("default"))
    }

    /// Whether a variable says `false` in one of the same ways.
    fn is_false(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "0" | "f" | "false" | "n" | "no" | "off")
        })
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
    fn every_path_redirects_unless_a_variable_says_false() {
        let options = |value| Environment::from_pairs([("NUNCIO_REDIRECT_EVERY_PATH", value)]).options();
        assert!(Environment::default().options().redirect_every_path && options("true").redirect_every_path);
        assert!(!options("False").redirect_every_path && !options("0").redirect_every_path);
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
    fn probes_are_where_the_variables_say() {
        let at = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs.iter().copied()).health_address().to_string();
        let (address, port, family) = (
            "AMBASSADOR_HEALTHCHECK_BIND_ADDRESS",
            "AMBASSADOR_HEALTHCHECK_BIND_PORT",
            "AMBASSADOR_HEALTHCHECK_IP_FAMILY",
        );
        assert_eq!(at(&[]), "0.0.0.0:8877");
        assert_eq!(at(&[(address, "127.0.0.1"), (port, "9000")]), "127.0.0.1:9000");
        assert_eq!(at(&[(family, "IPV6_ONLY")]), "[::]:8877");
        assert_eq!(at(&[(family, "IPV6_ONLY"), (address, "127.0.0.1")]), "[::]:8877");
        assert_eq!(at(&[(address, "nonsense"), (port, "x")]), "0.0.0.0:8877");
    }

    #[test]
    fn manifests_beside_the_cluster_are_read_where_they_exist() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let found = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs.iter().copied()).manifest_folders();
        assert!(found(&[("AMBASSADOR_CONFIG_DIR", path)]).contains(&folder.path().to_path_buf()));
        assert!(!found(&[("AMBASSADOR_CONFIG_DIR", "/nonexistent")]).contains(&PathBuf::from("/nonexistent")));
    }

    #[test]
    fn the_node_cluster_has_an_explicit_id() {
        let name = |pairs: &[(&str, &str)]| Environment::from_pairs(pairs.iter().copied()).node_cluster();
        assert_eq!(name(&[("AMBASSADOR_ID", "default"), ("AMBASSADOR_NAMESPACE", "gw")]), "default-gw");
    }
}
