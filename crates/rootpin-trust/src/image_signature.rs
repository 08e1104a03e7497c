//! Signatures that a registry keeps beside an image: what was found of them, and what each comes to.

use std::collections::BTreeSet;

use crate::canonical::{JsonError, Limits, rewrite_doubles};
use crate::image::{Digest, Repository};
use crate::{Collection, KeyId, Refusal, Verified};

/// Signatures of one image that are looked at. An image that is signed anew each week for a year by
/// one key has 52.
pub const MOST_SIGNATURES: usize = 64;
/// Bytes of one signature. A Sigstore bundle with certificates and a log's proof has some 10,000; an
/// attestation may have megabytes, and is no signature.
pub const SIGNATURE_BYTES: usize = 256 << 10;

/// One signature as a registry has it: a layer of a signature's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFile {
    /// The layer's media type, which says what the bytes claim to be.
    pub media_type: String,
    /// The layer's bytes.
    pub bytes: Vec<u8>,
    /// The annotation `dev.cosignproject.cosign/signature` of the layer, where it has one.
    pub signature: Option<String>,
}

/// The image that signatures are looked at for.
#[derive(Debug, Clone, Copy)]
pub struct SignedImage<'a> {
    /// The repository that a signature has to name, where it names any.
    pub repository: &'a Repository,
    /// The digest of its manifest or index.
    pub digest: Digest,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFinding {
    /// Its format: `sigstore-bundle`, `simple-signing`; empty where it is none that is known here.
    pub format: &'static str,
    /// The pinned key that made it, if one did.
    pub key: Option<KeyId>,
    /// The tag that it binds, if it binds one.
    pub tag: Option<String>,
    /// Why it counts for nothing; `None`: it counts.
    pub rejected: Option<String>,
}

/// What all signatures of an image come to.
#[derive(Debug)]
pub struct SignatureOutcome {
    /// One for each signature, in the order in which they were given.
    pub findings: Vec<SignatureFinding>,
    /// The image as the pinned keys signed it, or why they have not.
    pub result: Result<Verified<Collection>, Refusal>,
}

impl SignatureFinding {
    pub(crate) fn rejected(format: &'static str, why: impl Into<String>) -> Self {
        Self {
            format,
            key: None,
            tag: None,
            rejected: Some(why.into()),
        }
    }
}

/// Reads strict JSON of a signature, in canonical form.
pub(crate) fn json(bytes: &[u8]) -> Result<Vec<u8>, JsonError> {
    let limits = Limits {
        bytes: SIGNATURE_BYTES,
        depth: 32,
        values: 10_000,
    };
    rewrite_doubles(bytes, limits)
}

/// The findings' reasons for a refusal: the first three of them, each once.
pub(crate) fn reasons(findings: &[SignatureFinding]) -> String {
    let all = findings
        .iter()
        .filter_map(|found| found.rejected.as_deref());
    let all: BTreeSet<&str> = all.collect();
    let more = if all.len() > 3 { "; …" } else { "" };
    let first: Vec<&str> = all.into_iter().take(3).collect();
    format!("{}{more}", first.join("; "))
}
