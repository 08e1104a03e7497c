//! Resident images: judged as a pull would be, through the daemon and without it, and with no
//! trace.

use std::fs;

use serde_json::{Value, json};

use super::{audit, finding, findings, policy_for, report, report_by_files};
use crate::publisher::Publisher;
use crate::world::{Daemon, GUN, Image, World};

/// A signed image that a verification has put into the cache, one of another name, other bytes
/// under the signed name, and one without a name.
fn host(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let (foreign, other, nameless) = (
        Image::named("foreign"),
        Image::named("other"),
        Image::named("nameless"),
    );
    world.containerd.hold("default", |held| {
        image.hold_as(held, "r.test/team/app:v1");
        // As CRI has it: one more record for the same bytes.
        held.images
            .push((image.config.digest.clone(), image.index.digest.clone()));
        foreign.hold_as(held, "elsewhere.example/app:1");
    });
    world.containerd.hold("k8s.io", |held| {
        other.hold_as(held, "r.test/team/app:v1");
        nameless.hold_as(held, &nameless.config.digest);
    });
    Some((world, image))
}

/// A daemon that has no engine, and so looks at nothing by itself; the audit is told of one.
fn start(world: &World) -> Daemon {
    let config = world.config();
    let daemon = world.start_ready(config.split("[[engine]]").next().unwrap());
    fs::write(world.path("rootpin.toml"), config).unwrap();
    daemon
}

fn verdicts(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let one = |image: &Value| {
        let judgement = &image["judgement"];
        let name = text(&image["name"]).split('@').next().unwrap().to_owned();
        let name = if name.starts_with("sha256:") {
            "an id".to_owned()
        } else {
            name
        };
        format!(
            "{} {} {} {}",
            text(&image["namespace"]),
            name,
            text(&judgement["outcome"]),
            text(&judgement["code"])
        )
    };
    report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect()
}

const WANTED: [&str; 4] = [
    "default elsewhere.example/app:1 refused no-rule",
    "default r.test/team/app:v1 allowed -",
    "k8s.io r.test/team/app:v1 refused digest-mismatch",
    "k8s.io an id - -",
];

#[test]
fn every_resident_image_is_judged_as_a_pull_would_be_by_the_daemon_and_by_files_alike() {
    let Some((world, image)) = host("a-images") else {
        return;
    };
    let daemon = start(&world);
    let name = format!("r.test/team/app:v1@{}", image.index.digest);
    assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    let asked = world.notary.questions();
    let (before, _) = world.rootpin_json(&["state", "show"]);
    let records = world.audit().len();
    let (by_daemon, code) = report(&world, &[]);
    assert_eq!(
        (verdicts(&by_daemon), code),
        (WANTED.map(str::to_owned).to_vec(), 1),
        "{by_daemon:#}"
    );
    assert_eq!(
        (
            by_daemon["judged_by"].as_str(),
            by_daemon["policy"]["mode"].as_str()
        ),
        (Some("daemon"), Some("enforce"))
    );
    let said = &by_daemon["images"][1]["judgement"]["roots"][0];
    let publisher = Publisher::new(GUN);
    assert_eq!(
        (
            said["root"].as_str(),
            said["role"].as_str(),
            said["repository"].as_str()
        ),
        (Some("acme"), Some("targets/releases"), Some(GUN))
    );
    assert_eq!(said["root_keys"], json!([publisher.root_key().id()]));
    assert_eq!(
        (
            said["versions"]["root"].as_u64(),
            said["signers"].as_array().unwrap().is_empty()
        ),
        (Some(1), false)
    );
    let root = &by_daemon["roots"][0];
    assert_eq!(
        (root["id"].as_str(), root["held"][0]["repository"].as_str()),
        (Some("acme"), Some(GUN))
    );
    let metadata = publisher.tree().files;
    let held = root["held"][0]["files"]["root.json"].as_str().unwrap();
    assert_eq!(
        held,
        rootpin_trust::image::Digest::of(&metadata["root.json"]).to_string()
    );
    assert!(
        findings(&by_daemon)
            .contains(&"image-refused r.test/team/app:v1 (main, namespace k8s.io)".to_owned())
    );
    // No trace: no question, no floor, no row, no record.
    assert_eq!(
        (world.notary.questions(), world.audit().len()),
        (asked, records)
    );
    assert_eq!(world.rootpin_json(&["state", "show"]).0, before);
    assert_eq!(daemon.stop().0, 0);
    let (by_files, code) = report_by_files(&world, &[]);
    // Hints name the policy that this command was given.
    let given = format!(" --policy {}", world.path("policy").display());
    for part in [
        "images",
        "parts",
        "roots",
        "root_keys",
        "findings",
        "policy",
    ] {
        let by_files = by_files[part].to_string().replace(&given, "");
        assert_eq!(by_files, by_daemon[part].to_string(), "{part}");
    }
    assert_eq!((by_files["judged_by"].as_str(), code), (Some("files"), 1));
}

#[test]
fn offline_what_is_not_cached_could_not_be_told_and_online_the_source_is_asked_and_nothing_kept() {
    let Some((world, _)) = host("a-online") else {
        return;
    };
    let daemon = start(&world);
    let (report_offline, code) = report(&world, &[]);
    assert_eq!((code, world.notary.questions()), (2, 0));
    assert!(
        report_offline["untold"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["why"].as_str().unwrap().contains("not asked")),
        "{report_offline:#}"
    );
    let (before, _) = world.rootpin_json(&["state", "show"]);
    let (online, code) = report(&world, &["--online"]);
    assert_eq!(
        (verdicts(&online), code),
        (WANTED.map(str::to_owned).to_vec(), 1)
    );
    assert!(world.notary.questions() > 0);
    assert_eq!(
        world.rootpin_json(&["state", "show"]).0,
        before,
        "a floor was written"
    );
    finding(&online, "root-unseen");
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_policy_that_does_not_load_and_an_engine_that_is_not_there_could_not_be_told() {
    let Some((world, _)) = host("a-broken") else {
        return;
    };
    let daemon = start(&world);
    world.write_policy("version = 1\n");
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 1);
    // The last good policy stays in force; that the one on disk is broken is told.
    let (report_broken, code) = report(&world, &[]);
    assert!(
        report_broken["untold"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["subject"] == "the policy"),
        "{report_broken:#}"
    );
    assert_eq!((code, report_broken["policy"].is_null()), (2, false));
    assert_eq!(daemon.stop().0, 0);
    let (report_broken, code) = report_by_files(
        &world,
        &["--containerd", &world.path("nobody").display().to_string()],
    );
    let subjects: Vec<_> = report_broken["untold"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subject"].as_str().unwrap().split(' ').next().unwrap())
        .collect();
    assert_eq!((subjects, code), (vec!["containerd", "the"], 2));
    assert_eq!(audit(&world, &["--policy", "/nonexistent"]).code, 64);
    let state = world.path("empty");
    fs::create_dir_all(&state).unwrap();
    let (report_broken, code) = report(
        &world,
        &[
            "--policy",
            &world.path("policy").display().to_string(),
            "--state",
            &state.display().to_string(),
        ],
    );
    assert!(
        report_broken["untold"][0]["why"]
            .as_str()
            .unwrap()
            .contains("holds no state"),
        "{report_broken:#}"
    );
    assert_eq!(
        (code, fs::read_dir(&state).unwrap().count()),
        (2, 0),
        "an audit makes no state"
    );
}

#[test]
fn the_page_is_whole_and_hostile_names_are_text_in_it() {
    let Some((world, _)) = host("a-page") else {
        return;
    };
    let hostile = "<script>alert(1)</script>\u{1b}[2J";
    let image = Image::named("hostile");
    world
        .containerd
        .hold("default", |held| image.hold_as(held, hostile));
    start(&world).stop();
    let page = world.path("audit.html");
    let (policy, state) = (
        world.path("policy").display().to_string(),
        world.path("state").display().to_string(),
    );
    let words = [
        "--policy",
        &policy,
        "--state",
        &state,
        "--html",
        &page.display().to_string(),
        "--host",
        "web-1",
    ];
    let ended = audit(&world, &words);
    assert!(!ended.out.contains('\u{1b}'), "{ended:?}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(
        html.starts_with("<!DOCTYPE html>")
            && html.ends_with("</html>\n")
            && html.contains("What web-1 trusts")
    );
    assert_eq!(
        (
            html.matches("<script>").count(),
            html.contains('\u{1b}'),
            html.contains("&lt;script&gt;")
        ),
        (1, false, true)
    );
    let left: Vec<_> = fs::read_dir(&world.dir)
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".audit-")
        })
        .collect();
    assert!(left.is_empty());
    let nowhere = [
        "--policy",
        &policy,
        "--state",
        &state,
        "--html",
        "/nonexistent/x.html",
    ];
    assert_eq!(audit(&world, &nowhere).code, 2);
}

#[test]
fn an_image_with_a_revoked_part_is_refused_whether_the_daemon_judges_or_files_do() {
    let Some((world, image)) = host("a-parts") else {
        return;
    };
    let daemon = start(&world);
    let name = format!("r.test/team/app:v1@{}", image.index.digest);
    assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    let (before, _) = report(&world, &[]);
    let parts = |of: &Value| -> Vec<String> {
        let parts = of["parts"][&image.index.digest].as_array().unwrap();
        let text = |part: &Value| part.as_str().unwrap().to_owned();
        parts.iter().map(text).collect()
    };
    let blobs = [&image.manifest, &image.config, &image.layer];
    let mut wanted = blobs.map(|blob| blob.digest.clone());
    wanted.sort();
    assert_eq!(parts(&before), wanted);
    // An image without a name has parts too.
    assert_eq!(before["parts"].as_object().unwrap().len(), 4, "{before:#}");
    assert_eq!(daemon.stop().0, 0);
    let policy = fs::read_to_string(world.path("policy/policy.toml")).unwrap();
    for part in &wanted {
        let revoked = format!("\n[[revoked]]\ndigest = \"{part}\"\nreason = \"bad\"\n");
        fs::write(world.path("policy/policy.toml"), policy.clone() + &revoked).unwrap();
        let (by_files, code) = report_by_files(&world, &[]);
        assert_eq!(
            (verdicts(&by_files)[1].as_str(), code),
            ("default r.test/team/app:v1 refused revoked", 1),
            "{part}"
        );
    }
    let daemon = start(&world);
    let (by_daemon, _) = report(&world, &[]);
    assert_eq!(
        verdicts(&by_daemon)[1],
        "default r.test/team/app:v1 refused revoked"
    );
    assert_eq!(verdicts(&by_daemon)[0], WANTED[0]);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_root_that_pins_a_key_for_each_of_many_repositories_repeats_none_of_them_for_another() {
    const REPOSITORIES: usize = 20;
    let Some(world) = World::new("audit-many") else {
        return;
    };
    let gun = |at: usize| format!("r.test/team/app{at}");
    let mut publishers: Vec<_> = (0..REPOSITORIES)
        .map(|at| Publisher::new(&gun(at)))
        .collect();
    let keys: Vec<String> = publishers
        .iter()
        .map(|publisher| publisher.root_key().id().clone())
        .collect();
    let pins: Vec<&str> = keys.iter().map(String::as_str).collect();
    world.write_policy(&policy_for(&world, "r.test/team/*", &pins));
    let image = Image::named("signed");
    for publisher in &mut publishers {
        publisher.tag("v1", &image.index.digest, 7);
        world.notary.publish(publisher);
    }
    let daemon = start(&world);
    for at in 0..REPOSITORIES {
        let name = format!("{}:v1@{}", gun(at), image.index.digest);
        assert_eq!(world.rootpin(&["verify", &name]).code, 0);
    }
    let (report, _) = report(&world, &[]);
    let held = report["roots"][0]["held"].as_array().unwrap();
    assert_eq!(held.len(), REPOSITORIES);
    for one in held {
        let at = (0..REPOSITORIES).find(|at| one["repository"] == gun(*at));
        let own = json!([keys[at.unwrap()]]);
        for floor in one["floors"].as_array().unwrap() {
            assert_eq!(floor["root_keys"], own, "{one}");
            let of_all = &held[0]["floors"][0]["pinned_keys"];
            assert!(of_all.is_string() && floor["pinned_keys"] == *of_all);
        }
    }
    assert_eq!(daemon.stop().0, 0);
}
