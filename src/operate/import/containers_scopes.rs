//! The scopes of a `policy.json` as rules. A scope means a repository and all below it, or a whole
//! registry; the longest one counts. A part that no rule can say is refused, because the rule of a
//! shorter scope would cover it.

use std::collections::BTreeMap;

use super::signed::Signers;
use super::{ImportedRule, Proposal};
use crate::problem::Problem;
use rootpin_policy::Pattern;
use rootpin_trust::PublicKey;

/// What a scope requires of an image.
#[derive(Debug)]
pub(super) enum Requires {
    /// Nothing.
    Nothing,
    /// What no image has.
    Reject,
    /// Signatures of each of these.
    Signatures(Vec<SignedBy>),
    /// What a policy can't say, for this reason.
    Unsayable(String),
}

/// A signature that is required.
#[derive(Debug, Clone)]
pub(super) struct SignedBy {
    /// By one of these keys.
    pub(super) keys: Vec<PublicKey>,
    pub(super) identity: SignedIdentity,
}

/// The name that a signature must give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SignedIdentity {
    /// The image's; of an image that is named by its digest, its repository.
    WholeName,
    /// The image's repository, whatever the tag.
    Repository,
    /// This repository, whatever the tag.
    OtherRepository(String),
    /// The image's, with this beginning replaced by that.
    Remapped {
        prefix: String,
        signed_prefix: String,
    },
}

impl SignedBy {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let ids = |keys: &[PublicKey]| {
            let ids = keys.iter().map(PublicKey::id);
            ids.collect::<std::collections::BTreeSet<_>>()
        };
        self.identity == other.identity && ids(&self.keys) == ids(&other.keys)
    }

    pub(super) fn shares_key(&self, other: &Self) -> bool {
        let is_there = |key: &PublicKey| other.keys.iter().any(|other| other.id() == key.id());
        self.keys.iter().any(is_there)
    }
}

/// Why what nobody signed is left behind.
pub(super) const UNSIGNED: &str = "what nobody signed is not allowed for good: an [[exempt]] with an end and a reason allows it for a while";

/// A scope of the transport `docker`.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: String,
    pub(super) requires: Requires,
}

/// Why names are refused whose scope is named among what is left behind.
pub(super) const LEFT_BEHIND: &str = "what its source requires can't be carried over";

/// Whether a name is a scope's own, or below it.
pub(super) fn is_within(name: &str, scope: &str) -> bool {
    let rest = name.strip_prefix(scope);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The patterns that mean all names of a scope, each with whether it is for those below it.
pub(super) fn patterns(scope: &str) -> Vec<(Pattern, bool)> {
    let below = format!("{scope}/**");
    let own = scope.contains('/').then_some((scope, false));
    let all = own.into_iter().chain([(below.as_str(), true)]);
    all.filter_map(|(text, below)| Some((text.parse::<Pattern>().ok()?, below)))
        .collect()
}

pub(super) fn add(proposal: &mut Proposal, file: &str, scopes: &[Scope], tags_unbound: bool) {
    let (mut namespaces, mut tagged) = (Vec::new(), Vec::new());
    let mut other_case = Vec::new();
    for scope in scopes {
        let name = &scope.name;
        let last = name.rsplit_once('/').map_or("", |(_, last)| last);
        if let Some(domain) = name.strip_prefix("*.") {
            let requires_nothing = matches!(scope.requires, Requires::Nothing);
            if !requires_nothing {
                let why =
                    format!("its source has {name} for these names, and a rule names its registry");
                proposal.refused_domains.insert(domain.to_owned(), why);
            }
            leave(
                proposal,
                file,
                scope,
                "a rule names its registry: write a scope for each registry",
            );
        } else if let Some((before, _)) = name.split_once('@') {
            tagged.push((before.to_owned(), scope));
        } else if let Some(at) = last.find(':') {
            let repository = name.len() - last.len() + at;
            tagged.push((name.get(..repository).unwrap_or_default().to_owned(), scope));
        } else {
            let found = patterns(name);
            if found.is_empty() {
                leave(proposal, file, scope, "no image has a name of this scope");
            } else if found
                .iter()
                .any(|(pattern, _)| !pattern.as_str().starts_with(name.as_str()))
            {
                leave(
                    proposal,
                    file,
                    scope,
                    "engines write a registry in lower case: its names are refused",
                );
                other_case.extend(found);
            } else {
                namespaces.push(scope);
            }
        }
    }
    for scope in &namespaces {
        add_namespace(proposal, file, scope, &namespaces, tags_unbound);
    }
    let mut of_repository: BTreeMap<String, Vec<&Scope>> = BTreeMap::new();
    for (repository, scope) in tagged {
        of_repository.entry(repository).or_default().push(scope);
    }
    for (repository, scopes) in of_repository {
        add_tagged(proposal, file, &repository, &scopes, &namespaces);
    }
    for (pattern, _) in other_case {
        proposal.refuse(
            pattern.as_str(),
            "another scope differs in the registry's letters alone",
        );
    }
}

fn leave(proposal: &mut Proposal, file: &str, scope: &Scope, why: &str) {
    let what = match &scope.requires {
        Requires::Nothing => ": insecureAcceptAnything",
        Requires::Reject => ": reject",
        Requires::Signatures(_) => ": sigstoreSigned",
        Requires::Unsayable(_) => "",
    };
    proposal.leave(file, format!("docker {}{what}", scope.name), why);
}

fn add_namespace(
    proposal: &mut Proposal,
    file: &str,
    scope: &Scope,
    others: &[&Scope],
    tags_unbound: bool,
) {
    let refuse = |proposal: &mut Proposal, why: &str| {
        for (pattern, _) in patterns(&scope.name) {
            proposal.refuse(pattern.as_str(), why);
        }
    };
    match &scope.requires {
        Requires::Nothing => leave(proposal, file, scope, UNSIGNED),
        Requires::Reject => refuse(proposal, "the source rejects it"),
        Requires::Unsayable(why) => {
            leave(proposal, file, scope, why);
            refuse(proposal, LEFT_BEHIND);
        }
        Requires::Signatures(all) => {
            for note in notes(all, tags_unbound) {
                leave(proposal, file, scope, note);
            }
            for part in parts(&scope.name, all, others) {
                for (pattern, below) in patterns(&part) {
                    add_rule(proposal, file, (&part, below, &pattern), all, tags_unbound);
                }
            }
        }
    }
}

/// The scope, and the parts of it whose signed name is another one and that no other scope means.
fn parts(scope: &str, all: &[SignedBy], others: &[&Scope]) -> Vec<String> {
    let mut parts = vec![scope.to_owned()];
    for one in all {
        if let SignedIdentity::Remapped { prefix, .. } = &one.identity
            && prefix != scope
            && is_within(prefix, scope)
            && !parts.contains(prefix)
            && !others.iter().any(|other| {
                other.name != scope
                    && is_within(&other.name, scope)
                    && is_within(prefix, &other.name)
            })
        {
            parts.push(prefix.clone());
        }
    }
    parts
}

fn add_rule(
    proposal: &mut Proposal,
    file: &str,
    (part, below, pattern): (&str, bool, &Pattern),
    all: &[SignedBy],
    tags_unbound: bool,
) {
    let names: Result<Vec<_>, Problem> = all
        .iter()
        .map(|one| signed_name(&one.identity, part, below))
        .collect();
    let same = names.and_then(|names| match names.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(first.clone()),
        _ => Err(Problem::new(
            "its requirements want different names, and a rule has one signed-as",
        )),
    });
    match same {
        Ok(signed_as) => {
            let signers = all.iter().map(|one| Signers::Cosign {
                keys: one.keys.clone(),
                reference: one.identity != SignedIdentity::Repository || !tags_unbound,
            });
            let signed_as = signed_as.filter(|name| name != pattern.as_str());
            proposal.require(pattern.as_str(), signers.collect(), signed_as);
        }
        Err(why) => {
            proposal.leave(file, format!("docker {pattern}: sigstoreSigned"), why.what);
            proposal.refuse(pattern.as_str(), LEFT_BEHIND);
        }
    }
}

/// The pattern of the name that a signature gives, if it is another one.
fn signed_name(
    identity: &SignedIdentity,
    part: &str,
    below: bool,
) -> Result<Option<String>, Problem> {
    let name = match identity {
        SignedIdentity::WholeName | SignedIdentity::Repository => {
            return Ok(None);
        }
        SignedIdentity::OtherRepository(other) if below => {
            return Err(Problem::new(format!(
                "all names below it would be signed as {other}, and signed-as carries what ** means over"
            )));
        }
        SignedIdentity::OtherRepository(other) => other.clone(),
        SignedIdentity::Remapped { prefix, .. } if !is_within(part, prefix) => return Ok(None),
        SignedIdentity::Remapped {
            prefix,
            signed_prefix,
        } => {
            let rest = part.get(prefix.len()..).unwrap_or_default();
            let wildcard = if below { "/**" } else { "" };
            format!("{signed_prefix}{rest}{wildcard}")
        }
    };
    match name.parse::<Pattern>() {
        Ok(pattern) if pattern.as_str() == name => Ok(Some(name)),
        _ => Err(Problem::new(format!(
            "the signed name {name} is no name in full form"
        ))),
    }
}

/// In which points a rule is not what its source is.
fn notes(all: &[SignedBy], tags_unbound: bool) -> Vec<&'static str> {
    let has = |identity| all.iter().any(|one| one.identity == identity);
    let mut notes = Vec::new();
    if has(SignedIdentity::Repository) {
        notes.push(if tags_unbound {
            "matchRepository: a signature by its keys for another repository counts too, and so does one for any tag, as --tags-unbound says"
        } else {
            "matchRepository: here the signature must name the tag too, as podman and skopeo sign it; cosign signs none: --tags-unbound takes its signatures, and then who can push can move a tag to any image that these keys signed"
        });
    }
    if all
        .iter()
        .any(|one| matches!(one.identity, SignedIdentity::OtherRepository(_)))
    {
        notes.push("exactRepository: here the signature must name the tag that is asked for");
    }
    notes
}

/// Scopes of single tags and digests. A rule is for all tags, so where they differ none is allowed.
fn add_tagged(
    proposal: &mut Proposal,
    file: &str,
    repository: &str,
    scopes: &[&Scope],
    namespaces: &[&Scope],
) {
    let of_all = namespaces
        .iter()
        .filter(|scope| is_within(repository, &scope.name))
        .max_by_key(|scope| scope.name.len());
    let all = of_all.and_then(|scope| match &scope.requires {
        Requires::Signatures(all) => Some(all),
        _ => None,
    });
    for scope in scopes {
        let same = match (&scope.requires, all) {
            (Requires::Signatures(own), Some(all)) => {
                own.len() == all.len()
                    && own
                        .iter()
                        .all(|one| all.iter().any(|other| one.is_same(other)))
            }
            // A rule refuses the repository's other tags too.
            (Requires::Reject, None) => {
                of_all.is_some_and(|scope| matches!(scope.requires, Requires::Reject))
            }
            _ => false,
        };
        if same {
            continue;
        }
        let why = match &scope.requires {
            Requires::Nothing => {
                leave(proposal, file, scope, UNSIGNED);
                continue;
            }
            Requires::Unsayable(why) => why.as_str(),
            Requires::Reject | Requires::Signatures(_) => {
                "a rule is for all tags of a repository, and this scope for one"
            }
        };
        leave(proposal, file, scope, why);
        if let Ok(pattern) = repository.parse::<Pattern>()
            && pattern.is_exact()
        {
            let why = format!(
                "{} differs from other tags, and a rule is for all of them",
                scope.name
            );
            proposal.refuse(pattern.as_str(), &why);
        }
    }
}

/// Refuses each rule of a part of the names. `refuses` hears where the names begin, and whether that
/// is the one name itself, and says why it refuses them.
pub(super) fn refuse_within(
    proposal: &mut Proposal,
    refuses: impl Fn(&str, bool) -> Option<String>,
) {
    let meant: Vec<(String, String)> = proposal
        .rules
        .iter()
        .filter(|(_, rule)| !matches!(rule, ImportedRule::Refused(_)))
        .filter_map(|(pattern, _)| {
            let beginning = pattern.trim_end_matches("/**");
            let why = refuses(beginning, beginning == pattern.as_str())?;
            Some((pattern.clone(), why))
        })
        .collect();
    for (pattern, why) in meant {
        proposal.refuse(&pattern, &why);
    }
}
