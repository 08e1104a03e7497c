//! A clock that jumps. libfaketime shows it to rootpind alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::scene::Scene;
use crate::fault_table::Back;
use crate::world::{Daemon, World};

/// A daemon whose clock a file sets.
struct Clock(PathBuf);

impl Clock {
    /// `None`, with a message, where libfaketime is not installed.
    #[allow(clippy::disallowed_macros, reason = "a test that did not run says so")]
    fn start(world: &World) -> Option<(Self, Daemon)> {
        let library = ["x86_64", "aarch64"]
            .map(|machine| {
                PathBuf::from(format!(
                    "/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"
                ))
            })
            .into_iter()
            .find(|path| path.exists());
        let Some(library) = library else {
            eprintln!("not run: libfaketime is not installed");
            return None;
        };
        let clock = Self(world.path("clock"));
        clock.set("+0");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
        command
            .arg("--config")
            .arg(world.path("rootpin.toml"))
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let daemon = world.start_by(&world.config(), &mut command);
        assert_eq!(daemon.notice(), "READY=1");
        Some((clock, daemon))
    }

    fn set(&self, offset: &str) {
        let fresh = self.0.with_extension("new");
        fs::write(&fresh, format!("{offset}\n")).unwrap();
        fs::rename(fresh, &self.0).unwrap();
    }
}

#[test]
fn a_clock_before_the_build_refuses_what_rests_on_time_until_it_is_set_right() {
    let Some(mut scene) = Scene::new(
        "f-clock-back",
        "the clock jumps to before rootpin was built",
    ) else {
        return;
    };
    let Some((clock, daemon)) = Clock::start(&scene.world) else {
        return;
    };
    scene.well();
    clock.set("-9000d");
    let saw = scene.ask();
    scene.told_by_status("the clock can't be right");
    scene.told_by_metric("rootpin_clock_ok 0");
    clock.set("+0");
    let back = scene.back_within(0);
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_clock_far_ahead_finds_everything_expired_and_leaves_nothing_behind() {
    let Some(mut scene) = Scene::new("f-clock-ahead", "the clock jumps beyond all expiries") else {
        return;
    };
    let Some((clock, daemon)) = Clock::start(&scene.world) else {
        return;
    };
    scene.well();
    clock.set("+18000d");
    let saw = scene.ask();
    scene.told_by_questions(saw.trim_start_matches("refused: `").trim_end_matches('`'));
    clock.set("+0");
    let back = scene.back_within(0);
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_clock_that_ran_ahead_leaves_a_time_that_a_person_has_to_forget() {
    let Some(mut scene) = Scene::new(
        "f-clock-set",
        "the clock ran two hours ahead, and is set right",
    ) else {
        return;
    };
    let Some((clock, daemon)) = Clock::start(&scene.world) else {
        return;
    };
    scene.well();
    clock.set("+2h");
    scene.publish();
    assert_eq!(scene.ask(), "allowed");
    clock.set("+0");
    let saw = scene.ask();
    scene.told_by_questions("clock");
    let reset = scene
        .world
        .rootpin(&["state", "reset", "--contacts", "--yes"]);
    assert_eq!(reset.code, 0, "{reset:?}");
    assert_eq!(scene.ask(), "allowed");
    scene.end(
        &format!("allowed while it ran ahead; then {saw}, until it is as late again"),
        Back::By("`rootpin state reset --contacts`, which the refusal says"),
    );
    assert_eq!(daemon.stop().0, 0);
}
