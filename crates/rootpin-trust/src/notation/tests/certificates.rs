//! Certificates and envelopes made here, as no tool makes them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha512};
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

use super::{IMAGE, SCHEME};
use crate::notation::{JWS, PAYLOAD, PinnedCertificate, SIGNING_SCHEME};
use crate::{PublicKey, SignatureFile};

pub(super) const CN: &str = "2.5.4.3";
pub(super) const O: &str = "2.5.4.10";
pub(super) const OU: &str = "2.5.4.11";
pub(super) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(super) const NON_REPUDIATION: u8 = 0x40;
pub(super) const KEY_ENCIPHERMENT: u8 = 0x20;
const CERTIFICATES_AND_LISTS: u8 = 0x06;

/// What is in a certificate. Its key is that of the seed.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) subject: Vec<(&'static str, &'static str)>,
    pub(super) seed: u8,
    pub(super) authority: bool,
    pub(super) longest_path: Option<u8>,
    pub(super) usage: u8,
    pub(super) purposes: Vec<&'static str>,
    /// OID, and DER of the value. They are critical.
    pub(super) others: Vec<(&'static str, Vec<u8>)>,
    pub(super) until: &'static str,
    pub(super) by_sha512: bool,
}

/// The same certificate with the other signature that ECDSA has.
pub(super) fn twin(der: &[u8]) -> Vec<u8> {
    let x509 = X509::from_der(der).unwrap();
    let signature = Signature::from_der(x509.signature().raw_bytes()).unwrap();
    let (r, s) = signature.split_scalars();
    let signature = Signature::from_scalars(r, -s).unwrap().to_der();
    let body = x509.tbs_certificate().to_der().unwrap();
    let method = x509.signature_algorithm().to_der().unwrap();
    let signature = tlv(3, &[&[0], signature.as_bytes()]);
    tlv(0x30, &[&body, &method, &signature])
}

pub(super) fn authority(name: &'static str, seed: u8) -> Content {
    Content {
        authority: true,
        usage: CERTIFICATES_AND_LISTS,
        purposes: Vec::new(),
        ..leaf(name, seed)
    }
}

pub(super) fn leaf(name: &'static str, seed: u8) -> Content {
    Content {
        subject: vec![(O, "Lab"), (CN, name)],
        seed,
        authority: false,
        longest_path: None,
        usage: DIGITAL_SIGNATURE,
        purposes: vec![CODE_SIGNING],
        others: Vec::new(),
        until: "400101000000Z",
        by_sha512: false,
    }
}

pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short @ 0..128] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, contents].concat()
}

fn oid(text: &str) -> Vec<u8> {
    let oid = ObjectIdentifier::new(text).unwrap();
    tlv(6, &[oid.as_bytes()])
}

fn name(subject: &[(&str, &str)]) -> Vec<u8> {
    let one = |(kind, value): &(&str, &str)| {
        let value = tlv(0x0c, &[value.as_bytes()]);
        tlv(0x31, &[&tlv(0x30, &[&oid(kind), &value])])
    };
    tlv(
        0x30,
        &[&subject.iter().map(one).collect::<Vec<_>>().concat()],
    )
}

fn pair(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn spki(seed: u8) -> Vec<u8> {
    let point = pair(seed).verifying_key().to_sec1_point(false);
    let kind = [oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")].concat();
    tlv(
        0x30,
        &[&tlv(0x30, &[&kind]), &tlv(3, &[&[0], point.as_bytes()])],
    )
}

pub(super) fn key(seed: u8) -> PublicKey {
    PublicKey::from_spki(&spki(seed), None).unwrap()
}

fn extension(id: &str, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&oid(id), &[1, 1, 0xff], &tlv(4, &[value])])
}

impl Content {
    /// DER of the certificate that the owner of the other one issues.
    pub(super) fn issued_by(&self, issuer: &Self) -> Vec<u8> {
        let mut all = Vec::new();
        if self.authority {
            let path = self.longest_path.map(|path| vec![2, 1, path]);
            let constraints = [vec![1, 1, 0xff], path.unwrap_or_default()].concat();
            all.extend(extension("2.5.29.19", &tlv(0x30, &[&constraints])));
        }
        let unused = u8::try_from(self.usage.trailing_zeros()).unwrap();
        let usage = tlv(3, &[&[unused, self.usage]]);
        all.extend(extension("2.5.29.15", &usage));
        if !self.purposes.is_empty() {
            let purposes = self.purposes.iter().map(|purpose| oid(purpose));
            let purposes = purposes.collect::<Vec<_>>().concat();
            all.extend(extension("2.5.29.37", &tlv(0x30, &[&purposes])));
        }
        for (id, value) in &self.others {
            all.extend(extension(id, value));
        }
        let method = if issuer.by_sha512 {
            "1.2.840.10045.4.3.4"
        } else {
            "1.2.840.10045.4.3.2"
        };
        let method = tlv(0x30, &[&oid(method)]);
        // A year of four digits is a `GeneralizedTime`.
        let time = |text: &str| {
            tlv(
                if text.len() == 13 { 0x17 } else { 0x18 },
                &[text.as_bytes()],
            )
        };
        let times = [time("260101000000Z"), time(self.until)];
        let body = tlv(
            0x30,
            &[
                &[0xa0, 3, 2, 1, 2],
                &[2, 1, self.seed],
                &method,
                &name(&issuer.subject),
                &tlv(0x30, &[&times.concat()]),
                &name(&self.subject),
                &spki(self.seed),
                &tlv(0xa3, &[&tlv(0x30, &[&all])]),
            ],
        );
        let by = pair(issuer.seed);
        let signature: Signature = if issuer.by_sha512 {
            by.sign_prehash(&Sha512::digest(&body)).unwrap()
        } else {
            by.sign(&body)
        };
        let signature = signature.to_der();
        tlv(
            0x30,
            &[&body, &method, &tlv(3, &[&[0], signature.as_bytes()])],
        )
    }

    pub(super) fn issued_by_itself(&self) -> Vec<u8> {
        self.issued_by(self)
    }
}

pub(super) fn pinned(der: &[u8]) -> PinnedCertificate {
    PinnedCertificate::read(der).unwrap()
}

/// What an envelope signs of the image, with further members.
pub(super) fn payload(more: &str) -> String {
    format!(
        r#"{{"targetArtifact":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{IMAGE}","size":1{more}}}}}"#
    )
}

/// The signed attributes that are mandatory.
pub(super) fn header() -> String {
    format!(
        r#"{{"alg":"ES256","crit":["{SIGNING_SCHEME}"],"cty":"{PAYLOAD}","{SIGNING_SCHEME}":"{SCHEME}","io.cncf.notary.signingTime":"2026-11-30T09:00:00Z"}}"#
    )
}

/// An envelope over a payload by the key of a seed.
pub(super) fn jws(seed: u8, chain: &[&[u8]], header: &str, payload: &str) -> SignatureFile {
    let [protected, payload] = [header, payload].map(|text| URL_SAFE_NO_PAD.encode(text));
    let signature: Signature = pair(seed).sign(format!("{protected}.{payload}").as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
    let chain: Vec<String> = chain
        .iter()
        .map(|der| format!("{:?}", STANDARD.encode(der)))
        .collect();
    let envelope = format!(
        r#"{{"payload":"{payload}","protected":"{protected}","header":{{"x5c":[{}]}},"signature":"{signature}"}}"#,
        chain.join(",")
    );
    SignatureFile {
        media_type: JWS.to_owned(),
        bytes: envelope.into_bytes(),
        signature: None,
    }
}
