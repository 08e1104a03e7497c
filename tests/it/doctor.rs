//! `rootpin doctor` as a command: what it says of engines that don't answer, how it ends, and that
//! its codes are the documented ones.

use std::fs;

use rootpin::operate::doctor::Code;
use serde_json::Value;

use crate::world::World;

/// What it says, without the engines of whoever runs the tests.
fn examined(world: &World, words: &[&str]) -> (Value, i32) {
    let config = world.path("rootpin.toml").display().to_string();
    world.rootpin_json(
        &[
            &["doctor", "--config", &config, "--accept", "unlisted-engine"],
            words,
        ]
        .concat(),
    )
}

fn codes(report: &Value) -> Vec<&str> {
    let own = report["holes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hole| hole["code"] != "unlisted-engine");
    own.map(|hole| hole["code"].as_str().unwrap()).collect()
}

fn untold(report: &Value) -> Vec<&str> {
    report["untold"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subject"].as_str().unwrap())
        .collect()
}

#[test]
fn every_code_of_the_doctor_is_documented_and_no_other() {
    let text = include_str!("../../docs/doctor.md");
    let documented: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .collect();
    let row = |code: &Code| {
        format!(
            "{}` | {} | {} |",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        )
    };
    let rows: Vec<String> = Code::ALL.iter().map(row).collect();
    for row in &rows {
        assert!(
            documented.iter().any(|line| line.starts_with(row.as_str())),
            "docs/doctor.md lacks | `{row}"
        );
    }
    assert_eq!(documented.len(), rows.len());
}

#[test]
fn an_engine_that_does_not_answer_is_named_and_nobody_is_told_that_all_is_shut() {
    let Some(world) = World::new("doc-silent") else {
        return;
    };
    fs::write(
        world.path("rootpin.toml"),
        world.config().replace("/containerd\"", "/none\"")
            + "[[docker]]\nname = \"d\"\nsocket = \"/none\"\n",
    )
    .unwrap();
    let (report, code) = examined(&world, &[]);
    assert_eq!(
        (code, report["outcome"].as_str()),
        (2, Some("untold")),
        "{report}"
    );
    assert_eq!(untold(&report), ["main", "d", "rootpind"]);
    let text = world
        .rootpin(&[
            "doctor",
            "--config",
            &world.path("rootpin.toml").display().to_string(),
        ])
        .out;
    assert!(
        text.contains("not looked at: main: ") && text.contains("/none: No such file or directory"),
        "{text}"
    );
}

#[test]
fn a_listed_dockerd_that_gives_no_answer_is_not_called_unlisted() {
    let Some(world) = World::new("doc-hangs") else {
        return;
    };
    // A process of that name that listens, and knows nothing of GET /info.
    let program = world.path("dockerd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rootpind"), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    command.arg("--config").arg(world.path("rootpin.toml"));
    let daemon = world.start_by(&world.config(), &mut command);
    assert_eq!(daemon.notice(), "READY=1");
    let socket = world.path("control");
    let config = world.path("doctor.toml");
    fs::write(
        &config,
        format!("[[docker]]\nname = \"d\"\nsocket = {socket:?}\n"),
    )
    .unwrap();
    let words = ["doctor", "--config", config.to_str().unwrap()];
    let (report, _) = world.rootpin_json(&words);
    assert!(untold(&report).contains(&"d"), "{report}");
    let shown = program.display().to_string();
    let of_it = |hole: &&Value| hole["found"].as_str().unwrap().contains(&shown);
    let holes = report["holes"].as_array().unwrap();
    assert_eq!(holes.iter().find(of_it), None, "{report}");
}

#[test]
fn what_an_engine_says_of_itself_is_judged_though_its_configuration_cannot_be_told() {
    let Some(world) = World::new("doc-fake") else {
        return;
    };
    let _daemon = world.start();
    world.door("apply");
    let (report, code) = examined(&world, &[]);
    assert_eq!(code, 1, "{report}");
    // The fake unpacks whatever it is asked to, has no verifier, and is not containerd's own
    // program.
    assert_eq!(
        codes(&report),
        [
            "door-not-asked",
            "gate-missing",
            "state-new",
            "verifier-off"
        ]
    );
    assert_eq!(untold(&report), ["main"]);
    assert!(
        report["untold"][0]["why"]
            .as_str()
            .unwrap()
            .contains("and not containerd"),
        "{report}"
    );
    assert_eq!(report["engines"][0]["version"], "2.1.9");
    for hole in report["holes"].as_array().unwrap() {
        assert!(
            ["found", "why", "change"]
                .iter()
                .all(|member| hole[member].as_str().is_some_and(|text| !text.is_empty())),
            "{hole}"
        );
    }
    world.containerd.proxy(&world.path("gate"));
    assert_eq!(world.rootpin(&["state", "acknowledge"]).code, 0);
    assert_eq!(
        codes(&examined(&world, &[]).0),
        ["door-not-asked", "verifier-off"]
    );
}

#[test]
fn a_code_that_was_accepted_is_told_and_does_not_count() {
    let Some(world) = World::new("doc-accept") else {
        return;
    };
    let _daemon = world.start();
    world.door("apply");
    let all = [
        "--accept",
        "gate-missing",
        "--accept",
        "door-not-asked",
        "--accept",
        "verifier-off",
    ];
    let (report, code) = examined(&world, &all);
    assert_eq!(
        (code, report["outcome"].as_str()),
        (2, Some("untold")),
        "{report}"
    );
    assert!(codes(&report).contains(&"gate-missing"));
    assert!(
        report["holes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hole| hole["accepted"] == true || hole["severity"] != "open"),
        "{report}"
    );
}

#[test]
fn modes_of_the_policy_that_let_pass_are_noted() {
    let Some(world) = World::new("doc-policy") else {
        return;
    };
    world.write_policy(
        &(world
            .policy()
            .replacen("default", "mode = \"audit\"\ndefault", 1)
            + "[local]\ncontent = \"allow\"\n"),
    );
    let _daemon = world.start();
    let (report, _) = examined(&world, &[]);
    assert!(
        ["policy-audit", "policy-local"]
            .iter()
            .all(|code| codes(&report).contains(code)),
        "{report}"
    );
    let note = report["holes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|hole| hole["code"] == "policy-audit")
        .unwrap();
    assert_eq!(note["severity"], "note");
}

#[test]
fn the_metrics_file_says_how_it_ended_and_is_whole() {
    let Some(world) = World::new("doc-metrics") else {
        return;
    };
    fs::write(world.path("rootpin.toml"), world.config()).unwrap();
    let file = world.path("doctor.prom");
    let shown = file.display().to_string();
    let (_, code) = examined(&world, &["--metrics", &shown]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains(&format!("\nrootpin_doctor_exit_code {code}\n")),
        "{text}"
    );
    let missing = world.path("none/doctor.prom").display().to_string();
    let ended = world.rootpin(&[
        "doctor",
        "--config",
        &world.path("rootpin.toml").display().to_string(),
        "--metrics",
        &missing,
    ]);
    assert!(
        ended.code == 2 && ended.err.contains("none/doctor.prom"),
        "{ended:?}"
    );
}

#[test]
fn nothing_is_written_unless_somebody_agrees() {
    let Some(world) = World::new("doc-agree") else {
        return;
    };
    let config = world.path("rootpin.toml").display().to_string();
    fs::write(world.path("rootpin.toml"), world.config()).unwrap();
    let ended = |words: &[&str]| world.rootpin(&[&["doctor", "--config", &config], words].concat());
    // Where there is nothing to write, nobody has to be asked.
    let (plain, fix) = (ended(&[]), ended(&["--fix"]));
    assert!(
        fix.code == plain.code && fix.out.contains("nothing is written"),
        "{fix:?}"
    );
    fs::set_permissions(
        world.path("containerd"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    for words in [
        &["--fix"][..],
        &["--fix", "--json"],
        &["--dry-run"],
        &["--yes"],
        &["--fix", "--yes", "--dry-run"],
        &["--accept", "no-such-code"],
        &["more"],
    ] {
        let ended = ended(words);
        assert_eq!(ended.code, 64, "{words:?}: {ended:?}");
    }
    // A socket that every user can connect to is shut by its mode.
    let mode = |path: &str| {
        std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(world.path(path)).unwrap().permissions(),
        ) & 0o777
    };
    let (report, _) = examined(&world, &["--fix", "--dry-run"]);
    assert!(
        codes(&report).contains(&"socket-open") && report["fix"]["written"].is_null(),
        "{report}"
    );
    assert!(
        report["fix"]["diff"]
            .as_str()
            .unwrap()
            .contains("to root, mode 0660"),
        "{report}"
    );
    assert_eq!(mode("containerd"), 0o666);
    let (report, _) = examined(&world, &["--fix", "--yes"]);
    assert_eq!(mode("containerd"), 0o660, "{report}");
    assert!(
        !codes(&report).contains(&"socket-open") && report["fix"]["written"].is_array(),
        "{report}"
    );
}
