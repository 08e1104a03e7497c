//! `audit-until`: refusals that are let through for a while, and which never are.

use super::*;

const UNTIL: &str = "audit-until = 2030-01-15T00:00:00Z\n";

fn bad(_: &str) -> Heard {
    Heard::Root(Ok(statement(&[("1", "signed")], false)))
}

fn asked(name_text: &str, top: &str) -> Question {
    Question::pull(name(name_text), digest(top))
}

fn mode_of(policy: &Policy, question: Question, now: &str) -> (&'static str, Mode) {
    let judge = Judge::start(policy, question, now.parse().unwrap(), None);
    let (_, judgement) = driven(judge, bad);
    (code(&judgement), judgement.mode)
}

#[test]
fn a_rule_s_refusals_are_let_through_until_its_audit_ends_and_not_from_then_on() {
    let policy = policy(1, UNTIL);
    for (now, wanted) in [
        (NOW, Mode::Audit),
        ("2030-01-14T23:59:59Z", Mode::Audit),
        ("2030-01-15T00:00:00Z", Mode::Enforce),
    ] {
        let question = asked("r.example/team/app:1", "other");
        let answer = mode_of(&policy, question, now);
        assert_eq!(answer, ("digest-mismatch", wanted), "{now}");
    }
    let other = asked("r.example/ops/app:1", "other");
    assert_eq!(mode_of(&policy, other, NOW), ("no-rule", Mode::Enforce));
}

#[test]
fn an_audit_s_end_that_a_wrong_clock_can_not_tell_has_come() {
    let clock = Refusal::new(Code::Clock, "a", "b", "c");
    let policy = policy(1, UNTIL);
    let question = asked("r.example/team/app:1", "other");
    let judge = Judge::start(&policy, question, now(), Some(clock));
    assert_eq!(driven(judge, bad).1.mode, Mode::Enforce);
    assert_eq!(
        policy.mode_for(&name("r.example/team/app").repository, None),
        Mode::Enforce
    );
}

#[test]
fn no_audit_lets_through_what_is_revoked_bound_or_other_bytes_than_the_name_says() {
    let (top, app) = (digest("revoked"), "r.example/team/app");
    let policy = policy(
        1,
        &format!(
            "{UNTIL}[[revoked]]\ndigest = \"{top}\"\nreason = \"leaked\"\n[[image]]\nname = \"{app}:bound\"\ndigest = \"{}\"\n",
            digest("bound")
        ),
    );
    let own = format!("{app}:1@{}", digest("signed"));
    for (name, top, wanted) in [
        ("r.example/team/app:1", "revoked", "revoked"),
        ("r.example/team/app:bound", "other", "digest-mismatch"),
        (&own, "other", "digest-mismatch"),
    ] {
        let answer = mode_of(&policy, asked(name, top), NOW);
        assert_eq!(answer, (wanted, Mode::Enforce), "{name}");
    }
    // A layer of the image may be revoked where the pull saw the index alone.
    let mut question = asked("r.example/team/app:1", "signed");
    question.names[0].contents.push(top);
    assert_eq!(mode_of(&policy, question, NOW), ("revoked", Mode::Enforce));
    // A root that a revoked key may sign is refused as revoked.
    let revoked = |_: &str| {
        let refusal = Refusal::new(Code::Revoked, "a", "b", "c");
        Heard::Root(Err(refusal))
    };
    let question = asked("r.example/team/app:1", "signed");
    let judge = Judge::start(&policy, question, now(), None);
    let (_, judgement) = driven(judge, revoked);
    assert_eq!(
        (code(&judgement), judgement.mode),
        ("revoked", Mode::Enforce)
    );
}

#[test]
fn no_root_that_can_not_be_heard_hides_from_an_audit_that_another_rests_on_a_revoked_key() {
    let failed = |code| Heard::Root(Err(Refusal::new(code, "failed", "b", "c")));
    for (quorum, revoked, wanted) in [
        (1, "one", "source-unreachable"),
        (1, "two", "source-unreachable"),
        (2, "one", "revoked"),
        (2, "two", "revoked"),
    ] {
        let policy = policy(quorum, UNTIL);
        let said = |text: &str| {
            failed(if text.starts_with(revoked) {
                Code::Revoked
            } else {
                Code::SourceUnreachable
            })
        };
        let (_, judgement) = pull(&policy, said);
        assert_eq!(
            (code(&judgement), judgement.mode),
            (wanted, Mode::Enforce),
            "{quorum} {revoked}"
        );
        // Without a revoked key it is let through.
        let (_, judgement) = pull(&policy, |_: &str| failed(Code::SourceUnreachable));
        assert_eq!(judgement.mode, Mode::Audit);
    }
}

#[test]
fn a_registry_that_does_not_answer_hides_no_revoked_key_from_who_asks_for_a_digest() {
    let policy = policy(1, UNTIL);
    for (root, wanted) in [
        (Code::Revoked, ("revoked", Mode::Enforce)),
        (Code::SourceUnreachable, ("source-unreachable", Mode::Audit)),
    ] {
        let action = Action::Resolve(name("r.example/team/app:1"));
        let question = Question::of(action, String::new(), String::new());
        let judge = Judge::start(&policy, question, now(), None);
        let (_, judgement) = driven(judge, |text: &str| {
            if text.starts_with("registry") {
                Heard::Registry(Err(Refusal::new(Code::SourceUnreachable, "a", "b", "c")))
            } else {
                Heard::Root(Err(Refusal::new(root, "a", "b", "c")))
            }
        });
        assert_eq!((code(&judgement), judgement.mode), wanted);
    }
}

#[test]
fn what_was_compressed_anew_of_revoked_bytes_is_let_through_by_no_audit() {
    let more = |revoked: &str| {
        format!(
            "mode = \"enforce\"\n{UNTIL}[local]\ncontent = \"allow\"\n[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
            digest(revoked)
        )
    };
    for (revoked, wanted) in [("x", Mode::Enforce), ("y", Mode::Audit)] {
        let policy = Policy {
            mode: Mode::Audit,
            ..policy(1, &more(revoked))
        };
        let variant = layer(
            vec![named("r.example/team/app:1", NameSource::Record, "x")],
            Origin::Registry,
        );
        let question = Question {
            variants: vec![Question {
                bytes: vec![digest("x")],
                ..variant
            }],
            ..layer(Vec::new(), Origin::Local)
        };
        let (_, judgement) = driven(Judge::start(&policy, question, now(), None), bad);
        assert!(judgement.result.is_err());
        assert_eq!(judgement.mode, wanted, "{revoked}");
    }
}

#[test]
fn bytes_that_have_an_enforced_name_too_are_stopped_whatever_audit_another_name_is_under() {
    let policy = policy(1, UNTIL);
    let team = || named("r.example/team/app:1", NameSource::Record, "other");
    let free = || named("free.example/a:1", NameSource::Record, "other");
    for (names, wanted) in [
        (vec![team()], Mode::Audit),
        (vec![team(), free()], Mode::Enforce),
        (vec![free(), team()], Mode::Enforce),
        (Vec::new(), Mode::Enforce),
    ] {
        let question = layer(names, Origin::Registry);
        assert_eq!(mode_of(&policy, question, NOW).1, wanted);
    }
}

#[test]
fn after_its_audit_a_rule_has_its_own_mode_and_the_policy_s_audit_mode_ends_by_itself() {
    let head = "mode = \"enforce\"\n";
    let audit = |until: Option<&str>| Policy {
        mode: Mode::Audit,
        audit_until: until.map(|until| until.parse().unwrap()),
        ..policy(1, &format!("{head}{UNTIL}"))
    };
    let (team, free) = ("r.example/team/app:1", "free.example/a:1");
    let (forever, early) = (audit(None), audit(Some("2030-01-10T00:00:00Z")));
    for (policy, name, now, wanted) in [
        (&forever, team, NOW, Mode::Audit),
        (&forever, team, "2030-01-15T00:00:00Z", Mode::Enforce),
        (&forever, free, "2030-01-15T00:00:00Z", Mode::Audit),
        (&early, free, NOW, Mode::Audit),
        (&early, free, "2030-01-10T00:00:00Z", Mode::Enforce),
        (&early, team, "2030-01-10T00:00:00Z", Mode::Audit),
    ] {
        let answer = mode_of(policy, asked(name, "other"), now);
        assert_eq!(answer.1, wanted, "{name} {now}");
    }
    assert!(!early.may_ask("any.example", None));
    assert!(early.may_ask("any.example", Some(now())));
}

/// The whole policy lets everything through, and its rule nothing but until its audit ends.
fn enforced_rule(more: &str) -> Policy {
    Policy {
        mode: Mode::Audit,
        ..policy(1, &format!("mode = \"enforce\"\n{UNTIL}{more}"))
    }
}

#[test]
fn the_name_that_dockerd_writes_hides_from_an_audit_no_revoked_key_of_the_image_s_other_name() {
    let policy = enforced_rule("");
    let known = format!("r.example/team/app@{}", digest("good"));
    for (failed, wanted) in [
        (Code::Revoked, Mode::Enforce),
        (Code::SourceUnreachable, Mode::Audit),
    ] {
        let names = vec![
            named("my/alias:1", NameSource::Client, "good"),
            named(&known, NameSource::Source, "good"),
        ];
        let question = Question {
            names,
            origin: Origin::Registry,
            ..Question::of(Action::Create, "an image".to_owned(), "moby".to_owned())
        };
        let said = |_: &str| Heard::Root(Err(Refusal::new(failed, "a", "b", "c")));
        let (_, judgement) = driven(Judge::start(&policy, question, now(), None), said);
        assert_eq!((code(&judgement), judgement.mode), ("no-rule", wanted));
    }
}

#[test]
fn what_was_compressed_anew_is_let_through_by_no_audit_that_does_not_let_what_it_was_made_of() {
    let local = "[local]\ncontent = \"allow\"\n";
    let revoked = format!(
        "{local}[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
        digest("x")
    );
    let bound = format!("r.example/team/app:1@{}", digest("signed"));
    for (more, variant, own, wanted) in [
        // By the name's own digest.
        (local, &*bound, None, ("digest-mismatch", Mode::Enforce)),
        (local, &bound, Some("my/own:1"), ("no-rule", Mode::Enforce)),
        (
            &revoked,
            "r.example/team/app:1",
            Some("my/own:1"),
            ("no-rule", Mode::Enforce),
        ),
        (
            local,
            "r.example/team/app:1",
            Some("my/own:1"),
            ("no-rule", Mode::Audit),
        ),
    ] {
        let policy = enforced_rule(more);
        let made_of = layer(
            vec![named(variant, NameSource::Record, "x")],
            Origin::Registry,
        );
        let own = own.map(|own| named(own, NameSource::Record, "own"));
        let question = Question {
            variants: vec![Question {
                bytes: vec![digest("x")],
                ..made_of
            }],
            ..layer(own.into_iter().collect(), Origin::Local)
        };
        let (_, judgement) = driven(Judge::start(&policy, question, now(), None), bad);
        assert_eq!((code(&judgement), judgement.mode), wanted, "{variant}");
    }
}
