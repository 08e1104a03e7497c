//! Whatever interrupts an edit, the old policy or the new one is there, whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use rootpin::policy_dir::{EditStep, Editing, Owner, PolicyDir, Proposal};
use rootpin_policy::load;

use crate::publisher::Key;
use crate::world::{World, run};

fn now() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

/// The world's policy with a second key in a file of its own.
fn proposal(world: &World) -> Proposal {
    let text = world
        .policy()
        .replace("\"]\nrole", "\", \"roots/second.pub\"]\nrole");
    let pinned = BTreeMap::from([(
        "roots/second.pub".to_owned(),
        Key::named("second").public_pem().into_bytes(),
    )]);
    Proposal {
        file: "policy.toml".to_owned(),
        text,
        pinned,
    }
}

fn keys(dir: &Path) -> usize {
    load(&PolicyDir::open(dir, Owner::Root), now())
        .unwrap()
        .roots["acme"]
        .keys
        .len()
}

#[test]
fn an_edit_that_is_interrupted_at_any_step_leaves_the_old_policy_whole() {
    let Some(world) = World::new("p-steps") else {
        return;
    };
    let dir = world.path("policy");
    let mut steps = Vec::new();
    for stop in 0.. {
        let _ = fs::remove_dir_all(dir.join("roots"));
        world.write_policy(&world.policy());
        let editing = Editing::begin(&dir, Owner::Root).unwrap();
        let mut taken = Vec::new();
        let result = editing
            .check(proposal(&world), now())
            .unwrap()
            .write_watched(&mut |step| {
                taken.push(step);
                if taken.len() > stop {
                    Err(io::Error::other("no space left"))
                } else {
                    Ok(())
                }
            });
        let text = fs::read_to_string(dir.join("policy.toml")).unwrap();
        if result.is_ok() {
            assert_eq!((text, keys(&dir)), (proposal(&world).text, 2));
            steps = taken;
            break;
        }
        // After the rename only the wait for the disk can fail.
        let renamed = taken.last() == Some(&EditStep::Sync);
        assert_eq!(
            (text == world.policy(), keys(&dir)),
            (!renamed, if renamed { 2 } else { 1 }),
            "{taken:?}"
        );
        let left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.iter()
                .all(|name| !name.to_string_lossy().ends_with(".new")),
            "{left:?}"
        );
    }
    assert_eq!(
        steps,
        [
            EditStep::Pin,
            EditStep::Look,
            EditStep::Backup,
            EditStep::Write,
            EditStep::Rename,
            EditStep::Sync
        ]
    );
    assert_eq!(
        fs::read_to_string(dir.join("policy.toml.bak")).unwrap(),
        world.policy()
    );
}

#[test]
fn what_a_killed_edit_leaves_behind_disturbs_neither_the_policy_nor_the_next_edit() {
    let Some(world) = World::new("p-killed") else {
        return;
    };
    let dir = world.path("policy");
    fs::create_dir(dir.join("roots")).unwrap();
    for (name, bytes) in [
        (".policy.toml.Ab1.new", &b"half"[..]),
        ("policy.d/.10.toml.Ab1.new", b"half"),
        ("roots/.x.new", b"half"),
    ] {
        fs::write(dir.join(name), bytes).unwrap();
    }
    fs::write(
        dir.join("roots/second.pub"),
        Key::named("second").public_pem(),
    )
    .unwrap();
    assert_eq!(keys(&dir), 1);
    let editing = Editing::begin(&dir, Owner::Root).unwrap();
    editing
        .check(proposal(&world), now())
        .unwrap()
        .write()
        .unwrap();
    assert_eq!(keys(&dir), 2);
    fs::write(
        dir.join("roots/second.pub"),
        Key::named("third").public_pem(),
    )
    .unwrap();
    let changed = editing
        .check(proposal(&world), now())
        .unwrap()
        .write()
        .unwrap_err()
        .to_string();
    assert!(
        changed.contains("roots/second.pub is not written"),
        "{changed}"
    );
}

#[test]
fn two_edits_at_once_are_one_too_many_and_a_hand_s_edit_meanwhile_is_not_written_over() {
    let Some(world) = World::new("p-lock") else {
        return;
    };
    let dir = world.path("policy");
    let editing = Editing::begin(&dir, Owner::Root).unwrap();
    assert!(
        Editing::begin(&dir, Owner::Root)
            .unwrap_err()
            .to_string()
            .contains("another edit")
    );
    let ended = world.pin(&["revoke", &Key::named("x").id(), "--reason", "x"]);
    assert!(
        ended.code == 2 && ended.err.contains("another edit"),
        "{ended:?}"
    );
    let text = editing.text("policy.toml").unwrap().unwrap();
    let checked = editing.check(proposal(&world), now()).unwrap();
    world.write_policy(&format!("{text}# by hand\n"));
    assert!(
        checked
            .write()
            .unwrap_err()
            .to_string()
            .contains("changed by somebody else")
    );
    assert!(
        fs::read_to_string(dir.join("policy.toml"))
            .unwrap()
            .ends_with("# by hand\n")
    );
    drop(editing);
    assert_eq!(
        world
            .pin(&["revoke", &Key::named("x").id(), "--reason", "x"])
            .code,
        0
    );
}

#[test]
fn a_proposal_that_does_not_load_and_a_folder_that_others_can_write_are_refused() {
    let Some(world) = World::new("p-check") else {
        return;
    };
    let dir = world.path("policy");
    let editing = Editing::begin(&dir, Owner::Root).unwrap();
    let mut broken = proposal(&world);
    broken.text.push_str("nonsense = 1\n");
    assert!(editing.check(broken, now()).is_err());
    let mut missing = proposal(&world);
    missing.pinned.clear();
    assert!(editing.check(missing, now()).is_err());
    fs::create_dir(dir.join("roots")).unwrap();
    fs::set_permissions(dir.join("roots"), fs::Permissions::from_mode(0o777)).unwrap();
    let findings = editing.check(proposal(&world), now()).unwrap_err();
    assert!(
        findings
            .iter()
            .any(|finding| finding.to_string().contains("roots can be written")),
        "{findings:?}"
    );
    assert!(Editing::begin(&world.path("none"), Owner::Root).is_err());
}

#[test]
fn mode_and_links_stay_as_they_were() {
    let Some(world) = World::new("p-mode") else {
        return;
    };
    let dir = world.path("policy");
    fs::rename(dir.join("policy.toml"), world.path("shared.toml")).unwrap();
    symlink("../shared.toml", dir.join("policy.toml")).unwrap();
    fs::set_permissions(world.path("shared.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let editing = Editing::begin(&dir, Owner::Root).unwrap();
    editing.text("policy.toml").unwrap();
    editing
        .check(proposal(&world), now())
        .unwrap()
        .write()
        .unwrap();
    assert!(
        fs::symlink_metadata(dir.join("policy.toml"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::metadata(world.path("shared.toml")).unwrap().mode() & 0o7777,
        0o600
    );
    assert!(world.path("shared.toml.bak").exists() && keys(&dir) == 2);
    assert_eq!(
        fs::metadata(dir.join("roots")).unwrap().mode() & 0o7777,
        0o755
    );
}

#[test]
fn the_months_between_are_lived_through_as_the_guide_off_docker_content_trust_says() {
    let guide = include_str!("../../../docs/from-docker-content-trust.md");
    let (_, section) = guide.split_once("### The months between\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let (_, rule) = section.split_once("```toml\n").unwrap();
    let (rule, steps) = rule.split_once("```\n").unwrap();
    let (_, last) = steps.split_once("\n3. ").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = |id: &str, digit: &str| {
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://{id}.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n",
            digit.repeat(64)
        )
    };
    let policy = folder.path().to_str().unwrap().to_owned();
    let rootpin = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        run(command.args(words).args(["--policy", &policy]), b"")
    };
    let write = |rule: &str| {
        let roots = root("notary-1", "1") + &root("trust", "2");
        let text = format!("version = 1\ndefault = \"deny\"\n{roots}{rule}");
        fs::write(folder.path().join("policy.toml"), text).unwrap();
        let explained = rootpin(&["policy", "explain", "registry.example/team/app:1"]);
        assert_eq!(explained.code, 0, "{explained:?}");
    };
    write(rule);
    assert!(steps.contains("write `quorum = 2` into that rule"));
    write(&format!("{rule}quorum = 2\n"));
    assert!(last.starts_with("Later, take `quorum` out of that rule again, and leave both roots"));
    write(rule);
    let (_, typed) = last.split_once("`rootpin pin ").unwrap();
    let (typed, _) = typed.split_once('`').unwrap();
    let words: Vec<&str> = ["pin"].into_iter().chain(typed.split(' ')).collect();
    let ended = rootpin(&words);
    assert_eq!(ended.code, 0, "{ended:?}");
    let text = fs::read_to_string(folder.path().join("policy.toml")).unwrap();
    assert!(
        text.contains("roots = [\"trust\"]") && !text.contains("notary-1"),
        "{text}"
    );
}
