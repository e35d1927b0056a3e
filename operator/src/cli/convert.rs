//! `nuncio convert`: the conversion of the webhook, for manifests in files.

mod rewrite;

use super::args::{ConvertArgs, ConvertVersion, ManifestForm as Form};
use anyhow::{Context, bail};
use convert::Version;
use rewrite::{Rewritten, Settings};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Larger files are not read.
const FILE_BYTES: u64 = 256 << 20;
/// Folders nested deeper are not entered; a loop of links ends here.
const DEPTH: usize = 32;

/// Converts what the arguments name. Manifests go to standard output, what was changed to standard error.
pub fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings {
        to: match args.to {
            ConvertVersion::V1 => Version::V1,
            ConvertVersion::V2 => Version::V2,
            ConvertVersion::V3alpha1 => Version::V3Alpha1,
        },
        prefix_ids: args.prefix_ids,
        for_good: args.for_good,
        form: args.output,
    };
    if args.for_good && settings.to != Version::V3Alpha1 {
        bail!("--for-good only makes sense with --to v3alpha1");
    }
    let stdin = Path::new("-");
    let mut files = Vec::new();
    for path in &args.paths {
        if path == stdin {
            files.push(path.clone());
        } else {
            collect(path, 0, &mut files).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    if args.paths.is_empty() {
        files.push(stdin.to_path_buf());
    }
    if args.in_place && files.iter().any(|file| file == stdin) {
        bail!("--in-place needs files");
    }

    let mut whole = String::new();
    let (mut converted, mut failed) = (0, 0);
    for file in &files {
        let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let json = match file.extension() {
            Some(extension) => extension == "json",
            None => text.trim_start().starts_with('{') && serde_json::from_str::<serde_json::Value>(&text).is_ok(),
        };
        let name = if file == stdin { "standard input".to_owned() } else { file.display().to_string() };
        let out = rewrite::rewrite(&text, if json { Form::Json } else { Form::Yaml }, &settings)?;
        report(&name, &out);
        (converted, failed) = (converted + out.converted, failed + out.failed);
        if !args.in_place {
            join(&mut whole, &out.text);
        } else if out.text != text {
            replace(file, &out.text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    let version = settings.to.api_version();
    eprintln!("{converted} objects converted to {version} in {} files, {failed} could not be", files.len());
    super::print(&whole)?;
    Ok(if failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn report(file: &str, out: &Rewritten) {
    for (line, text) in &out.lines {
        // Names and header fields come from the file; a terminal must not obey them.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        eprintln!("{file}:{line}: {text}");
    }
}

/// Files as they are written, in the order of their names: those named, and manifests in folders that are.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let manifest =
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e));
        // A link that leads nowhere is no reason to stop.
        let Ok(found) = fs::metadata(&path) else { continue };
        if !hidden && depth < DEPTH && (found.is_dir() || manifest) {
            collect(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut limited: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock().take(FILE_BYTES + 1))
    } else {
        Box::new(File::open(path)?.take(FILE_BYTES + 1))
    };
    limited.read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        bail!("it is larger than {FILE_BYTES} bytes");
    }
    Ok(text)
}

/// Puts a new content in place in one step, so that whoever reads the file sees the old or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let path = fs::canonicalize(path)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".nuncio-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Appends a stream of documents to another.
fn join(whole: &mut String, text: &str) {
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    let separated = text.lines().find(|line| !line.is_empty() && !line.starts_with(['#', '%']));
    if !whole.is_empty() && separated.is_some_and(|line| !line.starts_with("---")) {
        whole.push_str("---\n");
    }
    whole.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_separated_once() {
        let joined = |parts: &[&str]| {
            let mut whole = String::new();
            parts.iter().for_each(|part| join(&mut whole, part));
            whole
        };
        assert_eq!(joined(&["a: 1", "b: 2\n"]), "a: 1\n---\nb: 2\n");
        assert_eq!(joined(&["a: 1\n", "# b\n---\nb: 2\n", ""]), "a: 1\n# b\n---\nb: 2\n");
        assert_eq!(joined(&["", "a: 1\n"]), "a: 1\n");
    }

    #[test]
    fn files_are_replaced_through_links_and_keep_their_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn folders_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["b.yaml", "a/c.json", ".hidden.yaml", "notes.txt", "a.yml"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut files = Vec::new();
        collect(dir.path(), 0, &mut files).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/c.json", "a.yml", "b.yaml"]);
        assert!(collect(Path::new("/nowhere/at/all"), 0, &mut files).is_err());
    }
}
