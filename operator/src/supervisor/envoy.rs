//! Which Envoy to run.

use crate::settings::Environment;
use anyhow::bail;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The release that is tested with.
const VERSION: &str = "1.40.0";

/// The Envoy of `--envoy`, else of `NUNCIO_ENVOY`, else the private copy that `make envoy` installs, else `PATH`.
pub(super) fn find(argument: Option<&Path>, environment: &Environment) -> anyhow::Result<PathBuf> {
    for (origin, path) in [("--envoy", argument), ("NUNCIO_ENVOY", environment.get("NUNCIO_ENVOY").map(Path::new))] {
        match path {
            Some(path) if runs(path) => return Ok(std::path::absolute(path)?),
            Some(path) => bail!("{origin}: {} is not an executable file", path.display()),
            None => {}
        }
    }
    let cache = environment.get("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".cache")));
    let copy = cache.map(|cache| cache.join("nuncio").join(format!("envoy-{VERSION}")).join("envoy"));
    let on_path = std::env::split_paths(environment.get("PATH").unwrap_or_default()).map(|folder| folder.join("envoy"));
    let found = copy.into_iter().chain(on_path).find(|path| runs(path));
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "there is no Envoy: `make envoy` installs {VERSION} for this user; or name one with --envoy PATH or NUNCIO_ENVOY; \
             --envoy none serves the configuration only"
        ),
    }
}

/// `trace` when `AMBASSADOR_DEBUG` names envoy, as upstream has it; else only what is worth a look.
pub(super) fn log_level(environment: &Environment) -> &'static str {
    if environment.get("AMBASSADOR_DEBUG").is_some_and(|words| words.contains("envoy")) { "trace" } else { "error" }
}

fn runs(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_argument_variable_private_copy_path() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let home = folder.path().to_str().unwrap();
        let on_path = place("bin/envoy");
        let path = on_path.parent().unwrap().to_str().unwrap();
        let base = [("HOME", home), ("PATH", path)];
        let with = |more: &[(&'static str, &str)]| {
            let pairs: Vec<(&str, &str)> = base.iter().chain(more).copied().collect();
            Environment::from_pairs(pairs)
        };
        assert_eq!(find(None, &with(&[])).unwrap(), on_path);
        let private = place(".cache/nuncio/envoy-1.40.0/envoy");
        assert_eq!(find(None, &with(&[])).unwrap(), private);
        let named = place("named");
        let variable = [("NUNCIO_ENVOY", named.to_str().unwrap())];
        assert_eq!(find(None, &with(&variable)).unwrap(), named);
        let argument = place("argument");
        assert_eq!(find(Some(&argument), &with(&variable)).unwrap(), argument);
    }

    #[test]
    fn a_missing_envoy_says_how_to_get_one() {
        let nowhere = Environment::from_pairs([("HOME", "/nonexistent"), ("PATH", "/nonexistent")]);
        let error = find(None, &nowhere).unwrap_err().to_string();
        assert!(error.contains("make envoy") && error.contains("--envoy none"), "{error}");
        let error = find(Some(Path::new("/nonexistent/envoy")), &nowhere).unwrap_err().to_string();
        assert!(error.starts_with("--envoy: /nonexistent/envoy"), "{error}");
    }
}
