//! The commands that hints name work as they are printed: in the folders, and by the socket, that
//! the refused command was given.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{folder, rootpin};
use crate::world::World;

/// A command, the one that its hint must name, how that one ends, and what it says.
const HINTED: &[(&str, &str, i32, &str)] = &[
    (
        "verify r.test/other/app:v1@{digest} --policy policy --state state",
        "rootpin policy explain --policy policy r.test/other/app:v1@{digest}",
        0,
        "needs  a [[rule]]",
    ),
    (
        "--control here.sock verify r.test/other/app:v1@{digest} --policy policy --state state",
        "rootpin policy explain --control here.sock --policy policy r.test/other/app:v1@{digest}",
        0,
        "needs  a [[rule]]",
    ),
    (
        "pin diff r.test/other --policy policy",
        "rootpin pin list --policy policy",
        0,
        "team",
    ),
    (
        "pin remove nope --policy policy",
        "rootpin pin list --policy policy",
        0,
        "team",
    ),
    (
        "bundle export --root nope --policy policy b",
        "rootpin pin list --policy policy",
        0,
        "team",
    ),
    (
        "state reset --root nope --yes --state state --policy policy",
        "rootpin pin list --policy policy",
        0,
        "team",
    ),
    (
        "bundle export --root nope --policy 'a policy' b",
        "rootpin pin list --policy 'a policy'",
        0,
        "team",
    ),
    (
        "pin list --policy 'a broken policy'",
        "rootpin policy check 'a broken policy'",
        1,
        "syntax",
    ),
    (
        "pin diff --policy notary",
        "rootpin pin diff --policy notary NAME",
        64,
        "",
    ),
    (
        "pin add more --policy policy --type cosign --from key.pub --match r.test/more/** --fingerprint {key}",
        "rootpin pin add more --policy policy --type cosign --from key.pub --match 'r.test/more/**' --fingerprint {key} --tags-unbound",
        0,
        "pinned for more",
    ),
];

/// Words as a shell has them.
fn words(typed: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in typed.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(
                part.split(' ')
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            );
        }
    }
    words
}

fn copy_policy(dir: &Path, to: &str) {
    fs::create_dir_all(dir.join(to).join("roots")).unwrap();
    for entry in fs::read_dir(dir.join("policy/roots")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(
            &from,
            dir.join(to).join("roots").join(from.file_name().unwrap()),
        )
        .unwrap();
    }
    fs::copy(
        dir.join("policy/policy.toml"),
        dir.join(to).join("policy.toml"),
    )
    .unwrap();
}

#[test]
fn each_command_in_a_hint_does_as_it_is_printed_what_the_hint_says() {
    let dir = folder("hints-typed");
    for made in ["state", "notary", "a broken policy"] {
        fs::create_dir_all(dir.join(made)).unwrap();
    }
    copy_policy(&dir, "a policy");
    let key = crate::cosign::public_pem(7);
    fs::write(dir.join("key.pub"), &key).unwrap();
    let spki: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = STANDARD.decode(spki).unwrap();
    let fingerprint = rootpin_trust::image::Digest::of(&spki).hex();
    let notary = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"n\"\ntype = \"notary\"\nserver = \"https://127.0.0.1:1\"\nkeys = [\"{}\"]\n\
         role = \"targets\"\n[[rule]]\nmatch = \"r.test/**\"\nroots = [\"n\"]\n",
        "1".repeat(64)
    );
    fs::write(dir.join("notary/policy.toml"), notary).unwrap();
    fs::write(dir.join("a broken policy/policy.toml"), "nonsense = \n").unwrap();
    let digest = rootpin_trust::image::Digest::of(b"an image").to_string();
    let filled = |text: &str| {
        text.replace("{digest}", &digest)
            .replace("{key}", &fingerprint)
    };
    let mut faults = Vec::new();
    for (typed, hinted, exit, says) in HINTED {
        let (typed, hinted) = (filled(typed), filled(hinted));
        let first = words(&typed);
        let refused = rootpin(&dir, &first.iter().map(String::as_str).collect::<Vec<_>>());
        let said = format!("{}{}", refused.out, refused.err);
        let mut hints = said.lines().filter(|line| line.contains("hint: "));
        if !hints.any(|line| line.contains(&hinted)) {
            faults.push(format!("{typed}\n  no {hinted} in {refused:?}"));
            continue;
        }
        let next = words(&hinted);
        let done = rootpin(
            &dir,
            &next[1..].iter().map(String::as_str).collect::<Vec<_>>(),
        );
        if done.code != *exit || !format!("{}{}", done.out, done.err).contains(says) {
            faults.push(format!("{hinted}\n  {done:?}"));
        }
        // Programs read the same.
        let json = [&["--json".to_owned()][..], &first].concat();
        if *exit != 64 && *says != "pinned for more" {
            let json = rootpin(&dir, &json.iter().map(String::as_str).collect::<Vec<_>>());
            if !json.out.contains(&hinted) {
                faults.push(format!("{typed}\n  no {hinted} in {json:?}"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn a_hint_of_the_daemon_asks_the_same_daemon() {
    let Some(world) = World::new("hints-daemon") else {
        return;
    };
    let _daemon = world.start();
    let name = "r.test/uncovered/app:v1";
    let refused = world.rootpin(&["verify", name]);
    let (_, command) = refused.out.split_once("`rootpin ").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    assert!(
        command.ends_with(name) && command.contains(" --control "),
        "{refused:?}"
    );
    let explained = rootpin(Path::new("."), &command.split(' ').collect::<Vec<_>>());
    assert!(
        explained.code == 0 && explained.out.contains(name),
        "{explained:?}"
    );
}
