//! The procedure, driven by hand: what is asked for, and what comes of each answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Collection, Refusal, Target, Verified};

use super::*;
use crate::{Mode, load};

const NOW: &str = "2030-01-01T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// Two roots, one rule with that quorum, and more.
fn policy(quorum: usize, more: &str) -> Policy {
    let root = |id: &str, digit: &str| {
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://{id}.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n",
            digit.repeat(64)
        )
    };
    let text = format!(
        "version = 1\ndefault = \"deny\"\n{}{}[[rule]]\nmatch = \"r.example/team/**\"\nroots = [\"one\", \"two\"]\nquorum = {quorum}\n{more}",
        root("one", "1"),
        root("two", "2")
    );
    let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    load(&files, now()).unwrap()
}

/// A root's statement that the tags are these.
fn statement(tags: &[(&str, &str)], at_hand: bool) -> Statement {
    let target = |(tag, content): &(&str, &str)| {
        let target = Target {
            digest: digest(content),
            length: 1,
            manifests: Vec::new(),
        };
        ((*tag).to_owned(), target)
    };
    let collection = Collection {
        gun: name("r.example/team/app").repository,
        role: "targets".to_owned(),
        targets: tags.iter().map(target).collect(),
        expires: Timestamp::MAX,
        root_keys: BTreeSet::new(),
        signers: BTreeSet::new(),
        versions: BTreeMap::new(),
    };
    Statement {
        verified: Arc::new(Verified::for_test(collection)),
        contact: now(),
        valid_until: Timestamp::MAX,
        at_hand,
        again_after: None,
    }
}

/// What is asked for, as text, and the answer; `said` answers each.
fn driven(mut judge: Judge<'_>, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    let (mut asked, mut heard) = (Vec::new(), None);
    loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => return (asked, judgement),
            Step::Ask(need) => {
                let text = match &need {
                    Need::Root {
                        root,
                        again,
                        sharers,
                        ..
                    } => format!(
                        "{} of {sharers}{}",
                        root.id,
                        if *again { " again" } else { "" }
                    ),
                    Need::Registry(name) => format!("registry {name}"),
                };
                heard = Some(said(&text));
                assert!(!asked.contains(&text), "{text} is asked for twice");
                asked.push(text);
            }
        }
    }
}

fn pull(policy: &Policy, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    let question = Question::pull(name("r.example/team/app:1"), digest("good"));
    driven(Judge::start(policy, question, now(), None), said)
}

fn code(judgement: &Judgement) -> &'static str {
    match &judgement.result {
        Ok(admission) => admission.ground_name(),
        Err(denial) => denial.refusal.code.as_str(),
    }
}

fn silent() -> Heard {
    Heard::Root(Err(Refusal::new(Code::SourceUnreachable, "a", "b", "c")))
}

#[test]
fn no_more_roots_are_asked_than_the_quorum_takes() {
    let good = |_: &str| Heard::Root(Ok(statement(&[("1", "good")], false)));
    for (quorum, wanted) in [(1, vec!["one of 2"]), (2, vec!["one of 2", "two of 1"])] {
        let policy = policy(quorum, "");
        let (asked, judgement) = pull(&policy, good);
        assert_eq!(
            (asked, code(&judgement)),
            (wanted.iter().map(ToString::to_string).collect(), "signed")
        );
        assert_eq!(judgement.basis, Basis::Roots);
    }
}

#[test]
fn a_no_is_one_only_where_the_silent_roots_could_not_make_the_quorum() {
    let said = |text: &str| match text {
        "one of 2" => silent(),
        _ => Heard::Root(Ok(statement(&[("1", "bad")], false))),
    };
    for (quorum, wanted) in [(1, "source-unreachable"), (2, "digest-mismatch")] {
        let policy = policy(quorum, "");
        let (_, judgement) = pull(&policy, said);
        assert_eq!(code(&judgement), wanted, "{quorum}");
        assert_eq!(judgement.basis, Basis::Doubtful);
    }
}

#[test]
fn a_no_of_what_is_at_hand_has_its_source_asked_once_more() {
    let policy = policy(1, "");
    for before in [&[("1", "bad")][..], &[]] {
        let (asked, judgement) = pull(&policy, |text: &str| {
            let tags = if text.ends_with("again") {
                &[("1", "good")][..]
            } else {
                before
            };
            Heard::Root(Ok(statement(tags, true)))
        });
        assert_eq!(asked, ["one of 2", "one of 2 again"]);
        assert_eq!(code(&judgement), "signed");
    }
}

#[test]
fn what_the_policy_settles_is_asked_of_nobody() {
    let nobody = |text: &str| panic!("{text} is asked");
    for (more, wanted) in [
        (format!("[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n", digest("good")), "revoked"),
        (
            format!("[[image]]\nname = \"r.example/team/app:1\"\ndigest = \"{}\"\n", digest("good")),
            "policy-pin",
        ),
        (
            format!("[[image]]\nname = \"r.example/team/app:1\"\ndigest = \"{}\"\n", digest("bad")),
            "digest-mismatch",
        ),
        (
            "[[exempt]]\nmatch = \"r.example/team/app\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"old\"\n"
                .to_owned(),
            "exempt",
        ),
    ] {
        let policy = policy(1, &more);
        let (_, judgement) = pull(&policy, nobody);
        assert_eq!(code(&judgement), wanted, "{more}");
        assert_eq!(judgement.basis, Basis::Policy);
    }
}

#[test]
fn a_tag_is_the_digest_that_the_roots_name_and_each_digest_is_judged_as_a_pull_of_it() {
    let resolve = |policy: &Policy, said: &dyn Fn(&str) -> Heard| {
        let judge = Judge::resolve(policy, name("r.example/team/app:1"), now(), None);
        let (asked, judgement) = driven(judge, said);
        (asked.len(), code(&judgement), judgement.digest)
    };
    let good = |_: &str| Heard::Root(Ok(statement(&[("1", "good")], false)));
    assert_eq!(
        resolve(&policy(2, ""), &good),
        (2, "signed", Some(digest("good")))
    );
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
        digest("good")
    );
    assert_eq!(
        resolve(&policy(1, &revoked), &good),
        (1, "revoked", Some(digest("good")))
    );
    let split = |text: &str| {
        let content = if text.starts_with("one") {
            "good"
        } else {
            "bad"
        };
        Heard::Root(Ok(statement(&[("1", content)], false)))
    };
    let (_, said, _) = resolve(&policy(2, ""), &split);
    assert_eq!(said, "digest-mismatch");
}

#[test]
fn an_answer_to_another_question_lets_nothing_in() {
    let (_, judgement) = pull(&policy(1, ""), |_: &str| {
        Heard::Registry(Ok(digest("good")))
    });
    assert_eq!(code(&judgement), "state-unusable");
}

#[test]
fn what_dockerd_has_is_used_under_the_written_name_or_where_that_says_nothing_under_another() {
    let policy = policy(1, "[local]\ncontent = \"allow\"\n");
    let good = |_: &str| Heard::Root(Ok(statement(&[("1", "good")], false)));
    let image = |text: &str, source, content: &str| NamedBytes {
        name: name(text),
        source,
        top: digest(content),
        manifests: Vec::new(),
        contents: Vec::new(),
    };
    let known = format!("r.example/team/app@{}", digest("good"));
    for (asked, content, wanted, mode) in [
        ("r.example/team/app:1", "good", "signed", Mode::Enforce),
        ("my/alias:1", "good", "signed", Mode::Enforce),
        (
            "r.example/team/app:1",
            "bad",
            "digest-mismatch",
            Mode::Enforce,
        ),
        // The same repository under the name without a tag would take any of its tags.
        (
            "r.example/team/app:2",
            "good",
            "no-statement",
            Mode::Enforce,
        ),
    ] {
        let names = vec![
            image(asked, NameSource::Client, content),
            image(&known, NameSource::Source, "good"),
        ];
        let question = Question {
            names,
            origin: Origin::Registry,
            ..Question::of(Action::Create, "an image".to_owned(), "moby".to_owned())
        };
        let (_, judgement) = driven(Judge::start(&policy, question, now(), None), good);
        assert_eq!(
            (code(&judgement), judgement.mode),
            (wanted, mode),
            "{asked} {content}"
        );
    }
}

#[test]
fn bytes_are_local_only_where_no_name_of_theirs_is_covered_and_no_registry_had_them() {
    let policy = policy(1, "[local]\ncontent = \"allow\"\nnamespaces = [\"moby\"]\n");
    let silence = |_: &str| silent();
    let free = ("my/own:1", NameSource::Record);
    let covered = ("r.example/team/app:1", NameSource::Ledger);
    for (names, origin, namespace, wanted) in [
        (&[][..], Origin::Local, "moby", "local"),
        (&[], Origin::Local, "k8s.io", "not-local"),
        (&[], Origin::Registry, "moby", "no-rule"),
        (&[], Origin::Unknown, "moby", "no-rule"),
        (&[free], Origin::Local, "moby", "local"),
        (&[free, covered], Origin::Local, "moby", "no-rule"),
        (&[free], Origin::Registry, "moby", "no-rule"),
    ] {
        let named = |(text, source): &(&str, NameSource)| NamedBytes {
            name: name(text),
            source: *source,
            top: digest("any"),
            manifests: Vec::new(),
            contents: Vec::new(),
        };
        let question = Question {
            names: names.iter().map(named).collect(),
            origin,
            ..Question::of(Action::Unpack, "a layer".to_owned(), namespace.to_owned())
        };
        let (_, judgement) = driven(Judge::start(&policy, question, now(), None), silence);
        assert_eq!(code(&judgement), wanted, "{names:?} {origin:?} {namespace}");
    }
}
