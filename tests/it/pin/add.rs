//! Roots from files, root files and trust directories; keys and rules taken out, and revoked.

use std::fs;
use std::path::Path;

use super::{fingerprint, old_root, rotated, tuf};
use crate::publisher::Key;
use crate::world::{GUN, World, run};

const WEB: &str = "registry.example/web/**";

pub(super) fn write(world: &World, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = world.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

pub(super) fn policy(world: &World) -> String {
    fs::read_to_string(world.path("policy/policy.toml")).unwrap()
}

#[test]
fn one_command_makes_a_policy_that_loads_and_changes_nothing_else_of_it() {
    let Some(world) = World::new("p-new") else {
        return;
    };
    let text = format!(
        "# ours\n{}\n[local]   # last\ncontent = \"deny\" # no end of line",
        world.policy()
    );
    world.write_policy(&text);
    let key = Key::named("web");
    let from = write(&world, "web.pub", key.public_pem());
    let ca = write(
        &world,
        "ca.pem",
        include_bytes!("../../data/keys/root-app.crt"),
    );
    let words = [
        "add",
        "web",
        "--from",
        &from,
        "--server",
        "https://n.example",
        "--tls-ca",
        &ca,
        "--role",
        "targets",
        "--match",
        WEB,
    ];
    let told = fingerprint(&key);
    let given = [
        &words[..],
        &[
            "--match",
            "registry.example/web2",
            "--max-age",
            "72h",
            "--fingerprint",
            &told,
        ],
    ]
    .concat();
    let dry = world.pin(&[&given[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 0
            && dry.out.contains("\n+id = \"web\"\n")
            && dry.out.contains("new file roots/web-"),
        "{dry:?}"
    );
    assert!(policy(&world) == text && !world.path("policy/roots").exists());
    let (value, code) = world.pin_json(&given);
    assert_eq!(
        (code, &value["outcome"], &value["keys"][0]["id"]),
        (0, &"changed".into(), &key.id().into()),
        "{value}"
    );
    assert!(
        policy(&world).starts_with(&format!(
            "{text}\n\n[[root]]\nid = \"web\"\ntype = \"notary\"\n"
        )),
        "{}",
        policy(&world)
    );
    assert_eq!(
        fs::read_to_string(world.path("policy/policy.toml.bak")).unwrap(),
        text
    );
    assert_eq!(
        world
            .rootpin(&[
                "policy",
                "check",
                &world.path("policy").display().to_string()
            ])
            .code,
        0
    );
    let (listed, _) = world.pin_json(&["list"]);
    let web = listed["roots"]
        .as_array()
        .unwrap()
        .iter()
        .find(|root| root["id"] == "web")
        .unwrap();
    assert_eq!(
        (&web["keys"][0]["fingerprint"], &web["rules"][1]),
        (&fingerprint(&key).into(), &"registry.example/web2".into())
    );
    assert!(world.pin(&["list"]).out.contains("only the ID is pinned"));
}

/// What `pin` is called with, and the exit code.
type Called<'a> = Vec<(Vec<&'a str>, i32)>;

/// One of the words that a root needs is missing.
fn incomplete_words<'a>(from: &'a str, id: &'a str) -> Called<'a> {
    vec![
        (vec!["add", "web", "--fingerprint", id], 64),
        (
            vec![
                "add",
                "web",
                "--from",
                from,
                "--server",
                "https://n.example",
                "--role",
                "targets",
                "--fingerprint",
                id,
            ],
            64,
        ),
        (
            vec![
                "add",
                "web",
                "--from",
                from,
                "--server",
                "https://n.example",
                "--match",
                WEB,
                "--fingerprint",
                id,
            ],
            64,
        ),
        (
            vec![
                "add",
                "web",
                "--from",
                from,
                "--role",
                "targets",
                "--match",
                WEB,
                "--fingerprint",
                id,
            ],
            64,
        ),
        (
            vec![
                "add",
                "web",
                "--from",
                from,
                "--role",
                "targets",
                "--server",
                "https://n.example",
                "--match",
                WEB,
            ],
            64,
        ),
    ]
}

/// All are there, and one of them is none, or of another kind.
fn refused_words<'a>(
    [from, both, private, root]: [&'a str; 4],
    complete: &[&'a str],
    id: &'a str,
) -> Called<'a> {
    vec![
        (
            [&["add", "../web", "--from", from][..], complete].concat(),
            64,
        ),
        (
            [&["add", "acme", "--from", from][..], complete].concat(),
            64,
        ),
        (
            [
                &["add", "web", "--type", "tuf", "--from", from][..],
                complete,
            ]
            .concat(),
            64,
        ),
        (
            [
                &["add", "web", "--fragment", "../x.toml", "--from", from][..],
                complete,
            ]
            .concat(),
            64,
        ),
        ([&["add", "web", "--from", both][..], complete].concat(), 1),
        (
            [
                &["add", "web", "--match", "alpine", "--from", from][..],
                complete,
            ]
            .concat(),
            1,
        ),
        (
            [&["add", "web", "--from", private][..], complete].concat(),
            2,
        ),
        (
            [&["add", "web", "--from", "/no/such/file"][..], complete].concat(),
            2,
        ),
        (
            vec![
                "add",
                "tuf",
                "--from",
                root,
                "--match",
                WEB,
                "--fingerprint",
                id,
            ],
            1,
        ),
        (vec!["add", "acme", "--from", root, "--fingerprint", id], 64),
    ]
}

#[test]
fn without_all_that_a_root_needs_nothing_is_changed() {
    let Some(world) = World::new("p-lacks") else {
        return;
    };
    let from = write(&world, "web.pub", Key::named("web").public_pem());
    let (both, root) = (
        write(
            &world,
            "both.pub",
            [Key::named("web").public_pem(), old_root().public_pem()].concat(),
        ),
        tuf::root(1, &[1], &[1]),
    );
    let root = write(&world, "1.root.json", root);
    let private = write(
        &world,
        "private.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let id = Key::named("web").id();
    let before = world.policy_files();
    let complete = [
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--match",
        WEB,
        "--fingerprint",
        &id,
    ];
    let files = [from.as_str(), &both, &private, &root];
    let old = old_root().id();
    let incomplete = incomplete_words(&from, &id).into_iter();
    let all = incomplete
        .chain(refused_words(files, &complete, &id))
        .chain([
            (vec!["remove", "none"], 1),
            (vec!["remove", "acme"], 1),
            (vec!["remove", "acme", &old], 1),
            (vec!["remove", "acme", "none"], 1),
            (vec!["revoke", "none", "--reason", "x"], 64),
            (vec!["revoke", &id], 64),
            (vec!["revoke", &id, "--reason", ""], 64),
        ]);
    for (words, code) in all {
        let ended = world.pin(&words);
        assert!(
            ended.code == code && ended.out.is_empty(),
            "{words:?}: {ended:?}"
        );
        assert!(
            ended.err.contains("hint: ") || code == 64,
            "{words:?}: {ended:?}"
        );
        assert_eq!(world.policy_files(), before, "{words:?}");
    }
    world.write_policy("version = 1\n");
    let ended = world.pin(&[&["add", "web", "--from", &from][..], &complete].concat());
    assert!(
        ended.code == 2 && ended.err.contains("the policy does not load"),
        "{ended:?}"
    );
}

#[test]
fn a_tuf_root_is_pinned_by_its_file_or_by_all_of_its_keys_and_replaced_only_when_told() {
    let Some(world) = World::new("p-tuf") else {
        return;
    };
    let (first, second) = (tuf::root(1, &[1, 2], &[1]), tuf::root(2, &[3], &[1, 3]));
    let from = write(&world, "tuf/1.root.json", &first);
    let sha256 = |bytes: &[u8]| rootpin_trust::image::Digest::of(bytes).hex();
    let url = format!("file://{}", world.path("tuf").display());
    let words = [
        "add",
        "tuf",
        "--from",
        &from,
        "--match",
        WEB,
        "--metadata",
        &url,
    ];
    let (scanned, _) = world.pin_json(&["scan", &url]);
    let ids: Vec<_> = scanned["scanned"][0]["presented"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        world
            .pin(&[&words[..], &["--fingerprint", ids[0]]].concat())
            .code,
        1,
        "a root role with a key that nobody told"
    );
    assert_eq!(
        world
            .pin(
                &[
                    &words[..],
                    &[
                        "--fingerprint",
                        ids[0],
                        "--fingerprint",
                        ids[1],
                        "--dry-run"
                    ]
                ]
                .concat()
            )
            .code,
        0
    );
    let added = world.pin(&[&words[..], &["--fingerprint", &sha256(&first)]].concat());
    assert_eq!(added.code, 0, "{added:?}");
    assert!(
        policy(&world).contains(&format!(
            "sha256 = \"{}\"\nmetadata = [\"{url}\"]\n",
            sha256(&first)
        )),
        "{}",
        policy(&world)
    );
    fs::write(world.path("tuf/2.root.json"), &second).unwrap();
    let again = [
        "add",
        "tuf",
        "--scan",
        &url,
        "--fingerprint",
        &sha256(&second),
    ];
    assert_eq!(world.pin(&again).code, 64);
    let before = policy(&world);
    let replaced = world.pin(&[&again[..], &["--replace"]].concat());
    assert_eq!(replaced.code, 0, "{replaced:?}");
    let changed: Vec<_> = policy(&world)
        .lines()
        .map(str::to_owned)
        .filter(|line| !before.contains(line.as_str()))
        .collect();
    assert!(
        changed.len() == 2 && changed[1] == format!("sha256 = \"{}\"", sha256(&second)),
        "{changed:?}"
    );
    assert!(world.pin(&["list"]).out.contains(&sha256(&second)));
    // A root file that its own keys don't sign is none.
    let unsigned = write(&world, "unsigned.json", tuf::root(1, &[1], &[2]));
    let sum = sha256(&fs::read(&unsigned).unwrap());
    let ended = world.pin(&[
        "add",
        "other",
        "--from",
        &unsigned,
        "--match",
        "registry.example/other",
        "--fingerprint",
        &sum,
    ]);
    assert!(
        ended.code == 1 && ended.err.contains("would not load"),
        "{ended:?}"
    );
}

#[test]
fn a_scan_gives_the_root_file_that_was_told_not_the_newest() {
    let Some(world) = World::new("p-which") else {
        return;
    };
    let first = tuf::root(1, &[1], &[1]);
    write(&world, "tuf/1.root.json", &first);
    write(&world, "tuf/2.root.json", tuf::root(2, &[3], &[1, 3]));
    let url = format!("file://{}", world.path("tuf").display());
    let sum = rootpin_trust::image::Digest::of(&first).hex();
    let (value, code) = world.pin_json(&[
        "add",
        "tuf",
        "--scan",
        &url,
        "--match",
        WEB,
        "--fingerprint",
        &sum,
    ]);
    assert_eq!(
        (code, &value["root_file"]["root_version"]),
        (0, &1.into()),
        "{value}"
    );
    assert!(policy(&world).contains(&format!("metadata = [\"{url}\"]")));
}

#[test]
fn a_trust_directory_gives_the_root_keys_of_its_repositories_each_once() {
    let Some(world) = World::new("p-dir") else {
        return;
    };
    let data = |path: &str| {
        fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/data/notary")
                .join(path),
        )
        .unwrap()
    };
    for repository in ["app", "web"] {
        write(
            &world,
            &format!("trust/tuf/registry.example.com/acme/{repository}/metadata/root.json"),
            data(&format!("vectors/shared-root-key/{repository}/root.json")),
        );
    }
    let shared = "ef4fdd6bba80081ad3f32448e7c59f209033f48be943bf7366bc8aa2644481e5";
    let trust = world.path("trust").display().to_string();
    let new = [
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--match",
        "registry.example.com/acme/*",
        "--dry-run",
    ];
    let with = |words: &[&str]| {
        world.pin_json(&[&["add", "docker", "--from", &trust][..], words, &new].concat())
    };
    let (value, code) = with(&["--fingerprint", shared]);
    assert_eq!(
        (code, value["keys"].as_array().map(Vec::len)),
        (0, Some(1)),
        "two repositories under one root key: {value}"
    );
    // One more repository, poisoned on first use: its key was told by nobody.
    let poisoned = "trust/tuf/127.0.0.1:5000/dct/img26/metadata/root.json";
    write(
        &world,
        poisoned,
        data("server/dct-docker26/served/root.json"),
    );
    assert_eq!(with(&["--fingerprint", shared]).1, 1);
    assert_eq!(
        with(&[
            "--fingerprint",
            shared,
            "--gun",
            "registry.example.com/acme/web"
        ])
        .1,
        0
    );
    assert_eq!(
        with(&["--fingerprint", shared, "--gun", "127.0.0.1:5000/dct/img26"]).1,
        1
    );
    assert_eq!(with(&["--fingerprint", shared, "--gun", "none"]).1, 2);
    write(&world, poisoned, "{}");
    assert_eq!(with(&["--fingerprint", shared]).1, 2);
}

#[test]
fn fingerprints_come_by_a_pipe_too_and_a_fragment_is_made_where_it_is_named() {
    let Some(world) = World::new("p-pipe") else {
        return;
    };
    let (one, two) = (Key::named("one"), Key::named("two"));
    let from = write(
        &world,
        "web.pub",
        [one.public_pem(), two.public_pem()].concat(),
    );
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command.args([
        "pin",
        "add",
        "web",
        "--from",
        &from,
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--match",
        WEB,
    ]);
    command
        .args([
            "--fragment",
            "20-web.toml",
            "--fingerprint",
            "-",
            "--policy",
        ])
        .arg(world.path("policy"));
    let ended = run(
        &mut command,
        format!("{}\n\n{}\n", fingerprint(&one), two.id()).as_bytes(),
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(policy(&world), world.policy());
    let fragment = fs::read_to_string(world.path("policy/policy.d/20-web.toml")).unwrap();
    assert!(
        fragment.starts_with(&format!("[fragment]\nowns = \"{WEB}\"\n\n[[root]]\n")),
        "{fragment}"
    );
    // Taken out where it stands: the first key by its fingerprint, then the root with its rule.
    assert_eq!(world.pin(&["remove", "web", &fingerprint(&one)]).code, 0);
    assert!(
        !fs::read_to_string(world.path("policy/policy.d/20-web.toml"))
            .unwrap()
            .contains(&one.id()[..12])
    );
    let refused = world.pin(&["remove", "web"]);
    assert!(
        refused.code == 1
            && refused.err.contains("--with-rules")
            && refused.err.contains("would be refused"),
        "{refused:?}"
    );
    assert_eq!(world.pin(&["remove", "web", "--with-rules"]).code, 0);
    assert_eq!(
        fs::read_to_string(world.path("policy/policy.d/20-web.toml")).unwrap(),
        format!("[fragment]\nowns = \"{WEB}\"\n")
    );
}

#[test]
fn a_revoked_key_is_refused_and_pinned_no_more() {
    let Some((world, image)) = rotated("p-revoke") else {
        return;
    };
    let new = Key::named("new root");
    assert_eq!(
        world.pin(&["revoke", &new.id(), "--reason", "stolen"]).code,
        0
    );
    assert!(policy(&world).ends_with(&format!(
        "\n[[revoked]]\nkey = \"{}\"\nreason = \"stolen\"\n",
        new.id()
    )));
    let ended = world.pin(&["add", "acme", "--scan", GUN, "--fingerprint", &new.id()]);
    assert!(ended.code == 1 && ended.err.contains("stolen"), "{ended:?}");
    assert_eq!(world.judge(&image).0.as_deref(), Some("revoked"));
    let digest = &image.index.digest;
    assert_eq!(
        world
            .pin(&[
                "revoke",
                digest,
                "--reason",
                "CVE",
                "--fragment",
                "00-revoked.toml"
            ])
            .code,
        0
    );
    let fragment = fs::read_to_string(world.path("policy/policy.d/00-revoked.toml")).unwrap();
    assert_eq!(
        fragment,
        format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"CVE\"\n")
    );
}

#[test]
fn the_first_pin_of_a_host_makes_its_policy() {
    let Some(world) = World::new("p-first") else {
        return;
    };
    fs::remove_file(world.path("policy/policy.toml")).unwrap();
    let key = Key::named("web");
    let from = write(&world, "web.pub", key.public_pem());
    let ended = world.pin(&[
        "add",
        "web",
        "--from",
        &from,
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--match",
        WEB,
        "--fingerprint",
        &key.id(),
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(policy(&world).starts_with("version = 1\ndefault = \"deny\"\n\n[[root]]\n"));
    assert!(!world.path("policy/policy.toml.bak").exists());
}

#[test]
fn names_that_have_a_rule_get_a_second_root_by_one_command_and_keep_the_first() {
    let Some(world) = World::new("p-second") else {
        return;
    };
    let text = format!("{}\n# ours\n", world.policy());
    world.write_policy(&text);
    let key = Key::named("second");
    let from = write(&world, "second.pub", key.public_pem());
    let told = fingerprint(&key);
    let pattern = world
        .policy()
        .lines()
        .find_map(|line| line.strip_prefix("match = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let words = [
        "add",
        "second",
        "--from",
        &from,
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--fingerprint",
        &told,
    ];
    let added = world.pin(&[&words[..], &["--match", &pattern, "--match", WEB]].concat());
    assert!(
        added.code == 0
            && added
                .out
                .contains(&format!("the rule {pattern} has the roots ")),
        "{added:?}"
    );
    let (listed, _) = world.pin_json(&["list"]);
    let second = listed["roots"]
        .as_array()
        .unwrap()
        .iter()
        .find(|root| root["id"] == "second")
        .unwrap();
    assert_eq!(second["rules"], serde_json::json!([pattern, WEB]));
    assert_eq!(
        world
            .rootpin(&[
                "policy",
                "check",
                &world.path("policy").display().to_string()
            ])
            .code,
        0
    );
    assert!(
        policy(&world).contains(", \"second\"]") && policy(&world).contains("# ours\n"),
        "{}",
        policy(&world)
    );
}

#[test]
fn what_docker_calls_root_key_is_told_from_the_key_with_where_its_own_id_is() {
    let Some(world) = World::new("p-root-key") else {
        return;
    };
    let root = include_bytes!("../../data/notary/vectors/shared-root-key/app/root.json");
    let from = write(&world, "app.json", root);
    let file: serde_json::Value = serde_json::from_slice(root).unwrap();
    let root_key = file["signed"]["roles"]["root"]["keyids"][0]
        .as_str()
        .unwrap();
    let words = [
        "add",
        "web",
        "--from",
        &from,
        "--server",
        "https://n.example",
        "--role",
        "targets",
        "--match",
        WEB,
    ];
    let refused = world.pin(&[&words[..], &["--fingerprint", root_key]].concat());
    assert!(
        refused.code == 1
            && refused
                .err
                .contains("which docker trust inspect calls Root Key"),
        "{refused:?}"
    );
    assert!(
        refused
            .err
            .contains("grep -l 'role: root' ~/.docker/trust/private/*.key"),
        "{refused:?}"
    );
}
