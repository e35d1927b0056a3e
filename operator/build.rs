//! Asks the linker to put the functions that run for every small change next to each other.
//!
//! After a pause such a change costs the memory that it touches, and most of that is code which lies all over 23 MB otherwise
//! (decision 60). Names that the program does not have are passed over: a list that is out of date costs time and nothing
//! else. `make hot-functions` makes it anew.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIST: &str = "hot-functions.txt";
/// Below the compiler's own folder; not every distribution of it has one.
const LLD: &str = "lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld";

fn main() {
    println!("cargo::rerun-if-changed={LIST}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // The names are those of a release for this platform.
    let release = is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu");
    // Only LLD takes them. The compiler links with its own unless somebody asks for another linker.
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let is_default = env::var_os("RUSTC_LINKER").is_none() && !flags.contains("link");
    if release && is_default && compiler().is_some_and(|folder| folder.join(LLD).exists()) {
        let list = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(LIST);
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={}", list.display());
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}

/// Where the compiler is installed.
fn compiler() -> Option<PathBuf> {
    let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().into())
}
