//! What a search has found so far of an image's signatures, and what of it is kept in memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use super::signature_room::{
    DecidingSignatures, MOST_BYTES, SignatureRoom, in_turns, length, own_order,
};
use rootpin_trust::image::{Digest, Tag};
use rootpin_trust::{MOST_SIGNATURES, SignatureFile, SignatureFinding};

/// Signatures by pinned keys that a search keeps: until all places were looked at, nobody knows which of
/// them decide together. In the end [`MOST_SIGNATURES`] of them do.
const MOST_KEPT: usize = 8 * MOST_SIGNATURES;

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
    /// Those that were cached and count, and that no registry gave yet.
    cached: HashSet<SeenFile>,
    /// How many that may have decided were not kept, for want of room.
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

    /// How many of the signatures that a registry gives were cached and count, each once.
    pub(super) fn cached_among(&mut self, files: &[SignatureFile]) -> usize {
        if self.cached.is_empty() {
            return 0;
        }
        let mut was_cached = |file: &&SignatureFile| self.cached.remove(&seen_file(file));
        files.iter().filter(&mut was_cached).count()
    }

    /// Adds signatures: those that decide before others. `are_cached`: what is by no pinned key is left
    /// out.
    pub(super) fn add(
        &mut self,
        (files, findings): (&[SignatureFile], &[SignatureFinding]),
        are_cached: bool,
        deciding: DecidingSignatures<'_>,
    ) {
        for (file, found) in files.iter().zip(findings) {
            if are_cached && found.key.is_none() {
                continue;
            }
            if are_cached && found.rejected.is_none() {
                self.cached.insert(seen_file(file));
            }
            self.seen.insert(seen_file(file));
            if found.key.is_some() {
                self.signed.push((file.clone(), found.clone()));
            } else {
                self.others.push(found.clone());
            }
        }
        self.left_out += weightiest(&mut self.signed, deciding);
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
                "; {count} by pinned keys were left out, for a search keeps {MOST_KEPT} of them with {MOST_BYTES} bytes"
            ),
        }
    }

    /// The first signatures by pinned keys: as many as decide an answer.
    pub(super) fn files(&self) -> Vec<SignatureFile> {
        let files = self.signed.iter().map(|(file, _)| file);
        files.take(MOST_SIGNATURES).cloned().collect()
    }

    /// The same, and what was found of those by no pinned key.
    pub(super) fn into_parts(self) -> (Vec<SignatureFile>, Vec<SignatureFinding>) {
        let files = self.signed.into_iter().map(|(file, _)| file);
        (files.take(MOST_SIGNATURES).collect(), self.others)
    }
}

fn seen_file(file: &SignatureFile) -> SeenFile {
    let digest = Digest::of(&file.bytes);
    (file.media_type.clone(), digest, file.signature.clone())
}

/// Leaves the signatures that may decide, as far as there is room, and puts them into the order in which
/// they do: of each key and tag the one that ends last, of equal ones the smallest; and then what else
/// there is. So no copies of a good one, no other tags and no signatures of other images hide another
/// one, and none of them one by another key. Returns how many that may decide were left out.
fn weightiest(all: &mut Vec<FoundSignature>, deciding: DecidingSignatures<'_>) -> usize {
    let signed_tags = deciding.signed_tags(all.iter().map(|(_, found)| found));
    let rank = |found: &SignatureFinding| rank(found, deciding.tag, &signed_tags);
    all.sort_by_key(|(file, found)| (rank(found), Reverse(found.expires), length(file)));
    let mut known = BTreeSet::new();
    let mut is_first = |found: &SignatureFinding| {
        let counts = found.rejected.is_none();
        known.insert((found.key, found.tag.clone(), counts, found.revoked))
    };
    let (mut first, others): (Vec<_>, Vec<_>) = std::mem::take(all)
        .into_iter()
        .partition(|(_, found)| is_first(found));
    first.sort_by(|(file, found), (other, of_other)| {
        let order = (rank(found), own_order(file, found));
        order.cmp(&(rank(of_other), own_order(other, of_other)))
    });
    // Nobody's many or large ones take the room of another key's.
    let mut first = in_turns(first, |(file, found)| (found.key, length(file)));
    first.sort_by_key(|(_, found)| rank(found));
    let may_decide = first.len();
    let mut room = SignatureRoom {
        signatures: MOST_KEPT,
        ..SignatureRoom::default()
    };
    let mut has_room = |(file, _): &FoundSignature| room.take(length(file));
    first.retain(&mut has_room);
    let left_out = may_decide - first.len();
    first.extend(others.into_iter().filter(&mut has_room));
    *all = first;
    left_out
}

/// The order in which signatures may decide: what counts for the tag that is asked for, what a revoked
/// key signed, what counts for another tag that enough keys signed, for one that fewer did, and the
/// others.
fn rank(found: &SignatureFinding, tag: Option<&Tag>, signed_tags: &BTreeSet<String>) -> u8 {
    let is_of_tag = found.tag.as_deref() == tag.map(Tag::as_str);
    let of_signed = |tag: &String| signed_tags.contains(tag);
    match (found.rejected.is_none(), found.revoked) {
        (true, _) if is_of_tag => 0,
        (_, true) => 1,
        (true, _) if found.tag.as_ref().is_none_or(of_signed) => 2,
        (true, _) => 3,
        (false, false) => 4,
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
        let lengths = found.signed.iter().map(|(file, _)| file.bytes.len());
        lengths.sum()
    }

    fn deciding(tag: Option<&Tag>, threshold: u64) -> DecidingSignatures<'_> {
        DecidingSignatures { tag, threshold }
    }

    #[test]
    fn of_what_no_pinned_key_signed_the_finding_is_kept_and_none_of_its_bytes() {
        let mut found = FoundSoFar::default();
        for at in 0..2 * MOST_SIGNATURES {
            let files = found.not_seen(vec![junk(at)]);
            assert_eq!(files.len(), 1);
            let findings = outcome(&files, Vec::new()).findings;
            found.add((&files, &findings), false, deciding(None, 1));
            assert_eq!(kept(&found), 0);
        }
        assert_eq!(found.others.len(), MOST_SIGNATURES);
        let signed = vec![file(BUNDLE)];
        let findings = outcome(&signed, Vec::new()).findings;
        found.add((&signed, &findings), false, deciding(None, 1));
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
        weightiest(&mut all, deciding(None, 1));
        let mut first = all.iter().take(MOST_SIGNATURES);
        assert!(first.any(|(_, found)| found.revoked));
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
        found.add((&[file], &[finding]), false, deciding(tag, 1));
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

    /// Whether both keys' signatures of the tag v1 are among those that decide where no tag is asked for,
    /// and two keys must have signed one. A third key signs that many other tags before, between and after.
    fn decides_v1(found: &mut FoundSoFar, flood: usize, length: usize) -> bool {
        let mut add = |(file, finding): FoundSignature| {
            found.add((&[file], &[finding]), false, deciding(None, 2));
        };
        let signers = [Some(2), Some(3), None];
        for (part, signer) in signers.into_iter().enumerate() {
            for at in 0..flood {
                add(signed(length, 1, Some(&format!("a{part}-{at}"))));
            }
            if let Some(key) = signer {
                add(signed(5000, key, Some("v1")));
            }
        }
        let files = found.files();
        let of_v1 = files
            .iter()
            .filter(|file| file.bytes[8..].starts_with(b"v1 "));
        of_v1.count() == 2
    }

    #[test]
    fn no_number_of_tags_by_one_key_hides_the_tag_that_enough_other_keys_signed() {
        for (flood, length) in [(30, 100), (180, 100), (30, SIGNATURE_BYTES), (60, 20_000)] {
            let mut found = FoundSoFar::default();
            assert!(decides_v1(&mut found, flood, length), "{flood} of {length}");
            assert!(kept(&found) <= MOST_BYTES && found.signed.len() <= MOST_KEPT);
            assert!(found.files().len() <= MOST_SIGNATURES);
        }
    }

    #[test]
    fn a_key_s_own_other_tags_hide_no_tag_that_it_signed_with_another_key() {
        let mut found = FoundSoFar::default();
        let mut add = |key, tag: &str| {
            let (file, finding) = signed(100, key, Some(tag));
            found.add((&[file], &[finding]), false, deciding(None, 2));
        };
        for at in 0..150 {
            add(1, &format!("a{at}"));
        }
        add(1, "v1");
        for at in 150..300 {
            add(1, &format!("a{at}"));
        }
        add(2, "v1");
        let tags: Vec<_> = found.signed().take(2).map(|one| one.tag.clone()).collect();
        assert_eq!(tags, [Some("v1".to_owned()), Some("v1".to_owned())]);
        assert!(found.left_out().is_empty());
    }

    #[test]
    fn each_key_has_an_equal_part_of_the_signatures_that_decide() {
        let mut found = FoundSoFar::default();
        for at in 0..200 {
            add(&mut found, signed(100, 1, Some(&format!("a{at}"))), None);
        }
        for at in 0..40 {
            add(&mut found, signed(5000, 2, Some(&format!("b{at}"))), None);
        }
        let files = found.files();
        let of_second = files.iter().filter(|file| file.bytes[0] == 2);
        assert_eq!(of_second.count(), MOST_SIGNATURES / 2);
    }
}
