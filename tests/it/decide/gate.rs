//! What a gate is told of a layer are hints: the most trusted teller decides, and no hint makes
//! bytes into other bytes.

use rootpin::decide::{Claim, NameSource};

use super::setup::{
    APP, Host, Usual, built, image, image_over, place, pull, reference, said, unpack,
};

fn exempt(pattern: &str) -> String {
    format!(
        "[[exempt]]\nmatch = \"{pattern}\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"vendor build\"\n"
    )
}

#[tokio::test]
async fn every_teller_s_name_admits_the_signed_bytes_and_no_other() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    let other = image("other");
    for told_by in [
        NameSource::Annotation,
        NameSource::Record,
        NameSource::Import,
        NameSource::Ledger,
        NameSource::Source,
    ] {
        // A source label knows no tag.
        let (name, code) = if told_by == NameSource::Source {
            (APP.to_owned(), "no-statement")
        } else {
            (format!("{APP}:v1"), "digest-mismatch")
        };
        let good = vec![place("default", vec![usual.image.claim(told_by, &name)])];
        assert_eq!(
            said(&unpack(&decider, &usual.image.layer, good).await),
            "allowed signed",
            "{told_by:?}"
        );
        let bad = vec![place("default", vec![other.claim(told_by, &name)])];
        assert_eq!(
            said(&unpack(&decider, &other.layer, bad).await),
            format!("refused {code}"),
            "{told_by:?}"
        );
    }
}

#[tokio::test]
async fn an_annotation_that_names_other_bytes_is_refused_though_the_source_label_would_allow_them_by_digest()
 {
    let usual = Usual::new().await;
    let mut publisher = usual.publisher.clone();
    let old = image("old");
    publisher.tag("v0", &old.digest().to_string(), 7);
    usual.server.publish(&publisher);
    let decider = usual.host.decider(&usual.policy(""));
    let by_label = old.claim(NameSource::Source, APP);
    assert_eq!(
        said(
            &unpack(
                &decider,
                &old.layer,
                vec![place("moby", vec![by_label.clone()])]
            )
            .await
        ),
        "allowed signed"
    );
    for told_by in [
        NameSource::Annotation,
        NameSource::Record,
        NameSource::Import,
        NameSource::Ledger,
    ] {
        for claims in [
            [old.claim(told_by, &format!("{APP}:v1")), by_label.clone()],
            [by_label.clone(), old.claim(told_by, &format!("{APP}:v1"))],
        ] {
            let verdict = unpack(&decider, &old.layer, vec![place("moby", claims.to_vec())]).await;
            assert_eq!(
                said(&verdict),
                "refused digest-mismatch",
                "{told_by:?}: {verdict}"
            );
        }
    }
}

#[tokio::test]
async fn a_shared_layer_is_allowed_by_the_signed_one_of_the_images_that_the_same_teller_names() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    let other = image_over("another configuration", "signed");
    assert_eq!(other.layer, usual.image.layer);
    let name = format!("{APP}:v1");
    let claims = vec![
        other.claim(NameSource::Annotation, &name),
        usual.image.claim(NameSource::Annotation, &name),
    ];
    let verdict = unpack(&decider, &other.layer, vec![place("moby", claims)]).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.digest),
        ("allowed signed", Some(usual.image.digest()))
    );
}

#[tokio::test]
async fn an_exemption_by_name_alone_needs_a_sign_that_a_registry_was_asked_for_the_name() {
    let host = Host::new();
    let decider = host.decider(&exempt(APP));
    let image = image("vendor's");
    let cases = [
        (NameSource::Annotation, "refused no-rule"),
        (NameSource::Client, "allowed exempt"),
        (NameSource::Record, "refused no-rule"),
        (NameSource::Import, "refused no-rule"),
        (NameSource::Ledger, "refused no-rule"),
        (NameSource::Source, "allowed exempt"),
    ];
    for (told_by, wanted) in cases {
        for name in [APP.to_owned(), format!("{APP}:v1")] {
            let verdict = unpack(
                &decider,
                &image.layer,
                vec![place("default", vec![image.claim(told_by, &name)])],
            )
            .await;
            assert_eq!(said(&verdict), wanted, "{told_by:?} {name}: {verdict}");
        }
    }
    // Where an annotation or a record names it, the label may still say so; another repository's
    // label may not.
    for told_by in [NameSource::Annotation, NameSource::Record] {
        let named = || image.claim(told_by, &format!("{APP}:v1"));
        let claims = vec![named(), image.claim(NameSource::Source, APP)];
        assert_eq!(
            said(&unpack(&decider, &image.layer, vec![place("moby", claims)]).await),
            "allowed exempt",
            "{told_by:?}"
        );
        let claims = vec![
            named(),
            image.claim(NameSource::Source, "registry.test/team/else"),
        ];
        assert_eq!(
            said(&unpack(&decider, &image.layer, vec![place("moby", claims)]).await),
            "refused no-rule",
            "{told_by:?}"
        );
    }
}

#[tokio::test]
async fn exempt_bytes_are_exempt_whoever_names_them_and_only_under_the_name() {
    let host = Host::new();
    let image = image("vendor's");
    for digest in [image.digest(), image.manifest.digest()] {
        let decider = host.decider(&format!("{}digests = [\"{digest}\"]\n", exempt(APP)));
        for told_by in [
            NameSource::Annotation,
            NameSource::Record,
            NameSource::Import,
            NameSource::Ledger,
            NameSource::Source,
        ] {
            let named = |name: &str| vec![place("default", vec![image.claim(told_by, name)])];
            assert_eq!(
                said(&unpack(&decider, &image.layer, named(APP)).await),
                "allowed exempt",
                "{told_by:?}"
            );
            assert_eq!(
                said(&unpack(&decider, &image.layer, named("registry.test/team/else")).await),
                "refused no-rule",
                "{told_by:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_name_wide_exemption_by_label_mends_neither_revoked_nor_bound_bytes() {
    let host = Host::new();
    let (image, meant) = (image("vendor's"), image("meant"));
    let claims = || {
        vec![place(
            "moby",
            vec![
                image.claim(NameSource::Annotation, &format!("{APP}:v1")),
                image.claim(NameSource::Source, APP),
            ],
        )]
    };
    let bound = format!(
        "[[image]]\nname = \"{APP}:v1\"\ndigest = \"{}\"\n",
        meant.digest()
    );
    let verdict = unpack(
        &host.decider(&(exempt(APP) + &bound)),
        &image.layer,
        claims(),
    )
    .await;
    assert_eq!(said(&verdict), "refused digest-mismatch");
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"x\"\n",
        image.config
    );
    assert_eq!(
        said(
            &unpack(
                &host.decider(&(exempt(APP) + &revoked)),
                &image.layer,
                claims()
            )
            .await
        ),
        "refused revoked"
    );
}

#[tokio::test]
async fn every_namespace_that_is_meant_must_allow() {
    let usual = Usual::new().await;
    let decider = usual
        .host
        .decider(&usual.policy("[local]\ncontent = \"allow\"\nnamespaces = [\"moby\"]\n"));
    let good = || {
        place(
            "default",
            vec![usual.image.claim(NameSource::Record, &format!("{APP}:v1"))],
        )
    };
    let bad = || {
        place(
            "k8s.io",
            vec![usual.image.claim(NameSource::Record, &format!("{APP}:v2"))],
        )
    };
    let layer = &usual.image.layer;
    assert_eq!(
        said(&unpack(&decider, layer, vec![good(), good()]).await),
        "allowed signed"
    );
    assert_eq!(
        said(&unpack(&decider, layer, vec![built("moby", vec![]), good()]).await),
        "allowed signed"
    );
    for places in [
        vec![good(), bad()],
        vec![bad(), good()],
        vec![good(), bad(), good()],
    ] {
        let verdict = unpack(&decider, layer, places).await;
        assert_eq!(said(&verdict), "refused no-statement");
        assert!(verdict.namespaces.contains(&"k8s.io".to_owned()));
    }
    assert_eq!(
        said(
            &unpack(
                &decider,
                layer,
                vec![built("moby", vec![]), built("default", vec![])]
            )
            .await
        ),
        "refused not-local"
    );
    assert_eq!(
        said(&unpack(&decider, layer, vec![]).await),
        "refused not-local"
    );
}

#[tokio::test]
async fn local_content_is_let_in_only_where_the_policy_lists_the_namespace_and_nothing_came_from_a_registry()
 {
    let usual = Usual::new().await;
    let image = image("built");
    let decider = usual.host.decider(
        &usual.policy("[local]\ncontent = \"allow\"\nnamespaces = [\"moby\", \"buildkit\"]\n"),
    );
    let uncovered = || vec![image.claim(NameSource::Record, "docker.io/library/built:latest")];
    let cases = [
        (built("moby", vec![]), "allowed local"),
        (built("buildkit", vec![]), "allowed local"),
        (built("moby", uncovered()), "allowed local"),
        (built("default", vec![]), "refused not-local"),
        (built("default", uncovered()), "refused no-rule"),
        (place("moby", vec![]), "refused no-rule"),
        (place("moby", uncovered()), "refused no-rule"),
    ];
    for (place, wanted) in cases {
        let told = format!("{place:?}");
        assert_eq!(
            said(&unpack(&decider, &image.layer, vec![place]).await),
            wanted,
            "{told}"
        );
    }
    // The verifier's question is always about a registry.
    assert_eq!(
        said(&pull(&decider, "docker.io/library/built:latest", image.digest()).await),
        "refused no-rule"
    );
}

#[tokio::test]
async fn local_content_is_never_let_in_under_a_name_that_a_rule_covers_whoever_tells_it() {
    let usual = Usual::new().await;
    let image = image("loaded");
    let decider = usual
        .host
        .decider(&usual.policy("[local]\ncontent = \"allow\"\n"));
    let name = format!("{APP}:v1");
    for told_by in [
        NameSource::Annotation,
        NameSource::Record,
        NameSource::Import,
        NameSource::Ledger,
        NameSource::Source,
    ] {
        let covered = image.claim(told_by, &name);
        let verdict = unpack(
            &decider,
            &image.layer,
            vec![built("moby", vec![covered.clone()])],
        )
        .await;
        assert_eq!(said(&verdict), "refused digest-mismatch", "{told_by:?}");
        // A name that no rule covers, told by somebody who is believed first, takes nothing away
        // from that.
        let beside = Claim {
            told_by: NameSource::Annotation,
            name: reference("docker.io/library/built:latest"),
            chain: image.chain(),
        };
        let verdict = unpack(
            &decider,
            &image.layer,
            vec![built("moby", vec![beside, covered])],
        )
        .await;
        assert_eq!(
            verdict.decision.outcome(),
            "refused",
            "{told_by:?}: {verdict}"
        );
    }
}

#[tokio::test]
async fn what_local_content_lets_in_leaves_no_row_and_what_is_admitted_leaves_one_for_every_digest()
{
    let usual = Usual::new().await;
    let decider = usual
        .host
        .decider(&usual.policy("[local]\ncontent = \"allow\"\n"));
    let other = image("built");
    assert_eq!(
        said(&unpack(&decider, &other.layer, vec![built("moby", vec![])]).await),
        "allowed local"
    );
    assert!(usual.host.store().show().unwrap().rows.is_empty());
    let claims = vec![
        usual
            .image
            .claim(NameSource::Annotation, &format!("{APP}:v1")),
    ];
    assert_eq!(
        said(&unpack(&decider, &usual.image.layer, vec![place("moby", claims)]).await),
        "allowed signed"
    );
    let image = &usual.image;
    for digest in [
        image.digest(),
        image.manifest.digest(),
        image.config,
        image.layer.digest,
    ] {
        let rows = usual.host.store().admitted(&digest).unwrap();
        assert_eq!(
            (rows.len(), rows[0].top, rows[0].name.to_string()),
            (1, image.digest(), format!("{APP}:v1"))
        );
        assert_eq!(
            (rows[0].policy, rows[0].valid_until),
            (decider.policy().unwrap().hash, super::setup::after("60s"))
        );
    }
}
