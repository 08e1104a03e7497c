//! What a search has found so far of an image's signatures, and what of it is kept in memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use rootpin_trust::image::{Digest, Tag};
use rootpin_trust::{MOST_SIGNATURES, SignatureFile, SignatureFinding};

/// Bytes of signatures by pinned keys that a search keeps. Anybody can make a copy of one large by what
/// is not signed of it; real ones have some 10,000, so that there is room for all that are looked at.
const MOST_BYTES: usize = 2 << 20;

/// A signature, and what became of it.
type FoundSignature = (SignatureFile, SignatureFinding);

/// What a search has found so far. An image's registry may have much beside it that no pinned key
/// signed: no answer rests on its bytes, so none are kept.
#[derive(Debug, Default)]
pub(super) struct FoundSoFar {
    /// By pinned keys.
    signed: Vec<FoundSignature>,
    /// What was found of the others.
    others: Vec<SignatureFinding>,
    seen: HashSet<SeenFile>,
    /// How many that may have decided were not kept, for those that were are large.
    left_out: usize,
}

/// What tells one signature's file from another one: media type, bytes, annotation.
type SeenFile = (String, Digest, Option<String>);

impl FoundSoFar {
    pub(super) fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.others.is_empty()
    }

    /// Those that were not found before: a registry may list one signature at two places.
    pub(super) fn not_seen(&self, files: Vec<SignatureFile>) -> Vec<SignatureFile> {
        let is_new = |file: &SignatureFile| !self.seen.contains(&seen_file(file));
        files.into_iter().filter(is_new).collect()
    }

    /// Adds signatures: of a tag that is asked for, before those of others. `only_signed`: what is by
    /// no pinned key is left out.
    pub(super) fn add(
        &mut self,
        (files, findings): (&[SignatureFile], &[SignatureFinding]),
        only_signed: bool,
        tag: Option<&Tag>,
    ) {
        for (file, found) in files.iter().zip(findings) {
            if only_signed && found.key.is_none() {
                continue;
            }
            self.seen.insert(seen_file(file));
            if found.key.is_some() {
                self.signed.push((file.clone(), found.clone()));
            } else {
                self.others.push(found.clone());
            }
        }
        self.left_out += weightiest(&mut self.signed, tag);
        let left = MOST_SIGNATURES.saturating_sub(self.signed.len());
        self.others.truncate(left);
    }

    /// What was found of the signatures by pinned keys.
    pub(super) fn signed(&self) -> impl Iterator<Item = &SignatureFinding> {
        self.signed.iter().map(|(_, found)| found)
    }

    /// How many that may have decided were not kept, as an end of what was found.
    pub(super) fn left_out(&self) -> String {
        match self.left_out {
            0 => String::new(),
            count => format!(
                "; {count} by pinned keys were left out, for together they are larger than {MOST_BYTES} bytes"
            ),
        }
    }

    /// The signatures by pinned keys.
    pub(super) fn files(&self) -> Vec<SignatureFile> {
        let files = self.signed.iter().map(|(file, _)| file);
        files.cloned().collect()
    }

    /// The signatures by pinned keys, and what was found of the others.
    pub(super) fn into_parts(self) -> (Vec<SignatureFile>, Vec<SignatureFinding>) {
        let files = self.signed.into_iter().map(|(file, _)| file);
        (files.collect(), self.others)
    }
}

fn seen_file(file: &SignatureFile) -> SeenFile {
    let digest = Digest::of(&file.bytes);
    (file.media_type.clone(), digest, file.signature.clone())
}

/// Leaves the signatures that may decide, no more than are looked at and no larger than may be kept: of
/// each key and tag the one that ends last, of equal ones the smallest; and then what else there is. So
/// no copies of a good one, no other tags and no signatures of other images hide another one. Returns how
/// many that may decide were left out.
fn weightiest(all: &mut Vec<FoundSignature>, tag: Option<&Tag>) -> usize {
    let length = |file: &SignatureFile| file.bytes.len();
    all.sort_by_key(|(file, found)| (rank(found, tag), Reverse(found.expires), length(file)));
    let mut known = BTreeSet::new();
    let mut is_first = |found: &SignatureFinding| {
        let counts = found.rejected.is_none();
        known.insert((found.key, found.tag.clone(), counts, found.revoked))
    };
    let (mut first, others): (Vec<_>, Vec<_>) = std::mem::take(all)
        .into_iter()
        .partition(|(_, found)| is_first(found));
    // Nobody's large ones take the room of another key's small ones.
    first.sort_by_key(|(file, found)| (rank(found, tag), length(file)));
    let (may_decide, mut left) = (first.len(), MOST_BYTES);
    let mut has_room = |(file, _): &FoundSignature| {
        let rest = left.checked_sub(length(file));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    first.retain(&mut has_room);
    let left_out = may_decide - first.len();
    first.extend(others.into_iter().filter(&mut has_room));
    first.truncate(MOST_SIGNATURES);
    *all = first;
    left_out
}

/// The order in which signatures may decide: what counts for the tag that is asked for, what a revoked
/// key signed, what counts for another tag, and the others.
fn rank(found: &SignatureFinding, tag: Option<&Tag>) -> u8 {
    let is_of_tag = found.tag.as_deref() == tag.map(Tag::as_str);
    match (found.rejected.is_none(), found.revoked) {
        (true, _) if is_of_tag => 0,
        (_, true) => 1,
        (true, _) => 2,
        (false, false) => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use rootpin_policy::RootKind;
    use rootpin_trust::image::Repository;
    use rootpin_trust::{SIGNATURE_BYTES, SignatureOutcome, SignedImage, cosign};

    use super::*;

    const POLICY: &str = "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own.pub\"]\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"own\"]\ntags = \"unbound\"\n";
    const KEY: &[u8] = include_bytes!("../../tests/data/signatures/keys/p256.pub");
    const BUNDLE: &[u8] = include_bytes!(
        "../../tests/data/signatures/bundle-p256/3158670dbbe02d9c5af0f225b970321160d6345834cc31cb63b3cb2a0155c5b6"
    );
    const IMAGE: &str = "sha256:9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19";

    fn file(bytes: &[u8]) -> SignatureFile {
        SignatureFile {
            media_type: cosign::BUNDLE.to_owned(),
            bytes: bytes.to_vec(),
            signature: None,
        }
    }

    fn outcome(files: &[SignatureFile], others: Vec<SignatureFinding>) -> SignatureOutcome {
        let repository = Repository::from_full("r.example/app").unwrap();
        let image = SignedImage {
            repository: &repository,
            digest: IMAGE.parse().unwrap(),
            tag: None,
            every_signer: false,
        };
        let policy = BTreeMap::from([
            ("policy.toml".to_owned(), POLICY.as_bytes().to_vec()),
            ("roots/own.pub".to_owned(), KEY.to_vec()),
        ]);
        let policy = rootpin_policy::load(&policy, Timestamp::UNIX_EPOCH).unwrap();
        let RootKind::Cosign(pins) = &policy.roots["own"].kind else {
            panic!("not cosign")
        };
        cosign::verify(image, pins, &BTreeSet::new(), files, others)
    }

    /// As large as a signature may be, and by nobody.
    fn junk(at: usize) -> SignatureFile {
        let mut bytes = at.to_string().into_bytes();
        bytes.resize(SIGNATURE_BYTES, b' ');
        file(&bytes)
    }

    fn kept(found: &FoundSoFar) -> usize {
        found.files().iter().map(|file| file.bytes.len()).sum()
    }

    #[test]
    fn of_what_no_pinned_key_signed_the_finding_is_kept_and_none_of_its_bytes() {
        let mut found = FoundSoFar::default();
        for at in 0..2 * MOST_SIGNATURES {
            let files = found.not_seen(vec![junk(at)]);
            assert_eq!(files.len(), 1);
            let findings = outcome(&files, Vec::new()).findings;
            found.add((&files, &findings), false, None);
            assert_eq!(kept(&found), 0);
        }
        assert_eq!(found.others.len(), MOST_SIGNATURES);
        let signed = vec![file(BUNDLE)];
        let findings = outcome(&signed, Vec::new()).findings;
        found.add((&signed, &findings), false, None);
        assert_eq!((kept(&found), found.others.len()), (BUNDLE.len(), 63));
        // Neither is looked at again where it is listed once more.
        assert!(found.not_seen(vec![file(BUNDLE), junk(3)]).is_empty());
        let yes = outcome(&found.files(), found.others.clone());
        assert!(yes.result.is_ok() && yes.findings.len() == MOST_SIGNATURES);
    }

    #[test]
    fn what_was_found_of_others_says_why_there_is_no_yes_and_never_makes_one() {
        let junk = vec![junk(0)];
        let alone = outcome(&junk, Vec::new());
        let later = outcome(&[], alone.findings.clone());
        assert_eq!(
            later.result.unwrap_err().to_string(),
            alone.result.unwrap_err().to_string()
        );
        let mut forged = outcome(&[file(BUNDLE)], Vec::new()).findings;
        assert!(forged[0].key.is_some() && forged[0].rejected.is_none());
        assert!(outcome(&[], forged.clone()).result.is_err());
        forged[0].key = None;
        assert!(outcome(&[], forged).findings.is_empty());
    }

    #[test]
    fn no_number_of_signatures_of_other_images_hides_the_one_by_a_revoked_key() {
        let finding = |revoked| SignatureFinding {
            rejected: Some("it counts for nothing".to_owned()),
            revoked,
            ..outcome(&[file(BUNDLE)], Vec::new()).findings.remove(0)
        };
        let mut all: Vec<_> = (0..2 * MOST_SIGNATURES)
            .map(|_| (file(BUNDLE), finding(false)))
            .collect();
        all.push((file(BUNDLE), finding(true)));
        weightiest(&mut all, None);
        assert!(all.len() == MOST_SIGNATURES && all.iter().any(|(_, found)| found.revoked));
    }

    /// A signature by a pinned key, as large as that, for a tag.
    fn signed(length: usize, key: u8, tag: Option<&str>) -> FoundSignature {
        let mut finding = outcome(&[file(BUNDLE)], Vec::new()).findings.remove(0);
        finding.key = Some(Digest::of(&[key]).hex().parse().unwrap());
        finding.tag = tag.map(str::to_owned);
        let mut bytes = vec![key; 8];
        bytes.extend(tag.unwrap_or_default().bytes());
        bytes.resize(length, b' ');
        (file(&bytes), finding)
    }

    fn add(found: &mut FoundSoFar, (file, finding): FoundSignature, tag: Option<&Tag>) {
        found.add((&[file], &[finding]), false, tag);
    }

    #[test]
    fn copies_of_a_signature_that_are_made_large_are_not_all_kept_and_hide_no_other_key_s() {
        let mut found = FoundSoFar::default();
        for at in 0..2 * MOST_SIGNATURES {
            add(&mut found, signed(SIGNATURE_BYTES - at, 1, None), None);
            assert!(kept(&found) <= MOST_BYTES);
        }
        add(&mut found, signed(5000, 2, None), None);
        add(&mut found, signed(6000, 1, None), None);
        let sizes: Vec<_> = found.files().iter().map(|file| file.bytes.len()).collect();
        assert_eq!(sizes[..2], [5000, 6000]);
        assert!(kept(&found) <= MOST_BYTES && found.left_out().is_empty());
    }

    #[test]
    fn one_key_s_many_tags_leave_room_for_the_tag_that_is_asked_for_and_for_a_revoked_key() {
        let tag: Tag = "v1".parse().unwrap();
        let mut found = FoundSoFar::default();
        for at in 0..2 * MOST_SIGNATURES {
            let other = signed(SIGNATURE_BYTES, 1, Some(&format!("other{at}")));
            add(&mut found, other, Some(&tag));
        }
        assert!(kept(&found) <= MOST_BYTES);
        assert!(found.left_out().contains("were left out"));
        let revoked = SignatureFinding {
            rejected: Some("its key is revoked".to_owned()),
            revoked: true,
            ..signed(1, 3, None).1
        };
        add(&mut found, (file(b"revoked"), revoked), Some(&tag));
        for key in [1, 2] {
            let large = signed(SIGNATURE_BYTES, key, Some("v1"));
            add(&mut found, large, Some(&tag));
        }
        let of_tag = found
            .signed()
            .filter(|one| one.tag.as_deref() == Some("v1"));
        assert_eq!(of_tag.count(), 2);
        assert!(found.signed().any(|one| one.revoked));
        assert!(kept(&found) <= MOST_BYTES);
    }
}
