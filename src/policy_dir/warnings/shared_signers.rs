//! Signers that satisfy two roots of one rule.
//!
//! Whoever signs under a certificate signs under those above it too, and a key may sign images and
//! metadata. The judge counts signers, and people should know why it refuses.

use std::collections::BTreeSet;

use rootpin_policy::{Policy, Root, RootKind, Rule};
use rootpin_trust::KeyId;
use rootpin_trust::notation::PinnedCertificate;

/// How one signer can satisfy two roots of this rule, for each way.
pub(super) fn shared_signers(policy: &Policy, rule: &Rule) -> Vec<String> {
    let mut found = Vec::new();
    for above in certificates_of(rule) {
        let others = certificates_of(rule).filter(|below| below.0 != above.0);
        for below in others.filter(|below| leads_to(policy, above.2, below.2)) {
            let ((one, path, _), (other, leaf, _)) = (above, below);
            found.push(format!("{path} of {one:?} leads to {leaf} of {other:?}"));
        }
    }
    for (at, one) in rule.roots.iter().enumerate() {
        for other in rule.roots.iter().skip(at + 1) {
            let keys = targets_key(one, other).or(targets_key(other, one));
            if let Some(key) = keys {
                let (one, other) = (&one.id, &other.id);
                found.push(format!("the key {key} signs for {one:?} and {other:?}"));
            }
        }
    }
    found
}

/// A key of a TUF root's targets role that signs for the other root too.
fn targets_key(tuf: &Root, other: &Root) -> Option<KeyId> {
    let RootKind::Tuf(tuf) = &tuf.kind else {
        return None;
    };
    let others = match &other.kind {
        RootKind::Tuf(other) => other.pinned.targets_keys(),
        RootKind::Cosign(_) | RootKind::Notation(_) => other.keys.clone(),
        RootKind::Notary(_) => BTreeSet::new(),
    };
    let keys = tuf.pinned.targets_keys();
    keys.intersection(&others).next().copied()
}

/// The pinned certificates of a rule's roots, each with the root's id and the path of its file.
fn certificates_of(rule: &Rule) -> impl Iterator<Item = (&str, &str, &PinnedCertificate)> {
    rule.roots.iter().flat_map(|root| {
        let certificates = certificates(root);
        let paths = root.entries.iter().map(|entry| entry.text.as_str());
        let named = paths.zip(certificates);
        named.map(|(path, certificate)| (root.id.as_str(), path, certificate))
    })
}

fn certificates(root: &Root) -> &[PinnedCertificate] {
    match &root.kind {
        RootKind::Notation(notation) => &notation.certificates,
        RootKind::Notary(_) | RootKind::Tuf(_) | RootKind::Cosign(_) => &[],
    }
}

/// Whether one certificate issued the other, itself or by authorities that are pinned too.
fn leads_to(policy: &Policy, above: &PinnedCertificate, below: &PinnedCertificate) -> bool {
    let roots = policy.roots.values();
    let mut others: Vec<&PinnedCertificate> = roots.flat_map(|root| certificates(root)).collect();
    let mut reached = vec![above];
    while let Some(authority) = reached.pop() {
        if authority.issued(below) {
            return true;
        }
        let (issued, rest) = others.into_iter().partition(|one| authority.issued(one));
        others = rest;
        reached.extend::<Vec<_>>(issued);
    }
    false
}
