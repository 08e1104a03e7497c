//! Keys in PKCS#11 tokens, which sign and never give the key away.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::key::{Kind, Signer, SigningError};
use super::private_file::{owned, read_public, unchangeable_by_others};
use super::public_key::{from_pem, key_object, point_of, to_pem};
use crate::image::Digest;
use crate::json::Value;

/// `CKA_EC_PARAMS` of P-256: its object identifier (RFC 5480, section 2.1.1.1).
const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `CKA_EC_PARAMS` of ed25519: the curve's name (PKCS #11 3.0, section 2.3.10), which older tokens know too.
const ED25519_PARAMS: [u8; 14] = *b"\x13\x0cedwards25519";

/// A file that says where a key is.
#[derive(Debug)]
pub(super) struct TokenFile {
    module: PathBuf,
    token: String,
    label: String,
    id: Vec<u8>,
    pub(super) key: Value,
}

/// Where a new key is made.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    /// The token's library.
    pub module: &'a Path,
    /// The token's label.
    pub token: &'a str,
    /// Its PIN.
    pub pin: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    module: PathBuf,
    token: String,
    label: String,
    id: String,
    public: String,
}

/// A key in an open token.
struct TokenKey {
    session: Session,
    handle: ObjectHandle,
    kind: Kind,
    point: Vec<u8>,
    place: String,
}

impl TokenFile {
    /// Reads a file that only its owner can change: it names a library, and loading one is running code.
    pub(super) fn read(path: &Path) -> Result<Self, SigningError> {
        let wrong = |why: String| SigningError::Token(path.display().to_string(), why);
        let resolved = unchangeable_by_others(path)?;
        let metadata = std::fs::metadata(&resolved).map_err(|error| SigningError::File(path.display().to_string(), error))?;
        owned(path, &metadata)?;
        let form: Form = toml::from_str(&read_public(&resolved)?).map_err(|error| wrong(error.message().to_owned()))?;
        let Form { module, token, label, id, public } = form;
        if !module.is_absolute() {
            return Err(wrong(format!("the module {} is no absolute path", module.display())));
        }
        let id = from_hex(&id).ok_or_else(|| wrong("the id is not hex digits".to_owned()))?;
        let key = from_pem(&public).map_err(|why| wrong(why.to_owned()))?;
        Ok(Self { module, token, label, id, key })
    }

    pub(super) fn text(&self) -> String {
        let id = self.id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let text = |text: &str| toml::Value::String(text.to_owned());
        let mut table = toml::Table::new();
        for (name, value) in [
            ("module", text(&self.module.display().to_string())),
            ("token", text(&self.token)),
            ("label", text(&self.label)),
            ("id", text(&id)),
            ("public", text(&to_pem(&self.key).unwrap_or_default())),
        ] {
            table.insert(name.to_owned(), value);
        }
        table.to_string()
    }

    /// The token, for people.
    pub(super) fn place(&self) -> String {
        format!("{} ({})", self.token, self.module.display())
    }

    /// Opens the token and finds the key in it; `key` is the one that it must be.
    pub(super) fn unlock(&self, key: &Value, pin: Zeroizing<String>) -> Result<impl Signer + use<>, SigningError> {
        let wrong = |why: &str| SigningError::Token(format!("the token {}", self.place()), why.to_owned());
        let session = open(&self.module, &self.token, &pin)?;
        drop(pin);
        let failed = |error: &Error| refused(&self.place(), error);
        let named = [Attribute::Label(self.label.clone().into_bytes()), Attribute::Id(self.id.clone())];
        let find = |class| session.find_objects(&[&[Attribute::Class(class)][..], &named].concat()).map_err(|error| failed(&error));
        let [handle] = find(ObjectClass::PRIVATE_KEY)?[..] else {
            return Err(wrong(&format!(
                "not one key has the label {:?} and the id of the file; hint: see it with pkcs11-tool -O",
                self.label
            )));
        };
        let (kind, point) = point_of(key).ok_or_else(|| wrong("its file names no key that can sign"))?;
        for public in find(ObjectClass::PUBLIC_KEY)? {
            if read_point(&session, public).map_err(|error| failed(&error))?.is_some_and(|found| found != point) {
                return Err(wrong("the key in it is not the one whose public part the file has"));
            }
        }
        Ok(TokenKey { session, handle, kind, point, place: self.place() })
    }
}

/// Makes a key in a token and has `keep` write down where it is; a key that can't be written down is taken out again.
pub(super) fn generate(
    new: &NewKey<'_>,
    label: &str,
    kind: Kind,
    keep: &mut dyn FnMut(&TokenFile, &Value) -> Result<(), SigningError>,
) -> Result<(), SigningError> {
    let NewKey { module, token, pin } = *new;
    let module = std::path::absolute(module).map_err(|error| SigningError::File(module.display().to_string(), error))?;
    let mut file = TokenFile { module, token: token.to_owned(), label: label.to_owned(), id: vec![0; 16], key: Value::Null };
    let place = file.place();
    let wrong = |why: String| SigningError::Token(format!("the token {place}"), why);
    let failed = |error: &Error| refused(&place, error);
    aws_lc_rs::rand::fill(&mut file.id).map_err(|_| SigningError::Crypto("random bytes"))?;
    let session = open(&file.module, token, pin)?;
    let named = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(file.id.clone())];
    if !session.find_objects(&[Attribute::Label(label.as_bytes().to_vec())]).map_err(|error| failed(&error))?.is_empty() {
        return Err(wrong(format!("something in it is called {label:?} already; hint: give the new key another name")));
    }
    let (mechanism, params) = match kind {
        Kind::P256 => (Mechanism::EccKeyPairGen, P256_PARAMS.to_vec()),
        Kind::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMS.to_vec()),
    };
    let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(params)];
    let private = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)];
    let made = session.generate_key_pair(&mechanism, &[&named[..], &public].concat(), &[&named[..], &private].concat());
    let (public, private) = made.map_err(|error| match error {
        Error::Pkcs11(RvError::MechanismInvalid, _) => wrong("it makes no such keys; hint: try another --type".to_owned()),
        error => failed(&error),
    })?;
    let kept = keeps_to_itself(&session, private).and_then(|kept| Ok(kept.then_some(read_point(&session, public)?)));
    let result = match kept {
        Err(error) => Err(failed(&error)),
        Ok(None) => Err(wrong("it would give the new key away".to_owned())),
        Ok(Some(None)) => Err(wrong("it does not show the new key's public part".to_owned())),
        Ok(Some(Some(point))) => {
            file.key = key_object(kind, &point);
            let key = file.key.clone();
            keep(&file, &key)
        }
    };
    if result.is_err() {
        for object in [private, public] {
            if let Err(error) = session.destroy_object(object) {
                log::warn!("a key {label:?} that nobody knows stays in the token {place}: {error}");
            }
        }
    }
    result
}

/// Loads the library and logs in. What is loaded runs as the user: nobody else may have put it there.
fn open(module: &Path, token: &str, pin: &str) -> Result<Session, SigningError> {
    let place = format!("{token} ({})", module.display());
    let failed = |error: &Error| refused(&place, error);
    let library = Pkcs11::new(unchangeable_by_others(module)?).map_err(|error| failed(&error))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By the key before this one.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(&error)),
    }
    let mut found = Vec::new();
    for slot in library.get_slots_with_initialized_token().map_err(|error| failed(&error))? {
        if library.get_token_info(slot).map_err(|error| failed(&error))?.label().trim_end() == token {
            found.push(slot);
        }
    }
    let [slot] = found[..] else {
        let why = format!("{} tokens there have this label; hint: plug it in, or give it a label of its own", found.len());
        return Err(SigningError::Token(format!("the token {place}"), why));
    };
    let session = library.open_rw_session(slot).map_err(|error| failed(&error))?;
    match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(error) => Err(failed(&error)),
    }
}

fn refused(place: &str, error: &Error) -> SigningError {
    let why = match error {
        Error::Pkcs11(RvError::PinIncorrect, _) => "the PIN is wrong; hint: it counts wrong ones, and locks itself after a few".to_owned(),
        Error::Pkcs11(RvError::PinLocked, _) => "it has locked itself; hint: its security officer can set a new PIN".to_owned(),
        Error::Pkcs11(error, function) => format!("{function:?} answered {error:?}"),
        error => error.to_string(),
    };
    SigningError::Token(format!("the token {place}"), why)
}

/// Whether a private key is one that never leaves the token.
fn keeps_to_itself(session: &Session, private: ObjectHandle) -> Result<bool, Error> {
    let found = session.get_attributes(private, &[AttributeType::Extractable, AttributeType::Sensitive])?;
    Ok(found.contains(&Attribute::Extractable(false)) && found.contains(&Attribute::Sensitive(true)))
}

/// The point of a public key: `CKA_EC_POINT` is an octet string in DER (PKCS #11 2.40, section 2.3.3); some tokens leave the DER out.
fn read_point(session: &Session, public: ObjectHandle) -> Result<Option<Vec<u8>>, Error> {
    let found = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let point = found.into_iter().find_map(|attribute| if let Attribute::EcPoint(point) = attribute { Some(point) } else { None });
    Ok(point.map(|point| match point.as_slice() {
        [0x04, 0x41, rest @ ..] if rest.len() == 0x41 => rest.to_vec(),
        [0x04, 0x20, rest @ ..] if rest.len() == 0x20 => rest.to_vec(),
        _ => point,
    }))
}

impl Signer for TokenKey {
    fn key(&self) -> Value {
        key_object(self.kind, &self.point)
    }

    /// A signature that its own public key doesn't verify is told here, not by the hosts that read it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let failed = |error: &Error| refused(&self.place, error);
        let wrong =
            || SigningError::Token(format!("the token {}", self.place), "its signature does not verify by the public key".to_owned());
        let signature = match self.kind {
            Kind::Ed25519 => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.session.sign(&pure, self.handle, message).map_err(|error| failed(&error))?
            }
            Kind::P256 => {
                // The plain mechanism takes the hash, and every token has it; its signature is r and s, one after the other.
                let hash = Digest::of(message);
                let raw = self.session.sign(&Mechanism::Ecdsa, self.handle, hash.as_bytes()).map_err(|error| failed(&error))?;
                p256::ecdsa::Signature::from_slice(&raw).map_err(|_| wrong())?.to_der().as_bytes().to_vec()
            }
        };
        let verified = match self.kind {
            Kind::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.point).verify(message, &signature),
            Kind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, &signature),
        };
        verified.map(|()| signature).map_err(|_| wrong())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenKey").field(&self.place).field(&self.keyid()).finish()
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 256 {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::publish::keyring::{Keyring, generate_in_token};

    /// Debian's package softhsm2.
    const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
    const CONF: &str = "SOFTHSM2_CONF";

    fn run(command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; the Debian package softhsm2 is wanted"));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    /// Runs a test of below in a process of its own: the module is told by its environment where its tokens are.
    fn in_a_token(test: &str) {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("softhsm2.conf");
        fs::create_dir(dir.path().join("tokens")).unwrap();
        fs::write(&conf, format!("directories.tokendir = {}\n", dir.path().join("tokens").display())).unwrap();
        let init = ["--init-token", "--free", "--label", "acme", "--so-pin", "12345678", "--pin", "4321"];
        run(Command::new("softhsm2-util").env(CONF, &conf).args(init));
        let test = format!("publish::token::tests::{test}");
        let said =
            run(Command::new(std::env::current_exe().unwrap()).env(CONF, &conf).args(["--exact", &test, "--ignored", "--nocapture"]));
        assert!(said.contains("1 passed"), "{said}");
    }

    /// The folder of the keys beside the token.
    fn folder() -> PathBuf {
        Path::new(&std::env::var(CONF).unwrap()).parent().unwrap().join("keys")
    }

    fn new(pin: &str) -> NewKey<'_> {
        NewKey { module: Path::new(MODULE), token: "acme", pin }
    }

    fn unlock(name: &str, pin: &str) -> Result<Box<dyn Signer>, SigningError> {
        let keyring = Keyring::open(&folder()).unwrap();
        let keyid = &keyring.keys().iter().find(|entry| entry.name == name).unwrap().keyid;
        keyring.unlock(keyid, &mut |_| Ok(pin.to_owned()))
    }

    #[test]
    fn keys_made_in_a_token_sign_and_never_leave_it() {
        in_a_token("makes_keys_and_signs");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn makes_keys_and_signs() {
        for (name, kind) in [("root-1", Kind::P256), ("root-2", Kind::Ed25519)] {
            let made = generate_in_token(&folder(), name, kind, &new("4321")).unwrap();
            assert!(made.private && made.token.is_some_and(|token| token.starts_with("acme (/")));
            let signer = unlock(name, "4321").unwrap();
            assert_eq!((signer.key(), signer.keyid()), (made.key.clone(), made.keyid));
            let (_, point) = point_of(&made.key).unwrap();
            // A hash's first bytes must not matter: ECDSA's two numbers are of any length in DER.
            for message in 0..64_u8 {
                let signature = signer.sign(&[message]).unwrap();
                let verified = match kind {
                    Kind::Ed25519 => UnparsedPublicKey::new(&ED25519, &point).verify(&[message], &signature),
                    Kind::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).verify(&[message], &signature),
                };
                verified.unwrap();
            }
            let again = generate_in_token(&folder(), name, kind, &new("4321"));
            assert!(matches!(again, Err(SigningError::Name(_))));
        }
        let session = open(Path::new(MODULE), "acme", "4321").unwrap();
        for private in session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap() {
            assert!(keeps_to_itself(&session, private).unwrap());
            let value = session.get_attributes(private, &[AttributeType::Value]).unwrap();
            assert!(value.is_empty(), "the private key can be read: {value:?}");
        }
    }

    #[test]
    fn a_wrong_pin_another_key_or_an_absent_token_is_said() {
        in_a_token("refuses");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn refuses() {
        let error = |result: Result<Box<dyn Signer>, SigningError>| result.unwrap_err().to_string();
        let wrong = generate_in_token(&folder(), "a", Kind::P256, &new("0000")).unwrap_err().to_string();
        assert!(wrong.contains("PIN is wrong") && !wrong.contains("0000"), "{wrong}");
        let elsewhere = NewKey { token: "other", ..new("4321") };
        let absent = generate_in_token(&folder(), "a", Kind::P256, &elsewhere).unwrap_err().to_string();
        assert!(absent.contains("0 tokens there have this label"), "{absent}");
        assert_eq!(fs::read_dir(folder()).unwrap().count(), 0, "nothing is written of a key that was not made");

        let made = generate_in_token(&folder(), "a", Kind::P256, &new("4321")).unwrap();
        generate_in_token(&folder(), "b", Kind::P256, &new("4321")).unwrap();
        // The file of a, with the label and id of b: the token's key is not the one whose public part the file has.
        let (a, b) = (folder().join("a.token"), folder().join("b.token"));
        let read = |path: &Path| TokenFile::read(path).unwrap();
        fs::write(&a, TokenFile { key: made.key.clone(), ..read(&b) }.text()).unwrap();
        let other = error(unlock("a", "4321"));
        assert!(other.contains("not the one whose public part"), "{other}");
        fs::write(&a, TokenFile { key: made.key, id: vec![1], ..read(&b) }.text()).unwrap();
        let none = error(unlock("a", "4321"));
        assert!(none.contains("not one key"), "{none}");
    }

    #[test]
    fn a_file_that_others_can_change_names_no_library_that_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.token");
        let key = key_object(Kind::Ed25519, &[7; 32]);
        let file = TokenFile { module: MODULE.into(), token: "acme".to_owned(), label: "a".to_owned(), id: vec![0xab, 1], key };
        fs::write(&path, file.text()).unwrap();
        let read = TokenFile::read(&path).unwrap();
        assert_eq!((read.module, read.id, read.key), (file.module.clone(), file.id.clone(), file.key.clone()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(TokenFile::read(&path), Err(SigningError::Token(..))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [
            file.text().replace("/usr/lib", "usr/lib"),
            file.text().replace("ab01", "ab0"),
            file.text().replace("BEGIN PUBLIC", "BEGIN"),
            file.text() + "more = 1\n",
        ] {
            fs::write(&path, bad).unwrap();
            assert!(TokenFile::read(&path).is_err());
        }
    }

    #[test]
    fn a_library_that_others_can_change_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("module.so");
        fs::copy(MODULE, &module).unwrap();
        fs::set_permissions(&module, fs::Permissions::from_mode(0o777)).unwrap();
        let error = open(&module, "acme", "4321").unwrap_err().to_string();
        assert!(error.contains("others can write it"), "{error}");
    }
}
