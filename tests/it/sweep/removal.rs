//! What `[sweep] action = "remove"` takes, and what it never does.

use super::{findings, host, sweep, until_counted, watched};
use crate::world::{GUN, Image, World};

const REMOVE: &str = "[sweep]\naction = \"remove\"\n";

fn removing(world: &World, more: &str) {
    world.write_policy(&format!("{}{REMOVE}{more}", world.policy()));
}

#[test]
fn what_is_refused_goes_on_the_condition_that_it_still_stands_for_those_bytes_and_what_is_admitted_stays()
 {
    let Some((world, image)) = host("s-remove") else {
        return;
    };
    let other = Image::named("other");
    removing(&world, "");
    world.containerd.hold("default", |held| {
        other.hold_as(held, "elsewhere.example/app:1");
        held.images
            .push((other.config.digest.clone(), other.index.digest.clone()));
        held.images
            .push((image.config.digest.clone(), image.index.digest.clone()));
    });
    world
        .containerd
        .hold("k8s.io", |held| other.hold_as(held, &format!("{GUN}:v1")));
    let mut daemon = watched(&world);
    let line = daemon.line("removed elsewhere.example/app:1 of engine main, namespace default");
    assert!(line.contains(&other.index.digest), "{line}");
    daemon.line("removed r.test/team/app:v1 of engine main, namespace k8s.io");
    until_counted(&world, "rootpin_removed_total{engine=\"main\"} 3");
    assert_eq!(
        world.containerd.names("default"),
        [format!("{GUN}:v1"), image.config.digest.clone()]
    );
    assert!(world.containerd.names("k8s.io").is_empty());
    let deleted = world.containerd.deleted();
    assert!(
        deleted.iter().all(|one| one
            .target
            .as_ref()
            .is_some_and(|target| target.digest == other.index.digest)),
        "{deleted:?}"
    );
    assert!(deleted.iter().any(|one| one.sync), "{deleted:?}");
    let (report, code) = sweep(&world);
    assert_eq!((findings(&report).len(), code), (0, 0), "{report:#}");
    // One that is written now goes at once, on 1.7 as well, which knows no condition.
    world.containerd.compares(false);
    world
        .containerd
        .write("default", "elsewhere.example/app:2", &other.index.digest);
    daemon.line("removed elsewhere.example/app:2");
}

#[test]
fn a_record_that_was_given_to_other_bytes_meanwhile_is_not_removed_for_what_it_was() {
    let Some((world, image)) = host("s-race") else {
        return;
    };
    let other = Image::named("other");
    removing(&world, "");
    world.containerd.compares(false);
    world
        .containerd
        .moves("elsewhere.example/app:1", &image.index.digest);
    world.containerd.hold("default", |held| {
        other.hold_as(held, "elsewhere.example/app:1");
    });
    let _daemon = watched(&world);
    sweep(&world);
    assert!(world.containerd.deleted().is_empty());
    assert_eq!(world.containerd.names("default").len(), 2);
}

#[test]
fn what_a_container_runs_from_stays_and_is_told_loudly() {
    let Some((world, _)) = host("s-in-use") else {
        return;
    };
    let (used, silent) = (Image::named("used"), Image::named("silent"));
    removing(&world, "");
    world.containerd.hold("default", |held| {
        used.hold_as(held, "elsewhere.example/app:1");
        held.images.push((
            "elsewhere.example/app:same".to_owned(),
            used.index.digest.clone(),
        ));
        held.running
            .push(("runs".to_owned(), "elsewhere.example/app:1".to_owned()));
    });
    // Of a container that says nothing nobody knows what it runs from.
    world.containerd.hold("moby", |held| {
        silent.hold_as(held, "elsewhere.example/silent:1");
        held.running
            .push(("says-nothing".to_owned(), String::new()));
    });
    let mut daemon = watched(&world);
    daemon.line("elsewhere.example/app:1 of engine main, namespace default was to be removed and is not: container runs runs from it");
    let (report, code) = sweep(&world);
    assert!(world.containerd.deleted().is_empty());
    assert_eq!(code, 1);
    assert_eq!(
        findings(&report)
            .iter()
            .filter(|one| one.ends_with(" kept"))
            .count(),
        3,
        "{report:#}"
    );
}

#[test]
fn nothing_goes_on_a_word_that_is_not_signed_or_not_fresh_or_in_audit_mode_or_in_a_dry_run() {
    let unknown = Image::named("unknown");
    // The server's 404, which anybody on the way could have said.
    let Some((world, _)) = host("s-unsigned") else {
        return;
    };
    removing(&world, "");
    world.containerd.hold("default", |held| {
        unknown.hold_as(held, "r.test/team/never-signed:1");
    });
    let daemon = watched(&world);
    let (report, code) = sweep(&world);
    assert_eq!(
        (findings(&report), code),
        (
            vec!["r.test/team/never-signed:1 refused no-statement reported".to_owned()],
            1
        ),
        "{report:#}"
    );
    assert_eq!(report["findings"][0]["removable"], false);
    drop(daemon);

    // What is cached says no, and nobody answers who might have signed since.
    let Some((world, _)) = host("s-stale") else {
        return;
    };
    let ask = world.policy().replace("role =", "recheck = \"0s\"\nrole =");
    world.write_policy(&format!("{ask}{REMOVE}"));
    let daemon = watched(&world);
    world.notary.hang(true);
    world
        .containerd
        .write("default", &format!("{GUN}:v1"), &unknown.index.digest);
    world
        .containerd
        .write("default", "r.test/team/dark:1", &unknown.index.digest);
    let (report, code) = sweep(&world);
    let wanted = [
        "r.test/team/app:v1 refused digest-mismatch reported",
        "r.test/team/dark:1 unjudged source-unreachable reported",
    ];
    assert_eq!(
        (findings(&report), code),
        (wanted.map(str::to_owned).to_vec(), 2),
        "{report:#}"
    );
    assert!(world.containerd.deleted().is_empty());
    // Once it answers, its word is enough.
    world.notary.hang(false);
    until_removed(&world, &format!("{GUN}:v1"));
    drop(daemon);

    let Some((world, _)) = host("s-audit") else {
        return;
    };
    world.write_policy(&format!(
        "{}{REMOVE}",
        world
            .policy()
            .replace("default = \"deny\"", "default = \"deny\"\nmode = \"audit\"")
    ));
    world.containerd.hold("default", |held| {
        unknown.hold_as(held, "elsewhere.example/app:1");
    });
    let daemon = watched(&world);
    let (report, _) = sweep(&world);
    assert_eq!(
        (
            report["findings"][0]["let_through"].as_bool(),
            world.containerd.deleted().len()
        ),
        (Some(true), 0),
        "{report:#}"
    );
    assert!(world.rootpin(&["sweep"]).out.contains("audit mode"));
    drop(daemon);

    let Some((world, _)) = host("s-dry") else {
        return;
    };
    world.containerd.hold("default", |held| {
        unknown.hold_as(held, "elsewhere.example/app:1");
    });
    let _daemon = watched(&world);
    let (report, code) = world.rootpin_json(&["sweep", "--dry-run"]);
    assert_eq!(
        (
            report["findings"][0]["removable"].as_bool(),
            report["dry_run"].as_bool(),
            code
        ),
        (Some(true), Some(true), 1),
        "{report:#}"
    );
    assert!(world.containerd.deleted().is_empty());
}

/// Sweeps until that name is gone: a server that was silent a moment ago is left alone for another.
fn until_removed(world: &World, name: &str) {
    let until = std::time::Instant::now() + crate::world::PATIENCE;
    while world
        .containerd
        .names("default")
        .iter()
        .any(|known| known == name)
    {
        assert!(std::time::Instant::now() < until, "{:#}", sweep(world).0);
        sweep(world);
    }
}
