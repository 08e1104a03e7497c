//! A refusal for an unknown key tells the command that pins it, without a fingerprint: alone it
//! pins nothing.

use super::{fingerprint, rotated, tuf};
use crate::publisher::Key;
use crate::world::World;

/// The words of the command that the hint ends with.
fn command(hint: &str) -> Vec<String> {
    let (_, command) = hint
        .rsplit_once(": rootpin ")
        .unwrap_or_else(|| panic!("no command in {hint:?}"));
    let (command, _) = command.split_once("   # ").unwrap();
    command.split(' ').map(str::to_owned).collect()
}

fn run(world: &World, words: &[String], more: &[&str]) -> crate::world::Ended {
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    world.rootpin(&words)
}

#[test]
fn the_command_alone_or_with_another_key_s_fingerprint_pins_nothing_and_with_the_publisher_s_it_does()
 {
    let Some((world, image)) = rotated("p-refused") else {
        return;
    };
    let new = Key::named("new root");
    let (code, hint) = world.judge(&image);
    assert_eq!(code.as_deref(), Some("root-not-pinned"));
    assert!(
        !hint.contains(&new.id()) && !hint.contains("SHA256:"),
        "{hint}"
    );
    let words = command(&hint);
    assert_eq!(words[..3], ["pin", "add", "acme"]);
    let before = world.policy_files();
    let other = Key::named("somebody else");
    for (more, exit) in [
        (vec![], 64),
        (vec!["--fingerprint", "yes"], 64),
        (vec!["--fingerprint", "-"], 64),
        (vec!["--fingerprint", ""], 64),
        (vec!["--fingerprint", &new.id()[..12]], 64),
    ] {
        let ended = run(&world, &words, &more);
        assert_eq!(ended.code, exit, "{more:?}: {ended:?}");
        assert!(
            !ended.err.contains(&new.id()) && !ended.err.contains(&fingerprint(&new)),
            "it tells what to type: {ended:?}"
        );
    }
    for wrong in [other.id(), fingerprint(&other), super::old_root().id()] {
        let ended = run(&world, &words, &["--fingerprint", &wrong]);
        assert!(
            ended.code == 1 && ended.err.contains("nothing is pinned"),
            "{ended:?}"
        );
        assert!(
            !ended.err.contains(&new.id()) && !ended.err.contains(&fingerprint(&new)),
            "{ended:?}"
        );
        // A right one beside it makes it no better.
        assert_eq!(
            run(
                &world,
                &words,
                &["--fingerprint", &wrong, "--fingerprint", &new.id()]
            )
            .code,
            1
        );
    }
    assert_eq!(world.policy_files(), before);
    assert_eq!(world.judge(&image).0.as_deref(), Some("root-not-pinned"));

    let ended = run(&world, &words, &["--fingerprint", &fingerprint(&new)]);
    assert!(
        ended.code == 0 && ended.out.contains(&new.id()),
        "{ended:?}"
    );
    assert_eq!(world.judge(&image).0, None);
    let ended = run(&world, &words, &["--fingerprint", &new.id()]);
    assert!(
        ended.code == 0 && ended.out.contains("already"),
        "{ended:?}"
    );
}

#[test]
fn the_text_for_people_ends_with_the_command_and_marks_what_was_seen_as_unverified() {
    let Some((world, image)) = rotated("p-text") else {
        return;
    };
    let (policy, state) = (
        world.path("policy").display().to_string(),
        world.path("ci").display().to_string(),
    );
    let name = format!("{}:v1@{}", crate::world::GUN, image.index.digest);
    let text = world
        .rootpin(&["verify", &name, "--policy", &policy, "--state", &state])
        .out;
    let lines: Vec<&str> = text.lines().collect();
    let seen = lines
        .iter()
        .find(|line| line.contains(&Key::named("new root").id()))
        .unwrap();
    assert!(
        seen.starts_with("  found: ") && seen.contains("(unverified)"),
        "{text}"
    );
    let last = lines.last().unwrap();
    let command = format!(
        "rootpin pin add acme --policy {policy} --scan {}   # asks for the fingerprint",
        crate::world::GUN
    );
    assert!(last.ends_with(&command), "{text}");
}

#[test]
fn a_tuf_root_that_nothing_pinned_speaks_for_is_told_with_the_command_that_replaces_the_pin() {
    let Some(world) = World::new("p-refused-tuf") else {
        return;
    };
    let (first, other) = (tuf::root(1, &[1], &[1]), tuf::root(2, &[2], &[2]));
    std::fs::create_dir(world.path("tuf")).unwrap();
    std::fs::write(world.path("tuf/1.root.json"), &first).unwrap();
    let url = format!("file://{}", world.path("tuf").display());
    let sum = |bytes: &[u8]| rootpin_trust::image::Digest::of(bytes).hex();
    world.write_policy("version = 1\ndefault = \"deny\"\n");
    assert_eq!(
        world
            .pin(&[
                "add",
                "t",
                "--scan",
                &url,
                "--match",
                "r.test/team/*",
                "--fingerprint",
                &sum(&first)
            ])
            .code,
        0
    );
    std::fs::write(world.path("tuf/2.root.json"), &other).unwrap();
    let image = crate::world::Image::named("signed");
    let (code, hint) = world.judge(&image);
    assert_eq!(code.as_deref(), Some("bad-signature"));
    let words = command(&hint);
    assert!(
        words.ends_with(&["--replace".to_owned(), "--scan".to_owned(), url.clone()])
            && !hint.contains(&sum(&other)),
        "{hint}"
    );
    let before = world.policy_files();
    assert_eq!(run(&world, &words, &[]).code, 64);
    assert_eq!(
        run(
            &world,
            &words,
            &["--fingerprint", &Key::named("another").id()]
        )
        .code,
        1
    );
    assert_eq!(world.policy_files(), before);
    assert_eq!(
        run(&world, &words, &["--fingerprint", &sum(&other)]).code,
        0
    );
    // Its chain holds now; the rest of that repository was never published.
    assert_eq!(world.judge(&image).0.as_deref(), Some("role-missing"));
}
