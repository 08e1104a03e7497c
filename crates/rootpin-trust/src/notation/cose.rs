//! The COSE envelope (Notary Project, `signature-envelope-cose.md`): `COSE_Sign1_Tagged` of RFC 9052.

use jiff::Timestamp;

use super::cbor::{self, Value};
use super::{Attributes, EXPIRY, Envelope, SIGNED_AT, SIGNING_SCHEME, Scheme, UNDONE};

/// The media type of an envelope.
pub const MEDIA_TYPE: &str = "application/cose";

/// `COSE_Sign1_Tagged` (RFC 9052, section 4.2).
const SIGN1: u64 = 18;
/// Labels of the headers (RFC 9052, section 3.1; RFC 9360, section 2).
const ALGORITHM: i64 = 1;
const CRITICAL: i64 = 2;
const CONTENT_TYPE: i64 = 3;
const X5CHAIN: i64 = 33;

type Map<'a> = Vec<(Value<'a>, Value<'a>)>;

/// Reads an envelope.
pub(super) fn read(bytes: &[u8]) -> Result<Envelope, String> {
    let Some(Value::Tag(SIGN1, inner)) = cbor::read(bytes) else {
        return Err("it is no COSE_Sign1_Tagged".to_owned());
    };
    let Value::List(parts) = *inner else {
        return Err("it is no COSE_Sign1".to_owned());
    };
    let [
        Value::Bytes(protected),
        Value::Map(unprotected),
        Value::Bytes(payload),
        Value::Bytes(signature),
    ] = parts.as_slice()
    else {
        return Err("it is no COSE_Sign1".to_owned());
    };
    let Some(Value::Map(header)) = cbor::read(protected) else {
        return Err("its protected header is no map".to_owned());
    };
    Ok(Envelope {
        message: to_be_signed(protected, payload),
        payload: payload.to_vec(),
        signature: signature.to_vec(),
        chain: chain(unprotected).ok_or("it has no list of certificates")?,
        attributes: attributes(&header)?,
    })
}

/// `Sig_structure` (RFC 9052, section 4.4).
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let (context, empty) = (b"Signature1", cbor::head(2, 0));
    [
        cbor::head(4, 4),
        cbor::head(3, context.len()),
        context.to_vec(),
        cbor::head(2, protected.len()),
        protected.to_vec(),
        empty,
        cbor::head(2, payload.len()),
        payload.to_vec(),
    ]
    .concat()
}

fn by_label<'m, 'a>(map: &'m Map<'a>, label: &Value<'_>) -> Option<&'m Value<'a>> {
    let known = map.iter().find(|(known, _)| known == label);
    known.map(|(_, value)| value)
}

/// A list of certificates, also where there is one alone (`signature-envelope-cose.md`, `x5chain`).
fn chain(unprotected: &Map<'_>) -> Option<Vec<Vec<u8>>> {
    let bytes = |value: &Value<'_>| match value {
        Value::Bytes(bytes) => Some(bytes.to_vec()),
        _ => None,
    };
    match by_label(unprotected, &Value::Integer(X5CHAIN))? {
        Value::List(list) => list.iter().map(bytes).collect(),
        _ => None,
    }
}

fn attributes(header: &Map<'_>) -> Result<Attributes, String> {
    let text = |label: &Value<'_>| match by_label(header, label) {
        Some(Value::Text(text)) => (*text).to_owned(),
        _ => String::new(),
    };
    // An epoch-based time (RFC 8949, section 3.4.2), in whole seconds.
    let time = |name: &str| {
        let seconds = match by_label(header, &Value::Text(name)) {
            None => return Ok(None),
            Some(Value::Tag(1, seconds)) => seconds,
            Some(_) => return Err(format!("its {name} is no time")),
        };
        let time = match **seconds {
            Value::Integer(seconds) => Timestamp::from_second(seconds).ok(),
            _ => None,
        };
        time.map(Some)
            .ok_or_else(|| format!("its {name} is no time"))
    };
    let Some(Value::List(listed)) = by_label(header, &Value::Integer(CRITICAL)) else {
        return Err("it has no list of critical attributes".to_owned());
    };
    let mut critical = Vec::new();
    for label in listed {
        if by_label(header, label).is_none() {
            return Err("it has not each attribute that it calls critical".to_owned());
        }
        critical.push(match label {
            Value::Text(text) => (*text).to_owned(),
            Value::Integer(CONTENT_TYPE) => continue,
            Value::Integer(label) => format!("label {label}"),
            _ => return Err("a critical attribute of it has no name".to_owned()),
        });
    }
    let is_there = |name: &&&str| by_label(header, &Value::Text(name)).is_some();
    let undone = UNDONE.iter().filter(is_there);
    critical.extend(undone.map(|name| (*name).to_owned()));
    let algorithm = match by_label(header, &Value::Integer(ALGORITHM)) {
        Some(Value::Integer(number)) => Scheme::of_cose(*number),
        _ => None,
    };
    Ok(Attributes {
        scheme: algorithm.ok_or("its algorithm is none that is taken")?,
        content: text(&Value::Integer(CONTENT_TYPE)),
        signing_scheme: text(&Value::Text(SIGNING_SCHEME)),
        signed_at: time(SIGNED_AT)?,
        expiry: time(EXPIRY)?,
        critical,
    })
}
