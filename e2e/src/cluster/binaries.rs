//! The programs of the control plane: built once from pinned Go modules, kept in the user's cache.
//!
//! The sources of the two small programs are part of this crate (`e2e/cluster/…`), so the key of a build is a hash of
//! what it is built from: editing a version makes a new folder, and checkouts of different ages do not disturb each
//! other. A folder appears under its name only when all of it is there.

use anyhow::{Context, Result, bail};
use sha1::{Digest, Sha1};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names a folder that has the programs already; nothing is built then.
pub const GIVEN: &str = "NUNCIO_CLUSTER_BIN";

/// A program of ours that is built from published Go modules.
struct Module {
    name: &'static str,
    /// The version of what it contains, for the name of the folder and for what the programs say about themselves.
    version: &'static str,
    sources: [(&'static str, &'static str); 3],
    linker: &'static str,
    /// The names that it is called by; empty when it has only its own.
    programs: &'static [&'static str],
}

const MODULES: [Module; 2] = [
    Module {
        name: "kubernetes",
        version: "1.36.3",
        sources: [
            ("main.go", include_str!("../../cluster/kubernetes/main.go")),
            ("go.mod", include_str!("../../cluster/kubernetes/go.mod")),
            ("go.sum", include_str!("../../cluster/kubernetes/go.sum")),
        ],
        // A server that is built without these calls itself v0.0.0-master, and clients misjudge what it can do.
        linker: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 \
                 -X k8s.io/component-base/version.gitMinor=36",
        programs: &["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl"],
    },
    Module {
        name: "coredns",
        version: "1.15.0",
        sources: [
            ("main.go", include_str!("../../cluster/coredns/main.go")),
            ("go.mod", include_str!("../../cluster/coredns/go.mod")),
            ("go.sum", include_str!("../../cluster/coredns/go.sum")),
        ],
        linker: "-s -w",
        programs: &[],
    },
];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Folders, in the order in which they are searched.
    folders: Vec<PathBuf>,
}

impl Binaries {
    /// What exists: the folder that [`GIVEN`] names, or what [`build`] left in the cache; `None` when it is incomplete.
    pub fn find() -> Result<Option<Self>> {
        if let Some(folder) = set(GIVEN) {
            let binaries = Self { folders: vec![folder] };
            if let Some(missing) = programs().find(|name| binaries.path(name).is_none()) {
                bail!("{GIVEN} is set, and {missing} is not in that folder");
            }
            return Ok(Some(binaries));
        }
        let cache = cache()?;
        let folders: Vec<PathBuf> = MODULES.iter().map(|module| cache.join(module.folder())).collect();
        Ok(folders.iter().all(|folder| folder.is_dir()).then_some(Self { folders }))
    }

    /// Those of envtest when `KUBEBUILDER_ASSETS` names its folder (etcd, kube-apiserver, perhaps kubectl), else what
    /// [`Binaries::find`] finds.
    pub fn in_force() -> Result<Option<Self>> {
        match set(super::ENVTEST) {
            Some(folder) => Ok(Some(Self { folders: vec![folder] })),
            None => Self::find(),
        }
    }

    /// The path of a program.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// The folders, for `PATH`.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }
}

/// The programs, built if they are missing, which takes minutes the first time; `say` gets a line before that.
///
/// Two builds of one user wait for each other. An interrupted one leaves nothing that would be taken for a program.
pub fn build(say: &mut dyn FnMut(&str)) -> Result<Binaries> {
    if let Some(binaries) = Binaries::find()? {
        return Ok(binaries);
    }
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = cache.join("cluster-build.lock");
    let lock = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    if lock.try_lock().is_err() {
        say("another build of the cluster's programs is under way; waiting for it");
        lock.lock().context("cannot wait for the other build")?;
    }
    for module in MODULES {
        if !cache.join(module.folder()).is_dir() {
            module.build(&cache, say)?;
        }
    }
    Binaries::find()?.context("the programs that were just built are gone")
}

/// Why [`build`] would fail, as far as that can be known beforehand.
pub fn obstacle() -> Option<String> {
    match Binaries::find() {
        Ok(Some(_)) => None,
        Ok(None) if go().is_none() => {
            Some("Go is not installed; it builds the control plane of the test cluster (see README.md)".to_owned())
        }
        Ok(None) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

impl Module {
    fn folder(&self) -> String {
        let mut hash = Sha1::new();
        for text in self.sources.iter().flat_map(|(name, text)| [*name, *text]).chain([self.linker]) {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        let digest: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{digest}", self.name, self.version)
    }

    fn build(&self, cache: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
        let go =
            go().context("Go is not installed; it builds the control plane of the test cluster (see README.md)")?;
        say(&format!("building {} {} into {}; the first time takes minutes", self.name, self.version, cache.display()));
        // A neighbour of the target, so that the last step is a rename.
        let work = tempfile::Builder::new().prefix(".build-").tempdir_in(cache)?;
        for (name, text) in self.sources {
            fs::write(work.path().join(name), text)?;
        }
        let fresh = work.path().join("programs");
        fs::create_dir(&fresh)?;
        let mut command = Command::new(go);
        command.args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", self.linker, "-o"]);
        command.arg(fresh.join(self.name)).arg(".").current_dir(work.path());
        command.env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "");
        let output = command.output().context("cannot start go")?;
        if !output.status.success() {
            std::io::stderr().write_all(&output.stderr)?;
            bail!("go build of {} {} failed; the lines above say why", self.name, self.version);
        }
        for program in self.programs {
            std::os::unix::fs::symlink(self.name, fresh.join(program))?;
        }
        let target = cache.join(self.folder());
        fs::rename(&fresh, &target).with_context(|| format!("cannot create {}", target.display()))
    }
}

/// The names of all programs.
fn programs() -> impl Iterator<Item = &'static str> {
    MODULES.iter().flat_map(|module| module.programs).copied().chain(["coredns"])
}

/// The go command: from `PATH`, or where its own installer puts it.
fn go() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = PathBuf::from("/usr/local/go/bin");
    std::env::split_paths(&path).chain([usual]).map(|folder| folder.join("go")).find(|path| path.is_file())
}

fn cache() -> Result<PathBuf> {
    let home = || Some(set("HOME")?.join(".cache"));
    Ok(set("XDG_CACHE_HOME").or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("nuncio"))
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_has_a_folder_of_its_own() {
        let [kubernetes, coredns] = MODULES;
        assert!(kubernetes.folder().starts_with("kubernetes-1.36.3-"));
        assert!(coredns.folder().starts_with("coredns-1.15.0-"));
        let edited = Module { sources: [("main.go", "other"), ("go.mod", ""), ("go.sum", "")], ..MODULES[0] };
        assert_ne!(edited.folder(), kubernetes.folder());
    }

    #[test]
    fn versions_are_those_of_the_modules() {
        for module in MODULES {
            assert!(module.sources[1].1.contains(&format!("v{}", module.version)), "{}", module.name);
        }
        assert!(MODULES[0].linker.contains(&format!("gitVersion=v{}", MODULES[0].version)));
    }
}
