//! Roads into a dockerd that pass a door by: each is opened, taken, named by the doctor and by
//! `prove`, and closed by what they say.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::daemon::{Daemon, Policy, engine};
use crate::dockerd::Dockerd;
use crate::doctor::{examined_by, the_daemon_s};
use crate::image::Image;
use crate::lab::{Lab, run, write};
use crate::say;

fn deny() -> Policy {
    vec![(
        "policy.toml",
        "version = 1\ndefault = \"deny\"\n".to_owned(),
    )]
}

/// Says so where there is no docker 29.
fn has_docker_29(lab: &Lab) -> bool {
    let has = lab.has_engines();
    if !has {
        say("ROOTPIN_ENGINES is not set: no docker 29 is tried");
    }
    has
}

fn rootpin(lab: &Lab, words: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let output = command
        .arg("--control")
        .arg(lab.sockets().join("control.sock"))
        .args(words)
        .arg("--json")
        .output()
        .unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), value)
}

/// What a proof finds of these paths.
fn proved(lab: &Lab, paths: &[String]) -> Vec<String> {
    let config = lab.root.join("rootpin/rootpin.toml");
    let words: Vec<_> = paths
        .iter()
        .flat_map(|path| ["--path", path])
        .chain(["--config", config.to_str().unwrap()])
        .collect();
    let (_, proof) = rootpin(lab, &[&["prove"], &words[..]].concat());
    let found = proof["paths"]
        .as_array()
        .unwrap_or_else(|| panic!("{proof}"))
        .iter();
    found
        .map(|path| path["result"].as_str().unwrap().to_owned())
        .collect()
}

/// The severity and the change of the doctor's hole of that code.
fn hole(examined: &Value, code: &str, with: &str) -> Option<(String, String)> {
    let holes = examined["holes"].as_array().unwrap().iter();
    let text = |hole: &Value, member: &str| hole[member].as_str().unwrap().to_owned();
    let mut holes = holes.filter(|hole| hole["code"] == code && text(hole, "found").contains(with));
    holes
        .next()
        .map(|hole| (text(hole, "severity"), text(hole, "change")))
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_dockerd_that_answers_grpc_past_its_plugin_is_not_called_proven_by_status_prove_or_doctor() {
    let lab = Lab::start();
    let known = [
        ("dockerd28-overlay2", None),
        ("dockerd29-plugin", Some("weak")),
        ("dockerd29-overlay2", Some("open")),
    ];
    for (name, severity) in known
        .into_iter()
        .filter(|(_, severity)| severity.is_none() || has_docker_29(&lab))
    {
        let docker = Dockerd::new(&lab, name);
        let more = severity.map(|_| engine(&lab, "23")).unwrap_or_default();
        let _daemon = Daemon::with(&lab, &deny(), &format!("{more}{}", docker.config()));
        docker.start(&lab);
        let path = format!("{name}/grpc");
        assert_eq!(
            proved(&lab, &[path]),
            [if severity == Some("open") {
                "open"
            } else {
                "shut"
            }],
            "{name}"
        );
        let (_, examined) = examined_by(&lab, &the_daemon_s(&lab), name, &[]);
        let found = hole(&examined, "docker-authz-bypass", "gRPC").map(|(severity, _)| severity);
        assert_eq!(found.as_deref(), severity, "{examined:#}");
        let wanted = if severity.is_some() {
            "bypassed"
        } else {
            "proven"
        };
        let state = crate::paths::until(|| {
            let (_, status) = rootpin(&lab, &["status"]);
            let door = status["doors"]
                .as_array()
                .unwrap()
                .iter()
                .find(|door| door["door"] == "authz")
                .unwrap()
                .clone();
            (door["state"] == wanted).then_some(status)
        });
        let status = state.unwrap_or_else(|| panic!("{name} is never {wanted}"));
        let told = status["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| *why == format!("{name} has a way past authz"));
        assert_eq!(told, severity == Some("open"), "{status:#}");
        lab.script(&["stop", name]);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn an_embedded_containerd_is_open_until_its_feature_is_taken_out() {
    let lab = Lab::start();
    if !has_docker_29(&lab) {
        return;
    }
    let docker = format!(
        "[[docker]]\nname = \"dockerd29\"\nsocket = {:?}\n",
        lab.var("LAB_DOCKERD29").trim_start_matches("unix://")
    );
    let _daemon = Daemon::with(&lab, &deny(), &format!("{}{docker}", engine(&lab, "23")));
    let config = lab.root.join("etc/dockerd29.json");
    let paths = ["pull", "load", "build"].map(|way| format!("dockerd29/{way}"));
    for embedded in [true, false] {
        write(
            &config,
            format!(
                "{{\"features\": {{\"embedded-containerd\": {embedded}}}, \"storage-driver\": \"overlayfs\"}}"
            ),
        );
        lab.script(&["stop", "dockerd29"]);
        lab.start_as_it_is("dockerd29");
        assert_eq!(
            proved(&lab, &paths),
            [if embedded { "open" } else { "shut" }; 3],
            "embedded: {embedded}"
        );
        let (_, examined) = examined_by(&lab, &the_daemon_s(&lab), "dockerd29", &[]);
        let change = hole(
            &examined,
            "docker-unknown-containerd",
            "embedded-containerd",
        )
        .map(|(_, change)| change);
        let wanted = format!("in {}:\n\"features\": ", config.display());
        assert_eq!(
            change.is_some_and(|change| change.starts_with(&wanted)),
            embedded,
            "{examined:#}"
        );
    }
    lab.script(&["stop", "dockerd29"]);
    fs::remove_file(config).unwrap();
}

/// dockerd puts the mirrors before the one host that `_default` has; docker.io's own file has two.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn mirrors_of_dockerd_go_round_a_default_file_and_a_file_of_docker_hub_s_own_ends_them() {
    let lab = Lab::start();
    let daemon = Daemon::start(
        &lab,
        &vec![("policy.toml", format!("{}{ENTRY}", deny()[0].1))],
    );
    lab.push(
        &Image::manifest("mirrored"),
        &lab.name("library/mirrored", "v1"),
    );
    let certs = lab.root.join("etc/certs.d");
    let mirrors = format!(
        "\"registry-mirrors\": [\"http://{}\"]",
        lab.var("LAB_REGISTRY")
    );
    write(&lab.root.join("etc/daemon.json"), format!("{{{mirrors}}}"));
    let hosts = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .arg("hosts")
            .args(words)
            .args(["--resolver", lab.var("LAB_RESOLVER"), "--dir"])
            .arg(&certs)
            .output()
            .unwrap()
    };
    let versions = [("dockerd28", "LAB_BIN2"), ("dockerd29", "LAB_BIN23")];
    for (name, bin) in versions
        .into_iter()
        .filter(|(name, _)| *name == "dockerd28" || has_docker_29(&lab))
    {
        let _ = fs::remove_dir_all(&certs);
        assert!(hosts(&["write", "_default"]).status.success());
        let config = lab.root.join(format!("etc/{name}.json"));
        write(
            &config,
            format!(
                "{{\"features\": {{\"containerd-snapshotter\": true}}, \"storage-driver\": \"overlayfs\", {mirrors}}}"
            ),
        );
        lab.script(&["stop", name]);
        lab.script_with(&["start", name], &[("LAB_CERTS", "1"), ("LAB_KEEP", "1")]);
        let host = lab.var(&format!("LAB_{}", name.to_uppercase()));
        let asked = || {
            let before = daemon.asked("resolver").len();
            let pulled = Command::new(lab.path(bin).join("docker"))
                .env("DOCKER_HOST", host)
                .args(["pull", "mirrored:v1"])
                .output()
                .unwrap();
            assert!(!pulled.status.success(), "nobody signed it");
            daemon.asked("resolver").len() > before
        };
        assert!(!asked(), "{name}: the mirror says what the tag is");
        let open = hosts(&["check"]);
        let words = String::from_utf8_lossy(&open.stdout).into_owned();
        assert!(
            open.status.code() == Some(1) && words.contains("mirrors: "),
            "{words}"
        );
        assert!(hosts(&["write", "docker.io"]).status.success());
        assert!(hosts(&["check"]).status.success());
        assert!(asked(), "{name}: two hosts end the mirrors");
        lab.script(&["stop", name]);
        fs::remove_file(config).unwrap();
    }
    fs::remove_dir_all(certs).unwrap();
    run(Command::new("rm").arg(lab.root.join("etc/daemon.json")));
}

/// Of a registry that the resolver may ask, because the policy names it.
const ENTRY: &str = "[[image]]\nname = \"docker.io/library/other:v1\"\n\
    digest = \"sha256:abababababababababababababababababababababababababababababababab\"\n";
