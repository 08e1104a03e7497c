//! What a refusal says: the entry that made it, what was found, and what would change it.

use super::entries::{bound, exempt};
use super::*;

fn denial(policy: &Policy, question: Question, said: impl Fn(&str) -> Heard) -> Denial {
    let judge = Judge::start(policy, question, now(), None);
    driven(judge, said).1.result.unwrap_err()
}

fn good(_: &str) -> Heard {
    Heard::Root(Ok(statement(&[("1", "good")], false)))
}

#[test]
fn each_refusal_names_the_entry_that_made_it_and_the_roots_that_it_rests_on() {
    let revoked = format!("[[revoked]] digest = \"{}\"", digest("bad"));
    let more = format!(
        "{}{}[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
        exempt("free.example/a", ""),
        bound("r.example/team/app:bound", "x"),
        digest("bad")
    );
    let policy = policy(1, &more);
    let pull = |text: &str, content| Question::pull(name(text), digest(content));
    let of = |action| Question::of(action, "it".to_owned(), "moby".to_owned());
    let made = of(Action::Make(vec![name("r.example/team/app:1")]));
    let rule = "[[rule]] match = \"r.example/team/**\" (policy.toml:";
    let both = &["one", "two"][..];
    for (question, wanted, roots) in [
        (
            pull("r.example/team/app:1", "bad"),
            Some(&*revoked),
            &[][..],
        ),
        (
            pull("r.example/team/app:bound", "y"),
            Some("[[image]] name = \"r.example/team/app:bound\" (policy.toml:"),
            &[],
        ),
        (pull("r.example/team/app:1", "y"), Some(rule), both),
        (made, Some(rule), &[]),
        (of(Action::Unpack), Some("[local]"), &[]),
        (of(Action::Swarm), Some("[docker] swarm = \"deny\""), &[]),
        (of(Action::Plugin), Some("[docker] plugins = \"deny\""), &[]),
        (pull("nobody.example/a:1", "y"), None, &[]),
    ] {
        let shown = format!("{question:?}");
        let denial = denial(&policy, question, good);
        let named = denial.rule.as_deref().unwrap_or_default();
        assert_eq!(denial.rule.is_some(), wanted.is_some(), "{shown}");
        assert!(named.starts_with(wanted.unwrap_or_default()), "{named}");
        assert_eq!(denial.roots, roots, "{shown}");
    }
    let free = Question::pull(name("free.example/a:1"), digest("x"));
    let late = "2030-03-01T00:00:00Z".parse().unwrap();
    let ended = driven(Judge::start(&policy, free, late, None), good).1;
    let entry = ended.result.unwrap_err().rule.unwrap();
    assert!(
        entry.starts_with("[[exempt]] match = \"free.example/a\" (policy.toml:"),
        "{entry}"
    );
}

#[test]
fn bytes_under_no_name_are_refused_with_what_is_known_of_where_they_came_from() {
    let policy = policy(1, "");
    let registry = "from a registry that the policy does not name";
    for (action, origin, found, hint) in [
        (
            Action::Unpack,
            Origin::Registry,
            registry,
            "add a [[rule]] for the registry",
        ),
        (
            Action::Resident,
            Origin::Registry,
            registry,
            "or remove this one",
        ),
        (
            Action::Unpack,
            Origin::Unknown,
            "more images, indexes or names may be here than are looked at",
            "are followed",
        ),
        (
            Action::Resident,
            Origin::Unknown,
            "of which it is not known where it came from",
            "or remove this one",
        ),
        (
            Action::Unpack,
            Origin::Local,
            "of no image that has a known name or source",
            "allow local content",
        ),
    ] {
        let question = Question {
            action,
            ..layer(Vec::new(), origin)
        };
        let refusal = denial(&policy, question, good).refusal;
        assert!(
            refusal.found.starts_with("a layer in namespace moby, "),
            "{refusal:?}"
        );
        assert!(refusal.found.contains(found), "{refusal:?}");
        assert!(refusal.hint.contains(hint), "{refusal:?}");
    }
    // dockerd knows the image.
    let names = vec![named("my/own:1", NameSource::Client, "x")];
    let image = Question {
        action: Action::Create,
        ..layer(names, Origin::Local)
    };
    let refusal = denial(&policy, image, good).refusal;
    assert_eq!(refusal.found, "a layer in namespace moby");
}

#[test]
fn a_key_of_docker_says_what_it_forbids() {
    let policy = policy(1, "");
    for (action, wanted, key) in [
        (Action::Swarm, "no use of Swarm", "swarm"),
        (Action::Plugin, "no plugins", "plugins"),
    ] {
        let question = Question::of(action, "a call".to_owned(), "moby".to_owned());
        let refusal = denial(&policy, question, good).refusal;
        assert_eq!(refusal.found, "a call");
        assert!(refusal.wanted.starts_with(wanted), "{refusal:?}");
        assert!(
            refusal.hint.contains(&format!("{key} = \"allow\"")),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_refusal_for_another_reason_says_too_that_a_root_rests_on_a_revoked_key_and_says_it_once() {
    for (quorum, wanted) in [(1, "silent; and of another root: leaked"), (2, "leaked")] {
        let question = Question::pull(name("r.example/team/app:1"), digest("good"));
        let refusal = denial(&policy(quorum, ""), question, |text| {
            let (code, found) = if text.starts_with("one") {
                (Code::SourceUnreachable, "silent")
            } else {
                (Code::Revoked, "leaked")
            };
            Heard::Root(Err(Refusal::new(code, found, "b", "c")))
        });
        assert_eq!(refusal.refusal.found, wanted);
    }
}
