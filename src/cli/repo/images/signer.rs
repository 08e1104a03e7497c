//! Finds the role that may sign a name here, and refuses what hosts would not see.

use super::super::report::key_name;
use crate::publish::keyring::Keyring;
use crate::publish::{Draft, Metadata, PublishError, delegation_path};

pub(in super::super) fn may_sign(metadata: &Metadata, keyring: &Keyring, role: &str) -> bool {
    let authority = metadata.authority(role);
    authority.is_some_and(|authority| {
        authority
            .keys
            .iter()
            .any(|key| key.id.is_some_and(|id| keyring.signs_with(id)))
    })
}

/// The role to sign a path in: the one that decides it already, or else the most specific one, if a
/// key here may sign for it.
pub(super) fn role_for(
    metadata: &Metadata,
    keyring: &Keyring,
    path: &str,
) -> Result<String, PublishError> {
    let asked = delegation_path::roles_for(metadata, path);
    let may = |role: &&String| may_sign(metadata, keyring, role);
    let decided = delegation_path::deciding_role(metadata, path);
    // Pre-order, the most specific delegation first: after `targets`, which covers everything.
    let first = || {
        asked
            .iter()
            .skip(1)
            .find(may)
            .or_else(|| asked.first().filter(may))
            .cloned()
    };
    decided
        .filter(|role| may_sign(metadata, keyring, role))
        .or_else(first)
        .ok_or_else(|| {
            let signers: Vec<_> = asked
                .iter()
                .map(|role| format!("{role}: {}", signers(metadata, keyring, role)))
                .collect();
            PublishError::wrong(
                format!("no key here may sign {path}"),
                format!(
                    "have it signed by one of those who may: {}",
                    signers.join("; ")
                ),
            )
        })
}

fn signers(metadata: &Metadata, keyring: &Keyring, role: &str) -> String {
    let keyids = metadata
        .authority(role)
        .map(|authority| authority.keyids())
        .unwrap_or_default();
    keyids
        .iter()
        .map(|keyid| key_name(keyid, metadata, keyring))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn check_key(
    metadata: &Metadata,
    keyring: &Keyring,
    role: &str,
    path: &str,
) -> Result<(), PublishError> {
    if may_sign(metadata, keyring, role) {
        return Ok(());
    }
    let signers = signers(metadata, keyring, role);
    Err(PublishError::wrong(
        format!("{role} lists {path}, and no key of it is here"),
        format!("its keys are held by {signers}"),
    ))
}

/// Refuses what no host would see: a role that is not asked for the path, or after another one that
/// lists it.
pub(super) fn check_delegation(
    metadata: &Metadata,
    role: &str,
    path: &str,
) -> Result<(), PublishError> {
    let asked = delegation_path::roles_for(metadata, path);
    let Some(at) = asked.iter().position(|known| known == role) else {
        return Err(PublishError::wrong(
            format!("hosts don't ask {role} for {path}"),
            format!(
                "they ask {}; rootpin repo delegate list shows who signs what",
                asked.join(", ")
            ),
        ));
    };
    match asked
        .iter()
        .take(at)
        .find(|earlier| delegation_path::lists(metadata, earlier, path))
    {
        Some(earlier) => Err(PublishError::wrong(
            format!("{earlier} lists {path} already, and is asked before {role}"),
            format!("sign it there (--role {earlier}), or revoke it there first"),
        )),
        None => Ok(()),
    }
}

/// Refuses to sign along with one's own change what others have put to be signed and nobody here
/// has looked at.
pub(in super::super) fn check_waiting(
    draft: &Draft,
    keyring: &Keyring,
    role: &str,
) -> Result<(), PublishError> {
    let Some(file) = draft.next.waiting.get(role) else {
        return Ok(());
    };
    let Some(authority) = draft.next.authority(role) else {
        return Ok(());
    };
    let signed = Metadata::signers(&authority, &file.document);
    let here = signed
        .iter()
        .any(|key| key.id.is_some_and(|id| keyring.signs_with(id)));
    if here || signed.len() >= authority.threshold {
        return Ok(());
    }
    let signed: Vec<_> = signed
        .iter()
        .map(|key| key_name(&key.keyid, &draft.next, keyring))
        .collect();
    Err(PublishError::wrong(
        format!("{role} waits with changes by {}", signed.join(", ")),
        format!(
            "look at them with rootpin repo approve {role} --dry-run, and approve or drop them first"
        ),
    ))
}
