//! Targets files, read in place without a tree: each target is a place in the canonical text.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::{Budget, TUF_TARGETS_BYTES};
use crate::canonical::{Members, Text};
use crate::envelope::Envelope;
use crate::format::Format;
use crate::image::Digest;
use crate::meta::FileMeta;
use crate::refusal::shown;
use crate::role::{Authority, Role};
use crate::threshold::Counting;
use crate::{KeyId, Refusal, Target, hex};

use super::Listing;
use super::delegation::Delegations;

/// The file of `targets` or of a delegated role, verified.
#[derive(Debug)]
pub(super) struct VerifiedTargets {
    /// The role's name.
    pub(super) role: String,
    pub(super) envelope: Envelope,
    /// The pin in the snapshot.
    pub(super) pin: FileMeta,
    /// Under which keys and threshold it was verified.
    pub(super) authority: Authority,
    /// Canonical IDs of the keys whose signatures counted.
    pub(super) signers: BTreeSet<KeyId>,
    pub(super) delegations: Delegations,
    /// Where in the object of the targets each of them begins, in the order of their paths' bytes.
    starts: Vec<u32>,
}

impl VerifiedTargets {
    /// Reads and verifies the file of that role (section 5.6.1 to 5.6.4; expiry is left).
    pub(super) fn read(
        role: &Role,
        pin: &FileMeta,
        bytes: &[u8],
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let file = format!("{}.json", role.name);
        pin.check(&file, bytes)?;
        let envelope = Envelope::read(
            Format::Tuf,
            &file,
            &role.name,
            bytes,
            TUF_TARGETS_BYTES,
            budget,
        )?;
        Self::of(role, pin, envelope, counting, budget)
    }

    /// The file as the cache has it: its canonical text, where `seen` is the digest of what is signed
    /// in it ([`super::trusted::noted`]). Then this host has read it in a file that fitted the pin,
    /// and is spared that; its signatures are counted as ever. Anything else is read as a file from
    /// the source is.
    pub(super) fn recall(
        role: &Role,
        pin: &FileMeta,
        bytes: Vec<u8>,
        seen: Option<Digest>,
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let file = format!("{}.json", role.name);
        let recalled = match seen {
            Some(statement) => Envelope::recall(&file, &role.name, bytes, statement),
            None => Err(bytes),
        };
        match recalled {
            Ok(envelope) => Self::of(role, pin, envelope?, counting, budget),
            Err(bytes) => Self::read(role, pin, &bytes, counting, budget),
        }
    }

    fn of(
        role: &Role,
        pin: &FileMeta,
        envelope: Envelope,
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let signers = role.signers(&envelope, counting, budget)?;
        pin.check_version(&envelope)?;
        let targets = envelope
            .get("targets")
            .ok_or_else(|| envelope.malformed("no \"targets\""))?;
        let starts = starts(targets, &envelope)?;
        let delegations = envelope
            .get("delegations")
            .map(|delegations| Delegations::read(delegations, &envelope.file));
        let delegations = delegations.transpose()?.unwrap_or_default();
        Ok(Self {
            role: role.name.clone(),
            pin: pin.clone(),
            authority: role.authority(),
            signers,
            delegations,
            starts,
            envelope,
        })
    }

    /// The target of a path.
    pub(super) fn find(&self, path: &str) -> Option<Text<'_>> {
        let all = self.all();
        let at = self
            .starts
            .binary_search_by(|start| name_at(all, *start).as_ref().cmp(path))
            .ok()?;
        member(all, *self.starts.get(at)?).map(|(_, value)| value)
    }

    /// The targets of all paths that begin so, each with the rest of its path.
    pub(super) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (String, Text<'a>)> {
        let all = self.all();
        let first = self
            .starts
            .partition_point(|start| name_at(all, *start).as_ref() < prefix);
        let members = self
            .starts
            .get(first..)
            .unwrap_or_default()
            .iter()
            .map_while(move |start| member(all, *start));
        members.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
    }

    fn all(&self) -> Text<'_> {
        self.envelope.get("targets").unwrap_or(Text::of(b"{}"))
    }
}

/// Where each target begins; each is of the form of section 4.5.
fn starts(targets: Text<'_>, envelope: &Envelope) -> Result<Vec<u32>, Refusal> {
    let mut members = targets
        .members()
        .ok_or_else(|| envelope.malformed("targets that are no object"))?;
    let mut starts = Vec::new();
    loop {
        let place = members.place();
        let Some(name) = members.name() else {
            return Ok(starts);
        };
        if !take_target(&mut members) {
            let name = name.as_str().unwrap_or_default();
            return Err(envelope.malformed(&format!(
                "target {} that is not length and hashes",
                shown(&name)
            )));
        }
        starts.push(u32::try_from(place).map_err(|_| envelope.malformed("too many targets"))?);
    }
}

/// Goes past a target, if it is one.
fn take_target(targets: &mut Members<'_>) -> bool {
    let (mut has_length, mut has_hashes) = (false, false);
    let Some(mut members) = targets.enter() else {
        return false;
    };
    while let Some(name) = members.name() {
        if name.is("hashes") {
            has_hashes = take_hashes(&mut members);
            if !has_hashes {
                return false;
            }
            continue;
        }
        let value = members.value();
        if name.is("length") {
            has_length = value.as_u64().is_some();
        } else if name.is("custom") && !value.is_object() && !value.is_null() {
            return false;
        }
    }
    targets.leave(&members);
    has_length && has_hashes
}

fn take_hashes(members: &mut Members<'_>) -> bool {
    let Some(mut hashes) = members.enter() else {
        return false;
    };
    let mut any = false;
    while hashes.name().is_some() {
        any = true;
        if !hashes.value().is_string() {
            return false;
        }
    }
    members.leave(&hashes);
    any
}

fn member(all: Text<'_>, start: u32) -> Option<(std::borrow::Cow<'_, str>, Text<'_>)> {
    all.member_at(usize::try_from(start).ok()?)
}

fn name_at(all: Text<'_>, start: u32) -> std::borrow::Cow<'_, str> {
    member(all, start).map(|(name, _)| name).unwrap_or_default()
}

/// The image that a target is; none without a SHA-256, for then it can be no image.
pub(super) fn target(value: Text<'_>) -> Option<Target> {
    let digest = sha256(&value.get("hashes")?.get_str("sha256")?)?;
    let of_image = value.get("custom").and_then(|custom| custom.get("rootpin"));
    let manifests = of_image
        .and_then(|image| image.get("manifests"))
        .and_then(Text::elements)
        .into_iter()
        .flatten();
    let manifests = manifests
        .filter_map(|manifest| manifest.as_str()?.parse().ok())
        .collect();
    Some(Target {
        digest,
        length: value.get_u64("length")?,
        manifests,
    })
}

/// A target for whoever fetches it as a file.
pub(super) fn listing(value: Text<'_>) -> Option<Listing> {
    let hashes: BTreeMap<_, _> = value
        .get("hashes")?
        .members()?
        .map(|(name, hash)| Some((name.into_owned(), hash.as_str()?.into_owned())))
        .collect::<Option<_>>()?;
    Some(Listing {
        length: value.get_u64("length")?,
        hashes,
    })
}

fn sha256(text: &str) -> Option<Digest> {
    hex::decode(text)?.try_into().ok().map(Digest::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_length_and_hashes_that_are_texts_and_what_follows_it_is_read_as_itself() {
        let is_target = |value: &str| {
            let text = format!(r#"{{"a":{value},"b":7}}"#);
            let mut members = Text::of(text.as_bytes()).members().unwrap();
            assert!(members.name().is_some_and(|name| name.is("a")));
            let taken = take_target(&mut members);
            if taken {
                assert!(members.name().is_some_and(|name| name.is("b")), "{value}");
                assert_eq!(members.value().as_u64(), Some(7), "{value}");
            }
            taken
        };
        for good in [
            r#"{"hashes":{"sha256":"00"},"length":1}"#,
            r#"{"length":0,"hashes":{"sha512":"x","sha256":"00"}}"#,
            r#"{"custom":{},"hashes":{"sha256":"00"},"length":1}"#,
            r#"{"custom":null,"hashes":{"sha256":"00"},"length":1,"x":[1]}"#,
        ] {
            assert!(is_target(good), "{good}");
        }
        for bad in [
            "7",
            "{}",
            r#"{"length":1}"#,
            r#"{"hashes":{"sha256":"00"}}"#,
            r#"{"hashes":{},"length":1}"#,
            r#"{"hashes":{"sha256":0},"length":1}"#,
            r#"{"hashes":["00"],"length":1}"#,
            r#"{"hashes":{"sha256":"00"},"length":-1}"#,
            r#"{"hashes":{"sha256":"00"},"length":"1"}"#,
            r#"{"custom":[],"hashes":{"sha256":"00"},"length":1}"#,
            r#"{"custom":7,"hashes":{"sha256":"00"},"length":1}"#,
        ] {
            assert!(!is_target(bad), "{bad}");
        }
    }
}
