//! The real daemon's life: policies that come and go, a state that breaks, sockets, signals, and
//! what it tells.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use containerd_client::services::v1::ApplyRequest;
use serde_json::Value;

use crate::containerd::Differ;
use crate::world::{GUN, Image, World, ended, start};

const V1: &str = "r.test/team/app:v1";

/// A host with a signed image in containerd.
fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, V1));
    Some((world, image))
}

/// The code with which `verify` ends for the signed image; `allowed` if it is.
fn judged(world: &World, image: &Image) -> String {
    let (answer, exit) = world.rootpin_json(&["verify", &format!("{V1}@{}", image.index.digest)]);
    let code = answer["code"].as_str().unwrap_or("allowed").to_owned();
    assert_eq!(exit == 0, code == "allowed", "{answer}");
    code
}

fn audit_codes(world: &World) -> Vec<String> {
    world
        .audit()
        .iter()
        .map(|line| line["code"].as_str().unwrap_or("allowed").to_owned())
        .collect()
}

// The policy.

#[test]
fn a_broken_first_policy_refuses_everything_until_it_is_mended() {
    let Some((world, image)) = host("d-mended") else {
        return;
    };
    let good = world.policy();
    world.write_policy(&good.replace("deny", "allow"));
    let mut daemon = world.start();
    daemon.line("everything is refused until it loads");
    assert_eq!(judged(&world, &image), "policy-unusable");
    assert!(
        world
            .verifier(V1, &image.index.digest)
            .out
            .contains("policy-unusable")
    );
    for (door, headers) in [
        ("gate", &[("containerd-namespace", "default")][..]),
        ("apply", &[]),
        ("gate", &[]),
    ] {
        let status = world.unpack(door, image.unpack(), headers).unwrap_err();
        assert!(
            status.code() == tonic::Code::FailedPrecondition
                && status.message().contains("policy-unusable"),
            "{status:?}"
        );
    }
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["policy"]["in_force"]),
        (1, &Value::Bool(false))
    );
    let (broken, exit) = world.rootpin_json(&["policy", "reload"]);
    assert!(
        exit == 1 && broken["error"].as_str().unwrap().contains("policy.toml:2:"),
        "{broken}"
    );

    // Another error: everybody is told of that one, and no more of the first.
    world.write_policy(&format!("\n\n{}", good.replace("deny", "allow")));
    let (other, exit) = world.rootpin_json(&["policy", "reload"]);
    assert!(
        exit == 1 && other["error"].as_str().unwrap().contains("policy.toml:4:"),
        "{other}"
    );
    let (status, _) = world.rootpin_json(&["status"]);
    let refused = world
        .unpack(
            "gate",
            image.unpack(),
            &[("containerd-namespace", "default")],
        )
        .unwrap_err();
    let verified = world.verifier(V1, &image.index.digest).out;
    for told in [
        status["policy"]["trouble"].as_str().unwrap(),
        refused.message(),
        &verified,
    ] {
        assert!(
            told.contains("policy.toml:4:") && !told.contains("policy.toml:2:"),
            "{told}"
        );
    }

    let begun = Instant::now();
    world.write_policy(&good);
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "a changed file is taken when two looks a second apart agree"
    );
    assert_eq!(judged(&world, &image), "allowed");
    daemon.line("is in force");
}

#[test]
fn a_policy_that_breaks_later_leaves_the_last_good_one_in_force_and_the_status_red() {
    let Some((world, image)) = host("d-breaks") else {
        return;
    };
    let mut daemon = world.start();
    let (before, _) = world.rootpin_json(&["status"]);
    world.write_policy("version = 1\n");
    daemon.line("the last good one stays in force");
    assert_eq!(judged(&world, &image), "allowed");
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!((exit, &status["ok"]), (1, &Value::Bool(false)));
    assert_eq!(status["policy"]["hash"], before["policy"]["hash"]);
    assert!(
        status["policy"]["trouble"]
            .as_str()
            .unwrap()
            .contains("policy.toml"),
        "{status}"
    );
    assert!(world.rootpin(&["status"]).out.contains("policy: TROUBLE: "));
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_policy_ok 0\n")
    );
    fs::remove_file(world.path("policy/policy.toml")).unwrap();
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 1);
    assert_eq!(judged(&world, &image), "allowed");
    fs::write(world.path("policy/policy.toml"), world.policy()).unwrap();
    fs::set_permissions(
        world.path("policy/policy.toml"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    assert_eq!(
        world.rootpin(&["policy", "reload"]).code,
        1,
        "others could write it"
    );
    assert_eq!(judged(&world, &image), "allowed");
}

#[test]
fn a_changed_policy_is_taken_without_being_told_and_counts_for_every_later_question() {
    let Some((world, image)) = host("d-changed") else {
        return;
    };
    let mut daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    world.write_policy(&format!(
        "{}[[revoked]]\ndigest = \"{}\"\nreason = \"CVE\"\n",
        world.policy(),
        image.index.digest
    ));
    daemon.line("is in force");
    assert_eq!(judged(&world, &image), "revoked");
    let status = world.unpack("gate", image.unpack(), &[]).unwrap_err();
    assert!(
        status.code() == tonic::Code::FailedPrecondition
            && status.message().contains(": revoked: "),
        "{status:?}"
    );
    fs::write(world.path("policy/policy.d/10.toml"), "[[revoked]]\n").unwrap();
    daemon.line("policy.d/10.toml");
    assert_eq!(judged(&world, &image), "revoked");
}

#[test]
fn sighup_reads_the_policy_and_opens_the_audit_file_anew() {
    let Some((world, image)) = host("d-hangup") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    fs::rename(world.path("audit.jsonl"), world.path("audit.1")).unwrap();
    world.write_policy(&world.policy().replace("team/*", "elsewhere/*"));
    daemon.signal("-HUP");
    assert!(daemon.notice().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(daemon.notice(), "READY=1");
    assert_eq!(judged(&world, &image), "no-rule");
    assert_eq!(audit_codes(&world), ["no-rule"]);
}

#[test]
fn audit_mode_lets_an_unsigned_image_pass_and_records_it_and_a_broken_first_policy_denies_all_the_same()
 {
    let Some((world, _)) = host("d-audit") else {
        return;
    };
    world.write_policy(
        &world
            .policy()
            .replace("[[root]]", "mode = \"audit\"\n[[root]]"),
    );
    let daemon = world.start();
    let evil = Image::named("evil");
    world
        .containerd
        .hold("default", |held| evil.hold_as(held, V1));
    let passed = world.verifier(V1, &evil.index.digest);
    assert!(
        passed.code == 0
            && passed.out.contains("audit mode, let through")
            && passed.out.contains("digest-mismatch"),
        "{passed:?}"
    );
    assert_eq!(
        world.unpack("gate", evil.unpack(), &[]).unwrap_err().code(),
        tonic::Code::Unimplemented
    );
    world
        .unpack(
            "apply",
            evil.unpack(),
            &[("containerd-namespace", "default")],
        )
        .unwrap();
    assert_eq!(
        world
            .rootpin(&["verify", &format!("{V1}@{}", evil.index.digest)])
            .code,
        1,
        "verify tells the judgement, whatever the mode"
    );
    let lines = world.audit();
    assert!(
        lines.len() == 4
            && lines
                .iter()
                .all(|line| line["let_through"] == true && line["code"] == "digest-mismatch"),
        "{lines:?}"
    );
    let (seen, _) = world.rootpin_json(&["state", "show"]);
    assert_eq!(
        seen["admitted"].as_array().unwrap().len(),
        0,
        "what audit mode let through is never a row"
    );
    assert_eq!(daemon.stop().0, 0);
    world.write_policy("mode = \"audit\"");
    fs::remove_file(world.path("state/policy.last")).unwrap();
    let _daemon = world.start();
    assert_eq!(world.verifier(V1, &evil.index.digest).code, 1);
}

// The sockets.

#[test]
fn sockets_are_for_root_only_and_stale_ones_are_replaced() {
    let Some((world, image)) = host("d-sockets") else {
        return;
    };
    for name in ["control", "gate", "apply"] {
        drop(UnixListener::bind(world.path(name)).unwrap());
    }
    let _daemon = world.start();
    for name in ["control", "gate", "apply"] {
        assert_eq!(
            fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o7777,
            0o600,
            "{name}"
        );
    }
    assert_eq!(judged(&world, &image), "allowed");
}

#[test]
fn a_second_daemon_leaves_the_first_ones_sockets_alone_and_says_whose_they_are() {
    let Some((world, image)) = host("d-taken") else {
        return;
    };
    let mut daemon = world.start();
    daemon.line("answers on");
    let (code, lines) = world
        .start_with(&world.config().replace("d-taken/state", "d-taken/state-2"))
        .end();
    assert_eq!(code, 1, "{lines:?}");
    let told = format!(
        "rootpind (process {}, user 0) listens there; is rootpind running already?",
        daemon.pid()
    );
    assert!(lines.iter().any(|line| line.contains(&told)), "{lines:?}");
    assert_eq!(judged(&world, &image), "allowed");
}

#[test]
fn the_status_tells_how_an_engine_is_now_and_not_how_it_was_before_its_restart() {
    let Some((world, _)) = host("d-status-now") else {
        return;
    };
    let _daemon = world.start();
    let gate = Differ::AsksGate(world.path("gate"));
    world.containerd.differ(gate.clone());
    world.door_when("gate", |row| row["state"] == "proven");
    // Each time the first answer counts: the self-checks of their own accord come once a minute.
    for _ in 0..3 {
        world.containerd.differ(Differ::Applies);
        let (status, exit) = world.rootpin_json(&["status"]);
        assert_eq!((exit, status["ok"].as_bool()), (1, Some(false)), "{status}");
        assert_ne!(world.door("gate")["state"], "proven");
        world.containerd.differ(gate.clone());
        let (status, exit) = world.rootpin_json(&["status"]);
        assert_eq!((exit, status["ok"].as_bool()), (0, Some(true)), "{status}");
    }
    // One that hangs does not keep the status.
    world.containerd.hang(true);
    let (status, _) = world.rootpin_json(&["status"]);
    assert_eq!(status["version"], 1, "{status}");
    world.containerd.hang(false);
}

#[test]
fn a_socket_that_somebody_else_has_costs_that_door_only_and_is_taken_once_it_is_free() {
    let Some((world, image)) = host("d-squatted") else {
        return;
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let resolver = port.local_addr().unwrap();
    let config = format!("resolver = \"{resolver}\"\n{}", world.config());
    let gate = UnixListener::bind(world.path("gate")).unwrap();
    fs::write(world.path("apply"), "precious").unwrap();
    let mut daemon = world.start_ready(&config);
    daemon.line("the resolver door does not listen: port ");
    assert_eq!(judged(&world, &image), "allowed", "the other doors answer");
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(exit, 1, "{status}");
    let me = format!("(process {}, user 0) listens there", std::process::id());
    for (door, why) in [
        ("resolver", me.as_str()),
        ("gate", me.as_str()),
        ("apply", "something that is no socket is there"),
    ] {
        let row = world.door(door);
        assert!(
            row["state"] == "not listening" && row["detail"].as_str().unwrap().contains(why),
            "{row}"
        );
    }
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("rootpin_listening{door=\"resolver\",engine=\"\"} 0\n")
    );
    assert_eq!(fs::read(world.path("apply")).unwrap(), b"precious");
    drop((port, gate));
    fs::remove_file(world.path("apply")).unwrap();
    for door in ["resolver", "gate", "apply"] {
        world.door_when(door, |row| row["state"] != "not listening");
    }
    let status = world
        .unpack("gate", Image::named("unsigned").unpack(), &[])
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status:?}");
}

#[test]
fn a_control_socket_that_somebody_else_has_costs_the_gates_nothing() {
    let Some((world, image)) = host("d-control") else {
        return;
    };
    let control = UnixListener::bind(world.path("control")).unwrap();
    let mut daemon = world.start();
    daemon.line("runs, and does not answer on ");
    assert_eq!(
        world
            .unpack(
                "gate",
                image.unpack(),
                &[("containerd-namespace", "default")]
            )
            .unwrap_err()
            .code(),
        tonic::Code::Unimplemented
    );
    drop(control);
    daemon.line("the verifier door listens on ");
    assert_eq!(judged(&world, &image), "allowed");
}

// The state.

#[test]
fn an_unusable_state_is_served_as_such_and_never_begun_anew() {
    let Some((world, image)) = host("d-state") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    assert_eq!(daemon.stop().0, 0);
    let file = fs::read_dir(world.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|kind| kind == "redb"))
        .unwrap();
    let whole = fs::read(&file).unwrap();
    for broken in [&b""[..], b"not a state", &whole[..whole.len() / 2]] {
        fs::write(&file, broken).unwrap();
        let mut daemon = world.start();
        daemon.line("every question that needs it is refused");
        assert_eq!(judged(&world, &image), "state-unusable");
        let status = world.unpack("gate", image.unpack(), &[]).unwrap_err();
        assert!(
            status.code() == tonic::Code::FailedPrecondition
                && status.message().contains("state-unusable"),
            "{status:?}"
        );
        let (status, exit) = world.rootpin_json(&["status"]);
        assert!(
            exit == 1 && status["state"]["trouble"].is_string(),
            "{status}"
        );
        assert_eq!(daemon.stop().0, 0);
        assert_eq!(fs::read(&file).unwrap(), broken);
    }
    fs::remove_file(&file).unwrap();
    let daemon = world.start();
    assert_eq!(
        judged(&world, &image),
        "state-unusable",
        "the rest of the directory says that there was a state"
    );
    assert_eq!(daemon.stop().0, 0);
    fs::write(&file, &whole).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let _daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
}

#[test]
fn who_else_wants_the_open_state_waits_up_to_its_deadline_and_then_says_so() {
    let Some((world, image)) = host("d-lock") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    let path = |name: &str| world.path(name).display().to_string();
    let name = format!("{V1}@{}", image.index.digest);
    let begun = Instant::now();
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let waiting = start(
        waiting.args([
            "verify",
            &name,
            "--policy",
            &path("policy"),
            "--state",
            &path("state"),
            "--json",
        ]),
        b"",
    );
    let mut showing = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let showing = start(
        showing.args(["state", "show", "--state", &path("state")]),
        b"",
    );
    // A second daemon, on sockets of its own.
    let second = world
        .config()
        .replace("d-lock/control", "d-lock/control-2")
        .replace("d-lock/gate", "d-lock/gate-2");
    let mut second = world.start_with(&second.replace("d-lock/apply", "d-lock/apply-2"));
    let line = second.line("every question that needs it is refused");
    assert!(line.contains("in use by another rootpin"), "{line}");
    let showing = ended(showing.wait_with_output().unwrap());
    assert!(
        showing.code == 2 && showing.err.contains("in use by another rootpin"),
        "{showing:?}"
    );
    let waiting = ended(waiting.wait_with_output().unwrap());
    assert!(
        waiting.code == 2
            && waiting.out.contains("state-unusable")
            && waiting.out.contains("in use by another rootpin"),
        "{waiting:?}"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(judged(&world, &image), "allowed");
    drop(second);
    // A state that comes free while somebody waits is used.
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let waiting = start(
        waiting.args([
            "verify",
            &name,
            "--policy",
            &path("policy"),
            "--state",
            &path("state"),
        ]),
        b"",
    );
    assert_eq!(daemon.stop().0, 0);
    assert_eq!(ended(waiting.wait_with_output().unwrap()).code, 0);
}

fn descriptor(image: &Image) -> String {
    format!("{{\"digest\":\"{}\"}}", image.index.digest)
}

// Its end.

#[test]
fn sigterm_answers_what_was_asked_and_exits_0() {
    let Some((world, image)) = host("d-drain") else {
        return;
    };
    let daemon = world.start();
    world.notary.hang(true);
    let verifier = start(
        &mut world.verifier_command(V1, &image.index.digest),
        descriptor(&image).as_bytes(),
    );
    world.runtime.block_on(world.notary.is_asked());
    daemon.signal("-TERM");
    assert_eq!(daemon.notice(), "STOPPING=1");
    assert_eq!(daemon.end().0, 0);
    let answer = ended(verifier.wait_with_output().unwrap());
    assert!(
        answer.code == 1 && answer.out.contains("source-unreachable"),
        "the question was answered: {answer:?}"
    );
}

#[test]
fn a_policy_that_never_comes_to_rest_does_not_keep_the_daemon_from_ending() {
    let Some((world, image)) = host("d-restless") else {
        return;
    };
    let daemon = world.start();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stopped = stopped;
            for number in 0.. {
                world.write_policy(&format!("{}# {number}\n[limits]\n", world.policy()));
                if stopped.recv_timeout(Duration::from_millis(100))
                    != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    return;
                }
            }
        });
        daemon.signal("-HUP");
        assert!(daemon.notice().starts_with("RELOADING=1"));
        assert_eq!(judged(&world, &image), "allowed");
        let begun = Instant::now();
        assert_eq!(daemon.stop().0, 0);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        drop(stop);
    });
}

#[test]
fn idle_connections_do_not_keep_the_daemon_from_ending() {
    let Some((mut world, image)) = host("d-idle") else {
        return;
    };
    world.deadline = "2s";
    let daemon = world.start();
    let _silent =
        ["gate", "apply", "control"].map(|name| UnixStream::connect(world.path(name)).unwrap());
    assert_eq!(judged(&world, &image), "allowed");
    let begun = Instant::now();
    assert_eq!(daemon.stop().0, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn sigint_is_an_end_as_well_and_a_restart_needs_no_clearing_up() {
    let Some((world, image)) = host("d-again") else {
        return;
    };
    for _ in 0..2 {
        let daemon = world.start();
        assert_eq!(judged(&world, &image), "allowed");
        daemon.signal("-INT");
        assert_eq!(daemon.end().0, 0);
    }
}

// The configuration.

#[test]
fn a_mistake_in_the_configuration_is_exit_78_and_one_on_the_command_line_64() {
    let Some(world) = World::new("d-config") else {
        return;
    };
    for bad in [
        "nonsense",
        "stat = \"/x\"\n",
        "deadline = \"0s\"\n",
        "state = \"relative\"\n",
        "[[engine]]\nname = \"a\"\n",
    ] {
        let (code, lines) = world.start_with(bad).end();
        assert_eq!(code, 78, "{bad}: {lines:?}");
        assert!(lines[0].contains("rootpin.toml"), "{lines:?}");
    }
    let file = world.path("rootpin.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, lines) = world.start_with("").end();
    assert_eq!(code, 78, "anybody may write it: {lines:?}");
    assert!(lines[0].contains("chmod go-w"), "{lines:?}");
    let daemon = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpind"));
        crate::world::run(command.args(words), b"")
    };
    assert_eq!(daemon(&["--config", "/no/such/file"]).code, 78);
    assert_eq!(daemon(&["--nonsense"]).code, 64);
    assert_eq!(daemon(&["word"]).code, 64);
    assert_eq!(
        (daemon(&["--help"]).code, daemon(&["--version"]).code),
        (0, 0)
    );
}

#[test]
fn an_audit_file_that_cannot_be_opened_stops_no_decision_and_is_told_until_it_is_mended() {
    let Some((world, image)) = host("d-noaudit") else {
        return;
    };
    fs::create_dir(world.path("audit.jsonl")).unwrap();
    let daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    let status = world.rootpin(&["status"]);
    assert!(
        status.code == 1 && status.out.contains("decisions are not recorded"),
        "{status:?}"
    );
    fs::remove_dir(world.path("audit.jsonl")).unwrap();
    assert_eq!(judged(&world, &image), "allowed");
    let recorded = fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert!(recorded.contains("\"outcome\":\"allowed\""), "{recorded}");
    assert_eq!(daemon.stop().0, 0);
}

// What it tells.

/// Names, annotations and headers with control characters and terminal commands in them.
fn ask_hostile_things(world: &World) {
    let evil = Image::named("evil");
    let hostile = "r.test/team/app:v1\u{1b}[2J\nlevel=error rootpin: allowed \u{9b}31m\u{202e}";
    let image = evil.claimed(hostile);
    world.containerd.hold("evil", |held| {
        image.hold_as(held, hostile);
        held.blobs[0].labels.insert(
            "containerd.io/distribution.source.r.test".to_owned(),
            "team/\u{1b}[2J".to_owned(),
        );
    });
    let mut message: ApplyRequest =
        image.unpack_with(&[("containerd.io/snapshot/cri.image-ref", hostile)]);
    let _ = world.unpack("gate", message.clone(), &[("containerd-namespace", "evil")]);
    let _ = world.unpack("gate", message.clone(), &[]);
    hostile.clone_into(&mut message.diff.as_mut().unwrap().media_type);
    let _ = world.unpack(
        "apply",
        message.clone(),
        &[("containerd-namespace", "evil")],
    );
    hostile.clone_into(&mut message.diff.as_mut().unwrap().digest);
    let _ = world.unpack("gate", message, &[]);
    let _ = world.verifier(hostile, &image.index.digest);
    let _ = world.rootpin(&["verify", hostile]);
    let mut publisher = crate::publisher::Publisher::new(GUN);
    publisher.edit("timestamp", |signed| {
        signed["expires"] = "2036\u{1b}[2J\n".into();
    });
    world.notary.publish(&publisher);
    let _ = world.verifier(V1, &image.index.digest);
}

#[test]
fn no_control_character_reaches_the_log_or_an_engine_or_the_audit_file() {
    let Some((world, image)) = host("d-hostile") else {
        return;
    };
    world.write_policy(&world.policy().replace("role =", "recheck = \"0s\"\nrole ="));
    let daemon = world.start();
    ask_hostile_things(&world);
    assert_ne!(judged(&world, &image), "allowed");
    let lines_of_audit = world.audit().len() + world.swept().len();
    let text = fs::read_to_string(world.path("audit.jsonl")).unwrap();
    assert_eq!(text.lines().count(), lines_of_audit);
    let (_, lines) = daemon.stop();
    for line in lines.iter().map(String::as_str).chain(text.lines()) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert!(
        !lines.iter().any(|line| line.starts_with("level=error")),
        "{lines:?}"
    );
}

#[test]
fn an_audit_line_has_every_documented_member() {
    let Some((world, image)) = host("d-lines") else {
        return;
    };
    let _daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    world.unpack("gate", image.unpack(), &[]).unwrap_err();
    let evil = Image::named("evil");
    world.containerd.hold("default", |held| evil.hold(held));
    world.unpack("apply", evil.unpack(), &[]).unwrap_err();
    let lines = world.audit();
    let members = [
        "code",
        "digest",
        "door",
        "engine",
        "found",
        "ground",
        "hint",
        "host",
        "layer",
        "let_through",
        "let_through_by",
        "microseconds",
        "name",
        "namespaces",
        "outcome",
        "policy",
        "roots",
        "rule",
        "time",
        "version",
        "wanted",
    ];
    for line in &lines {
        assert_eq!(
            line.as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>(),
            members
        );
        assert!(
            line["time"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .is_ok()
        );
    }
    let pick = |line: &Value| {
        [
            &line["door"],
            &line["engine"],
            &line["outcome"],
            &line["ground"],
        ]
        .map(|member| member.as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(pick(&lines[0]), ["verify", "-", "allowed", "signed"]);
    assert_eq!(pick(&lines[1]), ["gate", "main", "allowed", "signed"]);
    assert_eq!(pick(&lines[2]), ["apply", "main", "refused", "-"]);
    assert_eq!(lines[1]["layer"], image.layer.digest.as_str());
    assert_eq!(lines[1]["namespaces"], serde_json::json!(["default"]));
    assert_eq!(
        fs::metadata(world.path("audit.jsonl"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
}

#[test]
fn metrics_are_prometheus_text() {
    let Some((world, image)) = host("d-metrics") else {
        return;
    };
    // A name that a label must escape.
    let _daemon = world.start_ready(
        &world
            .config()
            .replace("name = \"main\"", r#"name = "a\"b\\c""#),
    );
    assert_eq!(judged(&world, &image), "allowed");
    world.unpack("gate", image.unpack(), &[]).unwrap_err();
    world.door("gate");
    let text = world.rootpin(&["metrics"]).out;
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            assert!(
                ["HELP", "TYPE"].contains(&kind) && rest.starts_with("rootpin_"),
                "{line}"
            );
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split_once('{').map_or(series, |(name, labels)| {
            assert!(well_formed(labels), "{line}");
            name
        });
        assert!(
            name.starts_with("rootpin_")
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{line}"
        );
        // A histogram has three kinds of samples.
        let of_histogram = ["_bucket", "_sum", "_count"];
        let typed = of_histogram
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .any(|name| text.contains(&format!("# TYPE {name} histogram")))
            || text.contains(&format!("# TYPE {name} "));
        assert!(typed && value.parse::<f64>().is_ok(), "{line}");
        assert!(
            samples
                .insert(series.to_owned(), value.to_owned())
                .is_none(),
            "twice: {line}"
        );
    }
    assert_eq!(
        samples[r#"rootpin_questions_total{door="verify",engine="",outcome="allowed",code=""}"#],
        "1"
    );
    assert_eq!(
        samples[r#"rootpin_questions_total{door="gate",engine="a\"b\\c",outcome="allowed",code=""}"#],
        "1"
    );
    assert_eq!(samples["rootpin_policy_ok"], "1");
    assert_eq!(samples["rootpin_shared_signer_total"], "0");
    assert!(samples["rootpin_start_seconds"].parse::<f64>().unwrap() > 1e9);
}

/// `name="value",…}` with `\`, `"` and line feeds escaped.
fn well_formed(labels: &str) -> bool {
    let mut rest = labels;
    loop {
        let Some((name, value)) = rest.split_once("=\"") else {
            return false;
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            return false;
        }
        let mut end = None;
        let mut escaped = false;
        for (at, byte) in value.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return false };
        match &value[end + 1..] {
            "}" => return true,
            more => match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => return false,
            },
        }
    }
}

#[test]
fn one_signer_over_two_repositories_is_counted() {
    let Some((world, image)) = host("d-signer") else {
        return;
    };
    let signed = crate::publisher::Publisher::new(GUN);
    let mut other = crate::publisher::Publisher::new("r.test/team/other");
    other.tag("v1", &image.index.digest, 9);
    other
        .role("targets/releases")
        .keys
        .clone_from(&signed.roles["targets/releases"].keys);
    // Else its targets, which say nothing but who releases, would be the very bytes that the first
    // repository signed.
    other.tick();
    world.notary.publish(&other);
    let keys = format!(
        "keys = [\"{}\", \"{}\"]",
        signed.root_key().id(),
        other.root_key().id()
    );
    let one = format!("keys = [\"{}\"]", signed.root_key().id());
    world.write_policy(&world.policy().replace(&one, &keys));
    let mut daemon = world.start();
    assert_eq!(judged(&world, &image), "allowed");
    assert_eq!(
        world
            .verifier("r.test/team/other:v1", &image.index.digest)
            .code,
        0
    );
    daemon.line("has also signed for");
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_shared_signer_total 1\n")
    );
}
