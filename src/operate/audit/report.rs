//! The report of one host: docs/audit.schema.json has its form, and a test holds the two to each
//! other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::findings::{AuditFinding, Untold};
use crate::decide::survey::{PinnedRoot, PolicyInForce, SurveyJudgement};

/// What one host trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostReport {
    /// Of this form: 1.
    pub version: u64,
    /// rootpin's own version.
    pub rootpin: String,
    /// The host's name.
    pub host: String,
    /// When it was made.
    pub at: String,
    /// `clean`, `findings` or `unknown`: exit code 0, 1, 2.
    pub outcome: String,
    /// Whether sources were asked, and not the cache alone.
    pub online: bool,
    /// Who judged: `daemon` or `files`; none where nobody could.
    pub judged_by: Option<String>,
    /// The policy in force.
    pub policy: Option<PolicyInForce>,
    /// The pinned roots.
    pub roots: Vec<PinnedRoot>,
    /// The resident images.
    pub images: Vec<ResidentImage>,
    /// By an image's digest: the digests of what it is made of, as far as it is on this host. Of an
    /// image that is not in here nobody can tell; of none in a report of an older version.
    #[serde(default)]
    pub parts: BTreeMap<String, Vec<String>>,
    /// The trust directories of Docker and Notary.
    pub trust_directories: Vec<TrustDirectory>,
    /// Every root key on this host, and where it is trusted.
    pub root_keys: Vec<RootKey>,
    /// What was found, the heaviest first.
    pub findings: Vec<AuditFinding>,
    /// What could not be looked at.
    pub untold: Vec<Untold>,
}

/// An image on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidentImage {
    /// The engine.
    pub engine: String,
    /// containerd's namespace.
    pub namespace: Option<String>,
    /// The name, in full form where it is one.
    pub name: String,
    /// The digest that it stands for; none where the engine knows none of a registry.
    pub digest: Option<String>,
    /// What the policy says of it now; none where it can't be asked.
    pub judgement: Option<SurveyJudgement>,
}

/// A trust directory: `~/.docker/trust`, `~/.notary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDirectory {
    /// Where it is.
    pub path: String,
    /// What is trusted there.
    pub repositories: Vec<TrustedRepository>,
    /// Canonical IDs of the private keys that it holds, as their files are named.
    pub private_keys: Vec<String>,
}

/// A repository as a trust directory has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedRepository {
    /// Its name (GUN), as its folder has it.
    pub repository: String,
    /// The policy's entry that covers it.
    pub rule: Option<String>,
    /// The roots that may sign it.
    pub pinned_roots: Vec<String>,
    /// Its files, by name.
    pub files: BTreeMap<String, TrustedFile>,
    /// Its roles: the root's first, then the others of the root file, then what is delegated.
    pub roles: Vec<TrustedRole>,
    /// Keys in the root file that no role lists.
    pub left_over: Vec<ListedKey>,
    /// The root files that are there, by version.
    pub chain: Vec<ChainLink>,
}

/// A file, and whether it holds by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedFile {
    /// Its version.
    pub version: u64,
    /// Its expiry.
    pub expires: String,
    /// Its digest.
    pub sha256: String,
    /// Whether enough keys of its role signed it.
    pub signed: bool,
    /// Canonical IDs of the role's keys that signed.
    pub signers: Vec<String>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedRole {
    /// Its name.
    pub name: String,
    /// How many must sign.
    pub threshold: u64,
    /// Who may.
    pub keys: Vec<ListedKey>,
    /// The prefixes of names that it may give; none where it isn't delegated.
    pub paths: Option<Vec<String>>,
}

/// A key as metadata lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedKey {
    /// The canonical ID: the same in every certificate.
    pub id: String,
    /// The ID by which it is listed: a certificate's own.
    pub listed_as: String,
    /// The fingerprint; none for a kind of key that is not known.
    pub fingerprint: Option<String>,
    /// The certificate that it came in.
    pub certificate: Option<ListedCertificate>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedCertificate {
    /// The subject's common name; none where it has not exactly one.
    pub subject: Option<String>,
    /// Start of its validity.
    pub not_before: String,
    /// Its end.
    pub not_after: String,
}

/// One root file of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainLink {
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub sha256: String,
    /// Whether the keys of the version before signed it; none where that one is not here.
    pub linked: Option<bool>,
    /// Keys that came in with it.
    pub introduced: Vec<ReportedKey>,
    /// Keys that went.
    pub dropped: Vec<ReportedKey>,
}

/// A key of a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportedKey {
    /// The role.
    pub role: String,
    /// The key's canonical ID.
    pub key: String,
}

/// A root key, and where this host trusts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// Its canonical ID.
    pub id: String,
    /// Its fingerprint, where it is known.
    pub fingerprint: Option<String>,
    /// The roots of the policy that pin it.
    pub pinned_by: Vec<String>,
    /// The repositories whose root role holds it.
    pub repositories: Vec<KeyUse>,
}

/// A root key in one repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyUse {
    /// The trust directory; none for what rootpin itself verified.
    pub directory: Option<String>,
    /// The repository.
    pub repository: String,
    /// The ID by which the root role lists it: of another certificate, another one.
    pub listed_as: Option<String>,
}

impl HostReport {
    /// 0 clean, 1 findings, 2 could not tell: an audit that didn't see everything is not clean,
    /// whatever it found.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if !self.untold.is_empty() {
            return 2;
        }
        u8::from(self.findings.iter().any(AuditFinding::weighs))
    }

    /// The word for that.
    pub(super) fn told(mut self) -> Self {
        self.findings.sort_by(|one, other| {
            (one.severity, &one.code, &one.subject).cmp(&(
                other.severity,
                &other.code,
                &other.subject,
            ))
        });
        let outcome = match self.exit_code() {
            0 => "clean",
            1 => "findings",
            _ => "unknown",
        };
        Self {
            outcome: outcome.to_owned(),
            ..self
        }
    }
}
