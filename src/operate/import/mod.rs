//! Proposes a policy that says what other tools' configurations say. Nothing in force changes by it.
//!
//! What this host merely saw first is never enough: such a key counts once a person has confirmed it
//! ([`ImportedKey::confirmed`]). A name that its source refuses is refused here too, also where a
//! broader entry would cover it ([`Proposal::refuse`]); of several sources the strictest counts
//! ([`Proposal::merge`]). A file that its own program would refuse is an error, never a proposal.

mod containers_policy;
mod containers_scopes;
mod docker_daemon;
mod fragments;
#[cfg(test)]
mod fuzz;
mod go_members;
mod name_pattern;
mod notary_config;
mod notation;
mod notation_rules;
mod pinned_names;
mod policy_json;
mod precedence;
mod reference_grammar;
mod registries_conf;
mod registries_file;
mod registry_prefixes;
mod render;
mod signed;
mod strict_json;
#[cfg(test)]
mod tests;
mod trust_directory;

use std::collections::BTreeMap;

use rootpin_trust::{KeyId, PublicKey};

pub(crate) use containers_policy::containers_policy;
pub(crate) use docker_daemon::docker_daemon;
pub(crate) use notary_config::{NotaryConfig, notary_config};
pub(crate) use notation::notation_trust_policy;
pub(crate) use registries_conf::{RegistriesText, add_registries};
pub(crate) use render::files;
pub(crate) use signed::{SignedRoot, SignedRule, Signers};
pub(crate) use trust_directory::TrustDirectory;

/// Larger configurations are not read.
pub(crate) const MAX_FILE: usize = 1 << 20;

/// A policy that is proposed, and what it lacks.
#[derive(Debug, Default)]
pub(crate) struct Proposal {
    /// The roots of Notary servers.
    pub(crate) roots: Vec<ImportedRoot>,
    /// The roots whose signatures stand beside images.
    pub(crate) signed_roots: Vec<SignedRoot>,
    /// By pattern: the rule for it.
    pub(crate) rules: BTreeMap<String, ImportedRule>,
    /// Domains below which the source refuses every registry that no rule names, each with why.
    pub(crate) refused_domains: BTreeMap<String, String>,
    /// Whether the source refuses all other names too. That does not count for a name of which
    /// another source speaks.
    pub(crate) refuses_rest: bool,
    /// Whether the source lets pass what fails.
    pub(crate) audit: bool,
    /// By registry: the engine's hosts.toml for its mirrors.
    pub(crate) hosts: BTreeMap<String, String>,
    /// What the source says and the proposal does not.
    pub(crate) left_behind: Vec<LeftBehind>,
    /// The root keys that a client on this host saw first, proposed or not.
    pub(crate) seen: Vec<PublicKey>,
    /// Whether a part of the source is there and could not be read; `left_behind` names it.
    pub(crate) unread: bool,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImportedRule {
    /// The root of that index says yes.
    Root(usize),
    /// Those who sign images say yes.
    Signed(SignedRule),
    /// Nothing does, for this reason.
    Refused(String),
}

/// A root of a Notary server.
#[derive(Debug, Clone)]
pub(crate) struct ImportedRoot {
    /// Its id in the policy.
    pub(crate) id: String,
    /// The server's URL.
    pub(crate) server: String,
    /// PEM certificates for its TLS.
    pub(crate) tls_ca: Option<Vec<u8>>,
    /// The role that must name the image.
    pub(crate) role: String,
    /// The keys that may stand in its root role.
    pub(crate) keys: Vec<ImportedKey>,
}

/// A root key.
#[derive(Debug, Clone)]
pub(crate) struct ImportedKey {
    /// Its canonical ID.
    pub(crate) id: KeyId,
    /// The key itself, where the source has it.
    pub(crate) key: Option<PublicKey>,
    /// Whether a person said that it is the publisher's: in the source, or just now.
    pub(crate) confirmed: bool,
}

/// Something that the proposal does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftBehind {
    /// The file that says it.
    pub(crate) file: String,
    /// What it says.
    pub(crate) what: String,
    /// Why it is left behind, and what to do instead.
    pub(crate) why: String,
}

/// Where the metadata of a repository is, and how it is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerChoice {
    /// The server of all repositories, if one was named.
    pub(crate) server: Option<String>,
    /// The certificates for its TLS.
    pub(crate) tls_ca: Option<Vec<u8>>,
}

impl ServerChoice {
    /// The Notary server of a registry, as Docker's client chooses it.
    pub(crate) fn of(&self, host: &str) -> String {
        match &self.server {
            Some(server) => server.trim_end_matches('/').to_owned(),
            None if host == "docker.io" => "https://notary.docker.io".to_owned(),
            None => format!("https://{host}"),
        }
    }
}

impl ImportedRoot {
    /// Whether every key was confirmed.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.keys.iter().all(|key| key.confirmed)
    }

    fn is_same(&self, other: &Self) -> bool {
        // A trust directory has thousands of them, so nothing is allocated.
        let is_in = |one: &Self, key: &ImportedKey| {
            let mut keys = one.keys.iter();
            keys.any(|known| (known.id, known.confirmed) == (key.id, key.confirmed))
        };
        self.server == other.server
            && self.tls_ca == other.tls_ca
            && self.role == other.role
            && self.keys.iter().all(|key| is_in(other, key))
            && other.keys.iter().all(|key| is_in(self, key))
    }
}

impl Proposal {
    /// Adds a rule for a pattern by a root; equal roots are one.
    fn allow(&mut self, pattern: &str, mut root: ImportedRoot) {
        let known = self.roots.iter().position(|known| known.is_same(&root));
        let index = known.unwrap_or_else(|| {
            let number = self.roots.len() + 1;
            root.id = format!("notary-{number}");
            self.roots.push(root);
            number - 1
        });
        self.rules
            .insert(pattern.to_owned(), ImportedRule::Root(index));
    }

    /// Has a name judged by these confirmed keys of its server, in place of those that were seen
    /// first.
    pub(crate) fn repin(&mut self, name: &str, keys: Vec<PublicKey>) {
        let Some(ImportedRule::Root(index)) = self.rules.get(name) else {
            return;
        };
        let Some(mut root) = self.roots.get(*index).cloned() else {
            return;
        };
        let confirmed = |key: PublicKey| ImportedKey {
            id: key.id(),
            key: Some(key),
            confirmed: true,
        };
        root.keys = keys.into_iter().map(confirmed).collect();
        self.allow(name, root);
    }

    /// The roots that decide a name, each with its number.
    pub(crate) fn used_roots(&self) -> impl Iterator<Item = (usize, &ImportedRoot)> {
        let roots = self.roots.iter().enumerate();
        roots.filter(|(index, _)| self.patterns_of(*index).next().is_some())
    }

    /// Adds a rule by which nothing is allowed: a broader one may cover the pattern.
    fn refuse(&mut self, pattern: &str, why: &str) {
        self.rules
            .insert(pattern.to_owned(), ImportedRule::Refused(why.to_owned()));
    }

    fn leave(&mut self, file: &str, what: impl Into<String>, why: impl Into<String>) {
        self.left_behind.push(LeftBehind {
            file: file.to_owned(),
            what: what.into(),
            why: why.into(),
        });
    }

    /// The rules that those who sign images decide.
    pub(crate) fn signed_rules(&self) -> impl Iterator<Item = (&str, &SignedRule)> {
        self.rules.iter().filter_map(|(pattern, rule)| match rule {
            ImportedRule::Signed(rule) => Some((pattern.as_str(), rule)),
            _ => None,
        })
    }

    /// The patterns of the rules that a root decides.
    pub(crate) fn patterns_of(&self, index: usize) -> impl Iterator<Item = &str> {
        let of_root = move |rule: &ImportedRule| *rule == ImportedRule::Root(index);
        let rules = self.rules.iter().filter(move |(_, rule)| of_root(rule));
        rules.map(|(pattern, _)| pattern.as_str())
    }
}
