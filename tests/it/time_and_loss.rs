//! What time does to a daemon, and what it loses: clocks that are wrong, states and policies that
//! are gone, records that can't be written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::containerd::Differ;
use crate::world::{Image, PATIENCE, World, run};

const V1: &str = "r.test/team/app:v1";

fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    // Else the gate would be what is red.
    world
        .containerd
        .differ(Differ::AsksGate(world.path("gate")));
    Some((world, image))
}

fn verify(world: &World, image: &Image) -> String {
    let (answer, _) = world.rootpin_json(&["verify", &format!("{V1}@{}", image.index.digest)]);
    answer["code"].as_str().unwrap_or("allowed").to_owned()
}

/// The status, once it is as wanted.
fn status_when(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, _) = world.rootpin_json(&["status"]);
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "{status}");
    }
}

// A state that is lost.

#[test]
fn a_first_start_is_told_until_it_is_acknowledged_and_is_not_red() {
    let Some((world, _)) = host("t-first") else {
        return;
    };
    let daemon = world.start();
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["state"]["standing"]),
        (0, &"new".into()),
        "{status}"
    );
    let text = world.rootpin(&["status"]);
    assert!(
        text.code == 0
            && text.out.contains("state: new since ")
            && text.out.contains("rootpin state acknowledge"),
        "{text:?}"
    );
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_state_acknowledged 0\n")
    );
    for (round, wanted) in ["written: ", "acknowledged already: "]
        .into_iter()
        .enumerate()
    {
        let said = world.rootpin(&["state", "acknowledge"]);
        assert!(
            said.code == 0 && said.out.contains(wanted),
            "{round}: {said:?}"
        );
    }
    assert_eq!(daemon.stop().0, 0);
    // It is the same one after a restart, though nothing was asked yet.
    let _daemon = world.start();
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["state"]["standing"]),
        (0, &"acknowledged".into()),
        "{status}"
    );
    assert!(!world.rootpin(&["status"]).out.contains("state: new"));
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_state_acknowledged 1\n")
    );
}

#[test]
fn an_empty_folder_in_place_of_the_acknowledged_state_is_red_and_serves_all_the_same() {
    let Some((world, image)) = host("t-lost") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(world.rootpin(&["state", "acknowledge"]).code, 0);
    assert_eq!(verify(&world, &image), "allowed");
    assert_eq!(daemon.stop().0, 0);
    fs::rename(world.path("state"), world.path("unmounted")).unwrap();
    let daemon = world.start();
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["state"]["standing"], &status["ok"]),
        (1, &"lost".into(), &Value::Bool(false)),
        "{status}"
    );
    assert!(world.rootpin(&["status"]).out.contains("state: LOST: "));
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_state_lost 1\n")
    );
    assert_eq!(verify(&world, &image), "allowed", "the node comes up");
    let said = world.rootpin(&["state", "acknowledge"]);
    assert!(
        said.code == 1
            && said.err.contains("names another state")
            && said.err.contains("rootpin state acknowledge --control ")
            && said.err.ends_with(" --lost\n"),
        "{said:?}"
    );
    assert_eq!(daemon.stop().0, 0);
    // The volume is back.
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::rename(world.path("unmounted"), world.path("state")).unwrap();
    let daemon = world.start();
    assert_eq!(world.rootpin_json(&["status"]).1, 0);
    assert_eq!(daemon.stop().0, 0);
    // It is gone for good.
    fs::remove_dir_all(world.path("state")).unwrap();
    let _daemon = world.start();
    assert_eq!(world.rootpin_json(&["status"]).1, 1);
    assert_eq!(world.rootpin(&["state", "acknowledge", "--lost"]).code, 0);
    assert_eq!(world.rootpin_json(&["status"]).1, 0);
}

#[test]
fn once_another_state_is_acknowledged_the_policy_in_force_is_kept_there_and_an_older_one_never_comes_back()
 {
    let Some((world, image)) = host("t-kept") else {
        return;
    };
    // Another state, which has the policy of its own time.
    let daemon = world.start();
    assert_eq!(verify(&world, &image), "allowed");
    assert_eq!(daemon.stop().0, 0);
    fs::rename(world.path("state"), world.path("other")).unwrap();
    let daemon = world.start();
    assert_eq!(world.rootpin(&["state", "acknowledge"]).code, 0);
    assert_eq!(daemon.stop().0, 0);
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::rename(world.path("other"), world.path("state")).unwrap();
    world.write_policy(&world.policy().replace("team/*", "elsewhere/*"));
    let daemon = world.start();
    let (status, _) = world.rootpin_json(&["status"]);
    assert_eq!(status["state"]["standing"], "lost", "{status}");
    let hash = status["policy"]["hash"].as_str().unwrap();
    let is_kept = || {
        let last = fs::read_to_string(world.path("state/policy.last"));
        last.is_ok_and(|text| text.contains(hash))
    };
    assert!(!is_kept(), "nobody knows whose the folder is");
    assert_eq!(verify(&world, &image), "no-rule");
    assert_eq!(world.rootpin(&["state", "acknowledge", "--lost"]).code, 0);
    status_when(&world, |_| is_kept());
    assert_eq!(daemon.stop().0, 0);
    world.write_policy("version = 1\n");
    let mut daemon = world.start();
    daemon.line("is in force again");
    assert_eq!(verify(&world, &image), "no-rule");
}

// A policy that does not load.

#[test]
fn a_policy_that_was_refused_for_a_folders_mode_is_taken_once_that_is_mended_though_no_file_changed()
 {
    let Some((world, image)) = host("t-mode") else {
        return;
    };
    let mut daemon = world.start();
    let folder = world.path("policy/linked");
    fs::create_dir(&folder).unwrap();
    fs::copy(world.path("policy/policy.toml"), folder.join("policy.toml")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(folder.join("policy.toml"), world.path("policy/policy.new"))
        .unwrap();
    fs::rename(
        world.path("policy/policy.new"),
        world.path("policy/policy.toml"),
    )
    .unwrap();
    daemon.line("the last good one stays in force");
    assert_eq!(world.rootpin_json(&["status"]).1, 1);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    // Without a word, after some seconds.
    status_when(&world, |status| status["ok"] == true);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.join("policy.toml"), world.policy()).unwrap();
    daemon.line("the last good one stays in force");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    // And at once, when it is asked for.
    let reloaded = world.rootpin(&["policy", "reload"]);
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    assert_eq!(verify(&world, &image), "allowed");
}

#[test]
fn the_last_good_policy_survives_a_restart_and_is_told_loudly() {
    let Some((world, image)) = host("t-last") else {
        return;
    };
    let mut daemon = world.start();
    let (before, _) = world.rootpin_json(&["status"]);
    world.write_policy("version = 1\n");
    daemon.line("the last good one stays in force");
    assert_eq!(daemon.stop().0, 0);
    let mut daemon = world.start();
    daemon.line("is in force again");
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["policy"]["hash"]),
        (1, &before["policy"]["hash"]),
        "{status}"
    );
    assert!(
        status["policy"]["trouble"]
            .as_str()
            .unwrap()
            .contains("policy.toml"),
        "{status}"
    );
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_policy_ok 0\n")
    );
    assert_eq!(verify(&world, &image), "allowed");
    // Another one that loads takes its place.
    world.write_policy(&world.policy().replace("team/*", "elsewhere/*"));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    assert_eq!(verify(&world, &image), "no-rule");
}

// A clock that can't be right.

#[test]
fn a_clock_that_shows_less_than_the_policys_own_date_is_told_and_nothing_is_kept_by_it() {
    let Some((world, image)) = host("t-clock") else {
        return;
    };
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 150);
    let written = std::time::SystemTime::now() + Duration::from_secs(3600 * 24 * 100);
    let exempt =
        format!("[[exempt]]\nmatch = \"r.test/legacy\"\nuntil = {until}\nreason = \"vendor\"\n");
    let pinned = format!(
        "[[image]]\nname = \"r.test/pause:1\"\ndigest = \"{}\"\n",
        image.index.digest
    );
    world.write_policy(&(world.policy() + &exempt + &pinned));
    let date = |time| {
        fs::File::options()
            .write(true)
            .open(world.path("policy/policy.toml"))
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    date(written);
    let daemon = world.start();
    // By its own date the exemption does not end too far away: the policy loads, so that what rests
    // on no time lets the host come up.
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["policy"]["in_force"], &status["clock"]["ok"]),
        (1, &Value::Bool(true), &Value::Bool(false)),
        "{status}"
    );
    assert!(
        world
            .rootpin(&["status"])
            .out
            .contains("clock: TROUBLE: a clock at ")
    );
    assert!(
        world
            .rootpin(&["metrics"])
            .out
            .contains("\nrootpin_clock_ok 0\n")
    );
    let pull = |name: &str| {
        world
            .rootpin_json(&["verify", &format!("{name}@{}", image.index.digest)])
            .0
    };
    assert_eq!(pull(V1)["code"], "clock");
    assert_eq!(pull("r.test/legacy:1")["code"], "clock");
    assert_eq!(pull("r.test/pause:1")["outcome"], "allowed");
    let seen = world.rootpin_json(&["state", "show"]).0;
    assert_eq!(
        (&seen["contacts"], &seen["admitted"], &seen["repositories"]),
        (
            &Value::Array(vec![]),
            &Value::Array(vec![]),
            &Value::Array(vec![])
        )
    );
    assert_eq!(
        world.notary.questions(),
        0,
        "no source is asked whose answer can't be judged"
    );
    // The file's date was wrong, not the clock.
    date(std::time::SystemTime::now());
    assert_eq!(
        world.rootpin(&["policy", "reload"]).code,
        1,
        "now the exemption ends too far away"
    );
    world.write_policy(&world.policy());
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    assert_eq!(pull(V1)["outcome"], "allowed");
    drop(daemon);
}

#[test]
fn after_a_clock_that_ran_ahead_was_set_right_only_the_times_are_forgotten() {
    let Some((world, image)) = host("t-ahead") else {
        return;
    };
    let daemon = world.start();
    assert_eq!(verify(&world, &image), "allowed");
    assert_eq!(daemon.stop().0, 0);
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 400);
    {
        let store = rootpin::state::Store::open(&world.path("state")).unwrap();
        let subject = rootpin_trust::Subject::parse("r.test/team/app").unwrap();
        let server = format!("http://127.0.0.1:{}", world.notary.port);
        let additions = rootpin::state::Additions {
            now: ahead,
            verified: vec![],
            contacts: vec![(&server, &subject, ahead)],
            rows: vec![],
        };
        assert!(store.commit(&additions).unwrap().wrote);
    }
    let _daemon = world.start();
    let (answer, _) = world.rootpin_json(&["verify", &format!("{V1}@{}", image.index.digest)]);
    assert!(
        answer["code"] == "clock" && answer["hint"].as_str().unwrap().ends_with(" --contacts"),
        "{answer}"
    );
    let floors = |world: &World| world.rootpin_json(&["state", "show"]).0["repositories"].clone();
    let before = floors(&world);
    let dry = world.rootpin(&["state", "reset", "--contacts", "--dry-run"]);
    assert!(
        dry.code == 0
            && dry.out.contains("forgotten: the contact with ")
            && dry.out.contains("nothing is changed"),
        "{dry:?}"
    );
    assert_eq!(verify(&world, &image), "clock");
    let unasked = world.rootpin(&["state", "reset", "--contacts"]);
    assert!(
        unasked.code == 64 && unasked.err.contains("--yes forgets it"),
        "{unasked:?}"
    );
    assert_eq!(verify(&world, &image), "clock");
    let reset = ["state", "reset", "--contacts", "--yes"];
    assert_eq!(world.rootpin(&reset).code, 0);
    assert_eq!(floors(&world), before);
    assert_eq!(verify(&world, &image), "allowed");
    let again = world.rootpin(&reset);
    assert!(
        again
            .out
            .contains("no time in the state is ahead of the clock"),
        "{again:?}"
    );
}

#[test]
fn a_reset_of_a_root_can_be_tried_first() {
    let Some((world, image)) = host("t-dry") else {
        return;
    };
    let _daemon = world.start();
    assert_eq!(verify(&world, &image), "allowed");
    let show = || world.rootpin_json(&["state", "show"]).0;
    let before = show();
    let dry = world.rootpin(&["state", "reset", "--root", "acme", "--dry-run"]);
    assert!(
        dry.code == 0
            && dry.out.contains("forgotten: r.test/team/app: ")
            && dry.out.contains("nothing is changed"),
        "{dry:?}"
    );
    assert_eq!(show(), before);
    assert_eq!(
        world
            .rootpin(&["state", "reset", "--root", "acme", "--yes"])
            .code,
        0
    );
    assert_eq!(show()["repositories"], Value::Array(vec![]));
}

// Records.

#[test]
fn a_record_has_the_hosts_name_and_the_policys_hash() {
    let Some((world, image)) = host("t-record") else {
        return;
    };
    let _daemon = world.start();
    assert_eq!(verify(&world, &image), "allowed");
    let (status, _) = world.rootpin_json(&["status"]);
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let record = world.audit().pop().unwrap();
    assert_eq!(
        (&record["host"], &record["policy"]),
        (&name.trim().into(), &status["policy"]["hash"]),
        "{record}"
    );
}

#[test]
fn an_audit_file_that_can_not_be_written_is_trouble_and_stops_no_decision() {
    let Some((world, image)) = host("t-full") else {
        return;
    };
    fs::remove_file(world.path("audit.jsonl")).unwrap_or_default();
    std::os::unix::fs::symlink("/dev/full", world.path("audit.jsonl")).unwrap();
    let _daemon = world.start();
    assert_eq!(verify(&world, &image), "allowed");
    let (status, exit) = world.rootpin_json(&["status"]);
    assert_eq!(
        (exit, &status["audit"]["ok"]),
        (1, &Value::Bool(false)),
        "{status}"
    );
    assert!(world.rootpin(&["status"]).out.contains("audit: TROUBLE: "));
    let metrics = world.rootpin(&["metrics"]).out;
    assert!(
        metrics.contains("\nrootpin_audit_ok 0\n")
            && metrics.contains("\nrootpin_audit_lost_total "),
        "{metrics}"
    );
}

#[test]
fn without_root_rights_the_hint_is_to_run_as_root() {
    let Some((world, _)) = host("t-rights") else {
        return;
    };
    let _daemon = world.start();
    // Nobody's own process; the folders on the way may be closed to it, which is the same to
    // whoever asks.
    let mut asking = Command::new("setpriv");
    asking.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        env!("CARGO_BIN_EXE_rootpin"),
        "--control",
    ]);
    let ended = run(asking.arg(world.path("control")).arg("status"), b"");
    if ended.err.contains("setpriv") {
        // Not allowed to give itself to another user here, or may not run what lies in root's
        // folder.
        return;
    }
    assert!(
        ended.code == 2 && ended.err.contains("hint: run as root"),
        "{ended:?}"
    );
}
