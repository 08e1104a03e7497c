//! Other keys for roles, and hosts that slept meanwhile.

use std::fs;

use serde_json::{Value, json};

use super::{Org, digest};
use crate::world::run;

#[test]
fn hosts_that_slept_follow_two_rotations_of_every_role() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    assert_eq!(org.verify("early", "r.test/tool:1", "one"), "allowed");
    for role in ["root", "targets", "online", "root", "timestamp", "snapshot"] {
        org.ok("main", &["rotate", role]);
        assert_eq!(
            org.verify("awake", "r.test/tool:1", "one"),
            "allowed",
            "{role}"
        );
    }
    assert_eq!(org.sign("main", "r.test/tool:1", "two").code, 0);
    for host in ["early", "awake", "new"] {
        assert_eq!(
            org.verify(host, "r.test/tool:1", "two"),
            "allowed",
            "{host}"
        );
    }
}

#[test]
fn a_rotation_that_breaks_off_holds_for_who_has_the_old_root_and_is_done_again() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    for blocked in ["3.snapshot.json", "3.targets.json", "2.root.json"] {
        let way = org.path("place").join(blocked);
        fs::create_dir(&way).unwrap();
        let ended = org.repo(
            "main",
            &[
                "rotate",
                if blocked == "3.targets.json" {
                    "targets"
                } else {
                    "online"
                },
            ],
        );
        assert_eq!(ended.code, 2, "{blocked}: {ended:?}");
        fs::remove_dir(&way).unwrap();
        assert_eq!(
            org.verify("host", "r.test/tool:1", "one"),
            "allowed",
            "{blocked}"
        );
    }
    org.ok("main", &["rotate", "online"]);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
}

#[test]
fn a_root_of_three_holders_is_begun_and_replaced_by_a_file_that_travels() {
    let org = Org::new();
    let keys = [
        org.key("alice", "root-1"),
        org.key("bob", "root-2"),
        org.key("carol", "root-3"),
    ];
    fs::create_dir_all(org.path("main/keys")).unwrap();
    for key in &keys {
        fs::copy(
            key,
            org.path("main/keys").join(key.rsplit('/').next().unwrap()),
        )
        .unwrap();
    }
    let place = org.place();
    let init = [
        "init",
        "--names",
        "r.test/**",
        "--publish",
        &place,
        "--root-keys",
        "3",
        "--root-threshold",
        "2",
        "--holder",
        "root-1=alice",
    ];
    let out = org.ok("main", &init);
    assert!(out.contains("the new root waits for 2 of alice ("), "{out}");
    let file = org.path("main/root-proposal.json").display().to_string();
    let with = |holder: &str, key: &str| {
        org.path(holder)
            .join(format!("keys/{key}.pem"))
            .display()
            .to_string()
    };
    let ended = org.sign("main", "r.test/tool:1", "one");
    assert!(
        ended.code == 2 && ended.err.contains("the first root is not signed yet"),
        "{ended:?}"
    );
    org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &with("alice", "root-1"),
        ],
    );
    let ended = org.repo("main", &["rotate", "root", "--finish", &file]);
    assert!(
        ended.code == 2
            && ended.err.contains("1 signatures too few")
            && ended.err.contains("root-2 ("),
        "{ended:?}"
    );
    org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &with("carol", "root-3"),
        ],
    );
    org.ok("main", &["rotate", "root", "--finish", &file]);
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");

    // Bob leaves, Dave comes.
    let dave = org.key("dave", "dave");
    let file = org.path("next.json").display().to_string();
    let shown = org.repo(
        "main",
        &["rotate", "root", "--key", &dave, "--remove", "root-2"],
    );
    assert!(
        shown.code == 2 && shown.err.contains("hint: let their holders sign"),
        "{shown:?}"
    );
    org.ok(
        "main",
        &[
            "rotate",
            "root",
            "--key",
            &dave,
            "--remove",
            "root-2",
            "--propose",
            &file,
        ],
    );
    let shown = org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &with("alice", "root-1"),
        ],
    );
    assert!(
        shown.contains("+ root: key of dave (") && shown.contains("- root: key of root-2 ("),
        "{shown}"
    );
    let ended = org.repo(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &org.path("main/keys/online.pem").display().to_string(),
        ],
    );
    assert!(
        ended.code == 2 && ended.err.contains("no key of the old root or the new one"),
        "{ended:?}"
    );
    org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &with("dave", "dave"),
        ],
    );
    let ended = org.repo("main", &["rotate", "root", "--finish", &file]);
    assert!(
        ended.code == 2 && ended.err.contains("the old root has 1 signatures too few"),
        "{ended:?}"
    );
    org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &file,
            "--key-file",
            &with("carol", "root-3"),
        ],
    );
    org.ok("main", &["rotate", "root", "--finish", &file]);
    for host in ["host", "new"] {
        assert_eq!(
            org.verify(host, "r.test/tool:1", "one"),
            "allowed",
            "{host}"
        );
    }
    assert_eq!(org.json("main", &["status"])["newest_root"]["version"], 2);
    let ended = org.repo("main", &["rotate", "root", "--finish", &file]);
    assert_eq!(ended.code, 0, "done already: {ended:?}");
}

#[test]
fn who_signs_a_root_sees_all_of_it_whatever_the_file_says_was_before() {
    let org = Org::founded();
    let (file, key) = (
        org.path("next.json"),
        org.path("main/keys/root-1.pem").display().to_string(),
    );
    let name = file.display().to_string();
    let propose = ["rotate", "root", "--renew", "--propose", &name];
    let shown = org.ok("main", &[&propose[..], &["--dry-run"]].concat());
    assert!(
        shown.contains("nothing was signed") && !file.exists(),
        "{shown}"
    );
    org.ok("main", &propose);
    let again = org.repo("main", &propose);
    assert!(
        again.code == 2 && again.err.contains("may have been signed"),
        "{again:?}"
    );

    // Somebody on its way gives the targets another key, and says that it had it before.
    let online = org.json("main", &["key", "list"])["keys"][0]["keyid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut proposal: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for root in ["old", "new"] {
        proposal[root]["signed"]["roles"]["targets"]["keyids"] = json!([online]);
    }
    let changed = proposal.to_string();
    fs::write(&file, &changed).unwrap();
    let shown = org.ok(
        "-",
        &[
            "rotate",
            "root",
            "--sign",
            &name,
            "--key-file",
            &key,
            "--dry-run",
        ],
    );
    assert!(
        shown.contains(&format!("targets    1 of online ({online})"))
            && shown.contains("root 2 until "),
        "{shown}"
    );
    let ended = org.repo("main", &["rotate", "root", "--sign", &name]);
    assert!(
        ended.code == 2 && ended.err.contains("follows another root 1"),
        "{ended:?}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), changed, "signed");
}

#[test]
fn targets_are_not_given_to_keys_that_cannot_sign_them_here() {
    let org = Org::founded();
    let public = org.key("alice", "alice");
    let ended = org.repo("main", &["rotate", "targets", "--key", &public]);
    assert!(
        ended.code == 2
            && ended.err.contains("1 more must sign it")
            && ended.err.contains("alice ("),
        "{ended:?}"
    );
    org.ok("main", &["rotate", "targets", "--key", &public, "--keep"]);
    assert_eq!(org.sign("main", "r.test/tool:1", "tool").code, 0);
    org.ok("main", &["rotate", "targets", "--remove", "alice"]);
    assert_eq!(org.verify("host", "r.test/tool:1", "tool"), "allowed");
}

#[test]
fn a_machine_with_the_root_key_alone_renews_the_root() {
    let org = Org::founded();
    let online = org.without("main", "online");
    let targets = org.without("main", "targets");
    org.ok("main", &["rotate", "root", "--renew"]);
    assert_eq!(org.json("main", &["status"])["newest_root"]["version"], 2);
    let ended = org.repo(
        "main",
        &["rotate", "online", "--key", &org.key("x", "online-9")],
    );
    assert!(
        ended.code == 2
            && ended.err.contains("no key of the snapshot is here")
            && ended.err.contains("online-9 ("),
        "{ended:?}"
    );
    fs::rename(online, org.path("main/keys/online.pem")).unwrap();
    fs::rename(targets, org.path("main/keys/targets.pem")).unwrap();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
}

#[test]
fn what_is_signed_without_the_online_key_waits_at_the_place_until_a_machine_with_it_refreshes() {
    let org = Org::founded();
    org.clone("cron", "r.test/**");
    for file in ["online.pem", "online.pub"] {
        fs::copy(
            org.path("main/keys").join(file),
            org.path("cron/keys").join(file),
        )
        .unwrap();
    }
    org.without("main", "online");
    for tag in ["1", "2"] {
        let ended = org.sign("main", &format!("r.test/tool:{tag}"), tag);
        assert!(
            ended.code == 0 && ended.out.contains("it waits for online ("),
            "{ended:?}"
        );
    }
    assert_eq!(org.verify("host", "r.test/tool:1", "1"), "no-statement");
    let status = org.json("cron", &["status"]);
    assert_eq!(
        status["waiting"][0]["missing"]["role"], "snapshot",
        "{status}"
    );
    org.ok("cron", &["refresh", "--if-within", "1d"]);
    for tag in ["1", "2"] {
        assert_eq!(
            org.verify("host", &format!("r.test/tool:{tag}"), tag),
            "allowed"
        );
    }
    let again = org.ok("cron", &["refresh", "--if-within", "1d"]);
    assert!(again.contains("nothing to do"), "{again}");
    let renewed = org.ok("cron", &["refresh"]);
    assert!(renewed.contains("published at"), "{renewed}");
    let ended = org.repo("main", &["refresh"]);
    assert!(
        ended.code == 2 && ended.err.contains("no key of the snapshot is here"),
        "{ended:?}"
    );
}

#[test]
fn what_has_expired_is_told_and_renewed() {
    let org = Org::new();
    let place = org.place();
    org.ok(
        "main",
        &[
            "init",
            "--names",
            "r.test/**",
            "--publish",
            &place,
            "--expires",
            "timestamp=1s",
            "snapshot=1d",
        ],
    );
    let mut ended = org.repo("main", &["status"]);
    while ended.code == 0 {
        ended = org.repo("main", &["status"]);
    }
    assert!(
        ended.code == 1 && ended.out.contains("expired"),
        "{ended:?}"
    );
    let settings = org.path("main/repository.toml");
    fs::write(
        &settings,
        fs::read_to_string(&settings)
            .unwrap()
            .replace("\"1s\"", "\"1d\""),
    )
    .unwrap();
    org.ok("main", &["refresh", "--if-within", "1h"]);
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
    assert_eq!(org.repo("main", &["status"]).code, 0, "{}", digest("one"));
}

#[test]
fn a_root_that_is_over_soon_is_said_by_every_verb_that_reads_the_repository() {
    let org = Org::new();
    org.ok(
        "main",
        &[
            "init",
            "--names",
            "r.test/**",
            "--publish",
            &org.place(),
            "--expires",
            "root=20d",
        ],
    );
    let team = org.key("team", "team");
    let verbs: [&[&str]; 7] = [
        &[
            "sign",
            "r.test/tool:1",
            "--digest",
            &digest("one"),
            "--length",
            "7",
        ],
        &[
            "delegate",
            "add",
            "team",
            "--key",
            &team,
            "--paths",
            "r.test/team/*",
        ],
        &["delegate", "list"],
        &["refresh", "--dry-run"],
        &["list"],
        &["publish"],
        &["status"],
    ];
    for verb in verbs {
        let ended = org.repo("main", verb);
        assert!(
            ended.code == 0 && ended.err.contains("root 1 expires at 20"),
            "{verb:?}: {ended:?}"
        );
        assert!(
            ended.err.contains(": rootpin repo --repo ")
                && ended.err.contains(" rotate root --renew\n"),
            "{verb:?}: {ended:?}"
        );
    }
    assert_eq!(
        org.json("main", &["status"])["root"]["state"],
        "expires soon"
    );
    let settings = fs::read_to_string(org.path("main/repository.toml")).unwrap();
    fs::write(
        org.path("main/repository.toml"),
        settings.replace("20d", "365d"),
    )
    .unwrap();
    let renewed = org.repo("main", &["rotate", "root", "--renew"]);
    assert!(
        renewed.code == 0 && !renewed.err.contains("expires at"),
        "{renewed:?}"
    );
}

#[test]
fn a_rotation_asks_its_person_once() {
    let rotate = |early: &str, answer: &str| {
        let org = Org::founded();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .env("ROOTPIN_PASSPHRASE", "correct horse")
            .current_dir(org.path("."))
            .args(["repo", "--repo", "main", "rotate", "online"]);
        let (code, said) =
            crate::pin::terminal::answered(command, early, "sign this? [y/N] ", answer);
        assert_eq!(said.matches("sign this?").count(), 1, "{said}");
        (code, said, org.path("place/2.root.json").exists())
    };
    // What was typed before the question is no answer to it.
    let (code, said, is_rotated) = rotate("y\n", "n\n");
    assert!(
        code != 0 && said.contains("nothing was signed") && !is_rotated,
        "{said}"
    );
    let (code, said, is_rotated) = rotate("", "y\n");
    assert!(code == 0 && is_rotated, "{said}");
}

#[test]
fn a_stolen_key_is_revoked_on_a_host_by_each_way_in_which_rootpin_names_it() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    let listed = org.json("main", &["key", "list"]);
    let of = |name: &str, member: &str| {
        let keys = listed["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["name"] == name).unwrap();
        key[member].as_str().unwrap().to_owned()
    };
    for name in ["root-1", "targets", "online"] {
        let file = org
            .path(&format!("main/keys/{name}.pub"))
            .display()
            .to_string();
        for (way, what) in [("id", of(name, "keyid")), ("file", file)] {
            let host = format!("{name}-{way}");
            assert_eq!(
                org.verify(&host, "r.test/tool:1", "one"),
                "allowed",
                "{host}"
            );
            let policy = org.path(&format!("{host}-policy")).display().to_string();
            let mut revoke = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
            revoke.args([
                "pin", "revoke", &what, "--reason", "stolen", "--policy", &policy,
            ]);
            let ended = run(&mut revoke, b"");
            assert_eq!(
                (ended.code, ended.out.contains("no pinned root")),
                (0, false),
                "{ended:?}"
            );
            assert_eq!(
                org.verify(&host, "r.test/tool:1", "one"),
                "revoked",
                "{host}"
            );
        }
    }
    // A key that came later, which no pinned file has.
    org.ok("main", &["rotate", "targets"]);
    let listed = org.json("main", &["key", "list"]);
    let keys = listed["keys"].as_array().unwrap();
    let newest = keys
        .iter()
        .rfind(|key| key["name"].as_str().unwrap().starts_with("targets"));
    let keyid = newest.unwrap()["keyid"].as_str().unwrap();
    assert_eq!(org.verify("late", "r.test/tool:1", "one"), "allowed");
    let policy = org.path("late-policy").display().to_string();
    let mut revoke = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    revoke.args([
        "pin", "revoke", keyid, "--reason", "stolen", "--policy", &policy,
    ]);
    let ended = run(&mut revoke, b"");
    assert!(
        ended.code == 0 && ended.out.contains("no pinned root has this key"),
        "{ended:?}"
    );
    assert_eq!(org.verify("late", "r.test/tool:1", "one"), "revoked");
}
