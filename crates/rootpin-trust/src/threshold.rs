//! Whether enough keys signed: the only place that counts signatures.
//!
//! Off-spec: Notary counts key IDs, so that two certificates over one key are two; here distinct
//! keys count, by canonical ID.

use std::collections::BTreeSet;

use super::budget::Budget;
use super::key::{PublicKey, SignedMessage};
use super::refusal::shown;
use super::{Code, KeyId, Refusal};

/// One entry of a file's `signatures`.
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) keyid: String,
    pub(super) method: String,
    pub(super) bytes: Vec<u8>,
}

/// Bytes that were signed, and by whom they claim to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The file's name, for people.
    pub(super) file: &'a str,
    pub(super) message: SignedMessage<'a>,
    pub(super) signatures: &'a [Signature],
}

/// The rule for counting signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting<'a> {
    /// IDs of the keys whose signatures count for nothing: see [`PublicKey::is_revoked`].
    pub(super) revoked: &'a BTreeSet<KeyId>,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub(super) allow_rsa_pkcs1v15: bool,
}

/// The distinct keys among `keys` that signed, if they are as many as `threshold`. A revoked key's
/// signature counts for nothing.
pub(super) fn signers(
    keys: &[&PublicKey],
    threshold: u64,
    signed: Signed<'_>,
    counting: Counting<'_>,
    budget: &mut Budget,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let mut counted = BTreeSet::new();
    let mut revoked = BTreeSet::new();
    // A key that is revoked by one of the IDs that list it is so under each.
    let is_out = |key: &&&PublicKey| key.is_revoked(counting.revoked);
    let out: BTreeSet<KeyId> = keys.iter().filter(is_out).map(|key| key.id()).collect();
    for signature in signed.signatures {
        for key in keys.iter().filter(|key| key.scoped_id() == signature.keyid) {
            let id = key.id();
            let tally = if out.contains(&id) {
                &mut revoked
            } else {
                &mut counted
            };
            if tally.contains(&id) {
                continue;
            }
            budget.take_signature()?;
            if key.verify_metadata(
                &signature.method,
                signed.message,
                &signature.bytes,
                counting.allow_rsa_pkcs1v15,
            ) {
                tally.insert(id);
            }
        }
    }
    let listed: BTreeSet<KeyId> = keys.iter().map(|key| key.id()).collect();
    let refusal = match enough(signed.file, &listed, threshold, &counted, &revoked) {
        Err(refusal) if refusal.code == Code::BadSignature => refusal,
        other => return other,
    };
    let unknown: Vec<&str> = keys.iter().filter_map(|key| key.unknown()).collect();
    let not_allowed = keys
        .iter()
        .filter(|key| key.is_pkcs1v15() && !counting.allow_rsa_pkcs1v15)
        .count();
    let (mut found, mut hint) = (refusal.found, ENOUGH);
    if !unknown.is_empty() {
        let kinds: BTreeSet<String> = unknown.iter().take(8).map(|kind| shown(kind)).collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        found = format!(
            "{found} (of its role's keys, {} of a kind or scheme not known here: {})",
            unknown.len(),
            kinds.join(", ")
        );
    }
    if not_allowed > 0 {
        found = format!(
            "{found} ({not_allowed} of its role's keys sign by \"rsa-pkcs1v15-sha256\", which does not count)"
        );
        hint = "have the publisher move to rsassa-pss-sha256; until then allow-rsa-pkcs1v15 = true in the policy's [[root]] lets them count";
    }
    let hint = hint.to_owned();
    Err(Refusal {
        found,
        hint,
        ..refusal
    })
}

/// The distinct keys that signed, if they are as many as `threshold`, of the keys that may sign.
pub(super) fn enough(
    file: &str,
    keys: &BTreeSet<KeyId>,
    threshold: u64,
    counted: &BTreeSet<KeyId>,
    revoked: &BTreeSet<KeyId>,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let enough = |count: usize| u64::try_from(count).unwrap_or(u64::MAX) >= threshold;
    if enough(counted.len()) {
        return Ok(counted.clone());
    }
    let wanted = format!("{threshold} of the keys {}", KeyId::list(keys));
    if enough(counted.len() + revoked.len()) {
        let found = format!(
            "{file} signed only with revoked keys {}",
            KeyId::list(revoked)
        );
        return Err(Refusal::new(
            Code::Revoked,
            found,
            wanted,
            "have it signed by keys that the policy does not revoke",
        ));
    }
    let found = format!(
        "{file} with good signatures of {} distinct keys",
        counted.len()
    );
    Err(Refusal::new(Code::BadSignature, found, wanted, ENOUGH))
}

const ENOUGH: &str =
    "have the file signed by enough of its role's keys; nothing on this host can replace that";

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;
    use crate::canonical::{Limits, Text, rewrite};
    use crate::{Format, hex};

    #[test]
    fn a_key_that_is_revoked_by_one_of_its_ids_is_so_under_each_that_its_role_lists() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = hex::encode(pair.public_key().as_ref());
        let text = format!(
            r#"{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}"#
        );
        let limits = Limits {
            bytes: 1 << 10,
            depth: 4,
            values: 16,
        };
        let text = rewrite(text.as_bytes(), limits).unwrap();
        let first = "ab".repeat(32);
        let keys = [first.as_str(), "second"]
            .map(|id| PublicKey::from_metadata(Format::Tuf, id, Text::of(&text)).unwrap());
        let keys: Vec<&PublicKey> = keys.iter().collect();
        let message = b"message";
        let signatures = [Signature {
            keyid: "second".to_owned(),
            method: String::new(),
            bytes: pair.sign(message).as_ref().to_vec(),
        }];
        let signed = Signed {
            file: "timestamp.json",
            message: SignedMessage::of(message),
            signatures: &signatures,
        };
        let code = |revoked: &[&str]| {
            let revoked = revoked.iter().map(|id| id.parse().unwrap()).collect();
            let counting = Counting {
                revoked: &revoked,
                allow_rsa_pkcs1v15: false,
            };
            let found = signers(&keys, 1, signed, counting, &mut Budget::new());
            found.map_err(|refusal| refusal.code)
        };
        assert!(code(&[]).is_ok());
        assert_eq!(code(&[&first]), Err(Code::Revoked));
        assert_eq!(code(&[&keys[0].id().to_string()]), Err(Code::Revoked));
        assert!(code(&[&"cd".repeat(32)]).is_ok());
    }
}
