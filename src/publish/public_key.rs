//! Public keys as people hand them around, and as TUF metadata lists them.

use serde_json::{Value, json};

use x509_cert::der::asn1::{BitStringRef, ObjectIdentifier};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{AnyRef, Decode as _, Encode as _};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::canonical_json::canonical_text;
use rootpin_trust::image::Digest;
use rootpin_trust::{PublicKey, hex, key_file};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key's ID (TUF 1.0.34, section 4.2), and its object as the metadata that is made here lists it.
#[must_use]
pub fn key_object(key: &PublicKey) -> (String, Value) {
    let (keytype, scheme, public) = listing(key).unwrap_or_default();
    let object = json!({ "keytype": keytype, "scheme": scheme, "keyval": { "public": public } });
    let id = canonical_text(&object).map(|text| Digest::of(&text).hex());
    (id.unwrap_or_default(), object)
}

/// Keytype, scheme and public part; none where the key's kind is not known here.
fn listing(key: &PublicKey) -> Option<(&'static str, &'static str, String)> {
    let der = key.spki()?;
    let spki = SubjectPublicKeyInfoRef::from_der(&der).ok()?;
    Some(match key.kind() {
        "ed25519" => {
            let bytes = spki.subject_public_key.as_bytes()?;
            ("ed25519", "ed25519", hex::encode(bytes))
        }
        "ecdsa" if spki.algorithm.parameters_oid() == Ok(P384) => {
            ("ecdsa", "ecdsa-sha2-nistp384", to_pem(key)?)
        }
        "ecdsa" => ("ecdsa", "ecdsa-sha2-nistp256", to_pem(key)?),
        "rsa" => ("rsa", "rsassa-pss-sha256", to_pem(key)?),
        _ => return None,
    })
}

/// The key as a PEM file that [`key_file::public_keys`] reads; none where its kind is not known here.
pub(crate) fn to_pem(key: &PublicKey) -> Option<String> {
    encode_string("PUBLIC KEY", LineEnding::LF, &key.spki()?).ok()
}

/// The Ed25519 key of these 32 bytes, or the key of P-256 or P-384 with that uncompressed point.
pub(super) fn of_point(bytes: &[u8]) -> Option<PublicKey> {
    let (oid, curve) = match bytes.len() {
        32 => (ED25519, None),
        65 => (EC_PUBLIC_KEY, Some(&P256)),
        97 => (EC_PUBLIC_KEY, Some(&P384)),
        _ => return None,
    };
    of_parts(oid, curve.map(AnyRef::from), bytes)
}

/// The RSA key of that `RSAPublicKey` in DER (RFC 8017, appendix A.1.1).
pub(super) fn of_rsa(der: &[u8]) -> Option<PublicKey> {
    of_parts(RSA_ENCRYPTION, Some(AnyRef::NULL), der)
}

fn of_parts(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    key: &[u8],
) -> Option<PublicKey> {
    let spki = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key).ok()?,
    };
    only_key(&spki.to_der().ok()?).ok()
}

/// The one public key in a file.
pub(super) fn only_key(file: &[u8]) -> Result<PublicKey, String> {
    let mut keys = key_file::public_keys(file).map_err(|error| error.to_string())?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        _ => Err("more than one key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!(
            "{}/tests/data/keys/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    }

    #[test]
    fn every_kind_of_key_is_the_same_after_it_was_written() {
        for name in [
            "docker-signer.pub",
            "ed25519.pub",
            "p384.pub",
            "root-app.crt",
            "rsa2048.pub",
        ] {
            let pem = std::fs::read(format!(
                "{}/tests/data/keys/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap();
            let key = key_file::public_keys(&pem).unwrap().remove(0);
            let written = to_pem(&key).unwrap();
            assert_eq!(
                key_file::public_keys(written.as_bytes()).unwrap()[0].id(),
                key.id(),
                "{name}"
            );
            let plain = pem.starts_with(b"-----BEGIN PUBLIC KEY-----\nM");
            assert!(!plain || written.as_bytes() == pem, "{name}");
        }
    }

    #[test]
    fn a_key_is_listed_as_other_tools_of_tuf_list_it() {
        for (name, keytype, scheme) in [
            ("ed25519.pub", "ed25519", "ed25519"),
            ("docker-signer.pub", "ecdsa", "ecdsa-sha2-nistp256"),
            ("p384.pub", "ecdsa", "ecdsa-sha2-nistp384"),
            ("rsa2048.pub", "rsa", "rsassa-pss-sha256"),
        ] {
            let key = only_key(&data(name)).unwrap();
            let (keyid, object) = key_object(&key);
            assert_eq!(
                (object["keytype"].as_str(), object["scheme"].as_str()),
                (Some(keytype), Some(scheme))
            );
            assert_eq!(
                crate::publish::canonical_json::material(&keyid, &object),
                Some(key.id()),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_single_public_key_is_none() {
        let two = [data("ed25519.pub"), data("p384.pub")].concat();
        for bad in [
            &two[..],
            b"",
            &data("rsa1024.pub"),
            &data("p256-compressed.pub"),
        ] {
            only_key(bad).unwrap_err();
        }
    }
}
