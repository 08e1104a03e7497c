//! A search of a registry for an image's signatures: when it has enough, what is kept of what it finds,
//! and what is said of what it could not see.

use std::collections::BTreeSet;

use super::drive::revoked_beside;
use super::found_signatures::FoundSoFar;
use super::signature_pins::{kind_of, verify};
use super::signature_room::DecidingSignatures;
use super::statement::Unseen;
use super::{Repositories, RootLook};
use crate::sources::{CutLists, ListsRead, SourceError};
use rootpin_trust::{
    Code, KeyId, Refusal, SignatureFile, SignatureFinding, SignatureOutcome, SignedImage,
};

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
        let deciding = DecidingSignatures::of(look.root, image.tag);
        // What all of it comes to, as long as it came at once.
        let mut whole = None;
        let (mut more, mut is_cached) = (Some(known), true);
        while let Some(new) = more {
            search.make_room(found.cached_among(&new));
            let new = found.not_seen(new);
            if !new.is_empty() {
                let (new, alone) = verify(look, image, new, Vec::new()).await?;
                // Copies of what counted already can't make it enough.
                let known = counting(found.signed());
                let count = counting(&alone.findings).difference(&known).count();
                let by_pinned = alone.findings.iter().all(|found| found.key.is_some());
                let is_whole = found.is_empty() && by_pinned;
                // The cache may have what is by other roots' keys.
                found.add((&new, &alone.findings), is_cached, deciding);
                search.make_room(count);
                whole = is_whole.then_some((new, alone));
                if count > 0 && !all && !image.every_signer {
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
        let left_out = found.left_out();
        let (files, mut outcome) = if let Some(whole) = whole {
            whole
        } else {
            let (files, others) = found.into_parts();
            verify(look, image, files, others).await?
        };
        let (failed, cut, lists_read) = (search.failed(), search.cut(), search.lists_read());
        match (&mut outcome.result, failed) {
            (Err(no), Some(error)) if !all => {
                let is_empty = outcome.findings.is_empty();
                let cut = of_longer_lists(cut) + &left_out;
                let unseen = unseen_beside(error, lists_read, (no, is_empty, &cut), at_hand);
                return Err(revoked_beside(unseen, no));
            }
            (Err(no), _) => no.found.push_str(&(of_longer_lists(cut) + &left_out)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
