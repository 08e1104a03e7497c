//! `rootpin break-glass`, by the real daemon: begun, used, told, ended.

use serde_json::{Value, json};

use crate::world::{Image, World};

const NAME: &str = "r.test/team/app:v1";
const BEGIN: [&str; 5] = ["break-glass", "--reason", "INC-7 outage", "--for", "2h"];

/// A host whose policy covers [`NAME`], and an image that nobody signed for it.
fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("unsigned");
    world.sign(&Image::named("signed").index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, NAME));
    Some((world, image))
}

/// What the verifier and the gate say of the image: whether it passes.
fn pass(world: &World, image: &Image) -> (bool, bool) {
    let verifier = world.verifier(NAME, &image.index.digest).code == 0;
    let headers = &[("containerd-namespace", "default")];
    let gate = world
        .unpack("gate", image.unpack(), headers)
        .unwrap_err()
        .code();
    (verifier, gate == tonic::Code::Unimplemented)
}

/// Everything in the audit file, events too.
fn records(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    let schema = crate::documents::text("docs/audit-file.schema.json");
    let schema = serde_json::from_str(&schema).unwrap();
    let read = |line: &str| {
        let record = serde_json::from_str(line).unwrap();
        let errors = crate::schema::errors(&schema, &record);
        assert!(errors.is_empty(), "{errors:#?}");
        record
    };
    text.lines().map(read).collect()
}

fn events(world: &World) -> Vec<(String, Value)> {
    let all = records(world).into_iter();
    all.filter_map(|record| Some((record["event"].as_str()?.to_owned(), record.clone())))
        .filter(|(event, _)| event.starts_with("break-glass"))
        .collect()
}

#[test]
fn an_unsigned_image_passes_while_the_glass_is_broken_and_everything_says_so() {
    let Some((world, image)) = host("bg-passes") else {
        return;
    };
    let mut daemon = world.start();
    assert_eq!(pass(&world, &image), (false, false));
    let floors = world.rootpin_json(&["state", "show"]).0;
    assert_eq!(world.rootpin(&["break-glass"]).code, 0);

    let begun = world.rootpin(&BEGIN);
    assert_eq!(begun.code, 1, "{begun:?}");
    assert!(
        begun
            .out
            .starts_with("BREAK-GLASS IS IN FORCE: all images pass until "),
        "{begun:?}"
    );
    daemon.line("BREAK-GLASS begins: all images pass until");
    assert_eq!(pass(&world, &image), (true, true));
    daemon.line("(\"INC-7 outage\"), let through: refused r.test/team/app:v1@");

    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!((exit, &status["ok"]), (1, &json!(false)));
    assert_eq!(status["break_glass"]["reason"], "INC-7 outage");
    assert!(
        world
            .rootpin(&["status"])
            .out
            .contains("\nBREAK-GLASS: all images pass")
    );
    let metrics = world.rootpin(&["metrics"]).out;
    assert!(metrics.contains("\nrootpin_break_glass 1\n"), "{metrics}");
    let through = "rootpin_let_through_total{door=\"verifier\",engine=\"\",by=\"break-glass\"} 1\n";
    assert!(metrics.contains(through), "{metrics}");
    let (explained, _) = world.rootpin_json(&["policy", "explain", NAME]);
    assert_eq!(explained["break_glass"]["in_force"], true, "{explained}");
    let verify = ["verify", &format!("{NAME}@{}", image.index.digest)];
    let (answer, exit) = world.rootpin_json(&verify);
    assert_eq!(
        (exit, &answer["outcome"]),
        (1, &json!("refused")),
        "still a no"
    );
    let used: Vec<_> = records(&world)
        .into_iter()
        .filter(|record| record["let_through_by"] == "break-glass")
        .collect();
    assert_eq!(used.len(), 3, "{used:?}");
    assert!(
        used.iter()
            .all(|record| record["break_glass"] == "INC-7 outage"
                && record["outcome"] == "refused"
                && record["let_through"] == true)
    );
    assert_eq!(
        world.rootpin_json(&["state", "show"]).0,
        floors,
        "no floor, no row"
    );

    assert_eq!(world.rootpin(&["break-glass", "--end"]).code, 0);
    assert_eq!(pass(&world, &image), (false, false));
    let told = events(&world);
    assert_eq!(
        (told[0].0.as_str(), told[1].0.as_str()),
        ("break-glass-begin", "break-glass-end")
    );
    assert_eq!(
        (told.len(), &told[1].1["why"]),
        (2, &json!("root ended it"))
    );
    assert!(!world.path("state/break-glass.json").exists());
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_break_glass 0\n")
    );
}

#[test]
fn revoked_bytes_and_other_names_stay_refused_while_the_glass_is_broken() {
    let Some((world, image)) = host("bg-revoked") else {
        return;
    };
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
        image.index.digest
    );
    world.write_policy(&(world.policy() + &revoked));
    let _daemon = world.start();
    assert_eq!(world.rootpin(&BEGIN).code, 1);
    assert_eq!(pass(&world, &image), (false, false));
    let other = Image::named("other").index.digest;
    assert_eq!(world.verifier(NAME, &other).code, 0);
    // In the place of the first one.
    let only = [&BEGIN[..], &["--match", "r.test/ops/*"]].concat();
    assert_eq!(world.rootpin(&only).code, 1);
    assert_ne!(world.verifier(NAME, &other).code, 0);
    assert_eq!(world.verifier("r.test/ops/tool:1", &other).code, 0);
}

#[test]
fn one_that_is_begun_in_place_of_another_says_so_and_the_first_one_s_end_is_recorded() {
    let Some((world, _)) = host("break-glass-again") else {
        return;
    };
    let _daemon = world.start();
    let begin = |reason: &str, pattern: &str| {
        let words = [
            "break-glass",
            "--reason",
            reason,
            "--for",
            "1h",
            "--match",
            pattern,
        ];
        world.rootpin(&words)
    };
    let first = begin("A", "r.test/team/**");
    assert!(!first.out.contains("in place of"), "{first:?}");
    let second = begin("B", "other.test/**");
    assert!(
        second.code == 1
            && second.out.contains("images of other.test/** pass")
            && second.out.contains(
                "in place of the one before, which is over: images of r.test/team/** pass"
            ),
        "{second:?}"
    );
    assert_eq!(world.rootpin(&["break-glass", "--end"]).code, 0);
    let told: Vec<_> = events(&world)
        .into_iter()
        .map(|(event, record)| (event, record["reason"].as_str().unwrap().to_owned()))
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(event, reason)| (event.as_str(), reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("break-glass-begin", "A"),
            ("break-glass-begin", "B"),
            ("break-glass-end", "A"),
            ("break-glass-end", "B"),
        ]
    );
}

#[test]
fn break_glass_goes_on_after_a_restart_and_ends_with_a_policy_that_forbids_it() {
    let Some((world, image)) = host("bg-restart") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(world.rootpin(&BEGIN).code, 1);
    daemon.stop();
    let mut daemon = world.start();
    daemon.line("BREAK-GLASS goes on after a restart");
    assert_eq!(pass(&world, &image), (true, true));
    world.write_policy(&format!("break-glass = \"forbidden\"\n{}", world.policy()));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    assert_eq!(pass(&world, &image), (false, false));
    daemon.line("break-glass is over: the policy in force does not permit it");
    let refused = world.rootpin(&BEGIN);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .err
            .contains("the policy has break-glass = \"forbidden\""),
        "{refused:?}"
    );
    daemon.stop();
    let _daemon = world.start();
    assert_eq!(pass(&world, &image), (false, false));
    let told: Vec<_> = events(&world).into_iter().map(|(event, _)| event).collect();
    assert_eq!(
        told,
        ["break-glass-begin", "break-glass-recall", "break-glass-end"]
    );
}

#[test]
fn break_glass_is_never_longer_than_the_policy_says_and_never_without_a_record_or_a_reason() {
    let Some((world, image)) = host("bg-bounds") else {
        return;
    };
    let daemon = world.start();
    let long = world.rootpin(&["break-glass", "--reason", "x", "--for", "25h"]);
    assert_eq!(long.code, 2);
    assert!(long.err.contains("[limits] max-break-glass"), "{long:?}");
    let blank = world.rootpin(&["break-glass", "--reason", " ", "--for", "1h"]);
    assert_eq!(blank.code, 64, "{blank:?}");
    for words in [
        &["break-glass", "--reason", "x"][..],
        &["break-glass", "--for", "1h"],
        &["break-glass", "--reason", "x", "--for", "soon"],
        &[
            "break-glass",
            "--reason",
            "x",
            "--for",
            "1h",
            "--match",
            "alpine",
        ],
        &["break-glass", "--reason", "x", "--for", "1h", "--end"],
    ] {
        assert_eq!(world.rootpin(words).code, 64, "{words:?}");
    }
    daemon.stop();
    let audit = world.path("audit.jsonl").display().to_string();
    let daemon = world.start_ready(&world.config().replace(&audit, "/dev/full"));
    let unrecorded = world.rootpin(&BEGIN);
    assert_eq!(unrecorded.code, 2);
    assert!(
        unrecorded.err.contains("never without a record"),
        "{unrecorded:?}"
    );
    assert_eq!(pass(&world, &image), (false, false));
    daemon.stop();
}

#[test]
fn a_file_that_others_could_have_written_breaks_no_glass() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((world, image)) = host("bg-forged") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(world.rootpin(&BEGIN).code, 1);
    daemon.stop();
    let file = world.path("state/break-glass.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut daemon = world.start();
    daemon.line("not a plain file of our own: no break-glass is in force");
    assert_eq!(pass(&world, &image), (false, false));
}

#[test]
fn an_option_that_is_given_nothing_is_a_mistake_and_no_question() {
    let Some((world, image)) = host("bg-empty") else {
        return;
    };
    let _daemon = world.start();
    for words in [
        &["break-glass", "--reason", "", "--for", "1h"][..],
        &["break-glass", "--reason=", "--for", "1h"],
        &["break-glass", "--reason", "x", "--for", "1h", "--match", ""],
        &["verify", ""],
        &["audit", "--host", ""],
        &["state", "reset", "--root="],
    ] {
        let ended = world.rootpin(words);
        assert_eq!(ended.code, 64, "{words:?} {}", ended.err);
        assert!(
            ended.err.contains("is given nothing") || ended.err.contains("is empty"),
            "{words:?} {}",
            ended.err
        );
    }
    assert_eq!(pass(&world, &image), (false, false));
}
