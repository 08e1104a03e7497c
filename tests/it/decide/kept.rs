//! What is asked again, what is written, and what happens where nothing can be.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rootpin::decide::NameSource;
use rootpin::state::Store;
use rootpin_trust::image::ImageRef;
use rootpin_trust::{Code, Subject};

use super::setup::{
    APP, Host, Manner, NOW, Usual, after, at, built, decider, image, load, place, publisher, pull,
    pull_at, reference, rule, said, unpack,
};

#[tokio::test]
async fn within_recheck_nobody_is_asked_and_after_it_the_server_is() {
    let usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let decider = usual
        .host
        .decider(&usual.policy_with("recheck = \"60s\"", ""));
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    let first: Vec<_> = usual
        .server
        .asked()
        .iter()
        .map(|path| path.rsplit_once("tuf/").unwrap().1.to_owned())
        .collect();
    assert_eq!(first[..3], ["root.json", "2.root.json", "timestamp.json"]);
    assert_eq!(first.len(), 6);
    for time in ["0s", "59s", "59s"] {
        assert_eq!(
            said(&pull_at(&decider, &name, digest, after(time)).await),
            "allowed signed"
        );
        assert!(usual.server.asked().is_empty(), "{time}");
    }
    // Of what it does not have it asks before that, though not at once.
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}:v2"), digest, after("4s")).await),
        "refused no-statement"
    );
    assert!(usual.server.asked().is_empty());
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("60s")).await),
        "allowed signed"
    );
    // Files that are named by their hash and are here already are not fetched again.
    let again: Vec<_> = usual
        .server
        .asked()
        .iter()
        .map(|path| path.rsplit_once("tuf/").unwrap().1.to_owned())
        .collect();
    assert_eq!(again, ["2.root.json", "timestamp.json"]);
}

#[tokio::test]
async fn a_recheck_of_no_time_asks_every_time() {
    let usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let decider = usual
        .host
        .decider(&usual.policy_with("recheck = \"0s\"", ""));
    for _ in 0..3 {
        assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
        assert_eq!(
            usual
                .server
                .asked()
                .iter()
                .filter(|path| path.ends_with("/timestamp.json"))
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn questions_that_come_together_make_one_look() {
    let usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let decider = usual.host.decider(&usual.policy(""));
    let other = format!("{APP}@{digest}");
    let (one, two, three) = tokio::join!(
        pull(&decider, &name, digest),
        pull(&decider, &name, digest),
        pull(&decider, &other, digest)
    );
    assert_eq!(
        [one, two, three].map(|verdict| said(&verdict)),
        ["allowed signed"; 3]
    );
    assert_eq!(
        usual
            .server
            .asked()
            .iter()
            .filter(|path| path.ends_with("/timestamp.json"))
            .count(),
        1
    );
}

#[tokio::test]
async fn another_policy_sees_nothing_of_what_the_last_one_verified() {
    let usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let decider = usual.host.decider(&usual.policy(""));
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    usual.server.asked();
    let strict = usual
        .server
        .root("acme", &[crate::publisher::Key::named("another")])
        + &rule(APP, &["acme"], "");
    decider.set_policy(load(&strict));
    assert_eq!(
        said(&pull(&decider, &name, digest).await),
        "refused root-not-pinned"
    );
    assert!(!usual.server.asked().is_empty());
    // The row of the former policy is no permission.
    assert_eq!(usual.host.store().admitted(&digest).unwrap().len(), 1);
    let claims = vec![usual.image.claim(NameSource::Ledger, &name)];
    assert_eq!(
        said(&unpack(&decider, &usual.image.layer, vec![place("moby", claims)]).await),
        "refused root-not-pinned"
    );
}

#[tokio::test]
async fn a_repeated_question_writes_nothing() {
    let usual = Usual::new().await;
    let (name, image) = (format!("{APP}:v1"), &usual.image);
    let pinned = super::setup::image("pinned").digest();
    let boot = format!("[[image]]\nname = \"{APP}:boot\"\ndigest = \"{pinned}\"\n");
    let decider = usual.host.decider(&usual.policy(&boot));
    let questions = async |time: &str| {
        let claims = vec![place(
            "moby",
            vec![image.claim(NameSource::Annotation, &name)],
        )];
        [
            said(&pull_at(&decider, &name, image.digest(), after(time)).await),
            said(&pull_at(&decider, &format!("{APP}:boot"), pinned, after(time)).await),
            said(&unpack(&decider, &image.layer, claims).await),
        ]
    };
    let file = || {
        let path = usual.host.path("state.redb");
        let metadata = std::fs::metadata(&path).unwrap();
        (
            std::fs::read(&path).unwrap(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        )
    };
    let first = questions("0s").await;
    assert_eq!(
        first,
        ["allowed signed", "allowed policy-pin", "allowed signed"]
    );
    let written = file();
    for time in ["0s", "30s", "59s"] {
        assert_eq!(questions(time).await, first);
        assert!(file() == written, "{time}");
    }
    // A refusal writes nothing either.
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v2"), image.digest()).await),
        "refused no-statement"
    );
    assert!(file() == written);
}

#[tokio::test]
async fn a_decision_s_floors_contact_and_rows_are_all_there_or_none() {
    let usual = Usual::new().await;
    let claims = vec![place(
        "moby",
        vec![
            usual
                .image
                .claim(NameSource::Annotation, &format!("{APP}:v1")),
        ],
    )];
    let decider = usual.host.decider(&usual.policy(""));
    assert_eq!(
        said(&unpack(&decider, &usual.image.layer, claims).await),
        "allowed signed"
    );
    let seen = usual.host.store().show().unwrap();
    assert_eq!(
        (
            seen.repositories[0].floors.len(),
            seen.contacts.len(),
            seen.rows.len()
        ),
        (5, 1, 4)
    );
    assert_eq!(seen.contacts[0].at, at(NOW));
    assert!(usual.host.path("cache").exists());
}

#[tokio::test]
async fn without_a_usable_state_nothing_is_let_through_whatever_vouches_for_it() {
    let usual = Usual::new().await;
    let other = image("other");
    let more = format!(
        "[[image]]\nname = \"{APP}:boot\"\ndigest = \"{}\"\n[[exempt]]\nmatch = \"registry.test/legacy\"\nuntil = 2030-02-01T00:00:00Z\n\
         reason = \"x\"\n[local]\ncontent = \"allow\"\n",
        other.digest()
    );
    // The usual host has its state open.
    let error = Store::open(&usual.host.path("")).unwrap_err();
    let broken = Arc::new(Store::broken(&usual.host.path(""), &error));
    let decider = decider(&usual.policy(&more), broken, Duration::from_secs(30), true);
    for (name, digest) in [
        (format!("{APP}:v1"), usual.image.digest()),
        (format!("{APP}:boot"), other.digest()),
        ("registry.test/legacy:1".to_owned(), other.digest()),
    ] {
        let verdict = pull(&decider, &name, digest).await;
        assert_eq!(
            (said(&verdict).as_str(), verdict.decision.exit_code()),
            ("unjudged state-unusable", 2),
            "{verdict}"
        );
        assert!(
            verdict.reason().contains("in use by another rootpin"),
            "{verdict}"
        );
        // A name-wide exemption rests on where the bytes came from.
        let told_by = if name.contains("legacy") {
            NameSource::Source
        } else {
            NameSource::Record
        };
        let claims = vec![place(
            "moby",
            vec![
                if digest == other.digest() {
                    &other
                } else {
                    &usual.image
                }
                .claim(told_by, &name),
            ],
        )];
        let layer = if digest == other.digest() {
            &other.layer
        } else {
            &usual.image.layer
        };
        assert_eq!(
            said(&unpack(&decider, layer, claims).await),
            "unjudged state-unusable",
            "{name}"
        );
    }
    assert_eq!(
        said(&unpack(&decider, &other.layer, vec![built("moby", vec![])]).await),
        "unjudged state-unusable"
    );
}

#[tokio::test]
async fn an_onlooker_reads_floors_and_writes_none() {
    let mut usual = Usual::new().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    let file = |host: &Host| std::fs::read(host.path("state.redb")).ok();
    assert_eq!(
        said(&pull(&usual.host.onlooker(&policy), &name, digest).await),
        "allowed signed"
    );
    let seen = usual.host.store().show().unwrap();
    assert!(seen.repositories.is_empty() && seen.contacts.is_empty() && seen.rows.is_empty());
    assert!(file(&usual.host).is_none() && !usual.host.path("cache").exists());
    // The daemon goes on to version 2; version 1 is then a rollback for the onlooker too, in whose
    // place the cache answers, and version 3 raises nothing.
    let first = usual.publisher.clone();
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    let untouched = file(&usual.host);
    assert!(untouched.is_some());
    usual.server.publish(&first);
    let onlooker = usual.host.onlooker(&policy);
    assert_eq!(
        said(&pull_at(&onlooker, &name, digest, after("2m")).await),
        "allowed signed"
    );
    assert_eq!(onlooker.sources_behind()[0].refusal.code, Code::Rollback);
    let second = usual.publisher.clone();
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    assert_eq!(
        said(&pull_at(&usual.host.onlooker(&policy), &name, digest, after("2m")).await),
        "allowed signed"
    );
    assert!(file(&usual.host) == untouched);
    usual.server.publish(&second);
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "allowed signed"
    );
}

#[tokio::test]
async fn an_onlooker_may_look_from_a_time_before_the_last_contact() {
    let mut usual = Usual::new().await;
    usual.publisher.role("timestamp").expires = "2030-01-01T02:00:00Z";
    usual.server.publish(&usual.publisher);
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("1h")).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull(&usual.host.onlooker(&policy), &name, digest).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull_at(&usual.host.onlooker(&policy), &name, digest, after("3h")).await),
        "refused expired"
    );
}

#[tokio::test]
async fn one_broken_repository_says_nothing_of_another() {
    let usual = Usual::new().await;
    let other = publisher("registry.test/team/else", "v1", &usual.image);
    usual.server.publish(&other);
    let mut hostile = usual.publisher.clone();
    hostile.role("targets").signers = Some(Vec::new());
    usual.server.publish(&hostile);
    let keys = [usual.publisher.root_key(), other.root_key()];
    let decider = usual.host.decider(
        &(usual.server.root("acme", &keys) + &rule("registry.test/team/*", &["acme"], "")),
    );
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), usual.image.digest()).await),
        "refused bad-signature"
    );
    assert_eq!(
        said(&pull(&decider, "registry.test/team/else:v1", usual.image.digest()).await),
        "allowed signed"
    );
    assert!(
        usual
            .host
            .store()
            .history(&Subject::Gun(reference(APP).repository))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_name_that_was_signed_a_moment_ago_has_its_source_asked_once_before_its_time() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), usual.image.digest()).await),
        "allowed signed"
    );
    let (new, moved) = (image("new").digest(), image("moved").digest());
    let mut publisher = usual.publisher.clone();
    publisher.tag("v2", &new.to_string(), 7);
    publisher.tick();
    usual.server.publish(&publisher);
    // Within a few seconds nobody makes it ask again; and what it says tells how old the metadata
    // is.
    let verdict = pull_at(&decider, &format!("{APP}:v2"), new, after("2s")).await;
    assert_eq!(said(&verdict), "refused no-statement");
    assert!(
        verdict
            .reason()
            .contains("if the publisher signed later, ask again after 2030-01-01T00:00:05Z"),
        "{verdict}"
    );
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}:v2"), new, after("6s")).await),
        "allowed signed"
    );
    // A tag that was moved to other bytes, too.
    publisher.tag("v2", &moved.to_string(), 7);
    publisher.tick();
    usual.server.publish(&publisher);
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}:v2"), moved, after("12s")).await),
        "allowed signed"
    );
    // A hundred names that nobody signed cost one look in five seconds.
    usual.server.asked();
    for number in 0..100 {
        let verdict = pull_at(&decider, &format!("{APP}:x{number}"), new, after("20s")).await;
        assert_eq!(said(&verdict), "refused no-statement");
    }
    assert_eq!(
        usual
            .server
            .asked()
            .iter()
            .filter(|path| path.ends_with("/timestamp.json"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_source_that_fails_when_it_is_asked_before_its_time_takes_nothing_from_what_holds() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), usual.image.digest()).await),
        "allowed signed"
    );
    for (manner, time) in [
        (Manner::Garbage, "10s"),
        (Manner::Status(404), "20s"),
        (Manner::Status(503), "30s"),
    ] {
        usual.server.behave(manner);
        assert_eq!(
            said(
                &pull_at(
                    &decider,
                    &format!("{APP}:v2"),
                    usual.image.digest(),
                    after(time)
                )
                .await
            ),
            "refused no-statement"
        );
        assert!(!usual.server.asked().is_empty(), "{time}");
        assert_eq!(
            said(
                &pull_at(
                    &decider,
                    &format!("{APP}:v1"),
                    usual.image.digest(),
                    after(time)
                )
                .await
            ),
            "allowed signed"
        );
    }
}

#[tokio::test]
async fn by_a_clock_that_can_not_be_right_nothing_that_rests_on_time_is_judged_and_nothing_kept() {
    let usual = Usual::new().await;
    let more = format!(
        "[[image]]\nname = \"{APP}:boot\"\ndigest = \"{0}\"\n[[exempt]]\nmatch = \"registry.test/legacy\"\nuntil = 2030-02-01T00:00:00Z\n\
         reason = \"x\"\n[[exempt]]\nmatch = \"registry.test/bytes\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"x\"\ndigests = [\"{0}\"]\n",
        usual.image.digest()
    );
    let decider = usual.host.decider(&usual.policy(&more));
    decider.set_earliest(at("2029-12-31T00:00:00Z"), "the policy was written then");
    let cases = [
        (format!("{APP}:v1"), "unjudged clock"),
        ("registry.test/legacy:1".to_owned(), "unjudged clock"),
        ("registry.test/bytes:1".to_owned(), "unjudged clock"),
        (format!("{APP}:boot"), "allowed policy-pin"),
        ("registry.test/other:1".to_owned(), "refused no-rule"),
    ];
    for (name, wanted) in &cases {
        for time in ["1970-01-01T00:01:00Z", "2029-12-30T23:59:59Z"] {
            assert_eq!(
                said(&pull_at(&decider, name, usual.image.digest(), at(time)).await),
                *wanted,
                "{name} at {time}"
            );
        }
    }
    let seen = usual.host.store().show().unwrap();
    assert!(
        seen.repositories.is_empty() && seen.contacts.is_empty() && seen.rows.is_empty(),
        "{seen:?}"
    );
    assert!(usual.server.asked().is_empty());
    assert!(
        decider.clock_trouble(at("1970-01-01T00:01:00Z")).is_some()
            && decider.clock_trouble(at(NOW)).is_none()
    );
    assert_eq!(
        said(&pull(&decider, &cases[0].0, usual.image.digest()).await),
        "allowed signed",
        "the clock is right by now"
    );
}

#[tokio::test]
async fn what_a_cancelled_update_of_notary_showed_is_kept() {
    let mut usual = Usual::new().await;
    let decider = Arc::new(usual.host.decider(&usual.policy("")));
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    let subject = Subject::Gun(APP.parse::<ImageRef>().unwrap().repository);
    let timestamp = |host: &Host| {
        let floors = host.store().history(&subject).unwrap();
        let own = floors.iter().find(|floor| floor.role == "timestamp");
        own.unwrap().version
    };
    let before = timestamp(&usual.host);
    for role in ["snapshot", "timestamp"] {
        usual.publisher.role(role).version += 1;
    }
    usual.server.publish(&usual.publisher);
    usual.server.behave(Manner::HangsAt("/snapshot."));
    usual.server.asked();
    let asking = Arc::clone(&decider);
    let question = tokio::spawn(async move { pull_at(&asking, &name, digest, after("1h")).await });
    let hangs = |path: &String| path.contains("/snapshot.");
    while !usual.server.asked().iter().any(hangs) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    question.abort();
    assert!(question.await.unwrap_err().is_cancelled());
    let begun = Instant::now();
    while timestamp(&usual.host) == before && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(timestamp(&usual.host), before + 1);
}
