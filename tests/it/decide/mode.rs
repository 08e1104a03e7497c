//! Audit mode (docs/policy.md, `mode`), and what is told of a decision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rootpin::decide::{Decider, Door, NameSource, too_slow};
use rootpin::observe::judgement;
use rootpin::sources::{Credentials, Sources};
use rootpin::state::Store;
use serde_json::{Value, json};

use super::setup::{
    APP, Host, Manner, Usual, after, decider, image, place, pull, pull_at, rule, said, unpack,
};

const AUDIT: &str = "mode = \"audit\"\n";

#[tokio::test]
async fn audit_mode_lets_a_judged_and_an_unjudged_no_through_and_keeps_no_row_of_it() {
    let usual = Usual::new().await;
    let other = image("other");
    let decider = usual.host.decider(&(AUDIT.to_owned() + &usual.policy("")));
    let verdict = pull(&decider, &format!("{APP}:v1"), other.digest()).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.decision.exit_code()),
        ("let through: refused digest-mismatch", 1)
    );
    assert!(verdict.decision.lets_through());
    assert!(
        verdict
            .reason()
            .starts_with("rootpin: audit mode, let through: refused"),
        "{verdict}"
    );
    let verdict = pull(&decider, "docker.io/library/alpine:3", other.digest()).await;
    assert_eq!(said(&verdict), "let through: refused no-rule");
    let claims = vec![place(
        "moby",
        vec![other.claim(NameSource::Annotation, &format!("{APP}:v1"))],
    )];
    assert_eq!(
        said(&unpack(&decider, &other.layer, claims).await),
        "let through: refused digest-mismatch"
    );
    usual.server.behave(Manner::Status(401));
    let verdict = pull_at(
        &decider,
        &format!("{APP}:v1"),
        usual.image.digest(),
        after("2m"),
    )
    .await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.decision.exit_code()),
        ("let through: unjudged source-denied", 2)
    );
    let seen = usual.host.store().show().unwrap();
    assert!(seen.rows.is_empty());
    usual.server.behave(Manner::Honest);
    assert_eq!(
        said(
            &pull_at(
                &decider,
                &format!("{APP}:v1"),
                usual.image.digest(),
                after("4m")
            )
            .await
        ),
        "allowed signed"
    );
    assert_eq!(usual.host.store().show().unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_rule_that_enforces_denies_under_audit() {
    let usual = Usual::new().await;
    let other = image("other").digest();
    let policy = format!(
        "{AUDIT}{}{}{}",
        usual.root(),
        rule(APP, &["acme"], "mode = \"enforce\""),
        rule("registry.test/**", &["acme"], "")
    );
    let decider = usual.host.decider(&policy);
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), other).await),
        "refused digest-mismatch"
    );
    assert_eq!(
        said(&pull(&decider, "registry.test/team/else:v1", other).await),
        "let through: refused no-statement"
    );
}

#[tokio::test]
async fn a_rule_that_enforces_denies_under_audit_whatever_the_no_is_about() {
    let usual = Usual::new().await;
    let (other, bad) = (image("other"), image("revoked"));
    let more = format!(
        "[[image]]\nname = \"{APP}:boot\"\ndigest = \"{}\"\n[[revoked]]\ndigest = \"{}\"\nreason = \"x\"\n\
         [[revoked]]\ndigest = \"{}\"\nreason = \"x\"\n",
        usual.image.digest(),
        bad.digest(),
        bad.layer.digest
    );
    let rules =
        rule(APP, &["acme"], "mode = \"enforce\"") + &rule("registry.test/**", &["acme"], "");
    let decider = usual
        .host
        .decider(&(AUDIT.to_owned() + &usual.root() + &rules + &more));
    let v1 = format!("{APP}:v1");
    assert_eq!(
        said(&pull(&decider, &v1, bad.digest()).await),
        "refused revoked"
    );
    assert_eq!(
        said(&pull(&decider, "registry.test/team/else:v1", bad.digest()).await),
        "let through: refused revoked"
    );
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:boot"), other.digest()).await),
        "refused digest-mismatch"
    );
    assert_eq!(
        said(
            &pull(
                &decider,
                &format!("{APP}@{}", usual.image.digest()),
                other.digest()
            )
            .await
        ),
        "refused digest-mismatch"
    );
    let told = |image: &super::setup::Image, name: &str| image.claim(NameSource::Record, name);
    let places = vec![place("default", vec![told(&bad, &v1)])];
    assert_eq!(
        said(&unpack(&decider, &bad.layer, places).await),
        "refused revoked"
    );
    // One of two names is under the rule that enforces.
    let places = vec![place(
        "default",
        vec![told(&other, "docker.io/library/x:1"), told(&other, &v1)],
    )];
    assert_eq!(
        said(&unpack(&decider, &other.layer, places).await),
        "refused digest-mismatch"
    );
    let places = vec![place(
        "default",
        vec![told(&other, "docker.io/library/x:1")],
    )];
    assert_eq!(
        said(&unpack(&decider, &other.layer, places).await),
        "let through: refused no-rule"
    );
    // What no manifest that can be read holds may be of any name.
    assert_eq!(
        said(&unpack(&decider, &other.layer, vec![place("default", vec![])]).await),
        "refused no-rule"
    );
}

#[tokio::test]
async fn who_slows_a_question_down_does_not_get_it_past_a_rule_that_enforces() {
    let usual = Usual::new().await;
    let rules =
        rule(APP, &["acme"], "mode = \"enforce\"") + &rule("registry.test/**", &["acme"], "");
    let decider = usual
        .host
        .decider(&(AUDIT.to_owned() + &usual.root() + &rules));
    let slow = || too_slow(Duration::from_secs(8));
    let name = |name: &str| Some(name.parse().unwrap());
    let pulled = decider.unjudged_pull(
        Door::Verifier,
        name(&format!("{APP}:v1")),
        slow(),
        Instant::now(),
    );
    assert_eq!(said(&pulled), "unjudged over-limit");
    let shown = judgement(&pulled);
    assert!(
        shown["rule"]
            .as_str()
            .is_some_and(|rule| rule.starts_with(&format!("[[rule]] match = \"{APP}\""))),
        "the rule that covers the name is said: {shown}"
    );
    let pulled = decider.unjudged_pull(
        Door::Verifier,
        name("registry.test/team/else:v1"),
        slow(),
        Instant::now(),
    );
    assert_eq!(said(&pulled), "let through: unjudged over-limit");
    let layer = decider.unjudged_layer(
        Door::Gate,
        "containerd",
        usual.image.layer.digest,
        slow(),
        Instant::now(),
    );
    assert_eq!(said(&layer), "unjudged over-limit");
}

#[tokio::test]
async fn what_one_namespace_refuses_is_told_under_audit_though_the_next_one_allows() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&(AUDIT.to_owned() + &usual.policy("")));
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
    for places in [vec![good(), bad()], vec![bad(), good()]] {
        assert_eq!(
            said(&unpack(&decider, &usual.image.layer, places).await),
            "let through: refused no-statement"
        );
    }
}

#[tokio::test]
async fn a_no_of_any_cause_is_let_through_under_audit() {
    let usual = Usual::new().await;
    let name = format!("{APP}:v1");
    let boot = format!(
        "[[image]]\nname = \"{APP}:boot\"\ndigest = \"{}\"\n",
        usual.image.digest()
    );
    let policy = AUDIT.to_owned() + &usual.policy(&boot);
    assert_eq!(
        said(&unpack(&usual.host.decider(&policy), &usual.image.layer, vec![]).await),
        "let through: refused not-local"
    );
    let error = Store::open(&usual.host.path("")).unwrap_err();
    let broken = || Arc::new(Store::broken(&usual.host.path(""), &error));
    let deciding = |policy: &str| decider(policy, broken(), Duration::from_secs(30), true);
    for name in [name.clone(), format!("{APP}:boot")] {
        let verdict = pull(&deciding(&policy), &name, usual.image.digest()).await;
        assert_eq!(
            said(&verdict),
            "let through: unjudged state-unusable",
            "{name}"
        );
    }
    let stricter = AUDIT.to_owned() + &usual.root() + &rule(APP, &["acme"], "mode = \"enforce\"");
    assert_eq!(
        said(&pull(&deciding(&stricter), &name, usual.image.digest()).await),
        "unjudged state-unusable"
    );
}

#[tokio::test]
async fn a_host_without_a_policy_refuses_everything_until_it_has_one() {
    let usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
    let none = Err(rootpin::decide::policy_unusable(
        "policy.toml: there is no such file",
    ));
    let decider = Decider::new(
        none,
        sources,
        usual.host.store().clone(),
        Duration::from_secs(30),
        true,
    );
    let verdict = pull(&decider, &name, digest).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.decision.exit_code()),
        ("unjudged policy-unusable", 2)
    );
    let claims = vec![place(
        "moby",
        vec![usual.image.claim(NameSource::Record, &name)],
    )];
    assert_eq!(
        said(&unpack(&decider, &usual.image.layer, claims).await),
        "unjudged policy-unusable"
    );
    decider.set_policy(super::setup::load(&usual.policy("")));
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
}

/// The members of a judgement in JSON.
pub(crate) const MEMBERS: [&str; 12] = [
    "code",
    "digest",
    "found",
    "hint",
    "let_through",
    "let_through_by",
    "name",
    "outcome",
    "roots",
    "rule",
    "version",
    "wanted",
];

#[tokio::test]
async fn the_json_object_has_exactly_the_members_that_are_promised() {
    let usual = Usual::new().await;
    let (name, good, bad) = (
        format!("{APP}:v1"),
        usual.image.digest(),
        image("other").digest(),
    );
    let decider = usual.host.decider(&usual.policy(""));
    let allowed = judgement(&pull(&decider, &name, good).await);
    let rule = format!("[[rule]] match = \"{APP}\" (policy.toml:10)");
    assert_eq!(
        allowed,
        json!({
            "version": 1, "name": name, "digest": good.to_string(), "outcome": "allowed", "code": null, "rule": rule,
            "roots": ["acme"], "found": null, "wanted": null, "hint": null, "let_through": true, "let_through_by": null,
        })
    );
    let refused = judgement(&pull(&decider, &name, bad).await);
    usual.server.behave(Manner::Status(403));
    let unjudged = judgement(&pull_at(&decider, &name, good, after("2m")).await);
    let nothing = judgement(&pull(&Host::new().decider(""), &name, good).await);
    let layer = judgement(&unpack(&decider, &usual.image.layer, vec![place("moby", vec![])]).await);
    for (object, outcome, code) in [
        (&refused, "refused", "digest-mismatch"),
        (&unjudged, "unjudged", "source-denied"),
        (&nothing, "refused", "no-rule"),
        (&layer, "refused", "no-rule"),
    ] {
        let members: Vec<_> = object
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, MEMBERS);
        assert_eq!(
            (object["outcome"].as_str(), object["code"].as_str()),
            (Some(outcome), Some(code))
        );
        for text in ["found", "wanted", "hint"] {
            assert!(
                object[text].as_str().is_some_and(|text| !text.is_empty()),
                "{object}"
            );
        }
        assert!(object["roots"].is_array());
    }
    assert_eq!(
        (refused["rule"].as_str(), &refused["roots"]),
        (Some(rule.as_str()), &json!(["acme"]))
    );
    assert!(
        refused["found"]
            .as_str()
            .unwrap()
            .contains(&bad.to_string())
            && refused["wanted"]
                .as_str()
                .unwrap()
                .contains(&good.to_string())
    );
    assert_eq!(
        (&nothing["rule"], &layer["name"], &layer["digest"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}
