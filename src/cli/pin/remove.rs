//! `rootpin pin remove` and `rootpin pin revoke`: what trusts less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::change::{PolicyChange, PolicyEdit};
use super::{Changing, Failure};
use crate::cli::output::{Output, shell_word};
use crate::plain_file;
use crate::policy_dir::pins::{self, NewTable};
use crate::problem::Problem;
use rootpin_policy::{Policy, Root, RootKind};
use rootpin_trust::image::Digest;
use rootpin_trust::key_file::signature_keys;
use rootpin_trust::{Fingerprint, KeyId, key_name};

pub(super) const REMOVE_EXAMPLES: &str = "examples:\n  \
    rootpin pin remove team d0c623c8… --dry-run   (one key, by its ID, fingerprint or entry)\n  \
    rootpin pin remove team --with-rules --dry-run   (the root, and the rules that name no other)";
pub(super) const REVOKE_EXAMPLES: &str = "examples:\n  \
    rootpin pin revoke d0c623c8… --reason stolen --dry-run\n  \
    rootpin pin revoke sha256:e3b0… --reason CVE-2026-1 --fragment 00-revoked.toml";

/// Some keys with their certificates.
const MAX_KEY_BYTES: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RemovePin {
    /// The root's id in the policy
    id: String,
    /// One of its keys, by canonical ID, fingerprint or entry; without it the whole root goes
    key: Option<String>,
    /// Take out the rules that name this root alone, too: their names fall to a less specific rule,
    /// or are refused
    #[arg(long, conflicts_with = "key")]
    with_rules: bool,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RevokePin {
    /// A key, by its file, its fingerprint, its canonical ID or the ID in its metadata; or the digest
    /// of an index, a manifest, a config or a layer
    #[arg(value_name = "KEY|DIGEST")]
    what: String,
    /// Why, in a line, for whoever reads the record later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    changing: Changing,
}

pub(super) fn remove(arguments: &RemovePin, output: Output) -> Result<u8, Failure> {
    let change = PolicyChange::begin(arguments.changing.clone())?;
    let policy = change.policy()?;
    let root = policy
        .as_ref()
        .and_then(|policy| policy.roots.get(&arguments.id));
    let (Some(policy), Some(root)) = (&policy, root) else {
        return Err(Failure::Refused(Problem::hinted(
            format!("the policy has no root {:?}", arguments.id),
            "rootpin pin list",
        )));
    };
    if change.is_fragment_named() {
        return Err(Failure::Usage(
            "a root is taken out where it stands; --fragment is for new entries"
                .to_owned()
                .into(),
        ));
    }
    let file = root.location.file.to_string();
    let before = change.text(&file)?.unwrap_or_default();
    let id = root.id.clone();
    let Some(key) = &arguments.key else {
        check_rules(policy, root, arguments.with_rules)?;
        let after = pins::remove_from_rules(&before, &id, arguments.with_rules)?;
        let after = pins::remove_root(&after, &id)?;
        let words = format!("taken out: the root {id}; its files stay, and pin nothing");
        let edit = PolicyEdit {
            file,
            before: Some(before),
            after,
            pinned: BTreeMap::new(),
            words,
            members: json!({ "root": id }),
        };
        return change.finish(edit, |policy| !policy.roots.contains_key(&id), output);
    };
    let entry = entry_of(root, key)?;
    let after = pins::remove_key(&before, &id, &entry)?;
    let words = format!("taken out of {id}: {entry}; a file of that name stays, and pins nothing");
    let members = json!({ "root": id, "entry": entry });
    let edit = PolicyEdit {
        file,
        before: Some(before),
        after,
        pinned: BTreeMap::new(),
        words,
        members,
    };
    let fewer = |policy: &Policy| {
        policy
            .roots
            .get(&id)
            .is_some_and(|now| now.keys.is_subset(&root.keys))
    };
    change.finish(edit, fewer, output)
}

pub(super) fn revoke(arguments: &RevokePin, output: Output) -> Result<u8, Failure> {
    let change = PolicyChange::begin(arguments.changing.clone())?;
    let policy = change.policy()?;
    // A pinned key's fingerprint in the form of a digest would revoke no bytes that there are.
    let hex = arguments.what.strip_prefix("sha256:").unwrap_or_default();
    let is_key = key_of(policy.as_ref(), hex).is_ok_and(|named| named.is_known);
    if is_key {
        return Err(Failure::Usage(Problem::hinted(
            format!(
                "{} is the fingerprint of a pinned key, and no digest of an image",
                arguments.what
            ),
            format!(
                "rootpin pin revoke {hex} --reason {}",
                shell_word(&arguments.reason)
            ),
        )));
    }
    let digest = if arguments.what.starts_with("sha256:") {
        arguments.what.parse::<Digest>().ok()
    } else {
        None
    };
    let (key, value, named) = if let Some(digest) = digest {
        ("digest", digest.to_string(), None)
    } else {
        let named = key_of(policy.as_ref(), &arguments.what)?;
        ("key", named.text.clone(), Some(named))
    };
    let of_key = |policy: &Policy| -> Option<String> {
        let key = &named.as_ref()?.key;
        policy.revoked_key(key).map(str::to_owned)
    };
    let of = |policy: &Policy| match &digest {
        Some(digest) => policy.revoked_digest(digest).map(str::to_owned),
        None => of_key(policy),
    };
    if let Some(reason) = policy.as_ref().and_then(of) {
        let document = json!({ "version": 1, "outcome": "revoked-already", "revoked": { key: value }, "reason": reason });
        output.value(&document, |_| {
            format!("revoked already: {key} {value}: {reason}; nothing is changed")
        });
        return Ok(0);
    }
    let (file, fresh) = (
        change.file()?,
        if change.is_fragment_named() {
            ""
        } else {
            "version = 1\ndefault = \"deny\"\n"
        },
    );
    let before = change.text(&file)?;
    let text = before.clone().unwrap_or_else(|| fresh.to_owned());
    let values = vec![
        (key, value.as_str().into()),
        ("reason", arguments.reason.as_str().into()),
    ];
    let after = pins::append(
        &text,
        &[NewTable {
            header: "revoked",
            values,
        }],
    )?;
    let mut words = format!("revoked: {key} {value}");
    if let Some(named) = &named {
        words.push_str(named.covers());
    } else {
        // The fingerprint of a key that is not pinned looks the same.
        let what = ", as the bytes of an image, index, manifest or layer; a key or certificate with this fingerprint is revoked by: rootpin pin revoke ";
        words.extend([what, hex, " --reason ", &shell_word(&arguments.reason)]);
    }
    let members = json!({ "revoked": { key: value }, "reason": arguments.reason });
    let edit = PolicyEdit {
        file,
        before,
        after,
        pinned: BTreeMap::new(),
        words,
        members,
    };
    change.finish(edit, |policy| of(policy).is_some(), output)
}

/// The rules that name the root, all of which must stand in its own file: only one file changes at
/// once.
fn check_rules(policy: &Policy, root: &Root, with_rules: bool) -> Result<(), Failure> {
    let naming = policy
        .rules
        .iter()
        .filter(|rule| rule.roots.iter().any(|one| one.id == root.id));
    for rule in naming {
        let at = format!(
            "{} at {}:{}",
            rule.pattern, rule.location.file, rule.location.line
        );
        if rule.location.file != root.location.file {
            return Err(Failure::Refused(Problem::hinted(
                format!(
                    "the rule {at} names it, in another file than the root; nothing is changed"
                ),
                "two files can't change in one step: \
                 change them in a copy of the folder, and ship that",
            )));
        }
        if rule.roots.len() == 1 && !with_rules {
            let mut others: Vec<_> = policy
                .rules
                .iter()
                .filter(|other| {
                    other.pattern != rule.pattern && other.pattern.overlaps(&rule.pattern)
                })
                .collect();
            others.sort_by_key(|other| other.pattern.specificity());
            let falls = others
                .last()
                .map_or("would be refused".to_owned(), |other| {
                    format!("could fall to the rule {}", other.pattern)
                });
            return Err(Failure::Refused(Problem::hinted(
                format!("the rule {at} names no other root; nothing is changed"),
                format!("--with-rules takes it out too; its names {falls}"),
            )));
        }
    }
    Ok(())
}

/// The entry of `keys` that pins this key and no other.
fn entry_of(root: &Root, key: &str) -> Result<String, Failure> {
    if matches!(root.kind, RootKind::Tuf(_)) {
        return Err(Failure::Refused(Problem::hinted(
            format!("the root {} pins a root file, not keys", root.id),
            format!(
                "rootpin pin add {} --replace --from ROOT.json puts another in its place",
                root.id
            ),
        )));
    }
    let is_it = |id: &KeyId, fingerprint: Option<&Fingerprint>| {
        id.to_string() == key
            || fingerprint.is_some_and(|fingerprint| {
                fingerprint.to_string() == key || fingerprint.hex() == key
            })
    };
    let pins_it = |keys: &[(KeyId, Option<Fingerprint>)]| {
        keys.iter()
            .any(|(id, fingerprint)| is_it(id, fingerprint.as_ref()))
    };
    let mut entries = root
        .entries
        .iter()
        .filter(|entry| entry.text == key || pins_it(&entry.keys));
    match (entries.next(), entries.next()) {
        (None, _) => Err(Failure::Refused(Problem::hinted(
            format!("the root {} does not pin {key:?}", root.id),
            "rootpin pin list",
        ))),
        (Some(entry), None) if entry.text == key || entry.keys.len() == 1 => Ok(entry.text.clone()),
        (Some(entry), None) => Err(Failure::Refused(Problem::hinted(
            format!("{} pins {} keys", entry.text, entry.keys.len()),
            "take the key out of that file",
        ))),
        (Some(_), Some(_)) => Err(Failure::Refused(Problem::hinted(
            format!("several entries pin {key:?}"),
            "take each out by its own name",
        ))),
    }
}

/// A key that is to be revoked.
struct NamedKey {
    key: KeyId,
    /// As the policy is to name it.
    text: String,
    /// Whether a pinned root has it, or its file was given: then it is known by all its names.
    is_known: bool,
}

impl NamedKey {
    /// What the revocation does not reach, for people.
    fn covers(&self) -> &'static str {
        if self.is_known {
            return "";
        }
        "\nno pinned root has this key: it counts nowhere as a key with this fingerprint or ID, in a certificate with this fingerprint, or where metadata lists it by this ID; to revoke a key under every name, give its file"
    }
}

/// The key that is named by a file, or by one of the hashes that tools print of it.
fn key_of(policy: Option<&Policy>, text: &str) -> Result<NamedKey, Failure> {
    let roots = policy.into_iter().flat_map(|policy| policy.roots.values());
    let names: Vec<(KeyId, KeyId)> = roots.clone().flat_map(|root| root.key_names()).collect();
    let name = key_name(text);
    let known = names.iter().filter(|(known, _)| Some(*known) == name);
    let known: BTreeSet<KeyId> = known.map(|(_, id)| *id).collect();
    // A file of TUF may list its key by another key's hash: the policy revokes all that it names.
    if let Some(key) = name.filter(|_| known.len() > 1) {
        return Ok(NamedKey {
            key,
            text: text.to_owned(),
            is_known: true,
        });
    }
    // Metadata may list a key by whatever text.
    let listed = || {
        let mut listed = roots.flat_map(|root| root.listed_keys());
        listed
            .find(|key| !text.is_empty() && key.scoped_id() == text)
            .map(|key| key.id())
    };
    if let Some(id) = known.first().copied().or_else(listed) {
        return Ok(NamedKey {
            key: id,
            text: id.to_string(),
            is_known: true,
        });
    }
    if let Some(key) = name {
        return Ok(NamedKey {
            key,
            text: text.to_owned(),
            is_known: false,
        });
    }
    let wrong = |why: String| {
        Failure::Usage(Problem::hinted(
            why,
            "rootpin pin list shows the keys that are pinned, rootpin pin scan those of an image's signatures",
        ))
    };
    let file = Path::new(text);
    let Ok((bytes, _)) = plain_file::read(file, MAX_KEY_BYTES) else {
        return Err(wrong(format!(
            "{text:?} names nothing that can be revoked: wanted a digest (sha256: and 64 lower-case hex digits), a file of one public key or certificate, a fingerprint (SHA256:…, or openssl's with colons), or a key ID (64 lower-case hex digits)"
        )));
    };
    let keys = signature_keys(&bytes).map_err(|error| wrong(format!("{text}: {error}")))?;
    match keys.as_slice() {
        [key] => Ok(NamedKey {
            key: key.id(),
            text: key.id().to_string(),
            is_known: true,
        }),
        keys => Err(wrong(format!(
            "{text} has {} keys: name one of them by its fingerprint, or keep the one that is to be revoked",
            keys.len()
        ))),
    }
}
