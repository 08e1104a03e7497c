//! The fields of a host's report by which a merge compares a fleet.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use rootpin_trust::Code;

use super::FindingSeverity;
use super::kept_report::Counts;

/// The most roots, keys or repositories that one report may have.
pub(super) const MAX_ITEMS: usize = 50_000;

/// The fields of a report that a merge reads; all others are skipped.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ReportExtract<'a> {
    pub(super) version: u64,
    #[serde(borrow)]
    pub(super) host: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) at: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    pub(super) policy: Option<PolicyExtract>,
    pub(super) roots: Vec<RootExtract>,
    pub(super) images: Vec<ImageExtract>,
    pub(super) root_keys: Vec<KeyExtract>,
    pub(super) findings: Vec<FindingExtract>,
    pub(super) untold: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct PolicyExtract {
    pub(super) hash: String,
    pub(super) mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct RootExtract {
    pub(super) id: String,
    pub(super) keys: Vec<PinExtract>,
    pub(super) held: Vec<HeldExtract>,
    /// A Notary server, or the addresses of TUF metadata.
    #[serde(default)]
    pub(super) sources: Vec<String>,
    /// Of TUF: the root file that is pinned.
    #[serde(default)]
    pub(super) pinned: Option<PinnedFileExtract>,
    #[serde(default)]
    pub(super) max_age: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct PinnedFileExtract {
    pub(super) sha256: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct PinExtract {
    pub(super) id: String,
    pub(super) fingerprint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct HeldExtract {
    pub(super) repository: String,
    pub(super) versions: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) contact: Option<String>,
    #[serde(default)]
    pub(super) timestamp_expires: Option<String>,
    #[serde(default)]
    pub(super) floors: Vec<FloorExtract>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct FloorExtract {
    pub(super) role: String,
    pub(super) version: u64,
    pub(super) signed: String,
    pub(super) since: Option<String>,
    pub(super) root_keys: Vec<String>,
    #[serde(default)]
    pub(super) pinned_keys: Option<String>,
    #[serde(default)]
    pub(super) keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct ImageExtract {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) digest: Option<String>,
    pub(super) judgement: Option<JudgementExtract>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct JudgementExtract {
    pub(super) outcome: ExtractedOutcome,
    #[serde(default)]
    pub(super) code: Option<KnownCode>,
}

/// Why an image is refused, by a code of this release; `other` is one of another release's.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownCode(&'static str);

impl<'de> Deserialize<'de> for KnownCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let mut known = Code::ALL.iter().map(|code| code.as_str());
        Ok(Self(known.find(|known| *known == text).unwrap_or("other")))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExtractedOutcome {
    Allowed,
    Refused,
    Unjudged,
}

impl ExtractedOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Unjudged => "unjudged",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct KeyExtract {
    pub(super) id: String,
    pub(super) fingerprint: Option<String>,
    pub(super) pinned_by: Vec<serde::de::IgnoredAny>,
    pub(super) repositories: Vec<UseExtract>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct UseExtract {
    pub(super) repository: String,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct FindingExtract {
    pub(super) severity: FindingSeverity,
}

impl FloorExtract {
    /// The root keys by which its history is compared; the hash over all pinned ones is one of them.
    pub(super) fn history_keys(&self) -> impl Iterator<Item = &String> {
        self.root_keys.iter().chain(&self.pinned_keys)
    }
}

impl HeldExtract {
    /// The pairs of keys that a merge compares.
    fn items(&self) -> usize {
        let pairs = self.floors.iter();
        let root_keys = |floor: &FloorExtract| floor.history_keys().count().max(1);
        pairs
            .map(|floor| root_keys(floor) * floor.keys.len().max(1))
            .sum()
    }
}

impl ReportExtract<'_> {
    /// The most that the report says of one kind: roots, keys, repositories.
    pub(super) fn items(&self) -> usize {
        let held = self.roots.iter().map(|root| {
            let floors = root.held.iter().map(HeldExtract::items);
            let places = root.sources.len() + 1;
            root.keys.len() + root.held.len() + places.saturating_mul(floors.sum())
        });
        self.roots.len().max(self.root_keys.len()).max(held.sum())
    }

    /// How many images are refused by each code.
    pub(super) fn refusals(&self) -> BTreeMap<&'static str, usize> {
        let mut found = BTreeMap::new();
        for judgement in self
            .images
            .iter()
            .filter_map(|image| image.judgement.as_ref())
        {
            if matches!(judgement.outcome, ExtractedOutcome::Refused) {
                let code = judgement.code.map_or("other", |code| code.0);
                *found.entry(code).or_default() += 1;
            }
        }
        found
    }

    /// How many images and findings there are of each kind.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            images: self.images.len(),
            untold: self.untold.len(),
            ..Counts::default()
        };
        for image in &self.images {
            match image.judgement.as_ref().map(|judgement| judgement.outcome) {
                Some(ExtractedOutcome::Allowed) => counts.allowed += 1,
                Some(ExtractedOutcome::Refused) => counts.refused += 1,
                Some(ExtractedOutcome::Unjudged) | None => counts.unjudged += 1,
            }
        }
        for finding in &self.findings {
            match finding.severity {
                FindingSeverity::Error => counts.errors += 1,
                FindingSeverity::Warning => counts.warnings += 1,
                FindingSeverity::Info => {}
            }
        }
        counts
    }
}
