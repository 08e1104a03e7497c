//! `rootpin import`: a policy that is proposed, and what no proposal may do.

mod large;
mod several;
mod shown;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rootpin_trust::image::Digest;
use tempfile::TempDir;

use crate::publisher::{Key, Publisher};
use crate::world::{Ended, Notary, run};

const GUN: &str = "r.test/team/app";

/// A host on which Docker's client pulled a signed tag once.
struct Host {
    dir: TempDir,
    server: Notary,
    publisher: Publisher,
}

impl Host {
    async fn new() -> Self {
        let (dir, server) = (tempfile::tempdir().unwrap(), Notary::listen().await);
        let mut publisher = Publisher::new(GUN);
        publisher.tag("v1", &Digest::of(b"one").to_string(), 3);
        server.publish(&publisher);
        let metadata = dir.path().join(format!("trust/tuf/{GUN}/metadata"));
        fs::create_dir_all(&metadata).unwrap();
        for file in ["root.json", "targets.json"] {
            fs::write(metadata.join(file), &publisher.tree().files[file]).unwrap();
        }
        Self {
            dir,
            server,
            publisher,
        }
    }

    fn rootpin(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.args(words).current_dir(self.dir.path());
        run(command.env("HOME", self.dir.path()), b"")
    }

    fn import(&self, more: &[&str]) -> Ended {
        let server = format!("http://127.0.0.1:{}", self.server.port);
        let words = ["import", "--server", &server, "--out", "proposal"];
        self.rootpin(&[&words, more].concat())
    }

    fn proposal(&self) -> PathBuf {
        self.dir.path().join("proposal")
    }

    fn verify(&self, content: &str) -> String {
        let name = format!("{GUN}:v1@{}", Digest::of(content.as_bytes()));
        let words = [
            "verify", "--json", "--policy", "proposal", "--state", "state", &name,
        ];
        let ended = self.rootpin(&words);
        let verdict: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        let text = |member: &str| verdict[member].as_str().map(str::to_owned);
        text("code").or_else(|| text("outcome")).unwrap()
    }
}

const TRUST: [&str; 3] = ["--from", "docker-trust-dir", "trust"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_publishers_fingerprint_a_trust_directory_becomes_a_policy_that_loads() {
    let host = Host::new().await;
    let key = host.publisher.root_key().id();
    let ended = host.import(&[&TRUST[..], &["--fingerprint", &key]].concat());
    assert!(
        ended.code == 0
            && ended
                .out
                .contains("the server shows now for r.test/team/app: the same key")
            && ended
                .out
                .contains("hint: look at it, and then: rootpin policy check proposal"),
        "{ended:?}"
    );
    let check = host.rootpin(&["policy", "check", "proposal"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert_eq!(host.verify("one"), "allowed");
    assert_eq!(host.verify("two"), "digest-mismatch");
    let again = host.import(&[&TRUST[..], &["--fingerprint", &key]].concat());
    assert!(
        again.code == 64 && again.err.contains("proposal is there already"),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_host_saw_first_is_pinned_by_nobody_who_did_not_confirm_it() {
    let host = Host::new().await;
    let ended = host.import(&TRUST);
    assert!(
        ended.code == 1
            && ended
                .out
                .contains("left out: notary-1: no fingerprint was given"),
        "{ended:?}"
    );
    let policy = fs::read_to_string(host.proposal().join("policy.toml")).unwrap();
    assert!(
        !policy.contains(&host.publisher.root_key().id()),
        "{policy}"
    );
    assert!(!host.proposal().join("roots").exists());
    assert_eq!(host.verify("one"), "no-rule");

    fs::remove_dir_all(host.proposal()).unwrap();
    let other = Key::named("another's").id();
    let ended = host.import(&[&TRUST[..], &["--fingerprint", &other]].concat());
    assert!(
        ended.code == 1
            && ended
                .err
                .contains("is not the fingerprint of what was found"),
        "{ended:?}"
    );
    assert!(!host.proposal().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_shows_another_key_than_the_host_saw_is_said() {
    let host = Host::new().await;
    let mut changed = host.publisher.clone();
    changed.role("root").keys = vec![Key::named("a new one").certificate(GUN)];
    host.server.publish(&changed);
    let key = host.publisher.root_key().id();
    let ended = host.import(&[&TRUST[..], &["--fingerprint", &key]].concat());
    assert!(
        ended.code == 0 && ended.out.contains("r.test/team/app: ANOTHER KEY"),
        "{ended:?}"
    );
    // The confirmed key is pinned, whatever the server shows.
    assert_eq!(host.verify("one"), "root-not-pinned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_a_server_shows_since_a_rotation_is_named_and_pinned_by_its_fingerprint_alone()
{
    let mut host = Host::new().await;
    // A second repository of the same key, which was not rotated.
    let old = host.publisher.root_key();
    let mut second = Publisher::new("r.test/team/second");
    second.role("root").keys = vec![old.certificate(&second.gun)];
    host.server.publish(&second);
    let metadata = host
        .dir
        .path()
        .join("trust/tuf/r.test/team/second/metadata");
    fs::create_dir_all(&metadata).unwrap();
    for file in ["root.json", "targets.json"] {
        fs::write(metadata.join(file), &second.tree().files[file]).unwrap();
    }
    let new = Key::named("a new one");
    host.publisher.rotate_root(std::slice::from_ref(&new));
    host.server.publish(&host.publisher);

    let asked = host.import(&[&TRUST[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&asked.out).unwrap();
    let shown = report["roots"][0]["server_now"].as_array().unwrap();
    let keys = shown.iter().map(|one| one["keys"].clone());
    assert!(
        asked.code == 1 && keys.eq([serde_json::json!([new.id()]), serde_json::json!([old.id()])]),
        "{report}"
    );
    fs::remove_dir_all(host.proposal()).unwrap();
    // Another one's fingerprint pins nothing.
    let wrong = Key::named("another's").id();
    let ended = host.import(&[&TRUST[..], &["--fingerprint", &wrong]].concat());
    assert!(ended.code == 1 && !host.proposal().exists(), "{ended:?}");
    let ended = host.import(&[&TRUST[..], &["--fingerprint", &new.id()]].concat());
    let named = format!("r.test/team/app: ANOTHER KEY ({})", new.id());
    assert!(
        ended.code == 1
            && ended.out.contains(&named)
            && ended
                .out
                .contains("confirmed: notary-2: by the fingerprint")
            && ended.out.contains("left out: notary-1: "),
        "{ended:?}"
    );
    assert_eq!(host.verify("one"), "allowed");
    fs::remove_dir_all(host.proposal()).unwrap();
    let both = ["--fingerprint", &new.id(), "--fingerprint", &old.id()];
    let ended = host.import(&[&TRUST[..], &both].concat());
    assert!(
        ended.code == 0 && !ended.out.contains("left out"),
        "{ended:?}"
    );
    assert_eq!(host.verify("one"), "allowed");
    fs::remove_dir_all(host.proposal()).unwrap();
    let (code, shown) = typed(&host, &new.id());
    assert!(
        code == 1 && shown.contains("confirmed: notary-2"),
        "{shown}"
    );
}

#[test]
fn a_proposal_that_would_not_load_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    // So many registries that no number of fragments leaves a policy.toml that is small enough.
    let scope = |number: usize| {
        (
            format!("r{number:05}.example/team"),
            serde_json::json!([{ "type": "reject" }]),
        )
    };
    let docker: serde_json::Map<_, _> = (0..12_000).map(scope).collect();
    let policy = serde_json::json!({ "default": [{ "type": "reject" }], "transports": { "docker": docker } });
    fs::write(dir.path().join("policy.json"), policy.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args([
            "import",
            "--from",
            "containers-policy",
            "policy.json",
            "--out",
            "proposal",
        ])
        .current_dir(dir.path());
    let ended = run(command.env("HOME", dir.path()), b"");
    assert!(
        ended.code == 2
            && ended
                .err
                .contains("the proposal would not load: policy.toml")
            && ended.err.contains("nothing is written"),
        "{ended:?}"
    );
    // An import that shows no root begins with no empty line, and leaves no trial behind.
    assert!(ended.out.is_empty(), "{ended:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_format_all_that_the_host_has_is_read_and_a_configuration_is_known_by_its_name() {
    let host = Host::new().await;
    let nothing = host.import(&["--offline"]);
    assert!(
        nothing.code == 2 || nothing.out.contains("/etc/"),
        "{nothing:?}"
    );
    let _ = fs::remove_dir_all(host.proposal());
    let docker = host.dir.path().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    fs::rename(host.dir.path().join("trust"), docker.join("trust")).unwrap();
    let key = host.publisher.root_key().id();
    let ended = host.import(&["--offline", "--fingerprint", &key]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(host.verify("one"), "allowed");

    fs::remove_dir_all(host.proposal()).unwrap();
    let pinning = serde_json::json!({ "content-trust": { "mode": "enforced", "trust-pinning": { "root-keys": { "r.test/team/*": [key] } } } });
    fs::write(host.dir.path().join("daemon.json"), pinning.to_string()).unwrap();
    let ended = host.import(&["daemon.json", "--offline"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(host.verify("one"), "allowed");

    fs::remove_dir_all(host.proposal()).unwrap();
    let wrong = host.import(&["--from", "docker-daemon", "trust", "--offline"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(!host.proposal().exists());
}

/// Imports a policy.json that wants a key of everything of r.test, with these files beside it.
fn import_with(files: &[(&str, &str)], user: Option<u32>) -> (TempDir, Ended) {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures/keys");
    let dir = tempfile::tempdir().unwrap();
    let source = serde_json::json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.test": [{ "type": "sigstoreSigned", "keyPath": "team.pub" }],
    } } });
    fs::write(dir.path().join("policy.json"), source.to_string()).unwrap();
    fs::copy(format!("{data}/p256.pub"), dir.path().join("team.pub")).unwrap();
    for (file, text) in files {
        let file = dir.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    if user.is_some() {
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let closed = Permissions::from_mode(0o000);
        fs::set_permissions(dir.path().join("registries.conf.d"), closed).unwrap();
    }
    let ended = import_in(&dir, user);
    (dir, ended)
}

fn import_in(dir: &TempDir, user: Option<u32>) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["import", "--from", "containers-policy", "policy.json"])
        .args(["--out", "proposal"])
        .current_dir(dir.path());
    if let Some(user) = user {
        command.uid(user);
    }
    run(&mut command, b"")
}

fn explained(dir: &TempDir, name: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command.args(["policy", "explain", "--policy", "proposal", name]);
    run(command.current_dir(dir.path()), b"").out
}

const BLOCKED: &str = "[[registry]]\nlocation = \"r.test/bad\"\nblocked = true\n";

#[test]
fn what_registries_conf_blocks_is_refused_from_each_file_that_podman_reads() {
    for file in [
        "registries.conf",
        "registries.conf.d/a.conf",
        "registries.conf.d/.conf",
    ] {
        let (dir, ended) = import_with(&[(file, BLOCKED)], None);
        assert_eq!(ended.code, 0, "{file}: {ended:?}");
        assert!(
            ended
                .out
                .contains("refused: r.test/bad/**: registries.conf blocks it"),
            "{file}: {ended:?}"
        );
        assert!(!explained(&dir, "r.test/bad/app:v1").contains("cosign-1"));
        assert!(explained(&dir, "r.test/app:v1").contains("cosign-1"));
    }
    // What podman passes over counts nowhere.
    let (dir, ended) = import_with(&[("registries.conf.d/a.txt", BLOCKED)], None);
    assert!(ended.code == 0 && explained(&dir, "r.test/bad/app:v1").contains("cosign-1"));
    // Nor does it follow a link to the folder.
    fs::remove_dir_all(dir.path().join("proposal")).unwrap();
    fs::rename(
        dir.path().join("registries.conf.d"),
        dir.path().join("elsewhere"),
    )
    .unwrap();
    symlink("elsewhere", dir.path().join("registries.conf.d")).unwrap();
    let ended = import_in(&dir, None);
    assert!(
        ended.code == 0
            && ended
                .out
                .contains("registries.conf.d: all of it: it is no folder"),
        "{ended:?}"
    );
}

#[test]
fn what_is_there_and_cannot_be_read_or_is_refused_by_its_own_program_is_no_proposal() {
    for (file, text) in [
        ("registries.conf", "[[registry]]\n"),
        (
            "registries.conf.d/a.conf",
            "[registries.block]\nregistries = [\"r.test\"]\n",
        ),
        ("policy.json", "{\"default\":[]}"),
    ] {
        let (dir, ended) = import_with(&[(file, text)], None);
        assert!(
            ended.code == 2 && ended.err.contains(file) && ended.err.contains("refuse"),
            "{ended:?}"
        );
        assert!(!dir.path().join("proposal").exists());
    }
    let (dir, _) = import_with(&[("registries.conf.d/a.txt", "")], None);
    fs::remove_dir_all(dir.path().join("proposal")).unwrap();
    let round = dir.path().join("registries.conf.d/a.conf");
    symlink(&round, &round).unwrap();
    let ended = import_in(&dir, None);
    assert!(ended.code == 2 && ended.err.contains("a.conf"), "{ended:?}");
    // A link to nothing is passed over there, as a file that was just removed.
    fs::remove_file(&round).unwrap();
    symlink("nothing", &round).unwrap();
    assert_eq!(import_in(&dir, None).code, 0);

    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let rootpin = || Command::new(env!("CARGO_BIN_EXE_rootpin"));
    if rootpin().arg("version").uid(65534).output().is_err() {
        return;
    }
    let (dir, ended) = import_with(&[("registries.conf.d/a.conf", BLOCKED)], Some(65534));
    assert!(
        ended.code == 2 && ended.err.contains("registries.conf.d: Permission denied"),
        "{ended:?}"
    );
    assert!(!dir.path().join("proposal").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_no_trust_directory_and_a_part_of_one_that_is_not_read_are_told() {
    let host = Host::new().await;
    fs::create_dir(host.dir.path().join("empty")).unwrap();
    let ended = host.import(&["--from", "docker-trust-dir", "empty", "--offline"]);
    assert!(
        ended.code == 2 && ended.err.contains("there is no tuf in it"),
        "{ended:?}"
    );
    let key = host.publisher.root_key().id();
    let given = [&TRUST[..], &["--offline", "--fingerprint", &key]].concat();
    let ended = host.import(&given);
    assert!(
        ended.code == 0
            && ended
                .out
                .contains("confirmed: notary-1: by the fingerprint")
            && !ended.out.contains("nobody confirmed"),
        "{ended:?}"
    );
    fs::remove_dir_all(host.proposal()).unwrap();
    // A folder in the place of a file: it is there, and is not read.
    let another = host.dir.path().join("trust/tuf/r.test/other/metadata");
    fs::create_dir_all(another.join("root.json")).unwrap();
    let ended = host.import(&given);
    assert!(
        ended.code == 2 && ended.out.contains("r.test/other: root.json"),
        "{ended:?}"
    );
    assert_eq!(host.verify("one"), "allowed");
}

/// A folder with the first `json` block of a page under that name, and the page's transcript.
fn of_page(page: &str, file: &str) -> (TempDir, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = fs::read_to_string(format!("{root}/docs/{page}")).unwrap();
    let block = |language: &str| {
        let rest = text.split(&format!("```{language}\n")).nth(1).unwrap();
        rest.split("```").next().unwrap().to_owned()
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(file), block("json")).unwrap();
    (dir, block("console"))
}

/// Runs the transcript's command, which must say what the page says.
fn run_as_shown(dir: &TempDir, transcript: &str) {
    let (command, output) = transcript.split_once('\n').unwrap();
    let words: Vec<&str> = command
        .strip_prefix("$ rootpin ")
        .unwrap()
        .split(' ')
        .collect();
    let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    rootpin.args(words).current_dir(dir.path());
    let ended = run(rootpin.env("HOME", dir.path()), b"");
    assert!(ended.code == 0 && ended.out == output, "{}", ended.out);
    let mut check = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    check
        .args(["policy", "check", "proposal"])
        .current_dir(dir.path());
    let check = run(&mut check, b"");
    assert_eq!(check.code, 0, "{check:?}");
}

#[test]
fn the_pages_about_podman_and_notation_show_what_their_files_become() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures");
    let (dir, transcript) = of_page("from-containers-policy.md", "policy.json");
    for (key, file) in [("p256", "team.pub"), ("p384", "hub.pub")] {
        fs::copy(format!("{data}/keys/{key}.pub"), dir.path().join(file)).unwrap();
    }
    run_as_shown(&dir, &transcript);

    let (dir, transcript) = of_page("from-notation.md", "trustpolicy.json");
    let store = dir.path().join("truststore/x509/ca/acme");
    fs::create_dir_all(&store).unwrap();
    fs::copy(format!("{data}/certificates/ca.crt"), store.join("ca.crt")).unwrap();
    run_as_shown(&dir, &transcript);
}

/// Runs `rootpin import` at a terminal, and types a line once it asks for a fingerprint.
fn typed(host: &Host, line: &str) -> (i32, String) {
    all_typed(host, &[&format!("{line}\n")])
}

fn all_typed(host: &Host, answers: &[&str]) -> (i32, String) {
    let server = format!("http://127.0.0.1:{}", host.server.port);
    let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    rootpin
        .args(["import", "--server", &server, "--out", "proposal"])
        .args(TRUST)
        .current_dir(host.dir.path())
        .env("HOME", host.dir.path());
    let question = "by another way: ";
    crate::pin::terminal::all_answered(rootpin, "", question, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fingerprint_that_a_person_types_confirms_a_key_and_another_writes_nothing() {
    let host = Host::new().await;
    let (code, shown) = typed(&host, &Key::named("another's").id());
    assert!(
        code == 1 && shown.contains("is not the fingerprint of what was found"),
        "{shown}"
    );
    assert!(!host.proposal().exists());
    // An empty line leaves the key out.
    let (code, shown) = typed(&host, "");
    assert!(code == 1 && shown.contains("left out: notary-1"), "{shown}");
    assert_eq!(host.verify("one"), "no-rule");
    fs::remove_dir_all(host.proposal()).unwrap();
    let (code, shown) = typed(&host, &host.publisher.root_key().id());
    assert_eq!(code, 0, "{shown}");
    assert_eq!(host.verify("one"), "allowed");
}
