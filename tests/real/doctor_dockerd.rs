//! What the doctor says of a dockerd, on real ones: a classic store that asks nobody, and a
//! containerd that nobody named.

use std::fs;
use std::process::Command;

use crate::advice;
use crate::daemon::Daemon;
use crate::dockerd::Dockerd;
use crate::doctor::examined_by;
use crate::image::Image;
use crate::lab::Lab;

const DENY: &str = "version = 1\ndefault = \"deny\"\n";

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_dockerd_with_a_classic_store_that_asks_nobody_is_made_to_ask() {
    let lab = Lab::start();
    let unsigned = Image::manifest("doctor, docker");
    let name = lab.name("doctor/docker", "v1");
    lab.push(&unsigned, &name);
    for version in ["dockerd26-overlay2", "dockerd28-overlay2"] {
        let docker = Dockerd::new(&lab, version);
        let _daemon = Daemon::with(
            &lab,
            &vec![("policy.toml", DENY.to_owned())],
            &docker.config(),
        );
        lab.script(&["start", version]);
        let examined = |words: &[&str]| {
            let text = fs::read_to_string(lab.root.join("rootpin/rootpin.toml")).unwrap();
            let (codes, value) = examined_by(&lab, &text, version, words);
            (
                codes
                    .into_iter()
                    .filter(|code| code != "docker-authz-bypass")
                    .collect::<Vec<_>>(),
                value,
            )
        };
        docker.cool();
        docker
            .docker(&["pull", &name])
            .expect("nobody is asked yet");
        let (codes, value) = examined(&[]);
        assert!(codes.contains(&"docker-no-authz".to_owned()), "{value:#}");
        let hole = value["holes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|hole| hole["code"] == "docker-no-authz")
            .unwrap();
        assert_eq!(
            (&hole["severity"], &hole["fixable"]),
            (&"open".into(), &true.into())
        );
        let (_, value) = examined(&["--fix", "--yes"]);
        let daemon_json = lab.root.join(format!("etc/{version}.json"));
        assert!(
            value["fix"]["restart"]
                .as_array()
                .unwrap()
                .contains(&version.into()),
            "{value:#}"
        );
        let text = fs::read_to_string(&daemon_json).unwrap();
        assert!(
            text.contains("authorization-plugins")
                && text.contains("\"storage-driver\": \"overlay2\""),
            "{text}"
        );
        docker.cool();
        lab.script(&["stop", version]);
        lab.start_as_it_is(version);
        let (codes, value) = examined(&[]);
        assert!(!codes.contains(&"docker-no-authz".to_owned()), "{value:#}");
        let words = docker
            .docker(&["pull", &name])
            .expect_err("the plugin should refuse it");
        assert!(words.contains("rootpin: "), "{words}");
        lab.script(&["stop", version]);
    }
}

/// Once by `--fix`, where that can, and once as it is typed.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_brings_images_in_without_a_call_is_ended_as_the_doctor_says() {
    let lab = Lab::start();
    let name = "dockerd28-overlay2";
    let docker = Dockerd::new(&lab, name);
    let text = format!(
        "control = \"/none\"\n[[docker]]\nname = {name:?}\nsocket = {:?}\n",
        lab.var("LAB_DOCKERD28_OVERLAY2")
            .trim_start_matches("unix://")
    );
    let change = |code: &str| {
        let (_, value) = examined_by(&lab, &text, name, &[]);
        let holes = value["holes"].as_array().unwrap().iter();
        let mut found = holes.filter(|hole| hole["code"] == code);
        found
            .next()
            .map(|hole| hole["change"].as_str().unwrap().to_owned())
    };
    lab.script(&["start", name]);
    let file = lab.root.join(format!("etc/{name}.json"));
    let usual = fs::read_to_string(&file).unwrap();
    let migrating = usual.replacen(
        '{',
        "{\n  \"features\": {\"containerd-migration\": true},",
        1,
    );
    let restart = || {
        lab.script(&["stop", name]);
        lab.start_as_it_is(name);
    };
    for by_fix in [true, false] {
        fs::write(&file, &migrating).unwrap();
        restart();
        let typed = change("docker-migration").expect("the feature is not seen");
        if by_fix {
            let (_, value) = examined_by(&lab, &text, name, &["--fix", "--yes"]);
            assert_eq!(value["fix"]["restart"][0], name, "{value:#}");
        } else {
            advice::follow(&lab, name, "0", &typed).unwrap();
        }
        restart();
        assert_eq!(change("docker-migration"), None);
    }
    fs::write(&file, &usual).unwrap();
    restart();
    docker
        .docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"])
        .unwrap();
    let typed = change("docker-swarm").expect("the swarm is not seen");
    advice::follow(&lab, name, "0", &typed).unwrap();
    assert_eq!(change("docker-swarm"), None);
    lab.script(&["stop", name]);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_containerd_of_dockerds_that_nobody_named_is_a_hole_and_naming_it_closes_it() {
    let lab = Lab::start();
    let docker = format!(
        "control = \"/none\"\n[[docker]]\nname = \"docker\"\nsocket = \"{}\"\n",
        lab.var("LAB_DOCKERD28").trim_start_matches("unix://")
    );
    let (codes, value) = examined_by(&lab, &docker, "docker", &[]);
    assert_eq!(
        codes,
        ["docker-unknown-containerd", "docker-no-authz"],
        "{value:#}"
    );
    let hole = value["holes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hole| hole["code"] == "docker-unknown-containerd")
        .unwrap();
    // The verb that has it ask says so too, and does not end as if all were in place.
    let output = Command::new(env!("CARGO_BIN_EXE_rootpin"))
        .args(["install", "--dry-run", "--config"])
        .arg(lab.root.join("rootpin/doctor.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not done: docker: docker-unknown-containerd"),
        "{said}"
    );
    // Its own lines, put into rootpin.toml.
    let lines = hole["change"]
        .as_str()
        .unwrap()
        .split_once(":\n")
        .unwrap()
        .1;
    let (codes, value) = examined_by(&lab, &format!("{docker}{lines}\n"), "docker", &[]);
    assert_eq!(codes, ["docker-no-authz"], "{value:#}");
}
