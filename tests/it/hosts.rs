//! `rootpin hosts`: what it makes of an administrator's files, and what it says of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::{Ended, run};

const RESOLVER: &str = "127.0.0.1:5055";

/// A folder of hosts.toml files.
struct Certs(tempfile::TempDir);

impl Certs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, registry: &str) -> PathBuf {
        self.dir().join(registry).join("hosts.toml")
    }

    fn put(&self, registry: &str, text: &str) {
        fs::create_dir_all(self.dir().join(registry)).unwrap();
        fs::write(self.file(registry), text).unwrap();
    }

    fn text(&self, registry: &str) -> String {
        fs::read_to_string(self.file(registry)).unwrap()
    }

    fn run(&self, words: &[&str]) -> Ended {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .arg("hosts")
            .args(words)
            .args(["--resolver", RESOLVER, "--dir"])
            .arg(self.dir());
        // Who writes takes the lock beside it, which the machine's own would be for all tests.
        if words[0] != "check" && !words.contains(&"--config") {
            command
                .arg("--config")
                .arg(self.0.path().join(".none/rootpin.toml"));
        }
        run(&mut command, b"")
    }

    fn json(&self, words: &[&str]) -> (Value, i32) {
        let ended = self.run(&[words, &["--json"]].concat());
        let value: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!(value["version"], 1);
        (value, ended.code)
    }

    /// Registry and codes of every file that is checked.
    fn codes(&self, words: &[&str]) -> Vec<(String, Vec<String>)> {
        let (value, code) = self.json(&[&["check"], words].concat());
        let files: Vec<_> = value["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(found)
            .collect();
        let open = files.iter().any(|(_, codes)| !codes.is_empty());
        assert_eq!(
            (code == 1, &value["outcome"]),
            (open, &Value::from(if open { "open" } else { "closed" })),
            "{value}"
        );
        files
    }
}

fn found(file: &Value) -> (String, Vec<String>) {
    let codes = file["findings"].as_array().unwrap().iter().map(|hole| {
        assert!(
            ["found", "hint"]
                .iter()
                .all(|member| hole[member].as_str().is_some_and(|text| !text.is_empty())),
            "{hole}"
        );
        hole["code"].as_str().unwrap().to_owned()
    });
    (
        file["registry"].as_str().unwrap_or_default().to_owned(),
        codes.collect(),
    )
}

fn closed(registries: &[&str]) -> Vec<(String, Vec<String>)> {
    registries
        .iter()
        .map(|registry| ((*registry).to_owned(), Vec::new()))
        .collect()
}

#[test]
fn what_was_written_beside_a_rootpin_toml_is_taken_back_with_all_else() {
    let certs = Certs::new();
    let own = tempfile::tempdir().unwrap();
    let config = own.path().join("rootpin.toml");
    let text = "server = \"https://one.example\"\n\n[host.\"https://mirror.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
    fs::write(&config, "").unwrap();
    certs.put("one.example", text);
    let config = config.to_str().unwrap();
    let write = ["write", "one.example", "two.example", "--config", config];
    assert_eq!(certs.run(&write).code, 0);
    assert!(certs.text("one.example") != text && certs.file("two.example").exists());
    // Somebody adds to it meanwhile.
    let more = format!("# ours\n{}", certs.text("one.example"));
    fs::write(certs.file("one.example"), more).unwrap();
    let uninstall = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let all = [&["install", "--uninstall", "--config", config], words].concat();
        run(command.args(all), b"")
    };
    assert_eq!(uninstall(&["--json"]).code, 64, "nobody was asked");
    assert_eq!(uninstall(&["--dry-run"]).code, 0);
    assert!(certs.file("two.example").exists());
    let ended = uninstall(&["--yes"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(certs.text("one.example"), format!("# ours\n{text}"));
    let left: Vec<_> = fs::read_dir(certs.dir()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "the folder that was new is gone: {left:?}");
    assert_eq!(
        fs::read_dir(left[0].path()).unwrap().count(),
        1,
        "and the copy"
    );
    assert_eq!(
        fs::read_dir(own.path()).unwrap().count(),
        1,
        "and the record"
    );
    let again = uninstall(&["--yes"]);
    assert!(again.out.contains("nothing is recorded"), "{again:?}");
}

#[test]
fn the_file_of_one_registry_is_taken_back_and_the_others_stay() {
    let certs = Certs::new();
    let own = tempfile::tempdir().unwrap();
    let config = own.path().join("rootpin.toml");
    let text = "server = \"https://one.example\"\n";
    fs::write(&config, "").unwrap();
    certs.put("one.example", text);
    let config = config.to_str().unwrap();
    let ended =
        |verb: &str, words: &[&str]| certs.run(&[&[verb, "--config", config], words].concat());
    let all = ["one.example", "two.example", "three.example"];
    assert_eq!(ended("write", &all).code, 0);
    let more = format!("# ours\n{}", certs.text("one.example"));
    fs::write(certs.file("one.example"), more).unwrap();
    let shown = ended("remove", &["--dry-run", "one.example", "two.example"]);
    assert!(
        shown.code == 0 && certs.file("two.example").exists(),
        "{shown:?}"
    );
    assert!(
        shown.out.contains("-[host.\"http://127.0.0.1:"),
        "{shown:?}"
    );
    // All that are named, or nothing.
    let unknown = ended("remove", &["two.example", "none.example"]);
    assert!(
        unknown.code == 1 && certs.file("two.example").exists(),
        "{unknown:?}"
    );
    let done = ended("remove", &["one.example", "two.example"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(certs.text("one.example"), format!("# ours\n{text}"));
    assert!(!certs.dir().join("two.example").exists());
    assert_eq!(
        fs::read_dir(certs.dir().join("one.example"))
            .unwrap()
            .count(),
        1,
        "no copy"
    );
    assert_eq!(certs.codes(&["three.example"]), closed(&["three.example"]));
    assert_eq!(ended("remove", &["two.example"]).code, 1);
    let (told, code) = certs.json(&["remove", "--config", config, "three.example"]);
    assert_eq!((&told["outcome"], code), (&"removed".into(), 0));
    assert_eq!(fs::read_dir(own.path()).unwrap().count(), 1, "no record");
}

#[test]
fn what_is_written_is_closed_and_written_once() {
    let certs = Certs::new();
    let shown = certs.run(&["write", "--dry-run", "docker.io", "r.example:5000"]);
    assert!(
        shown.code == 0
            && shown
                .out
                .contains("+server = \"https://registry-1.docker.io\""),
        "{shown:?}"
    );
    assert!(!certs.file("docker.io").exists());
    let written = certs.run(&["write", "docker.io", "r.example:5000", "_default"]);
    assert!(
        written.code == 0 && written.out.contains("written: "),
        "{written:?}"
    );
    assert_eq!(
        certs.codes(&[]),
        closed(&["_default", "docker.io", "r.example:5000"])
    );
    assert_eq!(
        certs.codes(&["unheard-of.example"]),
        closed(&["unheard-of.example"]),
        "_default stands for it"
    );
    assert_eq!(
        fs::metadata(certs.file("docker.io"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
    let (again, code) = certs.json(&["write", "docker.io"]);
    assert_eq!((code, &again["outcome"]), (0, &"unchanged".into()));
    assert!(!certs.file("docker.io").with_extension("toml.bak").exists());
}

#[test]
fn an_administrators_file_is_changed_only_where_it_is_open_and_its_old_text_is_kept() {
    let certs = Certs::new();
    let before = "# by hand\nserver = \"https://r.example\"\n\n[host.\"https://m.example\"]\n  ca = \"m.pem\"\n";
    certs.put("r.example", before);
    fs::write(certs.dir().join("r.example/ca.crt"), "x").unwrap();
    assert_eq!(
        certs.codes(&["r.example"])[0].1,
        ["server-resolves", "host-resolves", "no-resolver"]
    );
    let (value, code) = certs.json(&["write", "r.example"]);
    assert_eq!((code, &value["outcome"]), (0, &"written".into()));
    let backup = value["files"][0]["backup"].as_str().unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), before);
    let after = certs.text("r.example");
    assert!(
        before.lines().all(|line| after.contains(line)) && !after.contains("ca.crt"),
        "{after}"
    );
    assert_eq!(certs.codes(&[]), closed(&["r.example"]));
}

#[test]
fn certificates_beside_a_new_file_stay_in_use() {
    let certs = Certs::new();
    fs::create_dir(certs.dir().join("r.example")).unwrap();
    for name in ["ca.crt", "client.cert", "client.key"] {
        fs::write(certs.dir().join("r.example").join(name), "x").unwrap();
    }
    assert_eq!(certs.codes(&["r.example"])[0].1, ["no-file"]);
    assert_eq!(certs.run(&["write", "r.example"]).code, 0);
    let text = certs.text("r.example");
    assert!(
        text.contains("ca = [\"ca.crt\"]")
            && text.contains("client = [[\"client.cert\", \"client.key\"]]"),
        "{text}"
    );
}

#[test]
fn what_is_not_understood_is_refused_and_nothing_is_written() {
    let certs = Certs::new();
    certs.put("bad.example", "server = ");
    let refused = certs.run(&["write", "good.example", "bad.example"]);
    assert!(
        refused.code == 1 && refused.err.contains("malformed") && refused.err.contains("\nhint: "),
        "{refused:?}"
    );
    assert!(!certs.file("good.example").exists());
    assert_eq!(certs.codes(&["bad.example"])[0].1, ["malformed"]);
    certs.put("long.example", &"#".repeat(300 << 10));
    assert_eq!(certs.codes(&["long.example"])[0].1, ["malformed"]);
}

#[test]
fn the_folder_that_an_engine_looks_into_first_is_the_one_that_is_meant() {
    let certs = Certs::new();
    assert_eq!(certs.run(&["write", "r.example:5000"]).code, 0);
    assert_eq!(
        certs.codes(&["r.example:5000"]),
        closed(&["r.example:5000"])
    );
    certs.put("r.example_5000_", "server = \"https://r.example:5000\"\n");
    assert_eq!(
        certs.codes(&["r.example:5000"])[0].1,
        ["server-resolves", "no-resolver"]
    );
    assert_eq!(certs.run(&["write", "r.example:5000"]).code, 0);
    assert!(certs.text("r.example_5000_").contains("resolve"));
}

#[test]
fn a_file_that_others_can_write_and_a_list_of_folders_are_holes() {
    let certs = Certs::new();
    assert_eq!(
        certs.codes(&[])[0].1,
        ["no-file"],
        "an empty folder closes nothing"
    );
    assert_eq!(certs.run(&["write", "r.example"]).code, 0);
    fs::set_permissions(certs.file("r.example"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(certs.codes(&[])[0].1, ["writable"]);
    let list = format!("{0}:{0}", certs.dir().display());
    let rootpin = |words: &[&str]| {
        run(
            std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"))
                .arg("hosts")
                .args(words),
            b"",
        )
    };
    let checked = rootpin(&["check", "--resolver", RESOLVER, "--dir", &list]);
    assert!(
        checked.code == 1 && checked.out.contains("dir-list"),
        "{checked:?}"
    );
    assert_eq!(
        rootpin(&["write", "--resolver", RESOLVER, "--dir", &list, "r.example"]).code,
        64
    );
    let unset = rootpin(&["check", "--config", "/no/such/rootpin.toml", "--dir", "/"]);
    assert!(
        unset.code == 2 && unset.err.contains("without it: --resolver 127.0.0.1:505"),
        "{unset:?}"
    );
}

#[test]
fn a_hint_repeats_the_options_and_closes_what_was_found() {
    let certs = Certs::new();
    certs.put(
        "_default",
        &format!("server = \"http://{RESOLVER}\"\ncapabilities = [\"pull\", \"resolve\"]\n"),
    );
    assert_eq!(
        certs.codes(&[])[0].1,
        ["no-host-table"],
        "containerd 1.7 passes over it"
    );
    let hints = |words: &[&str]| -> Vec<String> {
        let checked = certs.run(&[&["check"], words].concat());
        let hint = |line: &str| line.trim().strip_prefix("hint: ").map(str::to_owned);
        checked.out.lines().filter_map(hint).collect()
    };
    let dir = certs.dir().display().to_string();
    let command =
        |registry| format!("rootpin hosts write --dir {dir} --resolver {RESOLVER} {registry}");
    assert_eq!(hints(&[]), [command("_default")]);
    let typed = command("_default");
    let mut rootpin = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let typed = run(rootpin.args(typed.split(' ').skip(1)), b"");
    assert_eq!(typed.code, 0, "{typed:?}");
    assert_eq!(certs.codes(&[]), closed(&["_default"]));
    fs::remove_dir_all(certs.dir().join("_default")).unwrap();
    assert_eq!(hints(&["r.example"]), [command("r.example")]);
}

#[test]
fn a_registry_is_a_host_and_a_resolver_is_on_loopback() {
    let certs = Certs::new();
    for bad in [
        "../etc",
        "a/b",
        "",
        "docker.io/library",
        "https://r.example",
        ".",
    ] {
        assert_eq!(certs.run(&["write", bad]).code, 64, "{bad}");
    }
    assert_eq!(certs.run(&["write"]).code, 64);
    let mut elsewhere = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let ended = run(
        elsewhere
            .args([
                "hosts",
                "write",
                "docker.io",
                "--resolver",
                "192.0.2.1:5055",
                "--dir",
            ])
            .arg(certs.dir()),
        b"",
    );
    assert_eq!(ended.code, 64, "{ended:?}");
}

#[test]
fn mirrors_in_a_daemon_json_beside_the_folder_are_a_hole_until_docker_hub_has_a_file_of_its_own() {
    let etc = tempfile::tempdir().unwrap();
    let dir = etc.path().join("certs.d");
    let rootpin = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        run(
            command
                .arg("hosts")
                .args(words)
                .args(["--resolver", RESOLVER, "--dir"])
                .arg(&dir),
            b"",
        )
    };
    assert_eq!(rootpin(&["write", "_default"]).code, 0);
    assert_eq!(rootpin(&["check"]).code, 0);
    fs::write(
        etc.path().join("daemon.json"),
        r#"{"registry-mirrors": ["http://127.0.0.1:17310"]}"#,
    )
    .unwrap();
    for words in [&["check"][..], &["check", "docker.io"]] {
        let open = rootpin(words);
        assert!(
            open.code == 1
                && open.out.contains("mirrors: ")
                && open.out.contains("http://127.0.0.1:17310"),
            "{open:?}"
        );
    }
    assert_eq!(rootpin(&["write", "docker.io"]).code, 0);
    assert_eq!(rootpin(&["check"]).code, 0);
}
