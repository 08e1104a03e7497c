use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(files: &ConfigFiles) -> Vec<String> {
    files
        .files
        .iter()
        .map(|file| {
            file.path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn files_are_read_in_the_order_of_imports_and_what_they_import_comes_last() {
    let folder = folder(&[
        (
            "main.toml",
            "imports = [\"e/*.toml\", \"d/*.toml\", \"one.toml\"]\n",
        ),
        ("d/b.toml", ""),
        ("d/a.toml", "imports = [\"../last.toml\", \"../main.toml\"]"),
        ("d/a.txt", "no toml ["),
        ("e/z.toml", ""),
        ("one.toml", ""),
        ("last.toml", ""),
    ]);
    let read = ConfigFiles::read(&folder.path().join("main.toml"), &BTreeMap::new()).unwrap();
    assert_eq!(
        names(&read),
        [
            "main.toml",
            "z.toml",
            "a.toml",
            "b.toml",
            "one.toml",
            "last.toml"
        ]
    );
}

#[test]
fn a_proposed_file_is_read_as_if_it_were_there() {
    let folder = folder(&[
        ("main.toml", "imports = [\"d/*.toml\"]\n"),
        ("d/m.toml", "a = 1"),
    ]);
    let proposed = BTreeMap::from([(folder.path().join("d/z.toml"), "a = 2".to_owned())]);
    let read = ConfigFiles::read(&folder.path().join("main.toml"), &proposed).unwrap();
    assert_eq!(names(&read), ["main.toml", "m.toml", "z.toml"]);
    assert!(read.setter(&["a"]).ends_with("z.toml:1"));
}

#[test]
fn patterns_are_read_as_go_reads_them() {
    for (pattern, name) in [
        ("*.toml", "a.toml"),
        ("*", "a"),
        ("a*b*.toml", "axbx.toml"),
        ("a*b*c", "abbc"),
        ("?.toml", "a.toml"),
        ("[0-9a]*.toml", "7x.toml"),
        ("[^a-c].toml", "d.toml"),
        ("\\*.toml", "*.toml"),
        ("/etc/*/conf.d", "/etc/x/conf.d"),
    ] {
        assert!(glob(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [
        ("*.toml", "a.toml.bak"),
        ("a*", "ba"),
        ("a*b*c", "acb"),
        ("?.toml", ".toml"),
        ("[0-9].toml", "a.toml"),
        ("[", "["),
        ("/etc/*/d", "/etc/x/y/d"),
        ("a", "ab"),
    ] {
        assert!(!glob(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn folders_are_patterns_too() {
    let folder = folder(&[
        ("main.toml", "imports = [\"*/a[0-9].toml\"]\n"),
        ("x/a1.toml", ""),
        ("y/a0.toml", ""),
        ("y/b0.toml", ""),
    ]);
    let main = folder.path().join("main.toml");
    assert_eq!(
        names(&ConfigFiles::read(&main, &BTreeMap::new()).unwrap()),
        ["main.toml", "a1.toml", "a0.toml"]
    );
    let proposed = BTreeMap::from([(folder.path().join("z/a9.toml"), String::new())]);
    assert_eq!(
        names(&ConfigFiles::read(&main, &proposed).unwrap()),
        ["main.toml", "a1.toml", "a0.toml", "a9.toml"]
    );
}

#[test]
fn a_copy_has_every_file_in_the_order_of_reading_and_imports_nothing_else() {
    let here = folder(&[
        ("main.toml", "imports = [\n  \"d/*.toml\",\n]\na = 1\n"),
        ("d/b.toml", "imports = [\"../last.toml\"]\nb = 1"),
        ("last.toml", "c = 1"),
    ]);
    let files = ConfigFiles::read(&here.path().join("main.toml"), &BTreeMap::new()).unwrap();
    let there = tempfile::tempdir().unwrap();
    let main = files.copy(there.path(), |_| true).unwrap();
    fs::remove_dir_all(here.path()).unwrap();
    let copied = ConfigFiles::read(&main, &BTreeMap::new()).unwrap();
    let keys: Vec<_> = copied
        .files
        .iter()
        .flat_map(|file| file.table.keys())
        .filter(|key| *key != "imports")
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(
        ConfigFiles::read(
            &files
                .copy(there.path(), |path| !path.ends_with("b.toml"))
                .unwrap(),
            &BTreeMap::new()
        )
        .unwrap()
        .files
        .len(),
        2
    );
}

#[test]
fn a_copy_has_the_byte_order_mark_at_which_some_engines_fail() {
    let here = folder(&[
        ("main.toml", "\u{feff}imports = [\"d.toml\"]\n"),
        ("d.toml", "a = 1\n"),
    ]);
    let files = ConfigFiles::read(&here.path().join("main.toml"), &BTreeMap::new()).unwrap();
    let there = tempfile::tempdir().unwrap();
    let main = files.copy(there.path(), |_| true).unwrap();
    assert!(fs::read_to_string(main).unwrap().starts_with('\u{feff}'));
    let drop_in = fs::read_to_string(there.path().join("0001.toml")).unwrap();
    assert_eq!(drop_in, "a = 1\n");
}

#[test]
fn the_line_of_a_key_is_where_its_value_begins() {
    let text = "version = 2\n\n[plugins.\"a.b\"]\n  x = 1\n  default = [\"walking\"]\n";
    assert_eq!(line(text, &["plugins", "a.b", "default"]), 5);
    assert_eq!(line(text, &["plugins", "other"]), 1);
}

#[test]
fn files_that_import_each_other_without_end_are_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..=MAX_FILES {
        fs::write(
            folder.path().join(number.to_string()),
            format!("imports = [\"{}\"]", number + 1),
        )
        .unwrap();
    }
    assert!(
        ConfigFiles::read(&folder.path().join("0"), &BTreeMap::new())
            .unwrap_err()
            .contains("more than 200")
    );
}
#[test]
fn a_pipe_in_a_configurations_place_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(read(&pipe).unwrap_err().to_string(), "not a plain file");
    assert!(read(folder.path()).is_err());
}

#[test]
fn only_the_names_that_rootpin_writes_are_its_own() {
    for (name, ours) in [
        ("rootpin.toml", true),
        ("zz-rootpin.toml", true),
        ("-rootpin.toml", false),
        ("10-rootpin.toml", false),
        ("rootpin.toml.bak", false),
    ] {
        assert_eq!(is_ours(&Path::new("/etc").join(name)), ours, "{name}");
    }
}

#[test]
fn lines_that_end_as_on_windows_stay_so() {
    let text = "version = 2\r\n[debug]\r\n  level = \"info\"\r\n";
    let made = crate::operate::doctor::fix::set(text, &["imports"], toml_edit::value("x")).unwrap();
    assert_eq!(made.replace("imports = \"x\"\r\n", ""), text);
    let mixed = "a = 1\r\nb = 2\n";
    assert_eq!(with_mark(mixed, "a = 1\n".to_owned()), "a = 1\n");
}
