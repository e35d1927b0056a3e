//! A full disk, and clocks that say something else.

use crate::site::{Site, mapping};
use crate::support::say;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A program that starts `nuncio` in namespaces of its own; `None`, said aloud, where they are forbidden.
pub fn wrapped(folder: &Path, unshare: &str, before: &str) -> Option<std::path::PathBuf> {
    let possible = Command::new("sh").args(["-c", &format!("{unshare} sh -c '{before} true'")]).output().unwrap();
    if !possible.status.success() {
        say(&format!("skipped: `{unshare}` is not possible here: {}", String::from_utf8_lossy(&possible.stderr)));
        return None;
    }
    let nuncio = Path::new(env!("CARGO_BIN_EXE_soak")).with_file_name("nuncio");
    let path = folder.join("wrapped");
    let script = format!("#!/bin/sh\nexec {unshare} sh -c '{before} exec \"$0\" \"$@\"' {} \"$@\"\n", nuncio.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Some(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_below_the_state_stops_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    // What only Envoy would refuse is let through to it: that is what there is to be written down.
    let before = format!(
        "mount -t tmpfs -o size=256k,mode=700 tmpfs {0} && export XDG_RUNTIME_DIR={0} NUNCIO_TEST_UNCHECKED=true &&",
        state.display()
    );
    let Some(nuncio) = wrapped(folder.path(), "unshare -Urm", &before) else { return };
    let Some(site) = Site::start_with(20, &[], |programs| programs.nuncio = nuncio).await else { return };
    let control = site.gateway.control_plane().unwrap();
    // Seen through a process that is inside.
    let inside = format!("/proc/{control}/root{}", state.display());
    let refused = || {
        fs::read_dir(&inside)
            .ok()?
            .flatten()
            .find_map(|entry| fs::read_to_string(entry.path().join("refused.json")).ok())
    };
    let full = fs::write(format!("{inside}/filler"), vec![0_u8; 1 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(nix::libc::ENOSPC), "{full}");
    let asking = site.ask();
    site.put(100);
    site.until("an edit", async || site.status("/100/").await == Some(200)).await;
    let bad = mapping(200, site.port())
        .replace("\"prefix\"", r#""add_request_headers":{"x":{"value":"%NOT_A_COMMAND%"}},"prefix""#);
    site.gateway.write("200.yaml", &bad).unwrap();
    site.put(201);
    site.until("the neighbour", async || site.status("/201/").await == Some(200)).await;
    site.until("a word about it", async || site.gateway.output().contains("cannot keep what Envoy refused")).await;
    assert!(refused().is_none_or(|text| text.is_empty()), "{:?}", refused());
    assert_eq!(site.status("/200/").await, Some(404));
    // A control plane that starts again finds out again.
    nix::sys::signal::kill(control, nix::sys::signal::Signal::SIGKILL).unwrap();
    site.until("another one", async || site.gateway.control_plane().is_some_and(|new| new != control)).await;
    site.put(202);
    site.until("an edit", async || site.status("/202/").await == Some(200)).await;
    assert_eq!(site.status("/200/").await, Some(404));
    // With room again it is written down.
    let inside = format!("/proc/{}/root{}", site.gateway.control_plane().unwrap(), state.display());
    fs::remove_file(format!("{inside}/filler")).unwrap();
    site.gateway.write("203.yaml", &bad.replace("m200", "m203").replace("/200/", "/203/")).unwrap();
    let kept = async || {
        let mut folders = fs::read_dir(&inside).into_iter().flatten().flatten();
        folders
            .any(|entry| fs::read_to_string(entry.path().join("refused.json")).is_ok_and(|text| text.contains("m203")))
    };
    site.until("the memory", kept).await;
    site.until("requests", async || asking.answered() > 50).await;
    let (answered, lost) = asking.end().await;
    assert!(answered > 10 && lost == 0, "{lost} of {answered} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_years_ahead_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let unshare = "unshare -Ur --time --monotonic 300000000 --boottime 300000000 --kill-child";
    let Some(nuncio) = wrapped(folder.path(), unshare, "") else { return };
    let Some(site) = Site::start_with(20, &[], |programs| programs.nuncio = nuncio).await else { return };
    let asking = site.ask();
    // Files from a time that is yet to come, and one from long ago, as after a jump of the clock that files are dated by.
    for (index, offset) in [(100, 400_000_000_i64), (101, -400_000_000)] {
        let now = std::time::SystemTime::now();
        let distance = std::time::Duration::from_secs(offset.unsigned_abs());
        let date = if offset > 0 { now + distance } else { now - distance };
        for text in [mapping(index, 9), mapping(index, site.port())] {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::File::options().write(true).open(&new).unwrap().set_modified(date).unwrap();
            fs::rename(&new, site.gateway.folder().join(format!("{index}.yaml"))).unwrap();
        }
        let path = format!("/{index}/");
        site.until("the second version", async || site.status(&path).await == Some(200)).await;
    }
    site.until("requests", async || asking.answered() > 50).await;
    let (answered, lost) = asking.end().await;
    assert!(answered > 10 && lost == 0, "{lost} of {answered} lost");
}
