//! What is asked about a tag, and the digest that comes of it.

use super::entries::{bound, exempt};
use super::*;

/// One rule with these roots. The signatures of the root `beside` stand beside the image; each
/// other root is a Notary server.
fn rooted(roots: &[&str], quorum: usize, more: &str) -> Policy {
    let root = |(at, id): (usize, &&str)| match *id {
        "beside" => {
            "[[root]]\nid = \"beside\"\ntype = \"cosign\"\nkeys = [\"p256.pub\"]\n".to_owned()
        }
        id => format!(
            "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://{id}.example\"\nkeys = [\"{:064x}\"]\nrole = \"targets\"\n",
            at + 1
        ),
    };
    let defined: String = roots.iter().enumerate().map(root).collect();
    let unbound = if roots.contains(&"beside") && quorum == 1 {
        "tags = \"unbound\"\n"
    } else {
        ""
    };
    let text = format!(
        "version = 1\ndefault = \"deny\"\n{defined}[[rule]]\nmatch = \"r.example/team/**\"\nroots = {roots:?}\nquorum = {quorum}\n{unbound}{more}"
    );
    let key = include_bytes!("../../../../../tests/data/signatures/keys/p256.pub");
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), text.into_bytes()),
        ("p256.pub".to_owned(), key.to_vec()),
    ]);
    load(&files, now()).unwrap()
}

fn resolving(text: &str) -> Question {
    Question::of(Action::Resolve(name(text)), String::new(), String::new())
}

/// Who is asked for what, and the answer.
fn answered(mut judge: Judge<'_>, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    let (mut asked, mut heard) = (Vec::new(), None);
    loop {
        match judge.next(heard.take()) {
            Step::Done(judgement) => return (asked, judgement),
            Step::Ask(ask) => {
                let text = match &ask.need {
                    Need::Registry(_) => "registry".to_owned(),
                    Need::Root(root, _, about) => {
                        let about = match about {
                            tuf::Question::Tag(_) => "tag",
                            tuf::Question::Digest(_) => "digest",
                            tuf::Question::Image { .. } => "image",
                            tuf::Question::Any => "any",
                        };
                        format!("{} {about}", root.id)
                    }
                };
                assert!(!asked.contains(&text), "{text} twice");
                heard = Some(said(&text));
                asked.push(text);
            }
        }
    }
}

fn resolved(policy: &Policy, text: &str, said: impl Fn(&str) -> Heard) -> (Vec<String>, Judgement) {
    answered(Judge::start(policy, resolving(text), now(), None), said)
}

fn registry(content: &str) -> Heard {
    Heard::Registry(Ok(digest(content)))
}

fn registry_fails(code: Code) -> Heard {
    Heard::Registry(Err(Refusal::new(code, "a", "b", "c")))
}

/// What a root says that has signed these bytes: under tag 1, or beside the image under no tag.
fn signs(asked: &str, content: &str) -> Heard {
    let is_beside = asked.starts_with("beside");
    let untagged = is_beside.then(|| digest(content)).into_iter().collect();
    let tags: &[_] = if is_beside { &[] } else { &[("1", content)] };
    let collection = Collection {
        untagged,
        ..collection(tags)
    };
    Heard::Root(Ok(Statement {
        verified: Arc::new(Verified::for_test(collection)),
        ..statement(&[], false)
    }))
}

#[test]
fn a_root_that_lists_tags_is_asked_for_the_tag_or_digest_and_another_one_about_the_image() {
    let policy = rooted(&["one", "beside"], 2, "");
    let by_digest = format!("r.example/team/app@{}", digest("good"));
    for (text, wanted) in [
        ("r.example/team/app:1", ["one tag", "beside image"]),
        (&by_digest, ["one digest", "beside image"]),
    ] {
        let question = Question::pull(name(text), digest("good"));
        let judge = Judge::start(&policy, question, now(), None);
        let (asked, judgement) = answered(judge, |text| signs(text, "good"));
        assert_eq!(
            (code(&judgement), &asked[..]),
            ("signed", &wanted.map(str::to_owned)[..])
        );
    }
}

#[test]
fn the_registry_proposes_a_digest_only_where_roots_that_list_no_tags_can_make_the_quorum() {
    let good = || registry("good");
    for (roots, quorum, served, wanted, asked) in [
        (
            &["beside"][..],
            1,
            good(),
            "signed",
            &["registry", "beside image"][..],
        ),
        (
            &["beside"],
            1,
            registry_fails(Code::SourceDenied),
            "source-denied",
            &["registry"],
        ),
        (
            &["one", "beside"],
            1,
            good(),
            "signed",
            &["registry", "one tag"],
        ),
        (
            &["beside", "one"],
            1,
            good(),
            "signed",
            &["registry", "one tag", "beside image"],
        ),
        // A registry that does not answer takes down no signed image.
        (
            &["one", "beside"],
            1,
            registry_fails(Code::SourceDenied),
            "signed",
            &["registry", "one tag"],
        ),
        (
            &["one", "beside"],
            2,
            good(),
            "signed",
            &["one tag", "beside image"],
        ),
        // One root that lists tags is enough beside one that lists none.
        (
            &["one", "beside", "two"],
            2,
            good(),
            "signed",
            &["one tag", "beside image"],
        ),
        (
            &["one", "two"],
            2,
            good(),
            "signed",
            &["one tag", "two tag"],
        ),
    ] {
        let policy = rooted(roots, quorum, "");
        let said = |text: &str| match text {
            "registry" => served.clone(),
            _ => signs(text, "good"),
        };
        let (were_asked, judgement) = resolved(&policy, "r.example/team/app:1", said);
        assert_eq!(code(&judgement), wanted, "{roots:?} {quorum}");
        assert_eq!(were_asked, asked, "{roots:?} {quorum}");
        let is_signed = wanted == "signed";
        assert_eq!(judgement.digest, is_signed.then(|| digest("good")));
    }
}

#[test]
fn a_tag_is_the_digest_that_a_quorum_names_whatever_another_root_named_before() {
    let policy = rooted(&["one", "two", "three"], 2, "");
    let (_, judgement) = resolved(&policy, "r.example/team/app:1", |text| {
        signs(
            text,
            if text.starts_with("one") {
                "bad"
            } else {
                "good"
            },
        )
    });
    assert_eq!(
        (code(&judgement), judgement.digest),
        ("signed", Some(digest("good")))
    );
}

#[test]
fn of_several_digests_that_are_refused_the_most_specific_refusal_is_shown_or_the_first() {
    let split = |text: &str| {
        signs(
            text,
            if text.starts_with("one") {
                "good"
            } else {
                "bad"
            },
        )
    };
    for (revoked, wanted) in [
        (None, ("digest-mismatch", "good")),
        (Some("good"), ("revoked", "good")),
        (Some("bad"), ("revoked", "bad")),
    ] {
        let revokes = |content| {
            let digest = digest(content);
            format!("[[revoked]]\ndigest = \"{digest}\"\nreason = \"leaked\"\n")
        };
        let policy = policy(2, &revoked.map(revokes).unwrap_or_default());
        let (_, judgement) = resolved(&policy, "r.example/team/app:1", split);
        assert_eq!(
            (code(&judgement), judgement.digest),
            (wanted.0, Some(digest(wanted.1)))
        );
    }
}

#[test]
fn a_bound_tag_is_a_digest_that_its_image_lists_and_the_registry_only_chooses_among_several() {
    let text = "r.example/team/app:1";
    let one = rooted(&["one"], 1, &bound(text, "x"));
    let nobody = |asked: &str| panic!("{asked} is asked");
    let (_, judgement) = resolved(&one, text, nobody);
    assert_eq!(
        (code(&judgement), judgement.digest),
        ("policy-pin", Some(digest("x")))
    );
    let two = rooted(&["one"], 1, &(bound(text, "x") + &bound(text, "y")));
    let first = digest("x").min(digest("y"));
    for (served, wanted) in [
        (registry("x"), digest("x")),
        (registry("y"), digest("y")),
        (registry("z"), first),
        (registry_fails(Code::SourceUnreachable), first),
    ] {
        let (asked, judgement) = resolved(&two, text, |_| served.clone());
        assert_eq!(
            (code(&judgement), judgement.digest),
            ("policy-pin", Some(wanted))
        );
        assert_eq!(asked, ["registry"]);
    }
}

#[test]
fn an_exempt_tag_is_what_its_registry_says_or_a_digest_that_the_exemption_lists() {
    let listed = format!("digests = [\"{}\", \"{}\"]\n", digest("x"), digest("y"));
    let more = exempt("free.example/any", "")
        + &exempt("free.example/some", &listed)
        + &exempt("r.example/team/any", "")
        + &exempt("r.example/team/some", &listed);
    let policy = rooted(&["one"], 1, &more);
    for (text, served, wanted, content, asked) in [
        (
            "free.example/any:1",
            registry("z"),
            "exempt",
            Some("z"),
            &["registry"][..],
        ),
        (
            "free.example/some:1",
            registry("x"),
            "exempt",
            Some("x"),
            &["registry"],
        ),
        (
            "free.example/some:1",
            registry("y"),
            "exempt",
            Some("y"),
            &["registry"],
        ),
        // The registry has judged: there is no such tag.
        (
            "r.example/team/any:1",
            registry_fails(Code::NoStatement),
            "no-statement",
            None,
            &["registry"],
        ),
        // It was silent: what is signed will do.
        (
            "r.example/team/any:1",
            registry_fails(Code::SourceUnreachable),
            "exempt",
            Some("good"),
            &["registry", "one tag"],
        ),
        // Signed bytes come before bytes that are only exempt.
        (
            "r.example/team/some:1",
            registry("x"),
            "signed",
            Some("good"),
            &["one tag"],
        ),
    ] {
        let said = |text: &str| match text {
            "registry" => served.clone(),
            _ => signs(text, "good"),
        };
        let (were_asked, judgement) = resolved(&policy, text, said);
        assert_eq!(code(&judgement), wanted, "{text}");
        assert_eq!(judgement.digest, content.map(digest), "{text}");
        assert_eq!(were_asked, asked, "{text}");
    }
}

#[test]
fn an_exemption_that_has_ended_or_that_no_clock_can_tell_lets_nobody_ask_the_registry() {
    let nothing = |text: &str| match text {
        "registry" => panic!("{text} is asked"),
        _ => Heard::Root(Ok(statement(&[], false))),
    };
    let exempts = exempt("free.example/a", "") + &exempt("r.example/team/app", "");
    let policy = rooted(&["one"], 1, &exempts);
    let clock = Refusal::new(Code::Clock, "a", "b", "c");
    for (text, at, clock, wanted) in [
        (
            "free.example/a:1",
            "2030-03-01T00:00:00Z",
            None,
            "exemption-over",
        ),
        (
            "r.example/team/app:1",
            "2030-03-01T00:00:00Z",
            None,
            "no-statement",
        ),
        ("free.example/a:1", NOW, Some(clock), "clock"),
    ] {
        let judge = Judge::start(&policy, resolving(text), at.parse().unwrap(), clock);
        assert_eq!(code(&answered(judge, nothing).1), wanted, "{text} {at}");
    }
}

#[test]
fn a_tag_that_is_only_audited_is_what_its_registry_says() {
    let audit = "audit-until = 2030-01-15T00:00:00Z\n";
    for (more, wanted) in [(audit, "new"), ("", "old")] {
        let policy = rooted(&["one"], 1, more);
        let (_, judgement) = resolved(&policy, "r.example/team/app:1", |text| match text {
            "registry" => registry("new"),
            _ => signs(text, "old"),
        });
        assert_eq!(judgement.digest, Some(digest(wanted)));
        assert_eq!(judgement.result.is_ok(), wanted == "old");
        assert_eq!(judgement.mode == Mode::Audit, wanted == "new");
    }
}

#[test]
fn a_name_without_a_tag_is_no_question_for_a_digest() {
    let by_digest = format!("r.example/team/app@{}", digest("good"));
    let untagged = resolved(&policy(1, ""), &by_digest, |text| panic!("{text} is asked")).1;
    assert_eq!((code(&untagged), untagged.digest), ("no-rule", None));
}
