//! Every hole that `rootpin doctor` knows of a containerd, on a real one: opened, named, used;
//! closed by `--fix` or as the doctor says; and then it names it no more, and what came in by it is
//! refused.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::advice;
use crate::daemon::{Daemon, Policy};
use crate::doctor_cases::Lets::{self, Bytes, Names, Nothing};
use crate::doctor_cases::{Case, ONE, TWO, cases, drop_in, folder, mode};
use crate::image::Image;
use crate::lab::{Lab, write};
use crate::own::{Own, push_signed};

/// Everything as the package leaves it, and the engine running so.
fn reset(lab: &Lab, engine: &str) {
    lab.script(&["stop", engine]);
    for path in [
        folder(lab, engine),
        lab.root.join("etc/conf.d"),
        lab.verifier(),
    ] {
        let _ = fs::remove_dir_all(path);
    }
    lab.install_doors();
    lab.script(&["start", engine]);
}

pub(crate) fn restart(lab: &Lab, engine: &str) {
    lab.script(&["stop", engine]);
    lab.start_as_it_is(engine);
}

/// A signed image under `v1`, and the same bytes under a tag that nobody signed.
struct Images {
    signed: String,
    unsigned: String,
    image: Image,
    policy: Policy,
}

/// What the doctor says of one engine: its codes, and everything. Without the resolver, which would
/// refuse names that holes let in.
fn examined(lab: &Lab, engine: &str, words: &[&str]) -> (Vec<String>, Value) {
    let text = the_daemon_s(lab);
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("resolver"))
        .fold(String::new(), |text, line| text + line + "\n");
    examined_by(lab, &text, engine, words)
}

/// The daemon's rootpin.toml.
pub(crate) fn the_daemon_s(lab: &Lab) -> String {
    fs::read_to_string(lab.root.join("rootpin/rootpin.toml")).unwrap()
}

/// The same by another rootpin.toml than the daemon's.
pub(crate) fn examined_by(
    lab: &Lab,
    text: &str,
    engine: &str,
    words: &[&str],
) -> (Vec<String>, Value) {
    let config = lab.root.join("rootpin/doctor.toml");
    write(&config, text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["doctor", "--json", "--config"])
        .arg(config)
        .arg("--verifier")
        .arg(lab.verifier())
        .args(words);
    let output = command.output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let holes = value["holes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hole| hole["engine"] == engine);
    let codes = holes
        .map(|hole| hole["code"].as_str().unwrap().to_owned())
        .collect();
    (codes, value)
}

/// Whether the hole lets in what it should not.
fn let_in(lab: &Lab, lets: Lets, images: &Images) -> Option<Result<String, String>> {
    match lets {
        Nothing => None,
        Bytes(door) => {
            door.cool(lab);
            let strange = Image::manifest(&format!("strange {:?}", Instant::now()));
            let name = lab.name("doctor/strange", "v1");
            lab.push(&strange, &name);
            Some(door.bring_when_connected(lab, &name, &strange))
        }
        Names(door) => Some(door.bring_when_connected(lab, &images.unsigned, &images.image)),
    }
}

/// How a hole is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// By `--fix`, or by hand where that can't.
    Fix,
    /// By what the doctor says, as typed.
    Advice,
}

/// Does what the doctor says about every hole of the engine, and that again while it says
/// something.
fn follow_all(lab: &Lab, engine: &str, usual: &str) -> Result<(), String> {
    // The daemon's own tries come by and by; a plugin's error names what another hole is about.
    let leave = [usual, "door-not-asked", "plugin-error"];
    let mut done = Vec::new();
    for round in 0..4 {
        let (_, value) = examined(lab, engine, &[]);
        let holes = value["holes"].as_array().unwrap().iter().filter(|hole| {
            hole["engine"] == engine && !leave.contains(&hole["code"].as_str().unwrap())
        });
        let changes: Vec<String> = holes
            .map(|hole| hole["change"].as_str().unwrap().to_owned())
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        for (number, change) in changes
            .iter()
            .enumerate()
            .filter(|(_, change)| !done.contains(*change))
        {
            advice::follow(lab, engine, &format!("{round}{number}"), change)?;
        }
        done.extend(changes);
        restart(lab, engine);
    }
    Err(format!(
        "after four rounds of doing what it says, it still says something: {done:#?}"
    ))
}

fn check(
    lab: &Lab,
    case: &Case,
    by: By,
    images: &Images,
    daemon: &mut Option<Daemon>,
) -> Result<(), String> {
    let Case {
        code,
        engine,
        open,
        close,
        lets,
        ..
    } = case;
    reset(lab, engine);
    // What is there on a host in order: neither containerd can require an NRI plugin.
    let usual = "nri-fails-open";
    // The daemon's canary may have met the containerd that went away.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let (before, value) = examined(lab, engine, &[]);
        match before == [usual] {
            true => break,
            false if Instant::now() < end => {}
            false => return Err(format!("a host in order has {before:?}: {value:#}")),
        }
    }
    if let Names(door) = lets {
        door.cool(lab);
        door.bring_when_connected(lab, &images.signed, &images.image)
            .map_err(|words| format!("what is signed should come in: {words}"))?;
    }
    open(lab);
    match *code {
        "socket-open" => mode(&lab.path("LAB_CONTAINERD2"), 0o666),
        "restart-pending" => drop_in(lab, engine, "version = 3\n"),
        _ => restart(lab, engine),
    }
    // The daemon's own canary runs once a minute, and at its start.
    if *code == "door-not-asked" {
        daemon.take();
        *daemon = Some(Daemon::restart(lab, &images.policy));
    }
    let end = Instant::now() + Duration::from_secs(10);
    while !examined(lab, engine, &[]).0.contains(&(*code).to_owned()) {
        let (found, value) = examined(lab, engine, &[]);
        if *code != "door-not-asked" || Instant::now() > end {
            return Err(format!("open, and the doctor says {found:?}: {value:#}"));
        }
    }
    if let Some(Err(words)) = let_in(lab, *lets, images) {
        return Err(format!(
            "the hole is named and nothing comes in by it: {words}"
        ));
    }
    if let Some(close) = close {
        close(lab);
    } else if by == By::Advice {
        follow_all(lab, engine, usual)?;
    } else {
        let (_, value) = examined(lab, engine, &["--fix", "--yes"]);
        if value["fix"]["written"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("--fix wrote nothing: {value:#}"));
        }
    }
    if *code != "socket-open" {
        restart(lab, engine);
    }
    if *code == "door-not-asked" {
        daemon.take();
        *daemon = Some(Daemon::restart(lab, &images.policy));
    }
    // No drop-in makes an old containerd insist on a plugin, and another program in the folder is
    // somebody's.
    let stays =
        |left: &str| left == usual || *code == "verifier-foreign" && left == "verifier-crowded";
    // The daemon has to find the engine again that was restarted.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let (after, value) = examined(lab, engine, &[]);
        match after
            .iter()
            .any(|left| left == code && *code != "nri-fails-open" || !stays(left))
        {
            false => break,
            true if Instant::now() < end => {}
            true => return Err(format!("closed, and the doctor says {after:?}: {value:#}")),
        }
    }
    match let_in(lab, *lets, images) {
        Some(Ok(words)) => Err(format!(
            "the doctor is content, and it still comes in: {words}"
        )),
        _ => Ok(()),
    }
}

/// `ROOTPIN_ROWS`, a part of a code, picks cases while one works on them.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn each_hole_that_the_doctor_names_is_one_and_what_it_says_closes_it() {
    let lab = Lab::start();
    // It would lose its containerd again and again.
    lab.script(&["stop", "dockerd28"]);
    let gun = lab
        .name("doctor/signed", "v1")
        .trim_end_matches(":v1")
        .to_owned();
    let (own, image) = (Own::in_folder(&lab, &gun), Image::manifest("doctor"));
    push_signed(&own, "v1", &image);
    let unsigned = format!("{gun}:v2");
    lab.push(&image, &unsigned);
    let images = Images {
        signed: format!("{gun}:v1"),
        unsigned,
        image,
        policy: own.policy(&[]),
    };
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let mut failures = Vec::new();
    for case in cases().iter().filter(|case| case.code.contains(&picked)) {
        let began = Instant::now();
        let mut daemon = Some(Daemon::start(&lab, &images.policy));
        let mut result = Ok(());
        if case.by_fix {
            result = check(&lab, case, By::Fix, &images, &mut daemon);
        }
        if result.is_ok() && case.close.is_none() && case.code != "door-not-asked" {
            result = check(&lab, case, By::Advice, &images, &mut daemon)
                .map_err(|why| format!("as the doctor says: {why}"));
        }
        drop(daemon);
        crate::say(&format!(
            "{:5.1} s  {}  {} {}",
            began.elapsed().as_secs_f32(),
            if result.is_ok() { "ok  " } else { "FAIL" },
            case.engine,
            case.code
        ));
        if let Err(why) = result {
            crate::say(&why);
            failures.push(format!("{} {}: {why}", case.engine, case.code));
        }
    }
    reset(&lab, ONE);
    reset(&lab, TWO);
    assert!(
        failures.is_empty(),
        "{} holes are wrong:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_containerd_that_would_panic_on_a_drop_in_is_named_and_gets_none() {
    let lab = Lab::start();
    lab.script(&["start", "containerd16"]);
    let config = format!(
        "control = \"/none\"\n[[engine]]\nname = \"old\"\ncontainerd = \"{}\"\ngate = \"/run/old.gate.sock\"\napply = \"/run/old.apply.sock\"\n",
        lab.var("LAB_CONTAINERD16")
    );
    let (codes, value) = examined_by(&lab, &config, "old", &["--fix", "--yes"]);
    assert_eq!(codes, ["containerd-too-old"], "{value:#}");
    assert!(
        value["fix"]["written"].is_null() && value["fix"]["diff"] == "",
        "{value:#}"
    );
    assert!(
        fs::read_dir(folder(&lab, "containerd16"))
            .unwrap()
            .next()
            .is_none()
    );
    lab.script(&["stop", "containerd16"]);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn hosts_toml_files_are_closed_by_the_command_as_it_is_typed() {
    let lab = Lab::start();
    reset(&lab, TWO);
    let gun = lab.name("doctor/hosts", "v1");
    let own = Own::in_folder(&lab, gun.trim_end_matches(":v1"));
    let _daemon = Daemon::start(&lab, &own.policy(&[]));
    let _ = fs::remove_dir_all(lab.root.join("etc/certs.d"));
    let open = || {
        let (_, value) = examined_by(&lab, &the_daemon_s(&lab), TWO, &[]);
        let holes = value["holes"].as_array().unwrap().iter();
        let open = holes.filter(|hole| hole["code"] == "hosts-open" && hole["engine"] == TWO);
        open.map(|hole| hole["change"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let changes = open();
    assert!(
        changes.len() == 1 && changes[0].starts_with("rootpin hosts write --config "),
        "{changes:?}"
    );
    advice::follow(&lab, TWO, "0", &changes[0]).unwrap();
    assert_eq!(open(), [""; 0]);
    let _ = fs::remove_dir_all(lab.root.join("etc/certs.d"));
}

/// In a copy of /etc, for the command changes who is in the group.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_group_that_may_connect_is_emptied_by_the_command_as_it_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    let within = |command: &str| {
        let mut program = Command::new("unshare");
        program.args([
            "-m",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc && exec sh -c \"$1\"",
        ]);
        program.arg(&etc).arg(command).output().unwrap()
    };
    let copied = Command::new("cp").arg("-a").arg("/etc").arg(&etc).status();
    assert!(copied.unwrap().success());
    for (file, line) in [
        ("group", "rootpin-advice:x:64999:nobody\n"),
        ("gshadow", "rootpin-advice:!::nobody\n"),
    ] {
        let path = etc.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + line).unwrap();
    }
    let socket = folder.path().join("engine.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::chown(&socket, Some(0), Some(64999)).unwrap();
    mode(&socket, 0o660);
    let config = folder.path().join("rootpin.toml");
    let engine = format!(
        "control = \"/none\"\n[[docker]]\nname = \"one\"\nsocket = {:?}\n",
        socket.display().to_string()
    );
    write(&config, engine);
    let doctor = format!(
        "{} doctor --json --config {}",
        env!("CARGO_BIN_EXE_rootpin"),
        config.display()
    );
    let change = || {
        let output = within(&doctor);
        let value: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let holes = value["holes"].as_array().unwrap().iter();
        let mut of_socket = holes.filter(|hole| hole["code"] == "socket-open");
        of_socket
            .next()
            .map(|hole| hole["change"].as_str().unwrap().to_owned())
    };
    let command = change().expect("nobody is in the group");
    assert!(
        command.starts_with("gpasswd -M '' rootpin-advice"),
        "{command}"
    );
    let output = within(&command);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(change(), None);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn an_engine_that_rootpin_toml_does_not_name_is_found_by_its_process() {
    let lab = Lab::start();
    let named = |name: &str, socket: &str| {
        format!(
            "[[engine]]\nname = \"{name}\"\ncontainerd = \"{}\"\ngate = \"/run/{name}.gate.sock\"\napply = \"/run/{name}.apply.sock\"\n",
            lab.var(socket)
        )
    };
    let found = |config: &str, path: &str| {
        let (_, value) = examined_by(&lab, config, "", &[]);
        let path = lab.root.join(path).display().to_string();
        let holes = value["holes"].as_array().unwrap().iter();
        holes
            .filter(|hole| hole["code"] == "unlisted-engine")
            .any(|hole| hole["found"].as_str().unwrap().contains(&path))
    };
    let one = "control = \"/none\"\n".to_owned() + &named("one", "LAB_CONTAINERD17");
    assert!(
        found(&one, "etc/containerd2.toml")
            && found(&one, "etc/dockerd28.json")
            && !found(&one, "etc/containerd17.toml")
    );
    let docker = format!(
        "[[docker]]\nname = \"docker\"\nsocket = \"{}\"\n",
        lab.var("LAB_DOCKERD28").trim_start_matches("unix://")
    );
    let all = one + &named("two", "LAB_CONTAINERD2") + &docker;
    assert!(!found(&all, "etc/containerd2.toml") && !found(&all, "etc/dockerd28.json"));
}
