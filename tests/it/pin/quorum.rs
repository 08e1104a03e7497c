//! A quorum by command: a rule gets one more root, and asks for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::add::{policy, write};
use super::fingerprint;
use crate::publisher::Key;
use crate::world::{Ended, World};

impl World {
    /// Pins a key of that name for the names of a rule.
    fn pin_key(&self, id: &str, pattern: &str, more: &[&str]) -> Ended {
        let key = Key::named(id);
        let from = write(self, &format!("{id}.pub"), key.public_pem());
        let told = fingerprint(&key);
        let words = ["add", id, "--from", &from, "--fingerprint", &told];
        let source = ["--server", "https://n.example", "--role", "targets"];
        self.pin(&[&words[..], &source, &["--match", pattern], more].concat())
    }
}

fn pattern(world: &World) -> String {
    let policy = world.policy();
    let mut lines = policy.lines();
    let line = lines.find_map(|line| line.strip_prefix("match = "));
    line.unwrap().trim_matches('"').to_owned()
}

#[test]
fn a_rule_gets_its_second_root_and_asks_for_both_by_one_command() {
    let Some(world) = World::new("p-quorum") else {
        return;
    };
    let pattern = pattern(&world);
    let added = world.pin_key("second", &pattern, &["--quorum", "2"]);
    assert!(
        added.code == 0 && added.out.contains("second, of which 2 must say yes\n"),
        "{added:?}"
    );
    assert!(policy(&world).contains("\nquorum = 2\n"), "{added:?}");
    let folder = world.path("policy").display().to_string();
    let checked = world.rootpin(&["policy", "check", &folder]);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn a_quorum_that_the_roots_cannot_give_or_that_is_lower_than_the_rule_s_changes_nothing() {
    let Some(world) = World::new("p-no-quorum") else {
        return;
    };
    let pattern = pattern(&world);
    let before = policy(&world);
    for (of, roots) in [(pattern.as_str(), "2"), ("registry.example/new/**", "1")] {
        let refused = world.pin_key("second", of, &["--quorum", "3"]);
        let said = format!("with this root, {of} has {roots} of the 3 roots");
        assert!(
            refused.code == 64 && refused.err.contains(&said),
            "{refused:?}"
        );
        assert_eq!(policy(&world), before);
    }
    let added = world.pin_key("second", &pattern, &["--quorum", "2"]);
    assert_eq!(added.code, 0, "{added:?}");
    let before = policy(&world);
    let refused = world.pin_key("third", &pattern, &["--quorum", "1"]);
    assert!(
        refused.code == 64 && refused.err.contains("asks for 2 roots already"),
        "{refused:?}"
    );
    assert_eq!(policy(&world), before);
}

#[test]
fn a_root_that_is_added_without_a_quorum_says_what_to_write_for_one() {
    let Some(world) = World::new("p-quorum-hint") else {
        return;
    };
    let added = world.pin_key("second", &pattern(&world), &[]);
    assert!(
        added.code == 0
            && added.out.contains(
                "of which 1 must say yes; to ask for all, write quorum = 2 into the rule\n"
            ),
        "{added:?}"
    );
}

#[test]
fn a_rule_whose_roots_bind_the_tag_together_is_said_to_accept_moved_tags_for_nothing() {
    let Some(world) = World::new("p-quorum-unbound") else {
        return;
    };
    let key = crate::cosign::public_pem(7);
    let spki: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = STANDARD.decode(spki).unwrap();
    let told = rootpin_trust::image::Digest::of(&spki).hex();
    let from = write(&world, "builder.pub", &key);
    let pattern = "registry.example/web/**";
    let words = ["add", "builder", "--type", "cosign", "--from", &from];
    let rule = ["--fingerprint", &told, "--match", pattern, "--tags-unbound"];
    let added = world.pin(&[&words[..], &rule].concat());
    assert!(
        added.code == 0 && !added.out.contains("unbound-tags"),
        "{added:?}"
    );
    let added = world.pin_key("own", pattern, &["--quorum", "2"]);
    assert!(
        added.code == 0
            && added.out.contains("policy.toml:")
            && added.out.contains("unbound-tags: warning: ")
            && added.out.contains("    tags = \"unbound\"\n")
            && added.out.contains("hint: leave it out\n"),
        "{added:?}"
    );
    let text = policy(&world);
    let without = text.replacen("tags = \"unbound\"\n", "", 1);
    assert_ne!(text, without);
    std::fs::write(world.path("policy/policy.toml"), without).unwrap();
    let folder = world.path("policy").display().to_string();
    let checked = world.rootpin(&["policy", "check", &folder]);
    assert!(
        checked.code == 0 && !checked.out.contains("unbound-tags"),
        "{checked:?}"
    );
}
