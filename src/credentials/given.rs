//! Decides by the policy in force which registries get this host's credentials.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use rootpin_policy::{Policy, RootKind};
use rootpin_trust::image::Repository;

use super::withheld::{withheld, withheld_below};
use super::{path, place};

/// The policy in force, asked about each server before it is given anything. Without one, every
/// server that is asked may have what is configured for it.
#[derive(Debug, Default)]
pub struct Gate {
    policy: RwLock<Option<Arc<Policy>>>,
}

impl Gate {
    /// From now on this policy counts.
    pub fn obey(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Some(policy);
    }

    /// Why that server gets no credentials for that repository (empty: for none in particular), if
    /// it gets none.
    #[must_use]
    pub fn withholds(&self, server: &str, repository: &str) -> Option<String> {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        let policy = policy.as_deref()?;
        let host = place(server);
        let full = format!("{host}/{repository}");
        let named = Repository::from_full(&full).ok();
        if servers(policy).contains(&host) {
            // It has the metadata of a pinned root; a rule may keep it from having more.
            let rule = named.and_then(|named| policy.rule_for(&named));
            return rule
                .filter(|rule| !rule.credentials)
                .map(|rule| format!("{rule} says credentials = false"));
        }
        match named {
            Some(repository) => withheld(policy, &repository),
            None if repository.is_empty() => withheld_below(policy, &host),
            None => withheld_below(policy, &full),
        }
    }

    /// Why a client gets no credentials for a key that it asks its credential helper for, if it
    /// gets none.
    #[must_use]
    pub fn withholds_key(&self, key: &str) -> Option<String> {
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        withholds_key(policy.as_deref()?, key)
    }
}

/// Why a client gets no credentials for that key by this policy, if it gets none. A key without a
/// path is for all of its registry, one with a path for all below it.
#[must_use]
pub fn withholds_key(policy: &Policy, key: &str) -> Option<String> {
    let (host, path) = (place(key), path(key));
    if path.is_empty() && servers(policy).contains(&host) {
        return None;
    }
    match path {
        "" => withheld_below(policy, &host),
        path => withheld_below(policy, &format!("{host}/{path}")),
    }
}

/// The servers that have the metadata of pinned roots.
#[must_use]
pub fn servers(policy: &Policy) -> BTreeSet<String> {
    let of_root = |kind: &RootKind| match kind {
        RootKind::Notary(notary) => vec![place(&notary.server)],
        RootKind::Tuf(tuf) => tuf
            .metadata
            .iter()
            .map(|url| place(&url.to_string()))
            .collect(),
        RootKind::Cosign(_) | RootKind::Notation(_) => Vec::new(),
    };
    policy
        .roots
        .values()
        .flat_map(|root| of_root(&root.kind))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn gate(more: &str) -> Gate {
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"rooted\"\n\
             [[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://notary.example:4443\"\nkeys = [\"{}\"]\nrole = \"targets\"\n\
             [[rule]]\nmatch = \"docker.io/team/*\"\nroots = [\"a\"]\n{more}",
            "1".repeat(64)
        );
        let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let gate = Gate::default();
        gate.obey(Arc::new(rootpin_policy::load(&files, now).unwrap()));
        gate
    }

    #[test]
    fn without_a_policy_nothing_is_withheld() {
        assert_eq!(Gate::default().withholds("r.example", "x"), None);
    }

    #[test]
    fn a_rooted_registry_and_a_root_s_server_get_credentials_and_look_alikes_don_t() {
        let gate = gate("");
        for (server, repository) in [
            ("registry-1.docker.io", "team/app"),
            ("docker.io", ""),
            ("notary.example:4443", ""),
            ("notary.example:4443", "docker.io/team/app"),
        ] {
            assert_eq!(gate.withholds(server, repository), None, "{server}");
        }
        for (server, repository) in [
            ("registry-1.docker.io", "other/app"),
            ("registry-1.docker.io.evil.example", "team/app"),
            ("docker.io.evil.example", ""),
            ("registry-1.docker.io:8443", "team/app"),
            ("notary.example", ""),
            ("evil.example", "docker.io/team/app"),
        ] {
            assert!(gate.withholds(server, repository).is_some(), "{server}");
        }
    }

    #[test]
    fn a_helper_s_key_is_for_its_registry_or_for_what_is_below_its_path() {
        let gate = gate("");
        for key in [
            "https://index.docker.io/v1/",
            "docker.io/team",
            "docker.io/team/app",
            "https://notary.example:4443",
        ] {
            assert_eq!(gate.withholds_key(key), None, "{key}");
        }
        for key in [
            "https://index.docker.io.evil.example/v1/",
            "docker.io/other",
            "docker.io/teams",
            "https://docker.io@evil.example/",
            "notary.example:4443/other",
            "",
        ] {
            assert!(gate.withholds_key(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_rule_keeps_a_root_s_server_from_credentials_for_its_names() {
        let gate = gate(
            "[[rule]]\nmatch = \"notary.example:4443/public/*\"\nroots = [\"a\"]\ncredentials = false\n",
        );
        assert_eq!(gate.withholds("notary.example:4443", "private/x"), None);
        assert!(gate.withholds("notary.example:4443", "public/x").is_some());
    }
}
