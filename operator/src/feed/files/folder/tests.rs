use super::*;
use std::fs::{create_dir_all, remove_file, rename, write};

struct Fixture {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources =
            Sources { roots: vec![dir.path().to_path_buf()], namespace: "default".into(), ..Sources::default() };
        Self { folder: Folder::new(sources), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        create_dir_all(self.path(name).parent().unwrap()).unwrap();
        write(self.path(name), text).unwrap();
    }

    fn reload(&mut self, name: &str) -> Vec<String> {
        let update = self.folder.reload(&[self.path(name)].into());
        say(update)
    }

    fn rescan(&mut self) -> Vec<String> {
        let update = self.folder.rescan();
        say(update)
    }

    fn want(&mut self, added: &[WantedName], removed: &[WantedName]) -> Vec<String> {
        say(self.folder.want(&WantedChanges { added: added.to_vec(), removed: removed.to_vec() }))
    }

    fn problems(&self) -> Vec<String> {
        let base = format!("{}/", self.dir.path().display());
        self.folder.problems().iter().map(|problem| problem.to_string().replace(&base, "")).collect()
    }
}

fn say(update: Update) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Put(object) => format!("put {}", object.key),
        Change::Gone(key) => format!("gone {key}"),
        Change::File(path, content) => format!("file {path} {}", content.is_some()),
        other => format!("{other:?}"),
    };
    update.changes.iter().map(line).collect()
}

fn mapping(name: &str, prefix: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec: {{hostname: '*', prefix: {prefix}, service: s}}\n"
    )
}

fn secret(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: web}}\ntype: Opaque\nstringData: {{a: b}}\n"
    )
}

fn wanted_secret(name: &str) -> WantedName {
    WantedName::Secret { namespace: "web".into(), name: name.into() }
}

#[test]
fn folders_are_read_recursively_and_only_differences_are_told() {
    let mut at = Fixture::new();
    at.write("a.yaml", &(mapping("one", "/1") + &mapping("two", "/2")));
    at.write("deep/er/b.yml", &mapping("three", "/3"));
    at.write("c.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"x"},"spec":{}}"#);
    at.write("ignored.txt", &mapping("four", "/4"));
    at.write(".hidden.yaml", &mapping("five", "/5"));
    assert_eq!(
        at.rescan(),
        ["put Mapping default/one", "put Mapping default/three", "put Mapping default/two", "put Service x/s"]
    );
    assert_eq!(at.rescan(), Vec::<String>::new());
    at.write("a.yaml", &(mapping("one", "/1") + "# comment\n" + &mapping("two", "/changed")));
    assert_eq!(at.reload("a.yaml"), ["put Mapping default/two"]);
    remove_file(at.path("deep/er/b.yml")).unwrap();
    assert_eq!(at.rescan(), ["gone Mapping default/three"]);
    assert_eq!(at.problems(), Vec::<String>::new());
}

#[test]
fn an_object_that_moves_to_another_file_is_not_told() {
    let mut at = Fixture::new();
    at.write("a.yaml", &mapping("one", "/1"));
    at.rescan();
    rename(at.path("a.yaml"), at.path("b.yaml")).unwrap();
    assert_eq!(at.rescan(), Vec::<String>::new());
    assert_eq!(at.folder.place(&ObjectKey::new(Kind::Mapping, "default", "one")).unwrap().0, at.path("b.yaml"));
}

#[test]
fn a_broken_document_keeps_its_last_good_objects_and_harms_no_other() {
    let mut at = Fixture::new();
    at.write("a.yaml", &(mapping("one", "/1") + &mapping("two", "/2")));
    at.rescan();
    at.write("a.yaml", &(mapping("one", "/new") + "---\napiVersion: x/v1\nkind: [Mapping\nspec:\n"));
    assert_eq!(at.reload("a.yaml"), ["put Mapping default/one"]);
    let problems = at.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("a.yaml:") && problems[0].contains("this is not YAML"), "{problems:?}");
    at.write("a.yaml", &mapping("one", "/new"));
    assert_eq!(at.reload("a.yaml"), ["gone Mapping default/two"]);
    assert_eq!(at.problems(), Vec::<String>::new());
}

#[test]
fn the_problem_of_a_broken_document_stays_while_others_change() {
    let mut at = Fixture::new();
    at.write("a.yaml", &(mapping("one", "/1") + "---\nkind: x\n"));
    at.rescan();
    at.write("a.yaml", &(mapping("one", "/2") + "---\nkind: x\n"));
    at.reload("a.yaml");
    assert_eq!(at.problems(), ["a.yaml:6: this is not a Kubernetes object: `apiVersion` and `kind` are missing"]);
}

#[test]
fn of_two_definitions_the_first_file_wins_whatever_came_first() {
    let mut at = Fixture::new();
    at.write("b.yaml", &mapping("one", "/b"));
    assert_eq!(at.rescan(), ["put Mapping default/one"]);
    at.write("a.yaml", &mapping("one", "/a"));
    assert_eq!(at.reload("a.yaml"), ["put Mapping default/one"]);
    let problems = at.problems();
    assert!(problems[0].starts_with("b.yaml:1: Mapping default/one: is defined in"), "{problems:?}");
    remove_file(at.path("a.yaml")).unwrap();
    assert_eq!(at.reload("a.yaml"), ["put Mapping default/one"]);
    assert_eq!(at.problems(), Vec::<String>::new());
}

#[test]
fn secrets_are_handed_on_when_wanted_only() {
    let mut at = Fixture::new();
    at.write("s.yaml", &(secret("cert") + &secret("other")));
    assert_eq!(at.rescan(), Vec::<String>::new());
    assert!(at.folder.files.values().flat_map(|file| &file.entries).all(|entry| entry.object.is_none()));
    let names = [wanted_secret("cert"), wanted_secret("absent")];
    assert_eq!(at.want(&names, &[]), ["put Secret web/cert", "gone Secret web/absent"]);
    at.write("s.yaml", &(secret("cert").replace("a: b", "a: c") + &secret("other") + &secret("absent")));
    assert_eq!(at.reload("s.yaml"), ["put Secret web/absent", "put Secret web/cert"]);
    assert_eq!(at.want(&[], &names), ["gone Secret web/absent", "gone Secret web/cert"]);
    assert!(at.folder.files.values().flat_map(|file| &file.entries).all(|entry| entry.object.is_none()));
    assert_eq!(at.want(&names[..1], &[]), ["put Secret web/cert"]);
}

#[test]
fn wanted_files_are_answered_and_followed() {
    let mut at = Fixture::new();
    at.folder.sources.assumed.insert("/assumed/tls.crt".into());
    let path = at.path("tls.crt");
    let name = WantedName::File(path.to_str().unwrap().into());
    let assumed = WantedName::File("/assumed/tls.crt".into());
    let file = path.display();
    assert_eq!(
        at.want(&[name.clone(), assumed], &[]),
        ["file /assumed/tls.crt true".to_string(), format!("file {file} false")]
    );
    at.write("tls.crt", "pem");
    assert_eq!(at.rescan(), [format!("file {file} true")]);
    assert_eq!(at.rescan(), Vec::<String>::new());
    at.write("tls.crt", "other");
    assert_eq!(at.rescan(), [format!("file {file} true")]);
}

#[test]
fn a_root_that_vanishes_keeps_its_objects() {
    let mut at = Fixture::new();
    at.write("root/a.yaml", &mapping("one", "/1"));
    at.folder.sources.roots = vec![at.path("root")];
    at.rescan();
    rename(at.path("root"), at.path("away")).unwrap();
    assert_eq!(at.rescan(), Vec::<String>::new());
    assert!(at.problems()[0].contains("cannot be read"));
    rename(at.path("away"), at.path("root")).unwrap();
    assert_eq!(at.rescan(), Vec::<String>::new());
    assert_eq!(at.problems(), Vec::<String>::new());
}

#[test]
fn what_is_away_is_looked_for_in_the_folder_above() {
    let mut at = Fixture::new();
    at.write("root/a.yaml", &mapping("one", "/1"));
    at.write("files/b.yaml", &mapping("two", "/2"));
    let (root, file) = (at.path("root"), at.path("files/b.yaml"));
    at.folder.sources.roots = vec![root.clone(), file.clone()];
    at.rescan();
    assert_eq!(at.folder.folders(), [root.clone(), at.path("files")].into());
    rename(&root, at.path("away")).unwrap();
    remove_file(&file).unwrap();
    at.rescan();
    assert_eq!(at.folder.folders(), [at.path("files"), at.dir.path().to_path_buf()].into());
}

#[test]
fn a_mounted_config_map_is_followed_through_its_links() {
    let mut at = Fixture::new();
    at.write("..2026_1/a.yaml", &mapping("one", "/1"));
    at.write("..2026_2/a.yaml", &mapping("one", "/2"));
    let base = at.dir.path().to_path_buf();
    let link = |target: &str, name: &str| {
        let temporary = base.join("..tmp");
        std::os::unix::fs::symlink(target, &temporary).unwrap();
        rename(temporary, base.join(name)).unwrap();
    };
    link("..2026_1", "..data");
    link("..data/a.yaml", "a.yaml");
    assert_eq!(say(at.folder.rescan()), ["put Mapping default/one"]);
    link("..2026_2", "..data");
    assert_eq!(say(at.folder.rescan()), ["put Mapping default/one"]);
}

#[test]
fn only_the_changed_document_of_a_long_file_is_decoded_again() {
    let mut at = Fixture::new();
    let text: String = (0..200).map(|index| mapping(&format!("m{index}"), "/x")).collect();
    at.write("a.yaml", &text);
    assert_eq!(at.rescan().len(), 200);
    let former: Vec<_> =
        at.folder.files.values().flat_map(|file| &file.entries).map(|entry| entry.object.clone()).collect();
    at.write("a.yaml", &text.replacen("/x", "/y", 1));
    assert_eq!(at.reload("a.yaml"), ["put Mapping default/m0"]);
    let same =
        |(old, new): (&Option<Arc<Object>>, &Entry)| Arc::ptr_eq(old.as_ref().unwrap(), new.object.as_ref().unwrap());
    let file = at.folder.files.values().next().unwrap();
    assert_eq!(former.iter().zip(&file.entries).filter(|pair| same((pair.0, pair.1))).count(), 199);
}

#[test]
fn a_path_has_one_spelling() {
    let mut at = Fixture::new();
    at.write("sub/m.yaml", &mapping("one", "/1"));
    let root = PathBuf::from(format!("{}/.//sub//m.yaml", at.dir.path().display()));
    at.folder = Folder::new(Sources { roots: vec![root], namespace: "default".into(), ..Sources::default() });
    assert_eq!(at.rescan(), ["put Mapping default/one"]);
    at.write("sub/m.yaml", &mapping("one", "/2"));
    assert_eq!(at.reload("sub/m.yaml"), ["put Mapping default/one"]);
    assert_eq!((at.rescan(), at.problems()), (vec![], vec![]));
}

#[test]
fn files_that_come_and_go_are_told_whatever_stands_between_them() {
    let mut at = Fixture::new();
    // `b/` and `b.yaml` stand the other way round in the order of bytes than in that of components.
    let names = ["a.yaml", "b/a.yaml", "b.yaml", "b-1.yaml", "c.yaml"];
    for gone in names {
        for (index, name) in names.iter().enumerate() {
            at.write(name, &mapping(&format!("m{index}"), "/x"));
        }
        at.rescan();
        let key = format!("Mapping default/m{}", names.iter().position(|name| *name == gone).unwrap());
        remove_file(at.path(gone)).unwrap();
        assert_eq!(at.rescan(), [format!("gone {key}")], "{gone}");
        at.write(gone, &mapping(key.rsplit('/').next().unwrap(), "/x"));
        assert_eq!(at.rescan(), [format!("put {key}")], "{gone}");
        assert!(at.rescan().is_empty());
    }
}
