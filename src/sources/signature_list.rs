//! Lists of what is beside an image: the kind of signature that is looked for, which entry is looked
//! at first for it, and what is left out.

use std::fmt;

use rootpin_trust::canonical::Text;
use rootpin_trust::{cosign, notation};

use super::http::Reply;

/// Who made the signatures that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureKind {
    /// cosign, podman or skopeo.
    Cosign,
    /// Notation.
    Notation,
    /// Whoever.
    Any,
}

/// Types of artifacts that cosign writes, and Notation; with older libraries cosign writes others.
const OF_COSIGN: [&str; 2] = [
    "application/vnd.dev.sigstore.bundle",
    "application/vnd.dev.cosign.artifact.sig",
];
const OF_NOTATION: &str = "application/vnd.cncf.notary.signature";
/// Where cosign says what a bundle states.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Lists that were longer than what is looked at of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CutLists {
    pub(crate) looked_at: usize,
    pub(crate) listed: usize,
    /// Whether there are more pages than were read.
    pub(crate) goes_on: bool,
}

impl fmt::Display for CutLists {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.goes_on { "more than " } else { "" };
        let (looked_at, listed) = (self.looked_at, self.listed);
        write!(formatter, "{looked_at} of {more}{listed} were looked at")
    }
}

/// What was seen of the lists at one way.
#[derive(Debug, Default)]
pub(super) struct ListCounts {
    /// Signatures that were read and those that were left out, and whether a list has more pages.
    pub(super) looked_at: usize,
    pub(super) left_out: usize,
    pub(super) goes_on: bool,
    pub(super) read: ListsRead,
}

impl ListCounts {
    /// What was left out of lists that are longer than what is looked at.
    pub(super) fn cut(&self) -> Option<CutLists> {
        let is_cut = self.left_out > 0 || self.goes_on;
        is_cut.then_some(CutLists {
            looked_at: self.looked_at,
            listed: self.looked_at + self.left_out,
            goes_on: self.goes_on,
        })
    }
}

/// How much was read of the manifests that lists beside an image name, and of their signatures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListsRead {
    pub(crate) read: usize,
    pub(crate) listed: usize,
}

impl SignatureKind {
    /// Whether what has that place in the order says that it is no signature that is looked for.
    pub(super) fn is_last(order: u8) -> bool {
        order > 2
    }

    /// Whether a layer of that media type may be a signature.
    pub(super) fn takes(self, media_type: &str) -> bool {
        let (cosign, notation) = (
            cosign::is_signature(media_type),
            notation::is_signature(media_type),
        );
        match self {
            Self::Cosign => cosign,
            Self::Notation => notation,
            Self::Any => cosign || notation,
        }
    }

    /// The place of a list's entry in the order of looking, the likeliest first. An entry's own words
    /// are not signed: they leave nothing out.
    pub(super) fn order(self, entry: Text<'_>) -> u8 {
        let kind = entry.get("artifactType").and_then(Text::as_str);
        let kind = kind.unwrap_or_default();
        let of_cosign = OF_COSIGN.iter().any(|prefix| kind.starts_with(prefix));
        let of_notation = kind.starts_with(OF_NOTATION);
        let predicate = entry
            .get("annotations")
            .and_then(|all| all.get(PREDICATE)?.as_str());
        let signs = predicate.as_deref() == Some(cosign::PREDICATE);
        let (own, other) = match self {
            Self::Cosign => (of_cosign || signs, of_notation),
            Self::Notation => (of_notation, of_cosign || signs),
            Self::Any => (of_cosign || of_notation || signs, false),
        };
        match (own, predicate) {
            _ if other => 4,
            (_, Some(_)) if !signs => 3,
            (true, Some(_)) => 0,
            (true, None) => 1,
            (false, _) => 2,
        }
    }
}

/// The elements of a list that a document has under a name; `None`: it is no such document. Programs
/// in Go write `null` for an empty list.
pub(super) fn elements<'a>(document: Text<'a>, name: &str) -> Option<Vec<Text<'a>>> {
    let (_, list) = document.members()?.find(|(known, _)| known == name)?;
    if list.is_null() {
        return Some(Vec::new());
    }
    Some(list.elements()?.collect())
}

/// Whether a registry says that it has no such repository, and nothing of its API (OCI
/// distribution-spec, "Error Codes").
pub(super) fn is_of_repository(reply: &Reply) -> bool {
    reply.said.code == "NAME_UNKNOWN"
}

#[cfg(test)]
mod tests {
    use rootpin_trust::canonical::{Limits, rewrite_doubles};
    use serde_json::{Value, json};

    use super::*;

    fn order(kind: SignatureKind, entry: &Value) -> u8 {
        let limits = Limits {
            bytes: 10_000,
            depth: 8,
            values: 100,
        };
        let text = rewrite_doubles(entry.to_string().as_bytes(), limits).unwrap();
        kind.order(Text::of(&text))
    }

    #[test]
    fn a_signature_of_the_kind_that_is_looked_for_comes_before_attestations_and_other_tools() {
        let bundle = cosign::BUNDLE;
        let with = |kind: &str, predicate: &str| json!({ "artifactType": kind, "annotations": { PREDICATE: predicate } });
        let signature = with(bundle, cosign::PREDICATE);
        let attestation = with(bundle, "https://slsa.dev/provenance/v1");
        let unnamed = json!({ "artifactType": bundle });
        let unknown = json!({ "artifactType": "application/vnd.oci.empty.v1+json" });
        let notation = json!({ "artifactType": OF_NOTATION });
        for (kind, wanted) in [
            (
                SignatureKind::Cosign,
                [&signature, &unnamed, &unknown, &attestation, &notation],
            ),
            (
                SignatureKind::Notation,
                [&notation, &unknown, &attestation, &unnamed, &signature],
            ),
            (
                SignatureKind::Any,
                [&signature, &unnamed, &notation, &unknown, &attestation],
            ),
        ] {
            let places = wanted.map(|entry| order(kind, entry));
            assert!(places.is_sorted(), "{kind:?} {places:?}");
        }
        let old = with("application/vnd.oci.empty.v1+json", cosign::PREDICATE);
        assert_eq!(order(SignatureKind::Cosign, &old), 0);
    }
}
