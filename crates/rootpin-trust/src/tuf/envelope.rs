//! What all metadata files have in common: signatures, type, version, expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;

use crate::budget::{Budget, SIGNATURES_LISTED, over_limit};
use crate::canonical::{self, Text};
use crate::date::date;
use crate::floors::Claim;
use crate::image::Digest;
use crate::json::JsonError;
use crate::refusal::shown;
use crate::threshold::{Signature, Signed};
use crate::{Code, Refusal, hex};

use super::role::Role;

/// The members of `signed` objects that are read.
const FIELDS: [&str; 10] = [
    "_type",
    "consistent_snapshot",
    "delegations",
    "expires",
    "keys",
    "meta",
    "roles",
    "spec_version",
    "targets",
    "version",
];

/// One file: what it signs, and the signatures, none of them checked yet.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The file's name, for people.
    pub(super) file: String,
    /// Canonical text of the whole file.
    text: Vec<u8>,
    /// Where in it the `signed` object is: these bytes are what was signed, and what is read.
    signed: Range<usize>,
    /// Where in that the values of its members are.
    fields: BTreeMap<&'static str, Range<usize>>,
    signatures: Vec<Signature>,
    /// SHA-256 of the signed bytes.
    pub(super) statement: Digest,
    /// `version`
    pub(super) version: u64,
    /// `expires`
    pub(super) expires: Timestamp,
}

impl Envelope {
    /// Reads a file whose `_type` is `kind`.
    pub(super) fn read(
        file: &str,
        kind: &str,
        bytes: &[u8],
        max_bytes: usize,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let limits = budget.take_file(bytes.len(), max_bytes)?;
        let text = canonical::rewrite(bytes, limits).map_err(|error| match error {
            JsonError::Malformed(why) => malformed(file, &shown(&why)),
            JsonError::OverLimit { what, limit } => {
                over_limit(&format!("{file} with more {what}"), limit, what)
            }
        })?;
        let outline = Outline::of(file, &text)?;
        let statement = outline.statement(&text);
        Self::of(file, kind, text, outline, statement)
    }

    /// Takes canonical text if its `signed` object is the very one that was read before: bytes with
    /// that digest need not be made canonical again. Any other text is given back.
    pub(super) fn recall(
        file: &str,
        kind: &str,
        text: Vec<u8>,
        statement: Digest,
    ) -> Result<Result<Self, Refusal>, Vec<u8>> {
        match Outline::of(file, &text) {
            Ok(outline) if outline.statement(&text) == statement => {
                Ok(Self::of(file, kind, text, outline, statement))
            }
            _ => Err(text),
        }
    }

    fn of(
        file: &str,
        kind: &str,
        text: Vec<u8>,
        outline: Outline,
        statement: Digest,
    ) -> Result<Self, Refusal> {
        let Outline {
            signatures,
            signed,
            fields,
        } = outline;
        let body = Text::of(text.get(signed.clone()).unwrap_or_default());
        let field = |name: &str| value(body, fields.get(name));
        let word = |name: &str| field(name).and_then(Text::as_str).unwrap_or_default();
        if word("_type") != kind {
            return Err(malformed(
                file,
                &format!("_type {}, wanted {kind:?}", shown(&word("_type"))),
            ));
        }
        // Section 4.3: of another major version nothing is understood.
        if !is_spec_1(&word("spec_version")) {
            return Err(malformed(
                file,
                &format!("spec_version {}, wanted 1.x", shown(&word("spec_version"))),
            ));
        }
        let version = field("version")
            .and_then(Text::as_u64)
            .filter(|version| *version >= 1);
        let version = version
            .ok_or_else(|| malformed(file, "a version that is not a whole number above 0"))?;
        let expires = word("expires");
        let expires = date(&expires).ok_or_else(|| {
            malformed(
                file,
                &format!("an expiry {}, wanted an RFC 3339 date", shown(&expires)),
            )
        })?;
        Ok(Self {
            file: file.to_owned(),
            statement,
            signed,
            fields,
            signatures,
            version,
            expires,
            text,
        })
    }

    /// A member of the `signed` object, if it is one of [`FIELDS`], there and not null.
    pub(super) fn get(&self, name: &str) -> Option<Text<'_>> {
        value(self.body(), self.fields.get(name))
    }

    /// The `signed` object.
    pub(super) fn body(&self) -> Text<'_> {
        Text::of(self.text.get(self.signed.clone()).unwrap_or_default())
    }

    /// What was signed, for counting signatures.
    pub(super) fn signed(&self) -> Signed<'_> {
        Signed {
            file: &self.file,
            message: self.body().bytes(),
            hash: self.statement,
            signatures: &self.signatures,
        }
    }

    /// What the file is held to by its role's floors.
    pub(super) fn claim<'a>(&'a self, role: &'a Role) -> Claim<'a> {
        let (version, signed) = (self.version, self.statement);
        Claim {
            role: &role.name,
            file: &self.file,
            version,
            signed,
            keys: role.ids(),
            threshold: role.threshold,
        }
    }

    /// Refuses a file that is past its expiry, which is over at the second that it names (sections
    /// 5.3.10, 5.4.4, 5.5.6, 5.6.6). There is no grace.
    pub(super) fn check_expiry(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.expires {
            return Ok(());
        }
        let found = format!(
            "{} version {} expired at {}",
            self.file, self.version, self.expires
        );
        let hint = "have the publisher sign it anew, and check this host's clock";
        Err(Refusal::new(
            Code::Expired,
            found,
            format!("an expiry after {now:.0}"),
            hint,
        ))
    }

    /// A refusal because of this file's form.
    pub(super) fn malformed(&self, what: &str) -> Refusal {
        malformed(&self.file, what)
    }
}

/// Refuses what this host has known for longer than the policy's ceiling on freshness, though it
/// has not expired.
pub(super) fn check_age(
    file: &Envelope,
    since: Timestamp,
    ceiling: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Refusal> {
    match ceiling {
        Some(ceiling) if now >= ceiling => {
            let found = format!(
                "{} version {}, first seen at {since} and too old at {ceiling}",
                file.file, file.version
            );
            let hint = "have the publisher sign a newer one, or ask whether the source is held back; the root's max-age in the policy says how old";
            Err(Refusal::new(
                Code::Expired,
                found,
                "a version that is no older than the root's max-age",
                hint,
            ))
        }
        _ => Ok(()),
    }
}

/// Where in canonical text what is.
struct Outline {
    signatures: Vec<Signature>,
    signed: Range<usize>,
    fields: BTreeMap<&'static str, Range<usize>>,
}

impl Outline {
    /// Looks through the text once, for it may be long.
    fn of(file: &str, text: &[u8]) -> Result<Self, Refusal> {
        let mut listed = None;
        let mut whole = Text::of(text)
            .members()
            .ok_or_else(|| malformed(file, "no object"))?;
        while let Some(name) = whole.name() {
            if name.is("signatures") {
                listed = signatures(whole.value());
            } else if name.is("signed") {
                let begin = whole.place();
                let mut body = whole
                    .enter()
                    .ok_or_else(|| malformed(file, "\"signed\" that is no object"))?;
                let mut fields = BTreeMap::new();
                while let Some(name) = body.name() {
                    let place = body.place();
                    let length = body.value().bytes().len();
                    if let Some(field) = FIELDS.into_iter().find(|field| name.is(field)) {
                        fields.insert(field, place..place + length);
                    }
                }
                // In the order of names, the signatures came before.
                let wrong = "signatures that are not keyid and sig, each key's once, or too many";
                let signatures = listed.ok_or_else(|| malformed(file, wrong))?;
                return Ok(Self {
                    signatures,
                    signed: begin..begin + body.place() + 1,
                    fields,
                });
            } else {
                whole.value();
            }
        }
        Err(malformed(file, "no \"signed\""))
    }

    fn statement(&self, text: &[u8]) -> Digest {
        Digest::of(text.get(self.signed.clone()).unwrap_or_default())
    }
}

/// A refusal because of a file's form.
pub(super) fn malformed(file: &str, what: &str) -> Refusal {
    let hint =
        "this is not what the publisher's tools write; find out who answers in the source's place";
    Refusal::new(
        Code::Malformed,
        format!("{file} with {what}"),
        "metadata of The Update Framework 1.0",
        hint,
    )
}

fn value<'a>(body: Text<'a>, place: Option<&Range<usize>>) -> Option<Text<'a>> {
    let bytes = body.bytes().get(place?.clone())?;
    Some(Text::of(bytes)).filter(|value| !value.is_null())
}

/// Section 4.2.1. A key's ID may stand once; what is no hexadecimal text is a signature that
/// verifies nothing.
fn signatures(listed: Text<'_>) -> Option<Vec<Signature>> {
    let mut ids = BTreeSet::new();
    let read = |entry: Text<'_>| {
        let keyid = entry.get("keyid")?.as_str()?.into_owned();
        let bytes = hex::decode(&entry.get("sig")?.as_str()?).unwrap_or_default();
        ids.insert(keyid.clone()).then_some(Signature {
            keyid,
            method: String::new(),
            bytes,
        })
    };
    listed
        .elements()?
        .take(SIGNATURES_LISTED + 1)
        .map(read)
        .collect::<Option<Vec<_>>>()
        .filter(|all| all.len() <= SIGNATURES_LISTED)
}

fn is_spec_1(version: &str) -> bool {
    let mut parts = version.split('.');
    let number = |part: &str| {
        !part.is_empty() && part.len() < 8 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    parts.next() == Some("1") && (1..=2).contains(&parts.clone().count()) && parts.all(number)
}
