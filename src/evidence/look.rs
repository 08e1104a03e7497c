//! One question's look at one root: its time, its deadline, and how long the cache may serve.

use std::fmt::Display;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::due::{AGAIN, MetadataTimes, later};
use super::statement::MetadataOrigin;
use crate::sources::{RegistryReplies, SourceError};
use rootpin_policy::{Policy, Root};
use rootpin_trust::image::Repository;
use rootpin_trust::{Code, Refusal};

/// What to do where no place answers.
pub(super) const CHECK_PLACES: &str = "check the addresses that the root names, their certificates and the network between; of a file:// place, that it is there and mounted";

/// One question's look at one root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootLook<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) root: &'a Root,
    /// Where the image itself is, which may be signed under another name: its signatures are there.
    pub(crate) beside: Option<&'a Repository>,
    pub(crate) now: Timestamp,
    /// When the question came in, and until when sources may be asked for it.
    pub(crate) begun: Instant,
    pub(crate) deadline: Instant,
    /// Whether what is at hand doesn't have what was asked for: it may have been signed a moment
    /// ago, so the source is asked before its time.
    pub(crate) again: bool,
    /// Where a person asks: what the registries answered for this question, as all signatures are
    /// looked for.
    pub(crate) replies: Option<&'a RegistryReplies>,
}

/// Why a source gave no metadata that holds.
#[derive(Debug, Clone)]
pub(super) enum SourceFailure {
    /// Nobody answered: what the cache holds may serve.
    Silent(String),
    /// An answer, and it is no.
    No {
        refusal: Refusal,
        /// Whether the refusal names the source: it is the source's own answer, and not what was
        /// found in its files.
        names_source: bool,
    },
}

impl SourceFailure {
    /// The refusal that it is where nothing else answers.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::No { refusal, .. } => refusal,
            Self::Silent(why) => Refusal::new(
                Code::SourceUnreachable,
                format!("no answer: {why}"),
                "the answer of one of the root's places",
                CHECK_PLACES,
            ),
        }
    }

    /// Why a role's file did not come. Of a role that signed metadata lists, a file that is longer
    /// than it may be is another one in its place.
    pub(super) fn of_file(role: &str, error: SourceError) -> Self {
        let is_listed = !matches!(role, "root" | "timestamp");
        let longer = is_listed && matches!(error, SourceError::TooLarge { .. });
        match Self::from(error) {
            Self::No {
                refusal,
                names_source,
            } => Self::No {
                refusal: Refusal {
                    source_behind: refusal.source_behind || longer,
                    ..refusal
                },
                names_source,
            },
            silent @ Self::Silent(_) => silent,
        }
    }

    /// The same, with the address of the source that showed what was found.
    pub(super) fn seen_at(self, source: &impl Display) -> Self {
        match self {
            Self::No {
                refusal,
                names_source: false,
            } => Self::No {
                refusal: Refusal {
                    found: format!("{} (seen at {source})", refusal.found),
                    ..refusal
                },
                names_source: true,
            },
            other => other,
        }
    }
}

impl From<Refusal> for SourceFailure {
    fn from(refusal: Refusal) -> Self {
        Self::No {
            refusal,
            names_source: false,
        }
    }
}

impl From<SourceError> for SourceFailure {
    fn from(error: SourceError) -> Self {
        if error.is_silent() {
            Self::Silent(error.to_string())
        } else {
            Self::No {
                refusal: error.refusal(),
                names_source: true,
            }
        }
    }
}

impl RootLook<'_> {
    /// What the clock says by now. A question that began later may have made contact since; that is
    /// no clock that went back.
    pub(super) fn clock(&self) -> Timestamp {
        clock(self.now, self.begun.elapsed())
    }

    /// Whether a source that was asked at that time is not asked again before its time. A person who
    /// asks is told what the source says now, of what may have been signed a moment ago.
    pub(super) fn is_recent(&self, asked: Timestamp) -> bool {
        let by_a_person = self.replies.is_some();
        // A clock that ran ahead and was set back makes no answer recent until that time comes.
        asked <= self.now && self.now < later(asked, AGAIN) && (asked == self.now || !by_a_person)
    }

    /// The times of what is at hand, as they count for this question.
    pub(super) fn times(&self, known: MetadataTimes) -> MetadataTimes {
        let is_stale = known.asked < self.now && !self.is_recent(known.asked);
        MetadataTimes {
            asked: if is_stale {
                Timestamp::MIN
            } else {
                known.asked
            },
            ..known
        }
    }

    /// Until when what is verified now answers without another look.
    pub(super) fn recheck(&self) -> Timestamp {
        later(self.now, self.root.recheck)
    }

    /// The last good contact, and the end of the time for which the cache may serve from there on.
    pub(super) fn offline_limit(
        &self,
        origin: &MetadataOrigin,
        contact: Option<Timestamp>,
        silence: &str,
    ) -> Result<(Timestamp, Timestamp), Refusal> {
        offline_limit(
            offline_of(self.policy, self.root),
            &origin.source,
            contact,
            silence,
            self.now,
        )
    }
}

/// How long the cache may serve after the last good contact. A root's own ceiling on freshness
/// counts from there too: verified anew, cached metadata is no fresher than it was.
pub(super) fn offline_of(policy: &Policy, root: &Root) -> SignedDuration {
    root.max_age.map_or(policy.limits.offline, |max_age| {
        max_age.min(policy.limits.offline)
    })
}

pub(super) fn offline_limit(
    offline: SignedDuration,
    source: &str,
    contact: Option<Timestamp>,
    silence: &str,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Refusal> {
    match contact.map(|contact| (contact, later(contact, offline))) {
        Some((contact, limit)) if now < limit => Ok((contact, limit)),
        Some((contact, limit)) => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {source} since {contact:.0}: {silence}"),
            format!(
                "one before {limit:.0}, when [limits] offline, or the root's max-age, was over"
            ),
            "bring the trust server back; a longer [limits] offline and max-age serve the cached metadata until it expires",
        )),
        None => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {source}: {silence}"),
            "an answer, since this host has not had one for this repository yet",
            CHECK_PLACES,
        )),
    }
}

/// What the clock says by now, given what it said when the question began. The two readings at the
/// beginning are not quite of one instant.
pub(super) fn clock(now: Timestamp, since: Duration) -> Timestamp {
    later(
        now,
        SignedDuration::try_from(since + Duration::from_millis(100)).unwrap_or(SignedDuration::MAX),
    )
}
