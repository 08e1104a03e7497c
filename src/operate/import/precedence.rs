//! What counts for a name of which several sources speak: the strictest of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{ImportedKey, ImportedRoot, ImportedRule, Proposal, Signers};

/// What one source says of a name, apart from its proposal.
#[derive(Debug, Clone)]
enum Said {
    Root(ImportedRoot),
    Signed(Vec<Signers>, Option<String>),
    Refused(String),
}

impl Proposal {
    /// Takes another source's proposal in. For each name of which both speak, be it by a broader
    /// pattern, the stricter counts.
    pub(crate) fn merge(&mut self, other: Self, file: &str) {
        let patterns: BTreeSet<String> = self
            .rules
            .keys()
            .chain(other.rules.keys())
            .cloned()
            .collect();
        let mut merged = Self::default();
        let mut notes = Vec::new();
        for pattern in &patterns {
            let (one, two) = (self.says(pattern), other.says(pattern));
            let said = match (one, two) {
                (Some(said), None) | (None, Some(said)) => said,
                (Some(one), Some(two)) => {
                    let (said, note) = strictest(one, two);
                    // A pattern of this source's own is not taken over as it is.
                    if other.rules.contains_key(pattern) {
                        notes.extend(note.map(|note| (pattern, note)));
                    }
                    said
                }
                (None, None) => continue,
            };
            match said {
                Said::Root(root) => merged.allow(pattern, root),
                Said::Signed(signers, signed_as) => merged.require(pattern, signers, signed_as),
                Said::Refused(why) => merged.refuse(pattern, &why),
            }
        }
        self.roots = merged.roots;
        self.signed_roots = merged.signed_roots;
        self.rules = merged.rules;
        self.refused_domains.extend(other.refused_domains);
        self.refuses_rest |= other.refuses_rest;
        self.left_behind.extend(other.left_behind);
        self.seen.extend(other.seen);
        self.unread |= other.unread;
        for (registry, text) in other.hosts {
            self.hosts.entry(registry).or_insert(text);
        }
        for (pattern, note) in notes {
            self.leave(file, format!("its word on {pattern}"), note);
        }
    }

    /// What the rule for these names says: that of the pattern, or of the next broader one. The
    /// patterns of a proposal are whole names, or end in `/**`.
    fn says(&self, pattern: &str) -> Option<Said> {
        let mut rule = self.rules.get(pattern);
        let is_own = rule.is_some();
        let mut above = pattern.trim_end_matches("/**");
        while rule.is_none()
            && let Some((folder, _)) = above.rsplit_once('/')
        {
            rule = self.rules.get(&format!("{folder}/**"));
            above = folder;
        }
        let Some(rule) = rule else {
            return self.refusing_domain(pattern).map(Said::Refused);
        };
        Some(match rule {
            ImportedRule::Refused(why) => Said::Refused(why.clone()),
            ImportedRule::Root(at) => Said::Root(self.roots.get(*at)?.clone()),
            // What the name is signed as would be another one for a part of the names.
            ImportedRule::Signed(rule) if rule.signed_as.is_some() && !is_own => {
                Said::Refused(DIFFERENT.to_owned())
            }
            ImportedRule::Signed(rule) => {
                let roots = rule
                    .roots
                    .iter()
                    .filter_map(|at| self.signed_roots.get(*at));
                let signers = roots.map(|root| root.signers.clone());
                Said::Signed(signers.collect(), rule.signed_as.clone())
            }
        })
    }
}

impl Proposal {
    /// Why the registry of a pattern is refused, if it is below a domain that is. A port is none of
    /// its name, as podman has it.
    fn refusing_domain(&self, pattern: &str) -> Option<String> {
        let host = pattern.split(['/', ':']).next()?;
        let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
        let mut domains = dots.filter_map(|(at, _)| host.get(at + 1..));
        domains.find_map(|domain| self.refused_domains.get(domain).cloned())
    }
}

const DIFFERENT: &str = "what two sources want of these names is different, so they are refused: write the rule that you mean";

/// What both allow, and what of the second is not carried over.
fn strictest(one: Said, two: Said) -> (Said, Option<String>) {
    let refused = |why: &str| Said::Refused(why.to_owned());
    match (one, two) {
        (Said::Refused(why), Said::Refused(_)) => (Said::Refused(why), None),
        (Said::Refused(why), _) => {
            let note = format!("another source refuses these names: {why}");
            (Said::Refused(why), Some(note))
        }
        (_, Said::Refused(why)) => (Said::Refused(why), None),
        (Said::Root(one), Said::Root(two)) => of_roots(one, two),
        (Said::Signed(one, as_one), Said::Signed(two, as_two))
            if as_one == as_two && identities(&one) == identities(&two) =>
        {
            (Said::Signed(one, as_one), None)
        }
        _ => (refused(DIFFERENT), Some(DIFFERENT.to_owned())),
    }
}

fn identities(signers: &[Signers]) -> BTreeSet<(&'static str, BTreeSet<String>, BTreeSet<&str>)> {
    signers.iter().map(Signers::identity).collect()
}

/// What a person pinned counts before what a client saw first; of two pins, the keys that both have.
fn of_roots(one: ImportedRoot, two: ImportedRoot) -> (Said, Option<String>) {
    let (pinned, seen) = match (one.is_confirmed(), two.is_confirmed()) {
        (true, false) => (one, two),
        (false, true) => (two, one),
        (confirmed, _) => return both(one, &two, confirmed),
    };
    let unpinned: BTreeSet<String> = seen
        .keys
        .iter()
        .filter(|key| !pinned.keys.iter().any(|pin| pin.id == key.id))
        .map(|key| key.id.to_string())
        .collect();
    let note = (!unpinned.is_empty()).then(|| {
        let ids: Vec<String> = unpinned.into_iter().collect();
        format!(
            "what this host saw first is not what is pinned for it, and the pin counts: {}",
            ids.join(", ")
        )
    });
    (Said::Root(pinned), note)
}

fn both(one: ImportedRoot, two: &ImportedRoot, confirmed: bool) -> (Said, Option<String>) {
    let others: BTreeMap<_, &ImportedKey> = two.keys.iter().map(|key| (key.id, key)).collect();
    let mut keys = one.keys.clone();
    keys.retain(|key| others.contains_key(&key.id));
    // Which role must name an image is no matter of taste where both pin.
    if keys.is_empty() || (confirmed && one.role != two.role) {
        return (
            Said::Refused(DIFFERENT.to_owned()),
            Some(DIFFERENT.to_owned()),
        );
    }
    for key in &mut keys {
        let other = others.get(&key.id).and_then(|other| other.key.clone());
        key.key = key.key.take().or(other);
    }
    let is_whole = keys.len() == two.keys.len() && one.server == two.server;
    let note = "only the keys that both sources have count, at the server of the first";
    let note = (!is_whole).then(|| note.to_owned());
    (Said::Root(ImportedRoot { keys, ..one }), note)
}
