//! The room that there is for signatures of one image, and the order in which they take it. A key that
//! signs much takes no room of what another key signed.

use std::collections::{BTreeMap, BTreeSet};

use rootpin_policy::{Root, RootKind};
use rootpin_trust::image::Tag;
use rootpin_trust::{KeyId, MOST_SIGNATURES, SignatureFile, SignatureFinding};

/// Bytes of signatures by pinned keys that are kept of one image. Anybody can make a copy of one large by
/// what is not signed of it; real ones have some 10,000, so that there is room for all that are looked at.
pub(super) const MOST_BYTES: usize = 2 << 20;

/// Bytes of a signature that takes the room of no other one.
const BYTES_EACH: usize = MOST_BYTES / MOST_SIGNATURES;

/// What is left of the room.
#[derive(Debug)]
pub(super) struct SignatureRoom {
    pub(super) signatures: usize,
    pub(super) bytes: usize,
}

impl Default for SignatureRoom {
    fn default() -> Self {
        Self {
            signatures: MOST_SIGNATURES,
            bytes: MOST_BYTES,
        }
    }
}

impl SignatureRoom {
    /// Takes the room of a signature with that length, if there is enough.
    pub(super) fn take(&mut self, length: usize) -> bool {
        let (signatures, bytes) = (
            self.signatures.checked_sub(1),
            self.bytes.checked_sub(length),
        );
        let (Some(signatures), Some(bytes)) = (signatures, bytes) else {
            return false;
        };
        *self = Self { signatures, bytes };
        true
    }
}

/// Which signatures decide a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecidingSignatures<'a> {
    /// The tag that is asked for; `None`: any will do.
    pub(super) tag: Option<&'a Tag>,
    /// How many keys must have signed one tag.
    pub(super) threshold: u64,
}

impl<'a> DecidingSignatures<'a> {
    /// Those of a question about a tag, under a root.
    pub(super) fn of(root: &Root, tag: Option<&'a Tag>) -> Self {
        let threshold = match &root.kind {
            RootKind::Cosign(pins) => pins.threshold,
            RootKind::Notation(_) | RootKind::Notary(_) | RootKind::Tuf(_) => 1,
        };
        Self { tag, threshold }
    }

    /// The tags that enough keys signed. Fewer keys than must sign add none to them, however much
    /// they sign.
    pub(super) fn signed_tags<'f>(
        self,
        findings: impl IntoIterator<Item = &'f SignatureFinding>,
    ) -> BTreeSet<String> {
        let mut signers: BTreeMap<&str, BTreeSet<KeyId>> = BTreeMap::new();
        for found in findings {
            if let (Some(tag), Some(key), None) = (&found.tag, found.key, &found.rejected) {
                signers.entry(tag).or_default().insert(key);
            }
        }
        let is_enough = |count: u64| count >= self.threshold;
        signers.retain(|_, keys| u64::try_from(keys.len()).is_ok_and(is_enough));
        signers.into_keys().map(str::to_owned).collect()
    }
}

pub(super) fn length(file: &SignatureFile) -> usize {
    file.bytes.len() + file.signature.as_ref().map_or(0, String::len)
}

/// How many turns of its key a signature takes.
fn turns(length: usize) -> usize {
    1 + length / BYTES_EACH
}

/// The order of one key's signatures: small ones first, and those alike by their tags, so that keys
/// which signed the same tags have them at the same turns.
pub(super) fn own_order<'f>(
    file: &SignatureFile,
    found: &'f SignatureFinding,
) -> (usize, Option<&'f str>) {
    (turns(length(file)), found.tag.as_deref())
}

/// Puts signatures into the order in which they take room: the keys in turns, and of one turn the small
/// ones first. `all`: each key's in its own order. `of`: the key and the length of one.
pub(super) fn in_turns<T>(all: Vec<T>, of: impl Fn(&T) -> (Option<KeyId>, usize)) -> Vec<T> {
    let mut taken: BTreeMap<Option<KeyId>, usize> = BTreeMap::new();
    let with_turn = |one: T| {
        let (key, length) = of(&one);
        let turn = taken.entry(key).or_default();
        *turn += turns(length);
        (*turn, length, one)
    };
    let mut all: Vec<(usize, usize, T)> = all.into_iter().map(with_turn).collect();
    all.sort_by_key(|(turn, length, _)| (*turn, *length));
    all.into_iter().map(|(_, _, one)| one).collect()
}
