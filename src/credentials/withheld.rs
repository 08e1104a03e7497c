//! Decides which registries get this host's credentials: `[credentials] only-to`, and `credentials`
//! of a rule.

use rootpin_policy::{CredentialsTo, Pattern, Policy, Rule};
use rootpin_trust::image::Repository;

/// Why a repository is asked for without this host's credentials, if it is.
#[must_use]
pub fn withheld(policy: &Policy, repository: &Repository) -> Option<String> {
    // A rule without roots refuses the names: they need no credentials.
    let rule = policy.rule_for(repository);
    let rule = rule.filter(|rule| !rule.roots.is_empty());
    if let Some(rule) = rule.filter(|rule| !rule.credentials) {
        return Some(format!("{rule} says credentials = false"));
    }
    let named = policy.credentials_to == CredentialsTo::Any
        || rule.is_some()
        || policy.exempts_for(repository).next().is_some()
        || policy.images_of(repository).next().is_some();
    (!named).then(|| unnamed(repository.as_str()))
}

/// Why a registry is asked without this host's credentials where no single repository is meant, but
/// all of it, or all below a path. `place`: its host, or its host and that path.
pub(super) fn withheld_below(policy: &Policy, place: &str) -> Option<String> {
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    // A registry that no pattern can name is named by none.
    let below = format!("{place}/**").parse::<Pattern>().ok();
    let exact = Some(place)
        .filter(|_| !path.is_empty())
        .and_then(|place| Repository::from_full(place).ok());
    let named = |rule: &&Rule| !rule.roots.is_empty();
    let of_exact = exact.as_ref().and_then(|exact| policy.rule_for(exact));
    if let Some(rule) = of_exact.filter(named) {
        return (!rule.credentials).then(|| format!("{rule} says credentials = false"));
    }
    let is_in = |pattern: &Pattern| {
        below.as_ref().is_some_and(|below| below.overlaps(pattern))
            || exact.as_ref().is_some_and(|exact| pattern.matches(exact))
    };
    let rules = || {
        let rules = policy.rules.iter().filter(named);
        rules.filter(|rule| is_in(&rule.pattern))
    };
    let refused = |exempt: &Pattern| {
        let mut rules = policy.rules.iter().filter(|rule| !rule.credentials);
        rules.any(|rule| rule.pattern.contains(exempt))
    };
    let mut exempts = policy.exempts().iter().map(|exempt| &exempt.pattern);
    let images = policy.images().map(|image| &image.repository);
    let mut images = images.filter(|image| {
        let rest = image.as_str().strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let others = exempts.any(|exempt| is_in(exempt) && !refused(exempt))
        || images.any(|image| withheld(policy, image).is_none());
    if others || rules().any(|rule| rule.credentials) {
        return None;
    }
    match (rules().next(), policy.credentials_to) {
        (Some(rule), _) => Some(format!("{rule} says credentials = false")),
        (None, CredentialsTo::Any) => None,
        (None, CredentialsTo::Rooted) => Some(unnamed(if path.is_empty() { host } else { place })),
    }
}

fn unnamed(name: &str) -> String {
    format!("no rule of the policy names {name}, and [credentials] says only-to = \"rooted\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const RULES: &str = "version = 1\ndefault = \"deny\"\n[[exempt]]\nmatch = \"h.example/tmp/*\"\nuntil = 2026-12-01T00:00:00Z\nreason = \"x\"\n\
        [[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\nrole = \"targets\"\n\
        [[rule]]\nmatch = \"h.example/team/**\"\nroots = [\"a\"]\n\
        [[rule]]\nmatch = \"h.example/team/public/*\"\nroots = [\"a\"]\ncredentials = false\n\
        [[rule]]\nmatch = \"docker.io/library/*\"\nroots = [\"a\"]\ncredentials = false\n";

    fn policy(more: &str) -> Policy {
        let text = format!("{RULES}{more}");
        let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
        rootpin_policy::load(&files, "2026-11-20T00:00:00Z".parse().unwrap())
            .unwrap_or_else(|findings| panic!("{findings:?}"))
    }

    #[test]
    fn a_rule_that_refuses_its_names_gives_them_no_credentials() {
        let refusing = "[[rule]]\nmatch = \"evil.example/**\"\nroots = []\n[[rule]]\nmatch = \"h.example/team/old\"\nroots = []\n";
        let policy = policy(&format!("{refusing}[credentials]\nonly-to = \"rooted\"\n"));
        for name in ["evil.example/x", "h.example/team/old"] {
            let repository = Repository::from_full(name).unwrap();
            assert!(withheld(&policy, &repository).is_some(), "{name}");
        }
        for place in ["evil.example", "evil.example/x"] {
            assert!(withheld_below(&policy, place).is_some(), "{place}");
        }
        assert_eq!(withheld_below(&policy, "h.example"), None);
    }

    #[test]
    fn a_rule_that_wants_no_credentials_gets_none_whoever_else_gets_them() {
        for more in ["", "[credentials]\nonly-to = \"rooted\"\n"] {
            let policy = policy(more);
            let withheld = |name: &str| withheld(&policy, &Repository::from_full(name).unwrap());
            assert_eq!(withheld("h.example/team/app"), None);
            assert_eq!(withheld("h.example/tmp/x"), None);
            assert!(
                withheld("h.example/team/public/x")
                    .unwrap()
                    .contains("credentials = false")
            );
            assert!(withheld("docker.io/library/alpine").is_some());
            assert!(
                withheld_below(&policy, "docker.io").is_some(),
                "no rule of it wants any"
            );
            assert_eq!(
                withheld_below(&policy, "h.example"),
                None,
                "some rules of it do"
            );
        }
    }

    #[test]
    fn what_no_rule_names_gets_credentials_only_where_any_may() {
        let (any, rooted) = (policy(""), policy("[credentials]\nonly-to = \"rooted\"\n"));
        for name in [
            "h.example/other/app",
            "h.example.evil.example/team/app",
            "docker.io/team/app",
        ] {
            let name = Repository::from_full(name).unwrap();
            assert_eq!(withheld(&any, &name), None);
            assert!(
                withheld(&rooted, &name).unwrap().contains("only-to"),
                "{name}"
            );
        }
        for place in [
            "h.exampl",
            "h.example:443",
            "h.example/other",
            "h.example/tea",
            "n.example",
            "no registry",
        ] {
            assert_eq!(withheld_below(&any, place), None, "{place}");
            assert!(withheld_below(&rooted, place).is_some(), "{place}");
        }
        for place in [
            "h.example",
            "h.example/team",
            "h.example/team/app",
            "h.example/tmp",
        ] {
            assert_eq!(withheld_below(&rooted, place), None, "{place}");
        }
    }

    #[test]
    fn what_only_to_can_not_be_is_named() {
        let text = "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"all\"\n";
        let files = BTreeMap::from([("policy.toml".to_owned(), text.as_bytes().to_vec())]);
        let findings = rootpin_policy::load(&files, "2026-11-20T00:00:00Z".parse().unwrap());
        let finding = findings.unwrap_err().remove(0);
        assert_eq!(finding.location.line, 4, "{finding}");
    }
}
