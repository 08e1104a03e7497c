//! Public keys as people hand them around (`SubjectPublicKeyInfo` as PEM) and as TUF metadata lists them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::key::Kind;
use crate::image::Digest;
use crate::json::Value;

/// What stands before the point in the `SubjectPublicKeyInfo` of a P-256 key (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
/// The same of an ed25519 key (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The key object of a public key: of P-256 the PEM of its uncompressed point, of ed25519 hex digits, as other tools of TUF write them.
pub(super) fn key_object(kind: Kind, point: &[u8]) -> Value {
    let (keytype, scheme, public) = match kind {
        Kind::Ed25519 => ("ed25519", "ed25519", hex(point)),
        Kind::P256 => ("ecdsa", "ecdsa-sha2-nistp256", pem(&[&P256_SPKI, point].concat())),
    };
    let text = |text: &str| Value::String(text.to_owned());
    let keyval = Value::Object([("public".to_owned(), Value::String(public))].into_iter().collect());
    let members = [("keytype", text(keytype)), ("scheme", text(scheme)), ("keyval", keyval)];
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The kind and the point of a key object that [`key_object`] made.
pub(super) fn point_of(key: &Value) -> Option<(Kind, Vec<u8>)> {
    let public = key.get("keyval")?.get("public")?.as_str()?;
    match key.get("keytype")?.as_str()? {
        "ed25519" => Some((Kind::Ed25519, Digest::from_hex(public)?.as_bytes().to_vec())),
        _ => read(public).ok(),
    }
}

/// The PEM of a key object's public key.
pub(super) fn to_pem(key: &Value) -> Option<String> {
    let (kind, point) = point_of(key)?;
    Some(match kind {
        Kind::Ed25519 => pem(&[&ED25519_SPKI[..], &point].concat()),
        Kind::P256 => pem(&[&P256_SPKI[..], &point].concat()),
    })
}

/// The key object of a public key in PEM, however its lines are broken.
pub(super) fn from_pem(text: &str) -> Result<Value, &'static str> {
    read(text).map(|(kind, point)| key_object(kind, &point))
}

fn read(text: &str) -> Result<(Kind, Vec<u8>), &'static str> {
    if text.matches("-----BEGIN").count() != 1 {
        return Err("not one block of PEM");
    }
    let info = SubjectPublicKeyInfoOwned::from_pem(text.trim()).map_err(|_| "no public key in PEM")?;
    let point = info.subject_public_key.as_bytes().ok_or("a public key of odd length")?;
    let kind = if info.algorithm.oid == ED25519 { Kind::Ed25519 } else { Kind::P256 };
    if kind == Kind::P256 && info.algorithm.oid != EC {
        return Err("a public key of another kind");
    }
    let (head, is_point): (&[u8], _) = match kind {
        Kind::Ed25519 => (&ED25519_SPKI, point.len() == 32),
        // On the curve, and not the point at infinity.
        Kind::P256 => (&P256_SPKI, point.len() == 65 && p256::ecdsa::VerifyingKey::from_sec1_bytes(point).is_ok()),
    };
    let plain = info.to_der().is_ok_and(|der| der == [head, point].concat());
    if is_point && plain { Ok((kind, point.to_vec())) } else { Err("a public key of another kind") }
}

/// PEM, ending in a line feed.
fn pem(der: &[u8]) -> String {
    // Lines of 64 (RFC 7468, section 2).
    let (mut text, mut column) = (String::new(), 0);
    for letter in STANDARD.encode(der).chars() {
        if column == 64 {
            text.push('\n');
            column = 0;
        }
        text.push(letter);
        column += 1;
    }
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_P256: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
        6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_the_same_object_after_a_way_through_pem() {
        for key in [key_object(Kind::Ed25519, &[7; 32]), from_pem(OF_P256).unwrap()] {
            let text = to_pem(&key).unwrap();
            assert_eq!(from_pem(&text), Ok(key.clone()));
            assert_eq!(from_pem(&text.replace('\n', "\r\n")), Ok(key));
        }
        assert_eq!(to_pem(&from_pem(OF_P256).unwrap()).unwrap(), OF_P256);
    }

    #[test]
    fn what_is_no_public_key_of_the_two_kinds_is_refused() {
        let data = |name: &str| std::fs::read_to_string(format!("{}/tests/data/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for name in ["p384.pub", "rsa2048.pub", "p256-compressed.pub", "root-app.crt"] {
            from_pem(&data(name)).unwrap_err();
        }
        assert!(from_pem(&data("ed25519.pub")).is_ok());
        let mut off_curve = P256_SPKI.to_vec();
        off_curve.extend([4; 65]);
        for text in [String::new(), OF_P256.repeat(2), pem(&off_curve), pem(&[0x30, 0]), OF_P256.replace("PUBLIC", "PRIVATE")] {
            from_pem(&text).unwrap_err();
        }
    }
}
