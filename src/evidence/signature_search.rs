//! A search of a registry for an image's signatures: when it has enough, what is kept of what it finds,
//! and what is said of what it could not see.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use super::drive::revoked_beside;
use super::signature_pins::{kind_of, verify};
use super::statement::Unseen;
use super::{Repositories, RootLook};
use crate::sources::{CutLists, ListsRead, SourceError};
use rootpin_trust::image::{Digest, Tag};
use rootpin_trust::{
    Code, KeyId, MOST_SIGNATURES, Refusal, SignatureFile, SignatureFinding, SignatureOutcome,
    SignedImage,
};

/// A signature, and what became of it.
type FoundSignature = (SignatureFile, SignatureFinding);

/// All that a search found.
#[derive(Debug)]
pub(crate) struct FoundSignatures {
    /// The signatures by pinned keys.
    pub(super) files: Vec<SignatureFile>,
    pub(crate) outcome: SignatureOutcome,
    /// Why there may be more than was seen.
    pub(crate) failed: Option<SourceError>,
    /// What was left out of long lists.
    pub(crate) cut: Option<CutLists>,
    lists_read: ListsRead,
}

impl FoundSignatures {
    /// Which signers may be there that were not seen, where all were wanted.
    pub(super) fn unseen(&self, image: SignedImage<'_>) -> Unseen {
        if !image.every_signer {
            return Unseen::default();
        }
        let failed = self.failed.as_ref();
        Unseen {
            refusal: failed.map(|error| not_read(error, self.lists_read)),
            cut: of_longer_lists(self.cut),
        }
    }
}

/// What a search has found so far. An image's registry may have much beside it that no pinned key
/// signed: no answer rests on its bytes, so none are kept.
#[derive(Debug, Default)]
pub(super) struct FoundSoFar {
    /// By pinned keys.
    signed: Vec<FoundSignature>,
    /// What was found of the others.
    others: Vec<SignatureFinding>,
    seen: HashSet<SeenFile>,
}

/// What tells one signature's file from another one: media type, bytes, annotation.
type SeenFile = (String, Digest, Option<String>);

impl FoundSoFar {
    fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.others.is_empty()
    }

    /// Those that were not found before: a registry may list one signature at two places.
    fn not_seen(&self, files: Vec<SignatureFile>) -> Vec<SignatureFile> {
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
        weightiest(&mut self.signed, tag);
        let left = MOST_SIGNATURES.saturating_sub(self.signed.len());
        self.others.truncate(left);
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

impl Repositories {
    /// Searches a registry until enough keys signed the tag that is asked for; or for `all`
    /// signatures. `known`: signatures that are at hand; `at_hand`: why they are not enough.
    ///
    /// # Errors
    /// Not enough keys signed, and signatures may be there that were not seen.
    pub(crate) async fn search(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        (known, at_hand): (Vec<SignatureFile>, Option<&Refusal>),
        all: bool,
    ) -> Result<FoundSignatures, Refusal> {
        let search = self.sources.signatures(
            look.beside.unwrap_or(image.repository),
            (image.digest, kind_of(look.root)),
            look.replies,
            look.deadline,
        );
        let search = search.await;
        let mut search =
            search.map_err(|error| beside_what_is_at_hand(error.refusal(), at_hand))?;
        let mut found = FoundSoFar::default();
        // What all of it comes to, as long as it came at once.
        let mut whole = None;
        let (mut more, mut is_cached) = (Some(known), true);
        while let Some(new) = more {
            let new = found.not_seen(new);
            if !new.is_empty() {
                let (new, alone) = verify(look, image, new, Vec::new()).await?;
                // Copies of what counted already can't make it enough.
                let known = counting(found.signed.iter().map(|(_, one)| one));
                let counts = !counting(&alone.findings).is_subset(&known);
                let by_pinned = alone.findings.iter().all(|found| found.key.is_some());
                let is_whole = found.is_empty() && by_pinned;
                // The cache may have what is by other roots' keys.
                found.add((&new, &alone.findings), is_cached, image.tag);
                whole = is_whole.then_some((new, alone));
                if counts && !all && !image.every_signer {
                    let (files, outcome) = match whole.take() {
                        Some(whole) => whole,
                        None => verify(look, image, found.files(), Vec::new()).await?,
                    };
                    if outcome.result.is_ok() {
                        return Ok(FoundSignatures {
                            files,
                            outcome,
                            failed: None,
                            cut: None,
                            lists_read: search.lists_read(),
                        });
                    }
                }
            }
            is_cached = false;
            more = Box::pin(search.next(look.deadline)).await;
        }
        let (files, mut outcome) = if let Some(whole) = whole {
            whole
        } else {
            let (files, others) = found.into_parts();
            verify(look, image, files, others).await?
        };
        let (failed, cut, lists_read) = (search.failed(), search.cut(), search.lists_read());
        match (&mut outcome.result, failed) {
            (Err(no), Some(error)) if !all => {
                let (is_empty, cut) = (outcome.findings.is_empty(), of_longer_lists(cut));
                let unseen = unseen_beside(error, lists_read, (no, is_empty, &cut), at_hand);
                return Err(revoked_beside(unseen, no));
            }
            (Err(no), _) => no.found.push_str(&of_longer_lists(cut)),
            (Ok(_), _) => {}
        }
        let failed = failed.cloned();
        Ok(FoundSignatures {
            files,
            outcome,
            failed,
            cut,
            lists_read,
        })
    }
}

/// Why it can't be judged where something was not read that may be a signature. `no`: what the others
/// come to, whether there are none, and how much of long lists was looked at. `at_hand`: why those that
/// are at hand are not enough.
fn unseen_beside(
    error: &SourceError,
    lists_read: ListsRead,
    (no, is_empty, cut): (&Refusal, bool, &str),
    at_hand: Option<&Refusal>,
) -> Refusal {
    let mut refusal = not_read(error, lists_read);
    if !error.is_silent() || is_slow(error, lists_read) && !is_empty {
        let others = format!(
            "; it may be a signature, and the others come to: {}{cut}",
            no.found
        );
        refusal.found.push_str(&others);
    } else {
        refusal.found.push_str(cut);
    }
    if is_slow(error, lists_read) {
        return refusal;
    }
    beside_what_is_at_hand(refusal, at_hand)
}

/// Why a registry could not be heard, with why what is at hand is not enough: a host without a network
/// needs to know which signatures it is to be brought.
fn beside_what_is_at_hand(mut refusal: Refusal, at_hand: Option<&Refusal>) -> Refusal {
    let no = at_hand.filter(|no| no.code != Code::Revoked);
    if let Some(no) = no.filter(|_| refusal.code == Code::SourceUnreachable) {
        let known = format!("; at hand is {}", no.found);
        refusal.found.push_str(&known);
        let bring = "; a host without a network needs a bundle with a signature that counts: rootpin bundle import";
        refusal.hint.push_str(bring);
    }
    refusal
}

/// A registry that lists what is beside the image answers, and not in time for all of it.
fn is_slow(error: &SourceError, lists_read: ListsRead) -> bool {
    matches!(error, SourceError::Silent { .. }) && lists_read.listed > 0
}

/// Why something that may be a signature was not read, and what helps.
fn not_read(error: &SourceError, lists_read: ListsRead) -> Refusal {
    let mut refusal = error.refusal();
    if is_slow(error, lists_read) {
        let ListsRead { read, listed } = lists_read;
        let how_much = if read < listed {
            format!(
                "of the manifests and signatures that it lists beside the image {read} of {listed} were read before the deadline"
            )
        } else {
            "what it lists at other places beside the image was read".to_owned()
        };
        let answers = format!("; the registry does answer: {how_much}");
        refusal.found.push_str(&answers);
        "have the registry's owner remove what is beside the image and is no signature of it, or give the question more time: a longer deadline in rootpin.toml".clone_into(&mut refusal.hint);
    } else if !error.is_silent() {
        refusal.hint = format!(
            "have the registry's owner mend or remove what it lists and can't give, or the image signed again; {}",
            refusal.hint
        );
    }
    refusal
}

/// How much of long lists was looked at, as an end of what was found.
fn of_longer_lists(cut: Option<CutLists>) -> String {
    let said = |cut| format!("; of what its registry lists beside it {cut}");
    cut.map(said).unwrap_or_default()
}

/// Keys of signatures that count, and the tags that they bind.
fn counting<'a>(
    findings: impl IntoIterator<Item = &'a SignatureFinding>,
) -> BTreeSet<(Option<KeyId>, Option<String>)> {
    let counting = findings.into_iter().filter(|one| one.rejected.is_none());
    counting.map(|one| (one.key, one.tag.clone())).collect()
}

/// Leaves the signatures that may decide, no more than are looked at: of each key and tag the one that
/// ends last, and then what else there is; one by a revoked key before others that count for nothing, and
/// of the tag that is asked for before those of others. So no copies of a good one, no other tags and no
/// signatures of other images hide another one.
fn weightiest(all: &mut Vec<FoundSignature>, tag: Option<&Tag>) {
    let is_other = |found: &SignatureFinding| found.tag.as_deref() != tag.map(Tag::as_str);
    all.sort_by_key(|(_, found)| {
        let is_rejected = found.rejected.is_some();
        let order = (is_rejected, !found.revoked, is_other(found));
        (order, Reverse(found.expires))
    });
    let mut known = BTreeSet::new();
    let mut is_first = |found: &SignatureFinding| {
        let counts = found.rejected.is_none();
        known.insert((found.key, found.tag.clone(), counts, found.revoked))
    };
    let (mut weightiest, others): (Vec<_>, Vec<_>) = std::mem::take(all)
        .into_iter()
        .partition(|(_, found)| is_first(found));
    weightiest.extend(others);
    weightiest.truncate(MOST_SIGNATURES);
    *all = weightiest;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use rootpin_policy::RootKind;
    use rootpin_trust::image::Repository;
    use rootpin_trust::{SIGNATURE_BYTES, cosign};

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
        cosign::verify_among(image, pins, &BTreeSet::new(), files, others)
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
    fn a_bundle_is_said_to_help_only_where_the_registry_does_not_answer() {
        let no = Refusal::new(Code::Expired, "one that is over", "another", "sign it");
        let silent = SourceError::Silent {
            url: "r.example".to_owned(),
            cause: "no answer".to_owned(),
        };
        for (listed, wanted) in [(0, true), (2, false)] {
            let lists_read = ListsRead { read: 0, listed };
            let said = unseen_beside(&silent, lists_read, (&no, true, ""), Some(&no));
            let at_hand = said.found.contains("at hand is one that is over");
            let bundle = said.hint.contains("rootpin bundle import");
            assert_eq!((at_hand, bundle), (wanted, wanted), "{said:?}");
        }
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
}
