//! The keys of one folder: each NAME with its public key, and whether its private part is here, in
//! a file or in a token.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use super::key::{KeyKind, Signer, SigningError};
use super::key_file::{LockedKey, PrivateKey};
use super::private_file::{read_private, read_public, write_new};
use super::public_key::{key_object, only_key, to_pem};
use super::token::{self, TokenFile};
use crate::plain_text::shell_word;
use crate::problem::Problem;
use rootpin_trust::{KeyId, PublicKey};

/// How often a passphrase may be wrong.
const TRIES: usize = 3;
/// The extensions of a private key's file: that of OpenSSL, and that of Notary and Docker.
const PRIVATE: [&str; 2] = ["pem", "key"];

/// The keys of a folder.
#[derive(Debug)]
pub struct Keyring {
    folder: PathBuf,
    keys: Vec<KeyEntry>,
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// What people call it: its files are NAME.pub and NAME.pem, NAME.key or NAME.token.
    pub name: String,
    /// Its ID in metadata that is made here (TUF 1.0.34, section 4.2). Other tools list it under
    /// others: it is known by [`Self::id`].
    pub keyid: String,
    /// The key.
    pub public: PublicKey,
    /// Whether it can sign here.
    pub private: bool,
    /// The token that keeps the private part, where it is no file.
    pub token: Option<String>,
    /// Why the private part that lies here can't sign.
    pub unusable: Option<String>,
}

impl KeyEntry {
    /// Its canonical ID, whoever lists it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.public.id()
    }

    /// Its object as the metadata that is made here lists it.
    #[must_use]
    pub fn key(&self) -> Value {
        key_object(&self.public).1
    }

    /// `ed25519`, `ecdsa` or `rsa`.
    #[must_use]
    pub fn keytype(&self) -> &'static str {
        self.public.kind()
    }
}

impl Keyring {
    /// Reads a folder; one that is not there has no keys. A file that can't be used is warned of,
    /// and costs nothing but its key.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn open(folder: &Path) -> Result<Self, SigningError> {
        let failed = |error| SigningError::File(folder.display().to_string(), error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>().map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut keys = Vec::new();
        for path in entries.iter().map(fs::DirEntry::path) {
            let extension = path
                .extension()
                .and_then(|extension| extension.to_str())
                .unwrap_or_default();
            let is_key = extension == "pub" || extension == "token" || PRIVATE.contains(&extension);
            let Some(name) = path
                .file_stem()
                .and_then(|name| name.to_str())
                .filter(|_| is_key)
            else {
                continue;
            };
            if let Err(error) = check_name(name) {
                log::warn!("{} is not used: {error}", path.display());
            } else if extension == "pub" {
                match read_entry(folder, name) {
                    Ok(entry) => keys.push(entry),
                    Err(error) => log::warn!("the key {name} is not used: {error}"),
                }
            } else if !folder.join(format!("{name}.pub")).exists() {
                let typed = shell_word(&path.to_string_lossy());
                let path = path.display();
                let problem = Problem::hinted(
                    format!("{path} is not used: there is no {name}.pub beside it"),
                    format!("rootpin repo key add {name} --file {typed}"),
                );
                log::warn!("{problem}");
            }
        }
        keys.sort_by(|one: &KeyEntry, other| one.name.cmp(&other.name));
        Ok(Self {
            folder: folder.to_owned(),
            keys,
        })
    }

    /// All keys, by name.
    #[must_use]
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// The key with that canonical ID, if it is here: one that can sign before one that can't.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&KeyEntry> {
        let mut found = self.keys.iter().filter(|entry| entry.id() == id);
        let first = found.next()?;
        Some(if first.private {
            first
        } else {
            found.find(|entry| entry.private).unwrap_or(first)
        })
    }

    /// Whether that key can sign here.
    #[must_use]
    pub fn signs_with(&self, id: KeyId) -> bool {
        self.find(id).is_some_and(|entry| entry.private)
    }

    /// Unlocks the private part of a key. `ask` says its passphrase, or its token's PIN; a
    /// passphrase that is wrong is asked for again, as long as the answer is another one. A PIN is
    /// not: tokens count wrong ones, and lock themselves.
    ///
    /// # Errors
    /// It is not here, or the answer is wrong.
    pub fn unlock(
        &self,
        id: KeyId,
        ask: &mut dyn FnMut(&KeyEntry) -> Result<String, SigningError>,
    ) -> Result<Box<dyn Signer>, SigningError> {
        let entry = self.find(id).filter(|entry| entry.private);
        let entry = entry.ok_or_else(|| {
            SigningError::Unusable(format!("the private part of the key {id} is not here"))
        })?;
        if entry.token.is_some() {
            let file = TokenFile::read(&self.folder.join(format!("{}.token", entry.name)))?;
            let pin = Zeroizing::new(ask(entry)?);
            return Ok(Box::new(file.unlock(pin)?));
        }
        let file = private_file(&self.folder, &entry.name);
        let locked = LockedKey::read(&file.ok_or_else(|| {
            SigningError::Unusable(format!("the file of the key {} is gone", entry.name))
        })?)?;
        let mut wrong = None;
        for _ in 0..TRIES {
            let passphrase = Zeroizing::new(ask(entry)?);
            if wrong.as_ref() == Some(&passphrase) {
                break;
            }
            match locked.unlock(&passphrase) {
                Ok(key) if key.public().id() == id => return Ok(Box::new(key)),
                Ok(_) => {
                    let why = "not the public key of the private one beside it".to_owned();
                    return Err(SigningError::Public(format!("{}.pub", entry.name), why));
                }
                Err(SigningError::Locked(_)) => wrong = Some(passphrase),
                Err(error) => return Err(error),
            }
        }
        Err(SigningError::Locked(entry.name.clone()))
    }
}

/// The file of a private key, if there is one.
fn private_file(folder: &Path, name: &str) -> Option<PathBuf> {
    PRIVATE
        .iter()
        .map(|extension| folder.join(format!("{name}.{extension}")))
        .find(|file| file.exists())
}

/// Makes a key: NAME.pem, encrypted, and NAME.pub, which one hands to others. A folder that is
/// missing is made.
///
/// # Errors
/// The name is taken or is none, the passphrase is empty, or a file can't be written.
pub fn generate(
    folder: &Path,
    name: &str,
    kind: KeyKind,
    passphrase: &str,
) -> Result<KeyEntry, SigningError> {
    prepare(folder, name)?;
    let file = folder.join(format!("{name}.pem"));
    let key = PrivateKey::generate(kind, &file, passphrase)?;
    write_pub(folder, name, key.public()).inspect_err(|_| _ = fs::remove_file(&file))?;
    read_entry(folder, name)
}

/// Takes a private key's file up that another tool made: NAME.pem with its bytes as they are, and
/// NAME.pub. One that lies in the folder under that name already only gets its NAME.pub.
///
/// # Errors
/// The name is taken or is none, the file is no key that can sign, the passphrase is wrong, or a
/// file can't be read or written.
pub fn add(
    folder: &Path,
    name: &str,
    file: &Path,
    ask: &mut dyn FnMut() -> Result<String, SigningError>,
) -> Result<KeyEntry, SigningError> {
    check_name(name)?;
    let canonical = |path: &Path| fs::canonicalize(path).ok();
    let there = private_file(folder, name).filter(|there| {
        canonical(there) == canonical(file) && !folder.join(format!("{name}.pub")).exists()
    });
    if there.is_none() {
        check_new(folder, name)?;
    }
    let locked = LockedKey::read(file)?;
    let key = locked.unlock(&Zeroizing::new(ask()?))?;
    if there.is_some() {
        write_pub(folder, name, key.public())?;
    } else {
        prepare(folder, name)?;
        let copy = folder.join(format!("{name}.pem"));
        write_new(&copy, &read_private(file)?)?;
        write_pub(folder, name, key.public()).inspect_err(|_| _ = fs::remove_file(&copy))?;
    }
    read_entry(folder, name)
}

/// Writes the NAME.pub that is missing beside a NAME.pem: making the key broke off between the two.
///
/// # Errors
/// The passphrase is wrong, or a file can't be read or written.
pub fn complete(folder: &Path, name: &str, passphrase: &str) -> Result<(), SigningError> {
    write_pub(
        folder,
        name,
        PrivateKey::load(&folder.join(format!("{name}.pem")), passphrase)?.public(),
    )
}

/// Makes a key inside a token, from where it can't be taken: NAME.token, which says where it is,
/// and NAME.pub.
///
/// # Errors
/// The name is taken or is none, the token refuses, or a file can't be written.
pub fn generate_in_token(
    folder: &Path,
    name: &str,
    kind: KeyKind,
    at: &token::TokenAddress<'_>,
) -> Result<KeyEntry, SigningError> {
    prepare(folder, name)?;
    token::generate(at, name, kind, &mut |made| keep_token(folder, name, made))?;
    read_entry(folder, name)
}

/// Takes a key up that a token has already: NAME.token and NAME.pub.
///
/// # Errors
/// The name is taken or is none, the token has no such key or more than one, or a file can't be
/// written.
pub fn add_of_token(
    folder: &Path,
    name: &str,
    at: &token::TokenAddress<'_>,
    which: &token::Which,
) -> Result<KeyEntry, SigningError> {
    check_new(folder, name)?;
    let found = token::find(at, which)?;
    prepare(folder, name)?;
    keep_token(folder, name, &found)?;
    read_entry(folder, name)
}

fn keep_token(folder: &Path, name: &str, token: &TokenFile) -> Result<(), SigningError> {
    let file = folder.join(format!("{name}.token"));
    write_new(&file, token.text().as_bytes())?;
    write_pub(folder, name, &token.key).inspect_err(|_| _ = fs::remove_file(&file))
}

/// The public key that a file has, of whatever form.
///
/// # Errors
/// It is none.
pub fn read_public_key(file: &Path) -> Result<PublicKey, SigningError> {
    only_key(&read_public(file)?)
        .map_err(|why| SigningError::Public(file.display().to_string(), why))
}

fn prepare(folder: &Path, name: &str) -> Result<(), SigningError> {
    check_new(folder, name)?;
    let made = fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(folder);
    made.map_err(|error| SigningError::File(folder.display().to_string(), error))
}

/// Whether a new key can be called so; worth asking before a person is asked for a passphrase.
///
/// # Errors
/// The name is taken, or is none.
pub fn check_new(folder: &Path, name: &str) -> Result<(), SigningError> {
    check_name(name)?;
    let extensions = PRIVATE.into_iter().chain(["pub", "token"]);
    let taken = extensions
        .map(|extension| folder.join(format!("{name}.{extension}")))
        .find(|path| path.exists());
    taken.map_or(Ok(()), |path| {
        Err(SigningError::Name(Problem::hinted(
            format!("{} is there already", path.display()),
            "give the new key another name",
        )))
    })
}

fn write_pub(folder: &Path, name: &str, key: &PublicKey) -> Result<(), SigningError> {
    let text = to_pem(key).ok_or(SigningError::Crypto("a new key has no public part"))?;
    write_new(&folder.join(format!("{name}.pub")), text.as_bytes())
}

/// A key by its NAME.pub. What is wrong with its private part costs that part alone.
fn read_entry(folder: &Path, name: &str) -> Result<KeyEntry, SigningError> {
    let path = folder.join(format!("{name}.pub"));
    let public = read_public_key(&path)?;
    let token = folder.join(format!("{name}.token"));
    let read = if token.exists() {
        TokenFile::read(&token).and_then(|token| {
            let differs = || {
                SigningError::Public(
                    path.display().to_string(),
                    "not the public key of the token's file beside it".to_owned(),
                )
            };
            if token.key.id() == public.id() {
                Ok((true, Some(token.place())))
            } else {
                Err(differs())
            }
        })
    } else {
        private_file(folder, name).map_or(Ok((false, None)), |file| {
            LockedKey::read(&file).map(|_| (true, None))
        })
    };
    let unusable = read.as_ref().err().map(ToString::to_string);
    if let Some(why) = &unusable {
        log::warn!("the key {name} can't sign: {why}");
    }
    let (private, token) = read.unwrap_or_default();
    Ok(KeyEntry {
        name: name.to_owned(),
        keyid: key_object(&public).0,
        public,
        private,
        token,
        unusable,
    })
}

/// A name is a file's, and stands in a terminal.
fn check_name(name: &str) -> Result<(), SigningError> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && (1..=64).contains(&name.len()) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(SigningError::Name(Problem::hinted(
        format!("{name:?} can't be a key's name"),
        "use up to 64 letters, digits, . _ and -, as root-1",
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn unlock(
        keyring: &Keyring,
        answers: &[&str],
    ) -> (usize, Result<Box<dyn Signer>, SigningError>) {
        let mut asked = 0;
        let id = keyring.keys()[0].id();
        let signer = keyring.unlock(id, &mut |_| {
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
        let made = generate(&folder, "root-1", KeyKind::P256, "correct horse").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
        let keyring = Keyring::open(&folder).unwrap();
        let entry = &keyring.keys()[0];
        assert_eq!(
            (entry.name.as_str(), &entry.keyid, entry.private),
            ("root-1", &made.keyid, true)
        );
        let signer = unlock(&keyring, &["correct horse"]).1.unwrap();
        assert_eq!(
            (signer.keyid(), signer.public().id()),
            (made.keyid.clone(), made.id())
        );
    }

    #[test]
    fn a_wrong_passphrase_is_asked_for_again_unless_the_answer_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "a", KeyKind::Ed25519, "right").unwrap();
        let keyring = Keyring::open(dir.path()).unwrap();
        for (answers, asked, good) in [
            (&["wrong", "right"][..], 2, true),
            (&["wrong"], 2, false),
            (&["1", "2", "3", "right"], 3, false),
        ] {
            let (times, signer) = unlock(&keyring, answers);
            assert_eq!((times, signer.is_ok()), (asked, good), "{answers:?}");
        }
        let refused = keyring.unlock(keyring.keys()[0].id(), &mut |_| {
            Err(SigningError::Passphrase("no terminal".to_owned().into()))
        });
        assert_eq!(refused.unwrap_err().to_string(), "no terminal");
    }

    #[test]
    fn a_public_key_alone_signs_nothing_and_one_of_another_key_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        generate(&ours, "a", KeyKind::Ed25519, "p").unwrap();
        generate(&theirs, "b", KeyKind::Ed25519, "p").unwrap();
        fs::copy(theirs.join("b.pub"), ours.join("b.pub")).unwrap();
        let keyring = Keyring::open(&ours).unwrap();
        let other = &keyring.keys()[1];
        assert!(!other.private);
        assert!(
            keyring
                .unlock(other.id(), &mut |_| Ok("p".to_owned()))
                .is_err()
        );
        fs::copy(theirs.join("b.pub"), ours.join("a.pub")).unwrap();
        let keyring = Keyring::open(&ours).unwrap();
        assert!(matches!(
            unlock(&keyring, &["p"]).1,
            Err(SigningError::Public(..))
        ));
    }

    #[test]
    fn no_key_is_written_over_and_no_name_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), "a", KeyKind::Ed25519, "p").unwrap();
        let before = fs::read(dir.path().join("a.pem")).unwrap();
        for name in ["a", "", "../b", ".b", "a b", "-a"] {
            assert!(
                matches!(
                    generate(dir.path(), name, KeyKind::Ed25519, "p"),
                    Err(SigningError::Name(_))
                ),
                "{name}"
            );
        }
        assert_eq!(fs::read(dir.path().join("a.pem")).unwrap(), before);
        assert!(generate(dir.path(), "c", KeyKind::Ed25519, "").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
