//! Asks the linker to put the functions that run for every small change next to each other.
//!
//! After a pause such a change costs the memory that it touches, and most of that is code which lies all over 23 MB otherwise
//! (decision 60). Names that the program does not have are passed over: a list that is out of date costs time and nothing
//! else. `make hot-functions` makes it anew.

use std::env;
use std::path::Path;

const LIST: &str = "hot-functions.txt";

fn main() {
    println!("cargo::rerun-if-changed={LIST}");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // The names are those of a release for this machine, and only LLD takes them; it is what the compiler links with there
    // unless somebody asks for another linker.
    let platform = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let own_linker = env::var_os("RUSTC_LINKER").is_none() && !flags.contains("link");
    if platform && is("PROFILE", "release") && own_linker {
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
        println!("cargo::rustc-link-arg-bins=-Wl,--symbol-ordering-file={}", list.display());
        println!("cargo::rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}
