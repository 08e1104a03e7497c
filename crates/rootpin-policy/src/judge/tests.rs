//! The procedure, driven by hand: what is asked for, and what comes of each answer.

mod asking;
mod break_glass;
mod entries;
mod names;
mod one_voice;
mod properties;
mod resolving;
mod supposed;
mod trials;
mod words;

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

/// What a root's statement says, that the tags are these.
fn collection(tags: &[(&str, &str)]) -> Collection {
    let target = |(tag, content): &(&str, &str)| {
        let target = Target {
            digest: digest(content),
            length: 1,
            manifests: Vec::new(),
        };
        ((*tag).to_owned(), target)
    };
    Collection {
        gun: name("r.example/team/app").repository,
        role: "targets".to_owned(),
        targets: tags.iter().map(target).collect(),
        untagged: BTreeSet::new(),
        expires: Timestamp::MAX,
        root_keys: BTreeSet::new(),
        signers: BTreeSet::new(),
        signers_needed: 0,
        versions: BTreeMap::new(),
    }
}

/// A root's statement that the tags are these.
fn statement(tags: &[(&str, &str)], at_hand: bool) -> Statement {
    Statement {
        verified: Arc::new(Verified::for_test(collection(tags))),
        contact: now(),
        valid_until: Timestamp::MAX,
        at_hand,
        unseen: None,
        cut: String::new(),
        age: String::new(),
    }
}

/// What is asked for, as text, and the answer; `said` answers each.
fn driven(mut judge: Judge<'_>, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    let (mut asked, mut heard) = (Vec::new(), None);
    loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => return (asked, judgement),
            Step::Ask(ask) => {
                let (sharers, again) = (ask.sharers, ask.again);
                let text = match &ask.need {
                    Need::Root(root, ..) => format!(
                        "{} of {sharers}{}",
                        root.id,
                        if again { " again" } else { "" }
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
        Ok(admission) => admission.ground.as_str(),
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
        ("[[rule]]\nmatch = \"r.example/team/app\"\nroots = []\n".to_owned(), "no-statement"),
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
        let action = Action::Resolve(name("r.example/team/app:1"));
        let question = Question::of(action, String::new(), String::new());
        let judge = Judge::start(policy, question, now(), None);
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
    let refused = "[[rule]]\nmatch = \"r.example/team/app\"\nroots = []\n";
    assert_eq!(
        resolve(&policy(1, refused), &good),
        (0, "no-statement", None)
    );
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

fn named(text: &str, source: NameSource, content: &str) -> NamedBytes {
    NamedBytes {
        name: name(text),
        source,
        top: digest(content),
        manifests: Vec::new(),
        contents: Vec::new(),
    }
}

fn layer(names: Vec<NamedBytes>, origin: Origin) -> Question {
    Question {
        names,
        origin,
        ..Question::of(Action::Unpack, "a layer".to_owned(), "moby".to_owned())
    }
}

#[test]
fn once_newer_metadata_was_heard_the_older_counts_for_no_other_name() {
    let policy = policy(1, "");
    let names =
        ["other", "old"].map(|content| named("r.example/team/app:1", NameSource::Record, content));
    let question = layer(names.to_vec(), Origin::Registry);
    let (_, judgement) = driven(Judge::start(&policy, question, now(), None), |text| {
        let content = if text.ends_with("again") {
            "new"
        } else {
            "old"
        };
        Heard::Root(Ok(statement(&[("1", content)], true)))
    });
    assert_eq!(code(&judgement), "digest-mismatch");
}

#[test]
fn a_no_is_doubtful_where_the_source_fails_that_was_asked_once_more() {
    let policy = policy(1, "");
    for failure in [Code::SourceUnreachable, Code::BadSignature] {
        let (_, judgement) = pull(&policy, |text: &str| {
            Heard::Root(if text.ends_with("again") {
                Err(Refusal::new(failure, "a", "b", "c"))
            } else {
                Ok(statement(&[("1", "bad")], true))
            })
        });
        assert!(judgement.result.is_err());
        assert_eq!(judgement.basis, Basis::Doubtful, "{failure}");
    }
}

#[test]
fn what_was_compressed_anew_has_the_strictest_mode_of_what_it_can_have_been_made_of() {
    let audit = |more: &str| {
        let enforced = policy(1, &format!("mode = \"enforce\"\n{more}"));
        Policy {
            mode: Mode::Audit,
            ..enforced
        }
    };
    let signed_badly = |_: &str| Heard::Root(Ok(statement(&[("1", "bad")], false)));
    let free = layer(
        vec![named("free.example/a:1", NameSource::Record, "x")],
        Origin::Registry,
    );
    let ruled = layer(
        vec![named("r.example/team/app:1", NameSource::Record, "x")],
        Origin::Registry,
    );
    let unknown = layer(Vec::new(), Origin::Registry);
    for local in ["", "[local]\ncontent = \"allow\"\n"] {
        let policy = audit(local);
        for (variants, wanted) in [
            (vec![free.clone()], Mode::Audit),
            (vec![free.clone(), ruled.clone()], Mode::Enforce),
            (vec![ruled.clone(), free.clone()], Mode::Enforce),
            (vec![free.clone(), unknown.clone()], Mode::Enforce),
        ] {
            let question = Question {
                variants,
                ..layer(Vec::new(), Origin::Local)
            };
            let (_, judgement) = driven(Judge::start(&policy, question, now(), None), signed_badly);
            assert!(judgement.result.is_err());
            assert_eq!(judgement.mode, wanted, "{local}");
        }
    }
}

#[test]
fn what_is_admitted_under_one_name_and_can_not_be_kept_has_the_strictest_mode_of_all() {
    let exempt = "mode = \"enforce\"\n[[exempt]]\nmatch = \"free.example/a\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"old\"\n";
    let policy = Policy {
        mode: Mode::Audit,
        ..policy(1, exempt)
    };
    let names = vec![
        named("free.example/a:1", NameSource::Client, "x"),
        named("r.example/team/app:1", NameSource::Record, "x"),
    ];
    let (_, judgement) = driven(
        Judge::start(&policy, layer(names, Origin::Registry), now(), None),
        |_: &str| silent(),
    );
    assert_eq!(
        (code(&judgement), judgement.mode),
        ("exempt", Mode::Enforce)
    );
    assert_eq!(judgement.result.unwrap().mode, Mode::Enforce);
}

#[test]
fn a_label_of_other_bytes_is_no_sign_that_a_registry_was_asked_for_these() {
    let exempt =
        "[[exempt]]\nmatch = \"free.example/a\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"old\"\n";
    let policy = policy(
        1,
        &format!(
            "{exempt}[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
            digest("fetched")
        ),
    );
    for (content, wanted) in [("fetched", "revoked"), ("imported", "no-rule")] {
        let names = vec![
            named("free.example/a:1", NameSource::Record, content),
            named("free.example/a", NameSource::Source, "fetched"),
        ];
        let (_, judgement) = driven(
            Judge::start(&policy, layer(names, Origin::Registry), now(), None),
            |_: &str| silent(),
        );
        assert_eq!(code(&judgement), wanted, "{content}");
    }
}

#[test]
fn each_of_thousands_of_names_is_judged_once() {
    let policy = policy(1, "");
    let names = (0..2000).map(|tag| {
        named(
            &format!("r.example/team/app:{tag}"),
            NameSource::Record,
            "x",
        )
    });
    let question = layer(names.collect(), Origin::Registry);
    let mut judge = Judge::start(&policy, question, now(), None);
    let (mut steps, mut heard) = (0, None);
    let judgement = loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => break judgement,
            Step::Ask(_) => heard = Some(Heard::Root(Ok(statement(&[], true)))),
        }
        steps += 1;
        assert!(steps <= 2 * 2 * 2000);
    };
    assert_eq!((code(&judgement), steps), ("no-statement", 2 * 2 * 2000));
}
