//! What is read only after a signature verified. The key of whoever is pinned signs these bytes
//! here: its holder writes what it likes, and changed examples alone never come so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rootpin_trust::canonical::rewrite;
use rootpin_trust::cosign::{CosignPins, TagBinding};
use rootpin_trust::image::Repository;
use rootpin_trust::notary::{GunUpdate, KeyPins};
use rootpin_trust::notation::{NotationPins, PinnedCertificate};
use rootpin_trust::{
    Answer, FetchFrom, Refusal, SignatureFile, SignatureOutcome, SignedImage, Verification, cosign,
    key_file, notation,
};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::json::LIMITS;
use crate::notary_publisher::{FAR, Publisher, file_meta, sign};
use crate::targets::now;

const HEX: &str = "0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea";
const REPOSITORY: &str = "r.example/app";
const RELEASES: &str = "targets/releases";

const STATEMENT: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"HEX"},"annotations":{"tag":"v1"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#;
const SIMPLE: &str = r#"{"critical":{"identity":{"docker-reference":"r.example/app:v1"},"image":{"docker-manifest-digest":"sha256:HEX"},"type":"cosign container image signature"},"optional":{"tag":"v1"}}"#;
const TARGET: &str = r#"{"targetArtifact":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:HEX","size":1,"annotations":{"tag":"v1"}}}"#;
const JWS_HEADER: &str = r#"{"alg":"ES256","crit":["io.cncf.notary.signingScheme","io.cncf.notary.expiry"],"cty":"application/vnd.cncf.notary.payload.v1+json","io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2026-11-20T09:00:00Z","io.cncf.notary.expiry":"2030-01-01T00:00:00Z"}"#;

/// The key is made of this text.
const SIGNER: &str = "signer of anything";
const PUBLIC_KEY: &[u8] = b"-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEu2u6mlmfJQjvcjFaTaSlpUwwakXv
gGacXaTvLwnwrFVGRRiip43XJUV3rmHs/J+N8zLw0U6i1Njgc9gJ/4aX7Q==
-----END PUBLIC KEY-----
";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBTzCB9qADAgECAgEBMAoGCCqGSM49BAMCMB0xGzAZBgNVBAMMEnNpZ25lciBv
ZiBhbnl0aGluZzAeFw0yNjAxMDEwMDAwMDBaFw00MDAxMDEwMDAwMDBaMB0xGzAZ
BgNVBAMMEnNpZ25lciBvZiBhbnl0aGluZzBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABLtruppZnyUI73IxWk2kpaVMMGpF74BmnF2k7y8J8KxVRkUYoqeN1yVFd65h
7PyfjfMy8NFOotTY4HPYCf+Gl+2jJzAlMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUE
DDAKBggrBgEFBQcDAzAKBggqhkjOPQQDAgNIADBFAiEAxqsKEbaTEs1+bGcbbFRF
IaV+RrC+sReYxZRdZFZVBjQCIG3/411yuT4LDEEygpd1FTVfIN6Ca9i0exqEBk4t
zfAM
-----END CERTIFICATE-----
";

/// A repository of Notary, and its files.
static NOTARY: LazyLock<(Publisher, BTreeMap<String, Vec<u8>>)> = LazyLock::new(|| {
    let mut publisher = Publisher::new(REPOSITORY);
    publisher.tag("v1", HEX, 1);
    let files = publisher.tree().files;
    (publisher, files)
});

fn with_image(text: &str) -> Vec<u8> {
    text.replace("HEX", HEX).into_bytes()
}

/// What these readers take as it stands, by names of their own.
pub fn examples() -> BTreeMap<String, Vec<u8>> {
    let mut examples = BTreeMap::from([
        ("made/statement".to_owned(), with_image(STATEMENT)),
        ("made/simple".to_owned(), with_image(SIMPLE)),
        ("made/jws-payload".to_owned(), with_image(TARGET)),
        ("made/jws-header".to_owned(), with_image(JWS_HEADER)),
        ("made/cose-payload".to_owned(), with_image(TARGET)),
        ("made/cose-header".to_owned(), cose_header()),
    ]);
    for role in ["root", "targets", RELEASES, "snapshot", "timestamp"] {
        let file = NOTARY.1[&format!("{role}.json")].clone();
        examples.insert(format!("made/notary/{role}"), file);
    }
    examples
}

fn signature(message: &[u8]) -> Signature {
    let pair = SigningKey::from_slice(&sha2::Sha256::digest(SIGNER)).unwrap();
    pair.sign(message)
}

fn image() -> SignedImage<'static> {
    static OF: LazyLock<Repository> = LazyLock::new(|| Repository::from_full(REPOSITORY).unwrap());
    SignedImage {
        repository: &OF,
        digest: format!("sha256:{HEX}").parse().unwrap(),
        tag: None,
        every_signer: true,
    }
}

/// Whether a signature counts. Then what was signed names the image.
fn counts(outcome: &SignatureOutcome, signed: &[u8]) -> bool {
    assert_eq!(outcome.findings.len(), 1);
    // serde_json does not take each number that canonical JSON takes.
    if let (Ok(_), Ok(value)) = (&outcome.result, serde_json::from_slice::<Value>(signed)) {
        assert!(value.to_string().contains(HEX), "it names no image");
    }
    outcome.result.is_ok()
}

fn of_cosign(kind: &str, bytes: Vec<u8>, sig: &Signature, signed: &[u8]) -> bool {
    let binds_tag = match kind {
        cosign::BUNDLE => TagBinding::Annotation("tag".to_owned()),
        _ => TagBinding::Reference,
    };
    let pins = CosignPins {
        keys: key_file::signature_keys(PUBLIC_KEY).unwrap(),
        threshold: 1,
        format: None,
        binds_tag: Some(binds_tag),
    };
    let file = SignatureFile {
        media_type: kind.to_owned(),
        bytes,
        signature: Some(STANDARD.encode(sig.to_der().as_bytes())),
    };
    let outcome = cosign::verify(image(), &pins, &BTreeSet::new(), &[file], Vec::new());
    counts(&outcome, signed)
}

/// An in-toto statement in a bundle of cosign.
pub fn statement_counts(bytes: &[u8]) -> bool {
    let kind = "application/vnd.in-toto+json";
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), bytes.len());
    let sig = signature(&[head.as_bytes(), bytes].concat());
    let bundle = json!({
        "mediaType": cosign::BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(bytes),
            "payloadType": kind,
            "signatures": [{ "sig": STANDARD.encode(sig.to_der().as_bytes()) }],
        },
    });
    let bundle = bundle.to_string().into_bytes();
    of_cosign(cosign::BUNDLE, bundle, &sig, bytes)
}

/// A payload of simple signing.
pub fn simple_counts(bytes: &[u8]) -> bool {
    let sig = signature(bytes);
    of_cosign(cosign::SIMPLE_SIGNING, bytes.to_vec(), &sig, bytes)
}

fn certificate() -> Vec<u8> {
    let lines = CERTIFICATE.lines().filter(|line| !line.starts_with('-'));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

fn of_notation(kind: &str, bytes: Vec<u8>, payload: &[u8]) -> bool {
    static PINS: LazyLock<NotationPins> = LazyLock::new(|| NotationPins {
        certificates: vec![PinnedCertificate::read(CERTIFICATE.as_bytes()).unwrap()],
        subjects: Vec::new(),
        ignore_validity: false,
        binds_tag: Some("tag".to_owned()),
    });
    let file = SignatureFile {
        media_type: kind.to_owned(),
        bytes,
        signature: None,
    };
    let nobody = BTreeSet::new();
    let outcome = notation::verify(image(), &PINS, (&nobody, now()), &[file], Vec::new());
    counts(&outcome, payload)
}

/// A header and a payload in a JWS envelope of Notation.
pub fn jws_counts(header: &[u8], payload: &[u8]) -> bool {
    let (protected, text) = (
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload),
    );
    let sig = signature(format!("{protected}.{text}").as_bytes());
    let envelope = json!({
        "payload": text,
        "protected": protected,
        "header": { "x5c": [STANDARD.encode(certificate())] },
        "signature": URL_SAFE_NO_PAD.encode(sig.to_bytes()),
    });
    of_notation(notation::JWS, envelope.to_string().into_bytes(), payload)
}

/// A value of CBOR with its length before it, in the shortest form (RFC 8949, section 3).
fn cbor(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let head = match u32::try_from(bytes.len()).unwrap().to_be_bytes() {
        [0, 0, 0, short @ 0..24] => vec![kind << 5 | short],
        [0, 0, 0, long] => vec![kind << 5 | 0x18, long],
        [0, 0, high, low] => vec![kind << 5 | 0x19, high, low],
        [first, second, third, last] => vec![kind << 5 | 0x1a, first, second, third, last],
    };
    [&head[..], bytes].concat()
}

fn cbor_text(text: &str) -> Vec<u8> {
    cbor(3, text.as_bytes())
}

/// The protected header that Notation writes: algorithm, critical attributes, type of the payload,
/// scheme, time.
fn cose_header() -> Vec<u8> {
    let scheme = cbor_text("io.cncf.notary.signingScheme");
    [
        &b"\xa5\x01\x26\x02\x81"[..],
        &scheme,
        b"\x03",
        &cbor_text("application/vnd.cncf.notary.payload.v1+json"),
        &scheme,
        &cbor_text("notary.x509"),
        &cbor_text("io.cncf.notary.signingTime"),
        b"\xc1\x1a\x6b\0\0\0",
    ]
    .concat()
}

/// The same in a COSE envelope (RFC 9052, sections 4.2 and 4.4).
pub fn cose_counts(header: &[u8], payload: &[u8]) -> bool {
    let (header, text) = (cbor(2, header), cbor(2, payload));
    let message = [
        &b"\x84"[..],
        &cbor_text("Signature1"),
        &header,
        &cbor(2, b""),
        &text,
    ]
    .concat();
    let sig = signature(&message);
    let envelope = [
        &b"\xd2\x84"[..],
        &header,
        b"\xa1\x18\x21\x81",
        &cbor(2, &certificate()),
        &text,
        &cbor(2, &sig.to_bytes()),
    ]
    .concat();
    of_notation(notation::COSE, envelope, payload)
}

/// A look at a repository of Notary in which a role's own key signed these members. Returns whether
/// they were good metadata.
pub fn notary_role_counts(role: &str, bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return false;
    };
    let body = &value["signed"];
    if rewrite(body.to_string().as_bytes(), LIMITS).is_err() {
        return false;
    }
    let (publisher, honest) = &*NOTARY;
    let signed = |role: &str, body: &Value| sign(body, publisher.roles[role].keys.iter());
    let name = |role: &str| format!("{role}.json");
    let mut files = honest.clone();
    files.insert(name(role), signed(role, body));
    // What lists it is signed again.
    if !matches!(role, "snapshot" | "timestamp") {
        let listed = ["root", "targets", RELEASES].map(|role| (role, &files[&name(role)]));
        let meta = listed.map(|(role, file)| (role.to_owned(), file_meta(file)));
        let meta = Value::Object(meta.into_iter().collect());
        let body = json!({ "_type": "Snapshot", "meta": meta, "version": 1, "expires": FAR });
        files.insert(name("snapshot"), signed("snapshot", &body));
    }
    if role != "timestamp" {
        let meta = json!({ "snapshot": file_meta(&files["snapshot.json"]) });
        let body = json!({ "_type": "Timestamp", "meta": meta, "version": 1, "expires": FAR });
        files.insert(name("timestamp"), signed("timestamp", &body));
    }
    let pins = KeyPins {
        keys: [publisher.root_key().id().parse().unwrap()].into(),
        revoked: BTreeSet::new(),
        role: RELEASES.to_owned(),
        certificate_dates: true,
        allow_rsa_pkcs1v15: true,
        max_age: None,
    };
    let gun = Repository::from_full(REPOSITORY).unwrap();
    let done = GunUpdate::start(&gun, &pins, Vec::new(), now()).run(|want| {
        let request = &want.request;
        Ok::<_, Refusal>(match want.from {
            FetchFrom::Source if request.is_root_version() => Answer::Missing,
            FetchFrom::Source => files.get(&name(&request.role)).cloned().into(),
            FetchFrom::Cache => Answer::Missing,
        })
    });
    if let Ok(collection) = &done {
        assert_eq!(collection.get().gun, gun);
    }
    done.is_ok()
}

pub fn statement(bytes: &[u8]) {
    statement_counts(bytes);
}

pub fn simple(bytes: &[u8]) {
    simple_counts(bytes);
}

pub fn jws(bytes: &[u8]) {
    jws_counts(&with_image(JWS_HEADER), bytes);
    jws_counts(bytes, &with_image(TARGET));
}

pub fn cose(bytes: &[u8]) {
    cose_counts(&cose_header(), bytes);
    cose_counts(bytes, &with_image(TARGET));
}

pub fn notary_root(bytes: &[u8]) {
    notary_role_counts("root", bytes);
}

pub fn notary_targets(bytes: &[u8]) {
    notary_role_counts("targets", bytes);
    notary_role_counts(RELEASES, bytes);
}

pub fn notary_lists(bytes: &[u8]) {
    notary_role_counts("snapshot", bytes);
    notary_role_counts("timestamp", bytes);
}
