//! Files of public keys, as publishers hand them out: PEM keys and certificates.

use super::certificate::Certificate;
use super::key::{KeyError, PublicKey};
use super::pem;

/// All public keys of metadata in a file: PEM in any form, or bare DER.
///
/// A certificate gives the key in it. One that may sign other certificates is taken only where it
/// stands first: in a chain, nobody pins the intermediates' keys.
///
/// # Errors
/// No key in it, or one that is not understood.
pub fn public_keys(file: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let keys = signature_keys(file)?;
    if keys.iter().all(PublicKey::signs_metadata) {
        Ok(keys)
    } else {
        Err(KeyError(
            "a P-521 key, which no metadata is signed by: wanted ECDSA P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519"
                .to_owned(),
        ))
    }
}

/// The same for keys that sign images: ECDSA P-521 is one of them.
///
/// # Errors
/// As [`public_keys`].
pub fn signature_keys(file: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys = Vec::new();
    for (index, block) in pem::file(file)?.into_iter().enumerate() {
        let (spki, certificate) = match block.label.as_str() {
            "PUBLIC KEY" => (block.bytes.to_vec(), None),
            "RSA PUBLIC KEY" => (PublicKey::rsa_spki(&block.bytes).unwrap_or_default(), None),
            pem::DER if PublicKey::is_spki(&block.bytes) => (block.bytes.to_vec(), None),
            "CERTIFICATE" | pem::DER => {
                let certificate = Certificate::from_der(&block.bytes).map_err(KeyError)?;
                if certificate.authority && index > 0 {
                    return Err(KeyError(
                        "a chain of certificates: keep the one that is meant, alone in a file"
                            .to_owned(),
                    ));
                }
                (certificate.key.clone(), Some(certificate))
            }
            label if label.ends_with("PRIVATE KEY") => {
                return Err(KeyError(
                    "a private key: name the file of the public one, and keep this one off this host".to_owned(),
                ));
            }
            label => {
                return Err(KeyError(format!(
                    "a block {label:?}: wanted PUBLIC KEY or CERTIFICATE"
                )));
            }
        };
        keys.push(
            PublicKey::from_spki(&spki, certificate)
                .ok_or_else(|| KeyError(PublicKey::why_not(&spki).to_owned()))?,
        );
    }
    if keys.is_empty() {
        Err(KeyError(
            "no PEM public key or certificate in it".to_owned(),
        ))
    } else {
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<Vec<PublicKey>, KeyError> {
        public_keys(
            &std::fs::read(format!(
                "{}/../../tests/data/keys/forms/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap(),
        )
    }

    #[test]
    fn a_public_key_is_the_same_in_every_form_that_tools_and_editors_leave() {
        let plain = read("plain.pub").unwrap().remove(0);
        let forms = [
            "bom.pub",
            "certificate.crt",
            "comment.pub",
            "comment-after.pub",
            "crlf.pub",
            "der.pub",
            "headers.pub",
            "one-line.pub",
        ];
        for name in forms {
            let keys = read(name).unwrap();
            assert_eq!((keys.len(), keys[0].id()), (1, plain.id()), "{name}");
        }
        assert_eq!(
            read("rsa-pkcs1.pub").unwrap()[0].id(),
            read("rsa.pub").unwrap()[0].id()
        );
    }

    #[test]
    fn a_p_521_key_signs_images_and_no_metadata() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");
        let file = std::fs::read(format!("{data}/signatures/keys/p521.pub")).unwrap();
        assert_eq!(signature_keys(&file).unwrap()[0].kind(), "ecdsa");
        let error = public_keys(&file).unwrap_err().to_string();
        assert!(error.contains("no metadata is signed by"), "{error}");
    }

    #[test]
    fn a_form_in_which_one_key_could_stand_under_a_second_id_is_refused_with_the_command_that_converts_it()
     {
        for (name, command) in [
            (
                "compressed.pub",
                "openssl ec -pubin -in FILE -conv_form uncompressed -out NEW",
            ),
            (
                "explicit.pub",
                "openssl ec -pubin -in FILE -param_enc named_curve -out NEW",
            ),
            ("openssh.pub", "ssh-keygen -e -m PKCS8 -f FILE > NEW"),
        ] {
            let error = read(name).unwrap_err().to_string();
            assert!(error.contains(command), "{name}: {error}");
        }
    }
}
