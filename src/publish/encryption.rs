//! By what a private key is encrypted (RFC 8018), named as OpenSSL names it.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::{Decode, Reader, Tag, Tagged};

/// Why no passphrase opens it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EncryptionFault {
    /// It is no encrypted PKCS#8 (RFC 5958, section 3).
    NotEncrypted,
    /// A scheme that is not known here. `old`: OpenSSL 3 keeps it in its legacy provider.
    Scheme { name: String, old: bool },
}

/// Each scheme's name, and whether OpenSSL 3 keeps it in its legacy provider.
const NAMES: [(&str, &str, bool); 23] = [
    ("1.2.840.113549.1.5.1", "pbeWithMD2AndDES-CBC", true),
    ("1.2.840.113549.1.5.3", "pbeWithMD5AndDES-CBC", true),
    ("1.2.840.113549.1.5.4", "pbeWithMD2AndRC2-CBC", true),
    ("1.2.840.113549.1.5.6", "pbeWithMD5AndRC2-CBC", true),
    ("1.2.840.113549.1.5.10", "pbeWithSHA1AndDES-CBC", true),
    ("1.2.840.113549.1.5.11", "pbeWithSHA1AndRC2-CBC", true),
    ("1.2.840.113549.1.5.12", "PBKDF2", false),
    ("1.2.840.113549.1.5.13", "PBES2", false),
    ("1.2.840.113549.1.12.1.1", "pbeWithSHA1And128BitRC4", true),
    (
        "1.2.840.113549.1.12.1.3",
        "pbeWithSHA1And3-KeyTripleDES-CBC",
        false,
    ),
    (
        "1.2.840.113549.1.12.1.4",
        "pbeWithSHA1And2-KeyTripleDES-CBC",
        false,
    ),
    (
        "1.2.840.113549.1.12.1.5",
        "pbeWithSHA1And128BitRC2-CBC",
        true,
    ),
    (
        "1.2.840.113549.1.12.1.6",
        "pbeWithSHA1And40BitRC2-CBC",
        true,
    ),
    ("1.2.840.113549.2.7", "hmacWithSHA1", false),
    ("1.2.840.113549.2.9", "hmacWithSHA256", false),
    ("1.2.840.113549.2.11", "hmacWithSHA512", false),
    ("1.2.840.113549.3.2", "rc2-cbc", true),
    ("1.2.840.113549.3.7", "des-ede3-cbc", false),
    ("1.3.6.1.4.1.11591.4.11", "scrypt", false),
    ("1.3.14.3.2.7", "des-cbc", true),
    ("1.2.392.200011.61.1.1.1.2", "camellia-128-cbc", false),
    ("1.2.392.200011.61.1.1.1.4", "camellia-256-cbc", false),
    ("2.16.840.1.101.3.4.1.42", "aes-256-cbc", false),
];

/// Nothing that is encrypted nests deeper.
const DEPTH: usize = 8;

/// Whether a passphrase can open these bytes here.
pub(super) fn check(der: &[u8]) -> Result<(), EncryptionFault> {
    if EncryptedPrivateKeyInfoRef::try_from(der)
        .is_ok_and(|info| is_known(&info.encryption_algorithm))
    {
        return Ok(());
    }
    let algorithm = AnyRef::from_der(der).ok().and_then(|info| {
        info.sequence(|inner| {
            let algorithm = AnyRef::decode(inner)?;
            AnyRef::decode(inner).map(|data| (algorithm, data.tag()))
        })
        .ok()
    });
    let Some((algorithm, Tag::OctetString)) = algorithm else {
        return Err(EncryptionFault::NotEncrypted);
    };
    let mut found = Vec::new();
    identifiers(algorithm, DEPTH, &mut found);
    let known = |id: &ObjectIdentifier| NAMES.iter().find(|(number, ..)| *number == id.to_string());
    let names: Vec<String> = found
        .iter()
        .map(|id| known(id).map_or_else(|| id.to_string(), |(_, name, _)| (*name).to_owned()))
        .collect();
    let name = match names.split_first() {
        None => return Err(EncryptionFault::NotEncrypted),
        Some((scheme, [])) => scheme.clone(),
        Some((scheme, [one])) => format!("{scheme} with {one}"),
        Some((scheme, [parts @ .., last])) => {
            format!("{scheme} with {} and {last}", parts.join(", "))
        }
    };
    Err(EncryptionFault::Scheme {
        name,
        old: found.iter().filter_map(known).any(|(.., old)| *old),
    })
}

fn is_known(scheme: &EncryptionScheme) -> bool {
    use pkcs8::pkcs5::pbes2::EncryptionScheme as Cipher;
    match scheme {
        EncryptionScheme::Pbes2(parameters) => matches!(
            parameters.encryption,
            Cipher::Aes128Cbc { .. }
                | Cipher::Aes192Cbc { .. }
                | Cipher::Aes256Cbc { .. }
                | Cipher::Aes128Gcm { .. }
                | Cipher::Aes256Gcm { .. }
        ),
        _ => false,
    }
}

/// All object identifiers in a value, in order.
fn identifiers(value: AnyRef<'_>, depth: usize, found: &mut Vec<ObjectIdentifier>) {
    if value.tag() == Tag::ObjectIdentifier {
        found.extend(value.decode_as::<ObjectIdentifier>());
    } else if value.tag() == Tag::Sequence && depth > 0 {
        let read = value.sequence(|inner| {
            while !inner.is_finished() {
                identifiers(AnyRef::decode(inner)?, depth - 1, found);
            }
            Ok(())
        });
        // What is no DER names nothing more.
        let _: Result<(), x509_cert::der::Error> = read;
    }
}
