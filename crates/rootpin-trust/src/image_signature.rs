//! Signatures that a registry keeps beside an image: what was found of them, and what each comes to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::canonical::{Limits, Text, rewrite_doubles};
use crate::image::{Digest, Repository, Tag, is_same_to_go};
use crate::refusal::shown;
use crate::threshold::enough;
use crate::{Code, Collection, KeyId, Refusal, Target, Verified};

/// Signatures of one image that are looked at. An image that is signed anew each week for a year by
/// one key has 52.
pub const MOST_SIGNATURES: usize = 64;
/// Bytes of one signature. A Sigstore bundle with certificates and a log's proof has some 10,000; an
/// attestation may have megabytes, and is no signature.
pub const SIGNATURE_BYTES: usize = 256 << 10;

/// One signature as a registry has it: a layer of a signature's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFile {
    /// The layer's media type, which says what the bytes claim to be.
    pub media_type: String,
    /// The layer's bytes.
    pub bytes: Vec<u8>,
    /// The annotation `dev.cosignproject.cosign/signature` of the layer, where it has one.
    pub signature: Option<String>,
}

/// The image that signatures are looked at for.
#[derive(Debug, Clone, Copy)]
pub struct SignedImage<'a> {
    /// The repository that a signature has to name, where it names any.
    pub repository: &'a Repository,
    /// The digest of its manifest or index.
    pub digest: Digest,
    /// The tag that enough keys must have signed it under, where the pins bind a tag; `None`: one of
    /// all tags will do.
    pub tag: Option<&'a Tag>,
    /// Whether all keys that signed are wanted, and not only enough of them.
    pub every_signer: bool,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureFinding {
    /// Its format: `sigstore-bundle`, `message-signature`, `simple-signing`, `notation-jws`,
    /// `notation-cose`; empty where it is none that is known here.
    pub format: &'static str,
    /// The key that made it, where that is pinned, or certified by what is.
    pub key: Option<KeyId>,
    /// The key that it says it is by: a fingerprint, or a certificate's name and fingerprint. No
    /// decision rests on it.
    pub claimed_key: Option<String>,
    /// The type of statement that it says it is, escaped and cut, where that is no signature's. No
    /// decision rests on it.
    pub predicate: Option<String>,
    /// The tag that it binds, if it binds one.
    pub tag: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// Why it counts for nothing; `None`: it counts.
    pub rejected: Option<String>,
    /// Whether that key signed this very image, as far as could be read. Anybody may put signatures of
    /// other images, and by other keys, beside it: no refusal's code rests on them.
    pub is_of_image: bool,
    /// Whether it is a signature of this very image that counts for nothing because the policy
    /// revokes its key.
    pub revoked: bool,
    /// Whether it is one that counts for nothing because it, or a certificate of its signer, is over.
    pub is_over: bool,
    /// What the policy wants beyond a good signature, where it lacks that, as a hint.
    pub lacks: Option<String>,
}

/// What all signatures of an image come to.
#[derive(Debug)]
pub struct SignatureOutcome {
    /// One for each signature, in the order in which they were given, and then those of others.
    pub findings: Vec<SignatureFinding>,
    /// The image as the pinned keys signed it, or why they have not.
    pub result: Result<Verified<Collection>, Refusal>,
}

impl SignatureFinding {
    pub(crate) fn rejected(format: &'static str, why: impl Into<String>) -> Self {
        Self {
            format,
            key: None,
            claimed_key: None,
            predicate: None,
            tag: None,
            expires: Timestamp::MAX,
            rejected: Some(why.into()),
            is_of_image: false,
            revoked: false,
            is_over: false,
            lacks: None,
        }
    }
}

/// Reads strict JSON of a signature, in canonical form. `what` names it for people.
pub(crate) fn json(bytes: &[u8], what: &str) -> Result<Vec<u8>, String> {
    let limits = Limits {
        bytes: SIGNATURE_BYTES,
        depth: 32,
        values: 10_000,
    };
    rewrite_doubles(bytes, limits).map_err(|error| format!("{what} is no JSON: {error}"))
}

pub(crate) const OTHER_NAMES: &str =
    "it has a member in other letters, which other tools would take for the right one";

/// Whether an object has a member that Go's `encoding/json`, by which cosign and Notation read it,
/// takes for a field that is written in other letters.
pub(crate) fn has_other_names(object: Text<'_>, fields: &[&str]) -> bool {
    let mut names = object.members().into_iter().flatten();
    names.any(|(name, _)| {
        let mut fields = fields.iter();
        fields.any(|field| name != *field && is_same_to_go(&name, field))
    })
}

/// What must have signed an image.
pub(crate) struct Wanted {
    /// The name of the root's type.
    pub(crate) role: &'static str,
    /// Canonical IDs of the pinned keys.
    pub(crate) keys: BTreeSet<KeyId>,
    /// How many distinct keys must have signed.
    pub(crate) threshold: u64,
    /// Whether a signature must bind a tag.
    pub(crate) binds_tag: bool,
    /// The command that signs.
    pub(crate) command: &'static str,
}

impl Wanted {
    /// The same for people. A certificate's key signs no image itself, where it is an authority's.
    fn said(&self) -> String {
        let keys = KeyId::list(&self.keys);
        match self.role {
            "notation" => format!("a signature under a pinned certificate, of the keys {keys}"),
            _ => format!("signatures by {} of the keys {keys}", self.threshold),
        }
    }
}

/// Keys that signed, each with the end of its last signature.
type Signers = BTreeMap<KeyId, Timestamp>;

/// Whether the signatures that counted are of enough distinct keys. `others`: what was found before
/// of signatures by no pinned key. They count for nothing, and a refusal says why.
pub(crate) fn judged(
    image: SignedImage<'_>,
    wanted: &Wanted,
    mut findings: Vec<SignatureFinding>,
    others: Vec<SignatureFinding>,
) -> SignatureOutcome {
    let is_by_none = |other: &SignatureFinding| other.key.is_none() && other.rejected.is_some();
    findings.extend(others.into_iter().filter(is_by_none));
    let result = collection(image, wanted, &findings);
    SignatureOutcome { findings, result }
}

fn collection(
    image: SignedImage<'_>,
    wanted: &Wanted,
    findings: &[SignatureFinding],
) -> Result<Verified<Collection>, Refusal> {
    let (mut signers, mut by_tag) = (Signers::new(), BTreeMap::<&str, Signers>::new());
    let mut revoked = BTreeSet::new();
    for found in findings {
        let Some(key) = found.key else { continue };
        if found.revoked {
            revoked.insert(key);
        } else if found.rejected.is_none() {
            add(&mut signers, key, found.expires);
            if let Some(tag) = &found.tag {
                add(by_tag.entry(tag).or_default(), key, found.expires);
            }
        }
    }
    let count = |signers: &Signers| {
        let keys = signers.keys().copied().collect();
        let file = format!("{} in {}", image.digest, image.repository);
        let said = enough(&file, &wanted.keys, wanted.threshold, &keys, &revoked);
        said.map_err(|refusal| match refusal.code {
            Code::Revoked if !keys.is_empty() => Refusal {
                found: format!(
                    "{file} signed with keys {} that count, and with revoked keys {}",
                    KeyId::list(&keys),
                    KeyId::list(&revoked)
                ),
                ..refusal
            },
            _ => refusal,
        })
    };
    if findings.is_empty() {
        return Err(unsigned(image, wanted));
    }
    let mut keys = count(&signers)
        .map_err(|refusal| explained(refusal, image, wanted, (findings, &signers)))?;
    if wanted.binds_tag {
        by_tag = of_tag(image, wanted, by_tag, &count)?;
        // Another tag than the one that was asked for ends it no earlier.
        keys = by_tag.values().flat_map(Signers::keys).copied().collect();
        signers.clear();
        for (key, expires) in by_tag.values().flatten() {
            add(&mut signers, *key, *expires);
        }
    }
    let target = |(tag, _): (&&str, _)| {
        let target = Target {
            digest: image.digest,
            length: 0,
            manifests: Vec::new(),
        };
        ((*tag).to_owned(), target)
    };
    // One answer for all tags: it ends with the first of them that does.
    let threshold = usize::try_from(wanted.threshold).unwrap_or(usize::MAX);
    // While all of the signers stand, any of them may be the ones that it rests on.
    let needed = |signers: &Signers| {
        if image.every_signer {
            signers.len()
        } else {
            threshold
        }
    };
    let ends = by_tag.values().map(|signers| end(signers, needed(signers)));
    let expires = ends.fold(end(&signers, needed(&signers)), Timestamp::min);
    let untagged = (!wanted.binds_tag).then_some(image.digest);
    Ok(Verified::after_every_check(Collection {
        gun: image.repository.clone(),
        role: wanted.role.to_owned(),
        targets: by_tag.iter().map(target).collect(),
        untagged: untagged.into_iter().collect(),
        expires,
        root_keys: wanted.keys.clone(),
        // Those of several tags together are enough for none of them.
        signers_needed: if image.every_signer && by_tag.len() <= 1 {
            threshold
        } else {
            keys.len()
        },
        signers: keys,
        versions: BTreeMap::new(),
    }))
}

/// The signers of the tag that was asked for, or of each tag that enough keys signed.
fn of_tag<'f>(
    image: SignedImage<'_>,
    wanted: &Wanted,
    mut by_tag: BTreeMap<&'f str, Signers>,
    count: &impl Fn(&Signers) -> Result<BTreeSet<KeyId>, Refusal>,
) -> Result<BTreeMap<&'f str, Signers>, Refusal> {
    if let Some(tag) = image.tag
        && let Err(refusal) = count(by_tag.get(tag.as_str()).unwrap_or(&Signers::new()))
        && refusal.code == Code::Revoked
    {
        return Err(refusal);
    }
    by_tag.retain(|_, signers| count(signers).is_ok());
    let signed: Vec<String> = by_tag.keys().map(|tag| shown(tag)).collect();
    if let Some(tag) = image.tag {
        by_tag.retain(|known, _| *known == tag.as_str());
    }
    if by_tag.is_empty() {
        return Err(not_of_tag(image, wanted, &signed));
    }
    Ok(by_tag)
}

fn add(signers: &mut Signers, key: KeyId, expires: Timestamp) {
    let known = signers.entry(key).or_insert(expires);
    *known = expires.max(*known);
}

/// Until when as many keys have signed as must.
fn end(signers: &Signers, needed: usize) -> Timestamp {
    let mut ends: Vec<Timestamp> = signers.values().copied().collect();
    ends.sort_unstable_by(|one, two| two.cmp(one));
    let end = ends.get(needed.saturating_sub(1));
    end.copied().unwrap_or(Timestamp::MIN)
}

fn unsigned(image: SignedImage<'_>, wanted: &Wanted) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        format!("no signature of {} in {}", image.digest, image.repository),
        wanted.said(),
        format!(
            "have its publisher sign it ({} …), or pull an image that is signed",
            wanted.command
        ),
    )
}

/// The refusal of an image that not enough keys signed. Its code rests on what the pinned keys signed of
/// this image, and on nothing that a stranger can put beside it: a host's owner is alarmed by a signature
/// that should count and does not, and not by a signer who has not signed yet, or not as this policy
/// wants it.
fn explained(
    mut refusal: Refusal,
    image: SignedImage<'_>,
    wanted: &Wanted,
    (findings, signers): (&[SignatureFinding], &Signers),
) -> Refusal {
    let why = reasons(findings);
    if !why.is_empty() {
        let looked_at = format!("; of {} looked at: {why}", findings.len());
        refusal.found.push_str(&looked_at);
    }
    if refusal.code != Code::BadSignature {
        return refusal;
    }
    refusal.wanted = wanted.said();
    let command = wanted.command;
    let should_count = |found: &&SignatureFinding| {
        found.rejected.is_some() && found.predicate.is_none() && found.lacks.is_none()
    };
    let again = format!(
        "have its publisher sign the image again so that it counts ({command} …); if the publisher's key is another one now, pin that: rootpin pin add ID --from FILE"
    );
    let mut own = findings
        .iter()
        .filter(|found| found.is_of_image)
        .filter(should_count);
    if own.clone().any(|found| !found.is_over) {
        refusal.hint = again;
        return refusal;
    }
    if own.any(|found| found.is_over) {
        refusal.code = Code::Expired;
        refusal.hint = format!("have its publisher sign the image again ({command} …)");
        return refusal;
    }
    refusal.code = Code::NoStatement;
    let lacking = |by_pinned: bool| {
        let mut of_kind = findings
            .iter()
            .filter(|found| found.key.is_some() == by_pinned);
        of_kind.find_map(|found| found.lacks.clone())
    };
    refusal.hint = match lacking(true).or_else(|| lacking(false)) {
        Some(hint) => hint,
        None if !signers.is_empty() => {
            format!("have the other keys' owners sign the image too ({command} …)")
        }
        None if findings.iter().any(|found| should_count(&found)) => again,
        None => unsigned(image, wanted).hint,
    };
    refusal
}

fn not_of_tag(image: SignedImage<'_>, wanted: &Wanted, signed: &[String]) -> Refusal {
    let SignedImage {
        repository,
        digest,
        tag,
        ..
    } = image;
    let (threshold, command) = (wanted.threshold, wanted.command);
    let Some(tag) = tag else {
        return Refusal::new(
            Code::NoStatement,
            format!("{digest} signed under no tag by enough keys"),
            format!("one tag that {threshold} keys signed it under"),
            format!("have each key's owner sign the same tag ({command} …)"),
        );
    };
    let all = match signed {
        [] => "under no tag by enough keys".to_owned(),
        [one] => format!("under the tag {one}"),
        all => {
            let first: Vec<&str> = all.iter().take(4).map(String::as_str).collect();
            let more = if all.len() > 4 { ", …" } else { "" };
            format!("under the tags {}{more}", first.join(", "))
        }
    };
    Refusal::new(
        Code::NoStatement,
        format!("{digest} in {repository} signed {all}, and not under tag {tag}"),
        format!("signatures by {threshold} of the pinned keys that name tag {tag}"),
        format!("have its publisher sign this tag too ({command} …), or pull a tag that is signed"),
    )
}

/// The findings' reasons for a refusal: the first three of them, each once, and those of signatures by
/// pinned keys before those of others.
fn reasons(findings: &[SignatureFinding]) -> String {
    let mut known = BTreeSet::new();
    let all: BTreeSet<(bool, &str)> = findings
        .iter()
        .filter_map(|found| Some((found.key.is_none(), found.rejected.as_deref()?)))
        .collect();
    let all = all.into_iter().map(|(_, why)| why);
    let all: Vec<&str> = all.filter(|why| known.insert(*why)).collect();
    let more = if all.len() > 3 { "; …" } else { "" };
    let first: Vec<&str> = all.into_iter().take(3).collect();
    format!("{}{more}", first.join("; "))
}
