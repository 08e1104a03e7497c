//! The JWS envelope (Notary Project, `signature-envelope-jws.md`): RFC 7515's flattened JSON.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{Attributes, EXPIRY, Envelope, SIGNED_AT, SIGNING_SCHEME, Scheme, UNDONE};
use crate::canonical::Text;
use crate::date::date;
use crate::image_signature::{OTHER_NAMES, has_other_names, json};
use crate::refusal::shown;

/// The media type of an envelope.
pub const MEDIA_TYPE: &str = "application/jose+json";

/// Critical attributes of one envelope. The specification knows six.
const MOST_CRITICAL: usize = 16;

/// Reads an envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Envelope, String> {
    let text = json(bytes, "it")?;
    let envelope = Text::of(&text);
    let unsigned = envelope.get("header");
    if has_other_names(envelope, &["header", "payload", "protected", "signature"])
        || unsigned.is_some_and(|header| has_other_names(header, &["x5c"]))
    {
        return Err(OTHER_NAMES.to_owned());
    }
    let part = |name: &str| {
        envelope
            .get_str(name)
            .ok_or_else(|| format!("it has no {name}"))
    };
    let (protected, payload, signature) =
        (part("protected")?, part("payload")?, part("signature")?);
    let decoded = |name: &str, text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map_err(|_| format!("its {name} is no base64url"))
    };
    let header = json(&decoded("protected", &protected)?, "its protected header")?;
    let chain = unsigned
        .and_then(|header| header.get("x5c")?.elements())
        .ok_or("it has no certificates")?;
    let certificate = |text: Text<'_>| STANDARD.decode(text.as_str()?.as_bytes()).ok();
    let chain: Option<Vec<Vec<u8>>> = chain.map(certificate).collect();
    Ok(Envelope {
        message: format!("{protected}.{payload}").into_bytes(),
        payload: decoded("payload", &payload)?,
        signature: decoded("signature", &signature)?,
        chain: chain.ok_or("its certificates are no base64")?,
        attributes: attributes(Text::of(&header))?,
    })
}

fn attributes(header: Text<'_>) -> Result<Attributes, String> {
    let known = ["alg", "crit", "cty", SIGNING_SCHEME, SIGNED_AT, EXPIRY];
    if has_other_names(header, &known) || has_other_names(header, &UNDONE) {
        return Err(OTHER_NAMES.to_owned());
    }
    let text = |name: &str| header.get_str(name);
    let time = |name: &str| {
        let Some(value) = header.get(name) else {
            return Ok(None);
        };
        let time = value.as_str().and_then(|text| date(&text));
        time.map(Some)
            .ok_or_else(|| format!("its {name} is no time"))
    };
    let algorithm = text("alg").unwrap_or_default();
    let critical = header.get("crit").and_then(Text::elements);
    let critical: Option<Vec<String>> = critical
        .ok_or("it has no list of critical attributes")?
        .take(MOST_CRITICAL + 1)
        .map(|name| Some(name.as_str()?.into_owned()))
        .collect();
    let mut critical = critical.ok_or("a critical attribute of it is no text")?;
    // Nothing is verified yet, and each one is looked for in the whole header.
    if critical.len() > MOST_CRITICAL {
        return Err(format!(
            "it calls more than {MOST_CRITICAL} attributes critical"
        ));
    }
    if let Some(absent) = critical.iter().find(|name| header.get(name).is_none()) {
        return Err(format!(
            "it has no attribute {}, which it calls critical",
            shown(absent)
        ));
    }
    let undone = UNDONE.iter().filter(|name| header.get(name).is_some());
    critical.extend(undone.map(|name| (*name).to_owned()));
    Ok(Attributes {
        scheme: Scheme::of_jws(&algorithm)
            .ok_or_else(|| format!("its algorithm is {}", shown(&algorithm)))?,
        content: text("cty").unwrap_or_default().into_owned(),
        signing_scheme: text(SIGNING_SCHEME).unwrap_or_default().into_owned(),
        signed_at: time(SIGNED_AT)?,
        expiry: time(EXPIRY)?,
        critical,
    })
}
