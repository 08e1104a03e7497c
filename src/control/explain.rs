//! `rootpin policy explain`: the entries of the policy that cover a name, in the judge's own order,
//! and what it takes for an image of that name to be let through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::credentials::withheld;
use crate::decide::survey::{ReportedBinding, shown_root};
use rootpin_policy::judge::{EntryKind, Lookup, Why, entries};
use rootpin_policy::{Policy, Root, Rule};
use rootpin_trust::KeyId;
use rootpin_trust::image::{Digest, ImageRef};

/// An entry that covers the name, and why it applies or not.
type Entry<'a> = (EntryKind<'a>, Why<'a>);

/// The object of `rootpin policy explain --json`.
#[must_use]
pub fn explain(policy: &Policy, name: &ImageRef, now: Timestamp) -> Value {
    let all = entries(policy, Lookup::of(name, now, None));
    let mut needs: Vec<String> = all.iter().filter_map(|entry| need(entry, name)).collect();
    if needs.is_empty() {
        needs.push(no_entry(policy, name));
    }
    let step = |entry: &Entry<'_>| {
        let (kind, reason) = entry;
        let outcome = if reason.applies() { "applies" } else { "loses" };
        json!({ "entry": kind.to_string(), "outcome": outcome, "why": why(entry, now) })
    };
    let without_credentials = withheld(policy, &name.repository);
    json!({
        "version": 1,
        "name": name.to_string(),
        "mode": policy.mode_for(&name.repository, Some(now)).as_str(),
        "steps": all.iter().map(step).collect::<Vec<_>>(),
        "needs": needs,
        "binds_tag": policy.rule_for(&name.repository).map(|rule| !rule.may_bind_no_tag()),
        "roots": roots(policy, name),
        "credentials": without_credentials.is_none(),
        "without_credentials": without_credentials,
    })
}

/// The roots of the rule for a name, what the signatures of each bind beside the digest, and which of
/// its keys are revoked.
fn roots(policy: &Policy, name: &ImageRef) -> Vec<Value> {
    let rule = policy.rule_for(&name.repository);
    let roots = rule.into_iter().flat_map(|rule| &rule.roots);
    let object = |root: &Arc<Root>| {
        let revoked = revoked_keys(policy, root).into_iter();
        let revoked =
            revoked.map(|(key, reason)| json!({ "key": key.to_string(), "reason": reason }));
        json!({ "id": root.id, "binds": ReportedBinding::of(root), "revoked_keys": revoked.collect::<Vec<_>>() })
    };
    roots.map(object).collect()
}

/// The keys of a root whose signatures count nowhere, and why.
fn revoked_keys<'p>(policy: &'p Policy, root: &Root) -> BTreeMap<KeyId, &'p str> {
    let named = root.key_names().into_iter().map(|(_, key)| key);
    let keys = root.keys.iter().copied().chain(named);
    let revoked = keys.filter_map(|key| Some((key, policy.revoked_key(&key)?)));
    revoked.collect()
}

/// Why an entry applies or doesn't.
fn why((kind, why): &Entry<'_>, now: Timestamp) -> String {
    match (why, kind) {
        (Why::Applies, EntryKind::Revoked(_, reason)) => format!("revoked: {reason}"),
        (Why::Applies, EntryKind::OwnDigest(_)) => "the name itself has another digest".to_owned(),
        (Why::Applies, EntryKind::Image(_)) => {
            "the policy binds the name to its digests: no exemption, no rule and no server is asked"
                .to_owned()
        }
        (Why::Applies, EntryKind::Exempt(exempt)) => {
            format!("until {}: {}", exempt.until, exempt.reason)
        }
        (Why::Applies, EntryKind::Rule(rule)) if rule.is_on_trial(Some(now)) => {
            let until = rule.audit_until.map(|until| until.to_string());
            let until = until.unwrap_or_default();
            format!("its refusals are recorded and let through until {until}")
        }
        (Why::Applies, EntryKind::Rule(rule)) if rule.pattern.is_exact() => {
            "it is the exact name".to_owned()
        }
        (Why::Applies, EntryKind::Rule(_)) => {
            "of the rules that match it has the longest part before a wildcard".to_owned()
        }
        (Why::Over | Why::Ended, EntryKind::Exempt(exempt)) => {
            format!("it was over at {}", exempt.until)
        }
        (Why::Over | Why::Ended, _) => "it is over".to_owned(),
        (Why::Clock(refusal), _) => refusal.found.clone(),
        (Why::Bound, _) => "the name is bound by [[image]]".to_owned(),
        (Why::OtherDigests, _) => "it is for other digests".to_owned(),
        (Why::NotFromRegistry, _) => {
            "it lists no digests, and no sign shows that a registry was asked".to_owned()
        }
        (Why::LessSpecific(winner), _) => format!("{} is more specific", winner.pattern),
    }
}

/// What it takes for an entry that applies to say yes.
fn need((kind, why): &Entry<'_>, name: &ImageRef) -> Option<String> {
    let any_of = |digests: &BTreeSet<Digest>| {
        let digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
        digests.join(" or ")
    };
    match (why, *kind) {
        (Why::Applies, EntryKind::Revoked(..)) => {
            Some("another image: this digest is revoked, whatever else says yes".to_owned())
        }
        (Why::Applies, EntryKind::Image(image)) => {
            Some(format!("the digest {}", any_of(&image.digests)))
        }
        (Why::Applies, EntryKind::Exempt(exempt)) => Some(match &exempt.digests {
            None => format!("nothing: the name is exempt until {}", exempt.until),
            Some(digests) => format!(
                "the digest {}, which is exempt until {}",
                any_of(digests),
                exempt.until
            ),
        }),
        (Why::Applies, EntryKind::Rule(rule)) => Some(evidence(rule, name)),
        _ => None,
    }
}

fn no_entry(policy: &Policy, name: &ImageRef) -> String {
    let hosts = Vec::from_iter(policy.hosts()).join(", ");
    let known = if hosts.is_empty() {
        "the policy names no registry".to_owned()
    } else {
        format!("the policy names {hosts}")
    };
    format!(
        "a [[rule]] whose match covers {}: there is none, so it is refused ({known})",
        name.repository
    )
}

/// What a rule asks for, in words.
fn evidence(rule: &Rule, name: &ImageRef) -> String {
    if rule.roots.is_empty() {
        return format!("another rule: {rule} names no root, and refuses its names");
    }
    let roots: Vec<String> = rule.roots.iter().map(|root| shown_root(root)).collect();
    let who = match (rule.quorum, rule.roots.len()) {
        (1, 1) => roots.join(""),
        (quorum, _) => format!("{quorum} of {}", roots.join("; ")),
    };
    let Some(signed) = rule.signed_name(&name.repository) else {
        return format!(
            "a statement that cannot exist: signed-as gives no name in full form for {}",
            name.repository
        );
    };
    let what = name
        .tag
        .as_ref()
        .map_or("some tag".to_owned(), |tag| format!("the tag {tag}"));
    let digest = name
        .digest
        .map_or("the digest that is pulled".to_owned(), |digest| {
            digest.to_string()
        });
    if rule.may_bind_no_tag() {
        return format!(
            "{digest} signed under {who}; such a quorum binds no tag: {what} may be moved to other signed bytes"
        );
    }
    format!("a statement signed under {who} that {what} of {signed} is {digest}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const REVOKED: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// A policy with entries of every kind.
    fn policy() -> Policy {
        let root = |id: &str, digit: &str| {
            format!(
                "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://{id}.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n",
                digit.repeat(64)
            )
        };
        let rule = |pattern: &str, roots: &str, more: &str| {
            format!("[[rule]]\nmatch = \"{pattern}\"\nroots = [{roots}]\n{more}")
        };
        let text = [
            "version = 1\ndefault = \"deny\"\n".to_owned(),
            root("a", "1"),
            root("b", "2"),
            rule("r.example/team/**", "\"a\"", ""),
            rule("r.example/**", "\"b\"", ""),
            rule("docker.io/library/*", "\"a\", \"b\"", "quorum = 2\n"),
            rule("m.example/hub/**", "\"a\"", "signed-as = \"docker.io/**\"\n"),
            format!("[[image]]\nname = \"k.example/pause:3\"\ndigest = \"{DIGEST}\"\n"),
            "[[exempt]]\nmatch = \"r.example/old\"\nuntil = 2027-01-31T00:00:00Z\nreason = \"old\"\n".to_owned(),
            format!("[[revoked]]\ndigest = \"{REVOKED}\"\nreason = \"CVE-2026-0001\"\n"),
        ]
        .concat();
        let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
        rootpin_policy::load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn an_explanation_names_the_winner_the_losers_and_the_evidence() {
        let policy = policy();
        let explained = |name: &str| {
            let now = "2026-11-20T00:00:00Z".parse().unwrap();
            explain(&policy, &name.parse().unwrap(), now)
        };
        let outcomes = |name: &str| {
            let explained = explained(name);
            let steps = explained["steps"].as_array().unwrap();
            let outcomes = steps.iter().map(|step| step["outcome"].as_str().unwrap());
            outcomes.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(outcomes("r.example/team/x:1"), "applies loses");
        assert_eq!(outcomes("r.example/old"), "applies applies");
        assert_eq!(outcomes("k.example/pause:3"), "applies");
        assert_eq!(outcomes(&format!("k.example/pause@{DIGEST}")), "applies");
        assert_eq!(outcomes("other.example/x"), "");
        let needs = |name: &str| explained(name)["needs"].to_string();
        assert!(needs("docker.io/library/alpine:3").contains(
            "a statement signed under 2 of a (notary at https://a.example, role targets, binds digest, name, tag, freshness); b"
        ));
        let carried = "the tag 3 of docker.io/library/alpine is";
        assert!(needs("m.example/hub/library/alpine:3").contains(carried));
        assert!(needs("m.example/hub/alpine").contains("cannot exist"));
        assert!(needs("other.example/x").contains("the policy names docker.io, k.example"));
        let revoked = explained(&format!("h.example/a@{REVOKED}"));
        assert_eq!(revoked["steps"][0]["why"], "revoked: CVE-2026-0001");
    }
}
