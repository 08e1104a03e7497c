//! What a host's report, or a line of its audit file, says of an image, and on what evidence.

use std::borrow::Cow;

use jiff::Timestamp;
use rootpin_policy::{IndexSigning, Policy};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, KeyId};
use serde::Deserialize;

use super::asked::Asked;
use super::borrowed_text::Text;
use super::parts::{ReportedParts, RevokedDigests};
use super::pulled::{Pulled, is_bare, pulled};
use crate::decide::is_of_proof;

/// Who let a no through, where it was root.
const BREAK_GLASS: &str = "break-glass";

/// A report of `rootpin audit --json`, as far as a simulation reads it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Report<'a> {
    pub(super) version: u64,
    #[serde(borrow)]
    pub(super) host: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) at: Cow<'a, str>,
    pub(super) policy: Option<ReportedPolicy>,
    pub(super) roots: Vec<ReportedRoot>,
    #[serde(borrow)]
    pub(super) images: Vec<ReportedImage<'a>>,
    #[serde(borrow, default)]
    pub(super) parts: ReportedParts<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ReportedPolicy {
    #[serde(default)]
    pub(super) hash: Option<String>,
    #[serde(default)]
    pub(super) revoked_keys: Option<Vec<KeyText>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ReportedRoot {
    pub(super) id: String,
    #[serde(default)]
    pub(super) sources: Vec<String>,
    #[serde(default)]
    pub(super) terms: Option<String>,
    #[serde(default)]
    pub(super) held: Vec<ReportedHeld>,
}

/// What a host holds of a root.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ReportedHeld {
    #[serde(default)]
    pub(super) root_expires: Option<String>,
}

/// One image of a report.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ReportedImage<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) digest: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) judgement: Option<Reported<'a>>,
}

/// The answer that a report gives.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Reported<'a> {
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(default)]
    pub(super) let_through: bool,
    #[serde(borrow)]
    let_through_by: Option<Text<'a>>,
    #[serde(borrow)]
    index: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ground: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) rule: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) roots: Vec<Word<'a>>,
    #[serde(borrow)]
    pub(super) found: Option<Text<'a>>,
}

/// What one root said.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Word<'a> {
    #[serde(borrow)]
    pub(super) root: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) repository: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    #[serde(default)]
    pub(super) root_keys: Vec<KeyText>,
    #[serde(default)]
    pub(super) signers: Vec<KeyText>,
    #[serde(borrow)]
    pub(super) contact: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) expires: Option<Text<'a>>,
}

impl ReportedImage<'_> {
    /// Of its answer, if it has one.
    pub(super) fn outcome(&self) -> Option<&str> {
        self.judgement.as_ref().map(|judged| &*judged.outcome)
    }
}

/// A line of the audit file, as far as a simulation reads it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Record<'a> {
    pub(super) version: u64,
    #[serde(borrow)]
    pub(super) host: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) policy: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) digest: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) code: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ground: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) rule: Option<Text<'a>>,
    pub(super) roots: Vec<String>,
    #[serde(borrow)]
    pub(super) found: Option<Text<'a>>,
    pub(super) let_through: bool,
    #[serde(borrow)]
    let_through_by: Option<Text<'a>>,
    #[serde(borrow, default)]
    door: Cow<'a, str>,
    #[serde(borrow, default)]
    namespaces: Vec<Cow<'a, str>>,
}

/// A canonical key ID as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyText(pub(super) Option<KeyId>);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::<'de>::deserialize(deserializer)?;
        Ok(Self(text.parse().ok()))
    }
}

/// An image, the answer that it had, and what that answer proves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) name: ImageRef,
    pub(super) digest: Digest,
    /// Its parts that some policy at hand revokes; `None` where its parts are not known.
    pub(super) revoked_parts: Option<Vec<Digest>>,
    /// What the host was asked.
    pub(super) asked: Asked,
    pub(super) was: Was,
    /// Whether signatures of all that an index lists counted as one of the index; `None` where that
    /// is not known.
    pub(super) by_manifests: Option<bool>,
    pub(super) votes: Vec<Vote>,
    /// The one root that was asked and said no, and about which repository.
    pub(super) no: Option<(String, String, Code, String)>,
}

/// The answer that an image had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Was {
    pub(super) outcome: String,
    pub(super) why: String,
    /// By the policy.
    pub(super) let_through: bool,
    /// By root on the host, which no policy decides.
    pub(super) by_glass: bool,
    pub(super) rule: Option<String>,
}

/// A root that vouched for the image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vote {
    pub(super) root: String,
    pub(super) repository: String,
    pub(super) role: String,
    /// `None` where they are not known.
    pub(super) root_keys: Option<Vec<KeyId>>,
    pub(super) signers: Option<Vec<KeyId>>,
    pub(super) contact: Contact,
}

/// How old a root's evidence was when a host reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Contact {
    /// Of that time, or it is not known.
    At(Option<Timestamp>),
    /// Whether it is older than a policy's `offline` allows.
    TooOld(bool),
}

impl Contact {
    /// By that policy, for a report of that time.
    pub(super) fn is_too_old(self, policy: &Policy, at: Timestamp) -> bool {
        match self {
            Self::TooOld(known) => known,
            Self::At(contact) => {
                let limit = contact.and_then(|time| time.checked_add(policy.limits.offline).ok());
                limit.is_some_and(|limit| limit < at)
            }
        }
    }
}

fn known(keys: Vec<KeyText>) -> Option<Vec<KeyId>> {
    let keys: Option<Vec<KeyId>> = keys.into_iter().map(|key| key.0).collect();
    keys.filter(|keys| !keys.is_empty())
}

impl Seen {
    /// `None` for an image that no pull could mean.
    ///
    /// # Errors
    /// The host judged it, and its name or digest is none.
    pub(super) fn of_image(
        image: ReportedImage<'_>,
        (revoked, parts): (&RevokedDigests, &ReportedParts<'_>),
    ) -> Result<Option<Self>, String> {
        let of = image.digest.as_deref();
        let revoked_parts = of.and_then(|digest| revoked.among(parts, digest));
        let is_judged = image.judgement.is_some();
        let (name, digest) = match pulled(&image.name, image.digest.as_deref(), is_judged) {
            Pulled::Image(name, digest) => (name, digest),
            Pulled::Nothing => return Ok(None),
            Pulled::Unread(why) => return Err(why),
        };
        let Some(reported) = image.judgement else {
            return Ok(Some(Self::unknown(name, digest, revoked_parts)));
        };
        let by_glass = reported.let_through_by.as_deref() == Some(BREAK_GLASS);
        let by_manifests = match reported.index.as_deref() {
            Some("by-manifests") => Some(true),
            Some("signed") => Some(false),
            _ => None,
        };
        let was = Was {
            why: why(reported.code.as_deref(), reported.ground.as_deref()),
            outcome: reported.outcome.into_owned(),
            let_through: reported.let_through && !by_glass,
            by_glass,
            rule: reported.rule.map(Text::into_owned),
        };
        let is_yes = was.outcome == "allowed";
        let is_no = was.outcome == "refused";
        let code = reported.code.as_deref().and_then(code_of);
        let found = reported.found.map(Text::into_owned).unwrap_or_default();
        let mut roots = reported.roots;
        let no = match (roots.as_mut_slice(), code) {
            ([only], Some(code)) if is_no => {
                let repository = only.repository.take().map(Text::into_owned);
                repository.map(|of| (only.root.to_string(), of, code, found))
            }
            _ => None,
        };
        let vote = |word: Word<'_>| {
            Some(Vote {
                root: word.root.into_owned(),
                repository: word.repository?.into_owned(),
                role: word.role.map(Text::into_owned).unwrap_or_default(),
                root_keys: known(word.root_keys),
                signers: known(word.signers),
                contact: Contact::At(word.contact.and_then(|at| at.parse().ok())),
            })
        };
        let votes = roots.into_iter().filter(|_| is_yes).filter_map(vote);
        Ok(Some(Self {
            name,
            digest,
            revoked_parts,
            asked: Asked::Pull,
            was,
            by_manifests,
            votes: votes.collect(),
            no,
        }))
    }

    /// The same for a policy that revokes no digest anew: what it is made of decides nothing.
    pub(super) fn with_known_parts(mut self) -> Self {
        self.revoked_parts.get_or_insert_default();
        self
    }

    /// The same without the times of contact, in which hosts differ: all that an answer by that
    /// policy rests on.
    pub(super) fn without_times(mut self, policy: &Policy, at: Timestamp) -> Self {
        for vote in &mut self.votes {
            vote.contact = Contact::TooOld(vote.contact.is_too_old(policy, at));
        }
        self
    }

    /// `None` for a question without a name or a digest. `by`: the policy that the daemon had in
    /// force then.
    ///
    /// # Errors
    /// Its name or digest is none.
    pub(super) fn of_record(
        record: Record<'_>,
        by: Option<&Policy>,
    ) -> Result<Option<Self>, String> {
        let (Some(name), Some(digest)) = (&record.name, &record.digest) else {
            return Ok(None);
        };
        let (name, digest) = match pulled(name, Some(&**digest), true) {
            Pulled::Image(name, digest) => (name, digest),
            Pulled::Nothing => return Ok(None),
            Pulled::Unread(why) => return Err(why),
        };
        // While it proves its doors, the daemon judges the proof's own names by another policy.
        if is_of_proof(&name.repository) {
            return Ok(None);
        }
        let name = if is_bare(record.name.as_deref(), &name) {
            ImageRef { tag: None, ..name }
        } else {
            name
        };
        let rule = by.and_then(|policy| policy.rule_for(&name.repository));
        let asked_name = |id: &str| {
            let root = by?.roots.get(id)?;
            let repository = rule?.asked_name(root, &name.repository)?;
            Some(repository.to_string())
        };
        let by_glass = record.let_through_by.as_deref() == Some(BREAK_GLASS);
        let asked = Asked::at(&record.door, record.ground.as_deref(), record.namespaces);
        let was = Was {
            why: why(record.code.as_deref(), record.ground.as_deref()),
            outcome: record.outcome.into_owned(),
            let_through: record.let_through && !by_glass,
            by_glass,
            rule: record.rule.map(Text::into_owned),
        };
        let code = record.code.as_deref().and_then(code_of);
        let found = record.found.map(Text::into_owned).unwrap_or_default();
        let no = match (record.roots.as_slice(), code) {
            ([only], Some(code)) if was.outcome == "refused" => {
                asked_name(only).map(|of| (only.clone(), of, code, found))
            }
            _ => None,
        };
        let vote = |root: String| {
            Some(Vote {
                repository: asked_name(&root)?,
                root,
                role: String::new(),
                root_keys: None,
                signers: None,
                contact: Contact::At(None),
            })
        };
        let is_yes = was.outcome == "allowed";
        let roots = record.roots.into_iter().filter(|_| is_yes);
        let votes = roots.filter_map(vote).collect();
        let by_manifests = rule.map(|rule| rule.index == IndexSigning::OrManifests);
        Ok(Some(Self {
            name,
            digest,
            revoked_parts: None,
            asked,
            was,
            by_manifests,
            votes,
            no,
        }))
    }

    fn unknown(name: ImageRef, digest: Digest, revoked_parts: Option<Vec<Digest>>) -> Self {
        let was = Was {
            outcome: "unjudged".to_owned(),
            why: "-".to_owned(),
            let_through: false,
            by_glass: false,
            rule: None,
        };
        Self {
            name,
            digest,
            revoked_parts,
            asked: Asked::Pull,
            was,
            by_manifests: None,
            votes: Vec::new(),
            no: None,
        }
    }
}

fn why(code: Option<&str>, ground: Option<&str>) -> String {
    crate::observe::plain(code.or(ground).unwrap_or("-"))
}

/// A code of a judged no.
fn code_of(text: &str) -> Option<Code> {
    let mut all = Code::ALL.iter().copied();
    all.find(|code| code.as_str() == text && code.judged())
}
