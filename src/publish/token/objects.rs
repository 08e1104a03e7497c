//! The objects of a token, read: whether a private key stays in it, and what the public one is.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::UintRef;

use crate::publish::public_key::{self, only_key};
use rootpin_trust::PublicKey;

/// Whether a private key is one that never leaves the token.
pub(super) fn keeps_to_itself(session: &Session, private: ObjectHandle) -> Result<bool, Error> {
    let found = session.get_attributes(
        private,
        &[AttributeType::Extractable, AttributeType::Sensitive],
    )?;
    Ok(found.contains(&Attribute::Extractable(false))
        && found.contains(&Attribute::Sensitive(true)))
}

/// The public part of the key with that id: of a public key, or of a certificate, which is all that
/// some cards show.
pub(super) fn public_of(session: &Session, id: &[u8]) -> Result<Option<PublicKey>, Error> {
    let find = |class| session.find_objects(&[Attribute::Class(class), Attribute::Id(id.to_vec())]);
    for public in find(ObjectClass::PUBLIC_KEY)? {
        if let Some(key) = read_public_key(session, public)? {
            return Ok(Some(key));
        }
    }
    for certificate in find(ObjectClass::CERTIFICATE)? {
        let found = session.get_attributes(certificate, &[AttributeType::Value])?;
        let value = found.into_iter().find_map(|attribute| {
            if let Attribute::Value(value) = attribute {
                Some(value)
            } else {
                None
            }
        });
        if let Some(key) = value.and_then(|der| only_key(&der).ok()) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// The key of a public key object. `CKA_EC_POINT` is an octet string in DER (PKCS #11 2.40, section
/// 2.3.3); some tokens leave the DER out.
pub(super) fn read_public_key(
    session: &Session,
    public: ObjectHandle,
) -> Result<Option<PublicKey>, Error> {
    let wanted = [
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let (mut point, mut modulus, mut exponent) = (None, None, None);
    for attribute in session.get_attributes(public, &wanted)? {
        match attribute {
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => {}
        }
    }
    Ok(match (point, modulus, exponent) {
        (Some(point), ..) => {
            let bare = match point.as_slice() {
                [0x04, length @ (0x20 | 0x41 | 0x61), rest @ ..]
                    if rest.len() == usize::from(*length) =>
                {
                    rest
                }
                whole => whole,
            };
            public_key::of_point(bare)
        }
        (None, Some(modulus), Some(exponent)) => {
            rsa_key(&modulus, &exponent).and_then(|der| public_key::of_rsa(&der))
        }
        _ => None,
    })
}

/// DER of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    vec![UintRef::new(modulus).ok()?, UintRef::new(exponent).ok()?]
        .to_der()
        .ok()
}
