//! Where the real Envoy is.

use std::path::PathBuf;

/// The version that everything is tested with; `e2e/install-envoy` installs it.
pub const VERSION: &str = "1.40.0";

/// `NUNCIO_ENVOY`, else the copy that `make envoy` installed into the user's cache; `None` when neither exists.
pub fn binary() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let installed = || Some(cache()?.join("nuncio").join(format!("envoy-{VERSION}")).join("envoy"));
    set("NUNCIO_ENVOY").or_else(installed).filter(|path| path.is_file())
}
