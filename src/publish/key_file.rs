//! Private keys in files: encrypted PKCS#8.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Reader, TagNumber, Tagged};
use zeroize::Zeroizing;

use super::encryption;
use super::key::{KeyKind, Signer, SigningError};
use super::private_file::{read_private, write_new};
use super::public_key;
use rootpin_trust::{PublicKey, pem};

/// The label of an encrypted key's PEM block (RFC 7468, section 11).
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// What a private key's file is converted by.
const CONVERT: &str = "convert it: openssl pkcs8 -topk8 -in FILE -out NEW.pem";

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A private key in memory.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

/// A private key's file, read and in good form, and locked.
#[derive(Debug)]
pub(super) struct LockedKey {
    file: String,
    encrypted: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateKey {
    /// Only what is public.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.keyid()).finish()
    }
}

/// The public key stands in it unencrypted (OpenSSH, `PROTOCOL.key`).
fn is_ed25519_of_openssh(bytes: &[u8]) -> bool {
    const KIND: &[u8] = b"\x00\x00\x00\x0bssh-ed25519";
    bytes.windows(KIND.len()).any(|window| window == KIND)
}

impl LockedKey {
    /// Reads a file that only the caller can read, and finds out whether a passphrase could open
    /// it.
    pub(super) fn read(file: &Path) -> Result<Self, SigningError> {
        let bytes = read_private(file)?;
        let shown = file.display().to_string();
        let wrong = |why: &str, hint: &str| {
            SigningError::Private(shown.clone(), why.to_owned(), hint.to_owned())
        };
        let mut blocks = pem::file(&bytes).map_err(|why| wrong(&why, WANTED))?;
        // Others may stand beside it: the curve's parameters, a public key, a certificate.
        blocks.retain(|block| block.label == pem::DER || block.label.ends_with("PRIVATE KEY"));
        let (Some(block), true) = (blocks.pop(), blocks.is_empty()) else {
            return Err(wrong("not one private key in it", WANTED));
        };
        let convert = CONVERT.replace("FILE", &shown);
        match block.label.as_str() {
            LABEL | pem::DER => {}
            "PRIVATE KEY" => return Err(wrong("a key that is not encrypted", &convert)),
            "OPENSSH PRIVATE KEY" if is_ed25519_of_openssh(&block.bytes) => {
                return Err(wrong(
                    "an Ed25519 key in OpenSSH's own format, which ssh-keygen does not convert",
                    "make another key: rootpin repo key generate NAME",
                ));
            }
            "OPENSSH PRIVATE KEY" => {
                return Err(wrong(
                    "OpenSSH's own format",
                    &format!("convert a copy of it: ssh-keygen -p -m PKCS8 -f {shown}"),
                ));
            }
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                return Err(wrong(
                    "cosign's own format, which nothing converts",
                    "make another key: rootpin repo key generate NAME",
                ));
            }
            label
                if block
                    .headers
                    .iter()
                    .any(|header| header.starts_with("DEK-Info:")) =>
            {
                return Err(wrong(
                    &format!("{label}, encrypted in the way of old OpenSSL"),
                    &convert,
                ));
            }
            label => return Err(wrong(&format!("{label}, which is not encrypted"), &convert)),
        }
        if let Err(fault) = encryption::check(&block.bytes) {
            return Err(match fault {
                encryption::EncryptionFault::NotEncrypted => wrong("no encrypted PKCS#8", &convert),
                encryption::EncryptionFault::Scheme { name, old } => {
                    let old = if old {
                        " -provider legacy -provider default"
                    } else {
                        ""
                    };
                    wrong(
                        &format!("encrypted by {name}, which is not read here"),
                        &format!("{convert}{old}"),
                    )
                }
            });
        }
        Ok(Self {
            file: shown,
            encrypted: block.bytes,
        })
    }

    /// Unlocks it.
    pub(super) fn unlock(&self, passphrase: &str) -> Result<PrivateKey, SigningError> {
        let wrong = |why: &str, hint: &str| {
            SigningError::Private(self.file.clone(), why.to_owned(), hint.to_owned())
        };
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(self.encrypted.as_slice())
            .map_err(|_| wrong("no encrypted PKCS#8", WANTED))?;
        let der = encrypted.decrypt(passphrase).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(
                pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::AlgorithmParametersInvalid { .. },
            ) => wrong(&error.to_string(), &CONVERT.replace("FILE", &self.file)),
            // Also what is no DER: a wrong passphrase has one chance in some hundred to leave good
            // padding behind.
            _ => SigningError::Locked(self.file.clone()),
        })?;
        let der =
            normalized(der.as_bytes()).ok_or_else(|| SigningError::Locked(self.file.clone()))?;
        let wanted = "wanted P-256, P-384, RSA of 2048 to 8192 bits, or ed25519";
        PrivateKey::from_pkcs8(&der).map_err(|_| wrong("a key of another kind", wanted))
    }
}

/// PKCS#8 as it should be; none, where it is none. Notary and Docker write version 2 of RFC 5958,
/// section 2, without the public key that makes it that: it is read as version 1.
fn normalized(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut copy = Zeroizing::new(der.to_vec());
    let info = AnyRef::from_der(der).ok()?;
    let has_public = info.sequence(|inner| {
        let version = u8::decode(inner)?;
        AnyRef::decode(inner)?;
        AnyRef::decode(inner)?;
        let mut public = false;
        while !inner.is_finished() {
            public |= AnyRef::decode(inner)?.tag().number() == TagNumber(1);
        }
        Ok::<_, x509_cert::der::Error>(version == 0 || public)
    });
    if !has_public.ok()? {
        let at = der.len().checked_sub(info.value().len())?.checked_add(2)?;
        *copy.get_mut(at)? = 0;
    }
    Some(copy)
}

const WANTED: &str = "wanted an encrypted PKCS#8 key (PEM or DER), as `rootpin repo key generate`, OpenSSL, Notary and Docker write it";

impl PrivateKey {
    /// Makes a key and writes it, encrypted (PBES2: scrypt and AES-256), to a file that isn't there
    /// yet. The file appears whole or not at all.
    ///
    /// # Errors
    /// The passphrase is empty, or the file is there already or can't be written.
    pub fn generate(kind: KeyKind, file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        if passphrase.is_empty() {
            return Err(SigningError::NoPassphrase);
        }
        let der = generate(kind)?;
        let key = Self::from_pkcs8(der.as_bytes())?;
        let info = PrivateKeyInfoRef::try_from(der.as_bytes())
            .map_err(|_| SigningError::Crypto("a new key is no PKCS#8"))?;
        let encrypted = info
            .encrypt(passphrase)
            .map_err(|_| SigningError::Crypto("encrypting a key"))?;
        let pem = encrypted
            .to_pem(LABEL, LineEnding::LF)
            .map_err(|_| SigningError::Crypto("writing a key as PEM"))?;
        write_new(file, pem.as_bytes())?;
        Ok(key)
    }

    /// Makes a key that is gone with this process.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn in_memory(kind: KeyKind) -> Result<Self, SigningError> {
        Self::from_pkcs8(generate(kind)?.as_bytes())
    }

    /// Reads a key from a file that only the caller can read.
    ///
    /// # Errors
    /// The file can't be read, others can read it, the passphrase is wrong, or it holds no key that
    /// can sign.
    pub fn load(file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        LockedKey::read(file)?.unlock(passphrase)
    }

    /// Opens a key file, once it is one that a passphrase could open.
    ///
    /// # Errors
    /// The file is none, nobody gives a passphrase, or it is another.
    pub fn ask(
        file: &Path,
        passphrase: impl FnOnce() -> Result<String, SigningError>,
    ) -> Result<Self, SigningError> {
        let locked = LockedKey::read(file)?;
        locked.unlock(&passphrase()?)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, SigningError> {
        let of_curve = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .ok()
            .map(Pair::Ed25519);
        let pair = pair.or_else(|| of_curve(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::P256));
        let pair = pair.or_else(|| of_curve(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Pair::P384));
        let pair = pair.or_else(|| {
            RsaKeyPair::from_pkcs8(der)
                .ok()
                .map(|pair| Pair::Rsa(Box::new(pair)))
        });
        let pair = pair.ok_or(SigningError::Crypto("a key of another kind"))?;
        let public = match &pair {
            Pair::Ed25519(pair) => public_key::of_point(pair.public_key().as_ref()),
            Pair::P256(pair) | Pair::P384(pair) => public_key::of_point(pair.public_key().as_ref()),
            Pair::Rsa(pair) => public_key::of_rsa(pair.public_key().as_ref()),
        };
        Ok(Self {
            pair,
            public: public.ok_or(SigningError::Crypto("a weak key"))?,
        })
    }
}

impl Signer for PrivateKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8], scheme: &str) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        let signature = match (&self.pair, scheme) {
            (Pair::Ed25519(pair), "ed25519") => pair.try_sign(message),
            (Pair::P256(pair), "ecdsa-sha2-nistp256")
            | (Pair::P384(pair), "ecdsa-sha2-nistp384") => pair.sign(&random, message),
            (Pair::Rsa(pair), scheme) => return sign_rsa(pair, rsa_padding(scheme)?, message),
            _ => return Err(no_scheme(scheme)),
        };
        Ok(signature
            .map_err(|_| SigningError::Crypto("signing"))?
            .as_ref()
            .to_vec())
    }
}

fn rsa_padding(scheme: &str) -> Result<&'static dyn RsaEncoding, SigningError> {
    match scheme {
        "rsassa-pss-sha256" => Ok(&RSA_PSS_SHA256),
        "rsassa-pss-sha384" => Ok(&RSA_PSS_SHA384),
        "rsassa-pss-sha512" => Ok(&RSA_PSS_SHA512),
        other => Err(no_scheme(other)),
    }
}

fn sign_rsa(
    pair: &RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, SigningError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| SigningError::Crypto("signing"))?;
    Ok(signature)
}

/// The key is listed with a scheme that it is not signed by here.
pub(super) fn no_scheme(scheme: &str) -> SigningError {
    SigningError::Unusable(format!(
        "the metadata lists the key with the scheme {scheme:?}, by which nothing is signed here"
    ))
}

/// A new key as plain PKCS#8, wiped when dropped.
fn generate(kind: KeyKind) -> Result<SecretDocument, SigningError> {
    let random = SystemRandom::new();
    let der = match kind {
        KeyKind::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random),
        KeyKind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
    };
    let der = der.map_err(|_| SigningError::Crypto("making a key"))?;
    SecretDocument::try_from(der.as_ref()).map_err(|_| SigningError::Crypto("a new key is no DER"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::Command;

    use super::*;
    use crate::publish::document::material;
    use crate::publish::public_key::key_object;
    use rootpin_trust::tuf;

    const OPEN: &str = "passphrase";

    fn made(kind: KeyKind) -> (tempfile::TempDir, std::path::PathBuf, PrivateKey) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.pem");
        let key = PrivateKey::generate(kind, &file, "correct horse").unwrap();
        (folder, file, key)
    }

    /// Whether hosts take what the key signs as its listing says.
    fn signs(key: &PrivateKey, scheme: &str) -> bool {
        let (keyid, mut object) = key_object(key.public());
        object["scheme"] = scheme.into();
        let signature = key.sign(b"message", scheme).unwrap();
        let object = crate::publish::document::canonical_text(&object).unwrap();
        let by = |message: &[u8]| tuf::signed_by(&keyid, &object, message, &signature);
        by(b"message") == Some(key.public().id()) && by(b"another").is_none()
    }

    #[test]
    fn a_made_key_signs_what_hosts_verify_by_its_listing_after_a_round_through_its_file() {
        for (kind, scheme) in [
            (KeyKind::P256, "ecdsa-sha2-nistp256"),
            (KeyKind::Ed25519, "ed25519"),
        ] {
            let (_folder, file, made) = made(kind);
            let key = PrivateKey::load(&file, "correct horse").unwrap();
            assert_eq!(key.keyid(), made.keyid());
            assert!(signs(&key, scheme), "{scheme}");
            assert!(matches!(
                key.sign(b"message", "rsassa-pss-sha256"),
                Err(SigningError::Unusable(_))
            ));
        }
    }

    #[test]
    fn a_key_file_is_encrypted_private_and_never_written_over() {
        let (_folder, file, _) = made(KeyKind::Ed25519);
        let written = fs::read_to_string(&file).unwrap();
        assert!(
            written.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "{written}"
        );
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(
            PrivateKey::generate(KeyKind::P256, &file, "other"),
            Err(SigningError::File(..))
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
        assert!(matches!(
            PrivateKey::load(&file, "wrong"),
            Err(SigningError::Locked(_))
        ));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_so_is_an_empty_passphrase() {
        let (folder, file, _) = made(KeyKind::P256);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            PrivateKey::load(&file, "correct horse"),
            Err(SigningError::Exposed(..))
        ));
        let other = folder.path().join("other.pem");
        assert!(matches!(
            PrivateKey::generate(KeyKind::P256, &other, ""),
            Err(SigningError::NoPassphrase)
        ));
        assert!(!other.exists());
    }

    /// A private copy of a key file of the tests' data, all of which open by one passphrase.
    fn private(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::copy(
            format!(
                "{}/tests/data/keys/private/{name}",
                env!("CARGO_MANIFEST_DIR")
            ),
            &file,
        )
        .unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        (folder, file)
    }

    #[test]
    fn a_private_key_is_read_in_every_form_that_tools_and_editors_leave() {
        let (_folder, file) = private("ec.pem");
        let plain = PrivateKey::load(&file, OPEN).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let forms = [
            text.replace('\n', "\r\n"),
            text.replace('\n', " \n"),
            text.clone() + "\n \n# root key of team\n",
            format!("\u{feff}{text}"),
            text.replacen("-----\n", "-----\nrole: root\n\n", 1),
        ];
        for form in forms {
            fs::write(&file, &form).unwrap();
            assert_eq!(
                PrivateKey::load(&file, OPEN).unwrap().public().id(),
                plain.public().id(),
                "{form}"
            );
        }
        let der = pem::blocks(text.as_bytes()).unwrap().remove(0).bytes;
        fs::write(&file, &*der).unwrap();
        assert_eq!(
            PrivateKey::load(&file, OPEN).unwrap().public().id(),
            plain.public().id()
        );
    }

    #[test]
    fn keys_of_notary_docker_and_openssl_sign_by_every_scheme_that_lists_them() {
        for (name, schemes) in [
            ("notary.key", &["ecdsa-sha2-nistp256"][..]),
            ("docker.key", &["ecdsa-sha2-nistp256"]),
            ("p384.pem", &["ecdsa-sha2-nistp384"]),
            (
                "rsa.pem",
                &[
                    "rsassa-pss-sha256",
                    "rsassa-pss-sha384",
                    "rsassa-pss-sha512",
                ],
            ),
        ] {
            let (_folder, file) = private(name);
            let key = PrivateKey::load(&file, OPEN).unwrap();
            assert!(schemes.iter().all(|scheme| signs(&key, scheme)), "{name}");
            let (keyid, object) = key_object(key.public());
            assert_eq!(material(&keyid, &object), Some(key.public().id()));
            let wrong = PrivateKey::load(&file, "wrong").unwrap_err();
            assert!(matches!(wrong, SigningError::Locked(_)), "{name}: {wrong}");
        }
    }

    #[test]
    fn what_is_not_read_is_named_with_a_command_that_makes_a_good_key_of_it_as_typed() {
        for (name, named) in [
            ("legacy.pem", "encrypted in the way of old OpenSSL"),
            (
                "des3.pem",
                "encrypted by PBES2 with PBKDF2, hmacWithSHA256 and des-ede3-cbc",
            ),
            ("pbes1-md5.pem", "encrypted by pbeWithMD5AndDES-CBC"),
            ("plain.pem", "not encrypted"),
            ("sec1.pem", "EC PRIVATE KEY, which is not encrypted"),
        ] {
            let (folder, file) = private(name);
            let error = PrivateKey::load(&file, OPEN).unwrap_err();
            assert!(
                matches!(&error, SigningError::Private(_, why, _) if why.contains(named)),
                "{name}: {error}"
            );
            let SigningError::Private(_, _, hint) = error else {
                panic!("{name}")
            };
            let command = hint.strip_prefix("convert it: ").unwrap().replace(
                "NEW.pem",
                &folder.path().join("new.pem").display().to_string(),
            );
            let mut shell = Command::new("sh");
            shell.args([
                "-c",
                &format!("{command} -passin pass:{OPEN} -passout pass:{OPEN}"),
            ]);
            assert!(shell.status().unwrap().success(), "{name}: {command}");
            PrivateKey::load(&folder.path().join("new.pem"), OPEN).unwrap();
        }
        let (_folder, file) = private("openssh.pem");
        let error = PrivateKey::load(&file, OPEN).unwrap_err().to_string();
        // No tool at hand converts it.
        assert!(error.contains("rootpin repo key generate NAME"), "{error}");
    }
}
