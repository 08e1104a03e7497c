//! The daemon itself: without descriptors, without its sockets, replaced, or under another policy.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use super::scene::{Scene, V1, asking_always};
use crate::fault_table::Back;
use crate::front::{Front, Mode};
use crate::world::{Daemon, ended, run, start};

/// How many descriptors a process has open.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .count()
}

#[test]
fn without_descriptors_who_asks_waits_and_is_answered_once_there_are_some() {
    let Some(mut scene) = Scene::new("f-descriptors", "no file descriptor is left") else {
        return;
    };
    let mut daemon = scene.world.start();
    scene.well();
    let pid = daemon.pid();
    let limit = |count: &str| {
        let mut command = Command::new("prlimit");
        let ended = run(
            command.args(["--pid", &pid, &format!("--nofile={count}:")]),
            b"",
        );
        assert_eq!(ended.code, 0, "{ended:?}");
    };
    limit(&(descriptors(&daemon) + 8).to_string());
    let hold: Vec<_> = (0..64)
        .map(|_| UnixStream::connect(scene.world.path("control")).unwrap())
        .collect();
    scene.told_by_log(&mut daemon, "accepting a connection: Too many open files");
    let descriptor = format!("{{\"digest\":\"{}\"}}", scene.image.index.digest);
    let asking = start(
        &mut scene.world.verifier_command(V1, &scene.image.index.digest),
        descriptor.as_bytes(),
    );
    drop(hold);
    let asked = ended(asking.wait_with_output().unwrap());
    assert_eq!(asked.code, 0, "{asked:?}");
    let back = scene.back_within(1);
    scene.end("waits in the socket, and is answered; for longer than the engine waits: no answer, refused", back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_policy_that_changes_in_mid_decision_counts_from_the_next_question_on() {
    let Some(mut scene) = Scene::new("f-policy", "the policy changes in mid-decision") else {
        return;
    };
    // Longer than a busy machine takes to get there.
    scene.world.deadline = "8s";
    let world = &scene.world;
    let front = world
        .runtime
        .block_on(Front::listen(world.notary.port, Mode::Pass(None)));
    let direct = format!("http://127.0.0.1:{}\"", world.notary.port);
    let policy = asking_always(&world.policy())
        .replace(&direct, &format!("http://127.0.0.1:{}\"", front.port));
    world.write_policy(&policy);
    let mut daemon = world.start();
    daemon.line("answers on");
    scene.well();
    scene.publish();
    front.set(Mode::Hold);
    let before = front.connections();
    let descriptor = format!("{{\"digest\":\"{}\"}}", scene.image.index.digest);
    let asking = start(
        &mut scene.world.verifier_command(V1, &scene.image.index.digest),
        descriptor.as_bytes(),
    );
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while front.connections() == before {
        assert!(std::time::Instant::now() < until, "the source is not asked");
    }
    scene.world.write_policy(&format!(
        "{policy}[[revoked]]\ndigest = \"{}\"\nreason = \"CVE\"\n",
        scene.image.index.digest
    ));
    daemon.line("is in force");
    front.set(Mode::Pass(None));
    let asked = ended(asking.wait_with_output().unwrap());
    let first = if asked.code == 0 {
        "allowed"
    } else {
        "refused"
    };
    let saw = scene.ask();
    assert_eq!(saw, "refused: `revoked`");
    scene.told(
        "log: the policy “is in force”, with its hash; each record has the hash it was judged by",
    );
    scene.world.write_policy(&policy);
    daemon.line("is in force");
    assert_eq!(scene.ask(), "allowed");
    scene.end(&format!("the question under way: {first}, by the policy under which it was asked; the next one: {saw}"), Back::NeverAway);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_rootpind_that_is_replaced_in_mid_question_answers_it_and_its_successor_the_next() {
    let Some(mut scene) = Scene::new("f-replaced", "rootpind is replaced in mid-question") else {
        return;
    };
    // Longer than a busy machine takes to get there.
    scene.world.deadline = "8s";
    let world = &scene.world;
    let front = world
        .runtime
        .block_on(Front::listen(world.notary.port, Mode::Pass(None)));
    let direct = format!("http://127.0.0.1:{}\"", world.notary.port);
    world.write_policy(
        &asking_always(&world.policy())
            .replace(&direct, &format!("http://127.0.0.1:{}\"", front.port)),
    );
    let sockets =
        ["control", "gate", "apply"].map(|name| UnixListener::bind(world.path(name)).unwrap());
    // As systemd holds them: a number that none of the program's own has.
    let held = sockets.each_ref().map(|socket| {
        let held = rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap();
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
        held
    });
    let numbers = held.each_ref().map(std::os::fd::AsRawFd::as_raw_fd);
    drop(sockets);
    let daemon = world.start_passing(&world.config(), &numbers);
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    front.set(Mode::Hold);
    let before = front.connections();
    let descriptor = format!("{{\"digest\":\"{}\"}}", scene.image.index.digest);
    let ask = || {
        start(
            &mut scene.world.verifier_command(V1, &scene.image.index.digest),
            descriptor.as_bytes(),
        )
    };
    let first = ask();
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while front.connections() == before {
        assert!(std::time::Instant::now() < until, "the source is not asked");
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.notice(), "STOPPING=1");
    front.set(Mode::Pass(None));
    let second = ask();
    assert_eq!(daemon.end().0, 0);
    let successor = scene.world.start_passing(&scene.world.config(), &numbers);
    assert_eq!(successor.notice(), "READY=1");
    for asked in [first, second] {
        let asked = ended(asked.wait_with_output().unwrap());
        assert_eq!(asked.code, 0, "{asked:?}");
    }
    scene.told("metric `rootpin_start_seconds` changes");
    let back = scene.back_within(1);
    scene.end("allowed; who asks meanwhile waits in the socket", back);
    assert_eq!(successor.stop().0, 0);
    assert!(held[0].as_raw_fd() >= 100);
}

#[test]
fn a_socket_that_is_removed_is_made_anew() {
    let Some(mut scene) = Scene::new("f-socket", "rootpind's sockets are removed") else {
        return;
    };
    let mut daemon = scene.world.start();
    scene.well();
    for name in ["control", "gate", "apply"] {
        fs::remove_file(scene.world.path(name)).unwrap();
    }
    let verifier = scene.world.verifier(V1, &scene.image.index.digest);
    // It tries again for two seconds, and the socket may be there by then.
    assert!(
        verifier.code == 0 || verifier.out.contains("does not answer"),
        "{verifier:?}"
    );
    for _ in ["control", "gate", "apply"] {
        daemon.line("was removed, and is made anew");
    }
    scene.told("log: “was removed, and is made anew”");
    let back = scene.back_within(4);
    scene.end("no answer: the pull is refused", back);
    assert_eq!(daemon.stop().0, 0);
}
