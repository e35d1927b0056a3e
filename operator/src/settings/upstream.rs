//! Variables that upstream reads and this gateway does not.

use super::Environment;

/// Those that ask for something a user would miss, with what there is in its place. What only places files, sizes caches
/// or moves processes that do not exist here is not in it.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "AMBASSADOR_APIEXT_WAIT",
        "the gateway starts without the conversion webhook, and reads what is served when it comes",
    ),
    ("AMBASSADOR_AMBEX_NO_RATELIMIT", "nothing is held back when memory is short"),
    ("AMBASSADOR_DISABLE_ENDPOINTS", "endpoints are read; only what a resolver asks for reaches Envoy"),
    ("AMBASSADOR_EDS_BYPASS", "endpoints reach Envoy by EDS"),
    ("AMBASSADOR_ENVOY_API_VERSION", "Envoy is spoken to in xDS v3"),
    ("AMBASSADOR_FORCE_SECRET_VALIDATION", "certificates and keys are always checked, and a bad one is refused"),
    ("AMBASSADOR_GRPC_METRICS_SINK", "there is no such sink"),
    ("AMBASSADOR_ISTIO_SECRET_DIR", "certificates of Istio are not read"),
    ("AMBASSADOR_KNATIVE_SUPPORT", "Knative is not served"),
    ("AMBASSADOR_NO_SECRETS", "Secrets that something names are read"),
    ("AMBASSADOR_READY_LOG", "the ready listener has no access log"),
    ("AMBASSADOR_RECONFIG_MAX_DELAY", "a change is sent at once"),
    ("DIAGD_ONLY", "`nuncio check` works without Envoy"),
    ("DOGSTATSD", "there is no statsd sink; metrics are at /metrics"),
    ("EDGE_STACK", "nothing of Edge Stack is here"),
    ("STATSD_ENABLED", "there is no statsd sink; metrics are at /metrics"),
];

impl Environment {
    /// Variables that are set and that upstream would heed, with what there is in their place.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        WITHOUT_EFFECT.iter().copied().filter(|(name, _)| self.get(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_without_effect_is_told_when_it_is_set() {
        let environment = Environment::from_pairs([
            ("AMBASSADOR_ID", "a"),
            ("AMBASSADOR_KNATIVE_SUPPORT", "true"),
            ("STATSD_ENABLED", ""),
            // What Kubernetes sets for a Service of that name.
            ("AMBASSADOR_PORT_80_TCP", "tcp://10.96.0.1:80"),
        ]);
        let names: Vec<&str> = environment.without_effect().map(|(name, _)| name).collect();
        assert_eq!(names, ["AMBASSADOR_KNATIVE_SUPPORT"]);
    }

    #[test]
    fn the_page_names_them_all() {
        let page = include_str!("../../../docs/environment.md");
        for (name, instead) in WITHOUT_EFFECT {
            assert!(page.contains(&format!("| `{name}` | {instead} |")), "docs/environment.md: `{name}` | {instead}");
        }
    }
}
