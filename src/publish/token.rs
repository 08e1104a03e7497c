//! Keys in PKCS#11 tokens, which sign and never give the key away.

mod objects;
mod signing;
mod token_file;

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
pub(super) use token_file::TokenFile;

use self::objects::{keeps_to_itself, public_of, read_public_key};
use super::key::{KeyKind, SigningError};
use super::private_file::unchangeable_by_others;
use crate::problem::Problem;
use rootpin_trust::hex;

/// `CKA_EC_PARAMS` of P-256: its object identifier (RFC 5480, section 2.1.1.1).
const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// `CKA_EC_PARAMS` of ed25519: the curve's name (PKCS #11 3.0, section 2.3.10), which older tokens
/// know too.
const ED25519_PARAMS: [u8; 14] = *b"\x13\x0cedwards25519";

/// No label is longer, and no list of keys in a message.
const SHOWN: usize = 16;

/// The token that a key is made or looked for in.
#[derive(Debug, Clone, Copy)]
pub struct TokenAddress<'a> {
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

/// An open token.
struct Open {
    session: Session,
    mechanisms: Vec<MechanismType>,
}

impl TokenAddress<'_> {
    fn place(&self) -> String {
        format!("{} ({})", self.token, self.module.display())
    }
}

/// Makes a key in a token and has `keep` write down where it is; a key that can't be written down
/// is taken out again.
pub(super) fn generate(
    at: &TokenAddress<'_>,
    label: &str,
    kind: KeyKind,
    keep: &mut dyn FnMut(&TokenFile) -> Result<(), SigningError>,
) -> Result<(), SigningError> {
    let module = std::path::absolute(at.module)
        .map_err(|error| SigningError::File(at.module.display().to_string(), error))?;
    let place = at.place();
    let wrong = |why: Problem| SigningError::Token(format!("the token {place}"), why);
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
        return Err(wrong(Problem::hinted(
            format!("something in it is called {label:?} already"),
            "give the new key another name",
        )));
    }
    let (mechanism, params) = match kind {
        KeyKind::P256 => (Mechanism::EccKeyPairGen, P256_PARAMS.to_vec()),
        KeyKind::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMS.to_vec()),
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
        Error::Pkcs11(RvError::MechanismInvalid, _) => wrong(Problem::hinted(
            "it makes no such keys",
            "try another --type",
        )),
        error => failed(&error),
    })?;
    let kept = keeps_to_itself(&session, private)
        .and_then(|kept| Ok(kept.then_some(read_public_key(&session, public)?)));
    let result = match kept {
        Err(error) => Err(failed(&error)),
        Ok(None) => Err(wrong("it would give the new key away".into())),
        Ok(Some(None)) => Err(wrong("it does not show the new key's public part".into())),
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
pub(super) fn find(at: &TokenAddress<'_>, which: &Which) -> Result<TokenFile, SigningError> {
    let module = std::path::absolute(at.module)
        .map_err(|error| SigningError::File(at.module.display().to_string(), error))?;
    let place = at.place();
    let wrong = |why: Problem| SigningError::Token(format!("the token {place}"), why);
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
        return Err(wrong(Problem::hinted(
            format!(
                "{} of its private keys are meant; it has {all}",
                matching.len()
            ),
            hint.to_string(),
        )));
    };
    let key = public_of(&session, id).map_err(|error| failed(&error))?.ok_or_else(|| {
        let hint = "put the public key or a certificate with that id beside it, as pkcs11-tool --write-object does";
        wrong(Problem::hinted(format!("it shows neither a public key nor a certificate of {label:?} (id {}) of a kind that signs here", hex::encode(id)), hint.to_string()))
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
fn open(at: &TokenAddress<'_>) -> Result<Open, SigningError> {
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
        let why = Problem::hinted(
            format!("{} tokens there have this label", found.len()),
            "plug it in, or give it a label of its own",
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
        Error::Pkcs11(RvError::PinIncorrect, _) => Problem::hinted(
            "the PIN is wrong",
            "it counts wrong ones, and locks itself after a few",
        ),
        Error::Pkcs11(RvError::PinLocked, _) => Problem::hinted(
            "it has locked itself",
            "its security officer can set a new PIN",
        ),
        Error::Pkcs11(error, function) => format!("{function:?} answered {error:?}").into(),
        error => error.to_string().into(),
    };
    SigningError::Token(format!("the token {place}"), why)
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
mod tests;
