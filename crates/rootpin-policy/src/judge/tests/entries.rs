//! The entries that cover a name: which one decides, and what the list says of the others.

use super::*;

const AFTER: &str = "2030-03-01T00:00:00Z";

/// An exemption until February.
pub(super) fn exempt(pattern: &str, more: &str) -> String {
    format!(
        "[[exempt]]\nmatch = \"{pattern}\"\nuntil = 2030-02-01T00:00:00Z\nreason = \"old\"\n{more}"
    )
}

pub(super) fn bound(name: &str, content: &str) -> String {
    let digest = digest(content);
    format!("[[image]]\nname = \"{name}\"\ndigest = \"{digest}\"\n")
}

/// The entries of a name, each with why it applies or not.
fn listed(policy: &Policy, text: &str, at: &str) -> Vec<String> {
    let name = name(text);
    let lookup = Lookup::of(&name, at.parse().unwrap(), None);
    let all = entries(policy, lookup).into_iter();
    let shown = all.map(|(kind, why)| {
        let why = match why {
            Why::LessSpecific(winner) => format!("less specific than {}", winner.pattern),
            why => format!("{why:?}"),
        };
        let kind = kind.to_string();
        format!("{} {why}", kind.split(" (").next().unwrap())
    });
    shown.collect()
}

/// The answer to a pull, where each root signs tag 1 as good.
fn answer(policy: &Policy, named: NamedBytes, at: &str) -> &'static str {
    let question = Question {
        names: vec![named],
        ..layer(Vec::new(), Origin::Registry)
    };
    let judge = Judge::start(policy, question, at.parse().unwrap(), None);
    let said = |_: &str| Heard::Root(Ok(statement(&[("1", "good")], false)));
    code(&driven(judge, said).1)
}

#[test]
fn the_list_says_of_each_entry_of_a_name_whether_it_decides_and_why_not() {
    let more = [
        exempt("r.example/team/app", ""),
        exempt("free.example/**", ""),
        exempt("free.example/a", ""),
        bound("r.example/team/app:bound", "x"),
        "[[rule]]\nmatch = \"r.example/team/app\"\nroots = [\"one\"]\n".to_owned(),
    ];
    let policy = policy(1, &more.concat());
    let (app, free) = ("r.example/team/app", "[[exempt]] match = \"free.example/");
    let general = format!("[[rule]] match = \"r.example/team/**\" less specific than {app}");
    for (name, at, wanted) in [
        (
            "r.example/team/app:1",
            NOW,
            vec![
                format!("[[exempt]] match = \"{app}\" Applies"),
                format!("[[rule]] match = \"{app}\" Applies"),
                general.clone(),
            ],
        ),
        (
            "r.example/team/app:1",
            AFTER,
            vec![
                format!("[[exempt]] match = \"{app}\" Over"),
                format!("[[rule]] match = \"{app}\" Applies"),
                general.clone(),
            ],
        ),
        (
            "r.example/team/app:bound",
            NOW,
            vec![
                format!("[[image]] name = \"{app}:bound\" Applies"),
                format!("[[exempt]] match = \"{app}\" Bound"),
                format!("[[rule]] match = \"{app}\" Bound"),
                general,
            ],
        ),
        (
            "free.example/a:1",
            NOW,
            vec![format!("{free}**\" Applies"), format!("{free}a\" Applies")],
        ),
        (
            "free.example/a:1",
            AFTER,
            vec![format!("{free}**\" Over"), format!("{free}a\" Ended")],
        ),
    ] {
        assert_eq!(listed(&policy, name, at), wanted, "{name} {at}");
    }
}

#[test]
fn an_exemption_that_has_ended_is_the_reason_only_where_no_other_entry_covers_the_name() {
    let more = exempt("r.example/team/app", "") + &exempt("free.example/a", "");
    let policy = policy(1, &more);
    for (text, at, wanted) in [
        ("r.example/team/app:1", NOW, "exempt"),
        ("r.example/team/app:1", AFTER, "signed"),
        ("free.example/a:1", NOW, "exempt"),
        ("free.example/a:1", AFTER, "exemption-over"),
    ] {
        let named = named(text, NameSource::Client, "good");
        assert_eq!(answer(&policy, named, at), wanted, "{text} {at}");
    }
}

#[test]
fn a_name_without_a_tag_is_bound_by_the_image_that_lists_its_bytes_and_by_no_other() {
    let repository = "r.example/team/app";
    let bound = |tag: &str, content: &str| bound(&format!("{repository}:{tag}"), content);
    let policy = policy(1, &(bound("a", "x") + &bound("b", "y")));
    for (content, wanted) in [
        ("x", "policy-pin"),
        ("y", "policy-pin"),
        // The rule is asked about bytes that no image lists.
        ("good", "signed"),
        ("z", "no-statement"),
    ] {
        let mut named = named(repository, NameSource::Client, content);
        named.name.tag = None;
        assert_eq!(answer(&policy, named, NOW), wanted, "{content}");
    }
}

#[test]
fn an_entry_that_lists_platforms_manifests_holds_where_it_lists_each_that_is_meant() {
    let digests = format!("digests = [\"{}\"]\n", digest("arm"));
    let revoked = format!(
        "[[revoked]]\ndigest = \"{}\"\nreason = \"leaked\"\n",
        digest("bad")
    );
    let more = [
        bound("r.example/team/app:b", "amd"),
        bound("r.example/team/app:b", "arm"),
        exempt("free.example/a", &digests),
        revoked,
    ];
    let policy = policy(1, &more.concat());
    let own = format!("free.example/a:1@{}", digest("arm"));
    for (text, manifests, wanted) in [
        ("r.example/team/app:b", &["amd", "arm"][..], "policy-pin"),
        ("r.example/team/app:b", &["arm"], "policy-pin"),
        ("r.example/team/app:b", &["arm", "riscv"], "digest-mismatch"),
        ("r.example/team/app:b", &[], "digest-mismatch"),
        ("r.example/team/app:b", &["arm", "bad"], "revoked"),
        ("free.example/a:1", &["arm"], "exempt"),
        ("free.example/a:1", &["riscv"], "no-rule"),
        (&own, &["arm"], "exempt"),
        (&own, &["riscv"], "digest-mismatch"),
    ] {
        let named = NamedBytes {
            manifests: manifests.iter().map(|content| digest(content)).collect(),
            ..named(text, NameSource::Client, "index")
        };
        assert_eq!(answer(&policy, named, NOW), wanted, "{text} {manifests:?}");
    }
}
