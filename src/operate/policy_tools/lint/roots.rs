//! Findings about roots and their keys.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rootpin_policy::{KeyEntry, NotaryRoot, Root, RootKind, Rule, TufRoot};
use rootpin_trust::notation::NotationPins;
use rootpin_trust::{PublicKey, RootFile, key_file};

use super::{Linter, Subject};
use crate::policy_dir::LintCode;

/// Roots and certificates that end within this time are found.
const EXPIRING: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Metadata that is valid no longer needs no `max-age`: Notary's timestamps are valid for 14 days.
const FRESH: SignedDuration = SignedDuration::from_hours(14 * 24);

/// DER of an RSA key of 3072 bits is 422 bytes long, of 2048 bits 294 (RFC 8017, appendix A.1.1).
const STRONG_RSA_SPKI: usize = 410;

pub(super) fn check(linter: &mut Linter<'_>) {
    let policy = linter.policy;
    for root in policy.roots.values() {
        max_age(linter, root);
        match &root.kind {
            RootKind::Notary(notary) => of_notary(linter, root, notary),
            RootKind::Tuf(tuf) => of_tuf(linter, root, tuf),
            RootKind::Cosign(cosign) => weak_keys(linter, root, "keys", &cosign.keys),
            RootKind::Notation(notation) => of_notation(linter, root, notation),
        }
    }
    shared_signers(linter);
}

fn max_age(linter: &mut Linter<'_>, root: &Root) {
    // Signatures of digests never age.
    if !root.lists_tags() {
        return;
    }
    let known = linter
        .inventory
        .and_then(|inventory| inventory.validity.get(&root.id));
    if root.max_age.is_some() || known.is_some_and(|longest| *longest <= FRESH) {
        return;
    }
    let seen = known.map(|longest| format!(", and reports show {} days", longest.as_hours() / 24));
    let message = format!(
        "only its publisher says how long a moved or withdrawn tag can be shown again{}",
        seen.unwrap_or_default()
    );
    let hint = "write max-age = the longest time between two of its timestamps, as \"72h\"";
    let place = (&root.location, "max-age");
    linter.find(
        LintCode::NoMaxAge,
        Subject::Root(&root.id),
        place,
        message,
        hint,
    );
}

fn of_notary(linter: &mut Linter<'_>, root: &Root, notary: &NotaryRoot) {
    let subject = Subject::Root(&root.id);
    if notary.allow_rsa_pkcs1v15 {
        weak_scheme(linter, root);
    }
    for (path, keys) in pinned_files(linter, &root.entries) {
        weak_keys(linter, root, "keys", &keys);
        let certificates = keys.iter().flat_map(PublicKey::certificates);
        let first = certificates.map(|certificate| certificate.not_after).min();
        if let Some(end) = first.filter(|end| notary.certificate_dates && is_near(*end, linter.now))
        {
            let message = format!("the certificate in {path} ends at {end}, and its dates count");
            let hint = format!(
                "pin the next certificate's key beside it: rootpin pin add {} --from FILE",
                root.id
            );
            let place = (&root.location, "keys");
            linter.find(LintCode::KeyExpiring, subject, place, message, hint);
        }
    }
}

/// The files that these entries name, and the keys in each; an entry may be a key's ID as well.
fn pinned_files(linter: &Linter<'_>, entries: &[KeyEntry]) -> Vec<(String, Vec<PublicKey>)> {
    let file = |entry: &KeyEntry| {
        let bytes = linter.text.bytes(&entry.text)?;
        let keys = key_file::signature_keys(&bytes).ok()?;
        Some((entry.text.clone(), keys))
    };
    entries.iter().filter_map(file).collect()
}

fn of_notation(linter: &mut Linter<'_>, root: &Root, notation: &NotationPins) {
    for (_, keys) in pinned_files(linter, &root.entries) {
        weak_keys(linter, root, "certificates", &keys);
    }
    for pin in &notation.certificates {
        if pin.excludes_code_signing() {
            let name = pin
                .certificate
                .common_name
                .as_deref()
                .unwrap_or("without a name");
            let message = format!(
                "the purposes of the authority {name:?} leave out code signing: whoever gets a certificate of it for another purpose may get one that signs images"
            );
            let hint = "pin an authority that is for code signing, or the signer's own certificate; or name subjects, and allow this where it issues code signing alone";
            let place = (&root.location, "certificates");
            linter.find(
                LintCode::NoCodeSigning,
                Subject::Root(&root.id),
                place,
                message,
                hint,
            );
        }
    }
    let certificates = notation.certificates.iter();
    let first = certificates.map(|pin| pin.certificate.not_after).min();
    let counts = |end: &Timestamp| !notation.ignore_validity && is_near(*end, linter.now);
    if let Some(end) = first.filter(counts) {
        let message = format!("a pinned certificate ends at {end}, and its dates count");
        let hint =
            "put the PEM file of the next certificate into roots/, and name it in certificates";
        let place = (&root.location, "certificates");
        let subject = Subject::Root(&root.id);
        linter.find(LintCode::KeyExpiring, subject, place, message, hint);
    }
}

fn of_tuf(linter: &mut Linter<'_>, root: &Root, tuf: &TufRoot) {
    let subject = Subject::Root(&root.id);
    if tuf.metadata.is_empty() {
        let message = "it has no metadata: only bundles bring any";
        let hint = "write metadata = [\"https://…\"], or allow this by [[allow-lint]] where bundles are imported";
        linter.find(
            LintCode::NoSource,
            subject,
            (&root.location, "id"),
            message,
            hint,
        );
    }
    if tuf.pinned.allows_rsa_pkcs1v15() {
        weak_scheme(linter, root);
    }
    let Ok(file) = RootFile::read(tuf.pinned.bytes()) else {
        return;
    };
    weak_keys(linter, root, "file", &file.keys);
    // A later root file, which some host holds, replaces the pinned one.
    let held = linter
        .inventory
        .and_then(|inventory| inventory.root_expires.get(&root.id));
    let expires = held.map_or(file.expires, |held| file.expires.max(*held));
    if is_near(expires, linter.now) {
        let message = if held.is_some() {
            format!("the newest root file of the fleet expires at {expires}")
        } else {
            format!("the pinned root file expires at {expires}; a later one may be published")
        };
        let hint = format!(
            "have the publisher sign the next root file; pin it: rootpin pin add {} --replace --from FILE",
            root.id
        );
        linter.find(
            LintCode::RootExpiring,
            subject,
            (&root.location, "file"),
            message,
            hint,
        );
    }
}

fn is_near(end: Timestamp, now: Timestamp) -> bool {
    end.duration_since(now) <= EXPIRING
}

fn weak_scheme(linter: &mut Linter<'_>, root: &Root) {
    let message = "signatures by RSA PKCS#1 v1.5 count";
    let hint = "have the publisher sign by RSA-PSS, ECDSA or Ed25519, and take the key out";
    let place = (&root.location, "allow-rsa-pkcs1v15");
    linter.find(
        LintCode::WeakScheme,
        Subject::Root(&root.id),
        place,
        message,
        hint,
    );
}

fn weak_keys(linter: &mut Linter<'_>, root: &Root, key_name: &str, keys: &[PublicKey]) {
    for key in keys.iter().filter(|key| key.kind().starts_with("rsa")) {
        if key.spki().is_some_and(|spki| spki.len() < STRONG_RSA_SPKI) {
            let message = format!("{} is an RSA key of less than 3072 bits", key.id());
            let hint = "have the publisher rotate to a longer RSA key, ECDSA or Ed25519";
            let place = (&root.location, key_name);
            linter.find(
                LintCode::WeakKey,
                Subject::Root(&root.id),
                place,
                message,
                hint,
            );
        }
    }
}

/// Notary's targets files name no repository. A server that holds a repository's snapshot key, as
/// it does for `docker trust`, can show one repository's tags as another's if one key signs both.
fn shared_signers(linter: &mut Linter<'_>) {
    let policy = linter.policy;
    let is_notary = |rule: &&Rule| {
        let mut roots = rule.roots.iter();
        roots.any(|root| matches!(root.kind, RootKind::Notary(_)))
    };
    let mut shared: BTreeMap<String, String> = BTreeMap::new();
    let signed = linter.inventory.map(|inventory| &inventory.signed);
    for ((root, key), repositories) in signed.into_iter().flatten() {
        if repositories.len() > 1 {
            let few: Vec<_> = repositories.iter().take(3).map(String::as_str).collect();
            let message = format!(
                "key {key} signs for {} repositories of root {root} ({}, …): the server can show tags of one as another's, unless the publisher holds the snapshot key",
                repositories.len(),
                few.join(", ")
            );
            shared.entry(root.clone()).or_insert(message);
        }
    }
    for rule in policy.rules.iter().filter(is_notary) {
        for root in &rule.roots {
            let Some(message) = shared.remove(&root.id) else {
                continue;
            };
            let hint = "sign each repository by a key of its own, or take the snapshot key from the server: notary key rotate GUN snapshot";
            let subject = Subject::Root(&root.id);
            linter.find(
                LintCode::SharedSigner,
                subject,
                (&rule.location, "roots"),
                message,
                hint,
            );
        }
    }
}
