//! What counts as no answer, and how far the cache carries.

use std::time::{Duration, Instant};

use rootpin::decide::{Door, NameSource, Unpack};

use super::setup::{APP, Host, Manner, NOW, Usual, after, at, place, pull, pull_at, said};

#[tokio::test]
async fn a_server_that_is_gone_is_replaced_by_unexpired_cached_metadata_also_after_a_restart() {
    let mut usual = Usual::new().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    let decider = usual.host.decider(&policy);
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    usual.server.stop().await;
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("2h")).await),
        "allowed signed"
    );
    drop(decider);
    usual.host.restart();
    let decider = usual.host.decider(&policy);
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("3h")).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}:v2"), digest, after("3h")).await),
        "refused no-statement"
    );
}

#[tokio::test]
async fn offline_counts_from_the_last_good_contact_and_ends_to_the_second() {
    let mut usual = Usual::new().await;
    let policy = usual.policy("[limits]\noffline = \"2h\"\n");
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    // A second contact, an hour later: from here it counts.
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("1h")).await),
        "allowed signed"
    );
    usual.server.stop().await;
    for restart in [false, true] {
        if restart {
            usual.host.restart();
        }
        let last = pull_at(
            &usual.host.decider(&policy),
            &name,
            digest,
            after("2h 59m 59s"),
        )
        .await;
        assert_eq!(said(&last), "allowed signed");
        let decider = usual.host.decider(&policy);
        let over = pull_at(&decider, &name, digest, after("3h")).await;
        assert_eq!(
            (said(&over).as_str(), over.decision.exit_code()),
            ("unjudged source-unreachable", 2),
            "{over}"
        );
    }
    // What was admitted offline does not answer beyond the limit, however long `recheck` is.
    let decider = usual
        .host
        .decider(&usual.policy_with("recheck = \"10h\"", "[limits]\noffline = \"2h\"\n"));
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("2h")).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("3h")).await),
        "unjudged source-unreachable"
    );
}

#[tokio::test]
async fn a_row_holds_no_longer_than_recheck_expiry_and_the_offline_limit() {
    let mut usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    usual.publisher.role("timestamp").expires = "2030-01-01T06:00:00Z";
    usual.server.publish(&usual.publisher);
    let limits = "[limits]\noffline = \"4h\"\n";
    let until = |host: &Host| host.store().admitted(&digest).unwrap()[0].valid_until;
    for (recheck, online) in [
        ("recheck = \"90s\"", after("90s")),
        ("recheck = \"20h\"", after("6h")),
        ("recheck = \"20h\"\nmax-age = \"5h\"", after("5h")),
    ] {
        let decider = usual.host.decider(&usual.policy_with(recheck, limits));
        assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
        assert_eq!(until(&usual.host), online, "{recheck}");
    }
    usual.server.stop().await;
    let decider = usual
        .host
        .decider(&usual.policy_with("recheck = \"20h\"", limits));
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("1h")).await),
        "allowed signed"
    );
    assert_eq!(until(&usual.host), after("4h"));
}

#[tokio::test]
async fn offline_never_extends_an_expiry() {
    let mut usual = Usual::new().await;
    usual.publisher.role("timestamp").expires = "2030-01-01T02:00:00Z";
    usual.server.publish(&usual.publisher);
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    usual.server.stop().await;
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("1h 59m")).await),
        "allowed signed"
    );
    let verdict = pull_at(&usual.host.decider(&policy), &name, digest, after("2h")).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.decision.exit_code()),
        ("refused expired", 1)
    );
}

#[tokio::test]
async fn only_silence_is_silence() {
    // What the server does; the answer for a host that knows the repository, and for one that
    // doesn't.
    let cases = [
        (
            Manner::Status(500),
            "allowed signed",
            "unjudged source-unreachable",
        ),
        (
            Manner::Status(503),
            "allowed signed",
            "unjudged source-unreachable",
        ),
        (
            Manner::Status(429),
            "allowed signed",
            "unjudged source-unreachable",
        ),
        (
            Manner::Hangs,
            "allowed signed",
            "unjudged source-unreachable",
        ),
        (
            Manner::Status(401),
            "unjudged source-denied",
            "unjudged source-denied",
        ),
        (
            Manner::Status(403),
            "unjudged source-denied",
            "unjudged source-denied",
        ),
        (
            Manner::Status(404),
            "refused role-missing",
            "refused no-statement",
        ),
        (
            Manner::Status(301),
            "unjudged malformed",
            "unjudged malformed",
        ),
        (
            Manner::Status(302),
            "unjudged malformed",
            "unjudged malformed",
        ),
        (
            Manner::Status(307),
            "unjudged malformed",
            "unjudged malformed",
        ),
        (
            Manner::Status(204),
            "unjudged malformed",
            "unjudged malformed",
        ),
        (
            Manner::Status(400),
            "unjudged malformed",
            "unjudged malformed",
        ),
        (Manner::Garbage, "unjudged malformed", "unjudged malformed"),
    ];
    let usual = Usual::new().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    for (manner, known, unknown) in cases {
        usual.server.behave(manner);
        let verdict = pull_at(&usual.host.hurried(&policy), &name, digest, after("2m")).await;
        assert_eq!(said(&verdict), known, "{manner:?}: {verdict}");
        let fresh = Host::new();
        let verdict = pull_at(&fresh.hurried(&policy), &name, digest, after("2m")).await;
        assert_eq!(said(&verdict), unknown, "{manner:?}: {verdict}");
    }
}

#[tokio::test]
async fn a_clock_before_the_last_good_contact_could_not_judge() {
    let mut usual = Usual::new().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    let decider = usual.host.decider(&policy);
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    // A time server sets a clock that ran ahead.
    for step in ["2029-12-31T23:59:59.9Z", "2029-12-31T23:59:00Z"] {
        let verdict = pull_at(&decider, &name, digest, at(step)).await;
        assert_eq!(said(&verdict), "allowed signed", "{step}");
    }
    let before = at("2029-12-31T23:58:59Z");
    let verdict = pull_at(&decider, &name, digest, before).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.decision.exit_code()),
        ("unjudged clock", 2)
    );
    drop(decider);
    usual.host.restart();
    let decider = usual.host.decider(&policy);
    assert_eq!(
        said(&pull_at(&decider, &name, digest, before).await),
        "unjudged clock"
    );
    usual.server.stop().await;
    assert_eq!(
        said(&pull_at(&decider, &name, digest, before).await),
        "unjudged clock"
    );
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
}

#[tokio::test]
async fn a_question_that_waited_while_a_later_one_made_contact_has_no_wrong_clock() {
    let usual = Usual::new().await;
    let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
    let decider = usual.host.decider(&policy);
    assert_eq!(
        said(&pull_at(&decider, &name, usual.image.digest(), after("62s")).await),
        "allowed signed"
    );
    let waited = |time| Unpack {
        door: Door::Gate,
        engine: "containerd".to_owned(),
        layer: usual.image.layer.clone(),
        places: vec![place(
            "moby",
            vec![usual.image.claim(NameSource::Record, &name)],
        )],
        begun: Instant::now().checked_sub(time).unwrap(),
    };
    assert_eq!(
        said(
            &decider
                .unpack(&waited(Duration::from_secs(63)), at(NOW))
                .await
        ),
        "allowed signed"
    );
    assert_eq!(
        said(&decider.unpack(&waited(Duration::ZERO), at(NOW)).await),
        "unjudged clock"
    );
}

#[tokio::test]
async fn max_age_is_over_when_so_much_time_is_since_the_last_contact_though_offline_is_not() {
    let mut usual = Usual::new().await;
    let policy = usual.policy_with("max-age = \"24h\"", "");
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let decider = usual.host.decider(&policy);
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    usual.server.stop().await;
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("23h")).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull_at(&decider, &name, digest, after("24h")).await),
        "unjudged source-unreachable"
    );
}

#[tokio::test]
async fn a_cache_that_was_tampered_with_is_verified_like_anything_else() {
    let mut usual = Usual::new().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    usual.server.stop().await;
    let folder = std::fs::read_dir(usual.host.path("cache"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let path = folder.join("timestamp.json");
    let good = std::fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    std::fs::write(&path, text.replace("2036-", "2037-")).unwrap();
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "refused bad-signature"
    );
    std::fs::write(&path, b"").unwrap();
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "unjudged malformed"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "unjudged source-unreachable"
    );
    std::fs::write(&path, good).unwrap();
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "allowed signed"
    );
}
