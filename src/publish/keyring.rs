//! The keys of one folder: each NAME with its public key, and whether its private part is here, in a file or in a token.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key::{Kind, Signer, SigningError, keyid};
use super::key_file::PrivateKey;
use super::private_file::{read_public, write_new};
use super::public_key::{from_pem, to_pem};
use super::token::{self, TokenFile};
use crate::json::Value;

/// How often a passphrase may be wrong.
const TRIES: usize = 3;

/// The keys of a folder.
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
    keys: Vec<KeyEntry>,
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// What people call it: its files are NAME.pub and NAME.pem or NAME.token.
    pub name: String,
    /// Its ID (TUF 1.0.34, section 4.2).
    pub keyid: String,
    /// Its object as TUF metadata lists it.
    pub key: Value,
    /// Whether it can sign here.
    pub private: bool,
    /// The token that keeps the private part, where it is no file.
    pub token: Option<String>,
}

impl KeyEntry {
    /// `ed25519` or `ecdsa`.
    #[must_use]
    pub fn keytype(&self) -> &str {
        self.key.get("keytype").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Keyring {
    /// Reads a folder; one that is not there has no keys.
    ///
    /// # Errors
    /// It can't be read, or a public key or a token's file in it is none.
    pub fn open(folder: &Path) -> Result<Self, SigningError> {
        let failed = |error| SigningError::File(folder.display().to_string(), error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut keys = Vec::new();
        for path in entries.iter().map(fs::DirEntry::path) {
            let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|name| check_name(name).is_ok()) else { continue };
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("pub") => keys.push(read_entry(folder, name)?),
                Some("pem" | "token") if !folder.join(format!("{name}.pub")).exists() => {
                    log::warn!("{}: not used: there is no {name}.pub beside it", path.display());
                }
                _ => {}
            }
        }
        keys.sort_by(|one: &KeyEntry, other| one.name.cmp(&other.name));
        Ok(Self { folder: folder.to_owned(), keys })
    }

    /// All keys, by name.
    #[must_use]
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// Unlocks the private part of a key. `ask` says its passphrase, or its token's PIN; a passphrase that is wrong is asked for again,
    /// as long as the answer is another one. A PIN is not: tokens count wrong ones, and lock themselves.
    ///
    /// # Errors
    /// It is not here, or the answer is wrong.
    pub fn unlock(
        &self,
        keyid: &str,
        ask: &mut dyn FnMut(&KeyEntry) -> Result<String, SigningError>,
    ) -> Result<Box<dyn Signer>, SigningError> {
        let entry = self.keys.iter().find(|entry| entry.keyid == keyid && entry.private);
        let entry = entry.ok_or(SigningError::Unusable("the private part of the key is not here"))?;
        if entry.token.is_some() {
            let file = TokenFile::read(&self.file(&entry.name, "token"))?;
            let pin = Zeroizing::new(ask(entry)?);
            return Ok(Box::new(file.unlock(&entry.key, pin)?));
        }
        let mut wrong = None;
        for _ in 0..TRIES {
            let passphrase = Zeroizing::new(ask(entry)?);
            if wrong.as_ref() == Some(&passphrase) {
                break;
            }
            match PrivateKey::load(&self.file(&entry.name, "pem"), &passphrase) {
                Ok(key) if key.key() == entry.key => return Ok(Box::new(key)),
                Ok(_) => return Err(SigningError::Public(format!("{}.pub", entry.name), "not the public key of the file beside it")),
                Err(SigningError::Locked(_)) => wrong = Some(passphrase),
                Err(error) => return Err(error),
            }
        }
        Err(SigningError::Locked(entry.name.clone()))
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{name}.{extension}"))
    }
}

/// Makes a key: NAME.pem, encrypted, and NAME.pub, which one hands to others. A folder that is missing is made.
///
/// # Errors
/// The name is taken or is none, the passphrase is empty, or a file can't be written.
pub fn generate(folder: &Path, name: &str, kind: Kind, passphrase: &str) -> Result<KeyEntry, SigningError> {
    prepare(folder, name)?;
    let file = folder.join(format!("{name}.pem"));
    let key = PrivateKey::generate(kind, &file, passphrase)?.key();
    write_pub(folder, name, &key).inspect_err(|_| _ = fs::remove_file(&file))?;
    read_entry(folder, name)
}

/// Writes the NAME.pub that is missing beside a NAME.pem: making the key broke off between the two.
///
/// # Errors
/// The passphrase is wrong, or a file can't be read or written.
pub fn complete(folder: &Path, name: &str, passphrase: &str) -> Result<(), SigningError> {
    write_pub(folder, name, &PrivateKey::load(&folder.join(format!("{name}.pem")), passphrase)?.key())
}

/// Makes a key inside a token, from where it can't be taken: NAME.token, which says where it is, and NAME.pub.
///
/// # Errors
/// The name is taken or is none, the token refuses, or a file can't be written.
pub fn generate_in_token(folder: &Path, name: &str, kind: Kind, new: &token::NewKey<'_>) -> Result<KeyEntry, SigningError> {
    prepare(folder, name)?;
    let file = folder.join(format!("{name}.token"));
    token::generate(new, name, kind, &mut |made, key| {
        write_new(&file, made.text().as_bytes())?;
        write_pub(folder, name, key).inspect_err(|_| _ = fs::remove_file(&file))
    })?;
    read_entry(folder, name)
}

/// The key object of a public key in PEM, which `file` has: `SubjectPublicKeyInfo` of P-256 or ed25519.
///
/// # Errors
/// It is none.
pub fn public_key_from_pem(file: &str, text: &str) -> Result<Value, SigningError> {
    from_pem(text).map_err(|why| SigningError::Public(file.to_owned(), why))
}

fn prepare(folder: &Path, name: &str) -> Result<(), SigningError> {
    check_new(folder, name)?;
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
    made.map_err(|error| SigningError::File(folder.display().to_string(), error))
}

/// Whether a new key can be called so; worth asking before a person is asked for a passphrase.
///
/// # Errors
/// The name is taken, or is none.
pub fn check_new(folder: &Path, name: &str) -> Result<(), SigningError> {
    check_name(name)?;
    let taken = ["pub", "pem", "token"].map(|extension| folder.join(format!("{name}.{extension}"))).into_iter().find(|path| path.exists());
    taken
        .map_or(Ok(()), |path| Err(SigningError::Name(format!("{} is there already; hint: give the new key another name", path.display()))))
}

fn write_pub(folder: &Path, name: &str, key: &Value) -> Result<(), SigningError> {
    let text = to_pem(key).ok_or(SigningError::Crypto("a new key has no public part"))?;
    write_new(&folder.join(format!("{name}.pub")), text.as_bytes())
}

fn read_entry(folder: &Path, name: &str) -> Result<KeyEntry, SigningError> {
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    let public = file("pub");
    let wrong = |why| SigningError::Public(public.display().to_string(), why);
    let key = from_pem(&read_public(&public)?).map_err(wrong)?;
    let token = if file("token").exists() { Some(TokenFile::read(&file("token"))?) } else { None };
    if token.as_ref().is_some_and(|token| token.key != key) {
        return Err(wrong("not the public key of the token's file beside it"));
    }
    let (private, token) = (token.is_some() || file("pem").exists(), token.map(|token| token.place()));
    Ok(KeyEntry { name: name.to_owned(), keyid: keyid(&key), key, private, token })
}

/// A name is a file's, and stands in a terminal.
fn check_name(name: &str) -> Result<(), SigningError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && (1..=64).contains(&name.len()) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(SigningError::Name(format!("{name:?} can't be a key's name; hint: use up to 64 letters, digits, . _ and -, as root-1")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn unlock(keyring: &Keyring, answers: &[&str]) -> (usize, Result<Box<dyn Signer>, SigningError>) {
        let mut asked = 0;
        let keyid = keyring.keys()[0].keyid.clone();
        let signer = keyring.unlock(&keyid, &mut |_| {
            asked += 1;
            Ok(answers[(asked - 1).min(answers.len() - 1)].to_owned())
        });
        (asked, signer)
    }

    #[test]
    fn a_made_key_lies_in_a_private_folder_with_its_public_part_and_signs_once_unlocked() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        assert!(Keyring::open(&folder).unwrap().keys().is_empty());
        let made = generate(&folder, "root-1", Kind::P256, "correct horse").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        let keyring = Keyring::open(&folder).unwrap();
        let entry = &keyring.keys()[0];
        assert_eq!((entry.name.as_str(), &entry.keyid, entry.private), ("root-1", &made.keyid, true));
        let signer = unlock(&keyring, &["correct horse"]).1.unwrap();
        assert_eq!((signer.keyid(), signer.key()), (made.keyid, made.key));
    }

    #[test]
    fn a_wrong_passphrase_is_asked_for_again_unless_the_answer_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "a", Kind::Ed25519, "right").unwrap();
        let keyring = Keyring::open(dir.path()).unwrap();
        for (answers, asked, good) in [(&["wrong", "right"][..], 2, true), (&["wrong"], 2, false), (&["1", "2", "3", "right"], 3, false)] {
            let (times, signer) = unlock(&keyring, answers);
            assert_eq!((times, signer.is_ok()), (asked, good), "{answers:?}");
        }
        let refused = keyring.unlock(&keyring.keys()[0].keyid, &mut |_| Err(SigningError::Passphrase("no terminal".to_owned())));
        assert_eq!(refused.unwrap_err().to_string(), "no terminal");
    }

    #[test]
    fn a_public_key_alone_signs_nothing_and_one_of_another_key_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        generate(&ours, "a", Kind::Ed25519, "p").unwrap();
        generate(&theirs, "b", Kind::Ed25519, "p").unwrap();
        fs::copy(theirs.join("b.pub"), ours.join("b.pub")).unwrap();
        let keyring = Keyring::open(&ours).unwrap();
        let other = &keyring.keys()[1];
        assert!(!other.private);
        assert!(keyring.unlock(&other.keyid, &mut |_| Ok("p".to_owned())).is_err());
        fs::copy(theirs.join("b.pub"), ours.join("a.pub")).unwrap();
        let keyring = Keyring::open(&ours).unwrap();
        assert!(matches!(unlock(&keyring, &["p"]).1, Err(SigningError::Public(..))));
    }

    #[test]
    fn no_key_is_written_over_and_no_name_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "a", Kind::Ed25519, "p").unwrap();
        let before = fs::read(dir.path().join("a.pem")).unwrap();
        for name in ["a", "", "../b", ".b", "a b", "-a"] {
            assert!(matches!(generate(dir.path(), name, Kind::Ed25519, "p"), Err(SigningError::Name(_))), "{name}");
        }
        assert_eq!(fs::read(dir.path().join("a.pem")).unwrap(), before);
        assert!(generate(dir.path(), "c", Kind::Ed25519, "").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
