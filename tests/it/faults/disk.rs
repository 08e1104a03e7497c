//! The disk below the state: full, read-only, hanging, rotten, or another's.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::scene::{Mounts, Scene};
use crate::fault_table::Back;
use crate::world::World;

/// A namespace in which the state's folder is a small disk of its own.
fn small_disk(world: &World) -> Option<Mounts> {
    let state = world.path("state");
    fs::create_dir(&state).unwrap();
    Mounts::new(&format!(
        "mount -t tmpfs -o size=8m,mode=0700 tmpfs '{}'",
        state.display()
    ))
}

/// Writes until nothing more is taken.
fn fill(file: &Path) {
    let mut filler = fs::File::create(file).unwrap();
    let mut block = vec![0x5a; 1 << 16];
    while !block.is_empty() {
        if filler.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn a_full_disk_refuses_what_has_a_floor_to_write_and_is_made_good_by_room_alone() {
    let Some(mut scene) = Scene::new("f-full", "the state's disk fills up") else {
        return;
    };
    let Some(disk) = small_disk(&scene.world) else {
        return;
    };
    let daemon = disk.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    let filler = disk.path(&scene.world.path("state/filler"));
    fill(&filler);
    let saw = scene.ask_until_refused_and_told();
    fs::remove_file(filler).unwrap();
    let back = scene.back_within(1);
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_rootpind_that_starts_on_a_full_disk_answers_as_soon_as_there_is_room() {
    let Some(mut scene) = Scene::new(
        "f-full-start",
        "the state's disk is full when rootpind starts",
    ) else {
        return;
    };
    let Some(disk) = small_disk(&scene.world) else {
        return;
    };
    let daemon = disk.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    assert_eq!(daemon.stop().0, 0);
    let filler = disk.path(&scene.world.path("state/filler"));
    fill(&filler);
    let daemon = disk.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    let saw = scene.ask_until_refused_and_told();
    fs::remove_file(filler).unwrap();
    let back = scene.back_within(2);
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

/// A namespace in which the state's folder is an ext4 of its own, and the command that mounts it.
fn ext4(world: &World) -> Option<(Mounts, String)> {
    let (state, disk) = (world.path("state"), world.path("disk.ext4"));
    fs::create_dir(&state).unwrap();
    let (state, disk) = (state.display(), disk.display());
    let mount = format!("mount -o loop,errors=remount-ro '{disk}' '{state}'");
    let mounts = Mounts::new(&format!(
        "truncate -s 16M '{disk}'; mkfs.ext4 -q '{disk}'; {mount}; rmdir '{state}/lost+found'; chmod 700 '{state}'"
    ))?;
    Some((mounts, mount))
}

/// A file system whose writes wait, until this is dropped.
struct Frozen<'a>(&'a Mounts, String);

impl<'a> Frozen<'a> {
    fn freeze(mounts: &'a Mounts, folder: &Path) -> Self {
        let folder = folder.display().to_string();
        mounts.run(&format!("fsfreeze --freeze '{folder}'"));
        Self(mounts, folder)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let Self(mounts, folder) = self;
        mounts.run(&format!("fsfreeze --unfreeze '{folder}' || true"));
    }
}

#[test]
fn a_disk_that_hangs_costs_each_question_its_deadline_and_no_floor() {
    let Some(mut scene) = Scene::new("f-hangs", "the state's disk hangs: no write to it ends")
    else {
        return;
    };
    let Some((mounts, _)) = ext4(&scene.world) else {
        return;
    };
    let daemon = mounts.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    let frozen = Frozen::freeze(&mounts, &scene.world.path("state"));
    scene.publish();
    let newest = scene.publisher.roles["timestamp"].version;
    let saw = scene.ask();
    scene.told_by_status("the state is in trouble");
    scene.told_by_metric("rootpin_state_ok 0");
    drop(frozen);
    let back = scene.back_within(2);
    assert!(scene.has_seen(newest), "{:?}", scene.floors());
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_disk_that_turns_read_only_by_an_error_refuses_and_loses_no_floor() {
    let Some(mut scene) = Scene::new("f-readonly", "the state's disk turns read-only by an error")
    else {
        return;
    };
    let Some((mounts, mount)) = ext4(&scene.world) else {
        return;
    };
    let (state, disk) = (scene.world.path("state"), scene.world.path("disk.ext4"));
    let (state, disk) = (state.display(), disk.display());
    let daemon = mounts.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    mounts.run(&format!(
        "echo 1 >/sys/fs/ext4/$(basename $(findmnt -no SOURCE '{state}'))/trigger_fs_error"
    ));
    let saw = scene.ask_until_refused_and_told();
    assert_eq!(daemon.stop().0, 0);
    mounts.run(&format!(
        "umount '{state}'; e2fsck -fy '{disk}' >/dev/null || true; {mount}"
    ));
    let daemon = mounts.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    assert_eq!(scene.ask(), "allowed");
    scene.end(
        &saw,
        Back::By("checks and mounts the disk, and restarts rootpind"),
    );
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_rootpind_that_starts_on_a_read_only_state_answers_once_it_can_be_written() {
    let Some(mut scene) = Scene::new(
        "f-readonly-start",
        "the state is read-only when rootpind starts",
    ) else {
        return;
    };
    let Some(disk) = small_disk(&scene.world) else {
        return;
    };
    let daemon = disk.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    scene.well();
    assert_eq!(daemon.stop().0, 0);
    let state = scene.world.path("state").display().to_string();
    disk.run(&format!("mount -o remount,ro '{state}'"));
    let mut daemon = disk.start(&scene.world, &scene.world.config());
    assert_eq!(daemon.notice(), "READY=1");
    let saw = scene.ask();
    scene.told_by_status("the state is in trouble");
    scene.told_by_metric("rootpin_state_ok 0");
    scene.told_by_log(&mut daemon, "every question that needs it is refused");
    disk.run(&format!("mount -o remount,rw '{state}'"));
    let back = scene.back_within(2);
    scene.end(&saw, back);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_flipped_bit_in_any_page_refuses_or_changes_nothing_and_the_whole_file_is_taken_again() {
    let Some(mut scene) = Scene::new("f-bits", "a bit of the state file flips") else {
        return;
    };
    let daemon = scene.world.start();
    scene.well();
    assert_eq!(daemon.stop().0, 0);
    let file = scene.world.path("state/state.redb");
    let whole = fs::read(&file).unwrap();
    let pages: Vec<usize> = (0..whole.len() / 4096)
        .filter(|page| {
            whole[page * 4096..(page + 1) * 4096]
                .iter()
                .any(|byte| *byte != 0)
        })
        .collect();
    assert!(pages.len() > 4, "{pages:?}");
    let (mut refused, mut daemons, mut told) = (0, 0, false);
    for page in pages {
        // The page's first byte that is in use.
        let at = page * 4096
            + whole[page * 4096..]
                .iter()
                .position(|byte| *byte != 0)
                .unwrap();
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(&file, &rotten).unwrap();
        let daemon = scene.world.start();
        daemons += 1;
        match scene.code().as_str() {
            // It is said. Opened again, redb may go by its other commit, which has the same floors;
            // or the file is taken once somebody restores it.
            "state-unusable" => {
                refused += 1;
                told = told || scene.is_told_of_state();
                fs::write(&file, &whole).unwrap();
                scene.back_within(2);
            }
            saw => assert_eq!(saw, "allowed", "page {page}"),
        }
        scene.held(&scene.floors());
        daemon.signal("-KILL");
        assert_eq!(daemon.end().0, -9);
        fs::write(&file, &whole).unwrap();
    }
    assert!(refused > 0, "of {daemons} daemons none noticed anything");
    assert!(told, "{refused} daemons refused, and none told it");
    let daemon = scene.world.start();
    scene.well();
    scene.end(
        "refused: `state-unusable`; or nothing, where the bit is in no page that is used",
        Back::By("restores the file; it is taken within 2 s"),
    );
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn of_two_daemons_on_one_state_the_second_refuses_and_takes_over_when_the_first_ends() {
    let Some(mut scene) = Scene::new("f-two", "a second rootpind on the same state") else {
        return;
    };
    let first = scene.world.start();
    scene.well();
    let own = scene.world.config();
    let elsewhere = ["control", "gate", "apply", "audit.jsonl"]
        .iter()
        .fold(own, |config, name| {
            let path = scene.world.path(name).display().to_string();
            config.replace(&format!("\"{path}\""), &format!("\"{path}-2\""))
        });
    let file = scene.world.path("second.toml");
    fs::write(&file, elsewhere).unwrap();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_rootpind"))
        .arg("--config")
        .arg(&file)
        .env_remove("NOTIFY_SOCKET")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut second = KilledAtEnd(second);
    let control = scene.world.path("control-2");
    let digest = scene.image.index.digest.clone();
    let ask_second = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.args([
            "verify",
            &format!("{}@{digest}", super::scene::V1),
            "--json",
            "--control",
        ]);
        let ended = crate::world::run(command.arg(&control), b"");
        let answer: serde_json::Value = serde_json::from_str(&ended.out).unwrap_or_default();
        (ended.code, answer["code"].as_str().map(str::to_owned))
    };
    // It waits for the state for some seconds before it answers.
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while !crate::world::exists(&control) {
        assert!(std::time::Instant::now() < until && second.0.try_wait().unwrap().is_none());
    }
    assert_eq!(ask_second(), (2, Some("state-unusable".to_owned())));
    scene.publish();
    assert_eq!(scene.ask(), "allowed", "the first goes on");
    scene.told_by_metric("rootpin_state_ok 1");
    assert_eq!(first.stop().0, 0);
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while ask_second().0 != 0 {
        assert!(std::time::Instant::now() < until, "{:?}", ask_second());
    }
    drop(second);
    let daemon = scene.world.start();
    scene.told("the second one's refusals: “in use by another rootpin”");
    let back = Back::NeverAway;
    scene.end(
        "the first: allowed; the second: refused: `state-unusable`, until the first ends",
        back,
    );
    assert_eq!(daemon.stop().0, 0);
}

struct KilledAtEnd(std::process::Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
