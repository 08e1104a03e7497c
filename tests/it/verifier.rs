//! `rootpin-verifier`, run as containerd runs it: exit 0 is "go on", and everything that is odd is
//! exit 1.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::world::{Ended, Image, World, ended, run, start};

const V1: &str = "r.test/team/app:v1";
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Exit 1 with one short line on standard output.
fn assert_stops(ended: &Ended, reason: &str) {
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.out.starts_with("rootpin: ") && ended.out.contains(reason),
        "{ended:?}"
    );
    assert!(
        ended.out.len() < 2000 && ended.out.ends_with('\n') && ended.out.lines().count() == 1,
        "{ended:?}"
    );
}

#[test]
fn a_signed_name_goes_on_and_every_other_one_stops_with_a_reason() {
    let Some(world) = World::new("v-judges") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let _daemon = world.start();
    let allowed = world.verifier(V1, &image.index.digest);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(
        allowed
            .out
            .starts_with("rootpin: allowed r.test/team/app:v1@sha256:")
            && allowed.out.contains("[[rule]]"),
        "{allowed:?}"
    );
    assert_stops(&world.verifier(V1, DIGEST), "digest-mismatch");
    assert_stops(
        &world.verifier("r.test/team/app:v2", &image.index.digest),
        "no-statement",
    );
    assert_stops(
        &world.verifier("elsewhere.test/app:v1", &image.index.digest),
        "no-rule",
    );
    assert_stops(
        &world.verifier(&format!("r.test/team/app@{DIGEST}"), &image.index.digest),
        "digest-mismatch",
    );
    let long = format!("elsewhere.test/{}", "a/".repeat(2000) + "b");
    assert_stops(&world.verifier(&long, &image.index.digest), "");
}

#[test]
fn a_daemon_that_is_not_there_stops_the_pull_after_two_seconds() {
    let Some(world) = World::new("v-absent") else {
        return;
    };
    let begun = Instant::now();
    assert_stops(
        &world.verifier(V1, DIGEST),
        "could not judge: the daemon does not answer",
    );
    let daemon = world.start();
    assert_stops(&world.verifier(V1, DIGEST), "");
    drop(daemon);
    assert_stops(
        &world.verifier(V1, DIGEST),
        "could not judge: the daemon does not answer",
    );
    std::fs::remove_file(world.path("control")).unwrap();
    std::fs::write(world.path("control"), "no socket").unwrap();
    assert_stops(&world.verifier(V1, DIGEST), "could not judge");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_daemon_that_comes_back_within_two_seconds_costs_no_pull() {
    let Some(world) = World::new("v-restart") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    drop(world.start());
    let asking = start(
        &mut world.verifier_command(V1, &image.index.digest),
        descriptor(&image.index.digest).as_bytes(),
    );
    let _daemon = world.start();
    let ended = ended(asking.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn descriptor(digest: &str) -> String {
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{digest}","size":7}}"#
    )
}

#[test]
fn a_daemon_that_accepts_and_never_answers_stops_the_pull_before_containerd_gives_up() {
    let Some(world) = World::new("v-hung") else {
        return;
    };
    let listener = UnixListener::bind(world.path("control")).unwrap();
    let begun = Instant::now();
    assert_stops(&world.verifier(V1, DIGEST), "could not judge");
    assert!(
        begun.elapsed() < Duration::from_millis(9900),
        "{:?}",
        begun.elapsed()
    );
    drop(listener);
}

#[test]
fn a_daemon_that_is_killed_in_mid_question_stops_the_pull() {
    let Some(world) = World::new("v-killed") else {
        return;
    };
    world.notary.hang(true);
    let daemon = world.start();
    let descriptor = format!("{{\"digest\":\"{DIGEST}\"}}");
    let verifier = start(
        &mut world.verifier_command(V1, DIGEST),
        descriptor.as_bytes(),
    );
    world.runtime.block_on(world.notary.is_asked());
    daemon.signal("-KILL");
    assert_stops(
        &ended(verifier.wait_with_output().unwrap()),
        "could not judge",
    );
}

#[test]
fn a_trust_server_that_never_answers_is_a_reason_before_the_verifiers_own_time_is_over() {
    let Some(mut world) = World::new("v-slow") else {
        return;
    };
    world.deadline = "2s";
    world.notary.hang(true);
    let _daemon = world.start();
    let begun = Instant::now();
    assert_stops(&world.verifier(V1, DIGEST), "could not judge");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn odd_standard_input_stops_the_pull() {
    let Some(world) = World::new("v-stdin") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let _daemon = world.start();
    let good = format!("{{\"digest\":\"{}\"}}", image.index.digest);
    let ask = |input: &[u8]| run(&mut world.verifier_command(V1, &image.index.digest), input);
    assert_eq!(ask(good.as_bytes()).code, 0);
    let large = format!(
        "{{\"digest\":\"{}\",\"x\":\"{}\"}}",
        image.index.digest,
        "x".repeat(2 << 20)
    );
    let twice = format!(
        "{{\"digest\":\"{}\",\"digest\":\"{DIGEST}\"}}",
        image.index.digest
    );
    let other = format!("{{\"digest\":\"{DIGEST}\"}}");
    for bad in [
        "",
        "{}",
        "null",
        "[]",
        "not JSON",
        "\u{0}",
        "{\"digest\":7}",
        &good[..20],
        &large,
        &twice,
        &other,
        &format!("{good}{good}"),
    ] {
        assert_stops(&ask(bad.as_bytes()), "could not judge: ");
    }
    assert_stops(&ask(b"{\"digest\":\"\xff\"}"), "could not judge: ");
}

#[test]
fn odd_arguments_stop_the_pull() {
    let Some(world) = World::new("v-words") else {
        return;
    };
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let _daemon = world.start();
    let input = format!("{{\"digest\":\"{}\"}}", image.index.digest);
    let program = || std::process::Command::new(env!("CARGO_BIN_EXE_rootpin-verifier"));
    let control = world.path("control").display().to_string();
    for words in [
        vec![],
        vec!["--help"],
        vec!["-name", V1],
        vec!["-digest", &image.index.digest],
        vec!["-name", V1, "-digest", "sha256:0"],
        vec![
            "-name",
            "",
            "-digest",
            &image.index.digest,
            "--control",
            &control,
        ],
        vec![
            "-name",
            "app:v1:v2",
            "-digest",
            &image.index.digest,
            "--control",
            &control,
        ],
        vec![
            "-name",
            V1,
            "-digest",
            &image.index.digest,
            "-stdin-media-type",
            "text/plain",
            "--control",
            &control,
        ],
        vec![
            "-name",
            V1,
            "-digest",
            &image.index.digest,
            "--control",
            &control,
            "-verbose",
            "true",
        ],
        vec!["-name", V1, "-digest", &image.index.digest, "--control"],
        vec![
            "-name",
            V1,
            "-digest",
            &image.index.digest,
            "--control",
            "/no/such/socket",
        ],
    ] {
        assert_stops(&run(program().args(&words), input.as_bytes()), "");
    }
    let not_text = std::ffi::OsStr::from_bytes(b"r.test/\xff");
    assert_stops(
        &run(program().arg("-name").arg(not_text), input.as_bytes()),
        "not UTF-8",
    );
}
