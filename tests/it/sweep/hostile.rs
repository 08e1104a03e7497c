//! An engine that has far too much, says odd things, or says nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{findings, host, sweep, until_counted, watched};
use crate::containerd::Blob;
use crate::world::{Image, PATIENCE, blob};

#[test]
fn a_storm_of_events_costs_a_few_looks_and_the_daemon_goes_on_answering() {
    let Some((world, image)) = host("s-storm") else {
        return;
    };
    let daemon = watched(&world);
    let before = world.containerd.listed();
    for number in 0..100_000 {
        world
            .containerd
            .tell("default", &format!("elsewhere.example/app:{number}"));
    }
    world
        .containerd
        .write("default", "elsewhere.example/app:last", &image.index.digest);
    until_counted(&world, "rootpin_resident_refused{engine=\"main\"} 1");
    let looks = world.containerd.listed() - before;
    assert!(looks < 200, "{looks} looks");
    let begun = Instant::now();
    assert_eq!(
        world
            .rootpin(&[
                "verify",
                &format!("r.test/team/app:v1@{}", image.index.digest)
            ])
            .code,
        0
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(daemon);
}

#[test]
fn names_that_are_none_and_digests_that_nobody_knows_are_told_and_harm_nothing() {
    let Some((world, image)) = host("s-odd") else {
        return;
    };
    world.containerd.hold("default", |held| {
        held.images.push((
            "\u{1b}[2J\nrefused nothing".to_owned(),
            image.index.digest.clone(),
        ));
        held.images
            .push(("x".repeat(100_000), Image::named("long").index.digest));
        held.images.push((
            "r.test/team/odd:1".to_owned(),
            format!("sha512:{}", "0".repeat(128)),
        ));
        held.images
            .push((String::new(), Image::named("nothing").index.digest));
    });
    let daemon = watched(&world);
    let (report, code) = sweep(&world);
    assert_eq!(code, 2, "{report:#}");
    let untold: Vec<_> = report["untold"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["why"].as_str().unwrap())
        .collect();
    assert!(
        untold
            .iter()
            .any(|why| why.contains("r.test/team/odd:1") && why.contains("sha512:")),
        "{untold:?}"
    );
    // Nothing is passed over in silence.
    assert_eq!(
        untold
            .iter()
            .filter(|why| why.contains("a name that rootpin can't read"))
            .count(),
        3,
        "{untold:?}"
    );
    // The odd name is one more for bytes that are admitted; the others are of unknown ones.
    assert_eq!(findings(&report).len(), 2, "{report:#}");
    assert!(!world.rootpin(&["sweep"]).out.contains('\u{1b}'));
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_hundred_thousand_images_are_told_in_full_by_the_report_and_in_part_by_the_log() {
    let Some((world, _)) = host("s-many") else {
        return;
    };
    world.containerd.hold("default", |held| {
        held.images.extend((0..100_000).map(|number| {
            (
                format!("elsewhere.example/app:{number}"),
                "sha256:".to_owned() + &"0".repeat(64),
            )
        }));
    });
    let mut daemon = world.start();
    daemon.line("more names are not admitted; hint: `rootpin sweep` shows all");
    until_counted(&world, "rootpin_resident_refused{engine=\"main\"} 100000");
    assert!(world.swept().len() <= 200, "{}", world.swept().len());
}

#[test]
fn an_engine_that_says_nothing_is_told_and_what_was_written_meanwhile_is_found_once_it_is_back() {
    let Some((world, image)) = host("s-silent") else {
        return;
    };
    let mut daemon = watched(&world);
    world.containerd.cut();
    daemon.line("seen by the next sweep only");
    world.containerd.hold("default", |held| {
        held.images.push((
            "elsewhere.example/app:1".to_owned(),
            image.index.digest.clone(),
        ));
    });
    daemon.line("refused elsewhere.example/app:1@");
    let until = Instant::now() + PATIENCE;
    while world.containerd.listeners() == 0 {
        assert!(Instant::now() < until, "it does not listen again");
    }
    world.containerd.hang(true);
    let (report, code) = sweep(&world);
    daemon.line("its images cannot be listed: no answer within 20s");
    assert_eq!(
        (code, report["outcome"].as_str()),
        (2, Some("unknown")),
        "{report:#}"
    );
    // What was found before is no less true for that.
    assert_eq!(findings(&report).len(), 1);
}

/// Manifests of attestations.
fn attestations(count: usize) -> Vec<Blob> {
    let layer = |number| json!({"mediaType": "x", "digest": blob(vec![]).digest, "size": number});
    let body = |number: usize| json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": layer(number), "layers": []});
    (0..count)
        .map(|number| blob(body(number).to_string().into_bytes()))
        .collect()
}

/// An index that lists a platform after these.
fn padded(platform: &Blob, others: &[Blob]) -> Blob {
    let entry = |blob: &Blob| json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": blob.digest, "size": blob.bytes.len()});
    let entries: Vec<_> = others.iter().chain([platform]).map(entry).collect();
    let body = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries});
    blob(body.to_string().into_bytes())
}

#[test]
fn a_revoked_platform_is_found_behind_very_many_others_or_the_image_is_told_as_not_judged() {
    for (count, present, over_limit) in
        [(300, true, false), (5000, false, false), (1100, true, true)]
    {
        let Some((world, other)) = host(&format!("s-padded-{count}")) else {
            return;
        };
        let image = Image::named("behind");
        let others = attestations(count);
        let index = padded(&image.manifest, &others);
        let bound = format!(
            "[[image]]\nname = \"a.test/padded:1\"\ndigest = \"{}\"\n",
            index.digest
        );
        let revoked = [&image.config, &other.config].map(|config| {
            format!(
                "[[revoked]]\ndigest = \"{}\"\nreason = \"CVE-2030-1\"\n",
                config.digest
            )
        });
        world.write_policy(&format!("{}{bound}{}", world.policy(), revoked.concat()));
        world.containerd.hold("default", |held| {
            image.hold(held);
            held.blobs.push(index.clone());
            if present {
                held.blobs.extend(others.iter().cloned());
            }
            held.images
                .push(("a.test/padded:1".to_owned(), index.digest.clone()));
        });
        let daemon = watched(&world);
        let (report, code) = sweep(&world);
        let found = findings(&report);
        // The image that is over the limit keeps no other one from being looked at.
        assert!(
            found.contains(&"r.test/team/app:v1 refused revoked reported".to_owned()),
            "{report:#}"
        );
        let whole = found.contains(&"a.test/padded:1 refused revoked reported".to_owned());
        assert_eq!(whole, !over_limit, "{report:#}");
        if over_limit {
            let why = report["untold"][0]["why"].as_str().unwrap();
            assert!(
                code != 0 && why.contains("a.test/padded:1") && why.contains("over-limit"),
                "{report:#}"
            );
        }
        drop(daemon);
    }
}
