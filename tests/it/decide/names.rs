//! A name is bound to its bytes, by the name that was signed.

use rootpin::decide::{Claim, NameSource};
use rootpin_trust::Subject;

use super::setup::{
    APP, Host, NOW, Server, Usual, after, image, place, publisher, pull, pull_at, reference, rule,
    said, unpack,
};
use crate::publisher::Publisher;

#[tokio::test]
async fn a_tag_stands_for_exactly_its_signed_digest() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    let (good, bad) = (usual.image.digest(), image("other").digest());
    let cases = [
        (format!("{APP}:v1"), good, "allowed signed"),
        (format!("{APP}:v1"), bad, "refused digest-mismatch"),
        (format!("{APP}:v2"), good, "refused no-statement"),
        (format!("{APP}@{good}"), good, "allowed signed"),
        (format!("{APP}@{bad}"), bad, "refused no-statement"),
        (format!("{APP}@{bad}"), good, "refused digest-mismatch"),
        (format!("{APP}@{good}"), bad, "refused digest-mismatch"),
        (format!("{APP}:v1@{good}"), good, "allowed signed"),
        (format!("{APP}:v1@{bad}"), bad, "refused digest-mismatch"),
        (format!("{APP}:v1@{bad}"), good, "refused digest-mismatch"),
        (format!("{APP}:v2@{good}"), good, "refused no-statement"),
        (
            "registry.test/team/app2:v1".to_owned(),
            good,
            "refused no-rule",
        ),
        ("registry.test/team:v1".to_owned(), good, "refused no-rule"),
    ];
    for (name, digest, wanted) in cases {
        let verdict = pull(&decider, &name, digest).await;
        assert_eq!(said(&verdict), wanted, "{verdict}");
    }
}

#[tokio::test]
async fn a_name_without_a_tag_means_latest() {
    let (old, new) = (image("old").digest(), image("new").digest());
    let mut publisher = Publisher::new(APP);
    publisher.tag("v1", &old.to_string(), 7);
    let server = Server::of(&publisher).await;
    let policy = server.root("acme", &[publisher.root_key()]) + &rule(APP, &["acme"], "");
    let (host, later) = (Host::new(), after("5m"));
    let decider = host.decider(&policy);
    let verdict = pull(&decider, APP, old).await;
    assert_eq!(said(&verdict), "refused no-statement");
    assert_eq!(verdict.name.unwrap().to_string(), format!("{APP}:latest"));
    publisher.tag("latest", &new.to_string(), 7);
    publisher.tick();
    server.publish(&publisher);
    assert_eq!(
        said(&pull_at(&decider, APP, new, later).await),
        "allowed signed"
    );
    assert_eq!(
        said(&pull_at(&decider, APP, old, later).await),
        "refused digest-mismatch"
    );
}

#[tokio::test]
async fn a_moved_tag_refuses_the_old_digest_also_where_only_the_digest_is_asked_for() {
    let usual = Usual::new().await;
    let mut publisher = usual.publisher.clone();
    let decider = usual.host.decider(&usual.policy(""));
    let (old, new) = (usual.image.digest(), image("new").digest());
    assert_eq!(
        said(&pull(&decider, &format!("{APP}@{old}"), old).await),
        "allowed signed"
    );
    publisher.tag("v1", &new.to_string(), 7);
    publisher.tick();
    usual.server.publish(&publisher);
    let later = after("2m");
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}:v1"), old, later).await),
        "refused digest-mismatch"
    );
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}@{old}"), old, later).await),
        "refused no-statement"
    );
    assert_eq!(
        said(&pull_at(&decider, &format!("{APP}@{new}"), new, later).await),
        "allowed signed"
    );
}

#[tokio::test]
async fn a_child_manifest_is_refused_at_the_verifier_and_proved_through_the_signed_index_at_the_gate()
 {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    let child = usual.image.manifest.digest();
    for name in [format!("{APP}:v1"), format!("{APP}:v1@{child}")] {
        assert_eq!(
            said(&pull(&decider, &name, child).await),
            "refused digest-mismatch",
            "{name}"
        );
    }
    assert_eq!(
        said(&pull(&decider, &format!("{APP}@{child}"), child).await),
        "refused no-statement"
    );
    for name in [
        format!("{APP}:v1"),
        format!("{APP}:v1@{child}"),
        format!("{APP}@{child}"),
        APP.to_owned(),
    ] {
        let through_the_index = usual.image.claim(NameSource::Record, &name);
        let verdict = unpack(
            &decider,
            &usual.image.layer,
            vec![place("k8s.io", vec![through_the_index])],
        )
        .await;
        assert_eq!(said(&verdict), "allowed signed", "{verdict}");
        assert_eq!(verdict.digest, Some(usual.image.digest()));
        let alone = Claim {
            told_by: NameSource::Record,
            name: reference(&name),
            chain: usual.image.bare(),
        };
        let verdict = unpack(
            &decider,
            &usual.image.layer,
            vec![place("k8s.io", vec![alone])],
        )
        .await;
        assert_eq!(verdict.decision.outcome(), "refused", "{verdict}");
    }
}

#[tokio::test]
async fn a_signed_single_manifest_needs_no_index() {
    let image = image("single");
    let mut publisher = Publisher::new(APP);
    publisher.tag("v1", &image.manifest.digest().to_string(), 7);
    let server = Server::of(&publisher).await;
    let host = Host::new();
    let decider =
        host.decider(&(server.root("acme", &[publisher.root_key()]) + &rule(APP, &["acme"], "")));
    let claim = |chain| {
        vec![place(
            "moby",
            vec![Claim {
                told_by: NameSource::Annotation,
                name: reference(&format!("{APP}:v1")),
                chain,
            }],
        )]
    };
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), image.manifest.digest()).await),
        "allowed signed"
    );
    assert_eq!(
        said(&unpack(&decider, &image.layer, claim(image.bare())).await),
        "allowed signed"
    );
    assert_eq!(
        said(&unpack(&decider, &image.layer, claim(image.chain())).await),
        "refused digest-mismatch"
    );
}

#[tokio::test]
async fn signed_as_carries_every_kind_of_pattern_to_the_signed_name() {
    let image = image("signed");
    let publisher = publisher("docker.io/library/app", "v1", &image);
    let server = Server::of(&publisher).await;
    let root = server.root("acme", &[publisher.root_key()]);
    let cases = [
        (
            "docker.io/library/app",
            None,
            "docker.io/library/app:v1",
            "allowed signed",
        ),
        (
            "docker.io/library/*",
            None,
            "docker.io/library/app:v1",
            "allowed signed",
        ),
        (
            "docker.io/**",
            None,
            "docker.io/library/app:v1",
            "allowed signed",
        ),
        (
            "mirror.test/hub/app",
            Some("docker.io/library/app"),
            "mirror.test/hub/app:v1",
            "allowed signed",
        ),
        (
            "mirror.test/hub/*",
            Some("docker.io/library/*"),
            "mirror.test/hub/app:v1",
            "allowed signed",
        ),
        (
            "mirror.test/hub/**",
            Some("docker.io/**"),
            "mirror.test/hub/library/app:v1",
            "allowed signed",
        ),
        // Not in full form: no statement can carry that name.
        (
            "mirror.test/hub/**",
            Some("docker.io/**"),
            "mirror.test/hub/app:v1",
            "refused no-statement",
        ),
        // The mirror's own name is not what was signed.
        (
            "mirror.test/hub/**",
            None,
            "mirror.test/hub/library/app:v1",
            "refused no-statement",
        ),
        (
            "mirror.test/hub/*",
            Some("docker.io/library/*"),
            "mirror.test/hub/library/app:v1",
            "refused no-rule",
        ),
        (
            "mirror.test/hub/*",
            Some("docker.io/other/*"),
            "mirror.test/hub/app:v1",
            "refused no-statement",
        ),
    ];
    for (pattern, signed_as, name, wanted) in cases {
        let more = signed_as
            .map(|signed_as| format!("signed-as = \"{signed_as}\""))
            .unwrap_or_default();
        let host = Host::new();
        let decider = host.decider(&(root.clone() + &rule(pattern, &["acme"], &more)));
        let verdict = pull(&decider, name, image.digest()).await;
        assert_eq!(said(&verdict), wanted, "{pattern} {signed_as:?}: {verdict}");
    }
}

#[tokio::test]
async fn floors_contacts_and_signatures_are_those_of_the_signed_name() {
    let image = image("signed");
    let mut publisher = publisher("docker.io/library/app", "v1", &image);
    let first = publisher.clone();
    publisher.tick();
    let server = Server::of(&publisher).await;
    let rules = rule(
        "mirror.test/hub/*",
        &["acme"],
        "signed-as = \"docker.io/library/*\"",
    ) + &rule("docker.io/**", &["acme"], "");
    let policy = server.root("acme", &[publisher.root_key()]) + &rules;
    let host = Host::new();
    assert_eq!(
        said(
            &pull(
                &host.decider(&policy),
                "mirror.test/hub/app:v1",
                image.digest()
            )
            .await
        ),
        "allowed signed"
    );
    let (signed, asked) = (
        reference("docker.io/library/app").repository,
        reference("mirror.test/hub/app").repository,
    );
    assert_eq!(
        host.store()
            .history(&Subject::Gun(signed.clone()))
            .unwrap()
            .len(),
        5
    );
    assert_eq!(
        host.store()
            .contact(&server.url(), &Subject::Gun(signed))
            .unwrap(),
        Some(super::setup::at(NOW))
    );
    assert!(
        host.store()
            .history(&Subject::Gun(asked))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        host.store().admitted(&image.digest()).unwrap()[0]
            .name
            .to_string(),
        "mirror.test/hub/app:v1"
    );
    // What was seen through the mirror binds under the upstream's own name, and the other way
    // round.
    server.publish(&first);
    for name in ["docker.io/library/app:v1", "mirror.test/hub/app:v1"] {
        let decider = host.decider(&policy);
        let verdict = pull_at(&decider, name, image.digest(), after("2m")).await;
        assert_eq!(said(&verdict), "allowed signed", "{verdict}");
        assert_eq!(
            decider.sources_behind()[0].refusal.code,
            rootpin_trust::Code::Rollback
        );
    }
}

#[tokio::test]
async fn bound_names_and_exemptions_look_at_the_asked_name_under_signed_as() {
    let host = Host::new();
    let server = Server::empty();
    let publisher = Publisher::new("docker.io/library/app");
    let digest = image("any").digest();
    let rules = rule(
        "mirror.test/hub/*",
        &["acme"],
        "signed-as = \"docker.io/library/*\"",
    );
    let policy = |entry: &str| {
        format!(
            "{}{rules}{entry}",
            server.root("acme", &[publisher.root_key()])
        )
    };
    for (name, wanted) in [
        (
            "mirror.test/hub/app:v1",
            ["allowed policy-pin", "allowed exempt"],
        ),
        ("docker.io/library/app:v1", ["refused no-statement"; 2]),
    ] {
        let bound = policy(&format!(
            "[[image]]\nname = \"{name}\"\ndigest = \"{digest}\"\n"
        ));
        let repository = name.trim_end_matches(":v1");
        let exempt = policy(&format!(
            "[[exempt]]\nmatch = \"{repository}\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"x\"\n"
        ));
        for (policy, wanted) in [bound, exempt].iter().zip(wanted) {
            assert_eq!(
                said(&pull(&host.decider(policy), "mirror.test/hub/app:v1", digest).await),
                wanted,
                "{policy}"
            );
        }
    }
}
