//! STAND-IN until h/keys.
use std::path::{Path, PathBuf};

use base64::Engine as _;

use super::key::{Kind, PrivateKey, Signer, SigningError};
use crate::image::Digest;
use crate::json::Value;
use crate::trust::canonical;

/// keyring
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
    keys: Vec<KeyEntry>,
}

/// entry
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// n
    pub name: String,
    /// i
    pub keyid: String,
    /// k
    pub key: Value,
    /// p
    pub private: bool,
}

impl Keyring {
    /// # Errors
    /// io
    pub fn open(folder: &Path) -> Result<Self, SigningError> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                let text = std::fs::read_to_string(&path).map_err(|error| SigningError::File(path.display().to_string(), error))?;
                let key = public_key_from_pem(&text)?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let keyid = Digest::of(&canonical::encode(&key)).hex();
                keys.push(KeyEntry { name, keyid, key, private: path.with_extension("pem").exists() });
            }
        }
        keys.sort_by(|a: &KeyEntry, b| a.name.cmp(&b.name));
        Ok(Self { folder: folder.to_owned(), keys })
    }
    /// all
    #[must_use]
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }
    /// # Errors
    /// signing
    pub fn unlock(
        &self,
        keyid: &str,
        ask: &mut dyn FnMut(&KeyEntry) -> Result<String, SigningError>,
    ) -> Result<Box<dyn Signer>, SigningError> {
        let entry = self.keys.iter().find(|entry| entry.keyid == keyid && entry.private).ok_or(SigningError::Unusable("no such key"))?;
        let passphrase = ask(entry)?;
        Ok(Box::new(PrivateKey::load(&self.folder.join(format!("{}.pem", entry.name)), &passphrase)?))
    }
}

/// # Errors
/// io
pub fn generate(folder: &Path, name: &str, kind: Kind, passphrase: &str) -> Result<(), SigningError> {
    let key = PrivateKey::generate(kind, &folder.join(format!("{name}.pem")), passphrase)?.key();
    let public = key.get("keyval").and_then(|value| value.get("public")).and_then(Value::as_str).unwrap_or_default();
    let text = if public.starts_with("-----") {
        public.to_owned()
    } else {
        let bytes = Digest::from_hex(public).map(|digest| *digest.as_bytes()).unwrap_or_default();
        let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &bytes].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64::engine::general_purpose::STANDARD.encode(der))
    };
    let file = folder.join(format!("{name}.pub"));
    std::fs::write(&file, text).map_err(|error| SigningError::File(file.display().to_string(), error))
}

/// # Errors
/// bad
pub fn public_key_from_pem(text: &str) -> Result<Value, SigningError> {
    use x509_cert::der::{DecodePem, Encode};
    let info = x509_cert::spki::SubjectPublicKeyInfoOwned::from_pem(text).map_err(|_| SigningError::Unusable("no public key"))?;
    let raw = info.subject_public_key.raw_bytes();
    let s = |text: &str| Value::String(text.to_owned());
    let (keytype, scheme, public) = if raw.len() == 32 {
        ("ed25519", "ed25519", raw.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    } else {
        let der = info.to_der().map_err(|_| SigningError::Unusable("no public key"))?;
        let mut body = base64::engine::general_purpose::STANDARD.encode(der);
        body.insert(64, '\n');
        ("ecdsa", "ecdsa-sha2-nistp256", format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"))
    };
    let keyval = Value::Object([("public".to_owned(), Value::String(public))].into_iter().collect());
    let members = [("keytype", s(keytype)), ("scheme", s(scheme)), ("keyval", keyval)];
    Ok(Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}
