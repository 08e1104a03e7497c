//! Names written past every door: heard of, judged, told, and removed where the policy says so.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Daemon, GUN, Image, PATIENCE, World};

mod docker;
mod hostile;
mod removal;

/// A host with one signed image that a verification has put into the cache.
fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    world
        .containerd
        .hold("default", |held| image.hold_as(held, &format!("{GUN}:v1")));
    Some((world, image))
}

fn watched(world: &World) -> Daemon {
    watched_with(world, &world.config())
}

/// The daemon, once it hears events and its first sweep is over.
fn watched_with(world: &World, config: &str) -> Daemon {
    let daemon = world.start_ready(config);
    world.door_when("sweep", |row| {
        row["state"] == "watching" && !row["last_question"].is_null()
    });
    sweep(world);
    daemon
}

/// A sweep's report, which is as documented.
fn sweep(world: &World) -> (Value, i32) {
    let (report, code) = world.rootpin_json(&["sweep"]);
    let schema: Value = serde_json::from_str(include_str!("../../docs/sweep.schema.json")).unwrap();
    assert_eq!(
        crate::schema::errors(&schema, &report),
        Vec::<String>::new()
    );
    (report, code)
}

/// `record outcome code action` of each finding.
fn findings(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let one = |finding: &Value| {
        ["record", "outcome", "code", "action"]
            .map(|name| text(&finding[name]))
            .join(" ")
    };
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect()
}

/// Waits until the counters say so.
fn until_counted(world: &World, line: &str) {
    let until = Instant::now() + PATIENCE;
    while !world
        .rootpin(&["metrics"])
        .out
        .lines()
        .any(|known| known == line)
    {
        assert!(
            Instant::now() < until,
            "no {line}: {}",
            world.rootpin(&["metrics"]).out
        );
    }
}

#[test]
fn a_name_that_is_written_past_every_door_is_told_at_once_with_what_would_change_it() {
    let Some((world, image)) = host("s-retag") else {
        return;
    };
    let mut daemon = watched(&world);
    assert_eq!(sweep(&world).1, 0);
    let begun = Instant::now();
    let other = Image::named("other");
    world.containerd.hold("default", |held| other.hold(held));
    world
        .containerd
        .write("default", "elsewhere.example/app:1", &image.index.digest);
    world
        .containerd
        .write("default", &format!("{GUN}:v1"), &other.index.digest);
    let line = daemon.line("refused elsewhere.example/app:1@sha256:");
    assert!(
        line.contains("no-rule") && line.contains("[door=sweep engine=main namespace=default"),
        "{line}"
    );
    daemon.line("refused r.test/team/app:v1@sha256:");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let (report, code) = sweep(&world);
    assert_eq!(code, 1);
    let audit = world.swept();
    assert_eq!(audit.len(), 2, "{audit:#?}");
    assert_eq!(
        findings(&report),
        [
            "elsewhere.example/app:1 refused no-rule reported",
            "r.test/team/app:v1 refused digest-mismatch reported"
        ],
        "{report:#}"
    );
    until_counted(&world, "rootpin_resident_refused{engine=\"main\"} 2");
    // Told once, and no more.
    assert_eq!(world.swept().len(), 2);
    // What is gone is no finding any more.
    world.containerd.hold("default", |held| {
        held.images.retain(|(name, _)| name.starts_with("r.test"));
    });
    world.containerd.tell("default", "elsewhere.example/app:1");
    until_counted(&world, "rootpin_resident_refused{engine=\"main\"} 1");
    let row = world.door_when("sweep", |row| {
        row["detail"] == "1 name: 1 refused, 0 not judged"
    });
    assert_eq!(
        (row["state"].as_str(), row["engine"].as_str()),
        (Some("watching"), Some("main"))
    );
}

#[test]
fn a_revoked_digest_shows_up_as_soon_as_the_policy_is_taken() {
    let Image {
        index,
        config,
        layer,
        ..
    } = Image::named("signed");
    for (what, digest) in [
        ("index", index.digest),
        ("config", config.digest),
        ("layer", layer.digest),
    ] {
        let Some((world, _)) = host(&format!("s-revoked-{what}")) else {
            return;
        };
        let mut daemon = watched(&world);
        assert_eq!(sweep(&world).1, 0);
        world.notary.hang(true);
        let revoked = format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"CVE-2030-1\"\n");
        world.write_policy(&format!("{}{revoked}", world.policy()));
        daemon.line("is in force");
        let taken = Instant::now();
        let line = daemon.line("refused r.test/team/app:v1@");
        assert!(
            line.contains("CVE-2030-1") && taken.elapsed() < Duration::from_secs(2),
            "{what}: {:?}: {line}",
            taken.elapsed()
        );
    }
}

#[test]
fn a_revoked_key_shows_up_while_the_trust_server_is_silent() {
    let Some((world, _)) = host("s-key") else {
        return;
    };
    let mut daemon = watched(&world);
    world.notary.hang(true);
    let key = crate::publisher::Publisher::new(GUN).root_key().id();
    world.write_policy(&format!(
        "{}[[revoked]]\nkey = \"{key}\"\nreason = \"lost\"\n",
        world.policy()
    ));
    daemon.line("is in force");
    let taken = Instant::now();
    let line = daemon.line("refused r.test/team/app:v1@");
    assert!(
        taken.elapsed() < Duration::from_secs(2),
        "{:?}: {line}",
        taken.elapsed()
    );
}

#[test]
fn aliases_of_what_is_admitted_are_no_findings_and_those_of_what_is_not_are() {
    let Some((world, image)) = host("s-alias") else {
        return;
    };
    let other = Image::named("other");
    world.containerd.hold("k8s.io", |held| {
        image.hold_as(held, &format!("{GUN}:v1"));
        held.images
            .push((image.config.digest.clone(), image.index.digest.clone()));
        held.images.push((
            format!("{GUN}@{}", image.index.digest),
            image.index.digest.clone(),
        ));
        held.images.push((
            format!("mirror.example/x@{}", image.index.digest),
            image.index.digest.clone(),
        ));
        other.hold_as(held, &format!("{GUN}:v2"));
        held.images
            .push((other.config.digest.clone(), other.index.digest.clone()));
    });
    let _daemon = watched(&world);
    let (report, _) = sweep(&world);
    let mut wanted = [
        "r.test/team/app:v2 refused no-statement reported".to_owned(),
        format!("{} refused not-local reported", other.config.digest),
    ];
    let mut told = findings(&report);
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted, "{report:#}");
}

#[test]
fn bytes_of_no_registry_stay_where_the_policy_lets_them_and_no_name_of_a_rule_makes_them_its_own() {
    let Some((world, _)) = host("s-local") else {
        return;
    };
    let built = Image::named("built");
    let mut pulled = Image::named("pulled");
    pulled.manifest.labels.insert(
        "containerd.io/distribution.source.elsewhere.example".to_owned(),
        "app".to_owned(),
    );
    world.write_policy(&format!(
        "{}[local]\ncontent = \"allow\"\nnamespaces = [\"moby\"]\n",
        world.policy()
    ));
    world.containerd.hold("moby", |held| {
        built.hold_as(held, "docker.io/library/dev:1");
        built.hold_as(held, &format!("{GUN}:dev"));
        pulled.hold_as(held, "docker.io/library/pulled:1");
        held.images.push((
            format!("moby-dangling@{}", built.index.digest),
            built.index.digest.clone(),
        ));
    });
    world.containerd.hold("default", |held| {
        built.hold_as(held, "docker.io/library/dev:1");
    });
    let _daemon = watched(&world);
    let (report, _) = sweep(&world);
    let mut told: Vec<_> = findings(&report);
    told.sort();
    assert_eq!(
        told,
        [
            "docker.io/library/dev:1 refused no-rule reported",
            "docker.io/library/pulled:1 refused no-rule reported",
            "r.test/team/app:dev refused no-statement reported"
        ],
        "{report:#}"
    );
}

#[test]
fn a_record_whose_host_is_in_upper_case_is_the_same_name() {
    let Some((world, image)) = host("s-upper") else {
        return;
    };
    let evil = Image::named("evil");
    world.containerd.hold("default", |held| {
        held.images
            .push(("R.TEST/team/app:v1".to_owned(), image.index.digest.clone()));
        evil.hold_as(held, "R.TEST/team/app:v2");
    });
    let _daemon = watched(&world);
    let (report, _) = sweep(&world);
    assert_eq!(
        findings(&report),
        ["R.TEST/team/app:v2 refused no-statement reported"],
        "{report:#}"
    );
}

#[test]
fn a_platform_s_manifest_that_the_policy_names_admits_the_index_that_lists_it() {
    let Some((world, _)) = host("s-manifest") else {
        return;
    };
    let image = Image::named("pinned");
    world.write_policy(&format!(
        "{}[[image]]\nname = \"p.example/app:1\"\ndigest = \"{}\"\n",
        world.policy(),
        image.manifest.digest
    ));
    world
        .containerd
        .hold("default", |held| image.hold_as(held, "p.example/app:1"));
    let _daemon = watched(&world);
    assert_eq!(sweep(&world).1, 0);
}

#[test]
fn what_the_publisher_takes_back_is_found_by_asking_and_what_nobody_answers_for_is_not_called_refused()
 {
    let Some((world, _)) = host("s-fresh") else {
        return;
    };
    world.write_policy(&world.policy().replace("role =", "recheck = \"0s\"\nrole ="));
    let _daemon = watched(&world);
    assert_eq!(sweep(&world).1, 0);
    world.notary.hang(true);
    assert_eq!(sweep(&world).1, 0, "the cache stands");
    world.containerd.write(
        "default",
        "r.test/team/unknown:1",
        &Image::named("unknown").index.digest,
    );
    let (report, code) = sweep(&world);
    assert_eq!(
        (findings(&report), code),
        (
            vec!["r.test/team/unknown:1 unjudged source-unreachable reported".to_owned()],
            2
        ),
        "{report:#}"
    );
    world.notary.hang(false);
    let mut publisher = crate::publisher::Publisher::new(GUN);
    publisher.tag("v2", &Image::named("another").index.digest, 7);
    publisher.tick();
    world.notary.publish(&publisher);
    let until = Instant::now() + PATIENCE;
    // The server was silent a moment ago, and is left alone for another one for each repository.
    loop {
        let (report, code) = sweep(&world);
        let told = findings(&report);
        let judged = !told.iter().any(|finding| finding.contains(" unjudged "));
        if told.contains(&"r.test/team/app:v1 refused no-statement reported".to_owned()) {
            assert_eq!(code, if judged { 1 } else { 2 }, "{report:#}");
        }
        if judged && code == 1 {
            break;
        }
        assert!(Instant::now() < until, "{report:#}");
    }
}

#[test]
fn a_container_that_runs_from_what_is_refused_is_told_loudly_with_its_image() {
    let Some((world, image)) = host("s-running") else {
        return;
    };
    world.containerd.hold("default", |held| {
        held.running.push(("good".to_owned(), format!("{GUN}:v1")));
        held.running
            .push(("bad".to_owned(), "elsewhere.example/app:1".to_owned()));
        held.images.push((
            "elsewhere.example/app:1".to_owned(),
            image.index.digest.clone(),
        ));
    });
    let mut daemon = watched(&world);
    let line = daemon.line("container bad runs from elsewhere.example/app:1@");
    assert!(line.contains("hint: "), "{line}");
    let (report, code) = sweep(&world);
    assert_eq!(code, 1);
    let of = |id: &str| {
        report["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["id"] == id)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (
            of("good")["outcome"].as_str(),
            of("bad")["outcome"].as_str()
        ),
        (Some("allowed"), Some("refused")),
        "{report:#}"
    );
    assert_eq!(report["findings"][0]["containers"][0], "bad");
    let text = world.rootpin(&["sweep"]).out;
    assert!(text.contains("bad") && !text.contains("good"), "{text}");
}

#[test]
fn no_policy_is_told_as_such_and_nothing_is_refused_for_it() {
    let Some((world, _)) = host("s-no-policy") else {
        return;
    };
    world.write_policy("version = 2\n");
    let _daemon = world.start();
    let (report, code) = sweep(&world);
    assert_eq!(
        (findings(&report).len(), code, report["outcome"].as_str()),
        (0, 2, Some("unknown")),
        "{report:#}"
    );
    assert!(
        report["untold"][0]["why"]
            .as_str()
            .unwrap()
            .contains("policy"),
        "{report:#}"
    );
}
