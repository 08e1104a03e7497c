//! The findings of an audit, each under a stable code with its severity; docs/audit.md has the same
//! table, and a test holds it to this one.

use std::fmt;

use serde::{Deserialize, Serialize};

use FindingSeverity::{Error, Info, Warning};

/// How much a finding weighs. An audit with an error or a warning is not clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingSeverity {
    /// Somebody else than the pinned roots is trusted, or something does not hold.
    Error,
    /// It will not hold for long, or is weaker than it looks.
    Warning,
    /// Worth knowing.
    Info,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditFinding {
    /// Its stable code.
    pub code: String,
    /// How much it weighs.
    pub severity: FindingSeverity,
    /// What it is about: an image, a repository in a trust directory, a root.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// Something that could not be looked at, so that the audit is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Untold {
    /// What.
    pub subject: String,
    /// Why.
    pub why: String,
}

crate::operate::codes_with_facts! {
    /// What an audit may find, how much it weighs, and what to do.
    pub enum FindingCode: (FindingSeverity, &'static str);
    CertificateExpired = "certificate-expired", "a root certificate is past its end", (Warning, "Docker's client stops at it; have the root key's certificate renewed");
    ChainBroken = "chain-broken", "a root file is not signed by the keys of the one before it", (Error, "somebody put another root in place; compare its keys with the publisher's by another way");
    Expired = "expired", "a root, targets or delegation file is past its expiry", (Warning, "have the publisher sign it anew");
    ExpiresSoon = "expires-soon", "a root, targets or delegation file, or a root certificate, ends within 30 days", (Warning, "have the publisher renew it in time");
    ImageExempt = "image-exempt", "an image is let through by an exemption", (Info, "have it signed before the exemption is over");
    ImageRefused = "image-refused", "the policy refuses an image that is on this host", (Error, "remove the image and what runs of it");
    ImageUnnamed = "image-unnamed", "an image has no name, or no digest of a registry, by which it could be judged", (Info, "nothing vouches for local bytes; pull the image by its signed name");
    KeyRevoked = "key-revoked", "a role lists a key that the policy revokes", (Error, "have the publisher rotate the key, and remove the trust data of the repository");
    KeyTwice = "key-twice", "a role lists one key in several certificates, which count once", (Warning, "give the role as many keys as its threshold is meant to need");
    LeftOverKey = "left-over-key", "a root file holds a key that no role lists", (Info, "former root certificates stay in the file; nothing counts them");
    NotInPolicy = "not-in-policy", "a repository is trusted here and no entry of the policy covers it", (Warning, "add a [[rule]] with the root that may sign it, or remove its trust data");
    NotInTrustDirectory = "not-in-trust-directory", "the policy names a repository that no trust directory here knows", (Info, "nothing to do where Docker's own client is not used");
    PolicyAuditMode = "policy-audit-mode", "the policy is in audit mode: what is refused is let through", (Warning, "set mode = \"enforce\" once the log has no refusal that is not meant");
    PolicyWarning = "policy-warning", "the policy has a warning", (Info, "rootpin policy check");
    PrivateKey = "private-key", "a trust directory holds private keys", (Warning, "a host that only pulls needs none; keep the root key offline");
    RoleNotSigned = "role-not-signed", "a metadata file is not signed by enough keys of its role", (Error, "the files were changed, or are of different times; remove the repository's trust data and pull again");
    RootExtraKey = "root-extra-key", "a root role holds keys besides the pinned ones: each of them can sign", (Error, "ask the publisher what the other key is; pin it, or have it removed");
    RootNotPinned = "root-not-pinned", "a root role holds none of the pinned keys", (Error, "it was trusted at first use and is not the publisher's; remove it and pull again");
    RootNotSigned = "root-not-signed", "a root file is not signed by enough of its own keys", (Error, "anyone can list another's key; remove the repository's trust data");
    RootRotated = "root-rotated", "the root role's keys changed in the chain of root files", (Info, "compare the new keys with the publisher's by another way");
    RootUnseen = "root-unseen", "nothing was seen yet of a pinned root", (Info, "rootpin verify NAME of an image that it signs");
    Stale = "stale", "a timestamp or snapshot file in a trust directory is past its expiry", (Info, "the next pull renews it");
    SubjectName = "subject-name", "a root certificate is for another name than the repository", (Warning, "a client refuses it for this repository; have it published under its own name");
    ThresholdUnreachable = "threshold-unreachable", "a role's threshold is higher than the number of its keys", (Error, "nothing can be signed for the role; have the publisher mend it");
}

impl FindingCode {
    /// How much it weighs.
    #[must_use]
    pub fn severity(self) -> FindingSeverity {
        self.facts().0
    }

    /// What to do.
    #[must_use]
    pub fn hint(self) -> &'static str {
        self.facts().1
    }
}

impl AuditFinding {
    /// A finding of that code.
    #[must_use]
    pub fn new(code: FindingCode, subject: &str, detail: impl Into<String>) -> Self {
        let (name, hint) = (code.as_str().to_owned(), code.hint().to_owned());
        Self {
            code: name,
            severity: code.severity(),
            subject: subject.to_owned(),
            detail: detail.into(),
            hint,
        }
    }

    /// Whether a host with it is not clean.
    #[must_use]
    pub fn weighs(&self) -> bool {
        self.severity != FindingSeverity::Info
    }
}

impl Untold {
    pub(super) fn new(subject: impl Into<String>, why: impl fmt::Display) -> Self {
        Self {
            subject: subject.into(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for FindingSeverity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_sorted_and_the_documentation_has_the_same_table() {
        let names: Vec<_> = FindingCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md")).unwrap();
        let (_, section) = text.split_once("## What it may find").unwrap();
        let rows: Vec<_> = section
            .lines()
            .skip_while(|line| !line.starts_with("| `"))
            .take_while(|line| line.starts_with("| `"))
            .collect();
        let wanted: Vec<_> = FindingCode::ALL
            .iter()
            .map(|code| {
                format!(
                    "| `{}` | {} | {} |",
                    code.as_str(),
                    code.severity(),
                    code.meaning()
                )
            })
            .collect();
        assert_eq!(rows, wanted, "\n{}", wanted.join("\n"));
    }
}
