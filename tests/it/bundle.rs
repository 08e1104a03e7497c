//! `rootpin bundle`: metadata carried to a host that no place answers.

use std::fs;
use std::path::Path;
use std::process::Command;

use rootpin_trust::image::Digest;
use serde_json::Value;

use crate::repo::{Org, digest};
use crate::world::{World, run};

/// Writes a policy that pins the organisation's root.
fn pin(org: &Org, policy: &Path, metadata: &str) {
    let root = fs::read(org.path("main/root.json")).unwrap();
    fs::create_dir_all(policy.join("roots")).unwrap();
    fs::write(policy.join("roots/org.json"), &root).unwrap();
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"org\"\ntype = \"tuf\"\nfile = \"roots/org.json\"\nsha256 = \"{}\"\n{metadata}\n\
         recheck = \"0s\"\n[[rule]]\nmatch = \"r.test/**\"\nroots = [\"org\"]\n",
        Digest::of(&root).hex()
    );
    fs::write(policy.join("policy.toml"), text).unwrap();
}

fn rootpin(words: &[&str]) -> (i32, Value) {
    let ended = run(
        Command::new(env!("CARGO_BIN_EXE_rootpin"))
            .args(words)
            .arg("--json"),
        b"",
    );
    (
        ended.code,
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{words:?}: {ended:?}")),
    )
}

#[test]
fn a_bundle_of_a_pinned_root_is_written_without_a_word_and_of_another_not_at_all() {
    let org = Org::founded();
    let shown = |name: &str| org.path(name).display().to_string();
    assert_eq!(org.sign("main", "r.test/team/app:1", "one").code, 0);
    pin(
        &org,
        &org.path("online"),
        &format!("metadata = [\"{}\"]", org.place()),
    );
    let online = shown("online");
    let again = shown("again");
    let words = [
        "bundle", "export", "--root", "org", "--policy", &online, &again,
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let ended = run(command.args(words), b"");
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (0, ""),
        "no state is new that nobody keeps"
    );
    let (code, none) = rootpin(&[
        "bundle",
        "export",
        "--root",
        "other",
        "--policy",
        &online,
        &shown("none"),
    ]);
    assert!(
        code == 2 && none["code"] == "policy-unusable" && !org.path("none").exists(),
        "{none}"
    );
}

#[test]
fn a_bundle_goes_from_a_host_with_a_network_to_a_running_daemon_and_to_a_state_folder_without() {
    let Some(world) = World::new("b-daemon") else {
        return;
    };
    let org = Org::founded();
    let shown = |name: &str| org.path(name).display().to_string();
    let name = format!("r.test/team/app:1@{}", digest("one"));
    assert_eq!(org.sign("main", "r.test/team/app:1", "one").code, 0);
    pin(
        &org,
        &org.path("online"),
        &format!("metadata = [\"{}\"]", org.place()),
    );
    let (online, file) = (shown("online"), shown("org.bundle"));
    let (code, exported) = rootpin(&[
        "bundle", "export", "--root", "org", "--policy", &online, &file,
    ]);
    assert_eq!(
        (code, &exported["root"], &exported["failed"]),
        (0, &"org".into(), &Value::Array(Vec::new())),
        "{exported}"
    );

    pin(&org, &world.path("policy"), "");
    let daemon = world.start();
    assert_eq!(
        world.rootpin_json(&["verify", &name]).0["code"],
        "source-unreachable"
    );
    let (imported, code) = world.rootpin_json(&["bundle", "import", &file]);
    assert_eq!(
        (code, &imported["outcome"], &imported["roots"][0]["id"]),
        (0, &"imported".into(), &"org".into()),
        "{imported}"
    );
    assert_eq!(
        world.rootpin_json(&["verify", &name]).0["outcome"],
        "allowed"
    );
    let again = world.rootpin(&["bundle", "import", &file]);
    assert!(
        again.code == 0
            && again
                .out
                .contains("imported for root org: timestamp 2, 0 new files"),
        "{again:?}"
    );

    // What its publisher took back since is taken back by the next bundle, and the old one can't
    // undo that.
    org.ok("main", &["revoke", "r.test/team/app:1"]);
    let newer = shown("newer.bundle");
    assert_eq!(
        rootpin(&[
            "bundle", "export", "--root", "org", "--policy", &online, &newer
        ])
        .0,
        0
    );
    assert_eq!(
        world
            .rootpin_json(&["bundle", "import", "--root", "org", &newer])
            .1,
        0
    );
    assert_eq!(
        world.rootpin_json(&["verify", &name]).0["code"],
        "no-statement"
    );
    let (refused, code) = world.rootpin_json(&["bundle", "import", &file]);
    assert_eq!(
        (code, &refused["outcome"], &refused["code"]),
        (1, &"refused".into(), &"rollback".into())
    );

    fs::write(org.path("torn.bundle"), &fs::read(&file).unwrap()[..2000]).unwrap();
    let torn = world.rootpin(&["bundle", "import", &shown("torn.bundle")]);
    assert!(torn.code == 2 && torn.err.contains("no bundle"), "{torn:?}");
    assert_eq!(daemon.stop().0, 0);

    pin(&org, &org.path("alone"), "");
    let (policy, state) = (shown("alone"), shown("alone-state"));
    let here = ["--policy", &policy, "--state", &state];
    assert_eq!(
        rootpin(&[&["bundle", "import", &file][..], &here].concat()).0,
        0
    );
    assert_eq!(
        rootpin(&[&["verify", &name][..], &here].concat()).1["outcome"],
        "allowed"
    );
}
