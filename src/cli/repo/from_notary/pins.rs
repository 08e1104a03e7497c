//! The pins by which Notary repositories are verified: root keys that were named, or a policy's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Selection;
use crate::cli::failure::Failure;
use crate::cli::output::counted;
use crate::cli::pin::material;
use crate::config::DEFAULT_POLICY;
use crate::plain_text::policy_check;
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::publish::PublishError;
use rootpin_policy::{NotaryRoot, Policy, Root, RootKind};
use rootpin_trust::image::Repository;
use rootpin_trust::notary::KeyPins;
use rootpin_trust::{Code, KeyId, PublicKey, Refusal, key_file};

/// Where the pins come from.
pub(super) enum Pins {
    Given(BTreeSet<KeyId>),
    Policy(Box<Policy>, PathBuf),
}

/// One repository to read.
pub(super) struct Wanted {
    pub(super) gun: Repository,
    pub(super) pins: KeyPins,
    pub(super) roles: Vec<String>,
}

impl Pins {
    pub(super) fn of(selection: &Selection) -> Result<Self, PublishError> {
        if !selection.root_key.is_empty() {
            let keys = selection.root_key.iter().map(|text| root_keys(text));
            let keys: Vec<Vec<KeyId>> = keys.collect::<Result<_, _>>()?;
            return Ok(Self::Given(keys.into_iter().flatten().collect()));
        }
        let usual = || PathBuf::from(DEFAULT_POLICY);
        let dir = selection.policy.clone().unwrap_or_else(usual);
        let files = PolicyDir::open(&dir, Owner::RootOrCaller);
        let policy = policy_dir::load(&files, Timestamp::now()).map_err(|findings| {
            let found = counted(findings.len(), "error");
            PublishError::wrong(
                format!("the policy in {} has {found}", dir.display()),
                format!(
                    "name the publisher's root key by --root-key ID; or: {}",
                    policy_check(&dir)
                ),
            )
        })?;
        Ok(Self::Policy(Box::new(policy), dir))
    }

    /// The pins for one repository; a refusal where there are none.
    pub(super) fn wanted(
        &self,
        gun: Repository,
        url: &str,
        roles: &[String],
    ) -> Result<Wanted, Refusal> {
        let pins = match self {
            Self::Given(keys) => KeyPins {
                keys: keys.clone(),
                revoked: BTreeSet::new(),
                role: "targets".to_owned(),
                certificate_dates: false,
                allow_rsa_pkcs1v15: false,
                max_age: None,
            },
            Self::Policy(policy, dir) => {
                let rule = policy.rule_for(&gun);
                let mut roots = rule.iter().flat_map(|rule| &rule.roots);
                roots
                    .find_map(|root| {
                        Some(notary(root, url)?.pins(root, policy.revoked_keys()))
                    })
                    .ok_or_else(|| {
                        Refusal::new(
                            Code::RootNotPinned,
                            format!("the policy in {} pins no root of {gun} at {url}", dir.display()),
                            "a pinned root key of it",
                            "name the publisher's root key by --root-key ID: in Docker's and Notary's `private` folder it is the file's name",
                        )
                    })?
            }
        };
        let roles = roles.to_vec();
        Ok(Wanted { gun, pins, roles })
    }

    /// The root keys that were named.
    pub(super) fn given(&self) -> Option<&BTreeSet<KeyId>> {
        match self {
            Self::Given(keys) => Some(keys),
            Self::Policy(..) => None,
        }
    }

    /// The certificates that the policy trusts for this server's TLS.
    pub(super) fn tls_ca(&self, url: &str) -> Option<Vec<u8>> {
        let Self::Policy(policy, _) = self else {
            return None;
        };
        let mut roots = policy.roots.values();
        roots.find_map(|root| notary(root, url)?.tls_ca.clone())
    }
}

/// The root's own keys, if it is one at that server.
fn notary<'a>(root: &'a Root, url: &str) -> Option<&'a NotaryRoot> {
    match &root.kind {
        RootKind::Notary(notary) if notary.server == url => Some(notary),
        _ => None,
    }
}

/// The keys that a word of `--root-key` pins.
fn root_keys(text: &str) -> Result<Vec<KeyId>, PublishError> {
    if let Ok(id) = text.parse() {
        return Ok(vec![id]);
    }
    let is_cut = text.chars().all(|sign| sign.is_ascii_hexdigit()) && !Path::new(text).exists();
    if is_cut || text.contains('…') {
        return Err(PublishError::wrong(
            format!("{text} is a part of a root key's ID"),
            "wanted all 64 hex digits of it, or a file",
        ));
    }
    let keys = key_file::public_keys(&file(Path::new(text))?).map_err(|error| {
        PublishError::wrong(
            format!("{text}: {error}"),
            "wanted the canonical ID of 64 hex digits, or a PEM public key or certificate; of a private key in Docker's `private` folder the file's name is the ID",
        )
    })?;
    Ok(keys.iter().map(PublicKey::id).collect())
}

/// The bytes of a plain file.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, PublishError> {
    material::file(path).map_err(|failure| match failure {
        Failure::Usage(problem) | Failure::Refused(problem) | Failure::Unknown(problem) => {
            PublishError::Wrong(problem)
        }
    })
}
