//! Properties of every policy, question and answer.

use proptest::prelude::*;

use super::*;

const CONTENTS: [&str; 3] = ["good", "bad", "odd"];
const NAMES: [&str; 6] = [
    "r.example/team/app:1",
    "r.example/team/app",
    "r.example/team/app:2",
    "free.example/a:1",
    "free.example/a",
    "nobody.example/b:1",
];
const SOURCES: [NameSource; 4] = [
    NameSource::Client,
    NameSource::Annotation,
    NameSource::Record,
    NameSource::Source,
];

fn content() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&CONTENTS[..])
}

fn a_name() -> impl Strategy<Value = NamedBytes> {
    let text = prop::sample::select(&NAMES[..]);
    let source = prop::sample::select(&SOURCES[..]);
    (text, source, content()).prop_map(|(text, source, content)| {
        // What an image is made of, its digest says: an index, a manifest, one that lists another.
        let (manifests, parts) = match content {
            "good" => (vec![], vec![content]),
            "bad" => (vec!["bad"], vec![content]),
            _ => (vec!["bad"], vec![content, "bad"]),
        };
        NamedBytes {
            manifests: manifests.into_iter().map(digest).collect(),
            contents: parts.into_iter().map(digest).collect(),
            ..named(text, source, content)
        }
    })
}

/// The question about one more name. dockerd knows every digest of an image.
fn with(question: &Question, more: NamedBytes) -> Question {
    let mut question = question.clone();
    question.names.push(more);
    if question.action.is_of_dockerd() {
        question.bytes.extend(
            question
                .names
                .iter()
                .flat_map(|named| named.contents.clone()),
        );
    }
    question
}

prop_compose! {
    fn a_question()(
        action in prop::sample::select(vec![Action::Unpack, Action::Run, Action::Create, Action::Tag, Action::Resident]),
        names in prop::collection::vec(a_name(), 0..5),
        bytes in prop::collection::vec(content(), 0..2),
        origin in prop::sample::select(vec![Origin::Registry, Origin::Local, Origin::Unknown]),
    ) -> Question {
        let question = Question {
            bytes: bytes.iter().map(|content| digest(content)).collect(),
            origin,
            ..Question::of(action, "it".to_owned(), "moby".to_owned())
        };
        names.into_iter().fold(question, |question, named| with(&question, named))
    }
}

prop_compose! {
    fn a_policy()(
        quorum in 1..=2_usize,
        revoked in prop::option::of(content()),
        bound in prop::option::of(content()),
        exempt in prop::option::of((prop::sample::select(vec!["free.example/a", "r.example/team/app"]), prop::option::of(content()))),
        local in any::<bool>(),
    ) -> Policy {
        let mut entries = Vec::new();
        if let Some(content) = revoked {
            entries.push(format!("[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n", digest(content)));
        }
        if let Some(content) = bound {
            entries.push(format!("[[image]]\nname = \"r.example/team/app:2\"\ndigest = \"{}\"\n", digest(content)));
        }
        if let Some((pattern, content)) = exempt {
            let digests = content.map(|content| format!("digests = [\"{}\"]\n", digest(content))).unwrap_or_default();
            entries.push(format!("[[exempt]]\nmatch = \"{pattern}\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"old\"\n{digests}"));
        }
        if local {
            entries.push("[local]\ncontent = \"allow\"\n".to_owned());
        }
        policy(quorum, &entries.concat())
    }
}

/// What a root says, at first and when it is asked again.
type Said = [[Option<(&'static str, bool)>; 2]; 2];

fn said() -> impl Strategy<Value = Said> {
    let answer = || prop::option::weighted(0.8, (content(), any::<bool>()));
    let root = || (answer(), answer()).prop_map(|(first, again)| [first, again]);
    (root(), root()).prop_map(|(one, two)| [one, two])
}

/// The answer, after each need was asked for once, and no more often than the names take.
fn answered(policy: &Policy, question: &Question, said: &Said) -> Judgement {
    driven_by(
        Judge::start(policy, question.clone(), now(), None),
        question,
        said,
    )
}

fn driven_by(mut judge: Judge<'_>, question: &Question, said: &Said) -> Judgement {
    let (mut asked, mut heard): (Vec<(Need, bool)>, _) = (Vec::new(), None);
    loop {
        let ask = match judge.next(heard.take()) {
            Step::Done(judgement) => return judgement,
            Step::Ask(ask) => (ask.need, ask.again),
        };
        assert!(!asked.contains(&ask), "{ask:?} twice");
        let (Need::Root(root, ..), again) = &ask else {
            panic!("{ask:?}");
        };
        let answer = said[usize::from(root.id == "two")][usize::from(*again)];
        heard = Some(match answer {
            Some((content, at_hand)) => Heard::Root(Ok(statement(&[("1", content)], at_hand))),
            None => silent(),
        });
        asked.push(ask);
        assert!(asked.len() <= question.names.len() * 2 * 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_admitted_of_which_anything_is_revoked(policy in a_policy(), question in a_question(), said in said()) {
        let judgement = answered(&policy, &question, &said);
        if judgement.result.is_ok() {
            let named = judgement.decided_by.map(|at| &question.names[at]);
            let of_name = named.into_iter().flat_map(|named| [&named.top].into_iter().chain(&named.manifests).chain(&named.contents));
            for digest in question.bytes.iter().chain(of_name) {
                prop_assert!(policy.revoked_digest(digest).is_none());
            }
        }
    }

    #[test]
    fn a_root_s_silence_makes_no_yes_of_a_no(policy in a_policy(), question in a_question(), said in said(), silent in any::<[[bool; 2]; 2]>()) {
        if answered(&policy, &question, &said).result.is_err() {
            let mut fewer = said;
            for (answer, silent) in fewer.iter_mut().flatten().zip(silent.iter().flatten()) {
                if *silent {
                    *answer = None;
                }
            }
            prop_assert!(answered(&policy, &question, &fewer).result.is_err());
        }
    }

    #[test]
    fn a_further_name_that_is_no_yes_itself_makes_none_of_a_no(policy in a_policy(), question in a_question(), said in said(), more in a_name()) {
        let first = question.names.iter().map(|named| named.source).min();
        // By itself, and with the label that makes an exemption hold for it.
        let labelled = NamedBytes { source: NameSource::Source, ..more.clone() };
        let alone = Question { names: vec![labelled], origin: Origin::Registry, ..question.clone() };
        // A label is a sign that a registry was asked for another name of the same bytes.
        if more.source != NameSource::Source
            && first.is_some_and(|first| first <= more.source)
            && answered(&policy, &question, &said).result.is_err()
            && answered(&policy, &alone, &said).result.is_err()
        {
            let judgement = answered(&policy, &with(&question, more), &said);
            prop_assert!(judgement.result.is_err(), "{judgement:?}");
        }
    }

    #[test]
    fn a_mode_changes_no_answer(policy in a_policy(), question in a_question(), said in said()) {
        let enforced = answered(&policy, &question, &said);
        let mut audit = Policy { mode: Mode::Audit, ..policy };
        for rule in &mut audit.rules {
            rule.mode = None;
        }
        let audited = answered(&audit, &question, &said);
        prop_assert_eq!((enforced.mode, audited.mode), (Mode::Enforce, Mode::Audit));
        prop_assert_eq!((code(&enforced), enforced.decided_by, enforced.basis), (code(&audited), audited.decided_by, audited.basis));
    }

    #[test]
    fn break_glass_changes_no_answer_and_lets_nothing_pass_that_is_revoked(policy in a_policy(), question in a_question(), said in said(), names in prop::option::of(prop::sample::select(vec!["r.example/**", "free.example/a"]))) {
        let judge = Judge::start(&policy, question.clone(), now(), None);
        let broken = driven_by(judge.with_break_glass(Some(super::break_glass::glass(names))), &question, &said);
        let whole = answered(&policy, &question, &said);
        prop_assert_eq!((code(&broken), broken.decided_by, broken.basis, broken.mode), (code(&whole), whole.decided_by, whole.basis, whole.mode));
        prop_assert!(!whole.breaks_glass);
        if broken.breaks_glass && broken.result.is_err() {
            let first = question.names.iter().map(|named| named.source).min();
            let judged = question.names.iter().filter(|named| Some(named.source) == first);
            let of_names = judged.flat_map(|named| [&named.top].into_iter().chain(&named.manifests).chain(&named.contents));
            for digest in question.bytes.iter().chain(of_names) {
                prop_assert!(policy.revoked_digest(digest).is_none());
            }
            for named in names.iter().flat_map(|_| &question.names) {
                let host = named.name.repository.host().to_owned();
                prop_assert!(names.is_some_and(|pattern| pattern.starts_with(&host)));
            }
        }
    }
}
