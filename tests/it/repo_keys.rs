//! `rootpin repo key`: keys in files and in a token, and where their passphrases come from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::{Ended, run};

/// Debian's package softhsm2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

fn key(repo: &Path, words: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Ended {
    // In a session of its own there is no terminal to ask.
    let mut command = Command::new("setsid");
    command
        .args(["--wait", env!("CARGO_BIN_EXE_rootpin"), "repo", "key"])
        .args(words)
        .arg("--repo")
        .arg(repo);
    command
        .env_remove("ROOTPIN_PASSPHRASE")
        .envs(environment.iter().copied());
    run(&mut command, input)
}

fn names(repo: &Path) -> Vec<(String, Value, Value)> {
    let listed = key(repo, &["list", "--json"], &[], b"");
    let value: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!((listed.code, &value["version"]), (0, &Value::from(1)));
    let keys = value["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| {
            (
                key["name"].as_str().unwrap().to_owned(),
                key["type"].clone(),
                key["token"].clone(),
            )
        })
        .collect()
}

#[test]
fn a_passphrase_comes_from_a_private_file_standard_input_or_the_environment_and_from_nowhere_is_an_error()
 {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    fs::write(&file, "correct horse\n").unwrap();
    let given = file.to_str().unwrap();
    let exposed = key(
        dir.path(),
        &["generate", "a", "--passphrase-file", given],
        &[],
        b"",
    );
    assert!(
        exposed.code == 2 && exposed.err.contains("mode 0644"),
        "{exposed:?}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let from_file = key(
        dir.path(),
        &["generate", "a", "--passphrase-file", given],
        &[],
        b"",
    );
    assert!(
        from_file.code == 0 && from_file.out.contains("keys/a.pub"),
        "{from_file:?}"
    );
    let from_input = key(
        dir.path(),
        &["generate", "b", "--type", "ecdsa", "--passphrase-file", "-"],
        &[],
        b"battery\nstaple\n",
    );
    assert_eq!(from_input.code, 0, "{from_input:?}");
    assert_eq!(
        key(
            dir.path(),
            &["generate", "c"],
            &[("ROOTPIN_PASSPHRASE", "secret")],
            b""
        )
        .code,
        0
    );
    let nowhere = key(dir.path(), &["generate", "d"], &[], b"");
    assert_eq!(nowhere.code, 2);
    assert!(
        nowhere
            .err
            .starts_with("rootpin: no passphrase for d: there is no terminal to ask"),
        "{nowhere:?}"
    );
    assert!(
        nowhere.err.contains("\nhint: give --passphrase-file FILE"),
        "{nowhere:?}"
    );
    let empty = key(
        dir.path(),
        &["generate", "d", "--passphrase-file", "-"],
        &[],
        b"\n",
    );
    assert!(
        empty.code == 2 && empty.err.contains("is empty"),
        "{empty:?}"
    );
    let taken = key(dir.path(), &["generate", "a"], &[], b"");
    assert!(
        taken.code == 2 && taken.err.contains("is there already"),
        "{taken:?}"
    );
    let file = |name: &str, kind: &str| (name.to_owned(), kind.into(), Value::Null);
    assert_eq!(
        names(dir.path()),
        [
            file("a", "ed25519"),
            file("b", "ecdsa"),
            file("c", "ed25519")
        ]
    );
}

#[test]
fn a_passphrase_on_standard_input_is_what_it_is_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let file = dir.path().join("crlf");
    fs::write(&file, "secret\r\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        key(
            &repo,
            &["generate", "a", "--passphrase-file", "-"],
            &[],
            b"secret\r\n"
        )
        .code,
        0
    );
    assert!(
        rootpin::publish::key_file::PrivateKey::load(&repo.join("keys/a.pem"), "secret").is_ok()
    );
    let ended = key(
        &repo,
        &["generate", "b", "--passphrase-file", "-"],
        &[],
        &[b'x'; 5000],
    );
    assert!(
        ended.code == 2 && ended.err.contains("longer than 4095 bytes"),
        "{ended:?}"
    );
    assert!(!repo.join("keys/b.pem").exists());
}

#[test]
fn a_key_may_be_the_first_thing_in_a_folder_that_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let alice = dir.path().join("alice");
    let made = key(
        &alice,
        &["generate", "alice"],
        &[("ROOTPIN_PASSPHRASE", "secret")],
        b"",
    );
    assert!(
        made.code == 0 && alice.join("keys/alice.pub").is_file(),
        "{made:?}"
    );
    for folder in [&alice, &alice.join("keys")] {
        assert_eq!(
            fs::metadata(folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
    }
}

/// A token of `SoftHSM` with the label `acme` and the PIN 4321. Returns its configuration.
fn soft_token(dir: &Path) -> PathBuf {
    let conf = dir.join("softhsm2.conf");
    fs::create_dir(dir.join("tokens")).unwrap();
    fs::write(
        &conf,
        format!("directories.tokendir = {}\n", dir.join("tokens").display()),
    )
    .unwrap();
    let mut init = Command::new("softhsm2-util");
    init.env("SOFTHSM2_CONF", &conf).args([
        "--init-token",
        "--free",
        "--label",
        "acme",
        "--so-pin",
        "12345678",
        "--pin",
        "4321",
    ]);
    let ended = run(&mut init, b"");
    assert_eq!(
        ended.code, 0,
        "{ended:?}; the Debian package softhsm2 is wanted"
    );
    conf
}

#[test]
fn a_key_in_a_token_is_made_and_listed_there() {
    let dir = tempfile::tempdir().unwrap();
    let conf = soft_token(dir.path());
    let environment = [("SOFTHSM2_CONF", conf.to_str().unwrap())];
    let in_token = [
        "generate",
        "root-1",
        "--token",
        MODULE,
        "--token-label",
        "acme",
        "--passphrase-file",
        "-",
    ];
    let wrong = key(dir.path(), &in_token, &environment, b"0000\n");
    assert!(
        wrong.code == 2 && wrong.err.contains("the PIN is wrong"),
        "{wrong:?}"
    );
    let made = key(dir.path(), &in_token, &environment, b"4321\n");
    assert!(
        made.code == 0 && made.out.contains("in the token acme (/"),
        "{made:?}"
    );
    let place = Value::from(format!("acme ({MODULE})"));
    assert_eq!(
        names(dir.path()),
        [("root-1".to_owned(), "ecdsa".into(), place)]
    );
    let kept = fs::read_to_string(dir.path().join("keys/root-1.token")).unwrap();
    assert!(!kept.contains("4321"), "{kept}");
    // Another folder takes the same key up.
    let other = dir.path().join("other");
    let add = [
        "add",
        "signer",
        "--token",
        MODULE,
        "--token-label",
        "acme",
        "--token-key",
        "root-1",
        "--passphrase-file",
        "-",
    ];
    let added = key(&other, &add, &environment, b"4321\n");
    assert!(
        added.code == 0
            && added
                .out
                .starts_with("added signer (ecdsa) in the token acme (/"),
        "{added:?}"
    );
    assert_eq!(
        fs::read(other.join("keys/signer.pub")).unwrap(),
        fs::read(dir.path().join("keys/root-1.pub")).unwrap()
    );
    let none = key(
        &other,
        &[
            "add",
            "b",
            "--token",
            MODULE,
            "--token-label",
            "acme",
            "--token-key-id",
            "ff",
            "--passphrase-file",
            "-",
        ],
        &environment,
        b"4321\n",
    );
    assert!(
        none.code == 2
            && none
                .err
                .contains("0 of its private keys are meant; it has \"root-1\" (id "),
        "{none:?}"
    );
}

/// A private copy of a key of the tests' data; it opens by "passphrase".
fn private(dir: &Path, name: &str) -> String {
    let file = dir.join(name);
    fs::copy(
        format!(
            "{}/tests/data/keys/private/{name}",
            env!("CARGO_MANIFEST_DIR")
        ),
        &file,
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[test]
fn a_key_that_notary_or_docker_made_is_taken_up_as_it_is_and_signs() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, environment) = (
        dir.path().join("repo"),
        [("ROOTPIN_PASSPHRASE", "passphrase")],
    );
    for (name, file) in [
        ("targets", "notary.key"),
        ("online", "docker.key"),
        ("root-1", "p384.pem"),
    ] {
        let file = private(dir.path(), file);
        let wrong = key(
            &repo,
            &["add", name, "--file", &file],
            &[("ROOTPIN_PASSPHRASE", "wrong")],
            b"",
        );
        assert!(
            wrong.code == 2 && wrong.err.contains("can't be decrypted"),
            "{wrong:?}"
        );
        let added = key(&repo, &["add", name, "--file", &file], &environment, b"");
        assert!(
            added.code == 0 && added.out.starts_with(&format!("added {name} (ecdsa)\n")),
            "{added:?}"
        );
        assert_eq!(
            fs::read(repo.join(format!("keys/{name}.pem"))).unwrap(),
            fs::read(&file).unwrap()
        );
    }
    let mut init = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    init.envs(environment)
        .args(["repo", "init"])
        .arg(&repo)
        .args(["--names", "r.test/**", "--local", "--yes"]);
    let made = run(&mut init, b"");
    assert_eq!(made.code, 0, "{made:?}");
    // One that lies in the folder already, under Notary's extension, gets its public part.
    fs::copy(private(dir.path(), "ec.pem"), repo.join("keys/alice.key")).unwrap();
    let file = repo.join("keys/alice.key").display().to_string();
    let listed = key(&repo, &["list"], &[], b"");
    assert!(
        listed
            .err
            .contains(&format!("hint: rootpin repo key add alice --file {file}")),
        "{listed:?}"
    );
    assert_eq!(
        key(&repo, &["add", "alice", "--file", &file], &environment, b"").code,
        0
    );
    assert!(repo.join("keys/alice.pub").is_file() && !repo.join("keys/alice.pem").exists());
}

#[test]
fn a_private_key_of_openssh_is_taken_after_the_advice_was_followed_or_said_to_convert_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("ROOTPIN_PASSPHRASE", "passphrase")];
    for (kind, converts) in [("ecdsa", true), ("rsa", true), ("ed25519", false)] {
        let file = dir.path().join(kind).display().to_string();
        let made = ["-q", "-N", "passphrase", "-t", kind, "-f", &file];
        assert!(
            Command::new("ssh-keygen")
                .args(made)
                .status()
                .unwrap()
                .success()
        );
        let add = || {
            let words = ["add", kind, "--file", &file];
            key(&dir.path().join("repo"), &words, &environment, b"")
        };
        let refused = add();
        let advice = refused.err.split_once("convert a copy of it: ");
        assert_eq!(advice.is_some(), converts, "{refused:?}");
        let Some((_, command)) = advice else {
            assert!(refused.err.ends_with(" key generate NAME\n"), "{refused:?}");
            continue;
        };
        // It asks for the passphrases at a terminal.
        let command = format!("{} -P passphrase -N passphrase", command.trim());
        let done = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
        let added = add();
        assert_eq!(added.code, 0, "{added:?}");
    }
}

#[test]
fn a_key_file_that_can_not_be_used_costs_a_warning_and_never_the_verb() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("ROOTPIN_PASSPHRASE", "passphrase")];
    assert_eq!(
        key(dir.path(), &["generate", "good"], &environment, b"").code,
        0
    );
    let keys = dir.path().join("keys");
    fs::copy(private(dir.path(), "legacy.pem"), keys.join("old.pem")).unwrap();
    let forms = format!("{}/tests/data/keys/forms", env!("CARGO_MANIFEST_DIR"));
    fs::copy(format!("{forms}/plain.pub"), keys.join("old.pub")).unwrap();
    fs::copy(format!("{forms}/openssh.pub"), keys.join("ssh.pub")).unwrap();
    fs::copy(keys.join("good.pem"), keys.join("open.pem")).unwrap();
    fs::copy(keys.join("good.pub"), keys.join("open.pub")).unwrap();
    fs::set_permissions(keys.join("open.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(keys.join("my key.pub"), "").unwrap();
    let listed = key(dir.path(), &["list", "--json"], &[], b"");
    assert_eq!(listed.code, 0, "{listed:?}");
    for warned in [
        "the key old can't sign: ",
        "encrypted in the way of old OpenSSL; hint: convert it: openssl pkcs8 -topk8 -in ",
        "the key ssh is not used: ",
        "ssh-keygen -e -m PKCS8 -f FILE",
        "the key open can't sign: ",
        "has mode 0644",
        "my key.pub is not used: ",
    ] {
        assert!(listed.err.contains(warned), "{warned}: {}", listed.err);
    }
    let value: Value = serde_json::from_str(&listed.out).unwrap();
    let private: Vec<_> = value["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["name"].as_str().unwrap(), key["private"] == true))
        .collect();
    assert_eq!(private, [("good", true), ("old", false), ("open", false)]);
}
