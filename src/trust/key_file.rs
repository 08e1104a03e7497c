//! Files of public keys, as publishers hand them out: PEM keys and certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::Certificate;
use super::key::{KeyError, PublicKey};
use super::pem;

/// All public keys in a PEM file.
///
/// A certificate gives the key in it. One that may sign other certificates is taken only where it stands first: in a chain,
/// the intermediates' keys are nobody's pin.
///
/// # Errors
/// No key in it, or one that is not understood.
pub fn public_keys(pem: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys = Vec::new();
    for (index, block) in pem::blocks(pem).map_err(KeyError)?.into_iter().enumerate() {
        let (spki, certificate) = match block.label.as_str() {
            "PUBLIC KEY" => (block.bytes, None),
            "CERTIFICATE" => {
                let certificate = Certificate::from_der(&block.bytes).map_err(KeyError)?;
                if certificate.authority && index > 0 {
                    return Err(KeyError("a chain: keep only the certificate whose key is to be pinned".to_owned()));
                }
                (certificate.key.clone(), Some(certificate))
            }
            label if label.ends_with("PRIVATE KEY") => {
                return Err(KeyError("a private key: pin the public one, and keep this one off this host".to_owned()));
            }
            label => return Err(KeyError(format!("a block {label:?}: wanted PUBLIC KEY or CERTIFICATE"))),
        };
        keys.push(PublicKey::from_spki(&spki, certificate).ok_or_else(|| {
            KeyError("a public key of another kind: wanted ECDSA P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519".to_owned())
        })?);
    }
    if keys.is_empty() { Err(KeyError("no PEM public key or certificate in it".to_owned())) } else { Ok(keys) }
}

/// The key as a PEM file that [`public_keys`] reads; none where its kind is not known here.
#[must_use]
pub fn to_pem(key: &PublicKey) -> Option<String> {
    let body = STANDARD.encode(key.spki()?);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_the_same_after_it_was_written() {
        for name in ["docker-signer.pub", "ed25519.pub", "p384.pub", "root-app.crt", "rsa2048.pub"] {
            let pem = std::fs::read(format!("{}/tests/data/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let key = public_keys(&pem).unwrap().remove(0);
            let written = to_pem(&key).unwrap();
            assert_eq!(public_keys(written.as_bytes()).unwrap()[0].id(), key.id(), "{name}");
            let plain = pem.starts_with(b"-----BEGIN PUBLIC KEY-----\nM");
            assert!(!plain || written.as_bytes() == pem, "{name}");
        }
    }
}
