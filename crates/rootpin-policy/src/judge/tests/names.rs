//! Several names of the same bytes: which of them decide, and whose refusal is shown.

use super::entries::{bound, exempt};
use super::*;

const LOCAL: &str = "[local]\ncontent = \"allow\"\n";

/// The answer, where each root signs tag 1 as good, and which name decided.
fn answer(policy: &Policy, question: Question) -> (&'static str, Option<usize>) {
    let mut judge = Judge::start(policy, question, now(), None);
    let (mut asked, mut heard) = (Vec::new(), None);
    loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => return (code(&judgement), judgement.decided_by),
            Step::Ask(ask) => {
                assert!(!asked.contains(&ask.need), "{ask:?} twice");
                asked.push(ask.need);
                heard = Some(Heard::Root(Ok(statement(&[("1", "good")], false))));
            }
        }
    }
}

fn of_dockerd(action: Action, names: Vec<NamedBytes>, origin: Origin) -> Question {
    Question {
        action,
        ..layer(names, origin)
    }
}

#[test]
fn the_most_specific_refusal_is_shown_with_its_name_and_the_first_of_equal_ones() {
    let policy = policy(1, "");
    let free = ("free.example/a:1", "x");
    let (mismatch, unsigned) = (("r.example/team/app:1", "x"), ("r.example/team/app:2", "x"));
    let equal = ("r.example/team/b:1", "y");
    for (names, wanted) in [
        ([free, mismatch], ("digest-mismatch", 1)),
        ([mismatch, free], ("digest-mismatch", 0)),
        ([unsigned, mismatch], ("digest-mismatch", 1)),
        ([mismatch, unsigned], ("digest-mismatch", 0)),
        ([mismatch, equal], ("digest-mismatch", 0)),
        ([equal, mismatch], ("digest-mismatch", 0)),
        ([free, ("free.example/b:1", "x")], ("no-rule", 0)),
    ] {
        let named = names.map(|(text, content)| named(text, NameSource::Record, content));
        let question = layer(named.to_vec(), Origin::Registry);
        let (code, decided_by) = answer(&policy, question);
        assert_eq!((code, decided_by), (wanted.0, Some(wanted.1)), "{names:?}");
    }
}

#[test]
fn no_other_name_is_asked_where_an_entry_covers_the_name_that_dockerd_writes() {
    let policy = policy(1, "");
    for (written, wanted) in [
        ("my/alias:1", ("signed", Some(1))),
        ("r.example/team/app:2", ("no-statement", Some(0))),
    ] {
        let names = vec![
            named(written, NameSource::Client, "good"),
            named("r.example/team/other:1", NameSource::Source, "good"),
        ];
        let question = of_dockerd(Action::Create, names, Origin::Registry);
        assert_eq!(answer(&policy, question), wanted, "{written}");
    }
}

#[test]
fn no_name_of_the_same_repository_vouches_for_a_tag_that_no_entry_covers() {
    let policy = policy(1, &bound("free.example/app:1", "good"));
    let known = format!("free.example/app@{}", digest("good"));
    for (written, wanted) in [
        ("free.example/app:2", ("no-rule", Some(0))),
        ("my/alias:2", ("policy-pin", Some(1))),
    ] {
        let names = vec![
            named(written, NameSource::Client, "good"),
            named(&known, NameSource::Source, "good"),
        ];
        let question = of_dockerd(Action::Create, names, Origin::Registry);
        assert_eq!(answer(&policy, question), wanted, "{written}");
    }
}

#[test]
fn dockerd_s_image_is_looked_up_under_sixteen_repositories_and_refused_under_more() {
    let policy = policy(1, "");
    let of = |count: usize, action: Action| {
        // Only the last one is signed; a repository counts once, however many tags it has.
        let free = (1..count).flat_map(|at| {
            [
                format!("free.example/{at}:1"),
                format!("free.example/{at}:2"),
            ]
        });
        let all = free.chain(["r.example/team/app:1".to_owned()]);
        let names = all.map(|text| named(&text, NameSource::Source, "good"));
        answer(
            &policy,
            of_dockerd(action, names.collect(), Origin::Registry),
        )
        .0
    };
    assert_eq!(of(15, Action::Create), "signed");
    assert_eq!(of(16, Action::Create), "signed");
    assert_eq!(of(17, Action::Create), "over-limit");
    // The limit is for looks at what dockerd has.
    assert_eq!(of(17, Action::Unpack), "signed");
}

#[test]
fn what_an_entry_covers_is_not_local_although_the_entry_has_ended_or_binds_other_bytes() {
    let more = format!("{LOCAL}{}", exempt("free.example/a", ""));
    let policy = policy(1, &more);
    let own = format!("my/own:1@{}", digest("own"));
    for (text, at, wanted) in [
        ("my/own:1", NOW, "local"),
        (&own, NOW, "digest-mismatch"),
        ("free.example/a:1", "2030-03-01T00:00:00Z", "exemption-over"),
    ] {
        let names = vec![named(text, NameSource::Record, "x")];
        let judge = Judge::start(
            &policy,
            layer(names, Origin::Local),
            at.parse().unwrap(),
            None,
        );
        let (_, judgement) = driven(judge, |_: &str| silent());
        assert_eq!(code(&judgement), wanted, "{text}");
    }
}

#[test]
fn a_local_image_of_dockerd_is_refused_as_local_and_a_layer_by_its_name() {
    let create = Action::Create;
    for (more, action, text, wanted) in [
        (LOCAL, create.clone(), "my/own:1", "local"),
        (
            LOCAL,
            create.clone(),
            "r.example/team/app:1",
            "digest-mismatch",
        ),
        ("", create, "my/own:1", "not-local"),
        ("", Action::Unpack, "my/own:1", "no-rule"),
    ] {
        let names = vec![named(text, NameSource::Client, "x")];
        let question = of_dockerd(action, names, Origin::Local);
        assert_eq!(
            answer(&policy(1, more), question).0,
            wanted,
            "{text} {more}"
        );
    }
}

#[test]
fn a_further_name_is_local_content_unless_an_entry_covers_it() {
    let covered = bound("free.example/bound:1", "good") + &exempt("free.example/a", "");
    for (local, text, content, wanted) in [
        (LOCAL, "my/new:1", "good", "local"),
        ("", "my/new:1", "good", "not-local"),
        (LOCAL, "r.example/team/app:1", "good", "signed"),
        (LOCAL, "r.example/team/app:1", "x", "digest-mismatch"),
        (LOCAL, "free.example/bound:1", "good", "policy-pin"),
        (LOCAL, "free.example/bound:1", "x", "digest-mismatch"),
        (LOCAL, "free.example/a:1", "x", "exempt"),
    ] {
        let policy = policy(1, &format!("{covered}{local}"));
        let known = format!("r.example/team/app@{}", digest(content));
        let names = vec![
            named(text, NameSource::Client, content),
            named(&known, NameSource::Source, content),
        ];
        let question = of_dockerd(Action::Tag, names, Origin::Registry);
        assert_eq!(answer(&policy, question).0, wanted, "{text} {local}");
    }
}

#[test]
fn what_is_made_here_has_no_name_that_a_rule_or_an_image_covers() {
    let more = format!("{LOCAL}{}", bound("free.example/bound:1", "good"));
    let policy = policy(1, &more);
    for (names, wanted) in [
        (&["my/own:1"][..], "local"),
        (&["free.example/bound:2"], "local"),
        (&["free.example/bound:1"], "not-local"),
        (&["r.example/team/app:1"], "not-local"),
        (&["my/own:1", "r.example/team/app"], "not-local"),
    ] {
        let made = Action::Make(names.iter().map(|text| name(text)).collect());
        let question = of_dockerd(made, Vec::new(), Origin::Local);
        assert_eq!(answer(&policy, question).0, wanted, "{names:?}");
    }
}
