//! Keys in PKCS#11 tokens, which sign and never give the key away.

mod objects;

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde::Deserialize;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::UintRef;
use zeroize::Zeroizing;

use self::objects::{keeps_to_itself, public_of, read_public_key};
use super::document::strict_value;
use super::key::{Kind, Signer, SigningError};
use super::key_file::no_scheme;
use super::private_file::{owned, read_public, unchangeable_by_others};
use super::public_key::{key_object, only_key};
use rootpin_trust::{PublicKey, hex, key_file, tuf};

/// `CKA_EC_PARAMS` of P-256: its object identifier (RFC 5480, section 2.1.1.1).
const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `CKA_EC_PARAMS` of ed25519: the curve's name (PKCS #11 3.0, section 2.3.10), which older tokens
/// know too.
const ED25519_PARAMS: [u8; 14] = *b"\x13\x0cedwards25519";
/// No label is longer, and no list of keys in a message.
const SHOWN: usize = 16;

/// A file that says where a key is.
#[derive(Debug)]
pub(super) struct TokenFile {
    module: PathBuf,
    token: String,
    label: String,
    id: Vec<u8>,
    pub(super) key: PublicKey,
}

/// The token that a key is made or looked for in.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The token's library.
    pub module: &'a Path,
    /// The token's label.
    pub token: &'a str,
    /// Its PIN.
    pub pin: &'a str,
}

/// Which of a token's keys; without either, its only one.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// `CKA_LABEL`
    pub label: Option<String>,
    /// `CKA_ID`, of any length.
    pub id: Option<Vec<u8>>,
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
    public: PublicKey,
    place: String,
    /// What the token wants again before each signature (`CKA_ALWAYS_AUTHENTICATE`).
    each: Option<Zeroizing<String>>,
    mechanisms: Vec<MechanismType>,
}

/// An open token.
struct Open {
    session: Session,
    mechanisms: Vec<MechanismType>,
}

impl At<'_> {
    fn place(&self) -> String {
        format!("{} ({})", self.token, self.module.display())
    }
}

impl TokenFile {
    /// Reads a file that only its owner can change: it names a library, and loading one is running
    /// code.
    pub(super) fn read(path: &Path) -> Result<Self, SigningError> {
        let wrong = |why: String| SigningError::Token(path.display().to_string(), why);
        let resolved = unchangeable_by_others(path)?;
        let metadata = std::fs::metadata(&resolved)
            .map_err(|error| SigningError::File(path.display().to_string(), error))?;
        owned(path, &metadata)?;
        let bytes = read_public(&resolved)?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
        let form: Form = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
        let Form {
            module,
            token,
            label,
            id,
            public,
        } = form;
        if !module.is_absolute() {
            return Err(wrong(format!(
                "the module {} is no absolute path",
                module.display()
            )));
        }
        let id = id_from_hex(&id).ok_or_else(|| wrong("the id is not hex digits".to_owned()))?;
        let key = only_key(public.as_bytes()).map_err(wrong)?;
        Ok(Self {
            module,
            token,
            label,
            id,
            key,
        })
    }

    pub(super) fn text(&self) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned());
        let mut table = toml::Table::new();
        for (name, value) in [
            ("module", text(&self.module.display().to_string())),
            ("token", text(&self.token)),
            ("label", text(&self.label)),
            ("id", text(&hex::encode(&self.id))),
            (
                "public",
                text(&key_file::to_pem(&self.key).unwrap_or_default()),
            ),
        ] {
            table.insert(name.to_owned(), value);
        }
        table.to_string()
    }

    /// The token, for people.
    pub(super) fn place(&self) -> String {
        format!("{} ({})", self.token, self.module.display())
    }

    /// Opens the token and finds the key in it.
    pub(super) fn unlock(
        &self,
        pin: Zeroizing<String>,
    ) -> Result<impl Signer + use<>, SigningError> {
        let place = self.place();
        let wrong = |why: &str| SigningError::Token(format!("the token {place}"), why.to_owned());
        let failed = |error: &Error| refused(&place, error);
        let Open {
            session,
            mechanisms,
        } = open(&At {
            module: &self.module,
            token: &self.token,
            pin: &pin,
        })?;
        let named = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(self.label.clone().into_bytes()),
            Attribute::Id(self.id.clone()),
        ];
        let [handle] = session
            .find_objects(&named)
            .map_err(|error| failed(&error))?[..]
        else {
            return Err(wrong(&format!(
                "not one key has the label {:?} and the id {} of the file; hint: see what it has with pkcs11-tool -O",
                self.label,
                hex::encode(&self.id)
            )));
        };
        if public_of(&session, &self.id)
            .map_err(|error| failed(&error))?
            .is_some_and(|found| found.id() != self.key.id())
        {
            return Err(wrong(
                "the key in it is not the one whose public part the file has",
            ));
        }
        let asks = session
            .get_attributes(handle, &[AttributeType::AlwaysAuthenticate])
            .unwrap_or_default();
        let each = asks
            .contains(&Attribute::AlwaysAuthenticate(true))
            .then_some(pin);
        Ok(TokenKey {
            session,
            handle,
            public: self.key.clone(),
            place,
            each,
            mechanisms,
        })
    }
}

/// Makes a key in a token and has `keep` write down where it is; a key that can't be written down
/// is taken out again.
pub(super) fn generate(
    at: &At<'_>,
    label: &str,
    kind: Kind,
    keep: &mut dyn FnMut(&TokenFile) -> Result<(), SigningError>,
) -> Result<(), SigningError> {
    let module = std::path::absolute(at.module)
        .map_err(|error| SigningError::File(at.module.display().to_string(), error))?;
    let place = at.place();
    let wrong = |why: String| SigningError::Token(format!("the token {place}"), why);
    let failed = |error: &Error| refused(&place, error);
    let mut id = vec![0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| SigningError::Crypto("random bytes"))?;
    let Open { session, .. } = open(at)?;
    let named = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.clone()),
    ];
    if !session
        .find_objects(&[Attribute::Label(label.as_bytes().to_vec())])
        .map_err(|error| failed(&error))?
        .is_empty()
    {
        return Err(wrong(format!(
            "something in it is called {label:?} already; hint: give the new key another name"
        )));
    }
    let (mechanism, params) = match kind {
        Kind::P256 => (Mechanism::EccKeyPairGen, P256_PARAMS.to_vec()),
        Kind::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMS.to_vec()),
    };
    let public = [
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(params),
    ];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let made = session.generate_key_pair(
        &mechanism,
        &[&named[..], &public].concat(),
        &[&named[..], &private].concat(),
    );
    let (public, private) = made.map_err(|error| match error {
        Error::Pkcs11(RvError::MechanismInvalid, _) => {
            wrong("it makes no such keys; hint: try another --type".to_owned())
        }
        error => failed(&error),
    })?;
    let kept = keeps_to_itself(&session, private)
        .and_then(|kept| Ok(kept.then_some(read_public_key(&session, public)?)));
    let result = match kept {
        Err(error) => Err(failed(&error)),
        Ok(None) => Err(wrong("it would give the new key away".to_owned())),
        Ok(Some(None)) => Err(wrong(
            "it does not show the new key's public part".to_owned(),
        )),
        Ok(Some(Some(key))) => keep(&TokenFile {
            module,
            token: at.token.to_owned(),
            label: label.to_owned(),
            id,
            key,
        }),
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

/// Finds a key that a token has already.
pub(super) fn find(at: &At<'_>, which: &Which) -> Result<TokenFile, SigningError> {
    let module = std::path::absolute(at.module)
        .map_err(|error| SigningError::File(at.module.display().to_string(), error))?;
    let place = at.place();
    let wrong = |why: String| SigningError::Token(format!("the token {place}"), why);
    let failed = |error: &Error| refused(&place, error);
    let Open { session, .. } = open(at)?;
    let mut found = Vec::new();
    for handle in session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
        .map_err(|error| failed(&error))?
    {
        let attributes = session
            .get_attributes(handle, &[AttributeType::Label, AttributeType::Id])
            .map_err(|error| failed(&error))?;
        let (mut label, mut id) = (String::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
                Attribute::Id(bytes) => id = bytes,
                _ => {}
            }
        }
        found.push((label, id));
    }
    let meant = |(label, id): &&(String, Vec<u8>)| {
        which.label.as_ref().is_none_or(|wanted| wanted == label)
            && which.id.as_ref().is_none_or(|wanted| wanted == id)
    };
    let matching: Vec<_> = found.iter().filter(meant).collect();
    let [(label, id)] = matching[..] else {
        let shown = |(label, id): &(String, Vec<u8>)| format!("{label:?} (id {})", hex::encode(id));
        let all: Vec<_> = found.iter().take(SHOWN).map(shown).collect();
        let all = if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        };
        let hint = "name one with --token-key LABEL or --token-key-id HEX";
        return Err(wrong(format!(
            "{} of its private keys are meant; it has {all}; hint: {hint}",
            matching.len()
        )));
    };
    let key = public_of(&session, id).map_err(|error| failed(&error))?.ok_or_else(|| {
        let hint = "put the public key or a certificate with that id beside it, as pkcs11-tool --write-object does";
        wrong(format!(
            "it shows neither a public key nor a certificate of {label:?} (id {}) of a kind that signs here; hint: {hint}",
            hex::encode(id)
        ))
    })?;
    Ok(TokenFile {
        module,
        token: at.token.to_owned(),
        label: label.clone(),
        id: id.clone(),
        key,
    })
}

/// Loads the library and logs in. What is loaded runs as the user: nobody else may have put it
/// there.
fn open(at: &At<'_>) -> Result<Open, SigningError> {
    let place = at.place();
    let failed = |error: &Error| refused(&place, error);
    let library =
        Pkcs11::new(unchangeable_by_others(at.module)?).map_err(|error| failed(&error))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By the key before this one.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(&error)),
    }
    let mut found = Vec::new();
    for slot in library
        .get_slots_with_initialized_token()
        .map_err(|error| failed(&error))?
    {
        if library
            .get_token_info(slot)
            .map_err(|error| failed(&error))?
            .label()
            .trim_end()
            == at.token
        {
            found.push(slot);
        }
    }
    let [slot] = found[..] else {
        let why = format!(
            "{} tokens there have this label; hint: plug it in, or give it a label of its own",
            found.len()
        );
        return Err(SigningError::Token(format!("the token {place}"), why));
    };
    let mechanisms = library
        .get_mechanism_list(slot)
        .map_err(|error| failed(&error))?;
    let session = library
        .open_rw_session(slot)
        .map_err(|error| failed(&error))?;
    match session.login(UserType::User, Some(&AuthPin::new(at.pin.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(Open {
            session,
            mechanisms,
        }),
        Err(error) => Err(failed(&error)),
    }
}

fn refused(place: &str, error: &Error) -> SigningError {
    let why = match error {
        Error::Pkcs11(RvError::PinIncorrect, _) => {
            "the PIN is wrong; hint: it counts wrong ones, and locks itself after a few".to_owned()
        }
        Error::Pkcs11(RvError::PinLocked, _) => {
            "it has locked itself; hint: its security officer can set a new PIN".to_owned()
        }
        Error::Pkcs11(error, function) => format!("{function:?} answered {error:?}"),
        error => error.to_string(),
    };
    SigningError::Token(format!("the token {place}"), why)
}

impl TokenKey {
    fn sign_once(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, SigningError> {
        let failed = |error: &Error| refused(&self.place, error);
        if self.each.is_some() {
            let why = "it wants its PIN before each signature of this key, for which it has no mechanism that hashes by itself; hint: \
                make the key without CKA_ALWAYS_AUTHENTICATE, or update the token's library";
            return Err(SigningError::Token(
                format!("the token {}", self.place),
                why.to_owned(),
            ));
        }
        self.session
            .sign(mechanism, self.handle, data)
            .map_err(|error| failed(&error))
    }

    /// Signs by a mechanism that hashes by itself, in parts: between its begin and its end the PIN
    /// can be given again.
    fn sign_in_parts(
        &self,
        mechanism: &Mechanism<'_>,
        message: &[u8],
        pin: &str,
    ) -> Result<Vec<u8>, SigningError> {
        let failed = |error: &Error| refused(&self.place, error);
        self.session
            .sign_init(mechanism, self.handle)
            .map_err(|error| failed(&error))?;
        self.session
            .login(UserType::ContextSpecific, Some(&AuthPin::new(pin.into())))
            .map_err(|error| failed(&error))?;
        self.session
            .sign_update(message)
            .map_err(|error| failed(&error))?;
        self.session.sign_final().map_err(|error| failed(&error))
    }

    /// By the mechanism that hashes, where the PIN is wanted each time and the token has it; else
    /// by the plain one, which every token has.
    fn sign_by(
        &self,
        hashing: &Mechanism<'_>,
        plain: Option<(&Mechanism<'_>, &[u8])>,
        message: &[u8],
    ) -> Result<Vec<u8>, SigningError> {
        match (&self.each, plain) {
            (Some(pin), _) if self.mechanisms.contains(&hashing.mechanism_type()) => {
                self.sign_in_parts(hashing, message, pin)
            }
            (_, Some((plain, hash))) => self.sign_once(plain, hash),
            (_, None) => self.sign_once(hashing, message),
        }
    }
}

impl Signer for TokenKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature that its own public key doesn't verify is told here, not by the hosts that read
    /// it.
    fn sign(&self, message: &[u8], scheme: &str) -> Result<Vec<u8>, SigningError> {
        let wrong = || {
            SigningError::Token(
                format!("the token {}", self.place),
                "its signature does not verify by the public key".to_owned(),
            )
        };
        let pss = |hash_alg, mgf, length: u64| PkcsPssParams {
            hash_alg,
            mgf,
            s_len: length.into(),
        };
        let signature = match scheme {
            "ed25519" => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.sign_by(&pure, None, message)?
            }
            // A raw signature is r and s, one after the other.
            "ecdsa-sha2-nistp256" => {
                let hash = digest(&SHA256, message);
                let raw = self.sign_by(
                    &Mechanism::EcdsaSha256,
                    Some((&Mechanism::Ecdsa, hash.as_ref())),
                    message,
                )?;
                der_signature(&raw).ok_or_else(wrong)?
            }
            "ecdsa-sha2-nistp384" => {
                let hash = digest(&SHA384, message);
                let raw = self.sign_by(
                    &Mechanism::EcdsaSha384,
                    Some((&Mechanism::Ecdsa, hash.as_ref())),
                    message,
                )?;
                der_signature(&raw).ok_or_else(wrong)?
            }
            "rsassa-pss-sha256" => self.sign_by(
                &Mechanism::Sha256RsaPkcsPss(pss(
                    MechanismType::SHA256,
                    PkcsMgfType::MGF1_SHA256,
                    32,
                )),
                None,
                message,
            )?,
            "rsassa-pss-sha384" => self.sign_by(
                &Mechanism::Sha384RsaPkcsPss(pss(
                    MechanismType::SHA384,
                    PkcsMgfType::MGF1_SHA384,
                    48,
                )),
                None,
                message,
            )?,
            "rsassa-pss-sha512" => self.sign_by(
                &Mechanism::Sha512RsaPkcsPss(pss(
                    MechanismType::SHA512,
                    PkcsMgfType::MGF1_SHA512,
                    64,
                )),
                None,
                message,
            )?,
            other => return Err(no_scheme(other)),
        };
        let (keyid, mut object) = key_object(&self.public);
        if let Some(object) = object.as_object_mut() {
            object.insert("scheme".to_owned(), scheme.into());
        }
        let by = strict_value(&object)
            .and_then(|object| tuf::signed_by(&keyid, &object, message, &signature));
        if by == Some(self.public.id()) {
            Ok(signature)
        } else {
            Err(wrong())
        }
    }
}

/// Raw `r‖s` as a DER `ECDSA-Sig-Value` (RFC 3279, section 2.2.3).
fn der_signature(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(raw.len() / 2)?;
    vec![UintRef::new(r).ok()?, UintRef::new(s).ok()?]
        .to_der()
        .ok()
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenKey")
            .field(&self.place)
            .field(&self.keyid())
            .finish()
    }
}

/// The bytes of a `CKA_ID`, as other tools print one too: with colons, or `0x` before them.
#[must_use]
pub fn id_from_hex(text: &str) -> Option<Vec<u8>> {
    let text: String = text
        .trim()
        .trim_start_matches("0x")
        .chars()
        .filter(|letter| *letter != ':')
        .collect();
    hex::decode(&text).filter(|bytes| bytes.len() <= 256)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::publish::keyring::{Keyring, add_of_token, generate_in_token};

    /// Debian's package softhsm2.
    const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
    const CONF: &str = "SOFTHSM2_CONF";

    fn run(command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; the Debian package softhsm2 is wanted")
        });
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    /// Runs a test of below in a process of its own: the module is told by its environment where
    /// its tokens are.
    fn in_a_token(test: &str) {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("softhsm2.conf");
        fs::create_dir(dir.path().join("tokens")).unwrap();
        fs::write(
            &conf,
            format!(
                "directories.tokendir = {}\n",
                dir.path().join("tokens").display()
            ),
        )
        .unwrap();
        let init = [
            "--init-token",
            "--free",
            "--label",
            "acme",
            "--so-pin",
            "12345678",
            "--pin",
            "4321",
        ];
        run(Command::new("softhsm2-util").env(CONF, &conf).args(init));
        let test = format!("publish::token::tests::{test}");
        let said = run(Command::new(std::env::current_exe().unwrap())
            .env(CONF, &conf)
            .args(["--exact", &test, "--ignored", "--nocapture"]));
        assert!(said.contains("1 passed"), "{said}");
    }

    /// The folder of the keys beside the token.
    fn folder() -> PathBuf {
        Path::new(&std::env::var(CONF).unwrap())
            .parent()
            .unwrap()
            .join("keys")
    }

    fn at(pin: &str) -> At<'_> {
        At {
            module: Path::new(MODULE),
            token: "acme",
            pin,
        }
    }

    fn unlock(name: &str, pin: &str) -> Result<Box<dyn Signer>, SigningError> {
        let keyring = Keyring::open(&folder()).unwrap();
        let id = keyring
            .keys()
            .iter()
            .find(|entry| entry.name == name)
            .unwrap()
            .id();
        keyring.unlock(id, &mut |_| Ok(pin.to_owned()))
    }

    #[test]
    fn keys_made_in_a_token_sign_and_never_leave_it() {
        in_a_token("makes_keys_and_signs");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn makes_keys_and_signs() {
        for (name, kind) in [("root-1", Kind::P256), ("root-2", Kind::Ed25519)] {
            let made = generate_in_token(&folder(), name, kind, &at("4321")).unwrap();
            assert!(
                made.private
                    && made
                        .token
                        .as_ref()
                        .is_some_and(|token| token.starts_with("acme (/"))
            );
            let signer = unlock(name, "4321").unwrap();
            assert_eq!(
                (signer.public().id(), signer.keyid()),
                (made.id(), made.keyid)
            );
            let scheme = if kind == Kind::P256 {
                "ecdsa-sha2-nistp256"
            } else {
                "ed25519"
            };
            // Each signature is verified as it is made. A hash's first bytes must not matter:
            // ECDSA's numbers are of any length in DER.
            for message in 0..64_u8 {
                signer.sign(&[message], scheme).unwrap();
            }
            let again = generate_in_token(&folder(), name, kind, &at("4321"));
            assert!(matches!(again, Err(SigningError::Name(_))));
        }
        let session = open(&at("4321")).unwrap().session;
        for private in session
            .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
            .unwrap()
        {
            assert!(keeps_to_itself(&session, private).unwrap());
            let value = session
                .get_attributes(private, &[AttributeType::Value])
                .unwrap();
            assert!(value.is_empty(), "the private key can be read: {value:?}");
        }
    }

    #[test]
    fn keys_that_a_token_has_already_are_taken_up_whatever_their_ids() {
        in_a_token("takes_keys_up");
    }

    /// Makes a key in the token as another tool would, with labels that differ.
    fn made_elsewhere(
        session: &Session,
        label: &str,
        id: &[u8],
        mechanism: &Mechanism<'_>,
        public: &[Attribute],
        each: bool,
    ) {
        let named = |label: &str| {
            vec![
                Attribute::Token(true),
                Attribute::Label(label.into()),
                Attribute::Id(id.to_vec()),
            ]
        };
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::AlwaysAuthenticate(each),
        ];
        let public = [&named(&format!("Public {label}"))[..], public].concat();
        session
            .generate_key_pair(mechanism, &public, &[&named(label)[..], &private].concat())
            .unwrap();
    }

    #[test]
    #[ignore = "run by the test above"]
    fn takes_keys_up() {
        let session = open(&at("4321")).unwrap().session;
        let curve = |params: &[u8]| {
            vec![
                Attribute::Verify(true),
                Attribute::EcParams(params.to_vec()),
            ]
        };
        let p384 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        let rsa = [
            Attribute::Verify(true),
            Attribute::ModulusBits(2048.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        made_elsewhere(
            &session,
            "one byte",
            &[2],
            &Mechanism::EccKeyPairGen,
            &curve(&P256_PARAMS),
            false,
        );
        made_elsewhere(
            &session,
            "long",
            &[7; 40],
            &Mechanism::EccKeyPairGen,
            &curve(&p384),
            false,
        );
        made_elsewhere(
            &session,
            "rsa",
            &[3, 4],
            &Mechanism::RsaPkcsKeyPairGen,
            &rsa,
            false,
        );
        made_elsewhere(
            &session,
            "each time",
            &[5],
            &Mechanism::RsaPkcsKeyPairGen,
            &rsa,
            true,
        );
        made_elsewhere(
            &session,
            "each time too",
            &[6],
            &Mechanism::EccKeyPairGen,
            &curve(&P256_PARAMS),
            true,
        );
        let of_label = |label: &str| Which {
            label: Some(label.to_owned()),
            id: None,
        };
        let ambiguous = add_of_token(&folder(), "a", &at("4321"), &Which::default())
            .unwrap_err()
            .to_string();
        assert!(
            ambiguous.contains("\"one byte\" (id 02)") && ambiguous.contains("--token-key-id"),
            "{ambiguous}"
        );
        for (name, which, scheme) in [
            (
                "a",
                Which {
                    label: None,
                    id: id_from_hex("02"),
                },
                "ecdsa-sha2-nistp256",
            ),
            ("b", of_label("long"), "ecdsa-sha2-nistp384"),
            (
                "c",
                Which {
                    label: None,
                    id: id_from_hex("0x03:04"),
                },
                "rsassa-pss-sha512",
            ),
            ("d", of_label("each time"), "rsassa-pss-sha256"),
        ] {
            let added = add_of_token(&folder(), name, &at("4321"), &which).unwrap();
            assert!(added.private && added.token.is_some(), "{name}");
            let signer = unlock(name, "4321").unwrap();
            for message in 0..4_u8 {
                signer.sign(&[message], scheme).unwrap();
            }
        }
        add_of_token(&folder(), "e", &at("4321"), &of_label("each time too")).unwrap();
        // SoftHSM 2.6 has no mechanism of this curve that hashes by itself.
        let refused = unlock("e", "4321")
            .unwrap()
            .sign(b"", "ecdsa-sha2-nistp256")
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("wants its PIN before each signature"),
            "{refused}"
        );
    }

    #[test]
    fn a_wrong_pin_another_key_or_an_absent_token_is_said() {
        in_a_token("refuses");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn refuses() {
        let error = |result: Result<Box<dyn Signer>, SigningError>| result.unwrap_err().to_string();
        let wrong = generate_in_token(&folder(), "a", Kind::P256, &at("0000"))
            .unwrap_err()
            .to_string();
        assert!(
            wrong.contains("PIN is wrong") && !wrong.contains("0000"),
            "{wrong}"
        );
        let elsewhere = At {
            token: "other",
            ..at("4321")
        };
        let absent = generate_in_token(&folder(), "a", Kind::P256, &elsewhere)
            .unwrap_err()
            .to_string();
        assert!(
            absent.contains("0 tokens there have this label"),
            "{absent}"
        );
        assert_eq!(
            fs::read_dir(folder()).unwrap().count(),
            0,
            "nothing is written of a key that was not made"
        );

        let made = generate_in_token(&folder(), "a", Kind::P256, &at("4321")).unwrap();
        generate_in_token(&folder(), "b", Kind::P256, &at("4321")).unwrap();
        // The file of a, with the label and id of b: the token's key is not the one whose public
        // part the file has.
        let (a, b) = (folder().join("a.token"), folder().join("b.token"));
        let read = |path: &Path| TokenFile::read(path).unwrap();
        fs::write(
            &a,
            TokenFile {
                key: made.public.clone(),
                ..read(&b)
            }
            .text(),
        )
        .unwrap();
        let other = error(unlock("a", "4321"));
        assert!(other.contains("not the one whose public part"), "{other}");
        fs::write(
            &a,
            TokenFile {
                key: made.public,
                id: vec![1],
                ..read(&b)
            }
            .text(),
        )
        .unwrap();
        let none = error(unlock("a", "4321"));
        assert!(none.contains("not one key"), "{none}");
    }

    #[test]
    fn a_file_that_others_can_change_names_no_library_that_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.token");
        let key = only_key(
            &fs::read(format!(
                "{}/tests/data/keys/ed25519.pub",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap(),
        )
        .unwrap();
        let file = TokenFile {
            module: MODULE.into(),
            token: "acme".to_owned(),
            label: "a".to_owned(),
            id: vec![0xab, 1],
            key,
        };
        fs::write(&path, file.text()).unwrap();
        let read = TokenFile::read(&path).unwrap();
        assert_eq!(
            (read.module, read.id, read.key.id()),
            (file.module.clone(), file.id.clone(), file.key.id())
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(
            TokenFile::read(&path),
            Err(SigningError::Token(..))
        ));
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
        let error = open(&At {
            module: &module,
            ..at("4321")
        })
        .err()
        .unwrap()
        .to_string();
        assert!(error.contains("others can write it"), "{error}");
    }
}
