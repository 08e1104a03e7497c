//! The signatures beside an image now: their formats, and the keys that they say they are by.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::output::text;
use crate::sources::{CutLists, RegistryReplies, SignatureKind, Sources};
use rootpin_trust::cosign::{self, CosignPins};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::notation::{self, NotationPins};
use rootpin_trust::{Refusal, SignatureFile, SignatureFinding, SignedImage};

/// What stands beside an image.
pub(super) struct ScannedSignatures {
    digest: Digest,
    pub(super) found: Vec<SignatureFinding>,
    /// What was left out of long lists.
    cut: Option<CutLists>,
    /// Why there may be more.
    failed: Option<String>,
}

/// Looks at all signatures beside an image, by whichever key.
///
/// # Errors
/// The registry does not answer, or does not know the image.
pub(super) async fn scan(
    sources: &Sources,
    name: &ImageRef,
    deadline: Instant,
) -> Result<ScannedSignatures, Refusal> {
    let digest = sources.resolve(name, deadline).await?;
    let replies = RegistryReplies::default();
    let wanted = (digest, SignatureKind::Any);
    let search = sources.signatures(&name.repository, wanted, Some(&replies), deadline);
    let mut search = search.await.map_err(|error| error.refusal())?;
    let image = SignedImage {
        repository: &name.repository,
        digest,
        tag: None,
        every_signer: false,
    };
    // Each file is read and let go. Together they may have as many bytes as whoever pushes there likes.
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(files) = search.next(deadline).await {
        let new = files.iter().filter(|file| seen.insert(identity(file)));
        found.extend(new.flat_map(|file| findings(image, file)));
    }
    if seen.is_empty()
        && let Some(error) = search.failed()
    {
        return Err(error.refusal());
    }
    Ok(ScannedSignatures {
        digest,
        found,
        cut: search.cut(),
        failed: search.failed().map(|error| error.refusal().found),
    })
}

/// Which file it is: two places may have the same one.
fn identity(file: &SignatureFile) -> [Digest; 3] {
    let signature = file.signature.as_deref().unwrap_or_default();
    [
        Digest::of(&file.bytes),
        Digest::of(file.media_type.as_bytes()),
        Digest::of(signature.as_bytes()),
    ]
}

/// What one signature claims. No key is pinned, so none counts.
fn findings(image: SignedImage<'_>, file: &SignatureFile) -> Vec<SignatureFinding> {
    let files = std::slice::from_ref(file);
    if cosign::is_signature(&file.media_type) {
        let pins = CosignPins {
            keys: Vec::new(),
            threshold: 1,
            format: None,
            binds_tag: None,
        };
        return cosign::verify(image, &pins, &BTreeSet::new(), files, Vec::new()).findings;
    }
    let pins = NotationPins {
        certificates: Vec::new(),
        subjects: Vec::new(),
        ignore_validity: true,
        binds_tag: None,
    };
    let (nobody, now) = (BTreeSet::new(), jiff::Timestamp::now());
    notation::verify(image, &pins, (&nobody, now), files, Vec::new()).findings
}

impl ScannedSignatures {
    /// Whether a signature of the image itself is there; an attestation signs none.
    pub(super) fn has_signature(&self) -> bool {
        self.found.iter().any(|found| found.predicate.is_none())
    }

    /// In words, and for programs.
    pub(super) fn shown(&self, name: &ImageRef) -> (String, Value) {
        let object = |found: &SignatureFinding| json!({ "format": found.format, "claimed_key": found.claimed_key, "predicate": found.predicate });
        let found: Vec<Value> = self.found.iter().map(object).collect();
        let mut lines = format!("signatures beside {name}, which is {}\n", self.digest);
        let (mut attestations, mut signatures) = (String::new(), 0);
        for one in &found {
            let by = one["claimed_key"].as_str().unwrap_or("names no key");
            let line = format!("  {:<16} {by}", text(one, "format"));
            if let Some(predicate) = one["predicate"].as_str() {
                let _ = writeln!(attestations, "{line}, of type {predicate}");
            } else {
                signatures += 1;
                let _ = writeln!(lines, "{line}");
            }
        }
        if signatures == 0 {
            lines.push_str("  none\n");
        }
        if !attestations.is_empty() {
            lines.push_str("attestations beside it, which sign no image\n");
            lines.push_str(&attestations);
        }
        if let Some(cut) = self.cut {
            let _ = writeln!(lines, "not all could be looked at: {cut}");
        }
        if let Some(failed) = &self.failed {
            let _ = writeln!(lines, "not all could be read: {failed}");
        }
        let value = json!({ "type": "signatures", "error": self.failed, "name": name.to_string(), "digest": self.digest.to_string(), "signatures": found,
            "looked_at": self.cut.map(|cut| cut.looked_at), "listed": self.cut.map(|cut| cut.listed) });
        (lines, value)
    }
}
