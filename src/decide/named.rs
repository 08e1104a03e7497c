//! Whether verified metadata says that a name stands for some bytes.

use rootpin_trust::image::{Digest, Tag};
use rootpin_trust::{Code, Collection, Refusal, Target};

/// What the signed metadata says of a tag, or of some tag where only the digest is asked for
/// (policy.md rule 5).
pub(super) fn named(
    collection: &Collection,
    tag: Option<&Tag>,
    digest: Digest,
) -> Result<(), Refusal> {
    // policy.md rule 5: a platform's manifest is the name's too, where the statement lists it.
    let stands = |target: &Target| target.digest == digest || target.manifests.contains(&digest);
    let Some(tag) = tag else {
        let known = collection.targets.values().any(stands);
        return if known {
            Ok(())
        } else {
            Err(no_statement(
                collection,
                &digest.to_string(),
                "some tag that is signed for this digest",
            ))
        };
    };
    match collection.targets.get(tag.as_str()) {
        Some(target) if stands(target) => Ok(()),
        Some(target) => Err(Refusal::new(
            Code::DigestMismatch,
            digest.to_string(),
            format!(
                "{}, signed for tag {tag} in {} of {}",
                target.digest, collection.role, collection.gun
            ),
            "the registry serves other bytes than the publisher signed; sign the new ones, or find out who put them there",
        )),
        None => Err(no_statement(
            collection,
            &format!("tag {tag}"),
            "a tag that is signed",
        )),
    }
}

pub(super) fn no_statement(collection: &Collection, asked: &str, wanted: &str) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        format!(
            "{asked}, which {} of {} does not name",
            collection.role, collection.gun
        ),
        wanted,
        "have the publisher sign it, or pull one that is signed",
    )
}
