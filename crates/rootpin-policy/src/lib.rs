//! Loads a host's policy, whole or not at all, and judges questions by it.
//!
//! Pure: files come in through [`Files`], `now` is an argument. [`load()`] is the only way to a
//! [`Policy`].

mod break_glass;
mod duration;
mod entry;
mod files;
mod finding;
pub mod judge;
mod load;
mod metadata_url;
mod pattern;
mod pattern_tree;
mod root;
mod settings;
mod spelling;
mod supposing;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::KeyId;
use rootpin_trust::image::{Digest, Repository, Tag};

pub use break_glass::{BreakGlass, BreakGlassUse, NoBreakGlass};
pub use duration::parse_positive as parse_duration;
pub use entry::{AllowedLint, BoundImage, Exempt, IndexSigning, Rule};
pub use files::{Files, Unreadable, hash};
pub use finding::{Diagnostic, Fault, FindingCode, Location, Severity};
pub use load::load;
pub use metadata_url::MetadataUrl;
pub use pattern::{Pattern, Specificity};
pub use pattern_tree::PatternTree;
pub use root::{Binding, KeyEntry, NotaryRoot, Root, RootKind, TufRoot};
pub use settings::{CredentialsTo, Docker, Limits, Local, Mode, SweepAction};
pub use spelling::nearest;
pub use supposing::{Supposed, Supposing, Supposition};
pub use text::PolicyText;

/// The directory of a host's policy where nothing else is said.
pub const DEFAULT_DIR: &str = "/etc/rootpin";

/// A policy in which everything was understood.
#[derive(Debug)]
pub struct Policy {
    /// What identifies it: a hash over every file that it was read from.
    pub hash: Digest,
    /// The directory that it was read from, to be told to people.
    pub dir: Option<String>,
    pub(crate) mode: Mode,
    /// When audit mode ends, if the policy says so.
    pub audit_until: Option<Timestamp>,
    /// Roots by id.
    pub roots: BTreeMap<String, Arc<Root>>,
    /// Rules in the order of the files.
    pub rules: Vec<Rule>,
    /// Bytes that came from no registry.
    pub local: Local,
    /// Bounds on exemptions, on outages and on break-glass.
    pub limits: Limits,
    /// What dockerd may be asked for.
    pub docker: Docker,
    /// What a sweep does with what is not admitted.
    pub sweep: SweepAction,
    /// Whether `rootpin prove` may set up a root of its own for a minute.
    pub prove: bool,
    /// Whether root may let pass for a while what this policy refuses.
    pub break_glass: BreakGlassUse,
    /// Who may be given this host's credentials.
    pub credentials_to: CredentialsTo,
    /// Findings of `policy lint` that may stay.
    pub allowed_lints: Vec<AllowedLint>,
    /// The texts of `policy.toml` and its fragments, in this order.
    pub texts: Vec<PolicyText>,
    /// What is legal and yet hardly meant, once somebody has looked for that: [`load()`] finds none
    /// of it.
    pub warnings: Vec<Diagnostic>,
    /// By a fragment's file: the names that it may speak of.
    pub owned: BTreeMap<String, Pattern>,
    images: BTreeMap<Repository, BTreeMap<Tag, BoundImage>>,
    exempts: Vec<Exempt>,
    revoked_digests: BTreeMap<Digest, String>,
    revoked_keys: BTreeSet<KeyId>,
    revoked_key_reasons: BTreeMap<KeyId, String>,
}

impl Policy {
    /// The rule for a name: of those that match the most specific one.
    #[must_use]
    pub fn rule_for(&self, repository: &Repository) -> Option<&Rule> {
        let matching = self.rules_for(repository);
        matching.max_by_key(|rule| rule.pattern.specificity())
    }

    /// Every rule that matches a name.
    pub fn rules_for(&self, repository: &Repository) -> impl Iterator<Item = &Rule> {
        let matches = |rule: &&Rule| rule.pattern.matches(repository);
        self.rules.iter().filter(matches)
    }

    /// What happens on a "no" where no rule says otherwise. `now`: `None` while the clock can't be
    /// right; then audit mode that has an end counts as ended.
    #[must_use]
    pub fn mode_at(&self, now: Option<Timestamp>) -> Mode {
        match self.audit_until {
            Some(until) if !is_before(now, until) => Mode::Enforce,
            _ => self.mode,
        }
    }

    /// What happens on a "no" about a name: audit until the rule's `audit-until`, then as
    /// [`Self::lasting_mode_for`].
    #[must_use]
    pub fn mode_for(&self, repository: &Repository, now: Option<Timestamp>) -> Mode {
        self.mode_for_no(repository, now, false)
    }

    /// The policy's mode, or that of the name's rule where it is stricter, whatever `audit-until`
    /// the rule has: for bytes that are revoked or bound.
    #[must_use]
    pub fn lasting_mode_for(&self, repository: &Repository, now: Option<Timestamp>) -> Mode {
        self.mode_for_no(repository, now, true)
    }

    /// `is_lasting`: whatever `audit-until` the rule has.
    pub(crate) fn mode_for_no(
        &self,
        repository: &Repository,
        now: Option<Timestamp>,
        is_lasting: bool,
    ) -> Mode {
        match self.rule_for(repository) {
            Some(rule) if !is_lasting && rule.is_on_trial(now) => Mode::Audit,
            rule => {
                let own = rule.and_then(|rule| rule.mode);
                self.mode_at(now).max(own.unwrap_or(Mode::Audit))
            }
        }
    }

    /// What happens on a "no" about something whose name is not known, and which any rule may
    /// cover.
    #[must_use]
    pub fn strictest_mode(&self, now: Option<Timestamp>) -> Mode {
        let of_rules = self.rules.iter().filter_map(|rule| rule.mode);
        of_rules.fold(self.mode_at(now), Mode::max)
    }

    /// The `[[image]]` of a name with tag.
    #[must_use]
    pub fn image(&self, repository: &Repository, tag: &Tag) -> Option<&BoundImage> {
        self.images.get(repository)?.get(tag)
    }

    /// Every `[[image]]`.
    pub fn images(&self) -> impl Iterator<Item = &BoundImage> {
        self.images.values().flat_map(BTreeMap::values)
    }

    /// Every `[[image]]` of a repository.
    pub fn images_of(&self, repository: &Repository) -> impl Iterator<Item = &BoundImage> {
        self.images
            .get(repository)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Every exemption of a name, also those that are over: [`Exempt::is_over`].
    pub fn exempts_for(&self, repository: &Repository) -> impl Iterator<Item = &Exempt> {
        self.exempts
            .iter()
            .filter(|exempt| exempt.pattern.matches(repository))
    }

    /// Every exemption, also those that are over.
    #[must_use]
    pub fn exempts(&self) -> &[Exempt] {
        &self.exempts
    }

    /// Why a digest (of an index, a manifest, a config or a layer) is revoked, if it is.
    #[must_use]
    pub fn revoked_digest(&self, digest: &Digest) -> Option<&str> {
        self.revoked_digests.get(digest).map(String::as_str)
    }

    /// The first of these digests that is revoked, and why.
    pub(crate) fn first_revoked<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Option<(Digest, &str)> {
        let mut digests = digests.into_iter();
        digests.find_map(|digest| Some((*digest, self.revoked_digest(digest)?)))
    }

    /// Every revoked digest, and why.
    pub fn revoked_digests(&self) -> impl Iterator<Item = (&Digest, &str)> {
        let all = self.revoked_digests.iter();
        all.map(|(digest, reason)| (digest, reason.as_str()))
    }

    /// Whether any digest is revoked.
    #[must_use]
    pub fn revokes_digests(&self) -> bool {
        !self.revoked_digests.is_empty()
    }

    /// Canonical IDs of the keys whose signatures count nowhere.
    #[must_use]
    pub fn revoked_keys(&self) -> &BTreeSet<KeyId> {
        &self.revoked_keys
    }

    /// Why a key is revoked, if it is.
    #[must_use]
    pub fn revoked_key(&self, key: &KeyId) -> Option<&str> {
        self.revoked_key_reasons.get(key).map(String::as_str)
    }

    /// Whether a registry may be asked for what is pulled from it: one that some entry names; any,
    /// where what no entry covers is only audited.
    #[must_use]
    pub fn may_ask(&self, host: &str, now: Option<Timestamp>) -> bool {
        self.mode_at(now) == Mode::Audit || self.hosts().contains(host)
    }

    /// Every registry host that the policy names, to be told beside a name that no rule covers.
    #[must_use]
    pub fn hosts(&self) -> BTreeSet<&str> {
        let rules = self.rules.iter().map(|rule| rule.pattern.host());
        let exempts = self.exempts.iter().map(|exempt| exempt.pattern.host());
        rules
            .chain(exempts)
            .chain(self.images.keys().map(Repository::host))
            .collect()
    }
}

/// Whether the time is known and lies before that one.
fn is_before(now: Option<Timestamp>, until: Timestamp) -> bool {
    now.is_some_and(|now| now < until)
}
