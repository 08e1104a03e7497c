//! Places that show less than this host has verified.

use super::*;

/// A host, the places that it asks, and their publisher.
struct World {
    dir: tempfile::TempDir,
    publisher: Publisher,
    policy: Arc<Policy>,
    host: Decider,
}

const TEAM: &str = "r.example/team/app:1";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl World {
    /// Version 1 lies at every place, and the host has verified it.
    async fn new(places: &[&str]) -> Self {
        Self::limited(places, "").await
    }

    async fn limited(places: &[&str], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new();
        publisher.delegate(
            "team",
            21,
            &["r.example/team/*"],
            ("r.example/team/app:1", "of a team"),
            false,
        );
        publisher.publish();
        let folders: Vec<_> = places.iter().map(|place| dir.path().join(place)).collect();
        let folders: Vec<_> = folders.iter().map(std::path::PathBuf::as_path).collect();
        for folder in &folders {
            write(folder, &publisher);
        }
        let policy = policy_of(&publisher, &folders, more);
        let host = decider(Arc::clone(&policy), &dir.path().join("state"));
        let world = Self {
            dir,
            publisher,
            policy,
            host,
        };
        assert_eq!(world.app(NOW).await, "allowed");
        assert_eq!(world.team(NOW).await, "allowed");
        world
    }

    fn restart(&mut self) {
        // The state is locked for as long as it is open.
        self.host = decider(
            policy_of(&self.publisher, &[], ""),
            &self.dir.path().join("other"),
        );
        self.host = decider(Arc::clone(&self.policy), &self.dir.path().join("state"));
    }

    fn place(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The place has all of the newest files but these.
    fn half(&self, place: &str, without: &[&str]) {
        write(&self.place(place), &self.publisher);
        for file in without {
            std::fs::remove_file(self.place(place).join(file)).unwrap();
        }
    }

    async fn app(&self, now: &str) -> &'static str {
        pull_at(&self.host, "r.example/app:1", "one", at(now)).await
    }

    async fn team(&self, now: &str) -> &'static str {
        pull_at(&self.host, TEAM, "of a team", at(now)).await
    }

    fn behind(&self) -> Vec<(&'static str, String)> {
        let behind = self.host.sources_behind().into_iter();
        behind
            .map(|behind| (behind.refusal.code.as_str(), behind.refusal.found))
            .collect()
    }
}

async fn pull_at(decider: &Decider, name: &str, content: &str, now: Timestamp) -> &'static str {
    let pull = Pull {
        door: Door::Verify,
        name: name.parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
    };
    match decider.pull(&pull, now).await.decision {
        crate::decide::Decision::Allow(_) => "allowed",
        crate::decide::Decision::Deny(denial) | crate::decide::Decision::LetThrough(denial, _) => {
            denial.refusal.code.as_str()
        }
    }
}

#[tokio::test]
async fn what_was_verified_answers_while_every_place_shows_an_older_timestamp() {
    for places in [&["one"][..], &["one", "two"]] {
        let mut world = World::new(places).await;
        let old = world.publisher.clone();
        world.publisher.publish();
        for place in places {
            write(&world.place(place), &world.publisher);
        }
        assert_eq!(world.app(NOW).await, "allowed");
        assert_eq!(world.team(NOW).await, "allowed");
        assert!(world.host.sources_behind().is_empty());
        for place in places {
            write(&world.place(place), &old);
        }
        assert_eq!(world.app(NOW).await, "allowed");
        assert_eq!(world.team(NOW).await, "allowed");
        let (code, found) = world.behind().remove(0);
        assert_eq!(code, "rollback");
        assert!(
            found.contains("timestamp.json version 2 (seen at file://"),
            "{found}"
        );
        let hint = &world.host.sources_behind()[0].refusal.hint;
        assert!(!hint.contains("state reset"), "{hint}");
        // The cache verifies under the floors, also after a restart.
        world.restart();
        assert_eq!(world.app(NOW).await, "allowed");
        // Until offline is over, counted from the last good contact.
        assert_eq!(world.app("2030-01-14T00:00:00Z").await, "allowed");
        assert_eq!(world.app("2030-01-15T00:00:00Z").await, "rollback");
        write(&world.place(places[0]), &world.publisher);
        assert_eq!(world.app("2030-01-15T00:00:00Z").await, "allowed");
        assert!(world.behind().is_empty());
    }
}

#[tokio::test]
async fn a_name_that_was_withdrawn_stays_withdrawn_where_every_place_is_behind() {
    let mut world = World::new(&["one"]).await;
    let old = world.publisher.clone();
    world.publisher.names.clear();
    world.publisher.publish();
    write(&world.place("one"), &world.publisher);
    assert_eq!(world.app(NOW).await, "no-statement");
    write(&world.place("one"), &old);
    assert_eq!(world.app(NOW).await, "no-statement");
    world.restart();
    assert_eq!(world.app(NOW).await, "no-statement");
}

#[tokio::test]
async fn what_was_verified_answers_while_a_listed_file_is_missing_or_another_one() {
    for file in ["3.snapshot.json", "3.targets.json"] {
        for other in [false, true] {
            let mut world = World::new(&["one", "two"]).await;
            let old = world.publisher.clone();
            world.publisher.publish();
            world.half("one", &[file]);
            if other {
                let bytes = &old.files[&file.replace('3', "2")];
                std::fs::write(world.place("one").join(file), bytes).unwrap();
            }
            let case = format!("{file} {other}");
            assert_eq!(world.app(NOW).await, "allowed", "{case}");
            assert_eq!(world.team(NOW).await, "allowed", "{case}");
            assert_eq!(world.behind().len(), 1, "{case}");
            // What was verified of it binds: the other place is behind now.
            let floors = world.host.store().history(&Subject::Tuf).unwrap();
            assert!(
                floors
                    .iter()
                    .any(|floor| floor.role == "timestamp" && floor.version == 3),
                "{case}"
            );
            // Nobody answers at all: no stricter than that.
            std::fs::rename(world.place("one"), world.place("away")).unwrap();
            std::fs::rename(world.place("two"), world.place("away too")).unwrap();
            assert_eq!(world.app(NOW).await, "allowed", "{case}");
            std::fs::rename(world.place("away"), world.place("one")).unwrap();
            assert_eq!(world.app("2030-01-14T00:00:00Z").await, "allowed", "{case}");
            let refused = world.app("2030-01-15T00:00:00Z").await;
            assert!(
                ["role-missing", "rollback", "malformed"].contains(&refused),
                "{case}: {refused}"
            );
            // The cache alone is older than what was seen.
            world.restart();
            let refused = world.app(NOW).await;
            assert!(
                ["role-missing", "rollback", "malformed"].contains(&refused),
                "{case}: {refused}"
            );
            write(&world.place("one"), &world.publisher);
            assert_eq!(world.app(NOW).await, "allowed", "{case}");
        }
    }
}

#[tokio::test]
async fn what_was_verified_answers_while_a_longer_file_is_in_place_of_a_listed_one() {
    for file in ["3.snapshot.json", "3.targets.json", "2.team.json"] {
        let mut world = World::new(&["one"]).await;
        if file == "2.team.json" {
            world.publisher.publish_delegated("team");
        } else {
            world.publisher.publish();
        }
        write(&world.place("one"), &world.publisher);
        // Longer than is listed, and than a file without a listed length may be.
        let mut longer = world.publisher.files[file].clone();
        longer.resize((4 << 20) + 1, b' ');
        std::fs::write(world.place("one").join(file), longer).unwrap();
        assert_eq!(world.app(NOW).await, "allowed", "{file}");
        assert_eq!(world.team(NOW).await, "allowed", "{file}");
        let (code, _) = world.behind().remove(0);
        assert_eq!(code, "over-limit", "{file}");
        let refused = world.team("2030-01-15T00:00:00Z").await;
        assert_ne!(refused, "allowed", "{file}");
    }
}

#[tokio::test]
async fn a_longer_timestamp_is_no_source_that_is_behind() {
    let world = World::new(&["one"]).await;
    let longer = vec![b' '; 1 << 20];
    std::fs::write(world.place("one").join("timestamp.json"), longer).unwrap();
    assert_eq!(world.app(NOW).await, "over-limit");
}

#[tokio::test]
async fn a_delegated_role_that_is_missing_is_answered_for_by_the_one_that_was_verified() {
    let mut world = World::new(&["one", "two"]).await;
    world.publisher.publish_delegated("team");
    world.half("one", &["2.team.json"]);
    world.half("two", &["2.team.json"]);
    assert_eq!(world.team(NOW).await, "allowed");
    assert_eq!(world.app(NOW).await, "allowed");
    assert_eq!(
        pull_at(&world.host, TEAM, "other", at(NOW)).await,
        "digest-mismatch"
    );
    let (code, found) = world.behind().remove(0);
    assert_eq!(code, "role-missing");
    assert!(
        found.contains("team") && found.contains("file://"),
        "{found}"
    );
    // And so while more is published, until offline is over for that role.
    world.publisher.publish_delegated("team");
    world.half("one", &["3.team.json"]);
    assert_eq!(world.team("2030-01-10T00:00:00Z").await, "allowed");
    assert_eq!(world.team("2030-01-15T00:00:00Z").await, "role-missing");
    assert_eq!(world.app("2030-01-15T00:00:00Z").await, "allowed");
    world.restart();
    assert_eq!(world.team(NOW).await, "clock");
    assert_eq!(world.team("2030-01-15T00:00:00Z").await, "role-missing");
    write(&world.place("one"), &world.publisher);
    assert_eq!(world.team("2030-01-15T00:00:00Z").await, "allowed");
    assert!(world.behind().is_empty());
}

#[tokio::test]
async fn a_newer_role_above_the_missing_one_binds() {
    let mut world = World::new(&["one"]).await;
    // It may have taken the name, or the delegation, back.
    world.publisher.publish();
    world.half("one", &["2.team.json"]);
    assert_eq!(world.team(NOW).await, "role-missing");
    assert_eq!(world.app(NOW).await, "allowed");
    assert_eq!(world.team(NOW).await, "role-missing");
}

#[tokio::test]
async fn a_newer_root_binds_what_was_verified_under_the_old_one() {
    for rekeyed in [false, true] {
        let mut world = World::new(&["one"]).await;
        if rekeyed {
            world.publisher.timestamp = vec![31];
        }
        world.publisher.publish_root(&[]);
        world.publisher.publish();
        world.half("one", &["3.snapshot.json"]);
        assert_eq!(world.app(NOW).await, "role-missing", "{rekeyed}");
        // Nor does it come back where nobody answers.
        std::fs::rename(world.place("one"), world.place("away")).unwrap();
        let wanted = if rekeyed {
            "source-unreachable"
        } else {
            "rollback"
        };
        assert_eq!(world.app(NOW).await, wanted, "{rekeyed}");
    }
}

#[tokio::test]
async fn a_source_that_shows_a_new_root_and_falls_silent_takes_nothing_from_what_holds_under_it() {
    for (rekeyed, restarts) in [(false, false), (false, true), (true, false), (true, true)] {
        let case = format!("{rekeyed} {restarts}");
        let mut world = World::new(&["one"]).await;
        if rekeyed {
            world.publisher.timestamp = vec![31];
        }
        world.publisher.publish_root(&[]);
        write(&world.place("one"), &world.publisher);
        let timestamp = world.place("one").join("timestamp.json");
        std::fs::remove_file(&timestamp).unwrap();
        // A loop can't be read, which is no answer.
        std::os::unix::fs::symlink(&timestamp, &timestamp).unwrap();
        // What the new root's keys did not sign holds no more.
        let wanted = if rekeyed {
            "source-unreachable"
        } else {
            "allowed"
        };
        assert_eq!(world.app(NOW).await, wanted, "{case}");
        let floors = world.host.store().history(&Subject::Tuf).unwrap();
        let root = floors.iter().find(|floor| floor.role == "root").unwrap();
        assert_eq!(root.version, 2, "{case}");
        if restarts {
            world.restart();
        }
        std::fs::rename(world.place("one"), world.place("away")).unwrap();
        assert_eq!(world.app(NOW).await, wanted, "{case}");
        assert_eq!(world.team(NOW).await, wanted, "{case}");
    }
}

#[tokio::test]
async fn a_cache_that_is_lost_takes_nothing_from_what_this_process_has_at_hand() {
    let mut world = World::new(&["one"]).await;
    std::fs::rename(world.place("one"), world.place("away")).unwrap();
    std::fs::remove_dir_all(world.dir.path().join("state/cache")).unwrap();
    assert_eq!(world.app(NOW).await, "allowed");
    assert_eq!(world.team(NOW).await, "allowed");
    assert_eq!(world.app("2030-01-14T00:00:00Z").await, "allowed");
    assert_ne!(world.app("2030-01-15T00:00:00Z").await, "allowed");
    world.restart();
    assert_eq!(world.app(NOW).await, "source-unreachable");
}

#[tokio::test]
async fn nothing_answers_past_its_expiry_however_long_offline_is() {
    let mut world = World::limited(&["one"], "").await;
    world.publisher.publish();
    world.half("one", &["3.snapshot.json"]);
    assert_eq!(world.app("2030-01-02T00:00:00Z").await, "allowed");
    let short = World::limited(&["one"], "max-age = \"72h\"").await;
    let mut publisher = short.publisher.clone();
    publisher.publish();
    write(&short.place("one"), &publisher);
    std::fs::remove_file(short.place("one").join("3.targets.json")).unwrap();
    assert_eq!(short.app("2030-01-03T00:00:00Z").await, "allowed");
    assert_eq!(short.app("2030-01-04T00:00:00Z").await, "role-missing");
}

#[tokio::test]
async fn other_bytes_of_a_version_and_files_that_nobody_signed_are_refused_as_ever() {
    let mut world = World::new(&["one"]).await;
    // A second history: other targets under a version that was seen.
    let mut twin = world.publisher.clone();
    twin.names
        .insert("r.example/app:9".to_owned(), target("nine"));
    twin.versions.insert("targets".to_owned(), 1);
    twin.publish();
    write(&world.place("one"), &twin);
    assert_eq!(world.app(NOW).await, "rollback");
    assert!(world.behind().is_empty());
    // A place that lies is no place that is behind, whatever the other one is.
    let mut world2 = World::new(&["one", "two"]).await;
    let old = world2.publisher.clone();
    world2.publisher.publish();
    write(&world2.place("one"), &world2.publisher);
    write(&world2.place("two"), &world2.publisher);
    assert_eq!(world2.app(NOW).await, "allowed");
    write(&world2.place("one"), &old);
    let mut forged = old.clone();
    forged.timestamp = vec![99];
    forged.publish();
    write(&world2.place("two"), &forged);
    assert_eq!(world2.app(NOW).await, "bad-signature");
    // And what it showed takes nothing away: the other place alone is only behind.
    write(&world2.place("two"), &old);
    assert_eq!(world2.app(NOW).await, "allowed");
    world.publisher.publish();
    world.publisher.publish();
    write(&world.place("one"), &world.publisher);
    assert_eq!(world.app(NOW).await, "allowed");
}
