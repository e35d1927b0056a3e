//! What containers write: a file each, of limited size.

use crate::cluster::state::State;
use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

/// What a log may grow to, and what is left of it then. A kubelet's files have 10 MiB, too.
const LARGEST: u64 = 10 << 20;
const KEPT: u64 = LARGEST / 2;
/// How often its size is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Where a container's output goes.
pub fn path(state: &State, pod: &Pod, container: &str) -> PathBuf {
    let name = format!("{}_{}_{container}.log", pod.namespace().unwrap_or_default(), pod.name_any());
    state.path("log/pods").join(Path::new(&name))
}

/// An empty log, after the one before has got its other name. It belongs to the user of the container, as with container
/// runtimes: programs that open `/dev/stdout` by its name would else not be allowed to.
pub fn begin(path: &Path, owner: Option<(u32, u32)>) -> Result<File> {
    if path.exists() {
        fs::rename(path, path.with_extension("previous.log"))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(user), Some(group))?;
    }
    Ok(file)
}

/// Cuts the beginning off whenever the log is too large; ends when it is dropped.
pub async fn keep_small(path: &Path) -> Infallible {
    loop {
        sleep(LOOK).await;
        // The container writes to the same file, so it has to stay the same; what it writes meanwhile is lost.
        let _ = cut(path, LARGEST, KEPT);
    }
}

/// Leaves the last lines of a log that is larger than `largest`, with at most `kept` bytes.
fn cut(path: &Path, largest: u64, kept: u64) -> Result<()> {
    let size = fs::metadata(path)?.len();
    if size <= largest {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(kept)))?;
    let mut rest = Vec::new();
    (&mut file).take(kept).read_to_end(&mut rest)?;
    let line = rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(0)?;
    std::io::Write::write_all(&mut file, rest.get(line..).unwrap_or_default())?;
    Ok(())
}

/// The end of a log, as much as a status may hold.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    let mut result = String::new();
    for line in lines.into_iter().rev() {
        result.push_str(&line.chars().take(200).collect::<String>());
        result.push('\n');
    }
    result.chars().take(2048).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_keeps_its_last_whole_lines_and_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut writer = begin(&path, None).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number:02}").unwrap();
        }
        cut(&path, 800, 20).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 800, "not larger than allowed");
        writeln!(writer, "line 100").unwrap();
        cut(&path, 800, 20).unwrap();
        writeln!(writer, "line 101").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 99\nline 100\nline 101\n");
        begin(&path, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert!(fs::read_to_string(path.with_extension("previous.log")).unwrap().ends_with("line 101\n"));
    }
}
