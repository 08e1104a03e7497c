//! Signs with a key that never leaves its token.

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use cryptoki::error::Error;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::UintRef;
use zeroize::Zeroizing;

use super::super::canonical_json::signed_by;
use super::super::key::{Signer, SigningError};
use super::super::key_file::no_scheme;
use super::super::public_key::key_object;
use super::refused;
use crate::problem::Problem;
use rootpin_trust::PublicKey;

/// A key in an open token.
pub(super) struct TokenKey {
    pub(super) session: Session,
    pub(super) handle: ObjectHandle,
    pub(super) public: PublicKey,
    pub(super) place: String,
    /// What the token wants again before each signature (`CKA_ALWAYS_AUTHENTICATE`).
    pub(super) each: Option<Zeroizing<String>>,
    pub(super) mechanisms: Vec<MechanismType>,
}

impl TokenKey {
    fn sign_once(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, SigningError> {
        let failed = |error: &Error| refused(&self.place, error);
        if self.each.is_some() {
            let why = "it wants its PIN before each signature of this key, for which it has no mechanism that hashes by itself";
            let hint =
                "make the key without CKA_ALWAYS_AUTHENTICATE, or update the token's library";
            return Err(SigningError::Token(
                format!("the token {}", self.place),
                Problem::hinted(why, hint),
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
                "its signature does not verify by the public key"
                    .to_owned()
                    .into(),
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
        if signed_by(&keyid, &object, message, &signature) == Some(self.public.id()) {
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
