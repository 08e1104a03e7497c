//! The entries that cover names: `[[rule]]`, `[[image]]` and `[[exempt]]`; and `[[allow-lint]]`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, Repository, Tag};
use rootpin_trust::tuf;

use crate::finding::Location;
use crate::{Mode, Pattern, Root};

/// The roots that must sign the names that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The names.
    pub pattern: Pattern,
    /// The roots to ask; none: the names are refused.
    pub roots: Vec<Arc<Root>>,
    /// How many of the roots must map the name to the digest.
    pub quorum: usize,
    /// The rule's own mode, which is no looser than the policy's.
    pub mode: Option<Mode>,
    /// Until when a refusal by this rule is recorded, and the image let through.
    pub audit_until: Option<Timestamp>,
    /// The name that the signed statement must carry, where it is not the asked one.
    pub signed_as: Option<Pattern>,
    /// Whether a quorum may come together that binds no tag: a person decided that a moved tag
    /// passes.
    pub tags_unbound: bool,
    /// What must be signed of an index.
    pub index: IndexSigning,
    /// Whether no fragment may take names from it.
    pub is_final: bool,
    /// Whether these names may be pulled with this host's credentials.
    pub credentials: bool,
    /// Where it stands.
    pub location: Location,
}

rootpin_trust::codes! {
    /// What must be signed of an image's index.
    pub enum IndexSigning;
    Itself = "signed", "the index, whose signature counts for every platform's manifest";
    OrManifests = "by-manifests", "the index, or each manifest that it lists";
}

/// A name with tag, and the only digests that it may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundImage {
    /// The repository.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// All digests listed for the name.
    pub digests: BTreeSet<Digest>,
    /// Where it stands first.
    pub location: Location,
}

/// Names, or bytes, that need no signature for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// The names.
    pub pattern: Pattern,
    /// When it ends.
    pub until: Timestamp,
    /// Why it is there.
    pub reason: String,
    /// The only bytes that it is for; `None`: any bytes under the names.
    pub digests: Option<BTreeSet<Digest>>,
    /// Where it stands.
    pub location: Location,
}

/// `[[allow-lint]]`: findings of `rootpin policy lint` that may stay. No decision rests on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedLint {
    /// The kind of finding, as it is written.
    pub code: String,
    /// Why it may stay.
    pub reason: String,
    /// Only findings about entries within this pattern.
    pub pattern: Option<Pattern>,
    /// Only findings about the root with this id.
    pub root: Option<String>,
    /// Where it stands.
    pub location: Location,
}

impl Rule {
    /// The name that the signed statement must carry for this repository.
    ///
    /// `None` where `signed-as` gives no repository in full form (`docker.io/alpine`): then no
    /// statement can exist.
    #[must_use]
    pub fn signed_name(&self, repository: &Repository) -> Option<Repository> {
        match &self.signed_as {
            Some(signed_as) => signed_as.carry_over(&self.pattern, repository),
            None => Some(repository.clone()),
        }
    }

    /// The repository that a root of the rule is asked about for this one; `None` as for
    /// [`Self::signed_name`].
    #[must_use]
    pub fn asked_name(&self, root: &Root, repository: &Repository) -> Option<Repository> {
        let signed = self.signed_name(repository)?;
        Some(root.asked_name(&signed, repository).clone())
    }

    /// What a root whose signatures are beside the image is asked about it.
    #[must_use]
    pub fn question_of_image(
        &self,
        root: &Root,
        tag: Option<&Tag>,
        digest: Digest,
    ) -> tuf::Question {
        tuf::Question::Image {
            digest,
            tag: tag.filter(|_| root.binds().tag).cloned(),
            by_manifests: self.index == IndexSigning::OrManifests,
            every_signer: false,
        }
    }

    /// Whether its refusals are let through now, by `audit-until`. `now`: `None` while the clock
    /// can't be right, which ends it.
    #[must_use]
    pub fn is_on_trial(&self, now: Option<Timestamp>) -> bool {
        let until = self.audit_until;
        until.is_some_and(|until| crate::is_before(now, until))
    }

    /// Whether enough of its roots bind no tag to make the quorum without one that does.
    #[must_use]
    pub fn may_bind_no_tag(&self) -> bool {
        self.roots.iter().filter(|root| !root.binds().tag).count() >= self.quorum
    }
}

impl Exempt {
    /// Whether its time has passed.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

impl fmt::Display for Rule {
    /// `[[rule]] match = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pattern, at) = (&self.pattern, self.location.short());
        write!(formatter, "[[rule]] match = \"{pattern}\" ({at})")
    }
}

impl fmt::Display for BoundImage {
    /// `[[image]] name = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (repository, tag, at) = (&self.repository, &self.tag, self.location.short());
        write!(formatter, "[[image]] name = \"{repository}:{tag}\" ({at})")
    }
}

impl fmt::Display for Exempt {
    /// `[[exempt]] match = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pattern, at) = (&self.pattern, self.location.short());
        write!(formatter, "[[exempt]] match = \"{pattern}\" ({at})")
    }
}
