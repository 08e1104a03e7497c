//! What a newcomer types wrong: each answer says what to type instead.

mod mistakes;
mod newcomer;
mod typed;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{Ended, Image, World, run};

/// A folder with a repository `team`, published at `place`, and a policy that pins it. Below the
/// build directory: policies in a folder that all may write are refused.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("policy")).unwrap();
    std::fs::write(dir.join("passphrase"), "words\n").unwrap();
    std::fs::set_permissions(
        dir.join("passphrase"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let place = format!("file://{}/place", dir.display());
    let made = rootpin(
        &dir,
        &[
            "repo",
            "init",
            "team",
            "--names",
            "r.test/team/**",
            "--publish",
            &place,
            "--passphrase-file",
            "passphrase",
        ],
    );
    assert_eq!(made.code, 0, "{made:?}");
    let root = std::fs::read(dir.join("team/root.json")).unwrap();
    let sha256 = rootpin_trust::image::Digest::of(&root).hex();
    let pinned = rootpin(
        &dir,
        &[
            "pin",
            "add",
            "team",
            "--policy",
            "policy",
            "--type",
            "tuf",
            "--from",
            "team/root.json",
            "--metadata",
            &place,
            "--match",
            "r.test/team/**",
            "--fingerprint",
            &sha256,
        ],
    );
    assert_eq!(pinned.code, 0, "{pinned:?}");
    dir
}

fn rootpin(dir: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    run(command.args(words).current_dir(dir), b"")
}

/// A command as it is typed, its exit code, and what its hint must say.
const WRONG: &[(&str, i32, &str)] = &[
    (
        "bundle export --root nope --policy policy b",
        2,
        "`rootpin pin list --policy policy`",
    ),
    (
        "bundle export --root team --policy nope b",
        2,
        "rootpin policy check nope",
    ),
    (
        "bundle export --root team --policy policy no/b",
        2,
        "mkdir -p no",
    ),
    (
        "bundle export --root team --policy policy --state policy/policy.toml b",
        2,
        "a directory of its own",
    ),
    ("bundle import no/bundle", 2, "ls no shows what is there"),
    ("bundle import nofile", 2, "ls . shows what is there"),
    ("bundle import policy", 2, "`rootpin bundle export`"),
    (
        "bundle import policy/policy.toml",
        2,
        "`rootpin bundle export`",
    ),
    (
        "state show --state nope",
        2,
        "state.redb in it, as --state /var/lib/rootpin",
    ),
    (
        "state show --state policy/policy.toml",
        2,
        "--state /var/lib/rootpin",
    ),
    (
        "state reset --unreadable --yes --state nope",
        2,
        "--state /var/lib/rootpin",
    ),
    (
        "state reset --contacts --yes --state nope",
        2,
        "--state /var/lib/rootpin",
    ),
    (
        "state reset --root nope --yes --state state --policy policy",
        2,
        "rootpin pin list --policy policy",
    ),
    (
        "state reset --root team --yes --state state --policy nope",
        2,
        "rootpin policy check nope",
    ),
    (
        "pin add x --policy policy --type tuf --from team/root.json --metadata file:///p --match r.test/x --fingerprint aaaa",
        64,
        "SHA256:… in full, or 64 hex digits",
    ),
    (
        "pin add x --policy policy --type tuf --from nofile --metadata file:///p --match r.test/x --fingerprint aaaa",
        64,
        "SHA256:… in full, or 64 hex digits",
    ),
    (
        "pin add x --policy policy --type notary --from team/root.json --server https://n.test --match r.test/x --fingerprint {sha256}",
        64,
        "--type tuf",
    ),
    (
        "pin add x --policy policy --type tuf --from team/root.json --metadata nonsense --match r.test/x --fingerprint {sha256}",
        1,
        "oci://REGISTRY/REPOSITORY",
    ),
    (
        "pin add x --policy policy --type tuf --from team/root.json --metadata file:///p --match *** --fingerprint {sha256}",
        1,
        "write the full form",
    ),
    ("pin list --policy nope", 2, "rootpin policy check nope"),
    (
        "pin diff r.test/other --policy policy",
        2,
        "rootpin pin list",
    ),
    ("pin remove nope --policy policy", 1, "rootpin pin list"),
    (
        "pin remove team aaaa --policy policy",
        1,
        "rootpin pin add --policy policy team --replace",
    ),
    (
        "pin revoke aaaa --reason lost --policy policy",
        64,
        "rootpin pin list",
    ),
    (
        "doctor --config nope",
        2,
        "install -D -m 0644 packaging/rootpin.toml /",
    ),
    (
        "install --config nope",
        2,
        "install -D -m 0644 packaging/rootpin.toml /",
    ),
    (
        "prove --config nope",
        2,
        "install -D -m 0644 packaging/rootpin.toml /",
    ),
    (
        "hosts write r.test --dir certs.d --config nope",
        2,
        "install -D -m 0644 packaging/rootpin.toml /",
    ),
    (
        "hosts check --dir certs.d --config nope",
        2,
        "without it: --resolver",
    ),
    (
        "doctor --config policy/policy.toml",
        2,
        "packaging/rootpin.toml",
    ),
    (
        "prove --config empty.toml --path nope",
        64,
        "rootpin.toml lists no engine",
    ),
    (
        "install --config empty.toml --engine nope",
        64,
        "--platform auto   # adds those of this host",
    ),
    (
        "doctor --config empty.toml --metrics no/metrics",
        2,
        "mkdir -p /",
    ),
    (
        "audit --config empty.toml --docker none --html no/page.html",
        2,
        "mkdir -p no",
    ),
    (
        "policy check policy/policy.toml",
        2,
        "name the policy's folder: /",
    ),
    (
        "policy check nope",
        2,
        "/nope/policy.toml, or have `rootpin pin add ID --policy /",
    ),
    (
        "policy explain r.test/x --policy nope",
        2,
        "/nope --from FILE --match PATTERN` write it",
    ),
    ("repo list --repo nope", 2, "rootpin repo init DIR"),
    (
        "repo key list --repo nope",
        2,
        "rootpin repo --repo nope key generate",
    ),
    (
        "repo key add x --repo team --file nofile",
        2,
        "ls . shows what is there",
    ),
    (
        "repo refresh --repo team --passphrase-file nofile",
        2,
        "ls . shows what is there",
    ),
    (
        "repo rotate root --repo team --sign nofile",
        2,
        "ls . shows what is there",
    ),
    (
        "repo rotate root --repo team --finish nofile",
        2,
        "ls . shows what is there",
    ),
    (
        "repo rotate root --repo team --renew --propose no/root.json",
        2,
        "mkdir -p no",
    ),
    (
        "repo delegate remove nope --repo team",
        2,
        "rootpin repo --repo team delegate list",
    ),
    (
        "repo revoke r.test/team/nope:1 --repo team",
        2,
        "rootpin repo --repo team list",
    ),
    (
        "repo init new --names r.test/** --publish oci://127.0.0.1:1/x --passphrase-file passphrase",
        2,
        "right? then rootpin repo init new --names 'r.test/**' --publish oci://127.0.0.1:1/x --passphrase-file passphrase",
    ),
    (
        "repo clone file:///nowhere copy --root nofile --sha256 {sha256} --names r.test/**",
        2,
        "its DIR/root.json",
    ),
];

#[test]
fn what_is_typed_wrong_is_answered_with_what_to_type() {
    let dir = folder("hints");
    std::fs::create_dir(dir.join("state")).unwrap();
    std::fs::write(dir.join("empty.toml"), "").unwrap();
    let root = std::fs::read(dir.join("team/root.json")).unwrap();
    let sha256 = rootpin_trust::image::Digest::of(&root).hex();
    let mut faults = Vec::new();
    for (typed, exit, wanted) in WRONG {
        let typed = typed.replace("{sha256}", &sha256);
        let words: Vec<&str> = typed.split(' ').collect();
        let ended = rootpin(&dir, &words);
        // A judgement and a finding are on standard output, with their hints.
        let said = format!("{}{}", ended.out, ended.err);
        let hinted = said
            .lines()
            .any(|line| line.starts_with("hint: ") && line.contains(wanted));
        if ended.code != *exit || !hinted || said.contains(" at path ") {
            faults.push(format!("{typed}\n{}: {said}", ended.code));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(!dir.join("nope").exists(), "a mistyped folder was made");
}

#[test]
fn a_policy_s_file_in_place_of_its_folder_is_one_mistake_and_its_findings_are_printed_once() {
    let dir = folder("hints-once");
    let ended = rootpin(&dir, &["policy", "check", "policy/policy.toml"]);
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        ended.code == 2
            && said.contains("1 error, 0 warnings")
            && said.contains("name the policy's folder: "),
        "{ended:?}"
    );
    std::fs::create_dir(dir.join("odd")).unwrap();
    std::fs::write(dir.join("odd/policy.toml"), "version = 2\n").unwrap();
    for words in [
        &["policy", "lint", "odd"][..],
        &["policy", "diff", "policy", "odd"],
        &["policy", "explain", "r.test/x", "--policy", "odd"],
    ] {
        let ended = rootpin(&dir, words);
        assert_eq!(ended.code, 2, "{words:?}: {ended:?}");
        assert!(
            ended.out.contains("\nhint: ") && ended.err.contains("rootpin: the policy in odd has "),
            "{words:?}: {ended:?}"
        );
        assert!(!ended.err.contains("hint: "), "{words:?}: {ended:?}");
    }
}

#[test]
fn an_error_of_the_state_names_its_path_once() {
    let dir = folder("hints-state");
    std::fs::create_dir_all(dir.join("state/other")).unwrap();
    let ended = rootpin(&dir, &["state", "show", "--state", "state"]);
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        ended.code == 2 && said.contains("yet state.redb is not in it"),
        "{ended:?}"
    );
    assert_eq!(said.matches("state:").count(), 1, "{ended:?}");
}

#[test]
fn rootpind_without_its_configuration_says_which_command_puts_one_there() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
    let ended = run(command.args(["--config", "/no/such/file"]), b"");
    let hint = "hint: in rootpin's source: install -D -m 0644 packaging/rootpin.toml /no/such/file";
    assert_eq!(ended.code, 78, "{ended:?}");
    assert!(ended.err.contains(hint), "{ended:?}");
}

#[test]
fn the_commands_in_what_repo_says_work_in_the_folder_that_was_given() {
    let dir = folder("hints-repo");
    let digest = rootpin_trust::image::Digest::of(b"x").to_string();
    let sign = [
        "repo",
        "--repo",
        "team",
        "sign",
        "r.test/team/app:v1",
        "--digest",
        &digest,
        "--length",
        "1",
        "--local",
        "--passphrase-file",
        "passphrase",
    ];
    let ended = rootpin(&dir, &sign);
    let kept = "kept here; rootpin repo --repo team publish brings it to the places";
    assert!(ended.code == 0 && ended.out.contains(kept), "{ended:?}");
    let ended = rootpin(&dir, &["repo", "status", "--repo", "team"]);
    let unpublished = "; rootpin repo --repo team publish brings it to the places";
    assert!(ended.out.contains(unpublished), "{ended:?}");
    let propose = ["rotate", "root", "--renew", "--propose", "new.json"];
    let ended = rootpin(&dir, &[&["repo", "--repo", "team"][..], &propose].concat());
    // Whoever signs it has another folder, or none.
    let each = "each of them: rootpin repo rotate root --sign new.json --key-file KEY.pem";
    assert!(ended.code == 0 && ended.out.contains(each), "{ended:?}");
    let sign = ["--sign", "new.json", "--passphrase-file", "passphrase"];
    let signing = [&["repo", "--repo", "team", "rotate", "root"][..], &sign].concat();
    let ended = rootpin(&dir, &signing);
    let finish = "then: rootpin repo --repo team rotate root --finish new.json";
    assert!(ended.code == 0 && ended.out.contains(finish), "{ended:?}");
}

#[test]
fn the_daemons_socket_is_an_option_of_the_verbs_that_ask_it() {
    let asks = [
        "status",
        "verify",
        "audit",
        "doctor",
        "prove",
        "sweep",
        "policy explain",
        "policy reload",
        "bundle import",
        "state show",
        "state reset",
        "state acknowledge",
        "metrics",
        "break-glass",
        "support",
    ];
    let does_not = [
        "verify-file",
        "install",
        "policy check",
        "pin list",
        "pin add",
        "bundle export",
        "hosts write",
        "hosts check",
        "repo list",
        "repo key generate",
    ];
    let all = asks.iter().map(|verb| (verb, true));
    for (verb, shown) in all.chain(does_not.iter().map(|verb| (verb, false))) {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let help = rootpin(Path::new("."), &words);
        assert_eq!(help.out.contains("--control <"), shown, "{verb}: {help:?}");
    }
    let taken = rootpin(
        Path::new("."),
        &["policy", "check", "/nope", "--control", "/x"],
    );
    assert_eq!(taken.code, 2, "{taken:?}");
}

#[test]
fn a_name_that_the_policy_says_nothing_of_is_refused_and_its_registry_is_not_asked() {
    let Some(world) = World::new("hints-no-rule") else {
        return;
    };
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    registry.set_nonblocking(true).unwrap();
    let name = format!("{}/team/app:v1", registry.local_addr().unwrap());
    let _daemon = world.start();
    let (policy, state) = (world.path("policy"), world.path("own-state"));
    let here = [
        "--policy",
        policy.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ];
    for more in [&[][..], &here] {
        let (judgement, exit) = world.rootpin_json(&[&["verify", &name][..], more].concat());
        assert_eq!(
            (&judgement["code"], exit),
            (&"no-rule".into(), 1),
            "{judgement}"
        );
    }
    // What is only audited is judged in the same way.
    let audited = world
        .policy()
        .replacen("default", "mode = \"audit\"\ndefault", 1);
    std::fs::write(policy.join("policy.toml"), audited).unwrap();
    let (judgement, exit) = world.rootpin_json(&[&["verify", &name][..], &here].concat());
    assert_eq!(
        (&judgement["code"], exit),
        (&"no-rule".into(), 1),
        "{judgement}"
    );
    std::fs::write(policy.join("policy.toml"), "nonsense").unwrap();
    let (judgement, exit) = world.rootpin_json(&[&["verify", &name][..], &here].concat());
    assert_eq!(
        (&judgement["code"], exit),
        (&"policy-unusable".into(), 2),
        "{judgement}"
    );
    let asked = registry.accept().unwrap_err().kind();
    assert_eq!(asked, std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_engine_that_does_not_answer_turns_the_status_red() {
    let Some(world) = World::new("hints-away") else {
        return;
    };
    let listens = world.path("containerd").display().to_string();
    let away = world.path("away").display().to_string();
    let _daemon = world.start_ready(&world.config().replacen(&listens, &away, 1));
    let gate = world.door("gate");
    let detail = gate["detail"].as_str().unwrap();
    assert!(detail.contains("containerd does not answer"), "{gate}");
    let ended = world.rootpin(&["status"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let told = "NOT IN ORDER: main does not answer";
    assert!(ended.out.contains(told), "{ended:?}");
}

#[test]
fn a_state_that_is_in_use_is_not_said_to_be_new() {
    let Some(world) = World::new("hints-in-use") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let _daemon = world.start();
    let state = world.path("state").display().to_string();
    let ended = world.rootpin(&["state", "reset", "--unreadable", "--yes", "--state", &state]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("in use by another rootpin"), "{ended:?}");
    assert!(!ended.err.contains("a new state"), "{ended:?}");
}

#[test]
fn a_sweep_without_a_policy_says_so() {
    let Some(world) = World::new("hints-sweep") else {
        return;
    };
    world.write_policy("nonsense");
    let _daemon = world.start();
    let ended = world.rootpin(&["sweep"]);
    let told = "no policy is in force, so nothing was judged; hint: rootpin status";
    assert!(ended.code == 2 && ended.out.contains(told), "{ended:?}");
}
