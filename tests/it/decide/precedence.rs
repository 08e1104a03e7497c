//! The order of docs/policy.md, "What counts first": revoked, `[[image]]`, `[[exempt]]`, `[[rule]]`,
//! `[local]`, no.

use std::time::Instant;

use rootpin::decide::{Call, Does, Door, HeldImage, NameSource};
use rootpin_trust::image::Digest;

use super::setup::{
    APP, Host, NOW, Server, Usual, at, built, image, image_over, place, publisher, pull, reference,
    rule, said, unpack,
};
use crate::publisher::Key;

fn revoked(digest: Digest) -> String {
    format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"CVE-2026-0001\"\n")
}

fn bound(name: &str, digest: Digest) -> String {
    format!("[[image]]\nname = \"{name}\"\ndigest = \"{digest}\"\n")
}

fn exempt(more: &str) -> String {
    format!(
        "[[exempt]]\nmatch = \"{APP}\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"vendor build\"\n{more}\n"
    )
}

const LOCAL: &str = "[local]\ncontent = \"allow\"\n";

#[tokio::test]
async fn each_ground_gives_way_to_the_one_before_it() {
    let usual = Usual::new().await;
    let other = image("other");
    let (good, bad) = (usual.image.digest(), other.digest());
    let name = format!("{APP}:v1");
    // What the policy says beside the rule; the digest; the answer.
    let cases = [
        (String::new(), good, "allowed signed"),
        (String::new(), bad, "refused digest-mismatch"),
        (exempt(""), bad, "allowed exempt"),
        (
            exempt(&format!("digests = [\"{bad}\"]")),
            bad,
            "allowed exempt",
        ),
        (
            exempt(&format!("digests = [\"{bad}\"]")),
            good,
            "allowed signed",
        ),
        (
            exempt("") + &bound(&name, good),
            bad,
            "refused digest-mismatch",
        ),
        (exempt("") + &bound(&name, good), good, "allowed policy-pin"),
        (bound(&name, bad), bad, "allowed policy-pin"),
        (bound(&name, bad), good, "refused digest-mismatch"),
        (
            bound(&name, bad) + &bound(&name, good),
            good,
            "allowed policy-pin",
        ),
        (bound(&format!("{APP}:v2"), bad), good, "allowed signed"),
        (revoked(good), good, "refused revoked"),
        (exempt("") + &revoked(bad), bad, "refused revoked"),
        (bound(&name, bad) + &revoked(bad), bad, "refused revoked"),
    ];
    for (more, digest, wanted) in cases {
        let verdict = pull(&usual.host.decider(&usual.policy(&more)), &name, digest).await;
        assert_eq!(said(&verdict), wanted, "{more}\n{verdict}");
    }
}

#[tokio::test]
async fn pinned_exempt_and_revoked_bytes_need_no_trust_server() {
    let usual = Usual::new().await;
    let digest = usual.image.digest();
    let cases = [
        (bound(&format!("{APP}:v1"), digest), "allowed policy-pin"),
        (exempt(""), "allowed exempt"),
        (revoked(digest), "refused revoked"),
    ];
    for (more, wanted) in cases {
        let decider = usual.host.decider(&usual.policy(&more));
        assert_eq!(
            said(&pull(&decider, &format!("{APP}:v1"), digest).await),
            wanted
        );
    }
    assert!(usual.server.asked().is_empty());
}

#[tokio::test]
async fn a_revoked_index_manifest_config_or_layer_is_refused_at_the_gate_whoever_else_vouches_for_it()
 {
    let usual = Usual::new().await;
    let image = &usual.image;
    let name = format!("{APP}:v1");
    let grounds = [
        String::new(),
        exempt(""),
        bound(&name, image.digest()),
        LOCAL.to_owned(),
    ];
    for digest in [
        image.digest(),
        image.manifest.digest(),
        image.config,
        image.layer.digest,
    ] {
        for ground in &grounds {
            for told_by in [
                NameSource::Annotation,
                NameSource::Record,
                NameSource::Import,
                NameSource::Ledger,
            ] {
                let decider = usual
                    .host
                    .decider(&usual.policy(&(ground.clone() + &revoked(digest))));
                let verdict = unpack(
                    &decider,
                    &image.layer,
                    vec![place("default", vec![image.claim(told_by, &name)])],
                )
                .await;
                assert_eq!(
                    said(&verdict),
                    "refused revoked",
                    "{ground} {told_by:?}: {verdict}"
                );
                assert!(verdict.reason().contains("CVE-2026-0001"), "{verdict}");
            }
        }
    }
}

#[tokio::test]
async fn local_bytes_are_refused_where_every_image_that_holds_them_is_revoked() {
    let host = Host::new();
    let (one, two) = (image_over("one", "shared"), image_over("two", "shared"));
    let nameless = |images: &[&super::setup::Image]| {
        let mut place = built("moby", Vec::new());
        place.chains = images.iter().map(|image| image.chain()).collect();
        vec![place]
    };
    let decider = host.decider(&(LOCAL.to_owned() + &revoked(one.manifest.digest())));
    assert_eq!(
        said(&unpack(&decider, &one.layer, nameless(&[&one])).await),
        "refused revoked"
    );
    assert_eq!(
        said(&unpack(&decider, &one.layer, nameless(&[&one, &two])).await),
        "allowed local"
    );
    assert_eq!(
        said(&unpack(&decider, &one.layer, nameless(&[])).await),
        "allowed local"
    );
}

#[tokio::test]
async fn a_rule_stands_before_local_content_and_local_content_before_no() {
    let usual = Usual::new().await;
    let other = image("other");
    let decider = usual.host.decider(&usual.policy(LOCAL));
    let claimed = vec![built(
        "default",
        vec![other.claim(NameSource::Record, &format!("{APP}:v1"))],
    )];
    assert_eq!(
        said(&unpack(&decider, &other.layer, claimed).await),
        "refused digest-mismatch"
    );
    let nameless = || vec![built("default", Vec::new())];
    assert_eq!(
        said(&unpack(&decider, &other.layer, nameless()).await),
        "allowed local"
    );
    let decider = usual.host.decider(&usual.policy(""));
    assert_eq!(
        said(&unpack(&decider, &other.layer, nameless()).await),
        "refused not-local"
    );
}

#[tokio::test]
async fn a_policy_without_rules_refuses_everything() {
    let host = Host::new();
    let image = image("any");
    let decider = host.decider("");
    assert_eq!(
        said(&pull(&decider, "docker.io/library/alpine:3", image.digest()).await),
        "refused no-rule"
    );
    let claimed = vec![place(
        "default",
        vec![image.claim(NameSource::Record, "docker.io/library/alpine:3")],
    )];
    assert_eq!(
        said(&unpack(&decider, &image.layer, claimed).await),
        "refused no-rule"
    );
    assert_eq!(
        said(&unpack(&decider, &image.layer, vec![place("default", Vec::new())]).await),
        "refused no-rule"
    );
    assert_eq!(
        said(&unpack(&decider, &image.layer, vec![built("default", Vec::new())]).await),
        "refused not-local"
    );
}

#[tokio::test]
async fn an_exemption_that_is_over_is_void_and_says_so_only_where_no_rule_covers_the_name() {
    let usual = Usual::new().await;
    let (over, other) = (
        exempt("").replace("2030-02-01", "2029-12-31"),
        image("other"),
    );
    let name = format!("{APP}:v1");
    assert_eq!(
        said(&pull(&usual.host.decider(&over), &name, other.digest()).await),
        "refused exemption-over"
    );
    assert_eq!(
        said(
            &pull(
                &usual.host.decider(&usual.policy(&over)),
                &name,
                other.digest()
            )
            .await
        ),
        "refused digest-mismatch"
    );
    assert_eq!(
        said(
            &pull(
                &usual.host.decider(&usual.policy(&over)),
                &name,
                usual.image.digest()
            )
            .await
        ),
        "allowed signed"
    );
    // It holds up to the very instant, and not at it.
    let last = exempt("").replace("2030-02-01T", "2030-01-01T");
    assert_eq!(
        said(&pull(&usual.host.decider(&last), &name, other.digest()).await),
        "refused exemption-over"
    );
    let longer = exempt("").replace("2030-02-01T00:00:00Z", "2030-01-01T00:00:01Z");
    assert_eq!(
        said(&pull(&usual.host.decider(&longer), &name, other.digest()).await),
        "allowed exempt"
    );
}

#[tokio::test]
async fn a_bound_name_does_not_speak_for_the_repository_s_other_tags_and_a_bare_digest_is_vouched_for_by_any()
 {
    let usual = Usual::new().await;
    let (pinned, other) = (image("pinned").digest(), image("other").digest());
    let decider = usual
        .host
        .decider(&usual.policy(&bound(&format!("{APP}:boot"), pinned)));
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:boot"), pinned).await),
        "allowed policy-pin"
    );
    assert_eq!(
        said(&pull(&decider, &format!("{APP}@{pinned}"), pinned).await),
        "allowed policy-pin"
    );
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), pinned).await),
        "refused digest-mismatch"
    );
    assert_eq!(
        said(&pull(&decider, &format!("{APP}@{other}"), other).await),
        "refused no-statement"
    );
    assert_eq!(
        said(
            &pull(
                &decider,
                &format!("registry.test/team/else@{pinned}"),
                pinned
            )
            .await
        ),
        "refused no-rule"
    );
}

#[tokio::test]
async fn a_revoked_key_s_signatures_count_nowhere_and_a_root_that_lists_it_is_refused() {
    let image = image("signed");
    let mut publisher = publisher(APP, "v1", &image);
    let (root, signer) = (
        publisher.root_key(),
        Key::named(&format!("{APP} targets/releases")),
    );
    let second = Key::named("second root");
    let server = Server::of(&publisher).await;
    let host = Host::new();
    let policy = |revoked: &Key| {
        let revoked = format!(
            "[[revoked]]\nkey = \"{}\"\nreason = \"stolen\"\n",
            revoked.id()
        );
        format!(
            "{}{}{revoked}",
            server.root("acme", &[root.clone(), second.clone()]),
            rule(APP, &["acme"], "")
        )
    };
    let name = format!("{APP}:v1");
    assert_eq!(
        said(
            &pull(
                &host.decider(&policy(&Key::named("nobody's"))),
                &name,
                image.digest()
            )
            .await
        ),
        "allowed signed"
    );
    assert_eq!(
        said(&pull(&host.decider(&policy(&signer)), &name, image.digest()).await),
        "refused revoked"
    );
    assert_eq!(
        said(&pull(&host.decider(&policy(&root)), &name, image.digest()).await),
        "refused revoked"
    );
    // The way out: the publisher moves on to a key that is pinned and not revoked.
    publisher.rotate_root(std::slice::from_ref(&second));
    publisher.tick();
    server.publish(&publisher);
    let fresh = Host::new();
    assert_eq!(
        said(&pull(&fresh.decider(&policy(&root)), &name, image.digest()).await),
        "allowed signed"
    );
}

/// policy.md, `[[exempt]]`: "any bytes under the name are, if a registry was asked for the name".
#[tokio::test]
async fn an_exemption_by_name_covers_no_image_that_an_engine_knows_from_elsewhere() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(&exempt("")));
    let (digest, id) = (Digest::of(b"manifest"), Digest::of(b"config"));
    let known = |repository: &str| reference(&format!("{repository}@{digest}"));
    for (known, wanted) in [
        (vec![known(APP)], "allowed exempt"),
        (vec![known("elsewhere.test/x")], "refused no-statement"),
        (Vec::new(), "refused no-statement"),
    ] {
        let held = || HeldImage {
            door: Door::Authz,
            engine: "docker".to_owned(),
            namespace: "moby".to_owned(),
            asked: Some(reference(&format!("{APP}:v9"))),
            known: known.clone(),
            id,
            begun: Instant::now(),
        };
        let run = decider.held(&held(), at(NOW)).await;
        let call = Call {
            engine: "docker".to_owned(),
            shown: "docker tag".to_owned(),
            does: Does::Tag(held()),
            begun: Instant::now(),
        };
        let tag = decider.docker_call(call, at(NOW)).await;
        assert_eq!(
            (said(&run), said(&tag)),
            (wanted.to_owned(), wanted.to_owned()),
            "{known:?}"
        );
    }
}
