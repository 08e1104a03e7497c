//! Real engines, a real registry and a real Notary server against the real daemon. `tests/run`
//! starts these; see `lab.sh`.
#![cfg(test)]
#![allow(clippy::too_many_lines, reason = "a test tells one story, to its end")]

mod advice;
mod alerts;
mod ansible;
mod audit;
mod authz;
mod bare;
mod clients;
mod cold;
#[path = "../support/command.rs"]
mod command;
mod config_management;
#[path = "../support/cosign.rs"]
mod cosign;
mod cosign_cross_check;
mod credentials;
mod cri;
mod daemon;
mod dockerd;
mod doctor;
mod doctor_cases;
mod doctor_dockerd;
mod door;
#[path = "../support/fault_table.rs"]
mod fault_table;
mod faults;
mod image;
mod kubelets;
mod kubernetes;
mod lab;
mod least_privilege;
mod leaving;
mod local;
mod notary;
mod nri;
mod odd_hosts;
mod own;
mod own_rows;
mod packages;
mod paths;
mod pin;
mod platforms;
mod prove;
#[path = "../support/publisher.rs"]
mod publisher;
mod recipes;
mod registry_tls;
mod resolver;
mod roads;
mod rows;
mod shapes;
mod signed_rows;
mod sweep;
mod systemd;
mod trust_server;
mod unit_shapes;

use std::io::Write as _;
use std::time::{Duration, Instant};

use daemon::Daemon;
use door::Door;
use lab::Lab;
use rows::{Expect, Stage, rows};

/// `ROOTPIN_ROWS`, a part of a row's name, picks rows while one works on them.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn each_engine_unpacks_what_the_policy_allows_and_nothing_else() {
    let lab = Lab::start();
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let mut failures = Vec::new();
    for (number, row) in rows()
        .into_iter()
        .chain(own_rows::rows())
        .chain(signed_rows::rows())
        .enumerate()
        .filter(|(_, row)| row.case.contains(&picked))
    {
        let began = Instant::now();
        let mut stage = (row.stage)(&lab, &format!("real/case{number}"));
        let mut wrong = 0;
        for door in Door::ALL {
            let expect = row.expect[door.column()];
            if let Err(why) = cell(&lab, &mut stage, door, expect) {
                wrong += 1;
                failures.push(format!("{} | {door} | wanted {expect:?}: {why}", row.case));
            }
        }
        say(&format!(
            "{:5.1} s  {}  {}",
            began.elapsed().as_secs_f32(),
            if wrong == 0 { "ok  " } else { "FAIL" },
            row.case
        ));
    }
    assert!(
        failures.is_empty(),
        "{} cells are wrong:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Brings the image in by one door and compares all that can be seen.
fn cell(lab: &Lab, stage: &mut Stage, door: Door, expect: Expect) -> Result<(), String> {
    door.cool(lab);
    if let Some((name, image)) = &stage.first {
        door.bring_when_connected(lab, name, image)
            .map_err(|words| format!("{name} should have come in before: {words}"))?;
    }
    let layers_before = door.unpacked(lab);
    let asked = |stage: &Stage| {
        stage.daemon.as_ref().map_or_else(Vec::new, |daemon| {
            daemon.questions(door, &stage.name, &stage.image)
        })
    };
    let asked_before = asked(stage).len();
    let began = Instant::now();
    let result = match (&stage.killed, &stage.daemon) {
        (Some(_), _) => bring_and_kill(lab, stage, door),
        (None, Some(_)) => door.bring_when_connected(lab, &stage.name, &stage.image),
        (None, None) => door.bring(lab, &stage.name, &stage.image),
    };
    let took = began.elapsed();
    let words = match &result {
        Ok(words) | Err(words) => words.clone(),
    };
    let questions = asked(stage).split_off(asked_before);
    let unpacked = door.unpacked(lab).saturating_sub(layers_before);
    let check = |holds: bool, what: &str| {
        if holds {
            Ok(())
        } else {
            Err(format!(
                "{what}\n    questions: {questions:?}\n    unpacked: {unpacked}, in {took:?}\n    words: {words}"
            ))
        }
    };
    let refused = |what| check(result.is_err() && unpacked == 0, what);
    let judged = |outcomes: &[&str], code: &str| {
        let found = questions
            .iter()
            .all(|question| outcomes.contains(&question.outcome()) && question.code() == code);
        check(
            !questions.is_empty() && found,
            "the door was not asked, or the answer was another",
        )
    };
    let audited = |wanted: &str| {
        let told = audit::outcomes(lab, &stage.name);
        check(
            !told.is_empty() && told.iter().all(|one| one == wanted),
            &format!("an audit should say {wanted:?}, and says {told:?}"),
        )
    };
    match expect {
        Expect::Allowed => {
            check(result.is_ok() && unpacked > 0, "it should have come in")?;
            judged(&["allowed"], "")?;
            audited("allowed -")
        }
        Expect::Remembered => {
            check(result.is_ok() && unpacked > 0, "it should have come in")?;
            judged(&["allowed"], "")
        }
        Expect::Unasked => {
            check(result.is_ok(), "it should have come in")?;
            check(questions.is_empty(), "nobody should have been asked")
        }
        Expect::Refused(code) => {
            refused("it should have been refused")?;
            judged(&["refused", "unjudged"], code)?;
            check(
                questions.iter().all(daemon::Question::is_told_in_full),
                "found, wanted and hint should be told",
            )?;
            check(
                words.contains(code),
                "the engine's words should hold the code",
            )
        }
        Expect::ByEngine(why) => {
            refused("it should have been refused")?;
            check(questions.is_empty(), "nobody was there to be asked")?;
            check(words.contains(why), "the engine should give another reason")?;
            check(
                took < Duration::from_secs(3) || stage.killed.is_some(),
                "the refusal should come within three seconds",
            )
        }
        Expect::LetThrough(code) => {
            check(result.is_ok() && unpacked > 0, "it should have come in")?;
            judged(&["refused"], code)?;
            check(
                questions.iter().all(daemon::Question::let_through),
                "it should be recorded as let through",
            )?;
            audited(&format!("refused {code}"))
        }
    }
}

/// Kills the daemon when its question has reached the trust server; starts it anew after the engine
/// has said what it makes of that.
fn bring_and_kill(lab: &Lab, stage: &mut Stage, door: Door) -> Result<String, String> {
    let (mut daemon, server) = (stage.daemon.take().unwrap(), stage.server.as_ref().unwrap());
    server.hang();
    let result = std::thread::scope(|scope| {
        let bringing = scope.spawn(|| door.bring_when_connected(lab, &stage.name, &stage.image));
        server.wait_until_asked();
        // That may have been the sweep, which is told of the record that some clients write first:
        // the door's question is here soon.
        server.may_be_asked_again(Duration::from_secs(1));
        daemon.kill();
        bringing.join().unwrap()
    });
    // A sweep at its start would ask for what is there.
    for door in Door::ALL {
        door.cool(lab);
    }
    stage.daemon = Some(Daemon::start(lab, stage.killed.as_ref().unwrap()));
    result
}

/// A line of progress.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
