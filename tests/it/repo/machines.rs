//! Several machines, each with keys of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::{Org, digest};
use crate::world::run;

#[test]
fn a_delegated_key_signs_its_names_and_no_others_and_is_cut_off_without_touching_the_rest() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("main", "r.test/tool:1", "tool").code, 0);
    let ended = org.sign("team-a", "r.test/team/a/app:1", "one");
    assert!(
        ended.code == 0 && ended.out.contains("it waits for online"),
        "{ended:?}"
    );
    assert_eq!(
        org.verify("host", "r.test/team/a/app:1", "one"),
        "role-missing"
    );
    org.ok("main", &["refresh"]);
    assert_eq!(org.verify("host", "r.test/team/a/app:1", "one"), "allowed");
    let ended = org.sign("team-a", "r.test/team/b/app:1", "one");
    assert!(
        ended.code == 2 && ended.err.contains("none of this repository's names"),
        "{ended:?}"
    );
    org.ok("main", &["delegate", "remove", "team-a"]);
    assert_eq!(
        org.verify("host", "r.test/team/a/app:1", "one"),
        "no-statement"
    );
    assert_eq!(org.verify("host", "r.test/tool:1", "tool"), "allowed");
    let public = org.path("team-a/keys/team-a.pub").display().to_string();
    let add = [
        "delegate",
        "add",
        "team-a",
        "--key",
        &public,
        "--paths",
        "r.test/team/a/**",
    ];
    let said = org.ok("main", &add);
    assert!(said.contains("counts again, 1 name"), "{said}");
    assert_eq!(org.verify("host", "r.test/team/a/app:1", "one"), "allowed");
    // Another key: what the former one signed does not hold until it is signed anew.
    let other = org.key("bob", "bob");
    org.ok(
        "main",
        &[
            "delegate",
            "add",
            "team-a",
            "--key",
            &other,
            "--paths",
            "r.test/team/a/**",
        ],
    );
    assert_eq!(org.repo("main", &["status"]).code, 1);
}

#[test]
fn a_signer_is_cut_off_though_something_of_its_waits_and_though_it_signs_on() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    let name = [
        "sign",
        "r.test/team/a/app:2",
        "--digest",
        &digest("two"),
        "--length",
        "7",
        "--local",
    ];
    org.ok("team-a", &name);
    let said = org.ok("main", &["delegate", "remove", "team-a"]);
    assert!(said.contains("what waited for team-a is dropped"), "{said}");
    assert_eq!(org.repo("main", &["status"]).code, 0);
    assert_eq!(org.json("team-a", &["status"])["unpublished"], true);
    let said = org.ok("team-a", &["publish"]);
    assert!(said.contains("what waited for team-a is dropped"), "{said}");
    assert_eq!(org.json("team-a", &["status"])["unpublished"], false);
}

#[test]
fn what_waits_here_alone_is_dropped_though_the_place_has_moved_on() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    org.ok(
        "team-a",
        &[
            "sign",
            "r.test/team/a/app:1",
            "--digest",
            &digest("one"),
            "--length",
            "7",
            "--local",
        ],
    );
    assert_eq!(org.sign("main", "r.test/tool:1", "tool").code, 0);
    org.ok("team-a", &["approve", "team-a", "--drop"]);
    assert_eq!(
        org.json("team-a", &["status"])["waiting"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn one_role_is_delegated_to_once_and_a_signer_who_lists_another_s_keeps_nobody_from_publishing() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    org.delegated("team-b", "r.test/team/b/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    org.ok("main", &["refresh"]);
    let key = org.path("team-a/keys/team-a.pub").display().to_string();
    let add = |role: &str| {
        let words = [
            "delegate",
            "add",
            role,
            "--by",
            "team-a",
            "--key",
            &key,
            "--paths",
            "r.test/team/a/app",
        ];
        org.repo("team-a", &words)
    };
    for role in ["team-a", "team-b"] {
        let ended = add(role);
        assert!(
            ended.code == 2
                && ended
                    .err
                    .contains(&format!("targets delegates to {role} already")),
            "{ended:?}"
        );
    }
    // By a publisher of its own, which doesn't care.
    super::hostile::waits(&org, "team-a", |signed| {
        let key = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "00".repeat(32) } });
        let role = json!({ "name": "team-b", "keyids": ["00"], "threshold": 1, "terminating": true, "paths": ["*"] });
        signed["delegations"] = json!({ "keys": { "00": key }, "roles": [role] });
    });
    org.ok("main", &["refresh"]);
    assert_eq!(org.sign("team-b", "r.test/team/b/app:1", "one").code, 0);
    org.ok("main", &["refresh"]);
    assert_eq!(org.sign("main", "r.test/tool:1", "tool").code, 0);
    for name in ["r.test/team/b/app:1", "r.test/team/a/app:1"] {
        assert_eq!(org.verify("host", name, "one"), "allowed", "{name}");
    }
}

#[test]
fn who_may_sign_a_name_is_said_where_no_key_may() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    org.clone("other", "r.test/**");
    let ended = org.sign("other", "r.test/team/a/app:1", "one");
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .err
            .contains("hint: have it signed by one of those who may: targets: targets (")
            && ended.err.contains("team-a: team-a ("),
        "{ended:?}"
    );
}

#[test]
fn a_pattern_that_reaches_the_names_of_others_is_not_delegated() {
    let org = Org::founded();
    let public = org.key("alice", "alice");
    for pattern in ["r.test/**", "s.test/team/**", "r.test/*/app"] {
        let ended = org.repo(
            "main",
            &[
                "delegate", "add", "alice", "--key", &public, "--paths", pattern,
            ],
        );
        assert!(
            ended.code == 2 && ended.err.contains("hint: "),
            "{pattern}: {ended:?}"
        );
    }
    for role in [
        "targets",
        "latest",
        "rootpin-1",
        "a/b",
        "",
        "2.root",
        "10.targets",
    ] {
        let ended = org.repo(
            "main",
            &[
                "delegate",
                "add",
                role,
                "--key",
                &public,
                "--paths",
                "r.test/tool",
            ],
        );
        let code = if role.is_empty() { 64 } else { 2 };
        assert_eq!(ended.code, code, "{role}: {ended:?}");
    }
}

#[test]
fn machines_that_publish_at_the_same_moment_all_succeed_and_nothing_is_lost() {
    let org = Org::founded();
    let machines = ["one", "two", "three", "four"];
    for machine in machines {
        org.clone(machine, "r.test/**");
        for key in ["targets", "online"] {
            for kind in ["pem", "pub"] {
                let file = format!("{key}.{kind}");
                fs::copy(
                    org.path("main/keys").join(&file),
                    org.path(machine).join("keys").join(&file),
                )
                .unwrap();
            }
        }
    }
    std::thread::scope(|scope| {
        for machine in machines {
            let org = &org;
            scope.spawn(move || {
                for tag in ["1", "2"] {
                    let ended = org.sign(machine, &format!("r.test/team/{machine}:{tag}"), machine);
                    assert_eq!(ended.code, 0, "{machine}: {ended:?}");
                }
            });
        }
    });
    let listed = org.json("main", &["list"]);
    assert_eq!(listed["images"].as_array().unwrap().len(), 8, "{listed}");
    for machine in machines {
        assert_eq!(
            org.verify("host", &format!("r.test/team/{machine}:2"), machine),
            "allowed"
        );
    }
}

#[test]
fn the_same_name_signed_differently_by_two_machines_is_an_error_until_it_is_signed_again() {
    let org = Org::founded();
    org.clone("two", "r.test/**");
    for file in ["targets.pem", "targets.pub", "online.pem", "online.pub"] {
        fs::copy(
            org.path("main/keys").join(file),
            org.path("two/keys").join(file),
        )
        .unwrap();
    }
    org.ok(
        "two",
        &[
            "sign",
            "r.test/tool:1",
            "--digest",
            &digest("two"),
            "--length",
            "7",
            "--local",
        ],
    );
    org.ok(
        "two",
        &[
            "sign",
            "r.test/tool:2",
            "--digest",
            &digest("two"),
            "--length",
            "7",
            "--local",
        ],
    );
    assert_eq!(org.sign("main", "r.test/tool:1", "main").code, 0);
    let before = org.tree("two");
    let ended = org.repo("two", &["publish"]);
    assert!(
        ended.code == 2
            && ended.err.contains(&format!(
                "r.test/tool:1 was signed as {} by another machine",
                digest("main")
            )),
        "{ended:?}"
    );
    assert_eq!(org.tree("two"), before);
    assert_eq!(org.sign("two", "r.test/tool:1", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "two"), "allowed");
    assert_eq!(org.verify("host", "r.test/tool:2", "two"), "allowed");
}

#[test]
fn what_is_kept_here_is_published_later_together_with_what_others_published_meanwhile() {
    let org = Org::founded();
    org.clone("two", "r.test/**");
    for file in ["targets.pem", "targets.pub", "online.pem", "online.pub"] {
        fs::copy(
            org.path("main/keys").join(file),
            org.path("two/keys").join(file),
        )
        .unwrap();
    }
    org.ok(
        "two",
        &[
            "sign",
            "r.test/tool:2",
            "--digest",
            &digest("two"),
            "--length",
            "7",
            "--local",
        ],
    );
    assert_eq!(org.verify("host", "r.test/tool:2", "two"), "no-statement");
    assert!(
        org.json("two", &["status"])["unpublished"]
            .as_bool()
            .unwrap()
    );
    assert_eq!(org.sign("main", "r.test/tool:1", "main").code, 0);
    org.ok("two", &["publish"]);
    for (name, content) in [("r.test/tool:1", "main"), ("r.test/tool:2", "two")] {
        assert_eq!(org.verify("host", name, content), "allowed", "{name}");
    }
}

#[test]
fn two_of_three_keys_are_wanted_and_nobody_signs_unseen_what_another_has_put_there() {
    let org = Org::founded();
    let keys = [
        org.key("a", "alice"),
        org.key("b", "bob"),
        org.key("c", "carol"),
    ];
    org.ok(
        "main",
        &[
            "delegate",
            "add",
            "team",
            "--paths",
            "r.test/team/**",
            "--threshold",
            "2",
            "--key",
            &keys[0],
            &keys[1],
            &keys[2],
        ],
    );
    for machine in ["a", "b", "c"] {
        org.clone(machine, "r.test/**");
    }
    let ended = org.sign("a", "r.test/team/app:1", "one");
    assert!(
        ended.code == 0 && ended.out.contains("waits for 1 of bob ("),
        "{ended:?}"
    );
    let status = org.repo("b", &["status"]);
    assert!(
        status.code == 1
            && status.out.contains("team 1 waits for team of bob (")
            && status.out.contains("signed by alice ("),
        "{status:?}"
    );
    // Bob's own change would carry Alice's along.
    let ended = org.sign("b", "r.test/team/app:2", "two");
    assert!(
        ended.code == 2 && ended.err.contains("team waits with changes by alice ("),
        "{ended:?}"
    );
    let shown = org.ok("b", &["approve", "team", "--dry-run"]);
    assert!(
        shown.contains(&format!("+ team: r.test/team/app:1  {}", digest("one"))),
        "{shown}"
    );
    org.ok("b", &["approve", "team"]);
    org.ok("main", &["refresh"]);
    assert_eq!(org.verify("host", "r.test/team/app:1", "one"), "allowed");
    // Dropped instead.
    assert_eq!(org.sign("a", "r.test/team/app:3", "three").code, 0);
    org.ok("c", &["approve", "team", "--drop"]);
    assert_eq!(org.repo("c", &["status"]).code, 0);
}

#[test]
fn a_clone_begins_with_a_root_that_is_known_and_not_with_what_the_place_shows() {
    let org = Org::founded();
    let root = org.path("place/1.root.json").display().to_string();
    let ended = org.repo(
        "x",
        &[
            "clone",
            &org.place(),
            "x",
            "--root",
            &root,
            "--sha256",
            &"0".repeat(64),
            "--names",
            "r.test/**",
        ],
    );
    assert!(
        ended.code == 2 && ended.err.contains("wanted 0000"),
        "{ended:?}"
    );
    assert!(!org.path("x").exists());
}

#[test]
fn a_place_that_shows_an_older_state_or_none_is_refused() {
    let org = Org::founded();
    let old = org.tree("place");
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    fs::remove_dir_all(org.path("place")).unwrap();
    let ended = org.sign("main", "r.test/tool:2", "two");
    assert!(
        ended.code == 2 && ended.err.contains("has nothing, and was published to"),
        "{ended:?}"
    );
    fs::create_dir(org.path("place")).unwrap();
    for (path, bytes) in old {
        fs::write(path, bytes).unwrap();
    }
    let ended = org.sign("main", "r.test/tool:2", "two");
    assert!(
        ended.code == 2
            && ended.err.contains("rollback")
            && ended.err.contains("hint: the place shows an older state"),
        "{ended:?}"
    );
    fs::remove_dir_all(org.path("place")).unwrap();
    org.ok("main", &["publish"]);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
}

#[test]
fn an_interrupted_publish_leaves_the_old_state_whole_and_is_done_again() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
    // Each of the files that the next change writes is in the way once.
    for blocked in ["3.targets.json", "3.snapshot.json"] {
        let way = org.path("place").join(blocked);
        fs::create_dir(&way).unwrap();
        let ended = org.sign("main", "r.test/tool:1", "two");
        assert_eq!(ended.code, 2, "{blocked}: {ended:?}");
        fs::remove_dir(&way).unwrap();
        assert_eq!(
            org.verify("host", "r.test/tool:1", "one"),
            "allowed",
            "{blocked}"
        );
    }
    assert_eq!(org.sign("main", "r.test/tool:1", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:1", "two"), "allowed");
}

#[test]
fn a_second_place_that_fails_is_told_and_brought_up_later() {
    let org = Org::founded();
    let second = org.path("second");
    let place = format!("file://{}", second.display());
    let settings = org.path("main/repository.toml");
    let text = fs::read_to_string(&settings)
        .unwrap()
        .replace(&org.place(), &format!("{}\", \"{place}", org.place()));
    fs::write(&settings, text).unwrap();
    fs::write(&second, "no folder").unwrap();
    let ended = org.sign("main", "r.test/tool:1", "one");
    assert!(
        ended.code == 2 && ended.out.contains(&format!("not published at {place}")),
        "{ended:?}"
    );
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
    fs::remove_file(&second).unwrap();
    org.ok("main", &["publish"]);
    assert!(second.join("2.targets.json").exists());
}

#[test]
fn a_working_folder_and_its_keys_are_its_owners_alone() {
    let org = Org::founded();
    for name in ["main", "main/keys", "main/keys/targets.pem"] {
        let mode = fs::metadata(org.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

#[test]
fn what_is_published_is_for_everybody_to_read_whatever_the_umask_of_who_signs() {
    let org = Org::founded();
    let refresh = [
        env!("CARGO_BIN_EXE_rootpin"),
        "repo",
        "--repo",
        "main",
        "refresh",
    ];
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .args(refresh)
        .current_dir(org.path(""));
    let ended = run(shell.env("ROOTPIN_PASSPHRASE", "correct horse"), b"");
    assert!(
        ended.code == 0 && ended.out.contains("published"),
        "{ended:?}"
    );
    for name in ["timestamp.json", "2.snapshot.json"] {
        assert_eq!(
            fs::metadata(org.path("place").join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o644,
            "{name}"
        );
    }
}
