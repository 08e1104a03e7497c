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
