//! `nuncio crds`.

use std::process::ExitCode;

macro_rules! crds {
    ($($name:literal)*) => { [$(include_str!(concat!("../../../manifests/crds/getambassador.io_", $name, ".yaml")),)*] };
}

const CRDS: [&str; 14] = crds! {
    "authservices" "consulresolvers" "devportals" "hosts" "kubernetesendpointresolvers" "kubernetesserviceresolvers"
    "listeners" "logservices" "mappings" "modules" "ratelimitservices" "tcpmappings" "tlscontexts" "tracingservices"
};

/// Prints all definitions as one YAML stream.
pub fn run() -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    for crd in CRDS {
        text.push_str("---\n");
        text.push_str(crd.trim_start_matches("---\n"));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    super::print(&text)
}
