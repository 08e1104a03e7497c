//! Rule 12 of docs/policy.md: what root's break-glass lets pass.

use jiff::SignedDuration;

use super::*;
use crate::{BreakGlass, BreakGlassUse};

/// One of an hour that began half an hour ago.
pub(super) fn glass(pattern: Option<&str>) -> Arc<BreakGlass> {
    let half = SignedDuration::from_mins(30);
    Arc::new(BreakGlass {
        reason: "an outage".to_owned(),
        pattern: pattern.map(|pattern| pattern.parse().unwrap()),
        begun: now() - half,
        until: now() + half,
    })
}

/// Whether it lets a question pass that is refused, and the refusal's code.
fn passes(
    policy: &Policy,
    question: Question,
    glass: Arc<BreakGlass>,
    clock: Option<Refusal>,
) -> (bool, &'static str) {
    let judge = Judge::start(policy, question, now(), clock).with_break_glass(Some(glass));
    let (_, judgement) = driven(judge, |_| silent());
    assert!(judgement.result.is_err());
    (judgement.breaks_glass, code(&judgement))
}

fn uncovered() -> Question {
    Question::pull(name("free.example/a:1"), digest("x"))
}

#[test]
fn a_refusal_and_an_outage_pass_while_it_is_in_force() {
    let policy = policy(1, "");
    assert_eq!(
        passes(&policy, uncovered(), glass(None), None),
        (true, "no-rule")
    );
    let covered = Question::pull(name("r.example/team/app:1"), digest("x"));
    assert_eq!(
        passes(&policy, covered, glass(None), None),
        (true, "source-unreachable")
    );
    let minutes = SignedDuration::from_mins;
    for (begun, until) in [(-60, 0), (1, 30)] {
        let glass = BreakGlass {
            begun: now() + minutes(begun),
            until: now() + minutes(until),
            ..(*glass(None)).clone()
        };
        let (passes, _) = passes(&policy, uncovered(), Arc::new(glass), None);
        assert!(!passes, "{begun} {until}");
    }
}

#[test]
fn revoked_bytes_and_a_name_with_another_digest_never_pass() {
    let revokes = policy(
        1,
        &format!(
            "[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
            digest("bad")
        ),
    );
    let of_index = Question::pull(name("free.example/a:1"), digest("bad"));
    let part = NamedBytes {
        contents: vec![digest("bad")],
        ..named("free.example/a:1", NameSource::Record, "x")
    };
    let of_layer = layer(vec![part], Origin::Registry);
    let nameless = layer(Vec::new(), Origin::Registry);
    let of_image = Question {
        images: vec![vec![digest("x"), digest("bad")]],
        ..nameless.clone()
    };
    let recompressed = Question {
        variants: vec![Question {
            bytes: vec![digest("bad")],
            ..nameless.clone()
        }],
        ..layer(Vec::new(), Origin::Local)
    };
    for question in [of_index, of_layer, of_image, recompressed] {
        let shown = format!("{question:?}");
        let (passes, _) = passes(&revokes, question, glass(None), None);
        assert!(!passes, "{shown}");
    }
    assert!(passes(&revokes, nameless, glass(None), None).0);
    let own = name("free.example/a:1").with_digest(digest("own"));
    let other_digest = Question::pull(own, digest("x"));
    assert_eq!(
        passes(&policy(1, ""), other_digest, glass(None), None),
        (false, "digest-mismatch")
    );
}

#[test]
fn a_pattern_is_for_bytes_all_of_whose_names_it_matches_and_that_a_registry_was_asked_for() {
    let policy = policy(1, "");
    let named = |text: &str, source| named(text, source, "x");
    let app = |source| named("r.example/team/app:1", source);
    let free = named("free.example/a:1", NameSource::Source);
    for (names, wanted) in [
        (vec![app(NameSource::Client)], true),
        (vec![app(NameSource::Record), app(NameSource::Source)], true),
        (vec![app(NameSource::Annotation)], false),
        (vec![app(NameSource::Record)], false),
        (vec![app(NameSource::Annotation), free.clone()], false),
        (vec![free], false),
        (Vec::new(), false),
    ] {
        let question = layer(names.clone(), Origin::Registry);
        let (passes, _) = passes(&policy, question, glass(Some("r.example/team/**")), None);
        assert_eq!(passes, wanted, "{names:?}");
    }
    let made = Question::of(
        Action::Make(vec![name("my/own:1")]),
        String::new(),
        String::new(),
    );
    let swarm = Question::of(Action::Swarm, String::new(), String::new());
    assert!(passes(&policy, made.clone(), glass(None), None).0);
    let called_pulled = Question {
        names: vec![named("docker.io/my/own:1", NameSource::Client)],
        ..made.clone()
    };
    for made in [made, called_pulled] {
        assert!(!passes(&policy, made, glass(Some("docker.io/my/own")), None).0);
    }
    assert!(!passes(&policy, swarm, glass(None), None).0);
}

#[test]
fn a_policy_that_forbids_it_or_allows_less_time_ends_it_and_so_does_a_clock_that_can_not_be_right()
{
    let forbids = Policy {
        break_glass: BreakGlassUse::Forbidden,
        ..policy(1, "")
    };
    let shorter = policy(1, "[limits]\nmax-break-glass = \"59m\"\n");
    let as_long = policy(1, "[limits]\nmax-break-glass = \"60m\"\n");
    for (policy, wanted) in [(forbids, false), (shorter, false), (as_long, true)] {
        let (passes, _) = passes(&policy, uncovered(), glass(None), None);
        assert_eq!(passes, wanted);
    }
    let clock = Refusal::new(Code::Clock, "a", "b", "c");
    assert!(!passes(&policy(1, ""), uncovered(), glass(None), Some(clock)).0);
}

#[test]
fn a_tag_is_what_its_registry_says_while_it_is_in_force() {
    let policy = policy(1, "");
    let resolve = |text: &str| {
        let action = Action::Resolve(name(text));
        let question = Question::of(action, String::new(), String::new());
        let judge = Judge::start(&policy, question, now(), None);
        let judge = judge.with_break_glass(Some(glass(Some("r.example/team/**"))));
        let (_, judgement) = driven(judge, |text| {
            if text.starts_with("registry") {
                Heard::Registry(Ok(digest("new")))
            } else {
                Heard::Root(Ok(statement(&[("1", "old")], false)))
            }
        });
        (judgement.digest, judgement.breaks_glass)
    };
    assert_eq!(resolve("r.example/team/app:1"), (Some(digest("new")), true));
    assert_eq!(resolve("free.example/a:1"), (None, false));
}
