//! The other form of a certificate that ECDSA signed. Where (r, s) is a signature, (r, n - s) is one
//! too, and anybody can compute it: the same certificate with another fingerprint.

use x509_cert::der::asn1::{AnyRef, BitStringRef, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};

use crate::image::Digest;
use crate::{KeyId, hex};

/// The orders n of P-256, P-384 and P-521 (NIST SP 800-186, section 3.2.1).
const ORDERS: [&str; 3] = [
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
];

/// The fingerprints that the other forms of a certificate have, whichever curve its issuer's key is on;
/// none where ECDSA did not sign it. `parts`: what is signed, the method, and the signature.
pub(super) fn twins((body, method, signature): (&[u8], &[u8], &[u8])) -> Vec<KeyId> {
    let of = |order: &str| {
        let (r, s) = numbers(signature)?;
        let other = difference(&hex::decode(order)?, s.as_bytes())?;
        let other = UintRef::new(&other).ok()?;
        let pair = sequence(&[r.to_der().ok()?, other.to_der().ok()?].concat())?;
        let signature = BitStringRef::from_bytes(&pair).ok()?.to_der().ok()?;
        let whole = sequence(&[body, method, &signature].concat())?;
        Some(KeyId::from_bytes(*Digest::of(&whole).as_bytes()))
    };
    ORDERS.into_iter().filter_map(of).collect()
}

/// r and s (RFC 3279, section 2.2.3).
fn numbers(signature: &[u8]) -> Option<(UintRef<'_>, UintRef<'_>)> {
    let mut reader = SliceReader::new(signature).ok()?;
    let numbers = reader.sequence(|inner| {
        let (r, s) = (UintRef::decode(inner)?, UintRef::decode(inner)?);
        Ok::<_, x509_cert::der::Error>((r, s))
    });
    numbers.ok().filter(|_| reader.is_finished())
}

/// The order less a smaller number; both big-endian.
fn difference(order: &[u8], number: &[u8]) -> Option<Vec<u8>> {
    let mut left = vec![0; order.len().checked_sub(number.len())?];
    left.extend_from_slice(number);
    let mut borrow = false;
    for (digit, of_order) in left.iter_mut().zip(order).rev() {
        let (first, one) = of_order.overflowing_sub(*digit);
        let (second, two) = first.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (second, one || two);
    }
    (!borrow).then_some(left)
}

fn sequence(contents: &[u8]) -> Option<Vec<u8>> {
    AnyRef::new(Tag::Sequence, contents).ok()?.to_der().ok()
}
