//! Metadata files of both formats: signatures, type, version and expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;

use crate::budget::{Budget, SIGNATURES_LISTED, over_limit};
use crate::canonical::{self, JsonError, Text};
use crate::date::date;
use crate::format::Format;
use crate::image::Digest;
use crate::key::SignedMessage;
use crate::refusal::shown;
use crate::threshold::{Signature, Signed};
use crate::{Code, Refusal};

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

/// One file: the signed object and its signatures, none of them checked yet.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) format: Format,
    /// The file's name, for people.
    pub(crate) file: String,
    /// Canonical text of the whole file.
    text: Vec<u8>,
    /// Where in it the `signed` object is: these bytes were signed, and these are read.
    signed: Range<usize>,
    /// Where in that the values of its members are.
    fields: BTreeMap<&'static str, Range<usize>>,
    signatures: Vec<Signature>,
    /// SHA-256 of the signed bytes.
    pub(crate) statement: Digest,
    /// `version`
    pub(crate) version: u64,
    /// `expires`
    pub(crate) expires: Timestamp,
}

impl Envelope {
    /// Reads the file of a role.
    pub(crate) fn read(
        format: Format,
        file: &str,
        role: &str,
        bytes: &[u8],
        max_bytes: usize,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let limits = budget.take_file(bytes.len(), max_bytes)?;
        let text = match format {
            Format::Notary => canonical::rewrite_doubles(bytes, limits),
            Format::Tuf => canonical::rewrite(bytes, limits),
        };
        let text = text.map_err(|error| match error {
            JsonError::Malformed(why) => format.malformed(file, &shown(&why)),
            JsonError::OverLimit { what, limit } => {
                over_limit(&format!("{file} with more {what}"), limit, what)
            }
        })?;
        let outline = Outline::of(format, file, &text)?;
        Self::of(format, file, role, text, outline)
    }

    /// Takes canonical text of TUF if its `signed` object is the very one that was read before:
    /// bytes with that digest need not be made canonical again. Any other text is given back.
    pub(crate) fn recall(
        file: &str,
        role: &str,
        text: Vec<u8>,
        statement: Digest,
    ) -> Result<Result<Self, Refusal>, Vec<u8>> {
        match Outline::of(Format::Tuf, file, &text) {
            Ok(outline) if outline.statement == statement => {
                Ok(Self::of(Format::Tuf, file, role, text, outline))
            }
            _ => Err(text),
        }
    }

    fn of(
        format: Format,
        file: &str,
        role: &str,
        text: Vec<u8>,
        outline: Outline,
    ) -> Result<Self, Refusal> {
        let wrong = |what: String| Err(format.malformed(file, &what));
        let mut envelope = Self {
            format,
            file: file.to_owned(),
            text,
            signed: outline.signed,
            fields: outline.fields,
            signatures: outline.signatures,
            statement: outline.statement,
            version: 0,
            expires: Timestamp::MIN,
        };
        let word = |name: &str| {
            envelope
                .get(name)
                .and_then(Text::as_str)
                .unwrap_or_default()
        };
        let (found, kind) = (word("_type"), format.kind(role));
        if found != kind {
            return wrong(format!("_type {}, wanted {kind:?}", shown(&found)));
        }
        // Section 4.3: of another major version nothing is understood.
        let spec = word("spec_version");
        if format == Format::Tuf && !is_spec_1(&spec) {
            return wrong(format!("spec_version {}, wanted 1.x", shown(&spec)));
        }
        let expires = word("expires");
        let Some(end) = date(&expires) else {
            let found = shown(&expires);
            return wrong(format!("an expiry {found}, wanted an RFC 3339 date"));
        };
        let version = envelope.get("version").and_then(Text::as_u64);
        let Some(version) = version.filter(|version| *version >= 1) else {
            return wrong("a version that is not a whole number above 0".to_owned());
        };
        (envelope.version, envelope.expires) = (version, end);
        Ok(envelope)
    }

    /// A member of the `signed` object, if it is one of [`FIELDS`], there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<Text<'_>> {
        let bytes = self.body().bytes().get(self.fields.get(name)?.clone())?;
        Some(Text::of(bytes)).filter(|value| !value.is_null())
    }

    /// The `signed` object.
    fn body(&self) -> Text<'_> {
        Text::of(self.text.get(self.signed.clone()).unwrap_or_default())
    }

    /// The signed bytes and their signatures.
    pub(crate) fn signed(&self) -> Signed<'_> {
        Signed {
            file: &self.file,
            message: SignedMessage {
                bytes: Some(self.body().bytes()),
                sha256: Some(self.statement),
            },
            signatures: &self.signatures,
        }
    }

    /// Refuses a file that is past its expiry, which is over at the second that it names (sections
    /// 5.3.10, 5.4.4, 5.5.6, 5.6.6). There is no grace.
    pub(crate) fn check_expiry(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.expires {
            return Ok(());
        }
        let found = format!("{} expired at {}", self.shown(), self.expires);
        let hint = "have the publisher sign it anew, and check this host's clock";
        Err(Refusal::new(
            Code::Expired,
            found,
            format!("an expiry after {now:.0}"),
            hint,
        ))
    }

    /// The file and its version, for people.
    pub(crate) fn shown(&self) -> String {
        format!("{} version {}", self.file, self.version)
    }

    /// A refusal because of this file's form.
    pub(crate) fn malformed(&self, what: &str) -> Refusal {
        self.format.malformed(&self.file, what)
    }
}

/// Where the parts of a file are in its canonical text.
struct Outline {
    signatures: Vec<Signature>,
    signed: Range<usize>,
    /// SHA-256 of the signed bytes.
    statement: Digest,
    fields: BTreeMap<&'static str, Range<usize>>,
}

impl Outline {
    /// Looks through the text once, for it may be long.
    fn of(format: Format, file: &str, text: &[u8]) -> Result<Self, Refusal> {
        let wrong = |what| format.malformed(file, what);
        // Go reads a list that is absent or null as an empty one.
        let mut listed = (format == Format::Notary).then(Vec::new);
        let mut whole = Text::of(text).members().ok_or_else(|| wrong("no object"))?;
        while let Some(name) = whole.name() {
            if name.is("signatures") {
                let value = whole.value();
                if format == Format::Tuf || !value.is_null() {
                    listed = signatures(format, value);
                }
            } else if name.is("signed") {
                let begin = whole.place();
                let mut body = whole
                    .enter()
                    .ok_or_else(|| wrong("\"signed\" that is no object"))?;
                let mut fields = BTreeMap::new();
                while let Some(name) = body.name() {
                    let place = body.place();
                    let length = body.value().bytes().len();
                    if let Some(field) = FIELDS.into_iter().find(|field| name.is(field)) {
                        fields.insert(field, place..place + length);
                    }
                }
                // In the order of names, the signatures came before.
                let why = "signatures that are not keyid and sig, each key's once, or too many";
                let signed = begin..begin + body.place() + 1;
                let bytes = text.get(signed.clone());
                return Ok(Self {
                    signatures: listed.ok_or_else(|| wrong(why))?,
                    statement: Digest::of(bytes.ok_or_else(|| wrong("no end of \"signed\""))?),
                    signed,
                    fields,
                });
            } else {
                whole.value();
            }
        }
        Err(wrong("no \"signed\""))
    }
}

/// Section 4.2.1. In TUF a key's ID may stand once, and a `sig` that is no hexadecimal text
/// verifies nothing.
fn signatures(format: Format, listed: Text<'_>) -> Option<Vec<Signature>> {
    let mut ids = BTreeSet::new();
    let read = |entry: Text<'_>| {
        let keyid = entry.get("keyid")?.as_str()?.into_owned();
        let bytes = format.bytes(&entry.get("sig")?.as_str()?);
        let (method, bytes) = match format {
            // Notary's reader lower-cases methods.
            Format::Notary => (entry.get("method")?.as_str()?.to_ascii_lowercase(), bytes?),
            Format::Tuf => (String::new(), bytes.unwrap_or_default()),
        };
        let first = ids.insert(keyid.clone());
        (first || format == Format::Notary).then_some(Signature {
            keyid,
            method,
            bytes,
        })
    };
    let most = match format {
        // The file's size bounds them.
        Format::Notary => usize::MAX - 1,
        Format::Tuf => SIGNATURES_LISTED,
    };
    let all: Option<Vec<_>> = listed.elements()?.take(most + 1).map(read).collect();
    all.filter(|all| all.len() <= most)
}

fn is_spec_1(version: &str) -> bool {
    let mut parts = version.split('.');
    let number = |part: &str| {
        !part.is_empty() && part.len() < 8 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    parts.next() == Some("1") && (1..=2).contains(&parts.clone().count()) && parts.all(number)
}
